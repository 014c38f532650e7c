"""A JSON number as it is written, for columns that are texts: 1.10 keeps its zero, 1e400 is no infinity.

Spark's reader of files keeps the text of a number, its function from_json rewrites it as a double. So in the few lines
where that could matter each number is made a string between two marks before they are parsed once more, and the marks
are taken away after. Texts are cut at their quotes, since a regular expression that skips strings overflows the stack.
"""

from ingestion.values import literal

# A number with point, exponent or -0: as a member, or in a list as the first or a later one. What only looks like one within a
# text costs a second parse. Three expressions, each begun by one character: alternatives at its head take three times as long.
ODD = r"\s*+(?:-?[0-9]++[.eE]|-0)"
ODD_NUMBER = (
    rf"""(value rlike r'"\s*+:{ODD}' or contains(value, '[') and (value rlike r'\[{ODD}' or value rlike r',{ODD}'))"""
)
OPEN, CLOSE = r"\u0001\u0002", r"\u0002\u0001"  # as JSON writes them; no line holds them by accident
SHOWN_OPEN, SHOWN_CLOSE = "concat(char(1), char(2))", "concat(char(2), char(1))"


def reparsed(texts: list[str]) -> str:
    """SQL of a struct of the members `texts`, their numbers between marks, of a line `value` with odd ones; else null."""
    hidden = r"replace(replace(value, r'\\', char(1)), r'\"', char(2))"  # neither may stand in a line of JSON
    mark, unmark = (escape.replace("\\", r"\\") for escape in (OPEN, CLOSE))  # as a replacement writes them
    marked = f"""regexp_replace(part, '(-?[0-9][0-9.eE+-]*)', r'"{mark}$1{unmark}"')"""
    parts = f"""transform(split({hidden}, '"'), (part, n) -> if(n % 2 = 0, {marked}, part))"""
    text = rf"""replace(replace(array_join({parts}, '"'), char(2), r'\"'), char(1), r'\\')"""
    schema = ", ".join("`" + name.replace("`", "``") + "` string" for name in texts)
    return f"if({ODD_NUMBER}, from_json({text}, {literal(schema)}), null)"


def unmarked(text: str) -> str:
    """SQL of a member of that struct without the marks: around a number, or within the text of a nested value."""
    nested = rf"""replace(replace({text}, r'"{OPEN}', ''), r'{CLOSE}"', '')"""
    number = f"substring({text}, 3, length({text}) - 4)"
    return f"if(startswith({text}, {SHOWN_OPEN}) and endswith({text}, {SHOWN_CLOSE}), {number}, {nested})"
