"""A company proposed from its tables: who feeds what, what is asked, what is written, and that the SQL comes to the truth."""

import hashlib
import re
import sqlite3

import pandas as pd
import pytest
import sqlalchemy as sa
import yaml

from ingestion import mapping, new_company, tables
from ingestion.drift import head_of
from ingestion.feeds import load_feeds
from ingestion.words import best
from mdp import company as command
from sample import clock
from sample.corner_shop import books, delivery, life
from sample.purchases import DIALECTS, ambiguous, write_purchases
from warehouse import company, entities
from warehouse.errors import PlatformError

SETTINGS = {"timezone": ("Europe/London", "a guess"), "country": ("GB", None), "currency": ("GBP", None)}


@pytest.fixture(scope="module")
def shop():
    return life.live(seed=3, customers=200, days=90)


@pytest.fixture(scope="module")
def files(shop, tmp_path_factory):
    out = tmp_path_factory.mktemp("shop")
    delivery.write_files(shop, out, clients=True)
    return out


def propose(read, answers=None):
    return mapping.propose(read, entities.contract(), "shop", "Europe/London", answers)


def fed(found) -> dict[str, list[str]]:
    listed = {}
    for model in found.models:
        listed.setdefault(model.entity, []).append(model.table.name)
    return listed


def sql_of(found, entity: str) -> dict[str, str]:
    """Column → SQL of the one model that feeds an entity, without the quotes."""
    (model,) = [m for m in found.models if m.entity == entity]
    return {column: given.sql.replace("`", "").replace("source.", "") for column, given in model.columns.items()}


def write(found, folder):
    return new_company.write(
        folder, "A shop", found, entities.contract(), domain="shop", connection="shop", settings=SETTINGS
    )


def table_of(name: str, frame: pd.DataFrame, folder) -> tables.Table:
    folder.mkdir(exist_ok=True)
    frame.to_csv(folder / f"{name}.csv", index=False)
    return tables.from_files([folder / f"{name}.csv"], {})


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "pattern"), [
    ("CustomerID", "customer id"), ("Kundennummer", "customer id"), ("客户编号", "customer id"), ("numero_client", "customer id"),
    ("Rechnungsdatum", "order time"), ("下单时间", "order time"), ("Date d'achat", "order time"), ("Auftragsnr", "order id"),
    ("InvoiceNo", "order id"), ("ReceiptNumber", "order id"), ("sale date", "order time"), ("dollar_value", "amount"),
])  # fmt: skip
def test_a_name_is_understood_in_the_languages_of_the_list(name, pattern):
    assert best(name, [pattern]) == 1
    assert best("colour", [pattern]) == 0


# -- the corner shop --------------------------------------------------------------------------------------------------

SHOP = {"customers": ["clients"], "products": ["stock"], "orders": ["invoices"], "order_items": ["invoice_lines"],
        "reversals": ["invoice_lines"]}  # fmt: skip


def assert_is_the_shop(found):
    assert {entity: fed(found)[entity] for entity in SHOP} == SHOP
    assert sql_of(found, "customers")["customer_id"] == "CustomerID"
    assert sql_of(found, "customers")["registered_at"].startswith(("OpenedOn", "to_utc_timestamp(cast(OpenedOn"))
    assert sql_of(found, "products")["product_id"] == "StockCode"
    orders = sql_of(found, "orders")
    assert (
        orders["order_id"] == "InvoiceNo"
        and orders["ordered_at"] == "InvoiceDate"
        and orders["amount"] == "order_lines.amount"
    )
    lines = sql_of(found, "order_items")
    assert lines["quantity"] == "Quantity" and lines["unit_price"] == "UnitPrice"
    assert lines["order_item_id"] == "concat(InvoiceNo, '-', LineNo)"
    assert not found.questions
    assert found.currency == "GBP"
    said = {
        m.entity
        for m in found.models
        if m.note.endswith("Amounts in EUR become GBP at the rate of their day (fx_rates).")
    }
    assert said == {"orders", "reversals"}
    assert all("currency" in m.columns for m in found.models if m.entity in said)


@pytest.mark.parametrize("where", ["tables", "spool"])
def test_the_corner_shop_s_files_are_mapped_without_a_hand(files, where, tmp_path):
    found = propose(tables.from_path(files / where, {}))
    assert_is_the_shop(found)
    (reason,) = [m.columns["customer_id"].reason for m in found.models if m.entity == "orders"]
    assert re.search(r"name CustomerID ~ customer_id; \d+% empty; 100% of its values are in clients.CustomerID", reason)
    write(found, tmp_path / "shop")
    with new_company.named(tmp_path / "shop"):
        assert company.staged()["orders"][0].feed == "shop__invoices"
        feeds = load_feeds()
        assert (
            feeds["shop__invoices"].key == ("InvoiceNo",) and feeds["shop__invoices"].timestamp_zone == "Europe/London"
        )
        assert feeds["shop__invoice_lines"].key == ("InvoiceNo", "LineNo")
        assert feeds["shop__clients"].columns["Email"].action == "hash"
        assert feeds["shop__stock"].mode == "full"
        assert feeds["shop__invoices"].mode == ("full" if where == "tables" else "append")


def test_a_password_in_an_address_is_refused_and_a_refused_login_says_where_it_is_read_from():
    for url in (
        "postgresql://me:secret@127.0.0.1:1/shop",
        "jdbc:postgresql://127.0.0.1:1/shop?user=me&password=secret",
    ):
        with pytest.raises(
            PlatformError, match="holds a password.* MDP_SHOP_USER and MDP_SHOP_PASSWORD_FILE"
        ) as refused:
            tables.from_database(url, "shop")
        assert "secret" not in str(refused.value)
    with pytest.raises(
        PlatformError, match="cannot be asked: .*; its login is read from MDP_SHOP_USER and MDP_SHOP_PASSWORD"
    ):
        tables.from_database("jdbc:postgresql://127.0.0.1:1/shop", "shop")


def test_the_corner_shop_s_database_is_mapped_and_keeps_its_names_and_keys(shop, tmp_path):
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    engine, day = sa.create_engine(url), shop.days - 1
    for name in life.TABLES:
        table = delivery._table(shop, name, quoted=True)
        table.create(engine)
        rows = shop.rows(name, 0, day).astype(object)
        rows = rows.where(rows.notna(), None).to_dict("records")
        with engine.begin() as connection:
            connection.execute(table.insert(), [{k: _plain(k, v) for k, v in row.items()} for row in rows])
    found = propose(tables.from_database(url, "shop"))
    assert_is_the_shop(found)
    folder = tmp_path / "written"
    write(found, folder)
    with new_company.named(folder):
        feed = load_feeds()["shop__invoice_lines"]
    assert (
        feed.kind == "jdbc"
        and feed.key == ("InvoiceNo", "LineNo")
        and feed.columns["UnitPrice"].type == "decimal(12,3)"
    )


def _plain(name: str, value):
    if name in ("Day", "OpenedOn"):
        return pd.Timestamp(value).date()
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


def test_the_written_sql_comes_to_the_book_s_truth(shop, files, tmp_path):
    found = propose(tables.from_path(files / "tables", {}))
    results = run(found, files / "tables")
    truth = books.lines_of(shop)
    states = truth["state"].value_counts()
    assert states["reversed"] and states["guests"]
    bought = truth[truth["state"].isin(["kept", "guests"])]
    money = [c for c in results["orders"] if c.startswith("amount")][0]
    assert results["orders"][money].sum() == pytest.approx(bought["mills"].sum() / 1000, abs=0.001)
    assert results["reversals"][money].sum() == pytest.approx(
        -truth.loc[truth["state"] == "reversed", "mills"].sum() / 1000, abs=0.001
    )
    assert len(results["order_items"]) + len(results["reversals"]) == len(truth)  # nothing is lost on the way
    assert results["order_items"]["order_item_id"].is_unique and results["orders"]["order_id"].is_unique
    assert results["orders"]["customer_id"].isna().any()  # guests' orders stay


def run(found, folder) -> dict[str, pd.DataFrame]:
    """Entity → the rows of its staging SQL. SQLite runs it: the subset is common, rlike and sha2 are given to it."""
    db = sqlite3.connect(":memory:")
    db.create_function(
        "regexp", 2, lambda pattern, text: text is not None and re.search(pattern, str(text)) is not None
    )
    db.create_function("sha2", 2, lambda text, _: hashlib.sha256(text.encode()).hexdigest())
    db.create_function("concat_ws", -1, lambda by, *parts: by.join(str(p) for p in parts if p is not None))
    db.create_function("concat", -1, lambda *parts: None if None in parts else "".join(map(str, parts)))
    for table in found.tables:
        frame = pd.read_csv(
            folder / f"{table.name}.csv", dtype={f.name: str for f in table.fields.values() if not f.is_number}
        )
        frame = frame.assign(**{f"{c}_{kind}": frame[c] for c in list(frame) for kind in ("hash", "mask")})
        frame.assign(ds="2024-05-29").to_sql(mapping.feed_of("shop", table), db, index=False)
    results = {}
    for model in found.models:
        text = new_company.staging_sql(model, "shop", entities.contract()[model.entity])
        text = re.sub(r"\{\{ source\('raw', '(\w+)'\) \}\}", r"\1", re.sub(r"\{#-.*?-#\}", "", text, flags=re.S))
        text = (
            text.replace(" as string)", " as text)").replace(" as timestamp)", " as text)").replace("rlike", "regexp")
        )
        results[model.entity] = pd.read_sql(text.replace(", false)", ", 0)"), db)
    return results


# -- other shapes -----------------------------------------------------------------------------------------------------

GERMAN = {
    "Kunden": {"Kundennummer": ["K1", "K2", "K3"], "E-Mail": ["a@x.de", "b@x.de", "c@x.de"], "Geschlecht": list("wmw"),
               "Stadt": ["Köln", "Bonn", "Ulm"], "Registrierungsdatum": ["13.01.2024", "14.01.2024", "15.01.2024"]},
    "Artikel": {"Artikelnummer": ["A1", "A2", "A3"], "Bezeichnung": ["Hut", "Tuch", "Rock"], "Warengruppe": ["x", "y", "x"],
                "Marke": ["m", "n", "m"], "Preis": ["1.50", "2.25", "3.75"]},
    "Bestellungen": {"Bestellnummer": ["B1", "B2", "B3"], "Kundennummer": ["K1", "K2", "K1"],
                     "Bestelldatum": ["13.02.2024 10:00", "14.02.2024 11:30", "15.02.2024 12:00"],
                     "Gesamtbetrag": ["3.00", "2.25", "7.50"], "Kanal": ["web", "tv", "web"],
                     "storniert_am": ["16.02.2024 10:00", "", ""]},
    "Bestellpositionen": {"Bestellnummer": ["B1", "B2", "B3"], "Position": ["1", "1", "1"], "Artikelnummer": ["A1", "A2", "A3"],
                          "Menge": ["2", "1", "2"], "Einzelpreis": ["1.50", "2.25", "3.75"]},
}  # fmt: skip
CHINESE = {
    "会员": {"会员编号": ["1001", "1002", "1003"], "邮箱": ["a@x.cn", "b@x.cn", "c@x.cn"], "性别": ["男", "女", "女"],
           "城市": ["北京", "上海", "广州"], "注册时间": ["2024-01-01 10:00:00", "2024-01-02 10:00:00", "2024-01-03 10:00:00"]},
    "商品": {"商品编号": ["s1", "s2", "s3"], "商品名称": ["帽子", "围巾", "裙子"],
           "类别": ["一", "二", "一"], "价格": ["1.50", "2.25", "3.75"]},
    "订单": {"订单号": ["d1", "d2", "d3"], "会员编号": ["1001", "1002", "1001"], "渠道": ["网站", "门店", "网站"],
           "下单时间": ["2024-02-01 10:00:00", "2024-02-02 10:00:00", "2024-02-03 10:00:00"], "总金额": ["3.00", "2.25", "7.50"],
           "订单状态": ["完成", "已取消", "完成"]},
    "订单明细": {"明细编号": ["1", "2", "3"], "订单号": ["d1", "d2", "d3"], "商品编号": ["s1", "s2", "s3"],
             "数量": ["2", "1", "2"], "单价": ["1.50", "2.25", "3.75"]},
}  # fmt: skip


@pytest.mark.parametrize("company_", [GERMAN, CHINESE], ids=["german", "chinese"])
def test_a_company_of_another_language_is_mapped_in_whole(company_, tmp_path):
    for name, columns in company_.items():
        pd.DataFrame(columns).to_csv(_made(tmp_path / "in") / f"{name}.csv", index=False)
    found = propose(tables.from_path(tmp_path / "in", {}))
    assert {e: len(t) for e, t in fed(found).items()} == {
        "customers": 1,
        "products": 1,
        "orders": 1,
        "order_items": 1,
        "reversals": 1,
    }
    for entity, wanted in {
        "customers": {"customer_id", "email_hash", "gender", "city", "registered_at"},
        "products": {"product_id", "product_name", "category", "price"},
        "orders": {"order_id", "customer_id", "ordered_at", "amount", "channel"},
        "order_items": {"order_item_id", "order_id", "product_id", "quantity", "unit_price", "ordered_at", "customer_id"},
        "reversals": {"reversal_id", "order_id", "customer_id", "amount", "reversed_at", "reversal_kind"},
    }.items():  # fmt: skip
        assert wanted <= set(sql_of(found, entity)), entity
    write(found, tmp_path / "out")
    with new_company.named(tmp_path / "out"):
        assert all(feed.kind == "files" for feed in load_feeds().values())
        assert all(re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) for f in load_feeds().values() for name in f.columns)


def _made(folder):
    folder.mkdir(exist_ok=True)
    return folder


def lines_in_one_table() -> pd.DataFrame:
    """The shape of UCI's Online Retail: a row per line, with the invoice's number, time and customer in each."""
    return pd.DataFrame({
        "InvoiceNo": ["536365", "536365", "536366", "C536379", "536414"], "StockCode": ["85123A", "71053", "22633", "D", "22139"],
        "Description": ["HEART", "LANTERN", "WARMER", "Discount", ""], "Quantity": [6, 6, 6, -1, 56],
        "InvoiceDate": ["12/1/2010 8:26", "12/1/2010 8:26", "12/1/2010 8:28", "12/13/2010 9:41", "12/13/2010 11:52"],
        "UnitPrice": [2.55, 3.39, 1.85, 27.5, 0.0], "CustomerID": ["17850", "17850", "17850", "14527", ""],
        "Country": ["United Kingdom"] * 5,
    })  # fmt: skip


def test_orders_and_lines_in_one_table_feed_both(tmp_path):
    frame = lines_in_one_table()
    found = propose([table_of("retail", frame, tmp_path)])
    assert set(fed(found)) == {"orders", "order_items", "reversals"}
    results = run(found, tmp_path)
    assert len(results["orders"]) == 3 and len(results["order_items"]) == 4 and len(results["reversals"]) == 1
    money = [c for c in results["orders"] if c.startswith("amount")][0]
    assert (
        results["orders"][money].sum() == pytest.approx(6 * (2.55 + 3.39 + 1.85))
        and results["reversals"][money].sum() == 27.5
    )
    assert set(results["orders"]["customer_id"].dropna()) == {"17850"}  # who only sent back bought nothing
    write(found, tmp_path / "out")


def test_one_list_of_purchases_makes_orders(tmp_path):
    frame = pd.DataFrame(
        {"customer": ["a", "a", "b", "a"], "time": ["2024-01-02 10:00:00"] * 4, "amount": [1.25, 1.25, 2.5, 3.0]}
    )
    found = propose([table_of("purchases", frame, tmp_path)])
    results = run(found, tmp_path)
    assert len(results["orders"]) == 4 and results["orders"]["order_id"].is_unique  # two alike are two
    assert set(fed(found)) == {"orders"}, "customers are whom orders name"
    write(found, tmp_path / "out")
    with new_company.named(tmp_path / "out"):
        assert load_feeds()["shop__purchases"].mode == "full"


def test_negative_amounts_without_any_mark_went_back(tmp_path):
    frame = pd.DataFrame({"sale_id": ["1", "2", "3"], "client": ["a", "b", "a"], "sold at": ["2024-01-13 10:00:00"] * 3,
                          "total": [5.0, 7.5, -5.0]})  # fmt: skip
    results = run_one(frame.rename(columns={"sold at": "sale_date"}), tmp_path)
    money = [c for c in results["orders"] if c.startswith("amount")][0]
    assert results["orders"][money].sum() == 12.5 and list(results["reversals"][money]) == [5.0]


def run_one(frame, folder):
    return run(propose([table_of("sales", frame, folder)]), folder)


def test_tables_that_mean_nothing_are_said_to(tmp_path):
    frame = pd.DataFrame({"colour": ["red", "blue"], "weight_kg": [1.5, 2.5]})
    with pytest.raises(PlatformError, match=r"nothing here looks like .*seen: stones \(colour, weight_kg\)"):
        propose([table_of("stones", frame, tmp_path)])


def test_two_columns_that_fit_alike_are_asked(tmp_path):
    frame = pd.DataFrame({"order_id": ["1", "2"], "customer_id": ["a", "b"], "order_date": ["2024-01-13 10:00:00"] * 2,
                          "net_amount": [1.0, 2.0], "gross_amount": [1.2, 2.4]})  # fmt: skip
    read = [table_of("orders", frame, tmp_path)]
    (question,) = propose(read).questions
    assert set(question.choices) == {"net_amount", "gross_amount"} and question.default == "net_amount"
    answered = propose(read, {question.id: "gross_amount"})
    assert sql_of(answered, "orders")["amount"] == "gross_amount" and not answered.questions


# -- dialects ---------------------------------------------------------------------------------------------------------


def purchases() -> pd.DataFrame:
    times = pd.date_range(f"{clock.ds_of(0)} 08:00", periods=300, freq="17h")
    return pd.DataFrame(
        {
            "customer": [f"K{n % 40:04}" for n in range(300)],
            "time": times,
            "amount": [900.25 + n * 7 for n in range(300)],
        }
    )


@pytest.mark.parametrize("name", DIALECTS)
def test_a_list_of_purchases_is_read_in_any_dialect(name, tmp_path):
    frame = purchases()
    write_purchases(tmp_path / "list.csv", frame, DIALECTS[name])
    found = propose(tables.from_path(tmp_path / "list.csv", {}))
    assert not found.questions and {"customer_id", "ordered_at", "amount"} <= set(sql_of(found, "orders"))
    rows, fields = found.tables[0].rows, list(found.tables[0].fields.values())
    (time,), (amount,) = [f for f in fields if f.is_time], [f for f in fields if f.is_number]
    assert [float(row[amount.name]) for row in rows] == list(frame["amount"])
    assert [row[time.name][:10] for row in rows] == list(frame["time"].dt.strftime("%Y-%m-%d"))
    write(found, tmp_path / "out")


@pytest.mark.parametrize("name", ["german", "british", "american", "french"])
def test_days_that_could_be_months_are_asked_and_never_assumed(name, tmp_path):
    write_purchases(tmp_path / "list.csv", ambiguous(purchases()), DIALECTS[name])
    (question,) = propose(tables.from_path(tmp_path / "list.csv", {})).questions
    assert question.default is None and question.choices == ("day month year", "month day year")
    with pytest.raises(PlatformError, match="only you can say"):
        new(tmp_path, tmp_path / "list.csv", yes=True)
    assert not (tmp_path / "companies" / "tried").exists()
    new(tmp_path, tmp_path / "list.csv", yes=True, answers=[f"{question.id}=month day year"])
    with new_company.named(tmp_path / "companies" / "tried"):
        (feed,) = load_feeds().values()
        formats = [column.time_format for column in feed.columns.values() if column.time_format]
    assert re.match("MM.dd.yyyy", formats[0])


def test_numbers_that_could_be_thousands_are_asked(tmp_path):
    text = "customer;time;amount\na;2024-01-13 10:00:00;1,234\nb;2024-01-14 10:00:00;2,345\n"
    (tmp_path / "list.csv").write_text(text)
    (question,) = tables.from_path(tmp_path / "list.csv", {})[0].questions
    assert set(question.choices) == {"decimal .", "decimal ,"} and question.default is None
    read = tables.from_path(tmp_path / "list.csv", {question.id: "decimal ."})[0]
    assert read.rows[0]["amount"] == "1234" and not read.questions


def test_a_file_told_apart_by_blanks_is_written_anew(tmp_path):
    (tmp_path / "list.txt").write_text(
        " customer_id  date number_of_cds  dollar_value \r\n 00001 19970101  1   11.77 \r\n 00002 19970112  5   77.00 \r\n"
    )
    (table,) = tables.from_path(tmp_path / "list.txt", {})
    assert [f.type for f in table.fields.values()][:2] == ["string", "timestamp"] and "delimiter" not in table.feed
    assert "order_id" in sql_of(propose([table]), "orders")
    tables.write_comma_separated(tmp_path / "list.txt", tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text().splitlines()[1] == "00001,19970101,1,11.77"


@pytest.mark.parametrize(("data", "said"), [
    (b"", "is empty"), (b"\xff\xfea\x00", "UTF-16"), (b"a\x00b,c\n", "is no text"), (b"a,b\n", "no row"),
    (b"a,a\n1,2\n", "twice"), (b"just some words here\nand a few\n", "is no table"),
])  # fmt: skip
def test_a_file_that_cannot_be_read_is_one_sentence(data, said, tmp_path):
    (tmp_path / "list.csv").write_bytes(data)
    with pytest.raises(PlatformError, match=said):
        tables.from_path(tmp_path / "list.csv", {})


# -- the command ------------------------------------------------------------------------------------------------------


def new(tmp_path, source, yes=False, answers=(), ask=None, name="tried"):
    return command.new(
        name, str(source), timezone=None, country=None, currency=None, answers=list(answers), yes=yes, ask=ask,
        into=tmp_path / "companies",
    )  # fmt: skip


def test_a_proposal_is_refused_until_it_is_reviewed(files, tmp_path, capsys, monkeypatch):
    folder = new(tmp_path, files / "tables")
    assert "54 marks" in capsys.readouterr().out or company.MARK.search((folder / "feeds.yml").read_text())
    monkeypatch.setenv("MDP_COMPANY", str(folder))
    with pytest.raises(PlatformError, match=r"guesses that nobody reviewed.*\n.*company.yml, line 3: whose"):
        company.check_reviewed()
    with pytest.raises(PlatformError, match=r"company.yml, line 3"):
        command.check(None)
    assert command.accept(folder) > 20
    assert company.unreviewed() == []
    capsys.readouterr()
    command.check(None)
    out = capsys.readouterr().out
    assert "no fault" in out and "nothing feeds channel_spend" in out
    assert max(map(len, out.splitlines()[:-1])) <= 100
    with pytest.raises(PlatformError, match="exists"):
        new(tmp_path, files / "tables")


def test_all_faults_of_a_folder_are_said_at_once_with_their_lines(files, tmp_path, monkeypatch):
    folder = new(tmp_path, files / "tables")
    command.accept(folder)
    monkeypatch.setenv("MDP_COMPANY", str(folder))
    text = (folder / "company.yml").read_text()
    (folder / "company.yml").write_text(text.replace("[stg_tried__stock]", "[stg_nowhere]"))
    feeds = (folder / "feeds.yml").read_text()
    (folder / "feeds.yml").write_text(feeds.replace("type: bigint", "type: number", 1))
    with pytest.raises(PlatformError) as raised:
        command.check(None)
    assert re.search(r"company.yml, line \d+: products is fed by stg_nowhere", str(raised.value))
    assert re.search(r"feeds.yml: feed tried__invoice_lines: .*\(line \d+\)", str(raised.value))


def test_an_open_question_is_asked_once(tmp_path):
    write_purchases(tmp_path / "list.csv", ambiguous(purchases()), DIALECTS["british"])
    asked = []
    folder = new(tmp_path, tmp_path / "list.csv", ask=lambda text: asked.append(text) or "1")
    assert len(asked) == 1 and "1 = day month year" in asked[0]
    assert "dd/MM/yyyy HH:mm" in (folder / "feeds.yml").read_text()
    assert (
        yaml.safe_load((folder / "feeds.yml").read_text())["tried__list"]["columns"]["customer_id"]["field"]
        == "Customer ID"
    )


def test_nothing_of_a_source_reaches_sql_or_yaml_unquoted(tmp_path):
    frame = purchases().head(20).assign(time=lambda f: f["time"].dt.strftime("%Y-%m-%d %H:%M:%S"))
    frame.columns = ["customer '}} {{", "order time: # {%", 'amount"; --']
    folder = new(tmp_path, _csv(frame, tmp_path / "it's {{ 1 }}.csv"))
    texts = "".join(path.read_text() for path in (folder / "staging").iterdir())
    assert not re.search(r"{{(?! source\('raw', 'tried__\w+'\) }})|{%|\"|; --", texts)
    with new_company.named(folder):
        (feed,) = load_feeds().values()
    assert {c.field for c in feed.columns.values()} >= set(frame.columns)


def _csv(frame, path):
    frame.to_csv(path, index=False)
    return path


def test_a_header_s_own_name_is_read_as_the_column_that_names_it(tmp_path):
    folder = new(
        tmp_path, _csv(lines_in_one_table().rename(columns={"CustomerID": "Customer ID"}), tmp_path / "retail.csv")
    )
    with new_company.named(folder):
        (feed,) = load_feeds().values()
    head = (tmp_path / "retail.csv").read_bytes()
    assert "customer_id" in head_of(feed, "retail-2024-01-01.csv", head)["fields"]
    with pytest.raises(PlatformError, match="customer_id: declared, missing in the header"):
        head_of(feed, "retail-2024-01-01.csv", head.replace(b"Customer ID", b"Whoever"))
