"""The scan would find it: a value planted in each kind of file of a home is found, and what only looks like one is not."""

import gzip
import io
import pickle
import sqlite3
import struct
import time
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.privacy import Watch, is_distinctive, scan

PHONE, MAIL, NUMBER, PLACE = "13812345678", "li.1a2b3c4d@example.com", "990011199003070011", "31.2345678"
VALUES = {PHONE, MAIL, NUMBER, PLACE, "99001119900307001X"}


def parquet(array: pa.Array, **options) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"c": array}), out, **options)
    return out.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def sqlite(path, *values, wal: bool = False) -> None:
    database = sqlite3.connect(path)
    if wal:
        database.execute("pragma journal_mode=wal")
        database.execute("pragma wal_autocheckpoint=0")
    database.execute("create table t (c)")
    database.executemany("insert into t values (?)", [(v,) for v in values])
    database.commit()
    if not wal:  # an open one keeps its log
        database.close()
    return database


def lz4_blocks(*contents: bytes) -> bytes:
    """As lz4-java writes them; the second one as it is."""
    blocks = []
    for number, content in enumerate(contents):
        packed = content if number else pa.compress(content, codec="lz4_raw", asbytes=True)
        head = struct.pack("<8sBIII", b"LZ4Block", 0x16 if number else 0x26, len(packed), len(content), 0)
        blocks.append(head + packed)
    return b"".join(blocks)


PLANTED = {
    "logs/engine.log": f"WARN refused 0086{PHONE}".encode(),
    "logs/old.log.gz": gzip.compress(f"mail={MAIL}\n".encode()),
    "logs/cut.log.gz": gzip.compress(f"{MAIL}\n".encode() + bytes(range(256)) * 4000)[:-2000],
    "reports/gate.html": f"<td>{NUMBER}</td>".encode(),
    "reports/figures.json": f'{{"at": [{PLACE}, 1]}}'.encode(),
    "warehouse/t/ds=1/part-0.snappy.parquet": parquet(pa.array(["x", MAIL])),
    "warehouse/t/ds=1/part-1.zstd.parquet": parquet(pa.array([NUMBER]), compression="zstd", use_dictionary=False),
    "warehouse/no_suffix": parquet(pa.array([PHONE])),
    "warehouse/number.parquet": parquet(pa.array([int(PHONE)])),
    "warehouse/double.parquet": parquet(pa.array([float(PLACE)])),
    "warehouse/dictionary.parquet": parquet(pa.array([MAIL, MAIL]).dictionary_encode()),
    "warehouse/list.parquet": parquet(pa.array([["x", PHONE]])),
    "warehouse/struct.parquet": parquet(pa.array([{"a": {"b": [MAIL]}}])),
    "warehouse/map.parquet": parquet(pa.array([[("k", NUMBER)]], pa.map_(pa.string(), pa.string()))),
    "warehouse/map_key.parquet": parquet(pa.array([[(NUMBER, "v")]], pa.map_(pa.string(), pa.string()))),
    "warehouse/binary.parquet": parquet(pa.array([f"b {PHONE}".encode()])),
    "warehouse/binary_gzip.parquet": parquet(pa.array([gzip.compress(PHONE.encode())])),
    "warehouse/upper.parquet": parquet(pa.array([MAIL.upper()])),
    "mlflow/artifacts/model.pkl": pickle.dumps({"best": [MAIL]}),
    "mlflow/artifacts/model.zip": zipped("deep.zip", zipped("data.csv.gz", gzip.compress(f"1,{PHONE}\n".encode()))),
    "mlflow/artifacts/table.zip": zipped("table", parquet(pa.array([MAIL]))),
    "engine/tmp/blockmgr-1/0c/shuffle_0_0_0.data": lz4_blocks(b"x" * 99 + MAIL[:2].encode() * 9 + MAIL.encode()),
    "engine/tmp/blockmgr-1/0d/temp_local_1": lz4_blocks(b"x" * 99, PHONE.encode()),
    f"exports/{PHONE}.csv": b"",
    "exports/named.zip": zipped(f"{MAIL}.csv", b""),
    "x.txt": b"id 99001119900307001x",
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_value_in_any_kind_of_file_is_found(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PLANTED[name])
    found, n_files = scan(tmp_path, VALUES)
    assert n_files == 1 and len(found) == 1 and found[0].startswith(f"{name}: ")


@pytest.mark.parametrize("name", ["state.db", "mlflow/mlflow.db", "no_suffix", "odd.parquet"])
@pytest.mark.parametrize("value", [PHONE, int(PHONE), float(PLACE), MAIL.encode(), gzip.compress(NUMBER.encode())])
def test_a_value_in_a_database_is_found_whatever_its_file_is_called(tmp_path, name, value):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    sqlite(path, "x", value)
    assert len(scan(tmp_path, VALUES)[0]) == 1


def test_a_value_that_is_only_in_the_log_of_a_database_is_found(tmp_path):
    kept_open = sqlite(tmp_path / "state.db", gzip.compress(PHONE.encode()), wal=True)
    assert PHONE.encode() not in (tmp_path / "state.db").read_bytes()
    assert scan(tmp_path, VALUES)[0] == [f"state.db: {PHONE}"]
    kept_open.close()


def test_a_database_in_an_archive_is_found(tmp_path):
    sqlite(tmp_path / "inner.db", gzip.compress(PHONE.encode()))
    (tmp_path / "a.zip").write_bytes(zipped("inner.db", (tmp_path / "inner.db").read_bytes()))
    (tmp_path / "inner.db").unlink()
    assert scan(tmp_path, VALUES)[0] == [f"a.zip: {PHONE}"]


def test_the_sample_itself_is_left_out_and_lookalikes_are_not_found(tmp_path):
    (tmp_path / "sample" / "crm").mkdir(parents=True)
    (tmp_path / "sample" / "crm" / "x.log").write_text(PHONE)
    (tmp_path / "masked.log").write_text(
        "138****5678 l***@example.com 99**************11 31.23 1381234567 131.2345678 31.23456789 31.234567 "
        "li.1a2b3c4d@example.org 13812345679 990011199003070012"
    )
    (tmp_path / "broken.zip.txt").write_bytes(b"PK")
    found, n_files = scan(tmp_path, VALUES)
    assert (found, n_files) == ([], 2)


def test_only_what_nothing_else_looks_like_is_searched_for():
    assert all(is_distinctive(value) for value in VALUES)
    assert not [text for text in ("female", "1990", "31.23", "Shanghai", "gold") if is_distinctive(text)]


def test_a_watch_sees_what_is_there_for_a_moment(tmp_path):
    path = tmp_path / "engine" / "spill"
    path.parent.mkdir()
    (tmp_path / "sample").mkdir()
    (tmp_path / "sample" / "crm.log").write_text(PHONE)
    with Watch(tmp_path, VALUES) as watch:
        path.write_bytes(lz4_blocks(b"-" * 99 + MAIL.encode()))
        end = time.monotonic() + 20
        while not watch.found and time.monotonic() < end:
            time.sleep(0.02)
        path.write_bytes(b"PAR1 half a file PAR1")
        n_rounds = watch.n_rounds
        while watch.n_rounds < n_rounds + 2 and time.monotonic() < end:
            time.sleep(0.02)
        path.unlink()
    assert watch.found == [f"engine/spill: {MAIL}"] and list(watch.seen) == ["engine/spill"]
