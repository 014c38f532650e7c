"""What a load of a feed for a day has to do, and from which inputs: decided, and stored as an intent, before it is done.

A load is immutable once its raw gate has passed. Before that it may be taken again: a table when the gate has refused the
day, files when their content has changed (somebody mended the source), any on `reload`.
"""

from ingestion import collect, drift, jdbc, quarantine, topics
from ingestion.feeds import Feed, FilesFeed, JdbcFeed, KafkaFeed
from warehouse import stages, state
from warehouse.dates import shift
from warehouse.errors import PlatformError, listed
from warehouse.session import session
from warehouse.state import Load


def refuse_if_unfinished(ds: str) -> None:
    """Raise PlatformError if an earlier day was loaded but did not reach the marts (a history: its features' gate)."""
    stopped = stages.first_unfinished(before=ds)
    if stopped is None:
        return
    stage, first = stages.missing(stopped), None
    if stages.is_history(stopped):
        first = min((load.inputs["first"] for load in state.loads(stopped) if load.inputs["first"]), default=None)
    raise PlatformError(
        f"{stopped} is unfinished (its stage {stage} is not published), so {ds} may not start: run "
        f"`{stages.typed(stage, stopped, first)}` and what follows it, or `make run`, which takes it up"
    )


def decide(feed: Feed, ds: str, from_ds: str | None, reload: bool, accept_gap: bool = False) -> tuple[str, str]:
    """(outcome, note) of what is to be done; stores the intent if something is to be read."""
    load = state.load(feed.name, ds)
    if load is None:
        covering = state.next_load(feed.name, ds)
        if covering:
            return _inside(feed, ds, covering)
        return "loaded", intend(feed, ds, from_ds, accept_gap)
    if load.inputs.get("open"):
        return "loaded", end_following(feed, load, accept_gap)
    if load.status == "intent":
        if not _still_there(feed, load):
            note = _without(feed, load, reload)
            return "again", intend(feed, ds, load.inputs["first"], accept_gap) + note
        return "repaired", "an earlier run did not finish"
    if state.is_published("gate_raw", ds):
        if not reload:
            return "unchanged", verify(feed, load)
        if isinstance(feed, JdbcFeed):
            raise PlatformError(f"{feed.name}: the load of {ds} passed its gate; a table cannot be read as it was then")
        if not _still_there(feed, load):
            what = (
                "files of {} are not in the spool"
                if isinstance(feed, FilesFeed)
                else "records of {} are not in the topic"
            )
            raise PlatformError(f"{feed.name}: the {what.format(ds)} as they were: put them back")
        state.begin_load(feed.name, ds, _as_new(load.inputs), replace=True)
        return "again", "as it was recorded"
    note = _without(feed, load, reload)
    if isinstance(feed, FilesFeed):
        changed = _contents(_inputs(feed, ds, load.inputs["first"], load.inputs["start"])) != _contents(load.inputs)
    else:
        changed = any(not verdict["success"] for verdict in state.verdicts(ds, "raw"))
    if reload or changed:
        return "again", intend(feed, ds, load.inputs["first"], accept_gap) + note
    return "unchanged", verify(feed, load)


def _still_there(feed: Feed, load: Load) -> bool:
    """Whether the source holds what the intent says (a table cannot tell: it is read as it is)."""
    if isinstance(feed, FilesFeed):
        return not collect.changed(feed, load.inputs["files"])
    if isinstance(feed, KafkaFeed):
        return topics.still_held(feed, load.inputs)
    return True


def _without(feed: Feed, load: Load, reload: bool) -> str:
    """What is worth saying of files that a load was fixed to and that the spool does not hold any more, under no name.

    Raises PlatformError unless it is to `reload`: a rerun reads the same inputs, and gone ones are rows that are missing.
    """
    gone = collect.gone(feed, load.inputs["files"]) if isinstance(feed, FilesFeed) else []
    if not gone:
        return ""
    names = listed(gone)
    if reload:
        return f", gone from the spool and left out: {names}"
    kept = "what was loaded stays" if load.status == "published" else "nothing of it is loaded yet"
    raise PlatformError(
        f"{feed.name}: the load of {load.ds} was fixed to files that are not in {collect.spool_path(feed)} any more: {names}; "
        f"{kept}: put them back, or load the day without them: `mdp ingest --ds {load.ds} --feed {feed.name} --reload`"
    )


def _as_new(inputs: dict) -> dict:
    """The inputs of a load with nothing of it done."""
    if "batches" not in inputs:
        return inputs
    return inputs | {"batches": [{"from": b["from"], "to": b["to"]} for b in inputs["batches"]]}


def _inside(feed: Feed, ds: str, later: Load) -> tuple[str, str]:
    """A day that a later load covers has nothing of its own to load."""
    if later.status != "published":
        raise PlatformError(f"{feed.name}: a load of {later.ds} was begun: finish it with `mdp ingest --ds {later.ds}`")
    if later.inputs["first"] and ds < later.inputs["first"]:
        raise PlatformError(f"{feed.name}: {ds} lies before {later.inputs['first']}, where its history begins")
    return "inside", f"{ds} is in the load of {later.ds}"


def end_following(feed: KafkaFeed, load: Load, accept_gap: bool) -> str:
    """Fix the last offsets of a load whose topic was followed; returns what is worth saying."""
    inputs, _ = topics.grow(feed, load.ds, load.inputs, feed.max_messages, accept_gap)
    state.note_inputs(feed.name, load.ds, {key: value for key, value in inputs.items() if key != "open"})
    n = sum(topics.n_rows(batch) for batch in inputs["batches"] if "n_rows" not in batch)
    return f"{n:,} records of {feed.topic} after those that were followed"


def intend(feed: Feed, ds: str, from_ds: str | None, accept_gap: bool = False, follow: bool = False) -> str:
    """Fix the inputs of a load of `ds` in the state database; returns what is worth saying about them.

    A load that is to `follow` its topic stays open: its inputs grow (topics.grow).
    """
    earlier = state.last_load(feed.name, ds, is_whole=False)
    first, start = from_ds, from_ds
    if earlier:
        first, start = shift(earlier.ds, 1), earlier.inputs["start"]
        if from_ds and from_ds > first:
            raise PlatformError(
                f"{feed.name}: it was last loaded for {earlier.ds}, so a load from {from_ds} would skip days: "
                f"use --from {first}, or none"
            )
    inputs = _inputs(feed, ds, first, start, accept_gap)
    if follow:
        inputs["open"] = True
    along = f", {len(inputs['released'])} released from quarantine" if inputs.get("released") else ""
    if state.is_published("raw", ds):  # taken again: what was made of it is of yesterday
        stages.take_back("raw", ds, first)
    state.begin_load(feed.name, ds, inputs, replace=True)
    if isinstance(feed, KafkaFeed):
        n = sum(map(topics.n_rows, inputs["batches"]))
        lost = sum(b - a for a, b in inputs["gaps"].values())
        return f"{n:,} records of {feed.topic}" + (
            f", {lost:,} records were dropped by the broker before" if lost else ""
        )
    if isinstance(feed, JdbcFeed):
        jdbc.record_new(feed, inputs, ds)
        return "; ".join(inputs.get("notes", []))
    n = len(inputs["files"])
    note = f"{n} file{'s' * (n != 1)}" if n else f"no new file in {collect.spool_path(feed)}"
    if feed.mode == "full" and n and (day := inputs["files"][0]["day"]) < ds:
        note += f" of {day}: the table stands as it was then, since none of a later day is there"
    note += "".join(f", {text}" for text in drift.record(feed, inputs["files"], ds))
    for what, names in (
        ("sent again and left out", "resent"),
        ("still being written, left for the next load", "growing"),
    ):
        note += f", {what}: {listed(inputs[names])}" if inputs[names] else ""
    return note + along


def _inputs(feed: Feed, ds: str, first: str | None, start: str | None, accept_gap: bool = False) -> dict:
    """What a load of the days first … ds reads; `start` is where the feed's first load began (None: no limit)."""
    common = {"first": first, "start": start}
    last = state.last_load(feed.name, ds)
    if isinstance(feed, JdbcFeed):
        return common | jdbc.fix_inputs(feed, first, ds, last and last.inputs)
    common["released"] = quarantine.released(feed, ds)
    if isinstance(feed, KafkaFeed):
        return common | topics.fix_inputs(feed, ds, first, last and last.inputs, accept_gap)
    return common | collect.fix_inputs(feed, ds, start, last and last.inputs)


def _contents(inputs: dict) -> list[tuple[str, str]]:
    return [(file["name"], file["digest"]) for file in inputs["files"]]


def _count(table: str, ds: str) -> int:
    return session().table(table).where(f"ds = '{ds}'").count()


def verify(feed: Feed, load: Load) -> str:
    """Check that the partitions of a published load hold what was published."""
    found = {feed.raw_table: (load.n_rows, _count(feed.raw_table, load.ds))}
    if not isinstance(feed, JdbcFeed):
        found[feed.quarantine_table] = (load.n_quarantined, _count(feed.quarantine_table, load.ds))
    for table, (published, there) in found.items():
        if published != there:
            raise PlatformError(
                f"{table} of {load.ds} holds {there} rows, {published} were published: somebody changed it; "
                f"`mdp ingest --ds {load.ds} --feed {feed.name} --reload` reads kept files again"
            )
    return "published already, verified"
