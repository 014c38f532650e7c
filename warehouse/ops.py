"""Read-only copies of the state database in the warehouse (`ops.*`), so that SQL and dashboards see runs and verdicts."""

import sqlalchemy as sa

from warehouse import state
from warehouse.partitions import replace_partition
from warehouse.session import session

COPIED = {t.name: t for t in (state._loads, state._published, state._verdicts, state._promotions, state._exports)}


def refresh(tables: list[str], ds: str) -> None:
    """Replace partition `ds` of `ops.<table>` with what the state database holds for that day.

    Tables without a day of their own (promotions) are copied whole into the partition of the day they were copied on.
    """
    for name in tables:
        table = COPIED[name]
        query = sa.select(table)
        if "ds" in table.c:
            query = query.where(table.c.ds == ds)
        with state.engine().connect() as connection:
            rows = [dict(r) for r in connection.execute(query).mappings()]
        columns = [c for c in table.c if c.name != "ds"]
        schema = ", ".join(f"{c.name} {_spark_type(c.type)}" for c in columns)
        data = [tuple(row[c.name] for c in columns) for row in rows]
        replace_partition(session().createDataFrame(data, schema), f"ops.{name}", ds)


def _spark_type(kind: sa.types.TypeEngine) -> str:
    for python_type, name in ((sa.Boolean, "boolean"), (sa.DateTime, "timestamp"), (sa.BigInteger, "bigint")):
        if isinstance(kind, python_type):
            return name
    return "int" if isinstance(kind, sa.Integer) else "string"
