"""`python -m sample.corner_shop --out DIR` or `--database URL`: the shop's book up to a day, as files or in PostgreSQL."""

import argparse
import sys
import time
from pathlib import Path

from sample.corner_shop import delivery, life
from warehouse.errors import PlatformError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sample.corner_shop", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, help="the directory for spool/, tables/ and truth/")
    where.add_argument("--database", help="postgresql://user@host:port/database (password: PGPASSWORD)")
    parser.add_argument("--days", type=int, default=life.DAYS, help="how long the shop lives")
    parser.add_argument("--customers", type=int, default=life.CUSTOMERS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--ds", help="the newest day that is in the book; default: the last of its life")
    parser.add_argument("--defect", choices=life.DEFECTS, help="what is wrong with that day")
    parser.add_argument("--mend", action="store_true", help="write the database's days from --ds on again")
    parser.add_argument("--clients", action="store_true", help="with the table of clients")
    parser.add_argument("--lower-case", action="store_true", help="columns in the database without capitals")
    given = parser.parse_args()
    try:
        print(_deliver(given))
    except (PlatformError, OSError) as error:
        sys.exit(f"error: {error}")


def _deliver(given: argparse.Namespace) -> str:
    began = time.monotonic()
    shop = life.live(given.seed, given.customers, given.days)
    ds = given.ds or life.clock.ds_of(shop.days - 1)
    if given.defect:
        shop = life.break_(shop, given.defect, ds)
    if given.out:
        rows, did = delivery.write_files(shop, given.out, ds, given.clients), f"is in {given.out}"
    else:
        import sqlalchemy as sa

        try:
            url = sa.make_url(given.database)
            if url.drivername == "postgresql":  # else SQLAlchemy's own choice, which is not in the lock
                url = url.set(drivername="postgresql+psycopg2")
            engine = sa.create_engine(url, poolclass=sa.NullPool)
            write = delivery.mend_postgres if given.mend else delivery.fill_postgres
            rows = write(engine, shop, ds, not given.lower_case, given.clients)
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise PlatformError(f"the database could not be filled: {str(error).splitlines()[0]}") from None
        did = "is in the database; written now"
    counts = ", ".join(f"{n:,} {name}" for name, n in rows.items())
    return f"the corner shop's book up to {ds} {did}: {counts} ({time.monotonic() - began:.1f} s)"


if __name__ == "__main__":
    main()
