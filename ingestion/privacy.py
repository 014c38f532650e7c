"""Privacy at the door: keyed hashes that still join, masks that still show, encryption that still compares.

A person's phone and e-mail never reach a table in clear. The hash is HMAC-SHA256 under a key derived by purpose, so
that equal values join across feeds and nobody without the key can try all phone numbers. Secrets are AES-SIV (RFC
5297): deterministic, hence a rerun writes the same bytes, and bound to table, column and row as associated data, hence
a ciphertext moved elsewhere is refused.

These functions travel to Spark's Python workers by value (`protect.py`); they import nothing of ours.
"""

import base64
import hashlib
import hmac
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag

COUNTRY_CODE = "86"  # of a number written without one
NATIONAL_DIGITS = 11
COARSE_DECIMALS = 2  # of a degree: about a kilometre


@dataclass(frozen=True)
class Keys:
    """Subkeys by purpose, so that a hash under one cannot be taken for a hash under another."""

    phone: bytes
    email: bytes
    cipher: object  # an AESSIV


def read_keys(path: str) -> Keys:
    """Derive the subkeys from the key file (HKDF-SHA256, RFC 5869)."""
    # Imported here: these classes are of compiled code, and a function that holds one does not travel by value.
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    master = Path(path).read_bytes()

    def derive(purpose: str, length: int) -> bytes:
        return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=f"mdp {purpose}".encode()).derive(master)

    return Keys(derive("hash phone", 32), derive("hash email", 32), AESSIV(derive("encrypt", 64)))


def normalise_phone(text: str | None) -> str | None:
    """A phone number as +<country code><digits>, equal for every way of writing it; None if it has no digit.

    A leading + or 00 announces a country code, as do 86 and a whole mobile number after it; otherwise the number is
    national and a leading 0 is its trunk prefix.
    """
    plain = unicodedata.normalize("NFKC", text or "").strip()
    digits = "".join(str(unicodedata.decimal(c)) for c in plain if c.isdecimal())
    if not digits:
        return None
    if plain.startswith("+"):
        return f"+{digits}"
    if digits.startswith("00"):
        return f"+{digits[2:]}"
    if digits.startswith(COUNTRY_CODE + "1") and len(digits) == len(COUNTRY_CODE) + NATIONAL_DIGITS:
        return f"+{digits}"
    return f"+{COUNTRY_CODE}{digits.removeprefix('0')}"


def normalise_email(text: str | None) -> str | None:
    """An e-mail address trimmed and in lower case; None if nothing is left."""
    return unicodedata.normalize("NFKC", text or "").strip().lower() or None


def mask_phone(text: str | None) -> str | None:
    """The national number with only its first three and last four digits (138****5678); a short one shows two."""
    number = normalise_phone(text)
    if number is None:
        return None
    digits = number.removeprefix(f"+{COUNTRY_CODE}").removeprefix("+")
    if len(digits) < NATIONAL_DIGITS:
        return "*" * max(len(digits) - 2, 4) + digits[-2:]
    return digits[:3] + "*" * (len(digits) - 7) + digits[-4:]


def mask_email(text: str | None) -> str | None:
    """The first letter and the domain (l***@example.com); all stars if it is no address."""
    address = normalise_email(text)
    if address is None:
        return None
    name, at, domain = address.rpartition("@")
    return f"{name[0]}***@{domain}" if at and name else "***"


NORMALISE = {"phone": normalise_phone, "email": normalise_email}
MASK = {"phone": mask_phone, "email": mask_email}


def keyed_hash(keys: Keys, kind: str, text: str | None) -> str | None:
    """HMAC-SHA256, as hex, of the normalised value under the subkey of `kind` (phone or email); None stays None."""
    value = NORMALISE[kind](text)
    return None if value is None else hmac.digest(getattr(keys, kind), value.encode(), hashlib.sha256).hex()


def coarsen(number: float | None) -> float | None:
    """A coordinate rounded to about a kilometre."""
    return None if number is None else round(number, COARSE_DECIMALS)


def encrypt(keys: Keys, text: str | None, table: str, column: str, row_key: str) -> str | None:
    """AES-256-SIV of the text, base64, bound to where it is stored; None stays None, an empty text stays empty."""
    if text is None or text == "":
        return text
    place = [part.encode() for part in (table, column, row_key)]
    return base64.b64encode(keys.cipher.encrypt(text.encode(), place)).decode()


def decrypt(keys: Keys, sealed: str | None, table: str, column: str, row_key: str) -> str | None:
    """The text that `encrypt` sealed; ValueError if key, place or content is not the one it was sealed with."""
    if sealed is None or sealed == "":
        return sealed
    place = [part.encode() for part in (table, column, row_key)]
    try:
        return keys.cipher.decrypt(base64.b64decode(sealed), place).decode()
    except InvalidTag:
        raise ValueError(f"{table}.{column} of row {row_key!r} was not sealed with this key at this place") from None
