"""What a gate needs to know of the company's feeds, from the blocks of feeds.yml.

That the blocks are right is for ingestion to say, which reads them before anything is loaded; a gate only looks at what
was loaded.
"""

from dataclasses import dataclass

from warehouse.company import folder, staged
from warehouse.declarations import read_blocks

DIGEST = "line_digest"  # the key of rows that nothing identifies: equal rows may rightly come twice


@dataclass(frozen=True)
class Feed:
    """A feed as its raw table shows it; tables are named as feeds are.

    is_judged: its rows pass a door that holds back bad ones. is_whole: each load is the whole table. is_log: its rows are
    events, which a log may send more than once. filled: columns of the key that no door fills. masks: columns of masks.
    personal: columns, in lower case, of which at most the beginning of a value is shown.
    """

    name: str
    key: tuple[str, ...]
    format: str
    is_judged: bool
    is_whole: bool
    is_log: bool
    filled: tuple[str, ...]
    masks: tuple[str, ...]
    personal: frozenset[str]

    @property
    def raw_table(self) -> str:
        return f"raw.{self.name}"

    @property
    def quarantine_table(self) -> str:
        return f"quarantine.{self.name}"


def feeds() -> dict[str, Feed]:
    """Name → feed, in the order of feeds.yml."""
    return {name: _feed(name, block) for name, block in read_blocks(folder() / "feeds.yml", "feed").items()}


def feeds_of(*entities: str) -> tuple[str, ...]:
    """The names of the feeds that feed any of these entities."""
    fed = staged()
    return tuple(dict.fromkeys(each.feed for entity in entities for each in fed[entity]))


def _feed(name: str, block: dict) -> Feed:
    columns = block["columns"]
    return Feed(
        name=name,
        key=tuple(block["key"]),
        format=block.get("format", "json"),
        is_judged=block["kind"] != "jdbc",
        is_whole=block.get("mode") == "full",
        is_log=block.get("timestamp_column") is not None,
        filled=tuple(column for column in block["key"] if not columns[column].get("required") and column != DIGEST),
        masks=tuple(f"{c}_mask" for c, said in columns.items() if said.get("action") in ("mask", "hash_and_mask")),
        personal=frozenset(
            f"{name}{end}".lower()
            for name, said in columns.items()
            if said["class"] in ("personal", "secret")
            for end in ("", "_mask", "_hash", "_enc")
        ),
    )
