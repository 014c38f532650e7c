"""What is said where a company's mapping gives an entity a key that does not identify its rows (dbt's test `entity_key`)."""

from expectations.validate import mask
from warehouse import entities
from warehouse.company import folder, staged
from warehouse.session import session

EXAMPLES = 3


def tests() -> dict[str, entities.Entity]:
    """Name of the dbt test → entity."""
    return {f"entity_key_{entities.PREFIX}{name}_{name}": entity for name, entity in entities.contract().items()}


def idle() -> list[str]:
    """The tests of entities that nothing feeds: there is nothing to ask the engine."""
    fed = staged()
    return [test for test, entity in tests().items() if entity.rows != "log" and not fed[entity.name]]


def sentence(result: dict) -> str | None:
    """A sentence for a result of dbt's, None if it is no failure of such a test."""
    entity = tests().get(result["unique_id"].split(".")[2])
    if entity is None or result["status"] != "fail":
        return None
    rows = session().sql(f"select * from ({result['compiled_code']}) doubled limit {EXAMPLES}").collect()
    examples = ", ".join(" ".join(mask(row[column]) for column in entity.key) + _where(row) for row in rows)
    models = ", ".join(each.model for each in staged()[entity.name])
    return (
        f"{entity.name}: {' and '.join(entity.key)} should identify a row, but {result['failures']:,} "
        f"{'key is' if result['failures'] == 1 else 'keys are'} there more than once ({examples}), so rows would be lost; "
        f"{models} in {folder() / 'staging'} {'feed' if len(staged()[entity.name]) > 1 else 'feeds'} it: give a key that "
        f"differs for each row, or make one row of those that share one, then run again"
    )


def _where(row) -> str:
    if row["first_feed"] != row["last_feed"]:
        return f" of {row['first_feed']} and of {row['last_feed']}"
    return f" {row['n_rows']} times"
