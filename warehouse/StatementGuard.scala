package mdp

import java.net.URI

import scala.jdk.CollectionConverters._

import org.apache.hadoop.fs.Path
import org.apache.spark.SparkEnv
import org.apache.spark.sql.SparkSessionExtensions
import org.apache.spark.sql.catalyst.FunctionIdentifier
import org.apache.spark.sql.catalyst.analysis.{UnresolvedFunction, UnresolvedPartitionSpec, UnresolvedRelation}
import org.apache.spark.sql.catalyst.expressions.{Expression, ExpressionInfo}
import org.apache.spark.sql.catalyst.parser.{ParameterContext, ParserInterface}
import org.apache.spark.sql.catalyst.plans.logical._
import org.apache.spark.sql.execution.command.SetCommand
import org.apache.spark.sql.internal.SQLConf

/** A statement reads and writes the warehouse's own tables, and does nothing else to the machine that it runs on.
  *
  * Spark's SQL reads any file by its path, runs programs, loads classes and calls Java. What a statement may be is listed
  * here by kind, so a kind that a newer Spark brings is closed until somebody has looked at it. It is looked at as it was
  * parsed: data frames of Python code, which reads what it likes anyhow, do not come this way (docs/privacy.md).
  */
class StatementGuard extends (SparkSessionExtensions => Unit) {
  import StatementGuard._

  override def apply(session: SparkSessionExtensions): Unit = {
    session.injectParser((_, parser) => new GuardedParser(parser))
    CLOSED_FUNCTIONS.foreach { name => // of data frames, too
      val closed = (_: Seq[Expression]) => refuse(s"the function $name")
      session.injectFunction((new FunctionIdentifier(name), new ExpressionInfo(getClass.getName, name), closed))
    }
  }
}

private class GuardedParser(spark: ParserInterface) extends ParserInterface {
  import StatementGuard.{check, checkSession}

  override def parsePlan(text: String): LogicalPlan = checked(spark.parsePlan(text))
  override def parsePlanWithParameters(text: String, parameters: ParameterContext): LogicalPlan =
    checked(spark.parsePlanWithParameters(text, parameters))
  override def parseQuery(text: String): LogicalPlan = checked(spark.parseQuery(text))
  override def parseExpression(text: String): Expression = checked(spark.parseExpression(text))
  override def parseTableIdentifier(text: String) = spark.parseTableIdentifier(text)
  override def parseFunctionIdentifier(text: String) = spark.parseFunctionIdentifier(text)
  override def parseMultipartIdentifier(text: String) = spark.parseMultipartIdentifier(text)
  override def parseRoutineParam(text: String) = spark.parseRoutineParam(text)
  override def parseTableSchema(text: String) = spark.parseTableSchema(text)
  override def parseDataType(text: String) = spark.parseDataType(text)

  private def checked[T](parsed: T): T = {
    checkSession()
    check(parsed)
    parsed
  }
}

object StatementGuard {
  private val STATEMENTS = Set(
    // what is in the tables
    "InsertIntoStatement", "CacheTable", "CacheTableAsSelect", "UncacheTable", "ClearCacheCommand", "RefreshTable",
    "TruncateTable", "TruncatePartition", "AnalyzeTable", "AnalyzeTables", "AnalyzeColumn",
    // what tables, views and databases there are
    "CreateTable", "CreateTableAsSelect", "CreateTableLike", "CreateView", "CreateViewCommand", "CreateNamespace",
    "AlterViewAs", "SetViewProperties", "UnsetViewProperties", "SetTableProperties", "UnsetTableProperties",
    "SetTableLocation", "AddColumns", "AlterColumns", "RenameColumn", "RenameTable", "AddPartitions", "DropPartitions",
    "RenamePartitions", "RepairTable", "RecoverPartitions", "CommentOnTable", "CommentOnNamespace", "DropTable",
    "DropView", "DropTempViewCommand", "DropNamespace",
    // looking at them
    "DescribeRelation", "DescribeTablePartition", "DescribeColumn", "DescribeQueryCommand", "DescribeNamespace",
    "DescribeFunction", "ExplainCommand", "ShowTables", "ShowTablesExtended", "ShowTablePartition",
    "ShowNamespacesCommand", "ShowColumns", "ShowCreateTable", "ShowPartitions", "ShowTableProperties", "ShowFunctions",
    "ShowViews", "ShowCatalogsCommand", "ShowCurrentNamespaceCommand",
    // the session itself
    "SetCatalogAndNamespace", "SetCommand", "ResetCommand",
  )
  /** What Spark does not count as a statement, and is no query: a program, a directory, a name that shows only later. */
  private val CLOSED_PARTS = Map(
    "ScriptTransformation" -> "transform", "InsertIntoDir" -> "insert overwrite directory",
    "UnresolvedExecuteImmediate" -> "execute immediate", "PlanWithUnresolvedIdentifier" -> "a name that is an expression",
    "ExpressionWithUnresolvedIdentifier" -> "a name that is an expression",
  )
  private[mdp] val CLOSED_FUNCTIONS = Set("reflect", "java_method", "try_reflect")
  private val PROVIDERS = Set("parquet", "orc", "hive")
  private val FORMATS = Set("parquet", "orc", "textfile")
  private val TABLE_PROPERTY = """comment|owner|note|transactional|external\.table\.purge|auto\.purge|(user|parquet|orc)\..+""".r
  private val DELIMITERS =
    Set("field.delim", "line.delim", "escape.delim", "colelction.delim", "mapkey.delim", "serialization.format",
      "serialization.null.format")
  private val OPTION = """compression|(parquet|orc)\..+""".r

  /** What a session may set: how a statement is planned. No class is named, no file system, no catalog, no directory. */
  private val SESSION = Seq(
    "spark.sql.adaptive.", "spark.sql.autoBroadcastJoinThreshold", "spark.sql.cbo.", "spark.sql.codegen.",
    "spark.sql.execution.arrow.", "spark.sql.files.", "spark.sql.inMemoryColumnarStorage.", "spark.sql.join.",
    "spark.sql.maxConcurrentOutputFileWriters", "spark.sql.optimizer.", "spark.sql.parquet.", "spark.sql.session.",
    "spark.sql.shuffle.", "spark.sql.sources.parallelPartitionDiscovery.", "spark.sql.statistics.", "spark.sql.ansi.",
    "spark.sql.broadcastTimeout", "spark.sql.caseSensitive", "spark.sql.repl.", "spark.sql.pyspark.jvmStacktrace.enabled",
    "spark.sql.timestampType", "spark.sql.windowExec.", "spark.sql.legacy.timeParserPolicy", "spark.sql.storeAssignmentPolicy",
    "spark.sql.debug.maxToStringFields", "spark.sql.maxPlanStringLength", "spark.sql.crossJoin.enabled",
  )

  /** What the command line said of the SQL door (a session could change the properties later). */
  private val STARTED_WITH = sys.props.toMap

  def maySet(key: String): Boolean = SESSION.exists(key.startsWith) && !isClass(key)

  private def isClass(key: String): Boolean = key.toLowerCase.contains("class")

  def refuse(what: String): Nothing = throw new SecurityException(
    s"$what is closed here: a statement reads and writes the warehouse's own tables, and nothing else (docs/privacy.md)"
  )

  /** What a session has is no more than what a statement may set, and what Spark itself sets in one (under `spark.sql.`). */
  private[mdp] def checkSession(): Unit = {
    val engine = SparkEnv.get.conf
    SQLConf.get.getAllConfs.foreach { case (key, value) =>
      val known = engine.getOption(key).orElse(STARTED_WITH.get(key))
      val isOfSpark = known.isEmpty && key.startsWith("spark.sql.") && !key.startsWith("spark.sql.catalog.") && !isClass(key)
      if (!known.contains(value) && !maySet(key) && !isOfSpark) refuse(s"the setting $key")
    }
  }

  private[mdp] def check(part: Any): Unit = part match {
    case plan: LogicalPlan =>
      checkPlan(plan)
      plan.productIterator.foreach(check)
    case expression: Expression =>
      checkExpression(expression)
      expression.productIterator.foreach(check)
    case parts: Iterable[_] => parts.foreach(check) // a map's pairs are products
    case product: Product => product.productIterator.foreach(check)
    case _ =>
  }

  private def checkPlan(plan: LogicalPlan): Unit = {
    val kind = plan.getClass.getSimpleName.stripSuffix("$")
    val isStatement = plan.isInstanceOf[Command] || plan.isInstanceOf[ParsedStatement] ||
      plan.isInstanceOf[CompoundPlanStatement] || plan.getClass.getName.startsWith("org.apache.spark.sql.execution.")
    CLOSED_PARTS.get(kind).foreach(refuse)
    if (isStatement && !STATEMENTS(kind)) refuse(words(kind))
    plan match {
      case SetCommand(Some((key, _))) if maySet(key) =>
      case SetCommand(Some((key, _))) => refuse(s"the setting $key")
      case SetCommand(None) => refuse("the list of all settings")
      case relation: UnresolvedRelation =>
        if (relation.multipartIdentifier.exists(_.contains("/"))) refuse("a file in place of a table")
        if (relation.options.keySet.asScala.exists(_ != "__required_write_privileges__")) refuse("an option of a table")
      case made: CreateTableLike =>
        made.location.foreach(checkLocation)
        made.provider.foreach(checkProvider)
        made.serdeInfo.foreach(checkSerde)
        checkProperties(made.properties.keys)
      case made: CreateNamespace => made.properties.get("location").foreach(checkLocation)
      case moved: SetTableLocation => checkLocation(moved.location)
      case table: SetTableProperties => checkProperties(table.properties.keys)
      case _ =>
    }
  }

  private def checkExpression(expression: Expression): Unit = expression match {
    case function: UnresolvedFunction if CLOSED_FUNCTIONS(function.nameParts.last.toLowerCase) =>
      refuse(s"the function ${function.nameParts.last.toLowerCase}")
    case table: UnresolvedTableSpec =>
      table.location.foreach(checkLocation)
      table.provider.foreach(checkProvider)
      table.serde.foreach(checkSerde)
      checkProperties(table.properties.keys)
      table.optionExpression.options.map(_._1).filterNot(OPTION.matches).foreach(key => refuse(s"the option $key"))
    case partition: UnresolvedPartitionSpec => partition.location.foreach(checkLocation)
    case other => CLOSED_PARTS.get(other.getClass.getSimpleName).foreach(refuse)
  }

  private def checkProvider(name: String): Unit = if (!PROVIDERS(name.toLowerCase)) refuse(s"the table format $name")

  private def checkSerde(serde: SerdeInfo): Unit = {
    serde.storedAs.filterNot(name => FORMATS(name.toLowerCase)).foreach(name => refuse(s"the table format $name"))
    if (serde.formatClasses.nonEmpty || serde.serde.nonEmpty) refuse("a table format by its class")
    serde.serdeProperties.keys.filterNot(DELIMITERS).foreach(key => refuse(s"the property $key"))
  }

  private def checkProperties(keys: Iterable[String]): Unit =
    keys.filterNot(TABLE_PROPERTY.matches).foreach(key => refuse(s"the table property $key"))

  private def checkLocation(text: String): Unit = {
    val place = new Path(text).toUri
    val within = Openings.tables.exists { root =>
      scheme(root) == scheme(place) && root.getAuthority == place.getAuthority && place.getPath.startsWith(root.getPath + "/")
    }
    if (!within) refuse("a place outside of the warehouse")
  }

  private def scheme(uri: URI): String = Option(uri.getScheme).getOrElse("file")

  /** AddJarsCommand → add jars. */
  private def words(kind: String): String =
    kind.stripSuffix("Command").replaceAll("([a-z])([A-Z])", "$1 $2").toLowerCase
}
