"""Looks for the sample's clear phone numbers and e-mail addresses everywhere in a home but in `sample/`.

Parquet is read by content (its pages are compressed), SQLite by its rows, all else as bytes.
"""

import re
import sqlite3
from pathlib import Path

PHONE = re.compile(rb"1[3-9]\d{9}")
MAIL = re.compile(rb"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


def clear_values(home: Path) -> set[str]:
    """The clear phone numbers and e-mail addresses of the sample's CRM database, read through the home's engine."""
    import subprocess
    import sys

    from tests.conftest import PROJECT

    code = (
        "from warehouse.session import session\nfrom warehouse.connections import database\n"
        "df = session().read.format('jdbc').options(**database('crm').jdbc_options())"
        ".option('dbtable', 'customers').load()\n"
        "for row in df.select('phone', 'email').collect():\n    [print(v) for v in row if v]\n"
    )
    import os

    env = os.environ | {"MDP_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=env, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def find_clear_values(home: Path, values: set[str]) -> list[str]:
    """`file: value` for each of `values` found in a file of `home` outside `sample/`."""
    found, seen = [], 0
    wanted = {v.encode() for v in values} | {re.sub(rb"\D", b"", v.encode()) for v in values if "@" not in v}
    for path in sorted(home.rglob("*")):
        if not path.is_file() or path.relative_to(home).parts[0] == "sample":
            continue
        seen += 1
        for text in _contents(path):
            hits = {m.group() for m in PHONE.finditer(text)} | {m.group() for m in MAIL.finditer(text)}
            found += [f"{path.relative_to(home)}: {hit.decode()}" for hit in hits & wanted]
    assert seen > 50, "the scan saw almost no files"
    return found


def _contents(path: Path):
    if path.suffix == ".parquet" or path.name.endswith(".parquet") or path.name.startswith("part-"):
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path, partitioning=None)
        except OSError:  # not Parquet after all (a checksum side file)
            yield path.read_bytes()
            return
        for column in table.columns:
            if str(column.type) in ("string", "large_string", "binary"):
                yield "\n".join(str(v) for v in column.to_pylist() if v is not None).encode()
        return
    if path.suffix in (".db", ".sqlite"):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
            for (name,) in database.execute("select name from sqlite_master where type = 'table'").fetchall():
                for row in database.execute(f'select * from "{name}"'):
                    yield "\n".join(str(v) for v in row if v is not None).encode()
    yield path.read_bytes()
