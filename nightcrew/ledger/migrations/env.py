"""Alembic's door: runs migrations on the connection that :mod:`nightcrew.ledger.migrate` opened."""

from alembic import context

from nightcrew.ledger.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
