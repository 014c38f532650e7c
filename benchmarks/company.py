"""`make bench-company`: what it costs to bring a company of one's own. Each run has a home of its own; nothing is downloaded.

Prints `figure NAME = NUMBER` lines:

try_seconds               `mdp try` on 70,000 purchases of a corner shop (customer, time, amount), to its last line
history_rows_per_second   order lines of the corner shop, about 500,000 in 400 days, over the seconds from their files to the
                          marts: all stages with their gates, both models trained and scored, the start of the engine
hand_written_lines        what the walk of docs/your-company.md writes by hand into the folder that `mdp company new` proposed
                          of the shop's database: lines of the patch that are neither empty nor a comment

With a name of these as argument, only that one.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from warehouse.settings import PROJECT

PURCHASES, LINES = 70_000, 500_000
DAYS, LINES_OF_A_CUSTOMER, PURCHASES_OF_A_CUSTOMER = 400, 13.8, 2.85  # in that time; on average, of the generator
MDP = Path(sys.executable).parent / "mdp"
BY_HAND = PROJECT / "tests" / "services" / "shop_by_hand.patch"


def try_seconds(folder: Path) -> float:
    """Wall seconds of `mdp try` on a generated file."""
    from sample.corner_shop import books, life

    customers = int(PURCHASES / PURCHASES_OF_A_CUSTOMER * 1.05)  # a few too many, cut off below
    purchases = books.purchases(life.live(customers=customers, days=DAYS)).head(PURCHASES)
    purchases.to_csv(folder / "purchases.csv", index=False)
    print(f"{len(purchases):,} purchases of {purchases['customer'].nunique():,} customers", flush=True)
    env = {
        name: value for name, value in os.environ.items() if name not in ("MDP_HOME", "MDP_COMPANY", "MDP_SPOOL_URI")
    }
    command = [MDP, "try", "purchases.csv", "--yes", "--timezone", "Europe/London", "--currency", "GBP"]
    began = time.monotonic()
    subprocess.run(command, cwd=folder, env=env, check=True)
    return time.monotonic() - began


def history_rows_per_second(folder: Path) -> float:
    """Order lines of a generated shop per second of its whole history, files to marts."""
    from mdp import stack, trial
    from sample import generator

    os.environ.update(MDP_HOME=str(folder), MDP_COMPANY="corner-shop")
    shop = generator()
    print(shop.create(days=DAYS, customers=int(LINES / LINES_OF_A_CUSTOMER))["text"], flush=True)
    first, last = shop.lifetime()
    began = time.monotonic()
    try:
        trial.live(first, last, folder / "logs" / "history.log")
        seconds = time.monotonic() - began
    finally:
        stack.stop_all()
    return shop.planted()["invoice_lines"]["lines"] / seconds


def hand_written_lines(folder: Path) -> int:
    """Lines that the patch of the walk adds, those that are empty or a comment aside."""
    lines = BY_HAND.read_text().splitlines()
    added = [line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++")]
    return sum(bool(line) and not line.startswith(("#", "--")) for line in added)


FIGURES = {one.__name__: one for one in (hand_written_lines, try_seconds, history_rows_per_second)}


def main(*names: str) -> None:
    """Measure the figures named, or all, and print each as it is known."""
    for name in names or FIGURES:
        with tempfile.TemporaryDirectory(prefix="mdp-bench-") as folder:
            print(f"figure {name} = {FIGURES[name](Path(folder)):.0f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
