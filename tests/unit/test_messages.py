"""What a person may well type wrong ends in a sentence: what, where, what to do next; never in a traceback."""

import re
from types import SimpleNamespace

import pytest

from ingestion import audiences, infer
from ingestion.feeds import load_feeds
from mdp import run, show
from tests.companies import declare
from tests.conftest import mdp
from warehouse import leases, state
from warehouse.errors import PlatformError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    for name in ("MDP_STATE_URL", "MDP_COMPANY", "MDP_CRM_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    return tmp_path


def test_an_unknown_table_is_answered_with_those_of_like_names(monkeypatch):
    there = {"marts": ["customer_profile", "funnel"], "raw": ["crm__orders"]}
    monkeypatch.setattr(show, "_tables_of", lambda layer: [SimpleNamespace(name=n) for n in there.get(layer, ())])
    for name, said in (
        ("`marts`.`customer_profil`", "there is no table marts.customer_profil: did you mean marts.customer_profile?"),
        ("`crm__orders`", "there is no table crm__orders: did you mean raw.crm__orders?"),
        ("`x`", "there is no table x: `show tables in <layer>` lists those of raw, quarantine, staging"),
    ):
        refused = (
            f"[TABLE_OR_VIEW_NOT_FOUND] The table or view {name} cannot be found. Verify the spelling. SQLSTATE: 42P01; line 1 "
            f"pos 14;\n'Project [*]\n+- 'UnresolvedRelation [{name}], [], false\n\n\nJVM stacktrace:\norg.apache"
        )
        assert show._refused(refused).startswith(said)
    plan = (
        "[UNRESOLVED_COLUMN] A column `x` cannot be resolved. SQLSTATE: 42703; line 1 pos 7;\n'Project ['x]\n+- OneRow"
    )
    assert show._refused(plan).endswith(
        "refused the statement: [UNRESOLVED_COLUMN] A column `x` cannot be resolved. SQLSTATE: 42703"
    )


@pytest.mark.parametrize(
    ("product", "kind", "declared", "sent"),
    [
        ("postgresql", "numeric", "string", '("n")::text'),  # NaN, and digits beyond Spark's decimal(38,18)
        ("postgresql", "numeric(24,2)", "decimal(24,2)", '("n")::text'),
        ("mariadb", "bigint", "bigint", '"n"'),
        ("derby", "integer", "int", '"n"'),
    ],
)
def test_infer_asks_for_values_as_a_load_would(product, kind, declared, sent):
    asked = []
    source = SimpleNamespace(
        database=SimpleNamespace(product=product), quoted=lambda name: f'"{name}"', relation="t",
        ask=lambda sql: asked.append(sql) or [("NaN",)],
    )  # fmt: skip
    assert infer._sample_rows(source, {"n": declared}, {"n": kind}) == [{"n": "NaN"}]
    assert asked[0].startswith(f'select {sent} as "n" from t ')


@pytest.mark.parametrize(
    ("kind", "declared", "value", "said"),
    [
        (
            "numeric(10,2)",
            "decimal(10,2)",
            "NaN",
            "holds NaN, at which a load stops: select nullif(n, 'NaN') in a query",
        ),
        (
            "numeric",
            "string",
            "-Infinity",
            "numeric at the source that holds -Infinity: as a text, or nullif(n, '-Infinity')",
        ),
        ("numeric", "string", "1.5", "numeric at the source, better a decimal(p,s) if all values fit"),
        ("numeric(10,2)", "decimal(10,2)", "1.50", None),
    ],
)
def test_infer_says_which_column_holds_what_no_decimal_can(kind, declared, value, said):
    column = infer._column("n", declared, kind, [{"n": None}, {"n": value}])
    assert said in column.comment if said else column.comment is None


def test_a_consent_that_cannot_be_asked_for_is_refused_by_place(home, monkeypatch):
    assert audiences.missing() is None and audiences.consent_feed().name == "crm__customers"
    consent = {"feed": "crm__customers", "marketing": "consent_marketing"}
    for changed, said in (
        (
            {"consent": consent | {"feed": "crm__people"}},
            "consent is read from crm__people, which is no feed of a database's",
        ),
        (
            {"consent": consent | {"feed": "web__events"}},
            "consent is read from web__events, which is no feed of a database's",
        ),
        ({"consent": consent, "profiling": "consent"}, "consent has no key `profiling`"),
    ):
        monkeypatch.setenv("MDP_COMPANY", declare(home, **changed))
        with pytest.raises(PlatformError, match=f"company.yml, line \\d+: .*{said}"):
            audiences.consent_feed()
    monkeypatch.setenv("MDP_COMPANY", declare(home, consent=consent | {"who": "x"}))
    with pytest.raises(PlatformError, match="unknown key 'who'; allowed: feed, customer_id, marketing, profiling"):
        audiences.consent_feed()


def test_without_a_consent_nobody_is_written_to_and_the_day_goes_on(home, monkeypatch):
    monkeypatch.setenv("MDP_COMPANY", declare(home, consent=None))
    assert audiences.missing() is None and audiences.consent_feed() is None, "the customers as loaded say it"
    path = home / "staging" / "_staging.yml"
    path.write_text(path.read_text().replace("{name: has_marketing_consent}, ", ""))
    assert "nothing says who consents to marketing, so nobody" in audiences.missing()
    assert audiences.write_audiences("2024-03-05") == {}
    monkeypatch.setenv("MDP_COMPANY", declare(home, consent=None, profiling="consent"))
    path.write_text(path.read_text().replace("{name: has_profiling_consent}, ", ""))
    assert "nothing says who consents to marketing and profiling" in audiences.missing()


def test_a_second_run_in_one_home_is_refused():
    with leases.lock("mdp run"), pytest.raises(PlatformError, match="mdp run is being worked on by process"):
        run.run(None, None, {})


@pytest.mark.parametrize(
    ("ds", "from_ds", "said"),
    [
        (
            "2011-12-09",
            "2010-12-01",
            "2010-12-01 is no day of Sample company, which is generated and lives from 2024-03-01 to 2024-03-30",
        ),
        ("2024-03-31", None, "2024-03-31 is no day of Sample company, which is generated and lives"),
        ("2024-03-05", "2024-03-06", "the range 2024-03-06 … 2024-03-05 is empty"),
        ("yesterday", None, "'yesterday' is not a day"),
    ],
)
def test_a_day_that_the_sample_cannot_have_is_refused_before_anything_is_started(ds, from_ds, said):
    with pytest.raises(PlatformError, match=re.escape(said)):
        run.refuse_early(ds, from_ds, 30)
    run.refuse_early("2024-03-30", "2024-03-01", 30)
    run.refuse_early(None, None, 30)


def test_a_day_past_one_that_was_stopped_is_told_so_and_not_that_it_was_not_lived(monkeypatch):
    monkeypatch.setattr(run.stages, "day_to_take_up", lambda: "2024-03-30")
    run.refuse_early("2024-03-31", None, 30)
    state.set_fact_once("history_to", "2024-03-29")
    with pytest.raises(PlatformError, match="2024-03-30 is not finished; no later day runs past it"):
        run.next_day("2024-03-31", None)


def test_own_sources_need_an_address(monkeypatch, tmp_path):
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path / "mine", generator=None))
    with pytest.raises(PlatformError, match="connection crm has no address: set MDP_CRM_URL to a JDBC URL"):
        run.refuse_early("2024-03-05", None, 30)
    monkeypatch.setenv("MDP_CRM_URL", "jdbc:postgresql://crm.example/shop")
    run.refuse_early("2024-03-05", "2010-12-01", 30)


@pytest.mark.parametrize(
    ("name", "content"), [("bytes.yml", b"\xff\xfe\x00"), ("zero.yml", b"a: \x00"), ("folder", None)]
)
def test_a_file_of_feeds_that_cannot_be_read_is_named(tmp_path, name, content):
    path = tmp_path / name
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(PlatformError, match=f"{name}: cannot be read as YAML in UTF-8"):
        load_feeds(path)


def test_a_setting_that_cannot_be_used_is_a_sentence_also_on_the_way_to_the_warm_interpreter(home):
    said = mdp(
        "ingest", "--ds", "2024-03-05", home=home, check=False, MDP_COMPANY=declare(home / "mars", timezone="Mars")
    )
    assert said.returncode == 1 and "company.yml, line 2: timezone is 'Mars', which is no time zone" in said.stderr
