"""What an export's login may do in a foreign database, asked before anything is done, and the grant for what it may not.

Each question is a statement that is only explained, or one that cannot succeed: its refusal says whether a right is
missing, and nothing is changed. So the database answers for itself, with its roles, wildcards and grants on columns.
"""

import secrets

import sqlalchemy as sa

from ingestion.targets import Target
from warehouse.connections import Database
from warehouse.databases import is_denied
from warehouse.errors import PlatformError

OF_MODE = {
    "replace": ("select", "insert", "delete"),
    "insert": ("select", "insert"),
    "update": ("select", "update"),
    "upsert": ("select", "insert", "update"),
}
OF_MARKS = ("select", "insert", "update", "delete")  # `update` is what PostgreSQL wants for holding a row


class Rights:
    """The rights of one session's login, for one target; what is asked leaves no transaction open."""

    def __init__(self, connection: sa.Connection, target: Target, base: Database):
        self.connection, self.target, self.base = connection, target, base
        self.quoted = connection.dialect.identifier_preparer
        self.is_mysql = connection.dialect.name in ("mysql", "mariadb")
        name = connection.scalar(sa.text("select current_user" + ("()" if self.is_mysql else "")))
        user, _, host = name.rpartition("@")
        self.login = f"'{user}'@'{host}'" if self.is_mysql else self.quoted.quote(name)
        connection.rollback()

    def ask(self, table: sa.TableClause, marks: sa.Table, is_there: bool, marks_are_there: bool) -> bool:
        """Whether rows can be staged in temporary tables only; `is_there`: as far as the login may see.

        Raises PlatformError with a sentence for each right that is missing.
        """
        if not self.may_use(table.schema):
            raise PlatformError(self.on_schema("usage", table.schema, f"where {table.name} is"))
        said = self._about_table(table, is_there)
        lacks = self.lacking(marks, OF_MARKS, ["digest"])
        if not marks_are_there and (lacks or not self.may_create(marks.schema, marks.name)):
            said.append(self.on_marks(marks))
        elif lacks:
            said.append(self.on_table(marks, lacks))
        is_temporary = not self.may_stage(table.schema)
        if is_temporary and not self.may_create(None, "mdp_in"):
            said.append(self.on_temporary(self.connection.engine.url.database))
        if said:
            raise PlatformError("\n".join(said))
        return is_temporary

    def _about_table(self, table: sa.TableClause, is_there: bool) -> list[str]:
        mode = self.target.mode
        lacks, note = self.lacking(table, OF_MODE[mode], self.target.values), ""
        if self.is_mysql and not is_there and lacks:
            note = " (if there is such a table)"  # MariaDB does not tell who may not see a table that it is missing
        if mode == "replace" and not is_there and not self.may_create(table.schema, table.name):
            if self.is_mysql:
                lacks = ["create", *lacks]
                note = ", which is missing or hidden (create only if mode replace has to make it)"
            elif not lacks:
                return [self.on_schema("create", table.schema, f"where mode replace would make {table.name}")]
        return [self.on_table(table, lacks, note)] if lacks else []

    def lacking(self, table: sa.FromClause, rights: tuple[str, ...], changed: list[str]) -> list[str]:
        """Those of `rights` that the login lacks on the table's columns (`changed`: those that an update names).

        A table that is missing lacks none, but on MariaDB to a login that may not know that it is missing.
        """
        table = sa.table(table.name, *[sa.column(c.name) for c in table.c], schema=table.schema)  # no keys to return
        nulls = {column.name: sa.null() for column in table.c}
        statements = {
            "select": sa.select(*table.c),
            "insert": table.insert().values(nulls),
            "update": table.update().values({name: sa.null() for name in changed}),
            "delete": table.delete(),
        }
        return [right for right in rights if not self._may(f"explain {statements[right].compile(self.connection)}")]

    def may_use(self, schema: str) -> bool:
        """Whether the login reaches what is in the schema, which PostgreSQL grants by itself."""
        if self.is_mysql:
            return True
        query = sa.text("select has_schema_privilege(oid, 'usage') from pg_namespace where nspname = :schema")
        return self.connection.scalar(query, {"schema": schema}) is not False

    def may_create(self, schema: str | None, name: str) -> bool:
        """Whether the login may make a table of this name; without a schema, a temporary one."""
        kind = "table" if schema else "temporary table"
        table = self.quoted.format_table(sa.table(name, schema=schema))
        return self._may(f"create {kind} {table} (twice int, twice int)")

    def may_stage(self, schema: str) -> bool:
        """Whether the login may make, use and drop tables there: on MariaDB a table is not its maker's."""
        name = f"mdp_in_{secrets.token_hex(4)}"
        table = sa.table(name, sa.column("n"), schema=schema)
        return (
            self.may_create(schema, name)
            and not self.lacking(table, OF_MARKS, ["n"])
            and self._may(f"drop table if exists {self.quoted.format_table(table)}")
        )

    def _may(self, statement: str) -> bool:
        try:
            self.connection.exec_driver_sql(statement)
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            return not is_denied(error)
        finally:
            self.connection.rollback()
        return True

    # -- sentences ----------------------------------------------------------------------------------------------------

    def sentence(self, rights: str, what: str, statement: str) -> str:
        """That these rights are missing on `what`, and what grants them."""
        return (
            f"export {self.target.name}: login {self.login} of {self.base.address} lacks {rights} on {what}; nothing "
            f"was changed; its administrator has to run: {statement}"
        )

    def on_table(self, table: sa.TableClause, rights: list[str], note: str = "") -> str:
        what = f"table {self.quoted.format_table(table)}{note}"
        return self.sentence(", ".join(rights), what, self.grant(rights, table))

    def on_schema(self, right: str, schema: str, why: str) -> str:
        """`right` is usage or create; on MariaDB a schema is a database."""
        named = self.quoted.quote(schema)
        place = f"{named}.*" if self.is_mysql else f"schema {named}"
        return self.sentence(right, f"{place}, {why}", f"grant {right} on {place} to {self.login}")

    def on_marks(self, marks: sa.Table) -> str:
        """What an administrator does beforehand, for a login that cannot make the table of marks itself."""
        made = " ".join(str(sa.schema.CreateTable(marks, if_not_exists=True).compile(self.connection)).split())
        what = f"{self.quoted.quote(marks.schema)} to make {marks.name}, without which nobody knows what was exported"
        return self.sentence("create", what, f"{made}; {self.grant(OF_MARKS, marks)}")

    def on_temporary(self, database: str) -> str:
        named = self.quoted.quote(database)
        right, place = (
            ("create temporary tables", f"{named}.*") if self.is_mysql else ("temporary", f"database {named}")
        )
        return self.sentence(right, f"{place}, where rows are staged", f"grant {right} on {place} to {self.login}")

    def grant(self, rights, table: sa.TableClause) -> str:
        return f"grant {', '.join(rights)} on {self.quoted.format_table(table)} to {self.login}"
