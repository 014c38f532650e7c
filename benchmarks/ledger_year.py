"""A year of daily runs as the state database sees them: what does a day ask of it on its 10th, 75th, 100th and 365th day?

The steps are the product's own: `mdp run` deciding the day, ingestion with files of a spool that keeps them all, gates,
builds, scores, exports, a retraining each Monday. Replaced is only what asks the engine or the source: what is read, computed
and written there. Prints `figure NAME = NUMBER` lines for these days, each the mean of the seven days up to it: statements,
rows_read, ms (within the database), and with --clean-spool the same of a spool from which files of more than a week ago are
taken away. (A gate asks for a feed's last 60 loads, so until day 60 there are more each day.)
"""

import contextlib
import copy
import functools
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

FIRST, N_DAYS, ASKED, MEAN_OF = "2024-01-01", 365, (10, 75, 100, 365), 7


def main() -> None:
    """Live the year and print the figures."""
    from tests.companies import declare

    with tempfile.TemporaryDirectory(prefix="mdp-year-") as home:
        os.environ.update(MDP_HOME=home, MDP_COMPANY=declare(Path(home) / "company", generator=None), TZ="UTC")
        found = live(Path(home), "--clean-spool" in sys.argv)
    for day in ASKED:
        last = found[day - MEAN_OF : day]
        for name in last[0]:
            print(f"figure {name}_day_{day} = {sum(each[name] for each in last) / MEAN_OF:.1f}")


def live(home: Path, is_cleaned: bool = False, n_days: int = N_DAYS) -> list[dict]:
    """What each of the days asks: statements, rows_read, ms."""
    from warehouse import dates, state

    found = []
    with engine_replaced(), counting(state.engine()) as seen, contextlib.redirect_stdout(open(os.devnull, "w")):
        a_history(home)
        for n in range(1, n_days + 1):
            seen.update(statements=0, rows_read=0, ms=0.0)
            a_day(home, dates.shift(FIRST, n), is_cleaned)
            found.append(dict(seen))
    return found


@contextlib.contextmanager
def counting(engine):
    """Counts what goes through `engine`: statements, the rows that they bring, the milliseconds that they take."""
    import sqlalchemy as sa

    from warehouse import state

    seen = {"statements": 0, "rows_read": 0, "ms": 0.0}

    def before(connection, cursor, statement, parameters, context, many):
        context.began = time.perf_counter()

    def after(connection, cursor, statement, parameters, context, many):
        seen["statements"] += 1
        seen["ms"] += 1000 * (time.perf_counter() - context.began)

    whole = state._rows

    def rows(query):
        found = whole(query)
        seen["rows_read"] += len(found)
        return found

    sa.event.listen(engine, "before_cursor_execute", before)
    sa.event.listen(engine, "after_cursor_execute", after)
    with mock.patch.object(state, "_rows", rows):
        yield seen


def a_history(home: Path) -> None:
    """FIRST loaded and built, as the history that everything begins with."""
    from ingestion import run
    from mdp import build
    from warehouse import stages, state

    state.set_fact_once("first_day", FIRST)
    state.set_fact_once("history_to", FIRST)
    spool(home, FIRST)
    run.ingest(FIRST, from_ds=FIRST)
    for name in stages.history():
        layer = name.name
        if layer in build.LAYERS:
            build.build(layer, FIRST, FIRST)
        elif layer != "raw":
            gate(layer, FIRST, FIRST)


def a_day(home: Path, ds: str, is_cleaned: bool) -> None:
    """What `mdp run` and the tasks of the DAGs ask for `ds`."""
    from datetime import date

    from ingestion import export, run, status
    from mdp import build
    from mdp import run as whole
    from ml import score
    from warehouse import dates, stages, state

    spool(home, ds)
    if is_cleaned:
        old = dates.shift(ds, -7)
        for path in home.glob(f"spool/*/*{old}*"):
            path.unlink()
    assert whole.next_day(None, None) == (ds, None)
    whole._training_day()
    run.ingest(ds)
    for stage in stages.STAGES.values():
        if stage.name in build.LAYERS:
            build.build(stage.name, ds)
        elif stage.name in stages.PREDICTIONS:
            score.score(stage.name.removeprefix("predictions."), ds)
        elif stage.name.startswith("gate_"):
            gate(stage.name, ds)
    if date.fromisoformat(ds).weekday() == 0:
        assert stages.status(stages.LAST_OF_HISTORY, ds)[0]
        data = str(state.published_loads(ds))
        for model in stages.MODELS:
            state.record_promotion(model, "1", "2", "better", {"m": 1.0}, data)
    export.export(ds)
    assert status.status() and stages.day_to_take_up() is None


def gate(stage: str, ds: str, from_ds: str | None = None) -> None:
    from expectations.gate import run_gate

    run_gate(stage.removeprefix("gate_"), ds, from_ds)


def spool(home: Path, ds: str) -> None:
    """A file of `ds` for each feed of files."""
    from ingestion.feeds import FilesFeed, load_feeds

    for feed in load_feeds().values():
        if isinstance(feed, FilesFeed):
            path = home / "spool" / feed.directory / feed.pattern.replace("{date}", ds).replace("*", "")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{feed.name} {ds}\n")
            os.utime(path, (time.time() - 3600,) * 2)  # nobody writes it any more


@contextlib.contextmanager
def engine_replaced():
    """Whatever asks the engine, the source or MLflow answers at once; what is recorded of it is recorded."""
    from expectations import gate, validate
    from ingestion import export, jdbc, late, run
    from mdp import build
    from ml import consent, registry, score
    from warehouse import declarations, ops, partitions, state

    def work(feed, load, is_new=False):
        if feed.kind == "files":
            state.note_released(feed.name, load.ds, load.inputs["released"])
            state.take_files(feed.name, load.ds, [(f["name"], f["digest"], f["n_bytes"]) for f in load.inputs["files"]])
        return 100, 1 if feed.kind == "files" else 0

    def judge(suites, is_small=True):
        return [
            validate.Verdict(s.table, rule.name, rule.column, "", True, "1", "1", ()) for s in suites
            for rule in s.rules
        ]  # fmt: skip

    def export_one(target, ds, dry_run):
        state.record_export(ds, target.name, 100, ds)
        return 100

    read = functools.cache(declarations.read_blocks)  # a step is a process, and reads them once

    def read_again(*given):
        return copy.deepcopy(read(*given))

    nothing = mock.MagicMock()
    champion = SimpleNamespace(version="1", is_baseline=False)
    replaced = [
        (run, "session", nothing), (run, "work", work), (jdbc, "fix_inputs", lambda *given: {}),
        (jdbc, "record_new", nothing), (gate.validate, "judge", judge), (gate.report, "write", lambda *given: "report"),
        (ops, "session", nothing), (ops, "replace_partition", nothing), (build, "require_engine", nothing),
        (build, "run_dbt", nothing),
        (build, "make_missing_tables", nothing), (late, "session", nothing), (late, "_oldest_loaded", lambda *given: []),
        (registry, "champion", lambda model: champion), (registry, "read_model", nothing), (registry, "inputs", nothing),
        (consent, "leave_out", nothing), (partitions, "read_days", nothing), (partitions, "replace_partition", nothing),
        (declarations, "read_blocks", read_again),
        (score, "predict_frame", nothing), (export, "_export", export_one), (export, "write_audiences", lambda ds: {}),
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        for module, name, by in replaced:
            stack.enter_context(mock.patch.object(module, name, by))
        yield


if __name__ == "__main__":
    main()
