"""Errors that a person reads: one message that says what, where and what to do next.

The command line prints them without a traceback; anything else that escapes is a defect of ours and keeps its traceback.
"""


class PlatformError(Exception):
    """A fault the user can act on; its text is the whole message."""


class EngineDown(PlatformError):
    """The warehouse engine does not answer."""


def unknown(kind: str, name: str, known) -> PlatformError:
    """A PlatformError for a name that does not exist, with the list of those that do."""
    return PlatformError(f"unknown {kind} {name!r}: known are {', '.join(sorted(known))}")
