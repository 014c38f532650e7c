package mdp

import java.security.MessageDigest
import javax.security.sasl.AuthenticationException

import scala.jdk.CollectionConverters._

import org.apache.hive.service.auth.PasswdAuthenticationProvider
import org.apache.spark.connect.proto.{AddArtifactsRequest, ConfigRequest}
import org.sparkproject.connect.grpc.{Metadata, ServerCall, ServerCallHandler, ServerInterceptor, Status}
import org.sparkproject.connect.grpc.ForwardingServerCallListener.SimpleForwardingServerCallListener
import org.sparkproject.connect.protobuf.Message

/** The SQL door's login: one user, and a password in a file. */
class SqlLogin extends PasswdAuthenticationProvider {
  override def Authenticate(user: String, password: String): Unit = {
    val isUser = Logins.equal(Openings.sqlUser.getBytes("UTF-8"), user)
    val isPassword = Logins.equal(Openings.sqlPassword, password)
    if (!(isUser & isPassword & SqlDoor.isGuarded)) throw new AuthenticationException("the login is wrong")
  }
}

/** Spark Connect's login, a bearer token in a file, and what of a request is closed behind it.
  *
  * Spark has such a check of its own, which takes the token from a setting: any session could read it there. Whoever has the
  * token may run Python code here; these are ways in that nobody needs: settings that name a class or a file system, code
  * of the JVM.
  */
class ConnectLogin extends ServerInterceptor {
  import ConnectLogin._

  override def interceptCall[Q, A](call: ServerCall[Q, A], headers: Metadata, next: ServerCallHandler[Q, A]): ServerCall.Listener[Q] = {
    val told = Option(headers.get(AUTHORIZATION)).getOrElse("")
    if (!told.startsWith(BEARER) || !Logins.equal(Openings.connectToken, told.substring(BEARER.length))) {
      call.close(Status.UNAUTHENTICATED.withDescription("the token is missing or wrong"), new Metadata)
      new ServerCall.Listener[Q] {}
    } else
      new SimpleForwardingServerCallListener[Q](next.startCall(call, headers)) {
        private var isRefused = false

        override def onMessage(message: Q): Unit = closedPart(message) match {
          case _ if isRefused =>
          case None => super.onMessage(message)
          case Some(what) =>
            isRefused = true
            call.close(Status.PERMISSION_DENIED.withDescription(s"$what is closed here (docs/privacy.md)"), new Metadata)
        }

        override def onHalfClose(): Unit = if (!isRefused) super.onHalfClose()
      }
  }
}

private object ConnectLogin {
  val AUTHORIZATION = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER)
  val BEARER = "Bearer "
  private val SECRET = "(?i).*(password|secret|token).*".r

  def closedPart(message: Any): Option[String] = message match {
    case request: ConfigRequest =>
      val asked = request.getOperation
      val set = asked.getSet.getPairsList.asScala.map(_.getKey) ++ asked.getUnset.getKeysList.asScala
      val read = asked.getGet.getKeysList.asScala ++ asked.getGetOption.getKeysList.asScala ++
        asked.getGetWithDefault.getPairsList.asScala.map(_.getKey)
      if (asked.hasGetAll) Some("the list of all settings")
      else (set.filterNot(StatementGuard.maySet) ++ read.filter(SECRET.matches)).headOption.map(key => s"the setting $key")
    case request: AddArtifactsRequest =>
      val names = request.getBatch.getArtifactsList.asScala.map(_.getName) ++ Option(request.getBeginChunk.getName)
      names.find(name => name.nonEmpty && !name.startsWith("cache/")).map(_ => "an artifact")
    case request: Message => closedIn(request)
    case _ => None
  }

  /** A plan's options that name a file system, its code for the JVM, and what cannot be looked into. */
  private def closedIn(part: Message): Option[String] = part.getAllFields.asScala.iterator.flatMap { case (field, value) =>
    field.getName match {
      case "java_udf" | "scalar_scala_udf" | "compressed_operation" => Some(field.getName)
      case _ if field.isMapField =>
        val pairs = value.asInstanceOf[java.util.List[Message]].asScala
        pairs.iterator.flatMap { pair =>
          val key = pair.getField(field.getMessageType.findFieldByName("key")).toString.toLowerCase
          if (key.startsWith("fs.") || key.startsWith("spark.hadoop.")) Some(s"the option $key") else closedIn(pair)
        }
      case _ => value match {
        case one: Message => closedIn(one)
        case many: java.util.List[_] => many.asScala.iterator.collect { case one: Message => one }.flatMap(closedIn)
        case _ => None
      }
    }
  }.nextOption()
}

private object Logins {
  /** Whether `told` is what is kept, in a time that does not say how much of it is right. */
  def equal(kept: Array[Byte], told: String): Boolean =
    MessageDigest.isEqual(kept, Option(told).getOrElse("").getBytes("UTF-8"))
}
