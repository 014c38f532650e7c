"""What follows from the one list of stages: what may start, what is taken back, what is unfinished and taken up."""

from types import SimpleNamespace

import pytest

from expectations import gate
from ingestion import export, plan
from mdp import build
from mdp.run import _note_first_day, _training_day, next_day
from ml import score, train
from tests.companies import declare
from tests.conftest import PROJECT
from warehouse import stages, state
from warehouse.dates import days
from warehouse.errors import PlatformError
from warehouse.stages import STAGES

FIRST, HISTORY = "2024-03-01", "2024-03-06"
LIVED = ["2024-03-07", "2024-03-08", "2024-03-09", "2024-03-10"]  # each by a run of its own, late window of three days
NEWEST = LIVED[-1]
WINDOWED = ["cleaned", "gate_cleaned", "features", "gate_features"]
DAILY = [name for name, stage in STAGES.items() if stage.days == stages.DAY]


def load(ds: str, from_ds: str | None = None, feed: str = "crm__orders") -> None:
    state.begin_load(feed, ds, {"first": from_ds or ds, "start": FIRST})
    state.publish_load(feed, ds, 1)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty state database; what a build does to tables is left out."""
    monkeypatch.setenv("MDP_STATE_URL", f"sqlite:///{tmp_path}/state.db")
    monkeypatch.setenv("MDP_COMPANY", declare(tmp_path / "company", generator=None))
    monkeypatch.setattr(build, "require_engine", lambda: None)
    monkeypatch.setattr(build.outdated, "columns_of", lambda table: None)
    monkeypatch.setattr(build, "run_dbt", lambda *arguments: None)
    monkeypatch.setattr(build, "make_missing_tables", lambda ds: None)
    monkeypatch.setattr(build, "late", SimpleNamespace(note_reach=lambda *days: None, note_released=lambda ds: None))
    monkeypatch.setattr(build.ops, "refresh", lambda *arguments: None)
    monkeypatch.setattr(gate.ops, "refresh", lambda *arguments: None)


@pytest.fixture
def lived(home):
    """A history and four days after it, all finished."""
    state.set_fact_once("first_day", FIRST)
    state.set_fact_once("history_to", HISTORY)
    load(HISTORY, FIRST)
    for name, stage in STAGES.items():
        if stage.days != stages.DAY:
            state.publish(name, days(FIRST, NEWEST))
        else:
            state.publish(name, LIVED)
    for ds in LIVED:
        load(ds)
    assert stages.day_to_take_up() is None and next_day(None, None) == ("2024-03-11", None)


def published() -> dict[str, list[str]]:
    return {name: state.published_days(name) for name in STAGES}


def pass_gate(name: str, ds: str, from_ds: str | None = None) -> None:
    """What `mdp gate` does when no rule is broken."""
    stages.require(f"gate_{name}", ds, from_ds)
    state.publish(f"gate_{name}", days(*stages.rewrites(f"gate_{name}", ds, from_ds)))


def run_day(ds: str, from_ds: str | None = None) -> None:
    """The stages of a day after its load, in order, each as its command does it."""
    for name, stage in STAGES.items():
        if name == "raw" or (from_ds and stage.days == stages.DAY):
            continue
        if name in build.LAYERS:
            build.build(name, ds, from_ds)
        elif name.startswith("gate_") and stage.days != stages.DAY:
            pass_gate(name.removeprefix("gate_"), ds, from_ds)
        else:
            stages.require(name, ds)
            with stages.rewriting(name, ds):
                pass


# -- the list -----------------------------------------------------------------------------------------------------------


def test_each_stage_needs_only_stages_before_it():
    seen = set()
    for name, stage in STAGES.items():
        assert set(stage.needs) <= seen, name
        assert stage.needs or name == "raw"
        seen.add(name)
    assert stages.followers("raw") == [name for name in STAGES if name != "raw"]
    assert stages.followers("predictions.ctr") == ["gate_predictions", "marts", "export"]
    assert stages.followers("export") == []


def test_every_command_says_which_stage_it_waits_for(home):
    ds = NEWEST
    for name, stage in STAGES.items():
        for needed in stage.needs:
            state.publish(name, [ds])
            state.unpublish(needed, [ds])
            with pytest.raises(PlatformError, match=f"^{needed} of {ds} is not there .*`{stages.typed(needed, ds)}`"):
                stages.require(name, ds)
            state.publish(needed, [ds])
        stages.require(name, ds)


# -- taking back ----------------------------------------------------------------------------------------------------------


def test_a_layer_built_again_takes_back_all_that_follows(lived):
    """Also days of the late window, and all later days, because running totals follow from it."""
    build.build("cleaned", LIVED[1])
    pass_gate("cleaned", LIVED[1])
    found = published()
    assert found["cleaned"] == found["gate_cleaned"] == days(FIRST, NEWEST)
    assert found["features"] == found["gate_features"] == days(FIRST, "2024-03-04")
    for name in DAILY:
        assert found[name] == LIVED[:1], name
    assert next_day(None, None) == (LIVED[1], None)
    with pytest.raises(
        PlatformError, match=f"{LIVED[1]} is unfinished .its stage features .*`mdp build features --ds {LIVED[1]}`"
    ):
        plan.refuse_if_unfinished("2024-03-11")


def test_days_taken_back_are_taken_up_one_after_the_other_until_all_is_finished(lived):
    before = published()
    build.build("features", LIVED[1])
    for ds in LIVED[1:]:
        assert next_day(None, None) == (ds, None)
        run_day(ds)
    assert next_day(None, None) == ("2024-03-11", None)
    assert published() == before


def test_a_daily_run_takes_back_no_predictions_of_its_late_days(lived):
    ds = "2024-03-11"
    load(ds)
    state.publish("raw", [ds])
    pass_gate("raw", ds)
    build.build("cleaned", ds)
    assert state.published_days("gate_cleaned") == days(FIRST, "2024-03-07")
    assert state.published_days("export") == LIVED
    assert stages.day_to_take_up() == ds
    run_day(ds)
    assert stages.day_to_take_up() is None and state.published_days("export") == [*LIVED, ds]


def test_a_layer_of_the_history_built_again_reaches_every_later_day(lived):
    build.build("cleaned", "2024-03-04")
    assert all(state.published_days(name) == [] for name in DAILY)
    assert next_day(None, None) == (LIVED[0], (FIRST, HISTORY)), "no day's late window reaches as far back"
    run_day(HISTORY, FIRST)
    assert next_day(None, None) == (LIVED[0], None)


def test_a_table_of_the_late_window_only_is_mended_by_the_day_whose_window_has_it(lived):
    state.unpublish("gate_features", ["2024-03-05"])  # nobody but a person does so
    assert next_day(None, None) == (LIVED[0], None), "2024-03-07 rebuilds 2024-03-04 … 2024-03-07"


def test_a_load_taken_again_takes_back_what_was_made_of_it(lived, monkeypatch):
    monkeypatch.setattr(plan, "_inputs", lambda *arguments: {"first": LIVED[2], "start": FIRST})
    monkeypatch.setattr(plan.jdbc, "record_new", lambda *arguments: None)
    feed = plan_feed("crm__orders")
    plan.intend(feed, LIVED[2], None)
    found = published()
    assert found["raw"] == found["gate_raw"] == [d for d in days(FIRST, NEWEST) if d != LIVED[2]]
    assert found["cleaned"] == found["gate_features"] == days(FIRST, "2024-03-05")
    assert found["export"] == LIVED[:2]
    before = published()
    plan.intend(feed, "2024-03-11", None)
    assert published() == before, "a first load takes back nothing: the days before it stand until they are rebuilt"


def plan_feed(name: str):
    from ingestion.feeds import load_feeds

    return load_feeds()[name]


def test_a_window_reaches_as_far_back_as_the_loaded_rows_and_what_follows_is_taken_back_as_far(lived):
    state.note_reach(NEWEST, "2024-03-03")
    state.note_reach(NEWEST, "2024-03-05")  # the same load looked at again: the days that it was built for stay
    for name in WINDOWED:
        assert stages.rewrites(name, NEWEST) == ("2024-03-03", NEWEST)
    assert stages.rewrites("cleaned", LIVED[0], LIVED[0]) == ("2024-03-04", NEWEST)
    build.build("cleaned", NEWEST)
    assert state.published_days("features") == days(FIRST, "2024-03-02")
    assert state.published_days("export") == LIVED[:-1]
    run_day(NEWEST)
    assert stages.day_to_take_up() is None


def test_a_model_scored_again_takes_back_what_follows_of_its_day_alone(lived):
    with stages.rewriting("predictions.ctr", LIVED[1]):
        pass
    without = [ds for ds in LIVED if ds != LIVED[1]]
    assert state.published_days("predictions.ctr") == state.published_days("predictions.churn") == LIVED
    for name in ("gate_predictions", "marts", "export"):
        assert state.published_days(name) == without
    assert next_day(None, None) == (LIVED[1], None)


def test_a_stage_that_breaks_off_stays_taken_back(lived):
    with pytest.raises(PlatformError, match="dbt failed"), stages.rewriting("marts", NEWEST):
        raise PlatformError("dbt failed")
    assert state.published_days("marts") == state.published_days("export") == LIVED[:-1]


@pytest.mark.parametrize("passes", [True, False])
def test_a_gate_takes_back_what_follows_only_if_it_refuses(lived, tmp_path, monkeypatch, passes):
    from expectations.validate import Verdict

    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    verdict = Verdict(
        "features.customer_day", "volume", None, "rows", "holds" if passes else "broken", "0", "at least 1", ()
    )
    monkeypatch.setattr(gate.validate, "judge", lambda *arguments, **more: [verdict])
    before = published()
    if passes:
        gate.run_gate("features", NEWEST)
        assert published() == before
        return
    with pytest.raises(gate.GateFailed):
        gate.run_gate("features", NEWEST)
    assert state.published_days("features") == days(FIRST, NEWEST)
    assert state.published_days("gate_features") == days(FIRST, HISTORY)
    assert state.published_days("export") == LIVED[:-1]


def test_a_day_that_was_once_handed_back_is_not_overwritten_by_an_older_one(lived, monkeypatch):
    """While later days are taken back, an older one is the newest that is finished; what the CRM holds is newer."""
    state.record_export(NEWEST, "mdp_segments", 3, "digest")
    build.build("cleaned", LIVED[0])
    run_day(LIVED[0])
    state.unpublish("export", [LIVED[0]])
    assert state.newest("marts") == LIVED[0]
    monkeypatch.setattr(export, "write_audiences", lambda ds: pytest.fail("an older day's audiences were written"))
    monkeypatch.setattr(export, "_export", lambda *arguments: pytest.fail("an older day was exported"))
    assert export.export(LIVED[0])["exported"] is False


# -- one rule for training and scoring ------------------------------------------------------------------------------------


@pytest.mark.parametrize("do", [train.train, score.score])
def test_training_and_scoring_wait_for_the_gate_of_the_features(home, do):
    state.publish("features", [NEWEST])
    with pytest.raises(
        PlatformError, match=f"gate_features of {NEWEST} is not there .*`mdp gate features --ds {NEWEST}`"
    ):
        do("ctr", NEWEST)


# -- what is unfinished ---------------------------------------------------------------------------------------------------


def test_a_later_day_waits_for_an_unfinished_one(home):
    load(HISTORY, FIRST)
    with pytest.raises(PlatformError, match=rf"{HISTORY} is unfinished \(its stage raw .* --from {FIRST}"):
        plan.refuse_if_unfinished(LIVED[0])
    state.publish("raw", [HISTORY])
    with pytest.raises(PlatformError, match=f"its stage gate_raw .*`mdp gate raw --ds {HISTORY} --from {FIRST}`"):
        plan.refuse_if_unfinished(LIVED[0])
    for stage in STAGES.values():
        if stage.days != stages.DAY:
            state.publish(stage.name, [HISTORY])
    plan.refuse_if_unfinished(LIVED[0])  # a history is finished with its features
    load(LIVED[0])
    with pytest.raises(PlatformError, match=f"{LIVED[0]} is unfinished"):
        plan.refuse_if_unfinished(LIVED[1])
    plan.refuse_if_unfinished(LIVED[0])


def test_a_history_stays_whole_while_a_later_day_rebuilds_its_last_days(lived):
    build.build("features", LIVED[0])
    assert not state.is_published("gate_features", HISTORY)
    plan.refuse_if_unfinished(LIVED[0])
    assert next_day(None, None) == (LIVED[0], None)


def test_a_history_that_was_stopped_is_taken_up(home):
    state.set_fact_once("first_day", FIRST)
    state.set_fact_once("history_to", HISTORY)
    assert next_day(None, None) == (LIVED[0], (FIRST, HISTORY)), "nothing of it was loaded"
    load(HISTORY, FIRST)
    state.publish("gate_cleaned", [HISTORY])
    assert next_day(None, None) == (LIVED[0], (FIRST, HISTORY))
    state.publish("gate_features", [HISTORY])
    assert next_day(None, None) == (LIVED[0], None)


def test_a_topic_that_is_followed_does_not_begin_its_day(home):
    load(HISTORY, FIRST)
    state.begin_load("web__events", LIVED[0], {"first": LIVED[0], "start": FIRST, "open": True})
    with pytest.raises(PlatformError, match=f"{HISTORY} is unfinished"):
        plan.refuse_if_unfinished(LIVED[0])


def test_a_day_that_was_never_handed_back_is_taken_up(lived):
    state.unpublish("export", [LIVED[2]])
    assert next_day(None, None) == (LIVED[2], None)
    with pytest.raises(PlatformError, match=f"{LIVED[2]} is not finished; no later day runs past it"):
        next_day("2024-03-11", None)
    plan.refuse_if_unfinished("2024-03-11")  # by hand the next day may start: the data is whole


# -- what is written from the list ----------------------------------------------------------------------------------------


def test_ready_says_whether_a_stage_is_whole(home):
    from typer.testing import CliRunner

    from mdp.cli import app

    def ready(stage: str):
        said = CliRunner().invoke(app, ["ready", stage, "--ds", NEWEST])
        return said.exit_code, said.output.strip()

    assert ready("gate_features") == (
        99, f"gate_features of {NEWEST} is not whole yet: `mdp gate features --ds {NEWEST}` makes it so"
    )  # fmt: skip
    state.publish("gate_features", [NEWEST])
    assert ready("gate_features") == (0, f"gate_features of {NEWEST} is whole")
    state.switch_off("predictions.churn", NEWEST, "nobody has left yet")
    assert ready("predictions.churn") == (0, f"predictions.churn of {NEWEST} is off: nobody has left yet")
    with pytest.raises(PlatformError, match="known are .*gate_features"):
        stages.status("gates", NEWEST)


def test_the_conventions_show_the_list():
    rewritten = {
        stages.LOAD: "the days of its load", stages.WINDOW: "the late window … the newest day", stages.DAY: "its day"
    }  # fmt: skip
    rows = []
    for stage in STAGES.values():
        needs = ", ".join(f"`{name}`" for name in stage.needs) or "–"
        row = f"| `{stage.name}` | `{stage.command}` | {needs} | {rewritten[stage.days]} |"
        for model in stages.MODELS:
            row = row.replace(f"predictions.{model}", "predictions.<model>").replace(f"score {model}", "score <model>")
        rows.append(row.replace(", `predictions.<model>`", ""))
    text = (PROJECT / "docs" / "conventions.md").read_text()
    shown = [line for line in text.splitlines() if line.startswith("| `") and line.count("|") == 5]
    assert shown == list(dict.fromkeys(rows))


def test_the_first_day_of_all_has_no_history_and_nothing_to_learn_from(home):
    assert next_day(FIRST, FIRST) == (FIRST, None)
    assert next_day(None, None) == (FIRST, None), "it was stopped before its load"
    _note_first_day(FIRST)
    assert {state.last_off(f"train.{model}").reason for model in stages.models()} == {
        "there is no day before the first to learn from"
    }
    load(FIRST)
    assert next_day(None, None) == (FIRST, None), "it was stopped after its load"
    assert not stages.is_history(FIRST)
    state.publish("raw", [FIRST])
    run_day(FIRST)
    assert next_day(None, None) == ("2024-03-02", None)
    assert _training_day() == FIRST
