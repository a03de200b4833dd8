"""What Alembic runs: the steps, in the transaction and under the lock of whoever called (`sinks.records.migrating`)."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
)
with context.begin_transaction():
    context.run_migrations()
