"""A mapping that gives an entity the same key more than once is stopped before rows are lost, and says which and how often."""

import copy
import os

import pytest
import yaml

from tests.conftest import mdp
from tests.e2e.test_purchases import COLUMNS, COMPANY, FEEDS, STAGING, live, value

pytestmark = [pytest.mark.engine, pytest.mark.slow]

DS = "2024-03-01"
SHOP = [f"17{n:03},c{n % 5},{DS} 10:{n:02}:00,5.00" for n in range(20)]
TILLS = [f"18{n:03},c{n},{DS} 12:00:00,1.00" for n in range(3)] + [f"17019,c1,{DS} 12:30:00,2.00"]
SOURCES = ("kiosk", "tills")


def map_orders(folder, **order_id: str) -> None:
    """Write the staging models, with this SQL of the key for each source."""
    for source in SOURCES:
        key = order_id.get(source, "order_id")
        columns = f"{key} as order_id, {', '.join(COLUMNS[1:])}, ds as load_date"
        (folder / "staging" / f"stg_{source}__orders.sql").write_text(
            f"select {columns} from {{{{ source('raw', '{source}__orders') }}}}\n"
        )


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A company with two sources of orders, of which one order has the same number in both; its day is loaded."""
    path = tmp_path_factory.mktemp("two_sources")
    folder = path / "company"
    (folder / "staging").mkdir(parents=True)
    declared = COMPANY | {"entities": {"orders": [f"stg_{source}__orders" for source in SOURCES]}}
    (folder / "company.yml").write_text(yaml.safe_dump(declared))
    feeds = {f"{source}__orders": copy.deepcopy(FEEDS["kiosk__orders"]) | {"directory": source} for source in SOURCES}
    (folder / "feeds.yml").write_text(yaml.safe_dump(feeds, sort_keys=False))
    (folder / "exports.yml").write_text("{}\n")
    staging = copy.deepcopy(STAGING)
    staging["sources"][0]["tables"] = [{"name": name} for name in feeds]
    staging["models"] = [staging["models"][0] | {"name": f"stg_{name}"} for name in feeds]
    (folder / "staging" / "_staging.yml").write_text(yaml.safe_dump(staging))
    map_orders(folder, tills="concat('till-', order_id)")
    for source, lines in zip(SOURCES, (SHOP, TILLS), strict=True):
        file = path / "spool" / source / f"orders-{DS}.csv"
        file.parent.mkdir(parents=True)
        file.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
        os.utime(file, (0, 0))  # not written just now
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MDP_COMPANY", str(folder))
        patch.setenv("MDP_SPOOL_URI", str(path / "spool"))
        mdp("warehouse", "start", home=path)
        live(path, "-", DS)
        yield path
        mdp("down", home=path)


def refused(home) -> str:
    done = mdp("build", "cleaned", "--ds", DS, home=home, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    [said] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return said


def test_keys_that_differ_lose_no_row(home):
    assert value(home, "select count(*) from cleaned.orders") == "24"


def test_two_sources_that_share_a_key(home):
    map_orders(home / "company")
    assert refused(home) == (
        "error: orders: order_id should identify a row, but 1 key is there more than once (17… of kiosk__orders and of "
        f"tills__orders), so rows would be lost; stg_kiosk__orders, stg_tills__orders in {home / 'company' / 'staging'} feed "
        "it: give a key that differs for each row, or make one row of those that share one, then run again"
    )
    assert value(home, "select count(*) from cleaned.orders") == "24"


def test_a_key_that_is_no_key(home):
    map_orders(home / "company", kiosk="customer_id", tills="concat('till-', order_id)")
    said = refused(home)
    assert "but 5 keys are there more than once (" in said and said.count("… 4 times") == 3


def test_mended_it_goes_through(home):
    map_orders(home / "company", tills="concat('till-', order_id)")
    assert "built" in mdp("build", "cleaned", "--ds", DS, home=home).stdout
    assert value(home, "select count(*) from cleaned.orders") == "24"
