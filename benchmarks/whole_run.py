"""`make bench`: the first run and the next day of the default company, in a home of its own.

Prints `figure NAME = NUMBER` lines: first_run_seconds, next_day_seconds, peak_memory_gb (proportional set size of all
our processes, sampled every ten seconds), auc_over_bayes, cindex_over_oracle, plan_over_optimum.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Run twice and print the figures; exits with the run's code if one fails."""
    with tempfile.TemporaryDirectory(prefix="mdp-bench-") as home:
        seconds = [timed_run(home) for _ in range(2)]
        reports = [json.loads(p.read_text()) for p in sorted((Path(home) / "reports" / "runs").glob("*.json"))]
    print(f"figure first_run_seconds = {seconds[0]:.1f}")
    print(f"figure next_day_seconds = {seconds[1]:.1f}")
    print(f"figure peak_memory_gb = {max(r['peak_gb'] for r in reports):.2f}")
    for name, value in reports[0]["figures"].items():
        print(f"figure {name} = {value}")


def timed_run(home: str) -> float:
    """Wall seconds of one `mdp run`, start and stop of every service included."""
    began = time.monotonic()
    done = subprocess.run([str(Path(sys.executable).parent / "mdp"), "run"], env=os.environ | {"MDP_HOME": home})
    if done.returncode:
        sys.exit(done.returncode)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
