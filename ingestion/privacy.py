"""Privacy at the door: keyed hashes that still join, encryption that still compares. (What still shows: masks.py.)

A person's phone and e-mail never reach a table in clear. The hash is HMAC-SHA256 under a key derived by purpose, so
that equal values join across feeds and nobody without the key can try all phone numbers. Secrets are AES-SIV (RFC
5297): deterministic, hence a rerun writes the same bytes, and bound to table, column and row as associated data, hence
a ciphertext moved elsewhere is refused. What is sealed now begins with `v2:`; without it a row was bound to its key's parts
joined by |, where (x|y, z) and (x, y|z) are one: such texts still open, and a rotation seals them anew.

These functions and those of phones.py travel to Spark's Python workers by value (`protect.py`).
"""

import base64
import binascii
import hashlib
import hmac
import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag

from ingestion.phones import normalise_phone

BLOCK_BYTES = 64  # of the key ring
SEALED = "v2:"  # how a sealed text begins
COARSE_DECIMALS = 2  # of a degree: about a kilometre
HAN = "〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"


# -- the key ring -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)  # a printed one would show the keys
class Keys:
    """Subkeys by purpose, so that a hash under one cannot be taken for a hash under another."""

    hashes: dict[str, bytes]  # by format; of the ring's first block: joins hold through every rotation
    ciphers: dict[str, object]  # an AESSIV by key id, in the order of the ring

    @property
    def newest(self) -> str:
        """The id of the block that seals."""
        return next(reversed(self.ciphers))


def read_keys(path: str) -> Keys:
    """Derive the subkeys from the key ring, blocks of 64 bytes (HKDF-SHA256, RFC 5869); ValueError if it is none."""
    # Imported here: these classes are of compiled code, and a function that holds one does not travel by value.
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    ring = Path(path).read_bytes()
    blocks = [ring[i : i + BLOCK_BYTES] for i in range(0, len(ring), BLOCK_BYTES)]
    if not blocks or len(blocks[-1]) != BLOCK_BYTES:
        raise ValueError(f"{path} holds {len(ring)} bytes: a key ring holds blocks of {BLOCK_BYTES}")

    def derive(block: bytes, purpose: str, length: int) -> bytes:
        return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=f"mdp {purpose}".encode()).derive(block)

    return Keys(
        {kind: derive(blocks[0], f"hash {kind}", 32) for kind in NORMALISE},
        {fingerprint(block): AESSIV(derive(block, "encrypt", 64)) for block in blocks},
    )


def fingerprint(block: bytes) -> str:
    """A block's key id, as warehouse/keys.py records it: public, and one-way."""
    return "k" + hashlib.sha256(b"mdp key id" + block).hexdigest()[:12]


# -- what makes values comparable -------------------------------------------------------------------------------------


def normalise_email(text: str | None) -> str | None:
    """An e-mail address trimmed and in lower case; None if nothing is left."""
    return unicodedata.normalize("NFKC", text or "").strip().lower() or None


def normalise_name(text: str | None) -> str | None:
    """A name in lower case with single blanks, without any if it is Chinese; None if nothing is left."""
    name = re.sub("[•・‧∙]", "·", unicodedata.normalize("NFKC", text or ""))
    words = name.casefold().split()
    return ("" if is_han("".join(words)) else " ").join(words) or None


def normalise_id_number(text: str | None) -> str | None:
    """A Chinese identity number without blanks and dashes, in upper case; one of 15 digits as the 18 it has become.

    None if nothing is left.
    """
    number = squeeze(text)
    if not re.fullmatch(r"\d{8}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])\d{3}", number):
        return number or None
    digits = f"{number[:6]}19{number[6:]}"
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))
    return digits + "10X98765432"[total % 11]


def normalise_bank_card(text: str | None) -> str | None:
    """The digits of a card number; None if there is none."""
    return "".join(str(unicodedata.decimal(c)) for c in text or "" if c.isdecimal()) or None


def normalise_plain(text: str | None) -> str | None:
    """The text as it is, but for blanks around it; None if nothing is left."""
    return (text or "").strip() or None


def squeeze(text: str | None) -> str:
    """A number as it is compared: digits as ASCII, letters in upper case, no blanks and no dashes."""
    plain = re.sub(r"[\s\-‐-―−]", "", unicodedata.normalize("NFKC", text or "")).upper()
    return "".join(str(unicodedata.decimal(c, c)) for c in plain)


def is_han(text: str) -> bool:
    return re.fullmatch(f"[{HAN}]+", text) is not None


NORMALISE = {
    "phone": normalise_phone,
    "email": normalise_email,
    "name": normalise_name,
    "id_number": normalise_id_number,
    "bank_card": normalise_bank_card,
    "plain": normalise_plain,
}

# -- hashes and secrets -----------------------------------------------------------------------------------------------


def keyed_hash(keys: Keys, kind: str, text: str | None, country: str | None = None) -> str | None:
    """HMAC-SHA256, as hex, of the normalised value under the subkey of its format `kind`; None if nothing is left of it.

    A phone is read as `country` writes it; without one only where it names its country itself.
    """
    value = normalise_phone(text, country) if kind == "phone" else NORMALISE[kind](text)
    return None if value is None else hmac.digest(keys.hashes[kind], value.encode(), hashlib.sha256).hex()


def coarsen(number: float | None) -> float | None:
    """A coordinate rounded to about a kilometre."""
    return None if number is None else round(number, COARSE_DECIMALS)


def exact_text(value: str | bool | int | Decimal | date | None) -> str | None:
    """What is encrypted of a value that is no text: true, 42, 10.00, 2024-03-05, 2024-03-05T01:00:00+00:00."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, date) else f"{value:f}" if isinstance(value, Decimal) else str(value)


class Row(NamedTuple):
    """What the secrets of a row are bound to: the parts of its key, and `name`, the key as it is shown and typed."""

    parts: tuple[str | None, ...]
    name: str


def key_row(*parts) -> Row:
    """The row with a key of these parts, whatever their types."""
    return Row(tuple(None if part is None else str(part) for part in parts), "|".join(map(str, parts)))


def payload_row(row_key: str | None, source: str) -> Row:
    """The row of a quarantined line: its own key or, where it has none, its file or topic, which is no key."""
    return Row((row_key,), row_key) if row_key else Row((None, source), source)


def _place(table: str, column: str, row: Row) -> list[bytes]:
    """The associated data: each part of the key with its length before it, so that no two keys make one text."""
    parts = [part if part is None else part.encode() for part in row.parts]
    bound = b"".join(b"-" if part is None else b"%d:%b" % (len(part), part) for part in parts)
    return [SEALED.encode(), table.encode(), column.encode(), bound]


def encrypt(keys: Keys, text: str | None, table: str, column: str, row: Row) -> str | None:
    """AES-256-SIV of the text under the newest block, `v2:` and base64, bound to where it is stored.

    None stays None, an empty text stays empty.
    """
    if text is None or text == "":
        return text
    sealed = keys.ciphers[keys.newest].encrypt(text.encode(), _place(table, column, row))
    return SEALED + base64.b64encode(sealed).decode()


def decrypt(keys: Keys, sealed: str | None, table: str, column: str, row: Row, key_id: str | None = None) -> str | None:
    """The text that `encrypt` sealed, now or before `v2:`, under the block `key_id` (without it: the newest).

    ValueError if the ring lacks that block, or key, place or content is not the one it was sealed with.
    """
    if sealed is None or sealed == "":
        return sealed
    if key_id is not None and key_id not in keys.ciphers:
        raise ValueError(f"{table}.{column} of row {row.name!r} was sealed with {key_id}, which the key ring lacks")
    is_new = sealed.startswith(SEALED)
    place = _place(table, column, row) if is_new else [part.encode() for part in (table, column, row.name)]
    try:
        content = base64.b64decode(sealed.removeprefix(SEALED), validate=True)
        return keys.ciphers[key_id or keys.newest].decrypt(content, place).decode()
    except (InvalidTag, binascii.Error):
        raise ValueError(f"{table}.{column} of row {row.name!r} was not sealed with this key at this place") from None
