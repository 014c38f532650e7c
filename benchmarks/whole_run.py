"""`make bench`: the first run and the next days of the default company, in a home of its own.

Prints `figure NAME = NUMBER` lines: first_run_seconds; next_day_seconds (`make run` typed again, with engine and Airflow up
as the first left them); next_day_after_down_seconds (all has to be started); peak_memory_gb (proportional set size of all our
processes, sampled every ten seconds); auc_over_bayes, cindex_over_oracle, plan_over_optimum.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Run three times and print the figures; exits with the run's code if one fails."""
    with tempfile.TemporaryDirectory(prefix="mdp-bench-") as home:
        try:
            first, following = timed_run(home), timed_run(home)
            mdp("down", home)
            after_down = timed_run(home)
        finally:
            mdp("down", home)
        runs, figures = (
            [json.loads(path.read_text()) for path in sorted((Path(home) / "reports" / kind).glob("*.json"))]
            for kind in ("runs", "figures")
        )
    print(f"figure first_run_seconds = {first:.1f}")
    print(f"figure next_day_seconds = {following:.1f}")
    print(f"figure next_day_after_down_seconds = {after_down:.1f}")
    print(f"figure peak_memory_gb = {max(r['peak_gb'] for r in runs):.2f}")
    for name, value in figures[0].items():
        print(f"figure {name} = {value}")


def timed_run(home: str) -> float:
    """Wall seconds of one `mdp run`, the start of what does not run yet included."""
    began = time.monotonic()
    code = mdp("run", home)
    if code:
        sys.exit(code)
    return time.monotonic() - began


def mdp(command: str, home: str) -> int:
    """The exit code of `mdp <command>` in `home`."""
    return subprocess.run(
        [str(Path(sys.executable).parent / "mdp"), command], env=os.environ | {"MDP_HOME": home}
    ).returncode


if __name__ == "__main__":
    main()
