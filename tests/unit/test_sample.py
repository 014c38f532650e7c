"""The sample company keeps its promises: repeatable, dirty by known amounts, and its truth is measurable and hidden."""

import filecmp
import json
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from sample import clock, company, crm, truth
from sample.browsing import events_of, impressions_of
from sample.parameters import CHANNELS, SIZE, draw_parameters, expected_auc
from sample.population import World, build_population, n_registered
from sample.shopping import NEVER, ORGANIC, orders_of, response, spend_of
from warehouse.errors import PlatformError
from warehouse.settings import settings

TZ = "Asia/Shanghai"
DAYS, CUSTOMERS, INTENSITY = 20, 400, 5.0


@pytest.fixture
def live_in(monkeypatch):
    """Lets companies live in directories of the test's choice; the CRM's tables are kept instead of written by JDBC."""
    written = {}

    def move(home: Path):
        monkeypatch.setenv("MDP_HOME", str(home))
        monkeypatch.setattr(company, "_write_crm", lambda tables: written.update({home: tables}))
        return SimpleNamespace(home=home, spool=home / "sample" / "spool", tables=lambda: written[home])

    for name in ("MDP_SPOOL_URI", "MDP_COMPANY", "MDP_CRM_URL"):
        monkeypatch.delenv(name, raising=False)
    return move


def create(days=DAYS):
    return company.create(days=days, customers=CUSTOMERS, seed=3, intensity=INTENSITY)


def assert_same_files(a: Path, b: Path):
    names = sorted(str(p.relative_to(a)) for p in a.rglob("*") if p.is_file())
    assert names and names == sorted(str(p.relative_to(b)) for p in b.rglob("*") if p.is_file())
    assert filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


def assert_same_tables(a: dict, b: dict):
    assert len(a) == 7 and a.keys() == b.keys()
    for name in a:
        assert a[name].num_rows > 0 and a[name].equals(b[name]), name


@pytest.fixture(scope="module")
def world():
    return World(seed=11, customers=1_500, intensity=1.0, tz=TZ)


@pytest.fixture(scope="module")
def people(world):
    return build_population(world, 179)


# -- living -----------------------------------------------------------------------------------------------------------


def test_create_is_create_of_a_day_less_and_advance(live_in, tmp_path):
    at_once = live_in(tmp_path / "at_once")
    create()
    in_steps = live_in(tmp_path / "in_steps")
    create(DAYS - 2)
    company.advance()
    company.advance()
    for part in ("spool", "truth"):
        assert_same_files(at_once.home / "sample" / part, in_steps.home / "sample" / part)
    assert_same_tables(at_once.tables(), in_steps.tables())


def test_without_truth_and_state_the_next_day_is_the_same(live_in, tmp_path):
    whole = live_in(tmp_path / "whole")
    create()
    bare = live_in(tmp_path / "bare")
    create(DAYS - 1)
    for part in ("truth", "state"):
        assert any((bare.home / "sample" / part).iterdir())
        (bare.home / "sample" / part).rename(tmp_path / part)
    company.advance()
    assert_same_files(whole.spool, bare.spool)
    assert_same_tables(whole.tables(), bare.tables())


@pytest.mark.parametrize("defect", company.DEFECTS)
def test_a_bad_day_is_bad_and_mending_makes_it_good(live_in, tmp_path, defect):
    good = live_in(tmp_path / "good")
    create(6)
    bad = live_in(tmp_path / "bad")
    create(4)
    company.break_(defect)
    assert company.advance()["defect"] == defect
    company.advance()  # late lines of the bad day reach the next one
    bad_tables, day = bad.tables(), clock.ds_of(4)
    rows = [json.loads(x) for x in open(bad.spool / f"web__events/web__events-{day}.jsonl") if x[-2:] == "}\n"]
    n_good = sum(1 for _ in open(good.spool / f"web__events/web__events-{day}.jsonl"))
    logged_in = [row for row in rows if row["is_logged_in"]]
    shares = {
        "missing_user_ids": np.mean([row["user_id"] is None for row in logged_in]) > 0.7,
        "duplicated_orders": bad_tables["orders"].num_rows > len(set(bad_tables["orders"]["order_id"].to_pylist())),
        "volume_drop": len(rows) < 0.25 * n_good,
        "future_timestamps": np.mean([row["occurred_at"][:10] > clock.ds_of(5) for row in rows if "T25" not in
                                      row["occurred_at"]]) > 0.25,
    }  # fmt: skip
    assert [name for name, is_bad in shares.items() if is_bad] == [defect]
    assert company.mend()["mended"] == [day]
    assert_same_files(good.spool, bad.spool)
    assert_same_tables(good.tables(), bad.tables())


def test_a_defect_to_come_is_forgotten(live_in, tmp_path):
    live_in(tmp_path)
    create(2)
    company.break_("volume_drop")
    assert company.status()["next_defect"] == "volume_drop"
    company.mend()
    assert company.status()["next_defect"] is None
    assert company.advance()["defect"] is None


def test_refusals_say_what_to_do(live_in, tmp_path):
    live_in(tmp_path)
    for ask in (company.advance, company.status, company.mend):
        with pytest.raises(PlatformError, match="mdp sample create"):
            ask()
    with pytest.raises(PlatformError, match="future"):
        create(36_500)
    create(2)
    with pytest.raises(PlatformError, match="already lives"):
        create(2)
    with pytest.raises(PlatformError, match="known are .*volume_drop"):
        company.break_("earthquake")


# -- dirt -------------------------------------------------------------------------------------------------------------


def test_planted_dirt_is_what_is_found(live_in, tmp_path):
    here = live_in(tmp_path)
    create()
    planted = truth.known_amounts()
    for feed in ("web__events", "ads__events"):
        found = find_dirt(here.spool / feed)
        assert planted[feed]["lines"] > 1_000 and planted[feed]["malformed_json"] > 0 and planted[feed]["late"] > 0
        assert found == {name: n for name, n in planted[feed].items() if n or name in found}


def find_dirt(folder: Path) -> dict[str, int]:
    """Count faults as a pipeline would see them, from the lines alone."""
    names = ("lines", "other_utc_offset", "duplicate", "null_user_after_login", "neither_user_nor_device",
             "duration_outlier", "late", "too_late", "malformed_json", "missing_field:event_id",
             "bad_timestamp:occurred_at")  # fmt: skip
    found, seen = dict.fromkeys(names, 0), set()
    for path in sorted(folder.iterdir()):
        received = datetime.fromisoformat(path.stem[-10:]).date()
        for line in open(path):
            found["lines"] += 1
            try:
                row = json.loads(line)
                at = datetime.fromisoformat(row["occurred_at"])
            except json.JSONDecodeError:
                found["malformed_json"] += 1
                continue
            except ValueError:
                found["bad_timestamp:occurred_at"] += 1
                continue
            if "event_id" not in row:
                found["missing_field:event_id"] += 1
                continue
            delay = (received - at.astimezone(ZoneInfo(TZ)).date()).days
            assert delay >= 0
            is_repeated = row["event_id"] in seen
            seen.add(row["event_id"])
            no_user = row["user_id"] is None
            found["other_utc_offset"] += "+08:00" not in line
            found["duplicate"] += is_repeated
            found["late"] += 0 < delay <= 3 and not is_repeated
            found["too_late"] += delay > 3
            found["neither_user_nor_device"] += no_user and row["device_id"] is None
            found["null_user_after_login"] += (
                no_user and row["device_id"] is not None and row.get("is_logged_in", False)
            )
            found["duration_outlier"] += row.get("duration_ms", 0) > 600_000
    return found


def test_broken_lines_hold_real_phones(live_in, tmp_path):
    here = live_in(tmp_path)
    create()
    phones = {p for p in here.tables()["customers"]["phone"].to_pylist() if p}
    assert phones and all(len(p) == 11 and p.isdigit() and p[0] == "1" for p in phones)
    text = "".join(path.read_text() for path in (here.spool / "web__events").iterdir())
    assert any(phone in text for phone in phones)


# -- behaviour --------------------------------------------------------------------------------------------------------


def test_parameters_come_from_the_seed():
    a, b, again = draw_parameters(1), draw_parameters(2), draw_parameters.__wrapped__(1)
    for pick in (
        lambda p: [p.click.intercept, *p.click.main["placement"]],
        lambda p: [p.lifetime.shape, *p.lifetime.effects["membership_plan"]],
        lambda p: [*p.types.orders_per_day, *p.types.shares],
        lambda p: [*p.channels.saturation_orders, *p.channels.scale_cny],
        lambda p: [*p.demand.weekday, p.demand.growth],
    ):
        assert np.array_equal(pick(a), pick(again))
        assert not np.any(np.isclose(pick(a), pick(b), rtol=1e-6))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_clicks_and_churn_are_realistic(seed):
    world = World(seed, SIZE, 1.0, TZ)
    people = build_population(world, 179)
    p = np.concatenate([impressions_of(world, people, day).probability for day in range(0, 180, 9)])
    assert 0.055 < p.mean() < 0.085
    assert 0.72 < expected_auc(p) < 0.80
    assert len(people.end) == SIZE
    assert 0.12 < np.mean(people.end < clock.day_start(TZ, 180)) < 0.20


def test_ids_and_order_carry_nothing(world, people):
    by_id = np.argsort(np.argsort(people.customer_id))
    for hidden in (people.type, people.log_hazard[:, 0], people.registered, people.end):
        assert abs(spearmanr(by_id, hidden)[0]) < 4 / np.sqrt(len(by_id))
    seen = [impressions_of(world, people, day) for day in range(10)]
    ids, p = np.concatenate([s.impression_id for s in seen]), np.concatenate([s.probability for s in seen])
    assert len(set(ids)) == len(ids) > 1_000
    assert abs(spearmanr(np.argsort(np.argsort(ids)), p)[0]) < 4 / np.sqrt(len(ids))


def test_response_is_identifiable(world):
    days, parameters = range(360), draw_parameters(world.seed)
    demand = np.array([parameters.demand.at(d, clock.weekday_of(d)) for d in days])
    spend = np.array([spend_of(world, d) for d in days])
    for code in range(len(CHANNELS)):
        own = np.log(spend[:, code]) - parameters.channels.demand_following[code] * np.log(demand)
        assert 0.35 < own.std() < 0.7
        assert abs(np.corrcoef(own, demand)[0, 1]) < 4 / np.sqrt(len(days))


def test_driven_orders_follow_the_response(world, people):
    parameters, days = draw_parameters(world.seed), range(0, 180, 2)
    orders = sum(np.bincount(orders_of(world, people, d).channel, minlength=6) for d in days)
    mean = sum(response(parameters, world.customers, spend_of(world, d)) * parameters.demand.at(d, clock.weekday_of(d))
               for d in days)  # fmt: skip
    assert orders[ORGANIC] > 500 and np.all(mean > 50)
    assert np.all(np.abs(orders[:ORGANIC] - mean) < 4 * np.sqrt(mean))


def test_nobody_acts_before_registration_or_after_the_end(world, people):
    n = 0
    for day in range(0, 180, 15):
        known = people.take(slice(n_registered(world, day)))
        orders = orders_of(world, known, day)
        events, seen = events_of(world, known, day, orders), impressions_of(world, known, day)
        acts = [(orders.customer, orders.ordered_at), (events.customer, events.occurred_at),
                (seen.customer, seen.occurred_at), (seen.customer, np.where(seen.clicked_at > 0, seen.clicked_at, -1)),
                (orders.customer, np.where(orders.cancelled_at < NEVER, orders.cancelled_at, -1)),
                (orders.customer[orders.items.order], np.where(orders.returned_at < NEVER, orders.returned_at, -1)),
                ]  # fmt: skip
        for customer, at in acts:
            did = (customer >= 0) & (at >= 0)
            n += did.sum()
            assert np.all(at[did] < known.end[customer[did]])
            assert np.all(at[did] > known.registered[customer[did]])
    assert n > 5_000 and np.mean(people.end < clock.day_start(TZ, 180)) > 0.1


def test_shown_expiry_gives_nothing_away_too_early(people):
    grace = 15 * clock.DAY
    shown = {day: people.expires_at(clock.day_start(TZ, day + 1)) for day in range(-1, 200)}
    for day in range(200):
        now, there = clock.day_start(TZ, day + 1), people.registered < clock.day_start(TZ, day + 1)
        living = there & (people.end >= now)
        lapsed = there & people.is_lapse & (people.end < now)
        assert np.all(shown[day][living] + grace >= now)
        assert np.all(shown[day][lapsed] + grace == people.end[lapsed])
        assert np.all(shown[day] >= shown[day - 1])
    final = people.end - grace
    last = {day: final[people.is_lapse] // clock.DAY == clock.day_start(TZ, day) // clock.DAY for day in range(1, 199)}
    assert sum(map(np.sum, last.values())) > 20
    for day, rows in last.items():
        assert np.all(shown[day - 1][people.is_lapse][rows] == final[people.is_lapse][rows])


def test_the_log_of_changes_leads_back_to_what_the_table_was(world, people):
    """Today's customers with the log's later changes undone are those of an earlier day, and each attribute does change."""
    end = pd.Timestamp(clock.day_start(TZ, 61), unit="ms", tz="UTC")
    then, now = (
        crm._customers(world, people, clock.day_start(TZ, day)).to_pandas().set_index("customer_id")
        for day in (61, 180)
    )
    then = then[then["registered_at"] < end]
    log = crm._customer_changes(world, people, clock.day_start(TZ, 180)).to_pandas()
    later = log[log["changed_at"] >= end].sort_values("changed_at")
    old = later.groupby(["customer_id", "field"])["old_value"].first().unstack()
    for field in ("membership_plan", "city", "gender", "birth_year", "membership_expires_at"):
        past, today = (t[field].astype(object).where(t[field].notna(), "").loc[then.index] for t in (then, now))
        undone = old[field].reindex(then.index).fillna(today)
        if field == "membership_expires_at":
            undone = pd.to_datetime(undone, utc=True, format="mixed")
        assert (past.astype(str) != today.astype(str)).sum() > 3, field
        assert (undone.astype(str).str.removesuffix(".0") == past.astype(str).str.removesuffix(".0")).all(), field


def test_those_who_left_before_the_start_are_not_known(world, people):
    start = clock.day_start(TZ, 0)
    assert np.all(people.end > start)
    assert 0.65 < np.mean(people.registered < start) < 0.75
    fewer = build_population(world, 20)
    assert np.array_equal(fewer.end, people.end[: len(fewer.end)])


def test_days_keep_their_bounds_when_clocks_change():
    world = World(5, 300, 1.0, "Europe/Berlin")
    day = clock.day_of("2024-03-31")
    people = build_population(world, day)
    orders = orders_of(world, people, day)
    events = events_of(world, people, day, orders)
    assert clock.day_start(world.tz, day + 1) - clock.day_start(world.tz, day) == 23 * clock.HOUR
    assert len(events.occurred_at) > 0
    assert events.occurred_at.min() >= clock.day_start(world.tz, day)
    assert events.occurred_at.max() < clock.day_start(world.tz, day + 1)


# -- truth ------------------------------------------------------------------------------------------------------------


def test_truth_ranks_better_than_chance_on_the_same_rows(live_in, tmp_path):
    here = live_in(tmp_path)
    create()
    rows = [json.loads(x) for path in (here.spool / "ads__events").iterdir() for x in open(path)
            if x[0] == "{" and x[-2:] == "}\n"]  # fmt: skip
    clicked = {r["impression_id"] for r in rows if r["event_type"] == "click"}
    shown = sorted({r["impression_id"] for r in rows if r["event_type"] == "impression"})
    evaluation = pd.DataFrame({"impression_id": shown, "label": [m in clicked for m in shown]})
    assert 0.68 < truth.bayes_auc(evaluation) < 0.86

    customers = build_population(World(3, CUSTOMERS, INTENSITY, TZ), DAYS - 1)
    entry = (clock.day_start(TZ, 0) - customers.registered) / clock.DAY
    stays = (customers.end - clock.day_start(TZ, 0)) / clock.DAY
    columns = {"entry_days": entry, "duration_days": np.minimum(stays, 90), "is_churned": stays < 90}
    evaluation = pd.DataFrame({"customer_id": customers.customer_id, **columns})[entry > 0]
    assert 0.6 < truth.oracle_cindex(evaluation) < 0.9
    with pytest.raises(PlatformError, match="another company"):
        truth.oracle_cindex(evaluation.assign(customer_id="stranger"))
    with pytest.raises(PlatformError, match="entry_days"):
        truth.oracle_cindex(evaluation.drop(columns="entry_days"))


def test_no_plan_beats_the_optimum(live_in, tmp_path):
    live_in(tmp_path)
    create(3)
    base = draw_parameters(3).channels.base_spend_cny * CUSTOMERS / SIZE
    plan = pd.DataFrame({"channel": CHANNELS, "floor_spend": 0.3 * base, "cap_spend": 2 * base, "budget": base.sum()})
    rng, ratios = np.random.default_rng(0), []
    for share in rng.dirichlet(np.ones(len(CHANNELS)), size=100):
        spend = np.minimum(0.3 * base + share * 0.7 * base.sum(), 2 * base)
        result = truth.plan_over_optimum(plan.assign(spend=spend))
        ratios.append(result["ratio"])
    assert 0.8 < max(ratios) <= 1 + 1e-9
    best = plan.assign(spend=plan["channel"].map(result["optimal_plan"]))
    assert best["spend"].sum() == pytest.approx(base.sum(), abs=0.1)
    assert truth.plan_over_optimum(best)["ratio"] == pytest.approx(1, abs=1e-4)  # the plan is in whole cents
    with pytest.raises(PlatformError, match="floors"):
        truth.plan_over_optimum(best.assign(budget=1.0))
    nothing = {"spend": 0.0, "floor_spend": 0.0, "cap_spend": 0.0, "budget": 0.0}
    assert truth.plan_over_optimum(best.assign(**nothing))["ratio"] == 1, "a closed month leaves nothing to plan"


def test_missing_truth_says_so(live_in, tmp_path):
    live_in(tmp_path)
    create(2)
    (settings().sample_dir / "truth").rename(tmp_path / "elsewhere")
    with pytest.raises(PlatformError, match="truth is not there"):
        truth.known_amounts()
