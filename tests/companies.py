"""Companies of tests: the sample's folder with something of it changed."""

import shutil
from pathlib import Path

import yaml

SAMPLE = Path(__file__).resolve().parent.parent / "companies" / "sample"
FEEDS, EXPORTS = SAMPLE / "feeds.yml", SAMPLE / "exports.yml"


def declare(folder: Path, **keys) -> str:
    """Make `folder` a company's: what it lacks is the sample's, with `keys` of company.yml changed; returns MDP_COMPANY."""
    for path in SAMPLE.rglob("*"):
        copy = folder / path.relative_to(SAMPLE)
        if path.is_file() and (not copy.exists() or path.name == "company.yml"):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    said = yaml.safe_load((SAMPLE / "company.yml").read_text(encoding="utf-8")) | keys
    (folder / "company.yml").write_text(yaml.safe_dump(said, sort_keys=False), encoding="utf-8")
    return str(folder)
