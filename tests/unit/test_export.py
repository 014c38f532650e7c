"""What an export may say, how its connection is carried over to Python, and what a database's refusal comes to."""

import pytest
import sqlalchemy as sa
import yaml

from ingestion.targets import load_targets, pick
from mdp import show
from tests.companies import EXPORTS, declare
from warehouse import databases, state
from warehouse.connections import database
from warehouse.errors import PlatformError

DAY = "2024-03-05"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    for name in ("MDP_STATE_URL", "MDP_CRM_URL", "MDP_COMPANY"):
        monkeypatch.delenv(name, raising=False)


# -- exports.yml ------------------------------------------------------------------------------------------------------


def test_the_shipped_exports_hold():
    targets = load_targets()
    assert list(targets) == ["mdp_segments", "mdp_churn_risk", "mdp_budget_plan"]
    assert {(t.connection, t.mode, t.max_rejected_share) for t in targets.values()} == {("crm", "replace", 0.0)}
    assert all({"ds", "model_version"} < set(t.columns) for t in targets.values())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"tabel": "x"},
            "unknown key 'tabel'; allowed keys: columns, connection, key, max_rejected_share, mode, source, table, where",
        ),
        ({"table": None}, "key 'table' is None"),
        ({"table": "a;drop"}, "key 'table' is 'a;drop'"),
        ({"source": "segmentation"}, "key 'source' is 'segmentation'"),
        ({"mode": "append"}, "key 'mode' is 'append'; allowed: 'replace', 'insert', 'update' or 'upsert'"),
        ({"key": []}, "key 'key' is []"),
        ({"key": ["id"]}, "has 'id' in its key, which is not among its columns"),
        ({"columns": {}}, "key 'columns' is {}"),
        (
            {"columns": {"customer_id": "TEXT"}},
            "key 'columns.customer_id' is 'TEXT'; allowed: VARCHAR(n), DECIMAL(p,s),",
        ),
        ({"columns": {"customer id": "INT"}}, "column name 'customer id' is none: letters, digits and _"),
        ({"columns": {"customer_id": "INT", "Customer_ID": "INT"}}, "has customer_id twice among its columns"),
        ({"columns": {"customer_id": "INT", "mdp_row": "INT"}}, "has columns named mdp_row, which staging uses itself"),
        ({"mode": "update", "columns": {"customer_id": "INT"}}, "has nothing but its key: mode update needs a column"),
        ({"table": "crm.mdp_exports"}, "may not write mdp_exports, where exports keep their own marks"),
        ({"max_rejected_share": 5}, "key 'max_rejected_share' is 5"),
    ],
)
def test_a_wrong_key_gets_a_sentence(tmp_path, change, said):
    block = yaml.safe_load(EXPORTS.read_text())["mdp_segments"] | change
    path = tmp_path / "exports.yml"
    path.write_text(yaml.safe_dump({"mine": block}))
    with pytest.raises(PlatformError) as caught:
        load_targets(path)
    assert str(caught.value).startswith("exports.yml: export mine: ") and said in str(caught.value)


def test_all_faults_are_said_at_once_and_the_file_is_the_companys(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path))
    (tmp_path / "exports.yml").unlink()
    with pytest.raises(PlatformError, match="exports.yml is missing: each export is declared there"):
        load_targets()
    (tmp_path / "exports.yml").write_text("a: 1\nB: {}\n")
    with pytest.raises(PlatformError) as caught:
        load_targets()
    lines = str(caught.value).splitlines()
    assert "exports.yml: export a: must be a block of keys (line 1)" in lines
    assert "exports.yml: export B: the name must be lower-case letters, digits and _, 32 at most (line 2)" in lines
    assert "exports.yml: export B: key 'source' is missing; allowed keys:" in str(caught.value)


def test_an_unknown_export_lists_the_known():
    with pytest.raises(PlatformError, match="unknown export 'mdp_segment': known are mdp_budget_plan, mdp_churn_risk"):
        pick("mdp_segment")


# -- the connection ---------------------------------------------------------------------------------------------------


def opened(monkeypatch, url: str) -> tuple[sa.URL, dict]:
    """(URL, driver's options) that a connection's JDBC URL becomes."""
    seen = {}
    monkeypatch.setenv("MDP_TO_URL", url)
    monkeypatch.setenv("MDP_TO_USER", "me")
    monkeypatch.setenv("MDP_TO_PASSWORD", "p@ss/word:")
    monkeypatch.setattr(sa.event, "listen", lambda *_: None)
    monkeypatch.setattr(sa, "create_engine", lambda url, **more: seen.update(url=url, options=more["connect_args"]))
    databases.open_database(database("to"))
    return seen["url"], seen["options"]


def test_a_jdbc_url_becomes_pythons(monkeypatch):
    url, options = opened(monkeypatch, "jdbc:mariadb://db.example:3307/shop?sslMode=disable&useBulkStmts=true")
    assert (url.drivername, url.host, url.port, url.database) == ("mysql+pymysql", "db.example", 3307, "shop")
    assert (url.username, url.password) == ("me", "p@ss/word:") and "p@ss" not in repr(url)
    assert options["ssl_disabled"] is True and options["read_timeout"] == 900
    url, options = opened(
        monkeypatch, "jdbc:postgresql://[::1]/shop?sslmode=verify-full&sslrootcert=/a.pem&currentSchema=x"
    )
    assert (url.drivername, url.host, url.port, url.database) == ("postgresql+psycopg2", "::1", None, "shop")
    assert (options["sslmode"], options["sslrootcert"], options["options"]) == (
        "verify-full",
        "/a.pem",
        "-csearch_path=x",
    )


def test_what_guards_a_connection_is_never_dropped(monkeypatch):
    import ssl

    _, options = opened(monkeypatch, "jdbc:mariadb://db/shop")
    assert options["ssl"].verify_mode == ssl.CERT_NONE, "the JDBC driver insists on TLS: so do we"
    _, options = opened(monkeypatch, "jdbc:mariadb://db/shop?sslMode=verify-full&connectTimeout=3000")
    assert options["ssl"].verify_mode == ssl.CERT_REQUIRED and options["ssl"].check_hostname
    assert options["connect_timeout"] == 3
    _, options = opened(monkeypatch, "jdbc:mysql://db/shop?sslMode=VERIFY_CA")
    assert options["ssl"].verify_mode == ssl.CERT_REQUIRED and not options["ssl"].check_hostname
    _, options = opened(monkeypatch, "jdbc:postgresql://db/shop?ssl=true")
    assert options["sslmode"] == "verify-full"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("jdbc:mariadb://a,b/shop", "must look like jdbc:mariadb://host:port/database"),
        ("jdbc:mariadb:replication://a/shop", "must look like"),
        ("jdbc:postgresql://db", "must look like jdbc:postgresql://host:port/database"),
        (
            "jdbc:mariadb://db/shop?trustStore=/a.jks&keyStore=b",
            "that Python's driver does not know: keystore, truststore",
        ),
        ("jdbc:mariadb://db/shop?sslMode=maybe", "that Python's driver does not know: sslMode"),
        ("jdbc:mariadb://db/shop?serverSslCert=/nowhere.pem", "serverSslCert /nowhere.pem cannot be read"),
        ("jdbc:postgresql://db/shop?sslfactory=org.Any", "that Python's driver does not know: sslfactory"),
        (
            "jdbc:postgresql://db/shop?password=hidden",
            "its URL holds password: set MDP_TO_USER and MDP_TO_PASSWORD_FILE",
        ),
        ("jdbc:derby:/x/crm", "only MariaDB, MySQL and PostgreSQL can be written row by row"),
    ],
)
def test_what_cannot_be_carried_over_is_refused(monkeypatch, url, said):
    with pytest.raises(PlatformError) as caught:
        opened(monkeypatch, url)
    assert said in str(caught.value) and "hidden" not in str(caught.value).replace("MDP_TO", "")


# -- reasons ----------------------------------------------------------------------------------------------------------


class Postgres(Exception):
    def __init__(self, code: str, text: str):
        self.pgcode, self.diag = code, type("Diagnostics", (), {"message_primary": text})


@pytest.mark.parametrize(
    ("error", "is_row", "said"),
    [
        (Exception(1406, "Data too long for column 'name' at row 17"), True, "1406: Data too long for column 'name'"),
        (
            Exception(1366, "Incorrect decimal value: 'it's\n long' for column `a`.`mdp_ok_x`.`sum` at row 1"),
            True,
            "1366: Incorrect decimal value for column `sum`",
        ),
        (Exception(1062, "Duplicate entry 'li@x' for key 'mail'"), True, "1062: Duplicate entry for key 'mail'"),
        (Exception(1213, "Deadlock found when trying to get lock"), False, "1213: Deadlock found when trying to get lock"),
        (Exception(2013, "Lost connection"), False, "2013: Lost connection"),
        (Postgres("22P02", 'invalid input for type integer: "a "b""'), True, "22P02: invalid input for type integer"),
        (Postgres("23505", 'duplicate key … "mail_key"'), True, '23505: duplicate key … "mail_key"'),
        (Postgres("40P01", "deadlock detected"), False, "40P01: deadlock detected"),
        (Postgres(None, "server closed the connection"), False, "connection: server closed the connection"),
        (Postgres("P0001", "no " * 200), True, ("P0001: " + "no " * 200)[:200]),
    ],
)  # fmt: skip
def test_a_refusal_is_told_in_the_databases_words_without_the_value(error, is_row, said):
    wrapped = sa.exc.DBAPIError("insert …", None, error)
    assert databases.is_row_fault(wrapped) is is_row
    assert databases.reason(wrapped) == said


# -- the ledger -------------------------------------------------------------------------------------------------------


def test_the_ledger_tells_exported_from_refused(capsys):
    rows = [{"row_key": '{"id": "a"}', "reason": "null_key"}, {"row_key": '{"id": "b"}', "reason": "no_such_key"}]
    state.record_export(DAY, "mine", 5, "one", rows[:1])
    state.record_rejected(DAY, "mine", "two", rows)
    state.record_rejected(DAY, "mine", "two", rows)
    assert [(r["digest"], r["row_number"], r["reason"]) for r in state.rejected_rows(DAY)] == [
        ("one", 1, "null_key"), ("two", 1, "null_key"), ("two", 2, "no_such_key"),
    ]  # fmt: skip
    show.exports(DAY, "mine")
    said = capsys.readouterr().out
    assert (
        "mine: 5 rows accepted, 1 rejected" in said and "a later run was refused or broke off: 2 rejected rows" in said
    )
    assert '{"id": "b"}  no_such_key' in said
    state.record_export(DAY, "mine", 7, "two", [])
    assert state.rejected_rows(DAY, "mine") == []
    with pytest.raises(PlatformError, match="no export yours of 2024-03-05 is recorded: mine"):
        show.exports(DAY, "yours")
