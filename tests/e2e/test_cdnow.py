"""`mdp try` on a shop's real purchases of 18 months, 23,570 customers: minutes, so among the tests that take an hour."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT, mdp
from tests.e2e.test_purchases import rows, value

CDNOW = PROJECT.parent / "shared" / "data" / "cdnow" / "CDNOW_master.txt"
pytestmark = [pytest.mark.engine, pytest.mark.crash]


@pytest.mark.skipif(not CDNOW.exists() and not os.environ.get("CI"), reason="shared/data is not beside this repository")
def test_cdnow_from_the_file_to_segments_and_churn(tmp_path, monkeypatch):
    """Nothing declared; what is known of the file: PROVENANCE.txt beside it."""
    monkeypatch.chdir(tmp_path)
    command = f"{Path(sys.executable).parent / 'mdp'} try {CDNOW} --name cdnow --currency USD --yes"
    done = subprocess.run(command.split(), capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    place, last = tmp_path / "try-cdnow", "1998-06-30"
    monkeypatch.setenv("MDP_COMPANY", str(place / "company"))
    mdp("warehouse", "start", home=place / "home")
    try:
        sums = "select sum(n_orders) n, sum(revenue) r, sum(n_guest_orders) g from features.sales_day"
        [sold] = rows(place / "home", sums)
        assert (sold["n"], sold["r"], sold["g"]) == ("69659", "2500315.63", "0")
        for table in ("cleaned.customers", "features.customer_day", "predictions.segmentation", "predictions.churn"):
            assert value(place / "home", f"select count(*) from {table} where ds = '{last}'") == "23570", table
        total = f"select sum(revenue_total) from features.customer_day where ds = '{last}'"
        assert value(place / "home", total) == "2500315.63"
        days = "select count(distinct ds) from features.customer_day"
        assert value(place / "home", days) == "103"  # the last of 545, which training reads
    finally:
        mdp("down", home=place / "home")
