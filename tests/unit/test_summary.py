"""The summary stays a page that a marketer reads, however many channels and feeds a company has."""

from collections import Counter
from types import SimpleNamespace

from mdp import summary
from warehouse.state import Load

PLANNED = [
    SimpleNamespace(channel=f"channel_{n:03}", spend=1000.0 - n, return_amount=2000.0 - n, spent=900.0 if n % 2 else None,
                    shadow_price=1.2)
    for n in range(500)
]  # fmt: skip


def day(plan, loads=(), gates=None):
    return SimpleNamespace(plan=plan, loads=loads, gates=gates or {}, ds="2024-08-27")


def test_of_500_channels_the_largest_are_shown_and_the_others_summed():
    lines = summary._plan(day(PLANNED)).splitlines()
    assert len(lines) == 22
    assert lines[1].split()[:3] == ["channel_000", "spend", "1,000"] and lines[20].split()[0] == "channel_019"
    rest = PLANNED[20:]
    spend, gain = (sum(getattr(r, name) for r in rest) for name in ("spend", "return_amount"))
    assert lines[21].strip().startswith("and 480 more") and f"spend {spend:>9,.0f} CNY (today  216,000)" in lines[21]
    assert lines[21].endswith(f"expected return {gain:>9,.0f} CNY")


def test_five_channels_are_all_shown():
    lines = summary._plan(day(PLANNED[:5])).splitlines()
    assert len(lines) == 6 and "more" not in lines[-1] and "(today        ?)" in lines[1]


def test_of_300_feeds_the_largest_are_named_and_the_total_is_of_all():
    loads = [Load(f"feed_{n:03}", "2024-08-27", "x", {}, "published", n, 1 if n < 3 else 0) for n in range(300)]
    first, second = summary._intake(day([], loads)).splitlines()
    assert "44,850 rows (feed_280 280, " in first and first.endswith("feed_299 299, 279 more 39,060)")
    assert second.strip() == "3 rows held back in quarantine (feed_000 1, feed_001 1, feed_002 1)"
    assert len(first) < 500


def test_rules_that_judged_nothing_are_counted_apart():
    gates = {"raw": Counter({"holds": 50, "not judged": 3}), "cleaned": Counter({"holds": 33, "broken": 1})}
    said = summary._gates(day([], gates=gates))
    assert "raw 50/50 rules (3 not judged: too few rows), cleaned 33/34 rules" in said
