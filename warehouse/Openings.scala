package mdp

import java.io.File
import java.net.URI
import java.nio.file.{Files, Path => LocalPath, Paths}

import scala.util.Try

import org.apache.hadoop.fs.{FilterFileSystem, Path}
import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.security.AccessControlException

/** What the engine was told by whoever started it (warehouse/engine.py): in its environment, which no session can change. */
object Openings {
  /** Directories whose files the engine may open, and what stays closed even there. */
  private val open = paths("ENGINE_OPEN_PATHS")
  private val closed = paths("ENGINE_CLOSED_PATHS")

  /** Where a table may lie: the warehouse, and the directories that MDP_ENGINE_PATHS names. */
  val tables: Seq[URI] = (sys.env.get("ENGINE_WAREHOUSE").toSeq ++ paths("ENGINE_MORE_PATHS").map(_.toString)).map(new Path(_).toUri)
  val sqlUser: String = sys.env.getOrElse("ENGINE_SQL_USER", "")

  def sqlPassword: Array[Byte] = secret("ENGINE_SQL_PASSWORD_FILE")
  def connectToken: Array[Byte] = secret("ENGINE_CONNECT_TOKEN_FILE")

  /** Raises AccessControlException unless the engine may open `file`. Only names are looked at: a link that somebody put
    * into an open directory is followed, as spools of links need it.
    */
  def check(file: File): File = {
    val path = file.toPath.toAbsolutePath.normalize
    if (!open.exists(path.startsWith(_)) || closed.exists(path.startsWith(_)))
      throw new AccessControlException(
        s"$file is closed to the engine: it opens what lies in the warehouse, the spool, and the directories that " +
          "MDP_ENGINE_PATHS named when it was started (docs/privacy.md)"
      )
    file
  }

  private def paths(name: String): Seq[LocalPath] =
    sys.env.getOrElse(name, "").split(File.pathSeparator).toSeq.filter(_.nonEmpty).map(Paths.get(_).normalize)

  /** Read each time, so that a new one counts at once; nobody gets in where there is none. */
  private def secret(name: String): Array[Byte] = {
    val found = sys.env.get(name).flatMap(path => Try(new String(Files.readAllBytes(Paths.get(path)), "UTF-8").trim).toOption)
    found.filter(_.nonEmpty).getOrElse(throw new SecurityException("this door has no login yet")).getBytes("UTF-8")
  }
}

/** Stands for each kind of file system that no setting names. */
class ClosedFileSystem extends FilterFileSystem {
  override def initialize(uri: URI, conf: Configuration): Unit =
    throw new AccessControlException(s"${uri.getScheme}: is closed to the engine (docs/privacy.md)")
}
