"""How each feed stands: its last load, how far behind it is, what it held back."""

from ingestion.feeds import Feed, KafkaFeed, load_feeds
from warehouse import state
from warehouse.dates import days
from warehouse.state import Load


def status() -> list[dict]:
    """Per declared feed: feed, kind, ds (last load; None: never), state, n_rows, n_quarantined, n_seen, lag_days,
    watermark and notes. The lag is counted in days behind the newest load of any feed."""
    newest = state.newest_load()
    return [_line(feed, state.last_load(feed.name, is_whole=False), newest) for feed in load_feeds().values()]


def _line(feed: Feed, last: Load | None, newest: str | None) -> dict:
    is_open = bool(last and last.inputs.get("open"))
    done = state.last_load(feed.name)
    counted = last.inputs["batches"] if is_open else [vars(last)] if last else []
    rows, held = (sum(part.get(name) or 0 for part in counted) for name in ("n_rows", "n_quarantined"))
    notes = [f"column {d['column_name']} ({d['type']}) is new since {d['first_ds']}" for d in state.drift(feed.name)]
    if last and last.inputs.get("gaps"):
        notes += [f"offsets {a} to {b - 1} of partition {p} were lost" for p, (a, b) in last.inputs["gaps"].items()]
    if last and last.inputs.get("n_deleted"):
        n = last.inputs["n_deleted"]
        notes.append(f"{n:,} row{'s' * (n != 1)} gone at the source since the load before: {feed.deleted_table}")
    if last and last.status == "intent" and not is_open:
        notes.append(
            f"the load of {last.ds} was begun and not finished: `mdp ingest --ds {last.ds} --feed {feed.name}`"
        )
    return {
        "feed": feed.name,
        "kind": feed.kind,
        "ds": last and last.ds,
        "state": "followed" if is_open else {"published": "loaded", "intent": "begun"}[last.status] if last else "",
        "n_rows": rows,
        "n_quarantined": held,
        "n_seen": rows + held,
        "lag_days": len(days(done.ds, newest)) - 1 if done else None,
        "watermark": _watermark(feed, last) if last else "",
        "notes": notes,
    }


def _watermark(feed: Feed, load: Load) -> str:
    """How far the source has been read: an upper bound, offsets, or files."""
    inputs = load.inputs
    if isinstance(feed, KafkaFeed):
        return ", ".join(f"{partition}:{offset}" for partition, offset in sorted(inputs["ends"].items()))
    if "files" in inputs:
        return f"{len(inputs['files'])} file{'s' * (len(inputs['files']) != 1)}"
    return f"{feed.check_column} {inputs['high']}" if inputs.get("high") is not None else ""
