package mdp

import java.io.File
import java.net.URI
import java.nio.file.Files
import java.nio.file.attribute.PosixFilePermission

import org.apache.hadoop.conf.Configuration
import org.apache.hadoop.fs.{DelegateToFileSystem, FSDataInputStream, FileStatus, LocalFileSystem, Path, RawLocalFileSystem}
import org.apache.hadoop.fs.permission.FsPermission

/** The local disk without a child process per file.
  *
  * Hadoop without its native library runs `chmod` once for each file and directory that it makes, twice for a file with a
  * checksum beside it. Tables with a partition per day are thousands of small files: the forks were 60 % of the CPU time
  * of writing them. Here permissions are set by the JVM, and no checksum files are written. Only what `Openings` names is
  * opened.
  */
class DirectLocalFileSystem extends LocalFileSystem(new DirectRawFileSystem) {
  setWriteChecksum(false)
  setVerifyChecksum(false)

  // There are no checksum files to move, delete or hide.
  override def rename(from: Path, to: Path): Boolean = getRaw.rename(from, to)
  override def delete(path: Path, recursive: Boolean): Boolean = getRaw.delete(path, recursive)
  override def listStatus(path: Path): Array[FileStatus] = getRaw.listStatus(path)
  override def open(path: Path, bufferSize: Int): FSDataInputStream = getRaw.open(path, bufferSize)
}

class DirectRawFileSystem extends RawLocalFileSystem {
  // Each operation finds its file by this.
  override def pathToFile(path: Path): File = Openings.check(super.pathToFile(path))

  override def setPermission(path: Path, permission: FsPermission): Unit = {
    val bits = permission.toShort.toInt
    val granted = new java.util.HashSet[PosixFilePermission]()
    // the enumeration's order is that of the nine bits, owner's read first
    PosixFilePermission.values.zipWithIndex.foreach { case (right, i) => if ((bits >> (8 - i) & 1) == 1) granted.add(right) }
    Files.setPosixFilePermissions(pathToFile(path).toPath, granted)
  }
}

/** The same behind Hadoop's other interface, which a streaming query's checkpoint goes through. */
class DirectLocalFs(uri: URI, conf: Configuration)
    extends DelegateToFileSystem(uri, new DirectLocalFileSystem, conf, "file", false) {
  override def getUriDefaultPort: Int = -1
  override def isValidName(name: String): Boolean = true
}
