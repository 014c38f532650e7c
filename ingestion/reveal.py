"""Reading one secret back: it needs the key, and it leaves a trace that is written before the value is shown."""

from ingestion.privacy import Row, decrypt, read_keys
from ingestion.protect import rows_bound_to
from ingestion.rotate import Sealed, sealed_tables
from warehouse import keys, state
from warehouse.dates import parse_ds
from warehouse.errors import PlatformError, unknown
from warehouse.session import session


def reveal(table: str, column: str, row_key: str, reason: str, ds: str | None = None) -> str:
    """The clear value of one row of `table`: of the day `ds`, or of the newest day that has the row.

    `row_key` is the row's key (its parts joined by |), of a quarantined line its key or its source. Raises PlatformError
    if no or more than one row is meant, the value is empty, the key is missing or the trace cannot be written.
    """
    if not reason.strip():
        raise PlatformError("a secret is read back for a reason: say it with --reason, it goes into the trace")
    place, stored = _sealed_column(table, column)
    path = keys.key_path()
    row, bound = _one_row(place, stored, row_key, ds and parse_ds(ds))
    if not row[stored]:
        raise PlatformError(f"{table} of {row['ds']}: row {row_key!r} has no {column}: there is nothing to reveal")
    state.record_reveal(table, column, row_key, row["ds"], reason.strip())
    try:
        return decrypt(read_keys(str(path)), row[stored], table, column, bound, row["key_id"])
    except ValueError as error:
        raise PlatformError(f"{error}: restore the key ring {path}, or load the day again") from None


def _sealed_column(table: str, column: str) -> tuple[Sealed, str]:
    """Where the secret is stored; an unknown table or column lists the known ones."""
    places = {place.table: place for place in sealed_tables()}
    if table not in places:
        raise unknown("table with secrets", table, places)
    by_name = {bound: stored for stored, bound in places[table].columns.items()}
    if column not in by_name:
        raise unknown(f"secret of {table}", column, by_name)
    return places[table], by_name[column]


def _one_row(place: Sealed, stored: str, row_key: str, ds: str | None) -> tuple[dict, Row]:
    """(sealed value, day and key_id of the one row that is meant; what it is bound to)."""
    columns = dict.fromkeys((*place.key, stored, "key_id", "ds"))
    frame = session().table(place.table).select(*columns)
    frame = frame.where(f"ds = '{ds}'") if ds else frame
    rows = rows_bound_to(frame, place.rows_of, row_key).toArrow()
    newest = max(rows["ds"].to_pylist(), default=None)
    found = [
        (row, bound) for row, bound in zip(rows.to_pylist(), place.rows_of(rows), strict=True) if row["ds"] == newest
    ]
    if not found:
        raise PlatformError(
            f"{place.table} has no row {row_key!r}{f' of {ds}' if ds else ''}: its key is {'|'.join(place.key)}"
        )
    if len(found) > 1:
        raise PlatformError(
            f"{place.table} of {newest} has {len(found)} rows {row_key!r}: only a row that can be told from the others can be "
            "revealed"
        )
    return found[0]
