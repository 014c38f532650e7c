"""Guesses about a column from its name and a sample of its values: what it holds, what protects it, what identifies a row.

All of them err on the side of protection and say what they rest on; nothing here is used when a load runs.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from ingestion.feeds import Column
from ingestion.masks import CHINA
from ingestion.phones import is_country, national_patterns
from ingestion.proposal import REVIEW, Guess
from warehouse.company import company

MAJORITY, HINT = 0.5, 0.2  # of the values look like a person's data: it is; or the comment says so
NUMBERS = ("string", "int", "bigint", "decimal")
TEXT = ("string",)
_ID_WEIGHTS, _ID_CHECKS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2), "10X98765432"  # GB 11643


@dataclass(frozen=True)
class Kind:
    """What a column may hold: how it is named, which types it can have, how it is treated (first that its type allows)."""

    what: str
    names: str
    types: tuple[str, ...]
    treatments: tuple[tuple[str, str | None, str | None], ...]  # class, action, format


_ENCRYPT, _DROP = ("personal", "encrypt", None), ("personal", "drop", None)
_SECRET = (("secret", "encrypt", None), ("secret", "drop", None))
_NUMBER = r"(_?(no|nr|num|number))?"
KINDS = (
    Kind(
        "a password or token",
        r"(^|_)(password|passwd|pwd|passphrase|secret|api_?key|token|salt|cvv|cvc)(_hash)?$",
        TEXT,
        _SECRET[1:],
    ),
    Kind("an e-mail address", r"e_?mail(_?address)?(_?\d)?$|(^|_)mail$|邮箱", TEXT, (("personal", "hash", "email"),)),
    Kind(
        "a phone number",
        rf"(^|_)(phone|mobile|cell_?phone|cell|telephone|tel|msisdn|fax|whatsapp|shouji|dianhua){_NUMBER}(_?\d)?$|手机|电话",
        NUMBERS,
        (("personal", "hash_and_mask", "phone"), _ENCRYPT, _DROP),
    ),
    Kind(
        "an identity number",
        r"(^|_)(id_?card|identity_?card|national_?id|citizen_?id|ssn|social_security|passport|driver_?licen[cs]e|tax_?id|nric|"
        rf"sfz|shenfenzheng){_NUMBER}$|(^|_)id_?(number|num|no)$|身份证|护照",
        NUMBERS,
        _SECRET,
    ),
    Kind(
        "a card or account number",
        rf"(^|_)(bank|credit|debit|payment)_?(card|account){_NUMBER}$|(^|_)(card|account)_?(no|num|number)$|(^|_)iban$|"
        "银行卡|卡号",
        NUMBERS,
        _SECRET,
    ),
    Kind("an IP address", r"(^|_)ip(_?(v4|v6|addr|address))?$|^remote_host$|x_forwarded_for", TEXT, (_ENCRYPT,)),
    Kind(
        "a postal address",
        r"(^|_)(address|addr|street|house_number|post_?code|postal_code|zip|zip_?code|dizhi)(_?(line)?_?\d)?$|地址",
        TEXT,
        (_ENCRYPT,),
    ),
    Kind(
        "a person's name",
        r"(^|_)(first|last|full|middle|given|family|sur|maiden|real|nick|contact|customer|user|person|recipient|receiver|"
        r"consignee|member|employee|holder|guest|buyer)_?name$|^(name|surname|login|remote_user|xingming)$|姓名",
        TEXT,
        (_ENCRYPT,),
    ),
    Kind(
        "a place on the map",
        r"(^|_)(lat|latitude|lng|lon|long|longitude)$|经度|纬度",
        ("string", "float", "double", "decimal"),
        (("personal", "coarsen", None), _ENCRYPT, _DROP),
    ),
    Kind(
        "a date of birth",
        r"(^|_)(birth_?(date|day)|date_of_birth|dob)$|生日|出生",
        ("string", "date", "timestamp"),
        (_ENCRYPT, _DROP),
    ),
    Kind(
        "a free text, which may name people",
        r"(^|_)(comments?|notes?|remarks?|message|feedback|search_?(term|query)|body)$|备注",
        TEXT,
        (("internal", "redact", None), ("internal", None, None)),
    ),
)
_BY_WHAT = {kind.what: kind for kind in KINDS}


def guess_column(name: str, type_: str, values: Iterable[object] = ()) -> Guess:
    """The column with class, action and a comment on what they rest on: its name, or half of its sampled values."""
    kind = next((k for k in KINDS if _base(type_) in k.types and re.search(k.names, snake(name))), None)
    reason = f"named like {kind.what}" if kind else ""
    texts = [text for value in values if value is not None and (text := str(value).strip())]
    if _base(type_) in NUMBERS and texts:
        counts = {what: sum(looks(text) for text in texts) for what, looks in LOOKS.items()}
        what, n = max(counts.items(), key=lambda item: item[1])
        if n >= HINT * len(texts) and (kind is None or kind.what == what):
            reason = ", ".join(filter(None, (reason, f"{n} of {len(texts)} values look like {what}")))
        if kind is None and n >= MAJORITY * len(texts):
            kind = _BY_WHAT[what]
    sensitivity, action, format_ = _treatment(kind, type_) if kind else ("internal", None, None)
    return Guess(name, type_, sensitivity, action, format_, comment=f"{REVIEW}: {reason}" if reason else None)


def guess_key(columns: list[Guess], entity: str, rows: list[dict]) -> list[str]:
    """The column that seems to identify a row of `entity`, empty if none does; unique in `rows` if there are any."""
    open_ = [c.name for c in columns if not c.action and c.type not in ("boolean", "float", "double", "binary")]
    singular = re.sub(r"ies$", "y", entity) if entity.endswith("ies") else entity.removesuffix("s")
    wanted = ("id", f"{entity}_id", f"{singular}_id", "event_id", "uuid", "guid")
    ranked = [name for name in open_ if snake(name) in wanted]
    ranked += [name for name in open_ if snake(name).endswith(("_id", "_no", "_code", "_number"))]
    if not rows:
        return ranked[:1]
    times = {c.name for c in columns if c.type in ("date", "timestamp")}
    return [name for name in [*ranked, *(n for n in open_ if n not in times)] if _unique(rows, name)][:1]


def guess_subject(columns: list[Guess], entity: str, key: list[str]) -> str | None:
    """The column that names the person a row is about, None if none seems to."""
    people = r"^(customer|user|member|client|person|subscriber|visitor|buyer|employee|contact|lead|guest)"
    named = [c.name for c in columns if not c.action and re.search(people + r"(_?(id|no|key|number))$", snake(c.name))]
    if not named and re.search(people, entity):
        named = key
    return named[0] if named else None


def guess_country(columns: list[Guess], rows: list[dict]) -> str | None:
    """The column that names the country of a row in two letters (ISO 3166), None if none does in each row that has one."""
    for column in columns:
        values = {str(row[column.name]).strip().upper() for row in rows if row.get(column.name) not in (None, "")}
        if column.type == "string" and re.search(r"(^|_)(country|nation)(_?(code|iso|iso_?2))?$", snake(column.name)):
            if values and all(re.fullmatch("[A-Z]{2}", value) and is_country(value) for value in values):
                return column.name
    return None


def open_key(columns: list[Guess], key: list[str]) -> list[Guess]:
    """The columns with those of `key` as they are: a key passes the door unchanged, so it can take no action."""

    def opened(column: Guess) -> Guess:
        if column.name not in key or not column.action:
            return column
        comment = (
            f"{column.comment}; it is the key, which passes the door as it is: choose another key if it is personal"
        )
        return replace(column, sensitivity="internal", action=None, format=None, comment=comment)

    return [opened(column) for column in columns]


# -- times ------------------------------------------------------------------------------------------------------------

TIME_NAMES = (
    "occurred_at",
    "event_time",
    "timestamp",
    "time",
    "ts",
    "created_at",
    "logged_at",
    "requested_at",
    "datetime",
)
_ISO = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(?P<zone>Z|[+-]\d\d:?\d\d)?$")
# Python's letters, Spark's letters, whether the text carries its zone.
TIME_FORMATS = (
    ("%d/%b/%Y:%H:%M:%S %z", "dd/MMM/yyyy:HH:mm:ss Z", True),
    ("%Y-%m-%d %H:%M:%S,%f", "yyyy-MM-dd HH:mm:ss,SSS", False),
    ("%Y/%m/%d %H:%M:%S", "yyyy/MM/dd HH:mm:ss", False),
    ("%d/%m/%Y %H:%M:%S", "dd/MM/yyyy HH:mm:ss", False),
    ("%m/%d/%Y %H:%M:%S", "MM/dd/yyyy HH:mm:ss", False),
)


def guess_time(values: list[object]) -> tuple[str | None, bool] | None:
    """(Spark's format or None for ISO 8601, whether the texts carry a zone) if every value is a time, else None."""
    if not values or not all(isinstance(value, str) for value in values):
        return None
    matches = [_ISO.match(value) for value in values]
    if all(matches):
        return None, all(match["zone"] for match in matches)
    for python, spark, zoned in TIME_FORMATS:
        if all(_parses(value, python) for value in values):
            return spark, zoned
    return None


def rank_time(name: str) -> int:
    """A number that is smaller the more a name promises the event's own time."""
    return TIME_NAMES.index(snake(name)) if snake(name) in TIME_NAMES else len(TIME_NAMES)


# -- small things -----------------------------------------------------------------------------------------------------


def snake(name: str) -> str:
    """The name in lower case with underscores: customerId and CUSTOMER-ID are customer_id."""
    return re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).strip("_").lower()


def _base(type_: str) -> str:
    return type_.split("(")[0]


def _treatment(kind: Kind, type_: str) -> tuple[str, str | None, str | None]:
    """The kind's first treatment that a column of this type may have; the last one fits every type."""
    for sensitivity, action, format_ in kind.treatments:
        try:
            Column.model_validate({"type": type_, "class": sensitivity, "action": action, "format": format_})
            return sensitivity, action, format_
        except ValidationError:
            continue
    return kind.treatments[-1]


def _unique(rows: list[dict], name: str) -> bool:
    values = [row.get(name) for row in rows]
    return None not in values and "" not in values and len(set(map(str, values))) == len(values)


def _parses(text: str, pattern: str) -> bool:
    try:
        return datetime.strptime(text, pattern) is not None
    except ValueError:
        return False


def _looks_like_email(text: str) -> bool:
    return re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", text) is not None


def _looks_like_phone(text: str) -> bool:
    """A mainland mobile number, any number with +, a landline with its area code, one written in North America's way, or one
    of the company's country (of fewer than ten bare digits only if it begins with 0: ids are as short).
    """
    mobile, world = r"(\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}", r"\+\d[\d ()-]{6,17}\d"
    landline, america = r"0\d{2,3}[- ]\d{7,8}", r"(\(\d{3}\) ?|\d{3}[- .])\d{3}[- .]\d{4}"
    if re.fullmatch(f"{mobile}|{world}|{landline}|{america}", text):
        return True
    bare = text.isdigit() and len(text) < 10 and not text.startswith("0")
    country = company().country
    return not bare and country != CHINA and any(re.fullmatch(p, text) for p in national_patterns(country))


def _looks_like_id_number(text: str) -> bool:
    """A mainland identity number whose check digit is right, or an American social security number."""
    if re.fullmatch(r"\d{17}[\dXx]", text):
        total = sum(int(digit) * weight for digit, weight in zip(text, _ID_WEIGHTS, strict=False))
        return _ID_CHECKS[total % 11] == text[-1].upper()
    return re.fullmatch(r"\d{3}-\d{2}-\d{4}", text) is not None


def _looks_like_card(text: str) -> bool:
    """15 to 19 digits with a right check digit (Luhn)."""
    digits = re.sub(r"[ -]", "", text)
    if not re.fullmatch(r"\d{15,19}", digits):
        return False
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(n - 9 * (n > 9) for n in doubled) % 10 == 0


def _looks_like_ip(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text)) and ("." in text or ":" in text)
    except ValueError:
        return False


LOOKS = {
    "an e-mail address": _looks_like_email,
    "an identity number": _looks_like_id_number,
    "a phone number": _looks_like_phone,
    "a card or account number": _looks_like_card,
    "an IP address": _looks_like_ip,
}
