"""Phone numbers, read as the declared country writes them (by the phonenumbers library, Google's libphonenumber).

The same digits are another person's number in another country, so nothing is read without knowing where: a number that
begins with + (or with the country's own international prefix) says so itself, any other is read in the declared
country, and where none is declared it is not read.

These functions travel to Spark's Python workers by value (`protect.py`); they import nothing of ours.
"""

import re
import unicodedata


def normalise_phone(text: str | None, country: str | None) -> str | None:
    """The number as +<country code><digits> (E.164), equal for every way of writing it; None if it is none.

    It is one if the numbering plan of its country knows it, or if it is as long as that country's mobile numbers: new
    ranges open faster than the library's list. Words around it are passed over, an extension is left off.
    """
    number = _read(text, country)
    return number and f"+{number[0]}{number[1]}"


def shown_digits(text: str | None, country: str | None) -> tuple[str, bool] | None:
    """(digits, whether they are as many as a mobile number of `country` has) of a number; None if it is none.

    The digits are the national ones for a number of `country`; for another country's its code stands before them.
    """
    if (number := _read(text, country)) is None:
        return None
    code, national = number
    home = _metadata(country)
    if home is None or home.country_code != code:
        return f"{code}{national}", False
    return national, bool(home.mobile) and len(national) in home.mobile.possible_length


def has_digits(text: str | None) -> bool:
    """Whether there is anything to read."""
    return any(c.isdecimal() for c in text or "")


def is_country(code: str) -> bool:
    """Whether the library knows numbers of this country (ISO 3166, two letters, upper case)."""
    return _metadata(code) is not None


def national_patterns(country: str) -> list[str]:
    """Regular expressions of numbers in a text as people of the country write them, for Python and Java.

    Mobiles with or without the digit that is dialled first, landlines with it where it is written, other countries' after
    00; blanks, dashes, dots, slashes and parentheses in them.
    """
    home = _metadata(country)
    written = [_spaced(r"00\d{9,13}")] if re.fullmatch(home.international_prefix or "", "00") else []
    for kind in (home.fixed_line, home.mobile):
        first = _spaced(home.national_prefix or "")
        if kind is home.mobile or not _written_with_prefix(country, home.national_prefix):
            first = f"(?:{first})?"
        if kind is not None:
            written.append(f"{first}(?:{_spaced(kind.national_number_pattern)})")
    return [f"(?<![0-9０-９])[(（]?(?=[0-9０-９]){pattern}(?![0-9０-９])" for pattern in dict.fromkeys(written)]


def _read(text: str | None, country: str | None) -> tuple[int, str] | None:
    """(country code, national number) of a text; None if it is no number of its country."""
    import phonenumbers as library

    plain = text if text and text.isascii() else unicodedata.normalize("NFKC", text or "")
    home = _metadata(country)
    digits = re.sub(r"[ ./()-]", "", plain)
    if home is not None and home.mobile and digits.isascii() and digits.isdigit():
        # Most values are one of these two, and found in a tenth of the time; the second the library may take for a landline.
        for national in (digits, digits.removeprefix(str(home.country_code))):
            if re.fullmatch(home.mobile.national_number_pattern, national):
                return home.country_code, national
    for written in dict.fromkeys((plain, re.sub(r"[^\W\d_]+", " ", plain))):  # the words off: "0171 1234567 (work)"
        try:
            number = library.parse(written, country)
        except library.NumberParseException:
            continue
        length = library.is_possible_number_for_type_with_reason(number, library.PhoneNumberType.MOBILE)
        if length == library.ValidationResult.IS_POSSIBLE or library.is_valid_number(number):
            return number.country_code, library.national_significant_number(number)
    return None


def _metadata(country: str | None):
    import phonenumbers

    return phonenumbers.PhoneMetadata.metadata_for_region(country, None) if country else None


def _written_with_prefix(country: str, prefix: str | None) -> bool:
    """Whether a landline of the country is written with the digit that is dialled first: 030 … in Berlin, no 1 in Boston."""
    import phonenumbers as library

    example = library.example_number_for_type(country, library.PhoneNumberType.FIXED_LINE)
    if not prefix or example is None:
        return False
    national = library.format_number(example, library.PhoneNumberFormat.NATIONAL)
    return re.sub(r"\D", "", national) == prefix + library.national_significant_number(example)


def _spaced(pattern: str) -> str:
    """A pattern of the library with a gap before each digit, and digits of full width as well."""
    gap = r"[-./ ()\u00a0\u2010-\u2015\u3000（）／－]{0,3}"
    full = str.maketrans("0123456789", "０１２３４５６７８９")

    def digit(found: re.Match) -> str:
        if found[0] in ("(?:", "|", ")", "?") or found[0].startswith("{"):
            return found[0]
        wanted = "0-9" if found[0] == r"\d" else found[0].strip("[]")
        return f"(?:{gap}[{wanted}{wanted.translate(full)}])"

    return re.sub(r"\\d|\[[^]]*\]|\{[^}]*\}|\(\?:|.", digit, pattern)
