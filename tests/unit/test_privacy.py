"""What leaves the door: equal people stay joinable, nobody stays readable, a ciphertext fits one place only."""

import base64
import functools
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from ingestion import privacy
from ingestion.feeds import Column
from ingestion.protect import arrow_protector, arrow_resealer, keys_sealing_with, row_keys

PHONES = (
    "13812345678", "138 1234 5678", "138-1234-5678", "+86 138 1234 5678", "0086 13812345678", "8613812345678",
    "１３８１２３４５６７８", " 86-13812345678",
)  # fmt: skip
C1 = privacy.key_row("c1")


@pytest.fixture
def keys(tmp_path):
    return privacy.read_keys(_key_file(tmp_path, b"a"))


def _key_file(folder, byte: bytes) -> str:
    path = folder / f"{byte.decode()}.key"
    path.write_bytes(byte * 64)
    return str(path)


def test_every_way_of_writing_a_phone_hashes_alike(keys):
    assert {privacy.normalise_phone(p, "CN") for p in PHONES} == {"+8613812345678"}
    assert len({privacy.keyed_hash(keys, "phone", p, "CN") for p in PHONES}) == 1


def test_people_of_two_countries_do_not_join(keys):
    one, other, unknown = (
        privacy.keyed_hash(keys, "phone", "0171 12345678", country) for country in ("DE", "CN", None)
    )
    assert one == privacy.keyed_hash(keys, "phone", "+49 171 12345678", "CN") and one != other
    assert unknown is None, "a number whose country nobody knows is not joined with any"
    assert privacy.keyed_hash(keys, "phone", "000000", "DE") is None


def test_emails_join_in_any_case_and_with_blanks(keys):
    assert privacy.keyed_hash(keys, "email", " Li.Na@Example.COM ") == privacy.keyed_hash(
        keys, "email", "li.na@example.com"
    )


@pytest.mark.parametrize(
    ("kind", "alike"),
    [
        ("name", ["李 娜", "李娜", " 李娜 ", "李\u3000娜"]),
        ("name", ["Li  Na", "li na", "ＬＩ ＮＡ"]),
        ("name", ["买买提·吐尔逊", "买买提・吐尔逊"]),
        ("id_number", ["11010519491231002X", "110105 19491231 002x", "110105491231002", "１１０１０５19491231002X"]),
        ("id_number", ["11010119900307001x", "11010119900307001X", "110101-19900307-001Ｘ"]),
        (
            "bank_card",
            ["6222021381234567", "6222 0213 8123 4567", "6222-0213-8123-4567", "６２２２０２１３８１２３４５６７"],
        ),
        ("plain", ["A b", " A b "]),
    ],
)
def test_every_way_of_writing_a_value_hashes_alike(keys, kind, alike):
    assert len({privacy.keyed_hash(keys, kind, text) for text in alike}) == 1


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("name", "Li Na", "Lina"),
        ("name", "李娜", "李那"),
        ("id_number", "110101491231002", "110101491231003"),
        ("id_number", "E1234567", "E1234568"),
        ("bank_card", "6222021381234567", "6222021381234568"),
        ("plain", "a", "A"),
    ],
)
def test_other_values_stay_other_values(keys, kind, one, other):
    assert privacy.keyed_hash(keys, kind, one) != privacy.keyed_hash(keys, kind, other)


def test_a_number_that_is_no_birth_date_gets_no_century(keys):
    assert privacy.normalise_id_number("110101001345002") == "110101001345002"


@pytest.mark.parametrize("nothing", [None, "", "  ", "n/a"])
def test_nothing_to_hash_is_null(keys, nothing):
    assert privacy.keyed_hash(keys, "phone", nothing, "CN") is None


def test_a_hash_belongs_to_one_purpose_and_one_key(keys, tmp_path):
    other = privacy.read_keys(_key_file(tmp_path, b"b"))
    text = "+8613812345678"  # normalises to itself for both purposes
    made = {privacy.keyed_hash(k, kind, text, "CN") for k in (keys, other) for kind in ("phone", "email", "plain")}
    assert len(made) == 6
    assert all(len(h) == 64 and set(h) <= set("0123456789abcdef") for h in made)


def test_encryption_is_repeatable_and_comes_back(keys):
    place = ("raw.crm__customers", "id_number", C1)
    sealed = privacy.encrypt(keys, "110101199003070011", *place)
    assert sealed == privacy.encrypt(keys, "110101199003070011", *place)
    assert "110101" not in sealed and b"110101" not in base64.b64decode(sealed.removeprefix("v2:"))
    assert privacy.decrypt(keys, sealed, *place) == "110101199003070011"
    assert privacy.encrypt(keys, None, *place) is None


def test_a_ciphertext_is_refused_elsewhere_or_altered_or_under_another_key(keys, tmp_path):
    place = ("raw.crm__customers", "id_number", C1)
    sealed = privacy.encrypt(keys, "110101199003070011", *place)
    altered = bytearray(base64.b64decode(sealed.removeprefix("v2:")))
    altered[-1] ^= 1
    other = privacy.read_keys(_key_file(tmp_path, b"b"))
    attempts = [
        (keys, sealed, ("raw.crm__customers", "id_number", privacy.key_row("c2"))),
        (keys, sealed, ("raw.crm__customers", "other", C1)),
        (keys, sealed, ("raw.other", "id_number", C1)),
        (keys, "v2:" + base64.b64encode(altered).decode(), place),
        (keys, sealed.removeprefix("v2:"), place),
        (keys, sealed + "=", place),
        (other, sealed, place),
    ]
    for used, text, where in attempts:
        with pytest.raises(ValueError, match="not sealed with this key at this place"):
            privacy.decrypt(used, text, *where)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("x|y", "z"), ("x", "y|z")), (("x", ""), ("x",)), (("1:x",), ("x",)), ((None,), ("None",)), ((None,), ("-",)),
        (("x", None), ("x", "None")), (("1:a1:b",), ("a", "b")),
    ],
)  # fmt: skip
def test_no_two_keys_bind_alike(keys, one, other):
    sealed = privacy.encrypt(keys, "secret", "raw.x", "s", privacy.key_row(*one))
    assert privacy.decrypt(keys, sealed, "raw.x", "s", privacy.key_row(*one)) == "secret"
    assert privacy.encrypt(keys, "secret", "raw.x", "s", privacy.key_row(*other)) != sealed
    with pytest.raises(ValueError, match="not sealed with this key at this place"):
        privacy.decrypt(keys, sealed, "raw.x", "s", privacy.key_row(*other))


def test_a_line_without_a_key_is_not_taken_for_one_whose_key_is_its_file(keys):
    rows = [privacy.payload_row(key, source) for key, source in (("a.jsonl", "b.jsonl"), (None, "a.jsonl"))]
    sealed = [privacy.encrypt(keys, "secret", "quarantine.x", "payload", row) for row in rows]
    assert [row.name for row in rows] == ["a.jsonl"] * 2 and sealed[0] != sealed[1]
    assert privacy.payload_row("", "a.jsonl") == rows[1]


def _sealed_before_v2(keys, text: str, table: str, column: str, row: str) -> str:
    """What was stored before: a row bound to its key's parts joined by |."""
    place = [part.encode() for part in (table, column, row)]
    return base64.b64encode(keys.ciphers[keys.newest].encrypt(text.encode(), place)).decode()


def test_what_was_sealed_before_still_opens_and_a_rotation_seals_it_anew(keys, tmp_path):
    path = _ring(tmp_path, b"a", b"b")
    ring = privacy.read_keys(path)
    old = _sealed_before_v2(keys, "secret", "raw.x", "s", "x|y|z")
    for parts in (("x|y", "z"), ("x", "y|z"), ("x", "y", "z")):
        assert privacy.decrypt(keys, old, "raw.x", "s", privacy.key_row(*parts)) == "secret"
    line = _sealed_before_v2(keys, "line", "quarantine.x", "payload", "a.jsonl")
    assert privacy.decrypt(keys, line, "quarantine.x", "payload", privacy.payload_row(None, "a.jsonl")) == "line"
    newest = _sealed_before_v2(ring, "secret", "raw.x", "s", "x|y|z")  # a rotation that was begun before
    batch = pa.RecordBatch.from_pydict(
        {"a": ["x", "x"], "b": ["y|z", "y|z"], "s_enc": [old, newest], "key_id": [keys.newest, ring.newest]}
    )
    rows_of = functools.partial(row_keys, key_columns=["a", "b"])
    (out,) = arrow_resealer("raw.x", {"s_enc": "s"}, rows_of, path, ring.newest)([batch])
    for text in out["s_enc"].to_pylist():
        assert text.startswith("v2:")
        assert privacy.decrypt(ring, text, "raw.x", "s", privacy.key_row("x", "y|z"), ring.newest) == "secret"
        with pytest.raises(ValueError, match="not sealed with this key at this place"):
            privacy.decrypt(ring, text, "raw.x", "s", privacy.key_row("x|y", "z"), ring.newest)


def _ring(folder, *blocks: bytes) -> str:
    path = folder / "ring.key"
    path.write_bytes(b"".join(byte * 64 for byte in blocks))
    return str(path)


def test_a_ring_hashes_with_its_first_block_and_seals_with_its_last(keys, tmp_path):
    place = ("raw.crm__customers", "id_number", C1)
    old = privacy.encrypt(keys, "110101199003070011", *place)
    ring = privacy.read_keys(_ring(tmp_path, b"a", b"b"))
    for kind in privacy.NORMALISE:
        assert privacy.keyed_hash(ring, kind, "13812345678", "CN") == privacy.keyed_hash(
            keys, kind, "13812345678", "CN"
        )
    new = privacy.encrypt(ring, "110101199003070011", *place)
    assert new != old and ring.newest != keys.newest
    assert privacy.decrypt(ring, new, *place) == privacy.decrypt(ring, new, *place, ring.newest) == "110101199003070011"
    assert privacy.decrypt(ring, old, *place, keys.newest) == "110101199003070011"
    with pytest.raises(ValueError, match="was not sealed with this key"):
        privacy.decrypt(ring, old, *place, ring.newest)
    with pytest.raises(ValueError, match=f"was sealed with {ring.newest}, which the key ring lacks"):
        privacy.decrypt(keys, new, *place, ring.newest)


def test_a_run_seals_with_the_key_that_it_names_though_the_ring_has_grown(keys, tmp_path):
    path = _ring(tmp_path, b"a", b"b")
    assert keys_sealing_with(keys.newest, path).newest == keys.newest
    with pytest.raises(ValueError, match="of this worker lacks k0: copy the whole ring"):
        keys_sealing_with("k0", path)


def test_key_ids_are_those_that_the_state_database_knows(tmp_path):
    from warehouse import keys as ring

    path = _ring(tmp_path, b"a", b"b")
    assert list(privacy.read_keys(path).ciphers) == [ring._fingerprint(block) for block in ring._blocks(Path(path))]


@pytest.mark.parametrize("size", [0, 63, 65])
def test_half_a_key_is_refused(tmp_path, size):
    (tmp_path / "half").write_bytes(b"x" * size)
    with pytest.raises(ValueError, match=f"holds {size} bytes"):
        privacy.read_keys(str(tmp_path / "half"))


def test_printed_keys_show_nothing(keys):
    assert "hashes" not in repr(keys) and str(keys.hashes["phone"]) not in f"{keys} {keys!r}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (True, "true"),
        (42, "42"),
        (Decimal("10.00"), "10.00"),
        (Decimal("1E+2"), "100"),
        (date(2024, 3, 5), "2024-03-05"),
        (datetime(2024, 3, 5, 1, 2, 3, 40, UTC), "2024-03-05T01:02:03.000040+00:00"),
        (None, None),
    ],
)
def test_what_is_encrypted_of_a_value_is_exact(value, text):
    assert privacy.exact_text(value) == text


def test_what_leaves_the_door_holds_no_clear_value(tmp_path):
    actions = [
        ("phone", "hash_and_mask", "phone", "CN", None), ("email", "hash", "email", "CN", None),
        ("id_number", "encrypt", None, "CN", None), ("latitude", "coarsen", None, "CN", None),
        ("full_name", "mask", "name", "CN", None), ("limit", "encrypt", None, "CN", None),
    ]  # fmt: skip
    given = {
        "phone": pa.array(["13812345678", None]),
        "email": pa.array(["li.na@example.com", None]),
        "id_number": pa.array(["110101199003070011", None]),
        "latitude": pa.array([31.23456, None]),
        "full_name": pa.array(["李娜", None]),
        "limit": pa.array([Decimal("5000.00"), None], pa.decimal128(18, 2)),
        "customer_id": pa.array(["c1", "c2"]),
    }
    path = _key_file(tmp_path, b"a")
    keys = privacy.read_keys(path)
    work = arrow_protector(list(given), actions, ["customer_id"], "raw.crm__customers", path, keys.newest)
    first, second = work(*given.values()).to_pylist()
    made = ["phone_hash", "phone_mask", "email_hash", "id_number_enc", "latitude", "full_name_mask", "limit_enc"]
    assert list(first) == made
    assert (first["phone_mask"], first["latitude"], first["full_name_mask"]) == ("138****5678", 31.23, "李*")
    assert privacy.decrypt(keys, first["limit_enc"], "raw.crm__customers", "limit", C1) == "5000.00"
    assert first["phone_hash"] == privacy.keyed_hash(keys, "phone", "13812345678", "CN")
    assert privacy.decrypt(keys, first["id_number_enc"], "raw.crm__customers", "id_number", C1) == "110101199003070011"
    for clear in ("13812345678", "li.na", "110101", "娜", "5000"):
        assert clear not in str(first)
    assert set(second.values()) == {None}


def test_masks_need_no_key():
    work = arrow_protector(["phone"], [("phone", "mask", "phone", "CN", None)], ["id"], "raw.x", None, None)
    assert work(pa.array(["13812345678"])).to_pylist() == [{"phone_mask": "138****5678"}]


def test_each_row_is_read_in_its_own_country(keys, tmp_path):
    rows = [("0171 1234567", "DE"), ("0171 1234567", " de "), ("(201) 555-0123", "US"), ("0171 1234567", "UK"),
            ("0171 1234567", ""), ("+49 171 1234567", None), ("13812345678", None), (None, "DE")]  # fmt: skip
    taken = [pa.array([phone for phone, _ in rows]), pa.array([country for _, country in rows])]
    path = _key_file(tmp_path, b"a")

    def made(fallback):
        action = ("phone", "hash_and_mask", "phone", fallback, "land")
        found = arrow_protector(["phone", "land"], [action], ["id"], "raw.x", path, keys.newest)(*taken).to_pylist()
        return [(row["phone_hash"], row["phone_mask"]) for row in found]

    german, american, chinese = (
        (privacy.keyed_hash(keys, "phone", number), shown)
        for number, shown in (
            ("+491711234567", "******4567"),
            ("+12015550123", "******0123"),
            ("+8613812345678", "138****5678"),
        )
    )
    abroad, none = (german[0], "491*****4567"), (None, "****")
    assert made(None) == [german, german, american, none, none, abroad, none, (None, None)]
    assert made("CN") == [german, german, american, none, none, abroad, chinese, (None, None)]


def test_rows_of_an_older_key_are_sealed_anew_and_no_others(keys, tmp_path):
    path = _ring(tmp_path, b"a", b"b")
    ring = privacy.read_keys(path)
    table, clear = "raw.x", {"1": "old", "2": "new", "3": None, "4": None}
    sealed = [
        privacy.encrypt(k, clear[i], table, "s", privacy.key_row(i))
        for k, i in ((keys, "1"), (ring, "2"), (keys, "3"), (keys, "4"))
    ]
    batch = pa.RecordBatch.from_pydict(
        {"id": list(clear), "s_enc": sealed, "key_id": [keys.newest, ring.newest, keys.newest, None]}
    )
    rows_of = functools.partial(row_keys, key_columns=["id"])
    (out,) = arrow_resealer(table, {"s_enc": "s"}, rows_of, path, ring.newest)([batch])
    made = out.to_pydict()
    assert made["key_id"] == [ring.newest, ring.newest, ring.newest, None]
    assert made["s_enc"][0] != sealed[0] and made["s_enc"][1:] == sealed[1:]
    assert privacy.decrypt(ring, made["s_enc"][0], table, "s", privacy.key_row("1"), ring.newest) == "old"


def _column(**keys) -> Column:
    return Column.model_validate({"type": "string"} | keys)


@pytest.mark.parametrize(
    ("keys", "stored"),
    [
        ({"class": "personal", "action": "mask", "format": "address"}, ["x_mask"]),
        ({"class": "personal", "action": "hash", "format": "plain"}, ["x_hash"]),
        ({"class": "personal", "action": "hash_and_mask", "format": "name"}, ["x_hash", "x_mask"]),
        ({"class": "personal", "action": "redact"}, ["x"]),
        ({"class": "internal", "action": "redact"}, ["x"]),
        ({"class": "internal"}, ["x"]),
        ({"class": "personal", "action": "drop"}, []),
        *[
            ({"class": "secret", "action": "encrypt", "type": kind}, ["x_enc"])
            for kind in ("string", "boolean", "int", "bigint", "date", "timestamp", "decimal(18,2)")
        ],
    ],
)
def test_a_column_reaches_raw_under_these_names(keys, stored):
    assert _column(**keys).stored("x") == stored


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"class": "public", "action": "redact"}, "is public and so takes no action"),
        ({"class": "internal", "action": "mask", "format": "phone"}, "is internal and so takes no action, unless it is redact"),
        ({"class": "personal"}, "is personal and so needs an action: mask, hash, hash_and_mask, encrypt, redact, coarsen or"),
        ({"class": "secret", "action": "redact"}, "is secret: its action must be encrypt or drop"),
        ({"class": "secret", "action": "mask", "format": "phone"}, "is secret: its action must be encrypt or drop"),
        ({"class": "personal", "action": "mask"}, "needs a format for its action mask: phone, email, name, id_number,"),
        ({"class": "personal", "action": "mask", "format": "plain"}, "needs a format for its action mask"),
        ({"class": "personal", "action": "hash", "format": "address"}, "needs a format for its action hash: phone, email,"),
        ({"class": "personal", "action": "hash_and_mask", "format": "plain"}, "needs a format for its action hash_and_mask"),
        ({"class": "personal", "action": "redact", "format": "phone"}, "has a format, which only an action of mask, hash,"),
        ({"class": "internal", "format": "phone"}, "has a format, which only an action of mask, hash,"),
        ({"class": "personal", "action": "redact", "type": "int"}, "is int: only a string can be masked, hashed or redacted"),
        ({"class": "personal", "action": "mask", "format": "phone", "type": "bigint"}, "is bigint: only a string"),
        ({"class": "secret", "action": "encrypt", "type": "double"}, "is double, which has no exact text to encrypt"),
        ({"class": "internal", "country": "DE"}, "has a country, by which only phone, id_number, address and redact read"),
        ({"class": "personal", "action": "hash", "format": "phone", "country": "XX"}, "is 'XX': no numbers are known of such"),
        ({"class": "personal", "action": "coarsen"}, "is string: only a double can be coarsened"),
    ],
)  # fmt: skip
def test_a_class_refuses_what_does_not_fit_it(keys, said):
    with pytest.raises(ValidationError, match=re.escape(said)):
        _column(**keys)
