"""The raw gate: has each source sent about what it should, fresh, and not more nonsense than usual?

Its rules follow from the blocks of feeds.yml, whatever the company; what they cannot say stands in its gates.yml (own.py).
It looks at the load's own partition. Single bad rows have been quarantined at the door already (feeds.yml); here their
share is judged, so tables with a door are seen together with their quarantine. Limits are several times a normal day's.
"""

from expectations.feeds import DIGEST, Feed, feeds
from expectations.rules import Rule, Suite, filled, newest, quoted, share, unique, volume
from expectations.scope import Scope, Volume
from warehouse.calendar import is_closed

# Quarantine reason (its part before the colon) → largest share of a feed's rows; further ones count in QUARANTINED alone.
REASONS = {
    "future": 0.01, "too_late": 0.02, "missing_field": 0.01, "bad_timestamp": 0.01, "unknown_value": 0.01,
    "bad_encoding": 0.01, "too_long": 0.001,
}  # fmt: skip
MALFORMED = 0.02
QUARANTINED = 0.05
ACCEPTED = "reason is null"  # condition on rows of tables with a door


def suites(scope: Scope) -> list[Suite]:
    """One suite per feed that was loaded; those with a door first, because they break most often."""
    loaded = [feed for feed in feeds().values() if feed.name in scope.volumes]
    return [_suite(feed, scope) for feed in sorted(loaded, key=lambda feed: not feed.is_judged)]


def not_loaded(scope: Scope) -> list[str]:
    """The raw tables of feeds that have no load of the day."""
    return [feed.raw_table for feed in feeds().values() if feed.name not in scope.volumes]


def _suite(feed: Feed, scope: Scope) -> Suite:
    seen = scope.volumes[feed.name]
    is_silent = not feed.is_whole and scope.may_be_silent(feed.name)
    among = ACCEPTED if feed.is_judged else None
    rules = [_not_shrunk(seen) if feed.is_whole else _usual(scope, seen)]
    if feed.is_judged and not feed.is_whole and not is_silent:
        rules.append(newest("received_date", scope.ds, "something of the day itself has arrived"))
    if not feed.is_log and DIGEST not in feed.key:
        rules.append(_keys(feed, seen, among))
    rules += [filled(column, 0.0, f"the key's {column} is filled", among=among) for column in feed.filled]
    rules += [
        share(
            f"clear_{mask.removesuffix('_mask')}", mask, f"{quoted(mask)} not like '%*%'", 0.0, f"{mask} shows a mask"
        )
        for mask in feed.masks
    ]
    if not feed.is_judged:
        frame = f"select * from {feed.raw_table} where ds = '{scope.ds}'"
        return Suite(feed.raw_table, frame, feed.key, tuple(rules), is_silent)
    frame = _with_quarantine(feed, scope.ds)
    return Suite(feed.raw_table, frame, ("row_key", "received_date"), (*rules, *_door(feed)), is_silent)


def _usual(scope: Scope, seen: Volume) -> Rule:
    """Rows against what is usual (usual.py): of the same weekday, where enough of them are known."""
    if seen.usual is None:
        return volume(1, None, "there are rows, with nothing to compare them with so far")
    usual = seen.usual.per_day
    days = "" if seen.n_days == 1 else f" over {seen.n_days} days"
    words = f"as many rows as usual ({usual:,.{0 if usual >= 10 else 1}f} a day{days})"
    if seen.is_special:
        words = "there are rows; how many is not asked on a holiday or promotion of calendar.csv"
    return volume(0 if is_closed(scope.ds) else seen.least, seen.most, words)


def _not_shrunk(seen: Volume) -> Rule:
    """A table that is read whole does not lose rows from one load to the next, nor double."""
    if seen.last_rows is None:
        return volume(1, None, "the first load has rows")
    words = f"about as many rows as last time ({seen.last_rows:,})"
    return volume(0.9 * seen.last_rows, 2 * seen.last_rows + 10, words)


def _keys(feed: Feed, seen: Volume, among: str | None) -> Rule:
    """Each key once in a load; of files that bring new rows once in a day, since a later one may correct an earlier."""
    columns = (*feed.key, "received_date") if feed.is_judged and not feed.is_whole else feed.key
    each = "each key is there once" if feed.is_whole else "each key is there once in a load"
    words = f"{each}, on each day of it" if len(columns) > len(feed.key) else each
    return unique(columns, seen.n_rows, words, among, name="_".join(feed.key) if len(feed.key) == 1 else "key")


def _with_quarantine(feed: Feed, ds: str) -> str:
    """Accepted rows (reason null) and quarantined ones (of which reason, row_key and received_date are known) in one frame."""
    day = f"where ds = '{ds}'"
    key = f"cast({quoted(feed.key[0])} as string)"
    return (
        f"select * except (received_date), received_date, {key} as row_key, cast(null as string) as reason "
        f"from {feed.raw_table} {day} "
        "union all select nothing.* except (received_date), held.received_date, held.row_key, held.reason "
        f"from (select received_date, row_key, reason from {feed.quarantine_table} {day}) held "
        f"left join (select * from {feed.raw_table} where false) nothing on true"
    )


def _door(feed: Feed) -> list[Rule]:
    """Shares of the rows that the door turned away, in all and by reason."""
    words = "few rows were quarantined at the door"
    reasons = {**REASONS, f"malformed_{feed.format}": MALFORMED}
    return [share("quarantined", "reason", "reason is not null", QUARANTINED, words, by_chance=True)] + [
        share(
            reason, "reason", f"reason like '{reason}%'", most, f"few rows were quarantined as {reason}", by_chance=True
        )
        for reason, most in reasons.items()
    ]
