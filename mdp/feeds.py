"""What the feed commands print: blocks on standard output, what to review and what has no equivalent on standard error."""

import sys
from pathlib import Path

from ingestion.feeds import Feed, load_feeds
from ingestion.proposal import Proposal
from warehouse.errors import PlatformError


def infer(
    source: list[str], query: str | None, files: list[Path], format_: str | None, topic: str | None, sample: Path | None,
    name: str | None,
) -> None:  # fmt: skip
    """Print a proposed block for a table, a query, files or a topic; exactly one of them is meant."""
    from ingestion import infer as proposals

    if files:
        print_proposal(proposals.propose_files([*files, *map(Path, source)], format_, name))
        return
    if len(source) > 1:
        raise PlatformError(f"{len(source)} sources are named: one at a time (several files: with --files)")
    named = source[0] if source else ""
    if topic:
        if sample is None:
            raise PlatformError(f"--topic {topic} needs --sample FILE, with some records of it, one to a line")
        print_proposal(proposals.propose_topic(named or "kafka", topic, sample, format_, name))
    elif query:
        print_proposal(proposals.propose_table(named or "crm", None, query, name))
    else:
        connection, _, table = named.partition(".")
        if not table:
            raise PlatformError("name a table as <connection>.<table> (crm.orders), or use --query, --files or --topic")
        print_proposal(proposals.propose_table(connection, table, None, name))


def from_sqoop(path: str, source: str | None) -> None:
    """Print the blocks of an options file, or of the commands on standard input (-)."""
    from ingestion.sqoop import convert

    print_proposal(convert("standard input", sys.stdin.read(), source) if path == "-" else convert(path, None, source))


def from_flume(path: Path, samples: list[str]) -> None:
    """Print the blocks of an agent file."""
    from ingestion.flume import convert

    print_proposal(convert(path, samples))


def print_proposal(proposal: Proposal) -> None:
    """Print notes, then the block; PlatformError, and no block, if there is a fault."""
    for note in proposal.notes:
        print(note, file=sys.stderr)
    if proposal.faults:
        raise PlatformError("\n".join(proposal.faults))
    print(proposal.text, end="")


def check(path: Path | None) -> None:
    """Print a line per feed of the file: source, columns, what is done to the personal and secret ones, by which country."""
    feeds = load_feeds(path)
    width = max(map(len, feeds))
    for feed in feeds.values():
        protected = [
            f"{name} {column.action}{_country(feed, name)}" for name, column in feed.columns.items() if column.action
        ]
        columns = f"{len(feed.columns)} columns; {', '.join(protected) or 'none protected'}"
        print(f"{feed.name:<{width}}  {feed.kind:<5}  {_source(feed)}; {columns}")


def _country(feed: Feed, name: str) -> str:
    if not feed.columns[name].by_country:
        return ""
    country, by_row = feed.country_of(name)
    return f" ({f'by {by_row}' if by_row else ''}{', else ' if by_row and country else ''}{country or ''})"


def list_feeds() -> None:
    """Print a line per declared feed: kind, source, raw table."""
    feeds = load_feeds()
    rows = [(feed.name, feed.kind, _source(feed), feed.raw_table) for feed in feeds.values()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip())


def _source(feed: Feed) -> str:
    if feed.kind == "jdbc":
        return f"{feed.connection}.{feed.table or 'query'} {feed.mode}"
    return f"{feed.connection}:{feed.topic}" if feed.kind == "kafka" else f"{feed.directory}/{feed.pattern}"
