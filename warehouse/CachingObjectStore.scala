package mdp

import java.util.{Collections, List => JavaList}
import java.util.concurrent.atomic.AtomicLong

import scala.collection.mutable
import scala.jdk.CollectionConverters._

import org.apache.hadoop.hive.metastore.ObjectStore
import org.apache.hadoop.hive.metastore.api.{Database, NoSuchObjectException, Partition, Table}

/** The metastore's store with what it knows of tables and databases kept in memory.
  *
  * Spark asks for the same table some thirty times while it plans and runs one insert, and each answer is about fifteen
  * queries of the metastore's database: a tenth of the engine's CPU time of a daily build. Only the embedded engine uses
  * this: nobody but this JVM can open its database, so nobody else can change what is kept.
  *
  * What a transaction touches is forgotten when it is touched and again when it ends, and an answer is kept only if nothing
  * was forgotten while it was read: so neither an uncommitted nor an outdated one stays.
  */
class CachingObjectStore extends ObjectStore {
  import CachingObjectStore._

  private val touched = mutable.Set.empty[String]

  override def getTable(db: String, name: String): Table = known(key(db, name))(super.getTable(db, name))(_.deepCopy)

  override def getDatabase(name: String): Database = known(key(name))(super.getDatabase(name))(_.deepCopy)

  override def createTable(table: Table): Unit = touching(table.getDbName, table.getTableName)(super.createTable(table))

  override def dropTable(db: String, name: String): Boolean = touching(db, name)(super.dropTable(db, name))

  override def alterTable(db: String, name: String, table: Table): Unit = {
    touch(key(table.getDbName, table.getTableName)) // a rename has two names
    touching(db, name)(super.alterTable(db, name, table))
  }

  override def createDatabase(database: Database): Unit = touching(database.getName)(super.createDatabase(database))

  override def alterDatabase(name: String, database: Database): Boolean = touching(name)(super.alterDatabase(name, database))

  override def dropDatabase(name: String): Boolean = touching(name)(super.dropDatabase(name))

  override def commitTransaction(): Boolean = ending(super.commitTransaction())

  override def rollbackTransaction(): Unit = ending(super.rollbackTransaction())

  /** All partitions by the store's plain SQL, one by its key; the general way loads object by object. (By names would be
    * plain SQL, too, but with literals in it: Derby compiles each such statement to a class.)
    */
  override def listPartitionsPsWithAuth(
      db: String, name: String, values: JavaList[String], max: Short, user: String, groups: JavaList[String]
  ): JavaList[Partition] = {
    val given = values.asScala
    lazy val nKeys = Option(getTable(db, name)).map(_.getPartitionKeys.size)
    if (max < 0 && given.forall(_.isEmpty)) getPartitions(db, name, max.toInt)
    else if (given.forall(_.nonEmpty) && nKeys.contains(given.size))
      try Collections.singletonList(getPartition(db, name, values))
      catch { case _: NoSuchObjectException => Collections.emptyList() }
    else super.listPartitionsPsWithAuth(db, name, values, max, user, groups)
  }

  /** A copy of what is kept under `name`, else of what `read` brings; null means that there is none. */
  private def known[T <: AnyRef](name: String)(read: => T)(copy: T => T): T = {
    val found = if (touched(name)) read else kept(name)(read)
    if (found == null) found else copy(found)
  }

  private def touching[T](names: String*)(change: => T): T = {
    touch(key(names: _*))
    change
  }

  private def touch(name: String): Unit = {
    touched += name
    forget(Set(name))
  }

  private def ending[T](end: => T): T =
    try end
    finally if (!isActiveTransaction && touched.nonEmpty) {
      forget(touched.toSet)
      touched.clear()
    }
}

object CachingObjectStore {
  private val inMemory = mutable.Map.empty[String, AnyRef]
  private val forgotten = new AtomicLong

  private def key(names: String*): String = names.map(_.toLowerCase).mkString(".")

  private def forget(names: Set[String]): Unit = inMemory.synchronized {
    forgotten.incrementAndGet()
    inMemory --= names
  }

  private def kept[T <: AnyRef](name: String)(read: => T): T =
    inMemory.synchronized(inMemory.get(name)).map(_.asInstanceOf[T]).getOrElse {
      val before = forgotten.get
      val found = read
      if (found != null) inMemory.synchronized(if (forgotten.get == before) inMemory(name) = found)
      found
    }
}
