"""What Alembic runs: the revisions that are missing, on the connection and in the transaction of `migrations.migrate`."""

from alembic import context

from warehouse.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # also on SQLite: the transaction is begun by name there
)
with context.begin_transaction():
    context.run_migrations()
