"""Generated companies whose truth is known, so that the platform's answers can be measured.

A company whose company.yml says `generator: <name>` is lived by that module of this room; others read sources of their own.
"""

import importlib
from collections.abc import Callable
from typing import Protocol

from warehouse import company as declared  # by another name: `company` is a module of this room
from warehouse.declarations import line_of
from warehouse.errors import PlatformError

GENERATORS = {"sample": "sample.company", "corner_shop": "sample.corner_shop.company"}


class Generator(Protocol):
    """What a generator's module has. A result's `text` says it in a sentence."""

    DEFECTS: dict[str, str]

    def create(self, days: int, customers: int, seed: int, intensity: float, progress: Callable[[str], None]) -> dict:
        """Build the company and live `days` days; refuses where one lives."""

    def advance(self) -> dict:
        """Live one more day."""

    def exists(self) -> bool:
        """Whether a company lives in this home."""

    def lifetime(self, days: int) -> tuple[str, str]:
        """First and newest day of the company that lives here, or of one that would be created with `days` days."""

    def status(self) -> dict:
        """What lives here: first_ds, newest_ds, days, bad_days, next_defect and more."""

    def break_(self, defect: str) -> dict:
        """Make the next day that is lived a bad one."""

    def mend(self) -> dict:
        """Undo `break_`."""

    def best(self, clicks, members, plan) -> dict:
        """What a perfect model would reach on the same rows (frames of evaluations, of the plan; None: not evaluated)."""

    def planted(self) -> dict[str, dict[str, int]]:
        """What was planted up to the newest day, in numbers per feed."""


def generator() -> Generator | None:
    """The module that lives the company, None if it has sources of its own; PlatformError for one that does not exist."""
    name = declared.company().generator
    if name is None:
        return None
    if name not in GENERATORS:
        path = declared.folder() / "company.yml"
        raise PlatformError(
            f"{path}, line {line_of(path, ('generator',))}: there is no generator {name!r}: {', '.join(GENERATORS)}, or leave "
            "the key out to read sources of your own"
        )
    return importlib.import_module(GENERATORS[name])
