"""Known values, learned: what a column had on accepted days is known, and a rule `known` of gates.yml asks for the rest.

The ledger keeps a digest of each value and the first day that had it; a gate that passes learns those of its day. Digests
are compared as data, in a view: no value of a source becomes part of SQL, and none stands in the ledger.
"""

from expectations.rules import Suite, Unseen, digest_of, quoted
from warehouse import state
from warehouse.dates import shift
from warehouse.errors import PlatformError
from warehouse.session import session

MOST = 1_000  # values of a column that can be known one by one


def unseen(table: str, column: str, ds: str, view: str, is_masked: bool) -> Unseen:
    """What accepted days before `ds` had in the column of a raw table: of the ledger, at first of the table itself.

    PlatformError if the column has too many values to know; one that the table lacks is for the gate to say.
    """
    accepted = state.published_days("gate_raw", to_ds=shift(ds, -1))
    if column.lower() not in [name.lower() for name in session().table(table).columns]:
        return Unseen(None, view, is_masked)
    _digests(table, column, f"ds = '{ds}'")  # refused before it is judged
    digests = state.known_values(table, column, before=ds)
    if accepted and not digests:
        digests = _digests(table, column, f"ds <= '{accepted[-1]}'")
        state.learn_values(table, column, accepted[-1], digests)
    return Unseen(tuple(digests) or None, view, is_masked)


def learn(suites: list[Suite], ds: str) -> None:
    """Note what the columns of rules of known values have on the day, which is accepted."""
    for suite in suites:
        for rule in suite.rules:
            if rule.unseen:
                state.learn_values(suite.table, rule.column, ds, _digests(suite.table, rule.column, f"ds = '{ds}'"))


def _digests(table: str, column: str, where: str) -> list[str]:
    """The digests of the values that the column has there; PlatformError if they are too many to know."""
    distinct = (
        f"select distinct {digest_of(column)} as digest from {table} where {where} and {quoted(column)} is not null"
    )
    found = [row["digest"] for row in session().sql(f"{distinct} limit {MOST + 1}").collect()]
    if len(found) > MOST:
        raise PlatformError(
            f"{table} has more than {MOST:,} different {column}, too many to know one by one: take the rule away, or ask "
            "by `rule: share` for what is wrong in a value"
        )
    return sorted(found)
