"""After ten years of days the ledger is asked as few and as short questions as after a month."""

import json
from contextlib import contextmanager
from datetime import datetime

import pytest
import sqlalchemy as sa

from expectations.scope import make_scope
from ingestion import collect, plan, status
from ingestion.feeds import load_feeds
from warehouse import dates, stages, state

NEWEST = "2026-03-31"
STAGES = [name for name in stages.STAGES if name not in stages.PREDICTIONS]


def fill(n_days: int) -> None:
    """A ledger of `n_days` finished days up to NEWEST, a file to each day and log feed."""
    now, loads, files, published, feeds = datetime(2026, 1, 1), [], [], [], load_feeds().values()
    for n in range(n_days):
        ds = dates.shift(NEWEST, -n)
        for feed in feeds:
            inputs = {"first": ds, "start": ds, "released": []}
            if feed.kind == "files":
                name = f"{feed.name}-{ds}.jsonl"
                file = {
                    "name": name,
                    "digest": f"{feed.name} {ds}",
                    "n_bytes": 1,
                    "modified": 0,
                    "day": ds,
                    "n_lines": 9,
                }
                inputs["files"] = [file]
                files.append(dict(feed=feed.name, digest=file["digest"], path=name, ds=ds, n_bytes=1))
            loads.append(dict(feed=feed.name, ds=ds, load_id=f"{feed.name}@{ds}", inputs=json.dumps(inputs), status="published",
                              n_rows=9, n_quarantined=0, started_at=now, published_at=now))  # fmt: skip
        published += [dict(stage=stage, ds=ds, published_at=now) for stage in STAGES]
    with state.engine().begin() as connection:
        for table, rows in ((state._loads, loads), (state._files, files), (state._published, published)):
            connection.execute(table.insert(), rows)


@contextmanager
def counting():
    """Counts the statements and the rows that they bring."""
    seen = {"statements": 0, "rows": 0}
    whole = state._rows

    def rows(query):
        found = whole(query)
        seen["statements"] += 1
        seen["rows"] += len(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "_rows", rows)
        yield seen


def a_day(monkeypatch) -> dict:
    """What the steps of one more day ask of the ledger."""
    ds = dates.shift(NEWEST, 1)
    spooled = {"name": f"web__events-{NEWEST}.jsonl", "n_bytes": 1, "modified": 0, "day": NEWEST}
    monkeypatch.setattr(collect, "spooled", lambda feed: [spooled] if feed.name == "web__events" else [])
    monkeypatch.setattr(plan.jdbc, "fix_inputs", lambda *given: {})
    monkeypatch.setattr(plan.jdbc, "record_new", lambda *given: None)
    with counting() as seen:
        plan.refuse_if_unfinished(ds)
        for feed in load_feeds().values():
            assert plan.decide(feed, ds, None, reload=False)[0] == "loaded"
            state.publish_load(feed.name, ds, 9)
        for gate in ("raw", "cleaned", "features", "predictions"):
            assert make_scope(gate, ds, None).n_loaded("web__events") >= 9
        stages.take_back("cleaned", ds)
        stages.require("cleaned", NEWEST)
        stages.day_to_take_up()
        assert {line["ds"] for line in status.status()} == {ds}
    return seen


def test_ten_years_of_days_cost_a_day_no_more_than_a_month(tmp_path, monkeypatch):
    found = {}
    for n_days in (75, 3650):
        monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/{n_days}.db")
        fill(n_days)
        found[n_days] = a_day(monkeypatch)
    assert found[75]["statements"] > 50 and found[75]["rows"] > 100
    assert found[3650] == found[75]


def test_a_day_and_a_file_are_found_by_an_index(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    with state.engine().connect() as connection:
        for column in ("ds = 'x'", "feed = 'x' and ds < 'x' order by ds desc"):
            steps = connection.execute(sa.text(f"explain query plan select * from loads where {column}")).fetchall()
            assert "USING" in steps[0][-1] and "INDEX" in steps[0][-1] and "SCAN" not in steps[0][-1], steps
        steps = connection.execute(
            sa.text("explain query plan select ds from files where feed = 'x' and path in ('y')")
        )
        assert "files_by_path" in steps.fetchall()[0][-1]


def test_what_a_model_was_made_from_is_as_short_after_ten_years_and_names_each_gap(tmp_path, monkeypatch):
    """Each training writes it into the ledger of promotions, which is read whole: 36,500 names a time were a megabyte."""
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    fill(3650)
    first, feeds = dates.shift(NEWEST, -3649), sorted(load_feeds())
    assert state.published_loads(NEWEST) == [f"{feed}@{first}..{NEWEST}" for feed in feeds]
    assert state.published_loads(first) == [f"{feed}@{first}" for feed in feeds]
    with state.engine().begin() as connection:
        gap = (state._loads.c.feed == feeds[0]) & (state._loads.c.ds == dates.shift(NEWEST, -1))
        connection.execute(state._loads.update().where(gap).values(status="intent"))
    assert state.published_loads(NEWEST)[:2] == [
        f"{feeds[0]}@{first}..{dates.shift(NEWEST, -2)}",
        f"{feeds[0]}@{NEWEST}",
    ]
