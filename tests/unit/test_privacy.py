"""What leaves the door: equal people stay joinable, nobody stays readable, a ciphertext fits one place only."""

import base64

import pyarrow as pa
import pytest

from ingestion import privacy
from ingestion.protect import arrow_protector

PHONES = (
    "13812345678", "138 1234 5678", "138-1234-5678", "+86 138 1234 5678", "0086 13812345678", "8613812345678",
    "１３８１２３４５６７８", " 86-13812345678",
)  # fmt: skip


@pytest.fixture
def keys(tmp_path):
    return privacy.read_keys(_key_file(tmp_path, b"a"))


def _key_file(folder, byte: bytes) -> str:
    path = folder / f"{byte.decode()}.key"
    path.write_bytes(byte * 64)
    return str(path)


def test_every_way_of_writing_a_phone_hashes_alike(keys):
    assert {privacy.normalise_phone(p) for p in PHONES} == {"+8613812345678"}
    assert len({privacy.keyed_hash(keys, "phone", p) for p in PHONES}) == 1


def test_other_numbers_stay_other_numbers():
    assert privacy.normalise_phone("+1 381 234 5678") == "+13812345678"
    assert privacy.normalise_phone("010-6278 1234") == "+861062781234"
    assert privacy.normalise_phone("13812345679") != privacy.normalise_phone("13812345678")


def test_emails_join_in_any_case_and_with_blanks(keys):
    assert privacy.keyed_hash(keys, "email", " Li.Na@Example.COM ") == privacy.keyed_hash(
        keys, "email", "li.na@example.com"
    )


@pytest.mark.parametrize("nothing", [None, "", "  ", "n/a"])
def test_nothing_to_hash_is_null(keys, nothing):
    assert privacy.keyed_hash(keys, "phone", nothing) is None
    assert privacy.mask_phone(nothing) is None


def test_a_hash_belongs_to_one_purpose_and_one_key(keys, tmp_path):
    other = privacy.read_keys(_key_file(tmp_path, b"b"))
    text = "+8613812345678"  # normalises to itself for both purposes
    made = {privacy.keyed_hash(k, kind, text) for k in (keys, other) for kind in ("phone", "email")}
    assert len(made) == 4
    assert all(len(h) == 64 and set(h) <= set("0123456789abcdef") for h in made)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("13812345678", "138****5678"),
        ("+86 138 1234 5678", "138****5678"),
        ("12345", "****45"),
        ("+4915112345678", "491******5678"),
    ],
)
def test_phone_mask_hides_the_middle(written, shown):
    assert privacy.mask_phone(written) == shown


def test_email_mask_shows_the_domain():
    assert privacy.mask_email("Li.Na@Example.com") == "l***@example.com"
    assert privacy.mask_email("no address") == "***"


def test_encryption_is_repeatable_and_comes_back(keys):
    place = ("raw.crm__customers", "id_number", "c1")
    sealed = privacy.encrypt(keys, "110101199003070011", *place)
    assert sealed == privacy.encrypt(keys, "110101199003070011", *place)
    assert "110101" not in sealed and b"110101" not in base64.b64decode(sealed)
    assert privacy.decrypt(keys, sealed, *place) == "110101199003070011"
    assert privacy.encrypt(keys, None, *place) is None


def test_a_ciphertext_is_refused_elsewhere_or_altered_or_under_another_key(keys, tmp_path):
    place = ("raw.crm__customers", "id_number", "c1")
    sealed = privacy.encrypt(keys, "110101199003070011", *place)
    altered = bytearray(base64.b64decode(sealed))
    altered[-1] ^= 1
    other = privacy.read_keys(_key_file(tmp_path, b"b"))
    attempts = [
        (keys, sealed, ("raw.crm__customers", "id_number", "c2")),
        (keys, sealed, ("raw.crm__customers", "other", "c1")),
        (keys, sealed, ("raw.other", "id_number", "c1")),
        (keys, base64.b64encode(altered).decode(), place),
        (other, sealed, place),
    ]
    for used, text, where in attempts:
        with pytest.raises(ValueError, match="not sealed with this key at this place"):
            privacy.decrypt(used, text, *where)


def test_a_batch_leaves_the_door_without_a_clear_value(tmp_path):
    actions = [
        ("customer_id", None, None), ("phone", "hash_and_mask", "phone"), ("email", "hash", "email"),
        ("id_number", "encrypt", None), ("latitude", "coarsen", None), ("note", "drop", None),
    ]  # fmt: skip
    names = ["customer_id", "phone_hash", "phone_mask", "email_hash", "id_number_enc", "latitude", "key_id"]
    batch = pa.RecordBatch.from_pydict(
        {
            "customer_id": ["c1", "c2"],
            "phone": ["13812345678", None],
            "email": ["li.na@example.com", None],
            "id_number": ["110101199003070011", None],
            "latitude": [31.23456, None],
            "note": ["ring her mother", "x"],
        }
    )
    path = _key_file(tmp_path, b"a")
    (out,) = arrow_protector(names, actions, ["customer_id"], "raw.crm__customers", path, "k1")([batch])
    first, second = out.to_pylist()
    assert out.schema.names == names
    assert (first["customer_id"], first["phone_mask"], first["latitude"]) == ("c1", "138****5678", 31.23)
    keys = privacy.read_keys(path)
    assert first["phone_hash"] == privacy.keyed_hash(keys, "phone", "13812345678")
    assert (
        privacy.decrypt(keys, first["id_number_enc"], "raw.crm__customers", "id_number", "c1") == "110101199003070011"
    )
    for clear in ("13812345678", "li.na", "110101", "mother"):
        assert clear not in str(out.to_pylist())
    assert [name for name, value in second.items() if value is not None] == ["customer_id", "key_id"]
