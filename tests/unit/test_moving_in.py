"""Sqoop commands as blocks: each option has its place, no block lies, no password shows; the page shows the whole table."""

import re

import pytest

from ingestion import address, infer, sqoop
from ingestion.proposal import EQUIVALENT, NONE, Entry, moving_in
from ingestion.sqoop_options import (
    ALL,
    CONNECTOR,
    EXPORT,
    HADOOP,
    IMPORT,
    JOB,
    OPTIONS,
    OTHER_TOOLS,
    SHORT,
    read_commands,
    read_options_file,
)
from tests.conftest import PROJECT, mdp
from tests.proposals import feeds_of
from warehouse.connections import Database
from warehouse.errors import PlatformError

SECRET = "hunter2-s3cret"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("MDP_CORP_URL", "MDP_CRM_URL", "MDP_SPOOL_URI", "MDP_KAFKA_SERVERS", "MDP_COMPANY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    return tmp_path


# -- Sqoop: all options -----------------------------------------------------------------------------------------------

# The long options of Sqoop 1.4, as its tools declare them and its user guide lists them; = marks one that takes a value.
COMMON = """
connect= connection-manager= connection-param-file= driver= username= password= password-file= P password-alias=
hadoop-mapred-home= hadoop-home= skip-dist-cache verbose help temporary-rootdir= metadata-transaction-isolation-level=
throw-on-error relaxed-isolation oracle-escaping-disabled= parquet-configurator-implementation= hive-home=
hive-partition-key= hive-partition-value= map-column-hive= hcatalog-table= hcatalog-external-table hcatalog-database=
hcatalog-home= hcatalog-partition-keys= hcatalog-partition-values= fields-terminated-by= lines-terminated-by=
optionally-enclosed-by= enclosed-by= escaped-by= mysql-delimiters input-fields-terminated-by= input-lines-terminated-by=
input-optionally-enclosed-by= input-enclosed-by= input-escaped-by= outdir= bindir= delete-compile-dir package-name=
null-string= input-null-string= null-non-string= input-null-non-string= map-column-java= escape-mapping-column-names=
class-name= jar-file= validate validator= validation-threshold= validation-failurehandler= direct num-mappers=
mapreduce-job-name=
""".split()
OF_IMPORTS = """
warehouse-dir= as-sequencefile as-textfile as-avrodatafile as-parquetfile as-binaryfile compress compression-codec=
direct-split-size= inline-lob-limit= fetch-size= autoreset-to-one-mapper hive-import hive-overwrite create-hive-table
hive-table= hive-database= hive-drop-import-delims hive-delims-replacement= external-table-dir= hs2-url= hs2-user=
hs2-password= hs2-keytab= create-hcatalog-table drop-and-create-hcatalog-table hcatalog-storage-stanza= hbase-table=
column-family= hbase-row-key= hbase-bulkload hbase-create-table hbase-null-incremental-mode= accumulo-table=
accumulo-column-family= accumulo-row-key= accumulo-visibility= accumulo-create-table accumulo-batch-size=
accumulo-max-latency= accumulo-zookeepers= accumulo-instance= accumulo-user= accumulo-password= split-limit=
delete-target-dir target-dir= append
""".split()
OF_IMPORT = """
table= columns= split-by= where= query= boundary-query= merge-key= incremental= check-column= last-value=
""".split()
OF_EXPORT = """
table= columns= export-dir= update-key= update-mode= staging-table= clear-staging-table batch call=
""".split()
MANUAL = {
    IMPORT: {*COMMON, *OF_IMPORTS, *OF_IMPORT},
    ALL: {*COMMON, *OF_IMPORTS, "exclude-tables="},
    EXPORT: {*COMMON, *OF_EXPORT},
    JOB: set("create= delete= exec= show= list meta-connect= meta-username= meta-password= verbose help".split()),
}
# The key of a block, or the variable, that an equivalent option ends up in.
BECOMES = {
    "connect": "set: MDP_CORP_URL=jdbc:mysql://db.foo.com/corp", "username": "set: MDP_CORP_USER=reader",
    "password": "set: MDP_CORP_PASSWORD_FILE", "password-file": "set: MDP_CORP_PASSWORD_FILE",
    "P": "set: MDP_CORP_PASSWORD_FILE", "table": "table: EMPLOYEES", "columns": "job_title:", "where": "where: id > 400",
    "query": "query: SELECT * FROM x WHERE (1 = 1)", "split-by": "split_by: id", "num-mappers": "splits: 8",
    "fetch-size": "fetch_rows: 500", "incremental": "mode: append", "check-column": "check_column: id",
    "merge-key": "key: [id]",
}  # fmt: skip
VALUES = {
    "connect": "jdbc:mysql://db.foo.com/corp", "username": "reader", "columns": "id,job_title", "where": "id > 400",
    "query": "SELECT * FROM x WHERE $CONDITIONS", "split-by": "id", "num-mappers": "8", "fetch-size": "500",
    "incremental": "append", "check-column": "id", "merge-key": "id", "table": "EMPLOYEES",
}  # fmt: skip
BASE = {"connect": VALUES["connect"], "table": "EMPLOYEES", "columns": "id,job_title"}


def options_file(tmp_path, tool: str, *options) -> str:
    """An options file: strings as they are, or a dict of options with values (None: it takes none)."""
    lines = [f"# an import of {tool}", tool, ""]
    for option in options:
        for name, value in option.items() if isinstance(option, dict) else [(option, None)]:
            lines += [f"-{name}" if name == "P" else f"--{name}"] + ([value] if value is not None else [])
    path = tmp_path / "import.txt"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_the_table_has_every_option_of_the_manual_and_no_other():
    assert len(MANUAL[IMPORT]) > 110
    for tool, names in MANUAL.items():
        ours = {name + "=" * option.takes_value for name, option in OPTIONS[tool].items()}
        if tool == ALL:  # it knows a few of import's, which Sqoop itself refuses there
            assert names - ours <= {f"{n}=" for n in ()}
            continue
        assert ours == names, tool


@pytest.mark.parametrize("name", sorted(OPTIONS[IMPORT]))
def test_no_import_option_is_dropped_in_silence(tmp_path, name):
    option = OPTIONS[IMPORT][name]
    given = dict(BASE)
    if name in ("check-column", "incremental", "last-value"):
        given |= {"incremental": "append", "check-column": "id"}
    if name == "num-mappers":
        given["split-by"] = "id"
    if name == "query":
        given.pop("table")
    given[name] = VALUES.get(name, "v") if option.takes_value else None
    made = sqoop.convert(options_file(tmp_path, "import", given))
    assert made.text and not made.faults
    feeds_of(made.text, tmp_path)
    shown = f"-{name}" if name == "P" else f"--{name}"
    about = [note for note in made.notes if re.search(rf"(: |, ){re.escape(shown)}(,|:| \()", note)]
    if option.verdict == EQUIVALENT:
        assert BECOMES[name] in made.text + "\n".join(made.notes) and not about
    else:
        assert len(about) == 1 and about[0].startswith(f"{option.verdict}: ") and option.text in about[0]


def test_options_of_others_are_said_too(tmp_path):
    path = options_file(tmp_path, "import", BASE)
    with open(path, "a") as file:
        file.write("--\n--schema\nhr\n--table-hints\nNOLOCK\n--default-character-set=latin1\n--single-transaction\n")
    made = sqoop.convert(path)
    assert "table: hr.EMPLOYEES" in made.text
    said = [note for note in made.notes if "-- --" in note]
    assert len(said) == 3 and all(note.startswith(NONE) for note in said)
    text = "sqoop import -D mapreduce.job.queuename=q1 -Dsqoop.x=y -conf x --connect jdbc:mysql://h/corp --table t --columns a"
    made = sqoop.convert("standard input", text)
    assert [note[len(NONE) + 2 :].split(" (")[0] for note in made.notes if note.startswith(NONE)] == [
        "-D mapreduce.job.queuename", "-D sqoop.x", "-conf",
    ]  # fmt: skip
    assert set(HADOOP) == {"D", "conf", "fs", "jt", "files", "libjars", "archives"}


@pytest.mark.parametrize("tool", sorted(OTHER_TOOLS))
def test_every_other_tool_is_refused_by_name(tool):
    with pytest.raises(PlatformError, match=f"the tool {tool} cannot be converted: "):
        sqoop.convert("standard input", f"sqoop {tool} --connect jdbc:mysql://h/corp")


# -- Sqoop: reading ---------------------------------------------------------------------------------------------------


def test_an_options_file_is_read_as_sqoop_reads_it(tmp_path):
    path = tmp_path / "import.txt"
    path.write_text(
        "#\n# Options file for Sqoop import\n#\n\n  import\n\n--connect\njdbc:mysql://\\\ndb.foo.com/corp\n"
        '--where\n"name = \'x y\'"\n--query\ncolumn = "values"\n-m\n4\n'
    )
    tokens = read_options_file(path)
    assert [token.text for token in tokens] == [
        "import", "--connect", "jdbc:mysql://db.foo.com/corp", "--where", "name = 'x y'", "--query", 'column = "values"',
        "-m", "4",
    ]  # fmt: skip
    assert [token.line for token in tokens][:3] == [5, 7, 8]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("--connect\njdbc:mysql://h/corp", "line 1: no tool is named: the first word is import, export"),
        ("imprt\n--table\nx", "line 1: the first word names no tool of Sqoop: import, import-all-tables, export, job"),
        ("import\n--table foo", "line 2: --table and its value stand in one line"),
        ("import\n--update-key\nid", "line 2: --update-key is no option of import: it belongs to export"),
        ("import\n--tabel\nx", "line 2: --tabel is no option of import: it is none of Sqoop 1.4's"),
        ("import\n--table\n--append", "line 2: --table has no value"),
        ("import\nstray", "line 2: a value stands there without an option"),
        ('import\n--where\n"a', "line 3: a quote stands at one end only"),
        ("import\n--where\n'a\\\nb'", "line 3: a quoted text may not go over two lines"),
        ("import\n--where\na\\", "line 3: the file ends after a backslash"),
        ("job\n--exec\nmyjob", "line 2: --exec: it holds no definition"),
        ("job\n--create\nmyjob", "a job is converted from `job --create <name> -- import …`"),
        (
            "import\n--connect\njdbc:oracle:thin:@h:1521:x\n--table\nt",
            "line 2: --connect: oracle is no known database: derby",
        ),
        ("import\n--connect\njdbc:mysql://h/corp", "an import needs --table or --query, and not both"),
        (
            "import\n--connect\njdbc:mysql://h/c\n--table\nt\n--columns\na\n-m\nx",
            "line 8: --num-mappers must be a whole number",
        ),
        ("import\n--connect\njdbc:mysql://h/c\n--table\n[a b]", "line 4: --table is '[a b]'"),
        ("import\n--table\nt", "--connect is missing"),
        ("import\n--connect\njdbc:mysql://h/c\n--query\nq\n--columns\na\n--incremental\nnew", "--incremental is 'new'"),
        (
            "import\n--connect\njdbc:mysql://h/c\n--table\nt\n--columns\na\n--incremental\nappend",
            "needs --check-column",
        ),
        ("import\n--connect\n$URL\n--table\nt", "--connect holds the variable $URL"),
        ("import\n--connect\njdbc:mysql://h/c\n--table\nt\n--where\nd > ${day}", "--where holds the variable ${day}"),
    ],
)
def test_what_is_wrong_gets_a_sentence_with_its_line(tmp_path, lines, said):
    path = tmp_path / "import.txt"
    path.write_text(lines + "\n")
    try:
        faults = "\n".join(sqoop.convert(str(path)).faults)
    except PlatformError as error:
        faults = str(error)
    assert "import.txt" in faults and said in faults


def test_commands_are_read_as_a_shell_reads_them(tmp_path):
    text = """
# every night
$ sqoop import --connect jdbc:mysql://db.foo.com/corp --table EMPLOYEES \\
    --columns "employee_id,first_name" -m1 --null-string ''
/usr/bin/sqoop-import --connect=jdbc:mysql://db.foo.com/corp --username aaron -P \\
  --query "SELECT a.*, b.* FROM a JOIN b on (a.id = b.id)
           WHERE a.x = 'foo' AND \\$CONDITIONS" --columns id --split-by a.id --target-dir /user/foo/joinresults
"""
    commands, _ = read_commands(text, "x")
    assert [command[0].text for command in commands] == ["import", "import"] and commands[0][-1].text == ""
    made = sqoop.convert("standard input", text)
    feeds = feeds_of(made.text, tmp_path)
    assert list(feeds) == ["corp__employees", "corp__joinresults"]
    joined = feeds["corp__joinresults"]
    assert joined.query.split() == (
        "SELECT a.*, b.* FROM a JOIN b on (a.id = b.id) WHERE a.x = 'foo' AND (1 = 1)".split()
    )
    assert (joined.split_by, joined.splits) == ("id", 4) and feeds["corp__employees"].splits == 1
    made = sqoop.convert(
        "x", f"#!/bin/sh\n\nexport PASSWORD={SECRET}\n  {text.splitlines()[2]}\n{text.splitlines()[3]}\necho it's done"
    )
    assert made.text.startswith("corp__employees:\n") and made.notes[0] == "left out: x: no sqoop command: lines 3, 6"
    made = sqoop.convert(
        "x",
        "sqoop list-tables --connect jdbc:mysql://h/d\nsqoop import --connect jdbc:mysql://h/d --table t --columns a",
    )
    assert made.text and made.notes[0].startswith(f"{NONE}: x: line 1: list-tables: ")
    with pytest.raises(PlatformError, match="x holds no sqoop command"):
        sqoop.convert("x", "hadoop fs -ls sqoop")
    with pytest.raises(PlatformError, match="line 1: the command does not end"):
        sqoop.convert("standard input", "sqoop import --where 'a")


def test_options_files_may_stand_in_commands_and_jobs_hold_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.txt").write_text("import\n--connect\njdbc:mysql://localhost/db\n--username\nfoo\n")
    made = sqoop.convert("standard input", "sqoop --options-file base.txt --table TEST --columns id")
    assert list(feeds_of(made.text, tmp_path)) == ["db__test"] and "set: MDP_DB_USER=foo" in made.notes
    job = "sqoop job --create nightly --meta-connect jdbc:hsqldb:hsql://h/x -- import --options-file rest.txt"
    (tmp_path / "rest.txt").write_text(
        "--connect\njdbc:mysql://localhost/db\n--query\nselect 1 where $CONDITIONS\n--columns\na\n"
    )
    assert list(feeds_of(sqoop.convert("standard input", job).text, tmp_path)) == ["db__nightly"]


# -- Sqoop: blocks ----------------------------------------------------------------------------------------------------


def test_without_columns_and_database_there_is_no_block(tmp_path):
    made = sqoop.convert(options_file(tmp_path, "import", BASE | {"columns": "id"}, {}))
    assert made.text and any("every type is open" in note for note in made.notes)
    made = sqoop.convert(options_file(tmp_path, "import", {k: v for k, v in BASE.items() if k != "columns"}))
    assert made.text == "" and len(made.faults) == 1
    assert "MDP_CORP_URL is not set" in made.faults[0] and "`mdp feed infer corp.EMPLOYEES`" in made.faults[0]
    made = sqoop.convert(
        options_file(tmp_path, "import-all-tables", {"connect": BASE["connect"], "exclude-tables": "a"})
    )
    assert made.text == "" and "the tables of corp" in made.faults[0]


def test_unknown_types_are_marked_and_modes_hold(tmp_path):
    given = BASE | {"incremental": "lastmodified", "check-column": "last_update_date", "merge-key": "ID"}
    made = sqoop.convert(options_file(tmp_path, "import", given, {"last-value": "2013-05-22 01:01:01"}))
    feed = feeds_of(made.text, tmp_path)["corp__employees"]
    assert (feed.mode, feed.check_column, feed.key) == ("lastmodified", "last_update_date", ("id",))
    assert feed.columns["last_update_date"].type == "timestamp" and feed.columns["id"].type == "string"
    columns = [line for line in made.text.splitlines() if line.startswith("    ")]
    assert len(columns) == 3 and all("# review: the type is not known" in line for line in columns)
    assert "review: column last_update_date is added: the block names it, so it must be declared" in made.notes
    given = BASE | {"incremental": "append", "check-column": "id", "last-value": "100000", "num-mappers": "8"}
    made = sqoop.convert(options_file(tmp_path, "import", given))
    assert feeds_of(made.text, tmp_path)["corp__employees"].splits == 8
    assert "split_by: id  # review: the key" in made.text


class Corp:
    """A MySQL database, as infer asks it, without an engine: EMPLOYEES has a primary key, and types that feeds do not have."""

    types = {
        "EMP_ID": "int", "DEPT": "smallint", "PHONE": "varchar", "BIO": "text", "SALARY": "decimal(10,2)", "TAGS": "geometry",
        "UPDATED_AT": "datetime", "odd name": "varchar", "SEQ": "bigint unsigned",
    }  # fmt: skip

    def __init__(self, feed):
        assert feed.connection == "corp"
        self.name, self.relation, self.database = (
            feed.name,
            feed.table or "(query) asked",
            Database("corp", "", "mysql", None),
        )

    def quoted(self, name):
        return f"`{name}`"

    def ask(self, sql):
        if "table_constraints" in sql:
            return [("EMP_ID", "1")] if "'employees'" in sql else []
        if "information_schema.tables" in sql:
            return [("EMPLOYEES",), ("AUDIT",)]
        sample = {"`EMP_ID`": None, "`PHONE`": "138 1234 5678", "`BIO`": "li@example.com"}
        names = [column.split(" as ")[1] for column in re.search("select (.*) from", sql)[1].split(", ")]
        assert sql.endswith("limit 200")
        return [tuple(str(n) if name == "`EMP_ID`" else sample.get(name, "1") for name in names) for n in range(9)]


@pytest.fixture
def corp(monkeypatch):
    """Connection corp is set, the engine runs, and the database is the one above."""
    monkeypatch.setattr(infer, "source_of", Corp)
    monkeypatch.setattr(infer.jdbc, "columns", lambda source: dict(source.types))
    monkeypatch.setattr(address, "require_engine", lambda: None)
    monkeypatch.setenv("MDP_CORP_URL", "jdbc:mysql://db.foo.com/corp?useSSL=false")


def test_the_database_is_asked_where_it_can_be(corp, tmp_path):
    made = sqoop.convert(
        options_file(tmp_path, "import", {"connect": BASE["connect"], "table": "EMPLOYEES", "num-mappers": "4"})
    )
    feed = feeds_of(made.text, tmp_path)["corp__employees"]
    types = {name: column.type for name, column in feed.columns.items()}
    assert types == {
        "EMP_ID": "int", "DEPT": "int", "PHONE": "string", "BIO": "string", "SALARY": "decimal(10,2)", "UPDATED_AT": "timestamp",
        "SEQ": "bigint",
    }  # fmt: skip
    assert feed.columns["PHONE"].action == "hash_and_mask" and feed.columns["BIO"].action == "hash"
    assert feed.key == ("EMP_ID",) and "key: [EMP_ID]  # the database's primary key" in made.text
    assert (feed.split_by, feed.splits) == ("EMP_ID", 4)
    left = [note for note in made.notes if note.startswith("left out: ")]
    assert [re.search("column (.*?):", note)[1] for note in left] == ["TAGS", "odd name"]
    assert not [note for note in made.notes if note.startswith("set: MDP_CORP_URL")]
    given = {"connect": BASE["connect"], "table": "EMPLOYEES", "columns": "salary,emp_id", "incremental": "append"}
    made = sqoop.convert(options_file(tmp_path, "import", given | {"check-column": "emp_id"}))
    feed = feeds_of(made.text, tmp_path)["corp__employees"]
    assert (list(feed.columns), feed.check_column) == (["SALARY", "EMP_ID"], "EMP_ID")
    made = sqoop.convert(
        options_file(tmp_path, "import", {"connect": BASE["connect"], "table": "EMPLOYEES", "columns": "nope"})
    )
    assert made.text == "" and "corp.EMPLOYEES has no columns nope: it has EMP_ID, DEPT" in made.faults[0]


def test_all_tables_are_blocks_but_those_left_out(corp, tmp_path):
    connect = {"connect": BASE["connect"]}
    made = sqoop.convert(options_file(tmp_path, "import-all-tables", connect))
    assert list(feeds_of(made.text, tmp_path)) == ["corp__audit", "corp__employees"]
    made = sqoop.convert(options_file(tmp_path, "import-all-tables", connect | {"exclude-tables": "audit"}))
    assert list(feeds_of(made.text, tmp_path)) == ["corp__employees"]


def test_infer_proposes_a_table(corp, tmp_path):
    made = infer.propose_table("corp", "hr.EMPLOYEES", None, None)
    feed = feeds_of(made.text, tmp_path)["corp__employees"]
    assert (feed.connection, feed.table, feed.mode) == ("corp", "hr.EMPLOYEES", "full")
    assert "mode: full  # review: `lastmodified` with check_column UPDATED_AT reads changed rows only" in made.text
    guessed = [
        line for line in made.text.splitlines() if "action" in line or line.strip().startswith(("subject", "columns"))
    ]
    assert len(guessed) == 4 and all("# review" in line for line in guessed)
    made = infer.propose_table("corp", None, "select * from\n employees", "hr__staff")
    assert feeds_of(made.text, tmp_path)["hr__staff"].query == "select * from\n employees"
    assert "key: [EMP_ID]  # review: a guess from names and 9 rows" in made.text


EXPORTS = {
    "connect": "connection: corp", "table": "table: bar", "columns": "columns:", "export-dir": "source: results.bar_data",
    "hcatalog-table": "source: default.v", "hcatalog-database": "source: v.t", "update-key": "key: [id]",
    "update-mode": "mode: upsert", "username": "set: MDP_CORP_USER", "password": "MDP_CORP_PASSWORD_FILE",
    "password-file": "MDP_CORP_PASSWORD_FILE", "P": "MDP_CORP_PASSWORD_FILE",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(OPTIONS[EXPORT]))
def test_no_export_option_is_dropped_in_silence(tmp_path, name):
    option = OPTIONS[EXPORT][name]
    given = {
        "connect": BASE["connect"],
        "table": "bar",
        "columns": "id,msg",
        "export-dir": "/warehouse/results.db/bar_data",
    }
    given |= {"update-key": {"update-key": "id"}, "update-mode": {"update-key": "id"}}.get(name, {})
    given |= {"hcatalog-table": "t"} if name == "hcatalog-database" else {}
    if name not in given:
        given[name] = {"update-mode": "allowinsert"}.get(name, "v") if option.takes_value else None
    made = sqoop.convert(options_file(tmp_path, "export", given))
    if name == "call":
        assert made.text == "" and "--call: no stored procedure is called" in made.faults[0]
        return
    assert made.text and not made.faults
    shown = f"-{name}" if name == "P" else f"--{name}"
    about = [note for note in made.notes if re.search(rf"(: |, ){re.escape(shown)}(,|:| \()", note)]
    if option.verdict == EQUIVALENT:
        assert EXPORTS[name] in made.text + "\n".join(made.notes) and not about
    else:
        assert len(about) == 1 and about[0].startswith(f"{option.verdict}: ") and option.text in about[0]


def test_an_export_becomes_a_target(corp, tmp_path):
    from ingestion import targets

    given = {
        "connect": BASE["connect"],
        "table": "EMPLOYEES",
        "export-dir": "/results/bar_data",
        "update-key": "emp_id",
    }
    refused = sqoop.convert(options_file(tmp_path, "export", given))
    assert (
        refused.text == "" and "name the one that holds these rows with --source <schema>.<table>" in refused.faults[0]
    )
    made = sqoop.convert(options_file(tmp_path, "export", given), source="marts.staff")
    path = tmp_path / "exports.yml"
    path.write_text(made.text)
    target = targets.load_targets(path)["employees"]
    assert (target.connection, target.source, target.mode, target.key) == ("corp", "marts.staff", "update", ("EMP_ID",))
    assert target.columns["SALARY"] == "DECIMAL(10,2)" and target.columns["PHONE"] == "VARCHAR(255)"
    assert any("max_rejected_share" in note for note in made.notes)
    with pytest.raises(PlatformError, match="imports and exports are declared in two files"):
        one = "sqoop import --connect jdbc:mysql://h/corp --table t --columns id"
        sqoop.convert("x", f"{one}\n{one.replace('import', 'export')} --export-dir /a.db/b")


def test_two_blocks_of_one_name_are_refused():
    one = "sqoop import --connect jdbc:mysql://h/corp --table t --columns id"
    assert "corp__t is there twice" in sqoop.convert("x", f"{one}\n{one}").faults[0]


@pytest.mark.parametrize(
    ("url", "name", "clean", "user"),
    [
        ("jdbc:mysql://db.foo.com/corp", "corp", None, None),
        ("jdbc:mysql://db.foo.com:3306/Web-Shop?useSSL=false&user=me", "web_shop",
         "jdbc:mysql://db.foo.com:3306/Web-Shop?useSSL=false", "me"),
        ("jdbc:postgresql:mydb", "mydb", None, None),
        ("jdbc:mariadb://h1,h2:33/state", "state_db", None, None),
        ("jdbc:mysql://h/2020", "db_2020", None, None),
        ("jdbc:mysql://h", "mysql", None, None),
        (f"jdbc:mysql://me:{SECRET}@h/corp", "corp", "jdbc:mysql://h/corp", "me"),
        (f"jdbc:derby:/data/crm;create=true;user=me;password={SECRET}", "crm", "jdbc:derby:/data/crm;create=true", "me"),
        (f"jdbc:postgresql://h/corp?password={SECRET}&sslkey={SECRET}", "corp", "jdbc:postgresql://h/corp", None),
    ],
)  # fmt: skip
def test_a_connection_is_called_after_its_database(url, name, clean, user):
    found = address.read_address(url, "here")
    assert (found.name, found.url, found.user) == (name, clean or url, user)


def test_a_connection_that_is_set_to_the_same_database_is_used(monkeypatch):
    monkeypatch.setenv("MDP_SHOP_URL", "jdbc:mysql://db.foo.com/corp?x=1")
    monkeypatch.setenv("MDP_STATE_URL", "jdbc:mysql://db.foo.com/corp")
    assert address.read_address("jdbc:mysql://db.foo.com/corp?y=2", "here").name == "shop"


# -- passwords --------------------------------------------------------------------------------------------------------

WITH_PASSWORDS = [
    f"--username me --password {SECRET}",
    f"--username me --password={SECRET}",
    f"--username me --password '{SECRET} and more'",
    f"--username me --password {SECRET} {SECRET}",  # a stray word
    f"--username me --pasword {SECRET}",
    f"--username me --pasword={SECRET}",
    "--username me -P",
    "--username me --password-file /home/me/.password",
    f"-Djavax.jdo.option.ConnectionPassword={SECRET}",
    f"--hs2-user me --hs2-password {SECRET} --accumulo-password {SECRET}",
    f"--driver com.mysql.jdbc.Driver -- --password {SECRET} --passwd={SECRET}",
]
URLS = [
    "jdbc:mysql://h/corp", f"jdbc:mysql://me:{SECRET}@h/corp", f"jdbc:mysql://h/corp?user=me&password={SECRET}",
    f"jdbc:mysql://me:{SECRET}?{SECRET}@h/corp", f"jdbc:mysql://me:{SECRET}/x@h/corp", f"jdbc:oracle:thin:me/{SECRET}@h:1521:x",
    f"jdbc:sqlserver://h;user=sa;password={SECRET}", f"{SECRET}", f"jdbc:{SECRET}:x", f"jdbc:derby:x;password={SECRET}",
    f"jdbc:mysql://address=(host=h)(password={SECRET})/corp", f"jdbc:postgresql://h/corp?a=me:{SECRET}@x",
]  # fmt: skip


@pytest.mark.parametrize("options", WITH_PASSWORDS)
@pytest.mark.parametrize("url", URLS)
def test_no_password_is_ever_shown(tmp_path, options, url):
    shown = []
    for text in (f"--columns id {options}", options):
        try:
            made = sqoop.convert("x", f"sqoop import --connect '{url}' --table t {text}")
            shown += [made.text, *made.notes, *made.faults]
        except PlatformError as error:
            shown.append(str(error))
    assert any(shown) and not [text for text in shown if SECRET in text]


def test_no_password_of_an_options_file_is_shown_by_the_command(tmp_path):
    given = {"connect": f"jdbc:mysql://h/corp?password={SECRET}", "username": "me", "password": SECRET, "table": "t"}
    path = options_file(tmp_path, "import", given | {"columns": "id"})
    done = mdp("feed", "from-sqoop", path, home=tmp_path)
    assert done.stdout.startswith("corp__t:\n") and "set: MDP_CORP_PASSWORD_FILE" in done.stderr
    broken = options_file(tmp_path, "import", given | {"tabel": SECRET})
    failed = mdp("feed", "from-sqoop", broken, home=tmp_path, check=False)
    assert failed.returncode == 1 and failed.stdout == "" and "--tabel is no option of import" in failed.stderr
    assert SECRET not in done.stdout + done.stderr + failed.stderr


# -- the commands and the page ----------------------------------------------------------------------------------------


def shown(name: str, section: str) -> str:
    """An option or component as the page writes it."""
    bare = name.rstrip("=")
    if section == "sqoop_hadoop" or bare == "P":
        return f"`-{bare}`"
    short = {long: letter for letter, long in SHORT.items()}
    if not section.startswith("sqoop") or section == "sqoop_other_tools":
        return f"`{name}`"
    return f"`-{short[bare]}`, `--{bare}`" if bare in short and section == "sqoop" else f"`--{bare}`"


def row(entry: Entry, section: str) -> str:
    """An entry of moving_in.yml as a row of the page."""
    names = ", ".join(shown(name, section) for name in entry.names)
    tools = {(IMPORT, ALL, EXPORT): "all", (IMPORT, ALL): "imports"}.get(entry.tools, ", ".join(entry.tools))
    cells = [names, tools, entry.verdict, entry.how] if tools else [names, entry.verdict, entry.how]
    return f"| {' | '.join(cells)} |"


def test_the_page_shows_every_entry_of_the_table():
    page = (PROJECT / "docs" / "moving-in.md").read_text().splitlines()
    sections = [
        line.rstrip(":\n")
        for line in (PROJECT / "ingestion" / "moving_in.yml").read_text().splitlines()
        if re.match(r"\w+:$", line)
    ]
    rows = []
    for section in sections:
        for entry in moving_in(section):
            rows += [row(entry, section), *(row(inner, section) for inner in entry.properties)]
    assert len(rows) > 120
    assert [line for line in rows if line not in page] == []
    written = [line for line in page if re.match(r"\| `.*\| (equivalent|not needed|no equivalent) \|", line)]
    assert sorted(written) == sorted(rows)
    assert set(CONNECTOR) and "moving-in.md" in (PROJECT / "docs" / "your-company.md").read_text()
