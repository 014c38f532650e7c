"""A line every few seconds while a load is read: how far it is, by the engine's finished tasks."""

import contextlib
import threading
import time
from collections.abc import Iterator

from warehouse.session import session

EVERY_SECONDS = 5


@contextlib.contextmanager
def shown(feed: str, n_expected: int) -> Iterator[None]:
    """Print a line every EVERY_SECONDS while this thread's work on the engine lasts; nothing for short work.

    The engine reports tasks, not rows: a part that is half read counts as not read.
    """
    started, thread = time.monotonic(), threading.get_ident()
    told = started

    def tell(stages, inflight_tasks: int, operation_id: str | None, done: bool) -> None:
        nonlocal told
        now = time.monotonic()
        if threading.get_ident() != thread or done or now - told < EVERY_SECONDS:
            return
        told = now
        if stages:
            print(line(feed, n_expected, max(stages, key=lambda s: s.stage_id), now - started), flush=True)

    client = session().client
    client.register_progress_handler(tell)
    try:
        yield
    finally:
        client.remove_progress_handler(tell)


def line(feed: str, n_expected: int, stage, seconds: float) -> str:
    """`feed  reading  ~rows of expected  rows/s  parts`, from Spark's newest stage."""
    finished, n_tasks = stage.num_completed_tasks, stage.num_tasks
    n_rows = n_expected * finished // n_tasks if n_tasks else 0
    return (
        f"  {feed:<20} reading   ~{n_rows:>9,} of {n_expected:,} rows  ~{n_rows / seconds:,.0f} rows/s  "
        f"{finished} of {n_tasks} parts, {seconds:.0f} s"
    )
