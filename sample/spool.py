"""Log files as a real collector leaves them: one JSON-lines file per feed and arrival day, dirty by known amounts.

A line arrives on the day of its event, except late ones, some duplicates, and clicks after midnight. Lines that a day
leaves for later are a pure function of that day; they are kept under `state/`, and made again if they are missing.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyarrow import fs

from sample import clock
from sample.browsing import EVENT_TYPES, Events, Impressions, device_ids, device_type
from sample.catalogue import N_BRANDS, products
from sample.draws import generator
from sample.parameters import CATEGORIES, CHANNELS, CLICK_LEVELS
from sample.population import Population, World, contacts
from sample.shopping import Orders

FEEDS = ("web__events", "ads__events")
PLATFORMS = np.array(["ios", "android", "web", "android"])  # per DEVICE_TYPES
# What can be wrong with a line; a line has at most one fault, so that each amount can be found again.
FAULTS = (
    "clean", "duplicate", "null_user_after_login", "neither_user_nor_device", "duration_outlier", "late", "too_late",
    "malformed_json", "missing_field:event_id", "bad_timestamp:occurred_at",
)  # fmt: skip
_CLEAN, _DUPLICATE, _NULL_USER, _NO_SUBJECT, _OUTLIER, _LATE, _TOO_LATE, _MALFORMED, _NO_ID, _BAD_TIME = range(10)
_SHARES = {_DUPLICATE: 0.01, _NULL_USER: 0.01, _NO_SUBJECT: 0.001, _OUTLIER: 0.002, _LATE: 0.015, _TOO_LATE: 0.0005}
_MALFORMED_SHARE = 0.003
_NEXT_DAY_SHARE = 0.3  # of the duplicates
LATE_DAYS, TOO_LATE_DAYS = (1, 3), (4, 6)  # late_days of the sample company is 3
LONGEST_WAY = 1 + TOO_LATE_DAYS[1]  # days until a day's last line has arrived: a click after midnight that is too late
_OFFSET_HOURS = (None, 0, 9, -5)  # a phone's own zone; None: the company's
_OFFSET_SHARES = np.array([0.7, 0.16, 0.08, 0.06])
# A bad day, by defect: share of logged-in events without user, of lines that arrive at all, of lines dated days ahead.
_BAD_NULL_USERS, _BAD_VOLUME, _BAD_FUTURE = 0.85, 0.1, 0.4


@dataclass(frozen=True)
class Lines:
    """Log lines of one event day, with their day of arrival and their fault, in order of time."""

    text: list[str]
    arrival: np.ndarray
    fault: np.ndarray


def web_lines(world: World, people: Population, day: int, events: Events, orders: Orders, defect: str | None) -> Lines:
    """The day's web and app events as lines."""
    rng, n = generator(world.seed, "web_dirt", day), len(events.type)
    extra = {_NULL_USER: _BAD_NULL_USERS} if defect == "missing_user_ids" else {}
    fault = _faults(rng, n, _SHARES | extra)
    fault[(fault == _NULL_USER) & ~events.is_logged_in] = _CLEAN
    users = np.append(people.customer_id, "")[events.customer]
    users[(fault == _NULL_USER) | (fault == _NO_SUBJECT)] = ""
    devices = device_ids(world.seed, events.device)
    devices[fault == _NO_SUBJECT] = ""
    duration = np.where(fault == _OUTLIER, events.duration_ms * rng.integers(2_000, 9_000, n), events.duration_ms)
    goods, is_search = products(world.seed), events.type == 1
    words = np.array([*CATEGORIES, *(f"Brand {b + 1:02d}" for b in range(N_BRANDS))])[rng.integers(0, 32, n)]
    columns = (
        events.event_id, np.array(EVENT_TYPES)[events.type], _stamps(rng, world, day, events.occurred_at, defect),
        _nullable(users), np.where(events.is_logged_in, "true", "false"), _nullable(devices), events.session_id,
        _nullable(np.where(is_search, "", goods.product_id[events.product])), _nullable(np.where(is_search, words, "")),
        _nullable(np.append(orders.order_id, "")[events.order]), duration,
        PLATFORMS[device_type(world.seed, events.device)],
    )  # fmt: skip
    text = [
        f'{{"event_id":"{e}","event_type":"{t}","occurred_at":"{at}","user_id":{u},"is_logged_in":{li},"device_id":{d},'
        f'"session_id":"{s}","product_id":{p},"search_term":{q},"order_id":{o},"duration_ms":{ms},"platform":"{f}"}}'
        for e, t, at, u, li, d, s, p, q, o, ms, f in zip(*(c.tolist() for c in columns), strict=True)
    ]
    return _with_dirt(rng, world, people, text, np.full(n, day), fault, defect)


def ads_lines(world: World, people: Population, day: int, seen: Impressions, defect: str | None) -> Lines:
    """The day's impressions and their clicks as lines; a click after midnight arrives on the next day."""
    rng = generator(world.seed, "ads_dirt", day)
    clicks = np.flatnonzero(seen.clicked_at)
    n, row = len(seen.occurred_at), np.concatenate([np.arange(len(seen.occurred_at)), clicks])
    is_click = np.arange(len(row)) >= n
    at = np.where(is_click, seen.clicked_at[row], seen.occurred_at[row])
    by_time = np.argsort(at, kind="stable")
    row, is_click, at = row[by_time], is_click[by_time], at[by_time]
    fault = _faults(rng, len(row), {k: v for k, v in _SHARES.items() if k in (_DUPLICATE, _LATE, _TOO_LATE)})
    # An impression's id with another first letter is the id of its event; a click's is the id read backwards.
    shown = seen.impression_id[row].tolist()
    ids = [f"f{m[:0:-1]}" if c else f"e{m[1:]}" for m, c in zip(shown, is_click.tolist(), strict=True)]
    shown_as = ("placement", "position", "device_type", "creative_format")
    labels = [np.array(CLICK_LEVELS[column])[seen.codes[column]] for column in shown_as]
    channel, users = (
        np.array(CHANNELS)[seen.codes["channel"]],
        _nullable(np.append(people.customer_id, "")[seen.customer]),
    )
    details = [
        f'"campaign_id":"{k}","channel":"{c}","placement":"{p}","position":{n},"device_type":"{t}","creative_format":"{f}"}}'
        for k, c, p, n, t, f in zip(
            seen.campaign.tolist(), channel.tolist(), *(x.tolist() for x in labels), strict=True
        )
    ]
    columns = (seen.impression_id[row], _stamps(rng, world, day, at, defect), users[row],
               device_ids(world.seed, seen.device)[row], row, is_click)  # fmt: skip
    text = [
        f'{{"event_id":"{e}","event_type":"{"click" if c else "impression"}","impression_id":"{m}","occurred_at":"{t}",'
        f'"user_id":{u},"device_id":"{d}",{_CLICK_DETAILS if c else details[r]}'
        for e, (m, t, u, d, r, c) in zip(ids, zip(*(c.tolist() for c in columns), strict=True), strict=False)
    ]
    arrival = day + (at >= clock.day_start(world.tz, day + 1)).astype(np.int64)
    return _with_dirt(rng, world, people, text, arrival, fault, defect)


_CLICK_DETAILS = (
    '"campaign_id":null,"channel":null,"placement":null,"position":null,"device_type":null,"creative_format":null}'
)


def _faults(rng: np.random.Generator, n: int, shares: dict[int, float]) -> np.ndarray:
    """A fault per line: disjoint intervals of one uniform number."""
    edges = np.cumsum(list(shares.values()))
    return np.append(list(shares), _CLEAN)[np.searchsorted(edges, rng.random(n), side="right")]


def _stamps(rng, world: World, day: int, at: np.ndarray, defect: str | None) -> np.ndarray:
    """Times as ISO 8601, each in the offset of some device."""
    if defect == "future_timestamps":
        at = at + (rng.random(len(at)) < _BAD_FUTURE) * rng.integers(2, 10, len(at)) * clock.DAY
    own = clock.utc_offset(world.tz, day)
    offsets = np.array([own if h is None else h * clock.HOUR for h in _OFFSET_HOURS])
    suffixes = np.array(["Z" if h == 0 else _suffix(ms) for h, ms in zip(_OFFSET_HOURS, offsets, strict=True)])
    which = np.searchsorted(np.cumsum(_OFFSET_SHARES), rng.random(len(at)), side="right")
    local = np.datetime_as_string((at + offsets[which]).astype("datetime64[ms]"))
    return np.strings.add(local, suffixes[which])


def _suffix(offset_ms: int) -> str:
    minutes = abs(int(offset_ms)) // 60_000
    return f"{'-' if offset_ms < 0 else '+'}{minutes // 60:02d}:{minutes % 60:02d}"


def _nullable(texts: np.ndarray) -> np.ndarray:
    """JSON of a string column; the empty string stands for null."""
    return np.where(texts == "", "null", np.strings.add(np.strings.add('"', texts), '"'))


def _with_dirt(rng, world, people, text: list[str], arrival, fault, defect: str | None) -> Lines:
    """Delay, repeat and break lines; a volume drop loses lines before all that."""
    if defect == "volume_drop":
        kept = np.flatnonzero(rng.random(len(text)) < _BAD_VOLUME)
        text, arrival, fault = [text[i] for i in kept], arrival[kept], fault[kept]
    due, arrival = arrival, arrival.copy()
    for kind, (least, most) in ((_LATE, LATE_DAYS), (_TOO_LATE, TOO_LATE_DAYS)):
        rows = fault == kind
        arrival[rows] += rng.integers(least, most + 1, rows.sum())
    twice = np.flatnonzero(fault == _DUPLICATE)
    fault[twice] = _CLEAN  # the first of the two is a good line
    again = due[twice] + (rng.random(len(twice)) < _NEXT_DAY_SHARE)
    broken = np.sort(rng.choice(len(text), rng.binomial(len(text), _MALFORMED_SHARE), replace=False))
    kinds = rng.choice([_MALFORMED, _MALFORMED, _NO_ID, _BAD_TIME], len(broken))
    spoilt = _broken_lines(rng, world, people, [text[i] for i in broken], kinds)
    place = np.concatenate([np.arange(len(text)), twice, broken])
    order = np.argsort(place, kind="stable")  # beside the line that was repeated or broken
    texts = text + [text[i] for i in twice] + spoilt
    arrivals = np.concatenate([arrival, again, due[broken]])
    faults = np.concatenate([fault, np.full(len(twice), _DUPLICATE), kinds])
    return Lines([texts[i] for i in order], arrivals[order], faults[order])


def _broken_lines(rng, world, people: Population, text: list[str], kinds: np.ndarray) -> list[str]:
    """Extra lines: cut off, no JSON (with a customer's phone and e-mail: privacy at the door), without id or time."""
    known = contacts(world, people.take(rng.integers(0, len(people.end), len(text))))
    spoilt = []
    for i, (line, kind) in enumerate(zip(text, kinds.tolist(), strict=True)):
        if kind == _NO_ID:
            spoilt.append("{" + line.split(",", 1)[1])
        elif kind == _BAD_TIME:
            head, tail = line.split('"occurred_at":"', 1)
            spoilt.append(f'{head}"occurred_at":"2024-13-45T25:61:00{tail[tail.index(chr(34)) :]}')
        elif rng.random() < 0.5:
            spoilt.append(
                f"WARN callback failed for {known['phone'][i] or 'unknown'} <{known['email'][i] or 'unknown'}>"
            )
        else:
            spoilt.append(line[: rng.integers(10, len(line) - 1)])
    return spoilt


class Spool:
    """Writes arrival days: each takes what earlier days left for it."""

    def __init__(self, uri: str, state_dir: Path, tz: str):
        """`uri` is settings().spool_uri: a path, or a URI of any file system pyarrow knows."""
        self._files, self._root = fs.FileSystem.from_uri(uri) if "://" in uri else (fs.LocalFileSystem(), uri)
        self._late, self._tz = state_dir / "late", tz

    def keep_late(self, day: int, lines: dict[str, Lines]) -> None:
        """Keep what the event day leaves for later arrival days."""
        self._late.mkdir(parents=True, exist_ok=True)
        kept = {feed: [[int(a), int(f), t] for a, f, t in zip(x.arrival, x.fault, x.text, strict=True) if a > day]
                for feed, x in lines.items()}  # fmt: skip
        path = self._late / f"{clock.ds_of(day)}.json"
        path.with_suffix(".tmp").write_text(json.dumps(kept))
        path.with_suffix(".tmp").replace(path)
        oldest = clock.ds_of(day - 2 * LONGEST_WAY)  # mending looks back as well
        for old in self._late.glob("*.json"):
            if old.stem < oldest:
                old.unlink()

    def late_of(self, day: int) -> dict[str, list] | None:
        """What an event day left: [arrival day, fault, line] per feed; None if it is not kept any more."""
        path = self._late / f"{clock.ds_of(day)}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def write(self, day: int, lines: dict[str, Lines], late: list[dict[str, list]]) -> dict[str, dict[str, int]]:
        """Write the day's file per feed: the left-overs of earlier days first. Return the number of lines per fault."""
        counts, own_offset = {}, _suffix(clock.utc_offset(self._tz, day))
        for feed in FEEDS:
            own = lines[feed]
            today = np.flatnonzero(own.arrival == day)
            old = [(fault, text) for left in late for arrival, fault, text in left[feed] if arrival == day]
            texts = [text for _, text in old] + [own.text[i] for i in today]
            faults = [fault for fault, _ in old] + own.fault[today].tolist()
            n = np.bincount(faults, minlength=len(FAULTS))
            foreign = sum(
                own_offset not in text for text, fault in zip(texts, faults, strict=True) if fault < _MALFORMED
            )
            counts[feed] = {"lines": len(texts), "other_utc_offset": foreign}
            counts[feed] |= {name: int(c) for name, c in zip(FAULTS[1:], n[1:], strict=True)}
            self._replace(feed, f"{feed}-{clock.ds_of(day)}.jsonl", "".join(f"{t}\n" for t in texts))
        return counts

    def _replace(self, feed: str, name: str, text: str) -> None:
        """Write under a temporary name, then rename: a collector never sees half a file."""
        folder = f"{self._root}/{feed}"
        self._files.create_dir(folder, recursive=True)
        with self._files.open_output_stream(f"{folder}/.{name}.tmp") as out:
            out.write(text.encode())
        self._files.move(f"{folder}/.{name}.tmp", f"{folder}/{name}")

    def clear(self) -> None:
        """Delete the company's files, left by a creation that was cut short."""
        for feed in FEEDS:
            if self._files.get_file_info(f"{self._root}/{feed}").type == fs.FileType.Directory:
                self._files.delete_dir_contents(f"{self._root}/{feed}")
