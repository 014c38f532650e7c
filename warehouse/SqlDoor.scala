package mdp

import java.lang.reflect.Field
import java.util.{Map => JavaMap}

import scala.jdk.CollectionConverters._

import org.apache.hive.service.cli.{CLIService, GetInfoType, HiveSQLException, SessionHandle}
import org.apache.hive.service.cli.thrift.ThriftCLIService
import org.apache.hive.service.rpc.thrift.TProtocolVersion
import org.apache.hive.service.server.HiveServer2
import org.apache.spark.sql.hive.thriftserver.HiveThriftServer2

/** Spark's Thrift server, whose clients bring no settings when they open a session.
  *
  * Hive carries them out before any statement is seen: it puts variables of the process into them, sets properties of the
  * JVM, and opens a database that is called the metastore. There is no hook before that, so the service behind the door is
  * replaced once it is up, and the login (`SqlLogin`) lets nobody in before.
  */
object SqlDoor {
  @volatile private[mdp] var isGuarded = false

  def main(arguments: Array[String]): Unit = {
    HiveThriftServer2.main(arguments) // returns when both doors are open
    val server = field(HiveThriftServer2.listener.getClass, "server")
      .get(HiveThriftServer2.listener).asInstanceOf[Option[HiveServer2]].get
    val door = server.getServices.asScala.collectFirst { case found: ThriftCLIService => found }.get
    val service = field(classOf[ThriftCLIService], "cliService")
    service.set(door, new GuardedService(server, service.get(door).asInstanceOf[CLIService]))
    isGuarded = true
  }

  private[mdp] def field(of: Class[_], name: String): Field = {
    val found = of.getDeclaredField(name)
    found.setAccessible(true)
    found
  }
}

private class GuardedService(server: HiveServer2, spark: CLIService) extends CLIService(server) {
  Seq("hiveConf", "sessionManager").map(SqlDoor.field(classOf[CLIService], _)).foreach(part => part.set(this, part.get(spark)))

  override def getHiveConf = spark.getHiveConf
  override def getInfo(session: SessionHandle, kind: GetInfoType) = spark.getInfo(session, kind)

  override def openSession(
      protocol: TProtocolVersion, user: String, password: String, address: String, settings: JavaMap[String, String]
  ): SessionHandle = {
    Option(settings).toSeq.flatMap(_.keySet.asScala).filter(_ != "use:database").foreach { key =>
      throw new HiveSQLException(s"a session opens without the setting $key: what may be set is set by a statement (docs/privacy.md)")
    }
    spark.openSession(protocol, user, password, address, settings)
  }
}
