"""An engine that is away: a step waits for its restart, and what failed because of it says so by its exit code."""

import json
import socket
import threading
import time
from pathlib import Path

import psutil
import pytest

from mdp import build, cli
from warehouse import session, supervise
from warehouse.errors import EngineDown, NotYet, PlatformError
from warehouse.runfile import changing_run, record_service


@pytest.fixture()
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("MDP_HOME", str(tmp_path))
    return tmp_path


def ends_with(monkeypatch, error: Exception, engines: list) -> int:
    """The exit code of a command that raises `error`, the engine being the first, then the second of `engines`."""
    seen = iter(engines)
    monkeypatch.setattr(session, "seen_engine", lambda: next(seen))

    def command():
        raise error

    monkeypatch.setattr(cli, "app", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


class Refused(PlatformError):
    is_verdict = True


@pytest.mark.parametrize(
    ("error", "engines", "code"),
    [
        (PlatformError("dbt failed"), [(1, 0.0), (1, 0.0)], 1),
        (PlatformError("dbt failed"), [(1, 0.0), (2, 9.0)], 75),
        (RuntimeError("UNAVAILABLE"), [(1, 0.0), None], 75),
        (RuntimeError("a defect of ours"), [(1, 0.0), (1, 0.0)], 70),
        (RuntimeError("no engine was there"), [None, None], 70),
        (Refused("a rule is broken"), [(1, 0.0), None], 1),
        (NotYet("too young"), [(1, 0.0), None], 99),
        (EngineDown("no engine runs"), [None, None], 75),
    ],
)  # fmt: skip
def test_what_failed_because_the_engine_died_may_be_tried_again(home, monkeypatch, capsys, error, engines, code):
    assert ends_with(monkeypatch, error, engines) == code
    said = capsys.readouterr().err
    assert ("the warehouse engine died meanwhile" in said) == (code == 75 and not isinstance(error, EngineDown))
    assert ("Traceback" in said) == (code == 70)


def test_a_step_waits_for_an_engine_that_is_being_restarted(home):
    record_service(home, "supervisor", psutil.Process(), {})
    with changing_run(home) as info:
        info["services"]["engine"] = {"pid": -1, "created": 0, "state": "starting"}
    threading.Timer(0.5, lambda: record_service(home, "engine", psutil.Process(), {}, state="up")).start()
    started = time.monotonic()
    session._wait_for_start(home)
    assert 0.4 < time.monotonic() - started < 10 and session.seen_engine()[0] == psutil.Process().pid


def test_a_step_does_not_wait_for_an_engine_that_was_given_up_or_never_started(home):
    started = time.monotonic()
    session._wait_for_start(home)
    record_service(home, "supervisor", psutil.Process(), {})
    with changing_run(home) as info:
        info["services"]["engine"] = {"state": "crashed"}
    assert session.seen_engine() is None
    with pytest.raises(EngineDown, match="no warehouse engine runs"):
        session.require_engine()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("code", "is_up", "ends"),
    [(1, True, 1), (2, True, 1), (1, False, 75), (2, False, 75), (-9, True, 75), (137, True, 75), (75, True, 75)],
)
def test_a_dbt_that_came_to_no_end_says_nothing_of_the_models(home, monkeypatch, code, is_up, ends):
    """1 and 2 are dbt's own; killed it ends with a signal, in the warm interpreter with 128 and the signal, or with 75."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        monkeypatch.setenv("MDP_THRIFT_HOST", "127.0.0.1")
        monkeypatch.setenv("MDP_THRIFT_PORT", str(door.getsockname()[1]))
        if not is_up:
            door.close()
        monkeypatch.setattr(build.warm, "call", lambda *given: code)
        with pytest.raises(PlatformError) as failed:
            build.run_dbt(["build"], "2026-01-01", "2026-01-01")
    assert failed.value.exit_code == ends
    assert isinstance(failed.value, EngineDown) == (not is_up)


def test_what_dbt_could_not_build_is_named_with_its_message(home, monkeypatch):
    said = [
        {"unique_id": "model.marketing.orders", "status": "success", "message": "OK"},
        {"unique_id": "model.company.stg_shop__orders", "status": "error",
         "message": "Runtime Error in model stg_shop__orders (staging/stg_shop__orders.sql)\n  A column `x` cannot be resolved.\n"
                    "\tat org.apache.spark.Thing(Thing.scala:1)\n"},
        {"unique_id": "test.marketing.key_orders_order_id.abc", "status": "fail", "message": "Got 2 results"},
        {"unique_id": "model.marketing.rfm", "status": "skipped", "message": None},
    ]  # fmt: skip

    def fails(home, command, env, cwd, seconds):
        results = Path(env["DBT_TARGET_PATH"]) / "run_results.json"
        assert not results.exists(), "those of an earlier run"
        if said:
            results.parent.mkdir(parents=True, exist_ok=True)
            results.write_text(json.dumps({"results": said}))
        return 1

    monkeypatch.setattr(build.warm, "call", fails)
    monkeypatch.setattr(build, "require_sql_door", lambda: None)
    with pytest.raises(PlatformError) as failed:
        build.run_dbt(["build"], "2026-01-01", "2026-01-02")
    assert str(failed.value).splitlines() == [
        "dbt failed for 2026-01-01 … 2026-01-02; mend what it names, then run again:",
        "  model stg_shop__orders: Runtime Error in model stg_shop__orders (staging/stg_shop__orders.sql)",
        "    A column `x` cannot be resolved.",
        "  test key_orders_order_id: Got 2 results",
    ]
    said.clear()
    with pytest.raises(PlatformError, match="it could not begin: its message is above"):
        build.run_dbt(["build"], "2026-01-01", "2026-01-02")


@pytest.mark.parametrize("hours_up", [[0, 0], [5, 2, 24, 0], [5, 0.5], [0, 5, 0.5]])
def test_an_engine_is_restarted_once_an_hour_however_long_its_stack_is_up(home, monkeypatch, hours_up):
    (home / "logs").mkdir()
    now, left = [0.0], list(hours_up)

    class Engine:
        def wait(self):
            now[0] += 3600 * left.pop(0)
            return -9

        def poll(self):
            return -9

    monkeypatch.setattr(supervise.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(supervise, "_start", lambda conf: Engine())
    monkeypatch.setattr(supervise.signal, "signal", lambda *given: None)
    with pytest.raises(SystemExit) as ended:
        supervise.main()
    said = (home / "logs" / "supervisor.log").read_text()
    assert ended.value.code == 1 and said.count("engine is up") == len(hours_up) and not left
    assert said.count("up again; failed tasks heal") == len(hours_up) - 1
    assert said.count("2 times within the hour: not restarted") == 1
