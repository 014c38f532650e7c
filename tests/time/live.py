"""Lives days of a small company in the home named by MDP_HOME, without gates and scoring, in one process.

Gates are left out because they write no table of the comparison; their stages are published by hand.
Usage: python tests/time/live.py FROM DS [FROM DS ...]   ('-' as FROM: a daily run)
"""

import sys

from ingestion.run import ingest
from mdp.build import build, days_to_build
from warehouse import dates, state


def load(from_ds: str | None, ds: str) -> None:
    """Ingest the range."""
    state.set_fact_once("first_day", from_ds or ds)
    state.set_fact_once("history_to", ds)
    ingest(ds, from_ds=from_ds)


def rebuild(from_ds: str | None, ds: str) -> None:
    """Build cleaned and features of the range."""
    state.publish("gate_raw", dates.days(from_ds or ds, ds))
    for layer in ("cleaned", "features"):
        build(layer, ds, from_ds)
        state.publish(f"gate_{layer}", dates.days(*days_to_build(layer, ds, from_ds)))
    state.publish("export", [ds])
    state.publish("marts", [ds])


if __name__ == "__main__":
    words = sys.argv[1:]
    for given, day in zip(words[::2], words[1::2], strict=True):
        first = None if given == "-" else given
        load(first, day)
        rebuild(first, day)
