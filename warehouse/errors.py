"""Errors that a person reads: one message that says what, where and what to do next.

The command line prints them without a traceback; anything else that escapes is a defect of ours and keeps its traceback.
"""


class PlatformError(Exception):
    """A fault the user can act on; its text is the whole message.

    `exit_code` is what its command ends with; `is_verdict`: it says what the data is like, so that a second look is no use.
    """

    exit_code = 1
    is_verdict = False


class BrokenOff(PlatformError):
    """A step did not come to its end: nothing is known about the data, and the same command may pass later."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class EngineDown(BrokenOff):
    """The warehouse engine does not answer."""


class LeaseLost(PlatformError):
    """Somebody else works on what this process was working on; `holder` is that one's lease, None if it was only freed."""

    def __init__(self, name: str, holder=None):
        by = f"taken over by process {holder['pid']} on {holder['host']}" if holder else "freed"
        super().__init__(
            f"the lock of {name} was {by}: this run was not heard of for a while (stopped, or cut off from the state "
            "database?) or somebody took it away; it stops here and writes nothing more: run it again once nobody is at it"
        )


class Skipped(PlatformError):
    """No fault, and nothing to do."""

    exit_code = 99  # what Airflow's BashOperator takes for "skipped"


class NotYet(Skipped):
    """There is too little to learn from or to act on so far, and time brings it.

    `possible_from` is the first business day on which it can be done, None if nobody can know.
    """

    def __init__(self, reason: str, possible_from: str | None = None):
        super().__init__(reason)
        self.possible_from = possible_from


def unknown(kind: str, name: str, known) -> PlatformError:
    """A PlatformError for a name that does not exist, with the list of those that do."""
    return PlatformError(f"unknown {kind} {name!r}: known are {', '.join(sorted(known))}")


def shown(name: str) -> str:
    """A name that comes from a source as a message shows it: quoted and escaped if part of it would not be seen."""
    return name if name.isprintable() and name == name.strip() and name else repr(name)


def listed(names, at_most: int = 10) -> str:
    """Names that come from a source as a message lists them: the first ones, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - at_most:,} more" if len(names) > at_most else ""
    return ", ".join(map(shown, names[:at_most])) + more
