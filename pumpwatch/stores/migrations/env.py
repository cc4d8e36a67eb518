"""Alembic's entry: runs the revisions on the connection that `stores.ledger` hands in."""

from alembic import context

from pumpwatch.stores.tables import metadata

connection = context.config.attributes["connection"]
# batch mode: SQLite cannot alter most of a table in place
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
