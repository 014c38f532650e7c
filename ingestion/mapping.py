"""Which table feeds which entity of the input contract, and which of its columns which: proposed by name, type and content.

Pure: tables in (ingestion/tables.py), staging models and questions out. Each guess says what it rests on and is for a person
to review; what is equally likely twice is asked.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace

from ingestion.guess import guess_column, snake
from ingestion.tables import Field, Question, Table
from ingestion.words import best, plain, synonyms
from warehouse.entities import Entity
from warehouse.errors import PlatformError

LIKELY = 0.6  # a name that says as much is taken, a lesser one is not
CLEAR = 0.02  # two names nearer to each other are asked
SAME_SIGN = 0.95  # of the rows of a prefix are negative: it marks what goes back
FEW_STATES = 15
IDS, STRINGS, NUMERICS, BOOLEANS, TIMES = "ids", "strings", "numerics", "booleans", "timestamps and dates"


@dataclass(frozen=True)
class Given:
    """A column of an entity in Spark's SQL, why it is that, and whether it is computed rather than renamed."""

    sql: str
    reason: str
    is_derived: bool = False
    alternatives: tuple[str, ...] = ()


@dataclass
class Model:
    """A staging model: the entity it feeds, its source and further steps (name → SQL), where it joins, its columns."""

    entity: str
    name: str
    table: Table
    columns: dict[str, Given]
    note: str
    where: str | None = None
    steps: dict[str, str] = field(default_factory=dict)
    joined: str = "source"
    also: list[Table] = field(default_factory=list)
    load: str = "ds"


@dataclass
class Mapping:
    """All proposed models, the tables that they read, what must be asked, and what is to be said."""

    models: list[Model] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    currency: str | None = None
    treated: dict = field(default_factory=dict)  # table → field → how it is protected

    @property
    def tables(self) -> list[Table]:
        read = {model.table.name: model.table for model in self.models}
        for model in self.models:
            read |= {t.name: t for t in model.also}
        return list(read.values())


def propose(
    tables: list[Table], contract: dict[str, Entity], domain: str, zone: str, answers: dict[str, str] | None = None
) -> Mapping:
    """The models that `tables` allow; PlatformError if they mean nothing. Ids of questions answered are keys of `answers`."""
    found = _Proposal(tables, contract, domain, zone, answers or {})
    found.propose()
    return found.mapping


def feed_of(domain: str, table: Table) -> str:
    """The name of a table's feed."""
    short = re.sub(r"[^a-z0-9]", "", snake(domain)) or "company"
    short = short if short[0].isalpha() else f"c{short}"
    name = re.sub(r"[^a-z0-9_]", "", snake(table.name)) or "table"
    return f"{short}__{name if name[0].isalpha() else f't_{name}'}"


def literal(text: str) -> str:
    """The text as a literal of Spark's SQL, of nothing that could end it or that dbt would read."""
    if not re.fullmatch(r"[^'\\{}\x00-\x1f]*", text):
        raise PlatformError(f"{text!r} cannot stand in SQL: write the staging model by hand")
    return f"'{text}'"


class _Proposal:
    def __init__(self, tables, contract, domain, zone, answers):
        self.tables, self.contract, self.domain, self.zone, self.answers = tables, contract, domain, zone, answers
        self.mapping = Mapping()
        self.treated = self.mapping.treated = {
            t.name: {f.name: guess_column(f.name, f.type, t.values(f.name)[:200]) for f in t.fields.values()}
            for t in tables
        }

    # -- which table is what ------------------------------------------------------------------------------------------

    def propose(self) -> None:
        roles = self.roles = {table.name: self._role(table) for table in self.tables}
        orders = [t for t in self.tables if roles[t.name] in ("orders", "both")]
        lines = [t for t in self.tables if roles[t.name] == "order_items"]
        for table in orders:
            own = max(lines, key=lambda t: self._linked(t, table)[1], default=None)
            own = own if own and self._linked(own, table)[1] > 0 else None
            self._orders(table, table if roles[table.name] == "both" else own)
        for table in lines:
            if not orders:
                self.mapping.notes.append(
                    f"{table.name} looks like lines of orders, but no table looks like the orders"
                )
        for table in self.tables:
            role = roles[table.name]
            if role is None:
                self.mapping.notes.append(
                    f"left out: {table.name}: it is not clear what it holds ({', '.join(table.fields)})"
                )
            elif role not in ("orders", "both", "order_items"):
                self._plain(table, role, orders)
        for table in orders:
            if "customer_id" not in self._matched(table, "orders"):
                self.mapping.notes.append(f"{table.name} names no customer: all of its orders are guests'")
        if not self.mapping.models:
            seen = "; ".join(f"{t.name} ({', '.join(t.fields)})" for t in self.tables)
            raise PlatformError(
                "nothing here looks like a company's purchases, customers or products: a list of purchases needs a customer, a "
                f"time and an amount, or quantity and price, under names that say so; seen: {seen}"
            )
        for table in self.mapping.tables:
            self.mapping.questions += [q for q in table.questions if q not in self.mapping.questions]
            self.mapping.notes += table.notes

    def _role(self, table: Table) -> str | None:
        """The entity that a table holds, `both` for lines with their orders in one table, None if that is not clear."""
        named = {e: best(table.name, patterns) for e, patterns in synonyms()["tables"].items() if e in self.contract}
        by_name = max(named, key=named.get)
        by_name = by_name if named[by_name] >= LIKELY else None
        has = {c: self._best(table, e, c) for e, c in (
            ("orders", "order_id"), ("orders", "customer_id"), ("orders", "ordered_at"), ("orders", self._money("orders")),
            ("order_items", "product_id"), ("order_items", "quantity"), ("order_items", self._price("order_items")),
        )}  # fmt: skip
        order, customer, at, amount, product, quantity, price = has.values()
        customer = customer if customer != order else None
        priced = quantity and price
        id_repeats = order and not self._is_unique(table, order.name)
        if by_name not in (None, "orders", "order_items"):
            return (
                by_name
                if self._lacks(table, by_name) == [] or by_name in ("customers",)
                else self._say_lack(table, by_name)
            )
        if at and order and priced and id_repeats:
            return "both"
        if at and (customer or order) and (amount or priced or by_name == "orders"):
            return "orders"
        if order and quantity and (product or price):
            return "order_items"
        if by_name == "orders":
            return self._say_lack(table, "orders")
        return self._by_content(table, at)

    def _by_content(self, table: Table, at: Field | None) -> str | None:
        rate = self._candidates(table, "fx_rates", "rate", "double") if "fx_rates" in self.contract else []
        if rate and at and any(best(f.name, ["currency"]) for f in table.fields.values()):
            return "fx_rates"
        person = [
            f.name for f in table.fields.values() if self.treated[table.name][f.name].format in ("email", "phone")
        ]
        customer = self._best(table, "customers", "customer_id")
        if customer and person and self._is_unique(table, customer.name):
            return "customers"
        product = self._best(table, "products", "product_id")
        if (
            product
            and not at
            and self._is_unique(table, product.name)
            and self._best(table, "products", "product_name")
        ):
            return "products"
        return None

    def _lacks(self, table: Table, entity: str) -> list[str]:
        derived = {"reversal_kind"} | set(self.contract[entity].key)
        return [c for c in self.contract[entity].required if c not in derived and not self._best(table, entity, c)]

    def _say_lack(self, table: Table, entity: str) -> None:
        lacks = ", ".join(self._lacks(table, entity)) or "what identifies a row"
        self.mapping.notes.append(f"{table.name} is called like {entity}, but has nothing for {lacks}")

    # -- which column is what -----------------------------------------------------------------------------------------

    def _money(self, entity: str) -> str:
        return next(c for c in self.contract[entity].columns if c == "amount")

    def _price(self, entity: str) -> str:
        return next(c for c in self.contract[entity].columns if c in ("unit_price", "price"))

    def _candidates(
        self, table: Table, entity: str, column: str, type_: str | None = None
    ) -> list[tuple[float, Field]]:
        """The fields that could be a column of an entity, the likeliest first."""
        listed, concept = synonyms()["columns"], column
        patterns = listed.get(f"{entity}.{concept}") or listed.get(concept) or [concept.replace("_", " ")]
        type_ = type_ or self.contract[entity].columns[column].type
        free = frozenset(" ".join(synonyms()["tables"].get(entity, [])).split()) - {"product", "currency", "rate"}
        rated = [(best(f.written, patterns, free), f) for f in table.fields.values() if _fits(type_, column, f)]
        return sorted((pair for pair in rated if pair[0] >= LIKELY), key=lambda pair: -pair[0])

    def _best(self, table: Table, entity: str, column: str) -> Field | None:
        if column not in self.contract[entity].columns:
            return None
        found = self._candidates(table, entity, column)
        if not found:
            return None
        asked = f"{table.name}.{column}"
        alike = [f for score, f in found if found[0][0] - score < CLEAR]
        if self.answers.get(asked) in {f.name for f in alike}:
            return next(f for f in alike if f.name == self.answers[asked])
        return found[0][1]

    def _matched(self, table: Table, entity: str, but: tuple[str, ...] = ()) -> dict[str, Field]:
        """Column of the contract → field, each field once, the likeliest pairs first; equal ones become questions."""
        pairs = [
            (score, column, one)
            for column in self.contract[entity].columns if column not in but
            for score, one in self._candidates(table, entity, column)
        ]  # fmt: skip
        found: dict[str, Field] = {}
        used: set[str] = set()
        for score, column, one in sorted(pairs, key=lambda p: -p[0]):
            if column in found or one.name in used:
                continue
            alike = [f for s, c, f in pairs if c == column and abs(s - score) < CLEAR and f.name not in used]
            if len(alike) > 1:
                one = self._choose(f"{table.name}.{column}", table, column, alike)
            found[column] = one
            used.add(one.name)
        return found

    def _choose(self, asked: str, table: Table, column: str, alike: list[Field]) -> Field:
        if (answer := self.answers.get(asked)) in {f.name for f in alike}:
            return next(f for f in alike if f.name == answer)
        names = tuple(f.name for f in alike)
        if asked not in {q.id for q in self.mapping.questions}:
            text = f"{table.name}: which column is the {column.replace('_', ' ')}?"
            self.mapping.questions.append(Question(asked, text, names, names[0]))
        return alike[0]

    def _given(self, table: Table, entity: str, matched: dict[str, Field], alias: str = "") -> dict[str, Given]:
        return {column: self._one(table, entity, column, one, alias) for column, one in matched.items()}

    def _one(self, table: Table, entity: str, column: str, one: Field, alias: str = "") -> Given:
        type_ = self.contract[entity].columns[column].type
        sql = self._ref(table, one, alias, type_)
        reason = f"name {one.name} ~ {column}"
        if table.rows:
            empty = 1 - len(table.values(one.name)) / len(table.rows)
            reason += f"; {empty:.0%} empty"
        other = [f.name for _, f in self._candidates(table, entity, column) if f.name != one.name]
        for target in self.tables:
            if column.endswith("_id") and target is not table and target.rows:
                for theirs in target.fields.values():
                    if theirs.name == one.name and self._is_unique(target, theirs.name):
                        share = self._overlap(table, one.name, target, theirs.name)
                        reason += f"; {share:.0%} of its values are in {target.name}.{theirs.name}"
        if other:
            reason += f"; could be {', '.join(other)}"
        return Given(sql, reason, alternatives=tuple(other))

    def _ref(self, table: Table, one: Field, alias: str, type_: str = "string") -> str:
        """The field as the raw table has it, in the contract's type where a cast alone would not do."""
        guess = self.treated[table.name][one.name]
        stored = {"hash": "_hash", "hash_and_mask": "_hash", "mask": "_mask", "encrypt": "_enc"}.get(guess.action, "")
        sql = f"{alias}.`{one.name}{stored}`" if alias else f"`{one.name}{stored}`"
        if type_ == "timestamp" and one.type == "date":
            return f"to_utc_timestamp(cast({sql} as timestamp), {literal(self.zone)})"
        if type_ == "date" and one.type == "timestamp":
            return f"to_date(from_utc_timestamp({sql}, {literal(self.zone)}))"
        return sql

    def _open(self, table: Table, one: Field | None) -> None:
        """What is no person's stands in clear: a product's name is called as a person's."""
        if one and (guess := self.treated[table.name][one.name]).action and guess.format not in ("email", "phone"):
            self.treated[table.name][one.name] = replace(
                guess, sensitivity="internal", action=None, format=None, comment=None
            )

    # -- content ------------------------------------------------------------------------------------------------------

    def _is_unique(self, table: Table, name: str) -> bool:
        if table.key:
            return table.key == [name]
        values = table.values(name)
        return len(set(values)) == len(values) == len(table.rows) > 0

    def _overlap(self, one: Table, name: str, other: Table, theirs: str) -> float:
        mine, known = set(one.values(name)), set(other.values(theirs))
        return len(mine & known) / len(mine) if mine else 0.0

    def _linked(self, lines: Table, orders: Table) -> tuple[Field | None, float]:
        """The field of the lines that names the order, and how sure that is: by name, else by the share of known values."""
        key = self._best(orders, "orders", "order_id")
        named = self._best(lines, "order_items", "order_id")
        if named and key:
            return named, 1 + self._overlap(lines, named.name, orders, key.name)
        shares = [(self._overlap(lines, f.name, orders, key.name), f) for f in lines.fields.values()] if key else []
        share, one = max(shares, key=lambda pair: pair[0], default=(0.0, None))
        return (one, share) if share >= LIKELY else (None, 0.0)

    def _prefix(self, table: Table, key: Field, signed: list[Field]) -> str | None:
        """The letters with which the numbers of credit notes begin, if only negative rows have them."""
        signs = defaultdict(list)
        for row in table.rows:
            start = re.match(r"([A-Za-z]{1,3})[-_]?\d", row.get(key.name) or "")
            amounts = [float(row[f.name]) for f in signed if row.get(f.name)]
            signs[start[1] if start else ""].append(any(a < 0 for a in amounts))
        marked = [p for p, neg in signs.items() if p and sum(neg) >= SAME_SIGN * len(neg)]
        others = [n for p, neg in signs.items() if p not in marked for n in neg]
        shared = [p for p in marked if len(signs[p]) > 1 or len(marked) == 1]
        if not shared or not others or sum(others) > 0.05 * len(others):
            return None
        return max(shared, key=lambda p: len(signs[p]))

    def _has_negative(self, table: Table, name: str) -> bool:
        return any(float(value) < 0 for value in table.values(name) if re.fullmatch(r"-?\d+(\.\d+)?", value))

    # -- orders, their lines and what went back -----------------------------------------------------------------------

    def _orders(self, table: Table, lines: Table | None) -> None:
        money, price = self._money("orders"), self._price("order_items")
        matched = self._matched(table, "orders")
        is_one = lines is table
        items = self._matched(lines, "order_items") if lines else {}
        if lines:
            link = matched.get("order_id") if is_one else self._linked(lines, table)[0]
            items["order_id"] = link
            if is_one:
                items |= {c: matched[c] for c in ("customer_id", "ordered_at") if c in matched}
            items = {c: f for c, f in items.items() if f}
        if "ordered_at" not in matched:
            self._say_lack(table, "orders")
            return
        key, total = matched.get("order_id"), matched.get(money)
        if key and not is_one and not self._is_unique(table, key.name) and best(key.written, ["order id"]) < 0.9:
            key = matched.pop("order_id") and None  # called like a number, and none of an order
        quantity, unit = items.get("quantity"), items.get(price)
        if not lines and not total:
            alone = self._matched(table, "order_items")
            quantity, unit = alone.get("quantity"), alone.get(price)
        if not total and not (quantity and unit):
            self.mapping.notes.append(
                f"{table.name} has no amount, and no lines have quantity and price: no orders from it"
            )
            return
        # What marks a reversal: the numbers of credit notes, a state, a time of its own, or a negative sign.
        rows = lines or table
        signed = [f for f in ([quantity, unit] if rows is lines and quantity and unit else [total or quantity]) if f]
        named = items.get("order_id") if lines else key
        prefix = self._prefix(rows, named, signed) if named else None
        sign = None
        if not prefix and quantity and self._has_negative(rows, quantity.name):
            sign = quantity
        elif not prefix and total and self._has_negative(table, total.name):
            sign = total
        if quantity and unit and lines and (not total or is_one):
            worth = f"{self._ref(lines, quantity, '')} * {self._ref(lines, unit, '')}"
        elif quantity and unit and not total:
            worth = f"{self._ref(table, quantity, '')} * {self._ref(table, unit, '')}"
        else:
            worth = self._ref(table, total, "")
        keep = self._kept(prefix, named, sign)
        why_back = (
            f"numbers that begin with {prefix} are credit notes: their rows are negative" if prefix
            else f"rows whose {sign.name} is negative went back" if sign else ""
        )  # fmt: skip
        self._order_model(table, lines, matched, items, worth, keep, prefix, why_back)
        if lines:
            self._line_model(table, lines, matched, items, keep)
        if prefix or sign:
            self._negative_model(table, lines, matched, items, worth, prefix, sign, why_back)
        self._state_models(table, lines, matched, worth)
        if (
            one := next(
                (f for f in table.fields.values() if best(f.written, ["currency id", "currency"]) >= LIKELY), None
            )
        ) and (values := [v.upper() for v in table.values(one.name) if re.fullmatch("[A-Za-z]{3}", v)]):
            self.mapping.currency = max(set(values), key=values.count)
            if others := sorted(set(values) - {self.mapping.currency}):
                for model in self.mapping.models:
                    if model.entity in ("orders", "order_items", "reversals") and table in (model.table, *model.also):
                        model.note += f" {self._converted(model, others)}"

    def _converted(self, model: Model, others: list[str]) -> str:
        if model.entity == "order_items":
            return f"Prices stay in their own currency, also {', '.join(others)}."
        if "fx_rates" in self.roles.values():
            return f"Amounts in {', '.join(others)} become {self.mapping.currency} at the rate of their day (fx_rates)."
        return f"Amounts in {', '.join(others)} have no rate: feed fx_rates, else their days stop at the gate."

    def _kept(self, prefix: str | None, key: Field | None, sign: Field | None, back: bool = False) -> str | None:
        if prefix:
            at = f"coalesce(`{key.name}` rlike '^{prefix}[-_]?[0-9]', false)"
            return at if back else f"not {at}"
        if sign:
            return f"`{sign.name}` < 0" if back else f"coalesce(`{sign.name}`, 0) >= 0"
        return None

    def _order_model(self, table, lines, matched, items, worth, keep, prefix, why_back) -> None:
        money, feed = self._money("orders"), feed_of(self.domain, table)
        key = matched.get("order_id")
        note = f"Orders of {table.name}." + (f" Left out here: {why_back}." if why_back else "")
        model = Model("orders", f"stg_{feed}", table, {}, note)
        total = matched.get(money)
        rest = {c: f for c, f in matched.items() if c not in (money, "order_id")}
        is_keyed = key is not None and self._is_unique(table, key.name)
        if key and not is_keyed and (lines is table or not lines):  # one row per line: an order is what shares a number
            given = self._given(table, "orders", rest)
            model.columns = {
                c: Given(f"{'max' if c == 'customer_id' else 'min'}({g.sql})", g.reason, True, g.alternatives)
                for c, g in given.items()
            }
            model.columns["order_id"] = Given(self._ref(table, key, ""), self._why_id(table, key))
            model.columns[money] = Given(
                f"sum({worth})", f"the sum of {worth.replace('`', '')} over the rows of an order", True
            )
            model.where = keep
            model.joined = f"source\n    group by {self._ref(table, key, '')}, ds"
        else:
            alias = "source" if lines and not total else ""
            model.columns = self._given(table, "orders", rest, alias)
            if key:
                model.columns["order_id"] = replace(
                    self._one(table, "orders", "order_id", key, alias), reason=self._why_id(table, key)
                )
            else:
                model.columns["order_id"] = Given(self._made_id(table, matched, worth), self._why_id(table, None), True)
            if lines and not total:
                link, ours = self._ref(lines, items["order_id"], ""), self._ref(table, key, "source")
                model.also = [lines]
                raw = "{{ source('raw', '" + feed_of(self.domain, lines) + "') }}"
                picked = f"\n    where {keep}" if keep and not prefix else ""
                model.steps["order_lines"] = (
                    f"select {link} as order_number, ds as loaded, sum({worth}) as amount\n    from {raw}{picked}\n"
                    f"    group by {link}, ds"
                )
                model.load = "source.ds"
                model.joined = f"source\n    left join order_lines on order_number = {ours} and loaded = source.ds"
                model.columns[money] = Given(
                    "order_lines.amount",
                    f"{table.name} has no amount: the sum of {worth.replace('`', '')} over {lines.name}",
                    True,
                )
                model.where = self._kept(prefix, key, None) if prefix else None
            elif total:
                model.columns[money] = self._one(table, "orders", money, total)
                on_total = prefix or (keep and f"`{total.name}`" in keep)
                model.where = (self._kept(prefix, key, None) if prefix and key else keep) if on_total else None
            else:
                model.columns[money] = Given(worth, "quantity times price", True)
                model.where = keep
        self.mapping.models.append(model)

    def _why_id(self, table: Table, key: Field | None) -> str:
        if key is None:
            return "there is no number of an order: customer, time and amount, and which of several alike it is"
        said = (
            "unique in the sample"
            if self._is_unique(table, key.name)
            else "not unique in the sample, so one row is a line of it"
        )
        return f"name {key.name} ~ order_id; {said}"

    def _made_id(self, table: Table, matched: dict[str, Field], worth: str) -> str:
        parts = [self._ref(table, matched[c], "") for c in ("customer_id", "ordered_at") if c in matched] + [worth]
        texts = ", ".join(f"coalesce(cast({part} as string), '')" for part in parts)
        twin = f"row_number() over (partition by ds, {', '.join(parts)} order by {parts[-1]})"
        return f"sha2(concat_ws('|', {texts}, cast({twin} as string)), 256)"

    def _line_model(self, table, lines, matched, items, keep) -> None:
        is_one, price = lines is table, self._price("order_items")
        own = {
            c: f
            for c, f in items.items()
            if c not in ("order_item_id", "customer_id", "ordered_at", "updated_at") or is_one
        }
        own.pop("order_item_id", None)
        alias = "" if is_one else "source"
        model = Model(
            "order_items",
            f"stg_{feed_of(self.domain, lines)}" + ("_lines" if is_one else ""),
            lines,
            {},
            f"Lines of orders, of {lines.name}.",
            keep,
        )
        model.columns = self._given(lines, "order_items", own, alias)
        model.columns["order_item_id"] = self._line_id(lines, items, alias)
        if not is_one:
            self._join_orders(
                model, table, lines, matched, items, {"customer_id": "customer_id", "ordered_at": "ordered_at"}
            )
        lacks = [c for c in ("quantity", price) if c not in model.columns]
        if lacks:
            self.mapping.notes.append(f"{lines.name}: no order_items from it, it has nothing for {', '.join(lacks)}")
            return
        self.mapping.models.append(model)

    def _line_id(self, lines: Table, items: dict[str, Field], alias: str) -> Given:
        number, own = (
            self._ref(lines, items["order_id"], alias) if "order_id" in items else None,
            items.get("order_item_id"),
        )
        if own and self._is_unique(lines, own.name):
            return self._one(lines, "order_items", "order_item_id", own, alias)
        if own and number:
            return Given(
                f"concat({number}, '-', {self._ref(lines, own, alias)})", f"{own.name} counts within an order", True
            )
        listed = [
            self._ref(lines, items[c], alias)
            for c in ("product_id", "quantity", self._price("order_items"))
            if c in items
        ]
        ds = f"{alias}.ds" if alias else "ds"
        if not number:
            return Given(
                self._made_id(lines, items, listed[-1]),
                "nothing identifies a line: its content, and which of several alike it is",
                True,
            )
        return Given(
            f"concat({number}, '-', cast(row_number() over (partition by {number}, {ds} order by {', '.join(listed)}) "
            "as string))",
            "no column counts the lines of an order: their place by product, quantity and price", True,
        )  # fmt: skip

    def _join_orders(self, model, table, lines, matched, items, wanted: dict[str, str]) -> None:
        """Take columns of the order beside its line."""
        raw, key = "{{ source('raw', '" + feed_of(self.domain, table) + "') }}", matched["order_id"]
        model.also = [table]
        model.steps["orders"] = f"select * from {raw}"
        link = self._ref(lines, items["order_id"], "source")
        model.load = "source.ds"
        model.joined = (
            f"source\n    left join orders on {self._ref(table, key, 'orders')} = {link} and orders.ds = source.ds"
        )
        for column, theirs in wanted.items():
            if theirs in matched and column in self.contract[model.entity].columns:
                given = self._one(table, "orders", theirs, matched[theirs], "orders")
                model.columns[column] = replace(given, reason=f"of the order: {given.reason}", is_derived=True)

    def _negative_model(self, table, lines, matched, items, worth, prefix, sign, why) -> None:
        """What went back as rows of its own: each negative line, or row, is a reversal that names no order."""
        rows = lines or table
        money = self._money("reversals")
        key = items.get("order_id") if lines else matched.get("order_id")
        split = lines is not None and lines is not table
        alias = "source" if split else ""
        model = Model(
            "reversals",
            f"stg_{feed_of(self.domain, rows)}_reversed",
            rows,
            {},
            f"What went back: {why}.",
            self._kept(prefix, key, sign, back=True),
        )
        if lines:
            model.columns["reversal_id"] = self._line_id(lines, items, alias)
            amount = " * ".join(self._ref(lines, items[c], alias) for c in ("quantity", self._price("order_items")))
        else:
            number = self._ref(table, key, "") if key else self._made_id(table, matched, worth)
            model.columns["reversal_id"] = Given(number, self._why_id(table, key), key is None)
            amount = worth
        model.columns[money] = Given(f"-({amount})", "negative at the source, positive here", True)
        kind = "returned" if sign is not None and not prefix else "cancelled"
        model.columns["reversal_kind"] = Given(literal(kind), why, True)
        wanted = {"customer_id": "customer_id", "reversed_at": "ordered_at", "currency": "currency"}
        if split:
            self._join_orders(model, table, lines, matched, items, wanted)
        else:
            for column, theirs in wanted.items():
                if theirs in matched and column in self.contract["reversals"].columns:
                    model.columns[column] = self._one(table, "orders", theirs, matched[theirs])
        for column in ("product_id", "quantity", self._price("order_items")):
            if lines and column in self.contract["reversals"].columns and column in items:
                given = self._one(lines, "order_items", column, items[column], alias)
                back = Given(f"abs({given.sql})", f"{given.reason}; positive here", True)
                model.columns[column] = back if column == "quantity" else given
        self.mapping.models.append(model)

    def _state_models(self, table, lines, matched, worth) -> None:
        """Orders that say of themselves that they were cancelled or went back: by a time of it, or by their status."""
        key, money = matched.get("order_id"), matched.get(self._money("orders"))
        times = [f for f in table.fields.values() if f.is_time and f not in matched.values()]
        at = {
            w: next((f for f in times if best(f.written, [f"{w} time", w], frozenset({"order"})) >= LIKELY), None)
            for w in ("cancel", "return")
        }
        status = next(
            (
                f
                for f in table.fields.values()
                if f.type == "string" and best(f.written, ["order status", "status"]) >= LIKELY
            ),
            None,
        )
        words = {plain(str(word)) for word in synonyms()["reversed"]}
        states = sorted({v for v in table.values(status.name) if plain(v) in words}) if status else []
        if status and len(set(table.values(status.name))) > FEW_STATES:
            states = []
        found = [(w, f) for w, f in at.items() if f]
        if not found and not states:
            return
        if not key or not money or lines is table:
            self.mapping.notes.append(
                f"{table.name} says which orders went back, but has no amount or number of an order itself: write "
                "reversals by hand"
            )
            return
        for word, one in found or [("cancel", None)]:
            kind = {"cancel": "cancelled", "return": "returned"}[word]
            if one:
                where, why, then = (
                    f"`{one.name}` is not null",
                    f"{one.name} says when",
                    self._ref(table, one, "", "timestamp"),
                )
            else:
                where = f"`{status.name}` in ({', '.join(map(literal, states))})"
                why = f"{status.name} is {' or '.join(states)}"
                then_of = matched.get("updated_at") or matched["ordered_at"]
                then = self._ref(table, then_of, "", "timestamp")
                why += f"; when, only {then_of.name} can tell"
            columns = {
                "reversal_id": Given(
                    f"concat({self._ref(table, key, '')}, {literal(f'-{kind}')})", "one per order", True
                ),
                "order_id": self._one(table, "orders", "order_id", key),
                "reversal_kind": Given(literal(kind), why, True),
                self._money("reversals"): self._one(table, "orders", self._money("orders"), money),
                "reversed_at": Given(then, why, one is None),
            }
            for column in ("customer_id", "currency"):
                if column in matched and column in self.contract["reversals"].columns:
                    columns[column] = self._one(table, "orders", column, matched[column])
            self.mapping.models.append(
                Model(
                    "reversals",
                    f"stg_{feed_of(self.domain, table)}_{kind}",
                    table,
                    columns,
                    f"Orders that were {kind}: {why}.",
                    where,
                )
            )

    # -- everything else ----------------------------------------------------------------------------------------------

    def _plain(self, table: Table, entity: str, orders: list[Table]) -> None:
        """A model that renames: one table, one entity."""
        for column, one in self._matched(table, entity).items():
            if entity in ("products", "campaigns"):
                self._open(table, one)
            contract = self.contract[entity].columns[column]
            if (
                contract.type == "date"
                and one.time_format
                and "H" not in one.time_format
                and "h" not in one.time_format
            ):
                table.fields[one.name] = replace(one, type="date")
                self.treated[table.name][one.name] = replace(self.treated[table.name][one.name], type="date")
        model = Model(
            entity,
            f"stg_{feed_of(self.domain, table)}",
            table,
            {},
            f"{entity.replace(chr(95), chr(32)).capitalize()}, of {table.name}.",
        )
        matched = self._matched(table, entity)
        key = self.contract[entity].key[0]
        if entity == "customers" and key in matched and "registered_at" not in matched and orders:
            model.columns = self._given(table, entity, matched, "source")
            self._registered_by_order(model, orders[0], self._ref(table, matched[key], "source"))
        else:
            model.columns = self._given(table, entity, matched)
        for column in [
            c
            for c in model.columns
            if c.endswith("_hash") and c.replace("_hash", "_mask") in self.contract[entity].columns
        ]:
            one = matched[column]
            if self.treated[table.name][one.name].action == "hash_and_mask":
                prefix = "source." if model.steps else ""
                model.columns[column.replace("_hash", "_mask")] = Given(
                    f"{prefix}`{one.name}_mask`", f"masked at the door: {one.name}"
                )
        if "reversal_kind" in self.contract[entity].columns and "reversal_kind" not in model.columns:
            kind = "cancelled" if best(table.name, ["cancel", "order cancel"]) >= LIKELY else "returned"
            model.columns["reversal_kind"] = Given(literal(kind), f"the table is called {table.name}", True)
        if key not in model.columns and len(self.contract[entity].key) == 1 and table.key:
            texts = ", ".join(f"cast({self._ref(table, table.fields[c], '')} as string)" for c in table.key)
            model.columns[key] = Given(f"concat_ws('-', {texts})", f"the key of {table.name}", True)
        if lacks := [c for c in self.contract[entity].required if c not in model.columns]:
            self.mapping.notes.append(
                f"{table.name} looks like {entity}, but has nothing for {', '.join(lacks)}: left out"
            )
            return
        self.mapping.models.append(model)

    def _registered_by_order(self, model: Model, table: Table, ref: str) -> None:
        matched = self._matched(table, "orders")
        if not {"customer_id", "ordered_at"} <= set(matched):
            return
        raw, customer = (
            "{{ source('raw', '" + feed_of(self.domain, table) + "') }}",
            self._ref(table, matched["customer_id"], ""),
        )
        at = self._ref(table, matched["ordered_at"], "", "timestamp")
        model.also = [table]
        model.steps["bought"] = (
            f"select {customer} as buyer, min({at}) as first_at\n    from {raw}\n    group by {customer}"
        )
        model.load = "source.ds"
        model.joined = f"source\n    left join bought on buyer = {ref}"
        model.columns["registered_at"] = Given(
            "coalesce(bought.first_at, cast(source.ds as timestamp))",
            f"no column says since when: the first of {table.name}, else the load", True,
        )  # fmt: skip


def _fits(type_: str, column: str, one: Field) -> bool:
    """Whether a field can hold what the contract wants."""
    if type_ in ("timestamp", "date"):
        return one.is_time
    if type_ == "boolean":
        return one.type == "boolean"
    if type_.startswith(("decimal", "int", "bigint", "double", "float")):
        return one.is_number
    return (
        not one.is_time
        and (one.type != "boolean")
        and (column.endswith("_id") or not one.type.startswith(("decimal", "double")))
    )
