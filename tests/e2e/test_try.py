"""`mdp try` as a person types it: from one file of purchases to the summary, and a folder that can be kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sample.corner_shop import books, life
from tests.conftest import mdp

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """(the folder made, what was said, the purchases)."""
    place = tmp_path_factory.mktemp("tried")
    purchases = books.purchases(life.live(seed=3, customers=600, days=200))
    purchases.to_csv(place / "till.csv", index=False)
    env = {name: value for name, value in os.environ.items() if not name.startswith("MDP_")}
    command = [
        Path(sys.executable).parent / "mdp",
        "try",
        "till.csv",
        "--yes",
        "--timezone",
        "Europe/London",
        "--currency",
        "GBP",
    ]
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return place / "try-till", done.stdout, purchases


def test_it_ends_with_the_summary_and_what_to_do_next(tried):
    place, said, purchases = tried
    last = str(purchases["time"].max())[:10]
    assert f"{last}: what the day came to" in said and "GBP in 90 days" in said and "✗" not in said
    assert "ctr is off: ctr is off" not in said
    assert "churn prediction: AUC" in said or "churn is off: " in said
    assert f"Keep  {place / 'company'}" in said and f". {place / 'env'}" in said


def test_the_folder_it_made_is_a_company_without_a_doubt_left(tried):
    place, _, _ = tried
    env = dict(line.removeprefix("export ").split("=", 1) for line in (place / "env").read_text().splitlines())
    said = mdp("company", "check", home=place / "home", **env).stdout
    assert "no fault, nothing left to review" in said


def test_each_purchase_is_in_the_warehouse_to_the_penny(tried):
    place, _, purchases = tried
    env = dict(line.removeprefix("export ").split("=", 1) for line in (place / "env").read_text().splitlines())
    mdp("warehouse", "start", home=place / "home", **env)
    try:
        sql = (
            "select count(*), sum(amount), count(distinct customer_id), (select sum(amount) from cleaned.reversals) from "
            "cleaned.orders"
        )
        found = mdp("warehouse", "sql", "--csv", sql, home=place / "home", **env).stdout.splitlines()[1].split(",")
        scored = "select count(*), count(distinct segment) from predictions.segmentation"
        segments = (
            mdp("warehouse", "sql", "--csv", scored, home=place / "home", **env).stdout.splitlines()[1].split(",")
        )
    finally:
        mdp("warehouse", "stop", home=place / "home", **env)
    bought = purchases[purchases["amount"] >= 0]
    back = purchases[purchases["amount"] < 0]
    n_customers = bought["customer"].nunique()
    assert len(back), "an amount below zero went back"
    assert found == [str(len(bought)), str(sum(bought["amount"])), str(n_customers), str(-sum(back["amount"]))]
    assert int(segments[0]) == n_customers and int(segments[1]) >= 3
