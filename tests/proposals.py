"""What the tests of converters and of infer share."""

import json

import yaml

from ingestion.feeds import load_feeds

EVENTS = [
    {"event_id": f"e{n}", "occurred_at": "2026-01-31T10:00:00+08:00", "user_id": f"c{n % 3}", "phone": f"1381234{n:04}",
     "amount": n + 0.5, "n": n, "ok": True, "geo": {"x": 1}, "@timestamp": "x"}
    for n in range(20)
]  # fmt: skip


def feeds_of(text: str, tmp_path) -> dict:
    """The text's feeds, loaded as a load would; plain YAML reads the same names."""
    path = tmp_path / "made.yml"
    path.write_text(text)
    feeds = load_feeds(path)
    assert list(yaml.safe_load(text)) == list(feeds)
    return feeds


def sample(tmp_path, name: str = "sample.jsonl") -> str:
    """A file with some events as JSON lines."""
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in EVENTS))
    return str(path)
