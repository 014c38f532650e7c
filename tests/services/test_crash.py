"""Nothing lost, nothing doubled: loads that are killed at random points and run again hold what an undisturbed one holds."""

import os
import random
import re

import pytest

from tests.conftest import mdp
from tests.services.crash import BAD, Crashes, points

KINDS = ("files", "table", "topic")
SMALL = dict.fromkeys(KINDS, 50_000)
LARGE = {"files": 1_000_000, "table": 500_000, "topic": 500_000}


def seeds(n: int) -> list[int]:
    """Seeds of this run, or those of CRASH_SEEDS (as they were printed), to see a run again."""
    given = os.environ.get("CRASH_SEEDS")
    return [int(seed) for seed in given.split(",")] if given else [random.randrange(10**6) for _ in range(n)]


def live(kind: str, crashes: Crashes, n: int, n_points: int, say) -> None:
    """Load once undisturbed and once per point with a kill; the results must be equal."""
    getattr(crashes, f"fill_{kind}")(n)
    seconds, wanted = crashes.undisturbed(kind)
    n_held = 0 if kind == "table" else len(range(0, n, BAD))
    assert wanted["raw"][:2] == (n - n_held, n - n_held)
    assert kind == "table" or wanted["held"][:2] == (n_held, n_held)
    say(f"\n{kind}: {n:,} rows, undisturbed in {seconds:.1f} s: {wanted}")
    for point in points(kind, seeds(n_points)):
        at, n_runs, found = crashes.disturbed(kind, point, seconds)
        outcome = "equal" if found == wanted else f"NOT EQUAL: {found}"
        say(f"  seed {point.seed:>6}: {point.victim:<8} killed at {at:5.1f} s, whole after {n_runs} runs, {outcome}")
        assert found == wanted


def crashes(mariadb, kafka, home, **size):
    """A warehouse of that size, and afterwards nothing of it on the session's servers."""
    yield Crashes(home, mariadb, kafka, **size)
    mdp("warehouse", "stop", home=home)
    mariadb.execute("drop table if exists crash")
    if "crash" in kafka.admin().list_topics(timeout=10).topics:
        kafka.delete_topic("crash")


@pytest.fixture(scope="module")
def small(connectors, mariadb, kafka, tmp_path_factory):
    home = tmp_path_factory.mktemp("crash")
    yield from crashes(mariadb, kafka, home, n_feeds=3, batch=20_000, memory="1500m", compiler="quick")


@pytest.fixture(scope="module")
def large(connectors, mariadb, kafka, tmp_path_factory):
    home = tmp_path_factory.mktemp("crash")
    yield from crashes(mariadb, kafka, home, n_feeds=20, batch=100_000, memory="4g", compiler="full")


@pytest.mark.parametrize("kind", KINDS)
def test_a_load_that_was_killed_and_run_again_is_as_if_nothing_had_happened(small, kind, say):
    live(kind, small, SMALL[kind], 3, say)


def test_of_two_importers_of_a_feed_one_works_and_the_other_says_so(small):
    first, second = small.importer("crash__twice"), small.importer("crash__twice")
    assert sorted([first.wait(300), second.wait(300)]) == [0, 1]
    assert re.search(r"ingest crash__twice is being worked on by process \d+", small.said("crash__twice"))


@pytest.mark.crash
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_kills_of_a_large_load(large, kind, say):
    live(kind, large, LARGE[kind], 20, say)
