"""The rules of time (docs/conventions.md) on a company of 200 customers, each on real engines in homes of their own."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT, mdp

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DAYS = 24
FIRST, LAST = "2024-03-01", "2024-03-24"
# Written for the newest day of a run only (docs of the models): compared on the last day.
SNAPSHOTS = {"cleaned.customers", "cleaned.products", "cleaned.campaigns", "labels.customer_lifetime"}


def live(home: Path, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.time.live", *words],
        cwd=PROJECT, env=mdp_environment(home), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def mdp_environment(home: Path) -> dict:
    import os

    return os.environ | {"MDP_HOME": str(home)}


def script(home: Path, text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=PROJECT,
        env=mdp_environment(home),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def checksums(home: Path) -> dict[tuple[str, str], str]:
    """(table, ds) → rows and hash, of cleaned, features and labels."""
    found = {}
    for layer in ("cleaned", "features", "labels"):
        for line in mdp("warehouse", "checksum", "--layer", layer, home=home).stdout.splitlines():
            digest, table, ds, rows = line.split()[:4]
            found[table, ds] = f"{rows} {digest}"
    return found


@pytest.fixture(scope="module")
def one_pass(tmp_path_factory):
    """The company's days loaded and built in one pass."""
    home = tmp_path_factory.mktemp("one_pass")
    mdp("warehouse", "start", home=home)
    mdp("sample", "create", "--days", str(DAYS), "--customers", "200", "--seed", "5", home=home)
    live(home, FIRST, LAST)
    yield home
    mdp("warehouse", "stop", home=home)


def test_one_pass_equals_day_by_day(one_pass, tmp_path):
    """A history up to a day and then single days give the same tables as one pass over all of them."""
    (tmp_path / "keys").mkdir(mode=0o700)
    shutil.copy(one_pass / "keys" / "privacy.key", tmp_path / "keys")  # equal people must have equal hashes
    mdp("warehouse", "start", home=tmp_path)
    try:
        mdp("sample", "create", "--days", str(DAYS), "--customers", "200", "--seed", "5", home=tmp_path)
        live(tmp_path, FIRST, "2024-03-20", "-", "2024-03-21", "-", "2024-03-22", "-", "2024-03-23", "-", LAST)
        daily = checksums(tmp_path)
    finally:
        mdp("warehouse", "stop", home=tmp_path)
    whole = checksums(one_pass)
    compared = {key for key in whole if key[0] not in SNAPSHOTS or key[1] == LAST}
    assert len({table for table, _ in compared}) >= 15
    assert len({ds for _, ds in compared}) >= DAYS
    assert {k: whole[k] for k in compared} == {k: daily.get(k) for k in compared}


def test_a_day_that_becomes_empty_is_empty(one_pass):
    """Events of a day vanish from raw, the day is rebuilt: nothing of it stands, and other days are untouched."""
    before = checksums(one_pass)
    assert ("cleaned.events", LAST) in before
    keep = f"received_date < '{LAST}'"
    script(
        one_pass,
        REWRITE.format(table="raw.web__events", ds=LAST, backup=True, select=f"select * from {{df}} where {keep}"),
    )
    try:
        script(one_pass, f"from tests.time.live import rebuild\nrebuild(None, '{LAST}')")
        after = checksums(one_pass)
    finally:
        script(one_pass, RESTORE.format(table="raw.web__events", ds=LAST))
    assert ("cleaned.events", LAST) not in after
    assert after["cleaned.events", "2024-03-15"] == before["cleaned.events", "2024-03-15"]
    script(one_pass, f"from tests.time.live import rebuild\nrebuild(None, '{LAST}')")
    assert checksums(one_pass) == before


def test_moving_only_the_future_changes_no_feature(one_pass):
    """Facts whose own time lies after a day are removed or undone; features up to that day stay the same."""
    day, end = "2024-03-18", "2024-03-18 16:00:00"  # the end of that day in Asia/Shanghai, as UTC
    script(one_pass, f"from warehouse import state\nstate.unpublish(['cleaned', 'features'], {FUTURE_DAYS!r})\n"
                     f"from tests.time.live import rebuild\nrebuild('{FIRST}', '{day}')")  # fmt: skip
    before = {k: v for k, v in checksums(one_pass).items() if k[1] <= day}
    undo = {
        "raw.crm__customers": ["membership_cancelled_at"],
        "raw.crm__orders": ["cancelled_at"],
        "raw.crm__order_items": ["returned_at"],
    }
    born = {
        "raw.crm__orders": "ordered_at",
        "raw.crm__order_items": "ordered_at",
        "raw.crm__customers": "registered_at",
    }
    changed = 0
    for table, columns in undo.items():
        replaced = ", ".join(f"case when {c} < timestamp '{end}' then {c} end as {c}" for c in columns)
        select = (
            f"select * except ({', '.join(columns)}), {replaced} from {{df}} where {born[table]} < timestamp '{end}'"
        )
        changed += int(script(one_pass, REWRITE.format(table=table, ds=LAST, backup=True, select=select)).split()[-1])
    for table in ("raw.web__events", "raw.ads__events"):
        select = f"select * from {{df}} where cast(occurred_at as timestamp) < timestamp '{end}'"
        changed += int(script(one_pass, REWRITE.format(table=table, ds=LAST, backup=True, select=select)).split()[-1])
    assert changed > 100, "the test moved nothing"
    script(one_pass, f"from tests.time.live import rebuild\nrebuild('{FIRST}', '{day}')")
    after = {k: v for k, v in checksums(one_pass).items() if k[1] <= day}
    features = {k for k in before if k[0].startswith("features.")}
    assert len(features) >= 4 * 18
    assert {k: before[k] for k in features} == {k: after.get(k) for k in features}


FUTURE_DAYS = [f"2024-03-{d}" for d in range(19, 25)]
# Replaces a raw partition by a selection of itself (kept aside for RESTORE) and prints how many rows changed.
REWRITE = """
from warehouse.session import session
from warehouse.partitions import read_days, replace_partition
spark = session()
name = "{table}".replace(".", "_")
spark.sql("create database if not exists kept")
spark.sql(f"drop table if exists kept.{{name}}")
spark.sql(f"create table kept.{{name}} stored as parquet as select * from {table} where ds = '{ds}'")
old = spark.table(f"kept.{{name}}").drop("ds")
new = spark.sql('''{select}''', df=old).select(*old.columns)
replace_partition(new, "{table}", "{ds}")
kept = spark.table("{table}").where("ds = '{ds}'").drop("ds")
print(old.exceptAll(kept).count())
"""
RESTORE = """
from warehouse.session import session
from warehouse.partitions import replace_partition
name = "{table}".replace(".", "_")
replace_partition(session().table(f"kept.{{name}}").drop("ds"), "{table}", "{ds}")
"""
