"""What a mask shows is what docs/privacy.md promises, whatever is written in the column; free text keeps its order numbers."""

import random
import re
import unicodedata

import pytest

from ingestion.masks import HIDDEN, MASK, mask, mask_address, mask_email, redact

# format, what is written, what is shown
SHOWN = [
    ("phone", "13812345678", "138****5678"),
    ("phone", "+86 138 1234 5678", "138****5678"),
    ("phone", "0086-138-1234-5678", "138****5678"),
    ("phone", "１３８１２３４５６７８", "138****5678"),
    ("phone", "١٣٨١٢٣٤٥٦٧٨", "138****5678"),
    ("phone", "+4915112345678", "491******5678"),
    ("phone", "+852 6123 4567", "852****4567"),
    ("phone", "+65 6123 4567", HIDDEN),
    ("phone", "010-6278 1234", HIDDEN),
    ("phone", "12345", HIDDEN),
    ("phone", "13812345678 / 13987654321", HIDDEN),
    ("phone", "n/a", None),
    ("email", "Li.Na@Example.com", "l***@example.com"),
    ("email", " ｌｉｎａ@example.com", "l***@example.com"),
    ("email", "li@example.com", "***@example.com"),
    ("email", "a@example.com", "***@example.com"),
    ("email", "no address", HIDDEN),
    ("email", "@example.com", HIDDEN),
    ("email", "li.na@localhost", HIDDEN),
    ("email", "Li Na <li.na@example.com>", HIDDEN),
    ("email", "li.na@example.com, wu@example.com", HIDDEN),
    ("email", "li.na@13812345678.com", HIDDEN),
    ("name", "李", HIDDEN),
    ("name", "李娜", "李*"),
    ("name", "李 娜", "李*"),
    ("name", "王小明", "王**"),
    ("name", "欧阳", "欧*"),
    ("name", "欧阳锋", "欧阳*"),
    ("name", "司马相如", "司马**"),
    ("name", "歐陽鋒", "歐陽*"),
    ("name", "王李小明", "王***"),
    ("name", "爱新觉罗溥仪", HIDDEN),
    ("name", "买买提·吐尔逊", HIDDEN),
    ("name", "李娜(VIP)", HIDDEN),
    ("name", "Li Na", "L*** N***"),
    ("name", "Smith, John", "S*** J***"),
    ("name", "J. Smith", "*** S***"),
    ("name", "Mary-Ann O’Neil", "M*** O***"),
    ("name", "Иван Петров", "И*** П***"),
    ("name", "Al", HIDDEN),
    ("name", "li.na@example.com", HIDDEN),
    ("name", "13812345678", HIDDEN),
    ("name", "ring her mother after five", HIDDEN),
    ("id_number", "110101199003070011", "11**************11"),
    ("id_number", "11010119900307001x", "11**************1X"),
    ("id_number", "110101 19900307 001Ｘ", "11**************1X"),
    ("id_number", "110101900307001", "11***********01"),
    ("id_number", "E12345678", HIDDEN),
    ("id_number", "1101011990030700111", HIDDEN),
    ("id_number", "11010119900307001Y", HIDDEN),
    ("bank_card", "6222021381234567890", "************7890"),
    ("bank_card", "4111 1111-1111 1234", "************1234"),
    ("bank_card", "4111111111111", "************1111"),
    ("bank_card", "411111111111", HIDDEN),
    ("bank_card", "41111111111111111111", HIDDEN),
    ("bank_card", "4111111111111234 CVV 123", HIDDEN),
    ("address", "浙江省杭州市西湖区文三路100号5幢", "浙江省杭州市西湖区****"),
    ("address", "浙江杭州西湖区文三路", "浙江杭州西湖区****"),
    ("address", "北京市海淀区中关村大街1号", "北京市海淀区****"),
    ("address", "上海 浦东新区 世纪大道100号", "上海浦东新区****"),
    ("address", "广西壮族自治区南宁市青秀区民族大道", "广西壮族自治区南宁市青秀区****"),
    ("address", "内蒙古自治区锡林郭勒盟锡林浩特市那达慕大街", "内蒙古自治区锡林郭勒盟锡林浩特市****"),
    ("address", "江苏省苏州市张家港市金港镇", "江苏省苏州市张家港市****"),
    ("address", "山东省青岛市市北区敦化路1号", "山东省青岛市市北区****"),
    ("address", "杭州市西湖区文三路1号", "杭州市西湖区****"),
    ("address", "浙江省杭州市西湖区", "浙江省杭州市西湖区****"),
    # what only looks like a district is hidden: a street, an estate, a shop, a name before the city
    ("address", "浙江省杭州市文三路小区3幢", "浙江省杭州市****"),
    ("address", "浙江省杭州市翠苑花园小区3幢", "浙江省杭州市****"),
    ("address", "浙江省杭州市阳光海岸东区3幢", "浙江省杭州市****"),
    ("address", "浙江省杭州市老王门市部5号", "浙江省杭州市****"),
    ("address", "老王门市部5号", HIDDEN),
    ("address", "张三收浙江省杭州市西湖区文三路", HIDDEN),
    ("address", "北京路5号", HIDDEN),
    ("address", "西湖区文三路1号", HIDDEN),
    ("address", "221B Baker Street, London", HIDDEN),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "written", "shown"), SHOWN)
def test_a_mask_shows_what_is_promised(kind, written, shown):
    assert mask(kind, written, "CN") == shown


@pytest.mark.parametrize("kind", MASK)
@pytest.mark.parametrize("nothing", [None, "", "  ", "\u3000"])
def test_nothing_stays_nothing(kind, nothing):
    assert mask(kind, nothing, "CN") is None


ALPHABETS = (
    "0123456789", "0123456789 -+()", "０１２３４５６７８９", "abcXYZ", "abc.@-", "李娜欧阳司马王小明", "省市区县路号浙江杭州西湖",
    " \t\u3000", "é߀٣ñ", "🙂·'’", "xX",
)  # fmt: skip


def _values(n: int):
    """Made-up values: of one alphabet, of two, and real ones with a piece of another in them."""
    draw = random.Random(5)
    real = [written for _, written, _ in SHOWN]
    for _ in range(n):
        letters = "".join(draw.choices(ALPHABETS, k=draw.choice((1, 1, 2, 3))))
        value = "".join(draw.choices(letters, k=draw.randint(1, 24)))
        if draw.random() < 0.4:
            base = draw.choice(real)
            at = draw.randint(0, len(base))
            value = base[:at] + value[: draw.randint(0, 4)] + base[at:]
        yield value


# The most that a mask may show of a value, as a pattern; and how many letters and digits of it that are at most.
PROMISED = {
    "phone": (r"\d{3}\*{4,8}\d{4}", 7),
    "email": (r"[^*@]?\*{3}@[\w.-]+", None),
    "name": (r"[^\W\d_]{1,2}\*{1,3}|(?:[^\W\d_]?\*{3}(?: |$)){1,4}", 4),
    "id_number": (r"\d\d(?:\*{14}|\*{11})\d[\dX]", 4),
    "bank_card": (r"\*{12}\d{4}", 4),
    "address": (r"[\u3007\u3400-\u9fff]+\*{4}", 40),
}


@pytest.mark.parametrize("kind", MASK)
def test_no_value_makes_a_mask_show_more_than_promised(kind):
    pattern, most = PROMISED[kind]
    shown_some = 0
    for value in _values(20_000):
        shown = mask(kind, value, "CN")
        if shown is None:
            continue
        assert shown == HIDDEN or re.fullmatch(pattern, shown), (value, shown)
        plain = "".join(c for c in unicodedata.normalize("NFKC", value) if c.isalnum()).lower()
        visible = "".join(c for c in shown if c.isalnum()).lower()
        shown_some += bool(visible)
        assert kind in ("address", "email") or not plain or visible != plain, (value, shown)
        assert most is None or len(visible) <= most, (value, shown)
        if kind != "address":
            assert value.strip() not in shown or not plain, (value, shown)
    assert shown_some > 20, "the values made up never showed a part"


def test_an_address_never_shows_street_or_number():
    draw = random.Random(6)
    starts = ("浙江省杭州市西湖区", "北京市海淀区", "浙江省杭州市", "浙江省", "杭州市西湖区", "")
    names = ("文三", "中山", "翠苑", "和平", "老王", "阳光海岸", "人民")
    kinds = ("路", "街", "巷", "大道", "南路", "小区", "花园", "家园东区", "社区", "村", "门市部", "超市")
    for _ in range(3_000):
        start, name = draw.choice(starts), draw.choice(names)
        tail = f"{name}{draw.choice(kinds)}{draw.randint(1, 999)}号{draw.randint(1, 30)}幢"
        mask = mask_address(start + tail)
        assert mask in (start + HIDDEN, HIDDEN), (start + tail, mask)


def test_a_short_address_does_not_show_all_that_stands_before_the_at():
    for local in ("a", "ab", "李", "李娜"):
        assert mask_email(f"{local}@example.com") == "***@example.com"


# What is written in a text, what is left of it. Shared with the engine (tests/e2e/test_privacy_engine.py).
TEXTS = [
    ("call 13812345678 now", "call 138****5678 now"),
    ("+86 138-1234-5678", "138****5678"),
    ("(+86)13812345678", "138****5678"),
    ("008613812345678 8613812345678", "138****5678 138****5678"),
    ("电话１３８１２３４５６７８，谢谢", "电话１３８****５６７８，谢谢"),
    ("138.1234.5678,139 1234 5678", "138****5678,139****5678"),
    ("138\u00a01234\u20135678", "138****5678"),
    ("tel13812345678", "tel138****5678"),
    ("https://example.com/?phone=13812345678&x=1", "https://example.com/?phone=138****5678&x=1"),
    ("+49 30 1234567890", "493****7890"),
    ("+1 (381) 234-5678", "138****5678"),
    ("+33 6 12 34 56 78", "336****5678"),
    ("+65 6123 4567", "****"),
    ("010-62781234 (0571) 88886666", "**** ****"),
    ("li.na@example.com", "l***@example.com"),
    ("邮箱Li.Na@Example.com。", "邮箱L***@Example.com。"),
    ("a@b.co, li@b.co;13812345678@139.com", "***@b.co, ***@b.co;1***@139.com"),
    ("li.na＠example.com", "l***@example.com"),
    ("身份证110101199003070011。", "身份证11**************11。"),
    ("11010119900307001x / 110101 19900307 001X", "11**************1x / 11**************1X"),
    ("110101900307001", "11***********01"),
    ("WARN callback failed for 13512345678 <wang.1a2b3c4d@example.net>",
     "WARN callback failed for 135****5678 <w***@example.net>"),
    ('{"phone":"13812345678","mail":"li.na@example.com"}', '{"phone":"138****5678","mail":"l***@example.com"}'),
    ("two\nlines 13812345678\n", "two\nlines 138****5678\n"),
    # A number of eleven digits that begins like a mobile phone cannot be told from one: it is masked, whatever it is.
    ("order 13812345678", "order 138****5678"),
]  # fmt: skip
# Country, what is written, what is left: what is found everywhere, and the country's own numbers.
TEXTS_OF = [
    ("DE", "ruf 0171 1234567 oder 0171/1234567 an", "ruf **** oder **** an"),
    ("DE", "Büro (030) 1234-5678, mobil 01711234567.", "Büro ****, mobil ****."),
    ("DE", "0049 171 1234567; +49 171 1234567; 138 1234 5678", "****; 491****4567; 138****5678"),
    ("DE", "Bestellung 20240305-118, 49,90 EUR, PLZ 10115", "Bestellung 20240305-118, 49,90 EUR, PLZ 10115"),
    ("US", "call (201) 555-0123, 1-201-555-0123 or 2015550123", "call ****, **** or ****"),
    ("US", "at 1718000000 order 118-1234567", "at 1718000000 order 118-1234567"),
    ("GB", "tel 07400 123456 / 020 7946 0958", "tel **** / ****"),
    ("JP", "携帯０９０−１２３４−５６７８ 090-1234-5678", "携帯０９０−１２３４−５６７８ ****"),
    ("SG", "wa 8123 4567", "wa ****"),
    ("CN", "0171 1234567 (201) 555-0123", "0171 1234567 (201) 555-0123"),
]  # fmt: skip
UNTOUCHED = [
    "", "running shoes", "iphone 15 pro max 256gb", "1381234567", "order 138123456789", "20240305123456789",
    "202403051201567", "1718000000000", "1718000000", "12345678901", "2024-03-05 13:15:22.123", "9787302511234",
    "116.473701,39.904989", "3.14159265358979", "10.138.1.5", "1,381,234.56", "SO-2024-000138", "q=a+12345678",
    "+1000000 views", "6222021381234567890", "4111 1111 1111 1111", "990101213003070011", "110101199013070011",
    "a@b", "@home", "me@localhost", "user @ example.com", "o13f2a4b5c6d7e8f", "138 1234", "5678-1234-138", "v1.38.1234",
    "¥13,812,345,678", "100% off + 50", "3+5=8",
]  # fmt: skip


@pytest.mark.parametrize(("written", "left"), TEXTS)
def test_a_text_loses_phones_mails_and_id_numbers(written, left):
    assert redact(written) == left
    assert redact(left) == left, "masking again changes nothing"


@pytest.mark.parametrize(("country", "written", "left"), TEXTS_OF)
def test_a_text_loses_the_numbers_of_its_country(country, written, left):
    assert redact(written, country) == left
    assert redact(left, country) == left, "masking again changes nothing"


@pytest.mark.parametrize("text", UNTOUCHED)
def test_other_numbers_stay(text):
    assert redact(text) == text


def test_no_text_is_no_text():
    assert redact(None) is None


def test_every_phone_hides_in_any_text():
    """A phone in digits of any neighbourhood but other digits is never left whole."""
    draw = random.Random(7)
    for _ in range(5_000):
        phone = f"1{draw.choice('3456789')}{draw.randint(0, 10**9 - 1):09d}"
        before, after = ("".join(draw.choices("ab李, .:-+(=/\"'@", k=draw.randint(0, 6))) for _ in range(2))
        assert phone not in redact(before + phone + after), before + phone + after


@pytest.mark.parametrize("text", ["a" * 50_000, "1" * 50_000, "+" + "1-" * 25_000, "a@" + "b." * 25_000, "1 " * 25_000])
@pytest.mark.parametrize("country", ["CN", "DE", "US"])
def test_a_long_line_costs_no_more_than_its_length(text, country):
    import time

    began = time.process_time()
    redact(text, country)
    assert time.process_time() - began < 2
