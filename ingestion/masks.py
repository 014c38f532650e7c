"""Masks: what of a personal value may be shown, and what of a free text must not be.

A mask shows a part that is promised (docs/privacy.md) and nothing of a value that is too short or too odd for it: that
one is `****`. In free text, what looks like a phone, an e-mail or an identity number is replaced by its mask.

These functions travel to Spark's Python workers by value (`protect.py`), with those of privacy.py.
"""

import re
import unicodedata

from ingestion.phones import has_digits, national_patterns, shown_digits
from ingestion.privacy import HAN, is_han, normalise_email, squeeze

HIDDEN = "****"  # the mask of a value of which nothing may be shown
LONGEST_PHONE = 15  # digits, country code included (E.164)
CHINA = "CN"  # the country whose identity numbers and addresses are known, and whose numbers are found in any text
COMPOUND_SURNAMES = frozenset(
    "欧阳 歐陽 太史 端木 上官 司马 司馬 东方 東方 独孤 獨孤 南宫 南宮 万俟 闻人 聞人 夏侯 诸葛 諸葛 尉迟 尉遲 公羊 赫连 "
    "赫連 澹台 皇甫 宗政 濮阳 濮陽 公冶 太叔 申屠 公孙 公孫 慕容 仲孙 钟离 鍾離 长孙 長孫 宇文 司徒 鲜于 司空 闾丘 亓官 "
    "令狐 百里 呼延 东郭 南门 羊舌 微生 梁丘 左丘 轩辕 軒轅 拓跋 淳于 单于 谷梁 乐正 西门".split()
)


def mask_phone(text: str | None, country: str | None) -> str | None:
    """The first three and last four of 11 to 15 digits (138****5678), the last four of a shorter mobile number's.

    At least four are hidden. The digits are the national ones of `country`, or begin with another country's code.
    """
    if not has_digits(text):
        return None
    digits, as_mobile = shown_digits(text, country) or ("", False)
    if 11 <= len(digits) <= LONGEST_PHONE:
        return digits[:3] + "*" * (len(digits) - 7) + digits[-4:]
    return "*" * (len(digits) - 4) + digits[-4:] if as_mobile and len(digits) >= 8 else HIDDEN


def mask_email(text: str | None) -> str | None:
    """The domain and, if three letters or more stand before it, the first of them (l***@example.com)."""
    address = normalise_email(text)
    if address is None:
        return None
    found = re.fullmatch(r"([^@\s<>\"]+)@([\w-]+(\.[\w-]+)+)", address)
    if not found or re.search(r"\d{7}", found[2]):  # a number of that length is somebody's, not a host's
        return HIDDEN
    return f"{found[1][0] if len(found[1]) > 2 else ''}***@{found[2]}"


def mask_name(text: str | None) -> str | None:
    """The surname of a Chinese name of two to four characters (欧阳*), of others the initials (L*** N***)."""
    name = unicodedata.normalize("NFKC", text or "").strip()
    if not name:
        return None
    together = "".join(name.split())
    if is_han(together):
        if not 2 <= len(together) <= 4:
            return HIDDEN
        shown = 2 if len(together) > 2 and together[:2] in COMPOUND_SURNAMES else 1
        return together[:shown] + "*" * (len(together) - shown)
    words = [word for word in re.split(r"[\s.,]+", name) if word]
    odd = re.search(f"[{HAN}]", name) or not all(re.fullmatch(r"[^\W\d_]+(['’-][^\W\d_]+)*", w) for w in words)
    if odd or len(words) > 4 or sum(map(len, words)) < 3:
        return HIDDEN
    return " ".join(f"{word[0]}***" if len(word) > 1 else "***" for word in words)


def mask_id_number(text: str | None) -> str | None:
    """The first two characters (the province) and the last two of an identity number of 18 or 15 digits."""
    number = squeeze(text)
    if not re.fullmatch(r"[0-9]{17}[0-9X]|[0-9]{15}", number):
        return HIDDEN if number else None
    return number[:2] + "*" * (len(number) - 4) + number[-2:]


def mask_bank_card(text: str | None) -> str | None:
    """The last four digits of a card number of 13 to 19 digits (************5678), not how many there are."""
    number = squeeze(text)
    if not re.fullmatch(r"[0-9]{13,19}", number):
        return HIDDEN if number else None
    return "*" * 12 + number[-4:]


_PROVINCE = re.compile(
    "(河北|山西|辽宁|吉林|黑龙江|江苏|浙江|安徽|福建|江西|山东|河南|湖北|湖南|广东|海南|四川|贵州|云南|陕西|甘肃|青海|台湾)省?"
    "|(北京|天津|上海|重庆)市?|(内蒙古|广西壮族|广西|西藏|宁夏回族|宁夏|新疆维吾尔|新疆)(自治区)?|(香港|澳门)(特别行政区)?"
)
_CITY = re.compile(f"[{HAN}]{{2,10}}?(市|地区|自治州|盟)")
_DISTRICT = re.compile(f"[{HAN}]{{1,11}}?(区|县|市|旗)")
_STREET_NEXT = re.compile("[路街巷弄道号场部]|[东西南北中]路|大道|大街|花园|民中")  # 南京|路, 老王门市|部
_NO_AREA = re.compile(  # a street, a house, a housing estate or a shop where a city or district is looked for
    "[路街巷弄号栋幢室组村园苑省市区县].|大道|[小社校厂库景宅住业活属院片]区$|..[东西南北中一二三四五六七八九十]区$"
    "|[门超夜菜集鱼早闹]市$"
)
_AREAS = frozenset(("市中区", "市南区", "市北区"))  # … though they look like one


def mask_address(text: str | None) -> str | None:
    """Province, city and district of a Chinese address (浙江省杭州市西湖区****); what is in doubt is hidden."""
    address = "".join(unicodedata.normalize("NFKC", text or "").split())
    if not address:
        return None
    province = _PROVINCE.match(address)
    shown = 0 if not province or _STREET_NEXT.match(address, province.end()) else province.end()
    city = _area_end(_CITY, address, shown)
    district = _area_end(_DISTRICT, address, city)
    # Without a province a name of somebody may stand first: then only a short city with its district is believed.
    return address[: district if shown or 3 <= city <= 4 and district > city else 0] + HIDDEN


def _area_end(kind: re.Pattern, address: str, start: int) -> int:
    """Where the area that begins at `start` ends; `start` if none does."""
    found = kind.match(address, start)
    if not found or _STREET_NEXT.match(address, found.end()):
        return start
    return start if _NO_AREA.search(found[0]) and found[0] not in _AREAS else found.end()


def mask(kind: str, text: str | None, country: str | None = None) -> str | None:
    """What may be shown of a text of the format `kind`; a phone is read as `country` writes it."""
    return mask_phone(text, country) if kind == "phone" else MASK[kind](text)


MASK = {
    "phone": mask_phone,
    "email": mask_email,
    "name": mask_name,
    "id_number": mask_id_number,
    "bank_card": mask_bank_card,
    "address": mask_address,
}


# -- free text --------------------------------------------------------------------------------------------------------


def _digit(wanted: str) -> str:
    """A character class of those digits (1-5), full-width ones as well."""
    return f"[{wanted}{wanted.translate(str.maketrans('0123456789', '０１２３４５６７８９'))}]"


# Read by Python here and by Java inside Spark (protect.py), so only what means the same in both: no \d, \w or \s, no
# quote, groups by number, no group repeated without end (Java recurses). Shorter and longer runs of digits than these are
# order numbers, not phones.
_D = _digit("0-9")
_GAP = r"[-. \u00a0\u2010-\u2015\u3000]{0,2}"
_IN = r"[-. ()\u00a0\u2010-\u2015\u3000]{0,3}"
_LOCAL = r"[A-Za-z0-9._%+\x27-]"
_REGION = "(?:" + "|".join(  # how a province begins; 9: made-up numbers
    _digit(first) + _digit(second)
    for first, second in (("1", "1-5"), ("2", "1-3"), ("3", "1-7"), ("4", "1-6"), ("5", "0-4"), ("6", "1-5"), ("7-9", "0-9"))
) + ")"  # fmt: skip
_MONTH_DAY = (
    f"(?:{_digit('0')}{_digit('1-9')}|{_digit('1')}{_digit('0-2')})"
    f"(?:{_digit('0')}{_digit('1-9')}|{_digit('12')}{_D}|{_digit('3')}{_digit('01')})"
)
_CENTURY = f"(?:{_digit('1')}{_digit('89')}|{_digit('2')}{_digit('0')})"
_CHINA = f"(?:[(（]?(?:[+＋]|{_digit('0')}{{2}})?{_digit('8')}{_digit('6')}[)）]?{_GAP})?"
_PLUS = "(?<![A-Za-z0-9０-９])[+＋]"
_AREA = f"(?:[(（]{_digit('0')}{_D}{{2,3}}[)）]{_GAP}|{_digit('0')}{_D}{{2,3}}[-－])"
EVERYWHERE = (  # looked for in a text of any country
    # an e-mail address
    (
        rf"(?<!{_LOCAL})(?:({_LOCAL})(?={_LOCAL}{{2}}))?{_LOCAL}++[@＠]((?:[A-Za-z0-9-]{{1,63}}\.){{1,8}}[A-Za-z]{{2,}})",
        "$1***@$2",
    ),
    # an identity number of 18 digits, of 15
    (
        f"(?<!{_D})({_REGION}){_D}{{4}}{_GAP}{_CENTURY}{_D}{{2}}{_MONTH_DAY}{_GAP}{_D}{{2}}({_D}[0-9Xx０-９Ｘｘ])(?!{_D})",
        "$1**************$2",
    ),
    (f"(?<!{_D})({_REGION}){_D}{{6}}{_MONTH_DAY}{_D}({_D}{{2}})(?!{_D})", "$1***********$2"),
    # a Chinese mobile phone
    (f"(?<!{_D}){_CHINA}({_digit('1')}{_digit('3-9')}{_D}){_GAP}{_D}{{4}}{_GAP}({_D}{{4}})(?!{_D})", "$1****$2"),
    # another country's phone, announced by a plus: of 11 to 15 digits, of 8 to 10
    (
        f"{_PLUS}({_D}){_IN}({_D}){_IN}({_D})(?:{_IN}{_D}){{4,8}}{_IN}({_D}){_IN}({_D}){_IN}({_D}){_IN}({_D})(?!{_D})",
        "$1$2$3****$4$5$6$7",
    ),
    (f"{_PLUS}{_D}(?:{_IN}{_D}){{7,9}}(?!{_D})", HIDDEN),
    # a landline, its area code set off
    (f"(?<!{_D}){_AREA}{_digit('2-8')}{_D}{{6,7}}(?!{_D})", HIDDEN),
)
MAYBE_PERSONAL = "[0-9０-９@＠]"  # a text without one holds nothing to mask


def redactions(country: str | None) -> tuple[tuple[str, str], ...]:
    """(pattern, what is shown of it) of all that is masked in a text of `country`, in their order."""
    own = national_patterns(country) if country and country != CHINA else ()
    return (*EVERYWHERE, *((pattern, HIDDEN) for pattern in own))


def redact(text: str | None, country: str | None = None) -> str | None:
    """The text with each phone, e-mail address and id number in it replaced by its mask; None stays None."""
    for pattern, shown in redactions(country) if text else ():
        text = re.sub(pattern, re.sub(r"\$(\d)", r"\\g<\1>", shown), text)
    return text
