"""What Alembic runs for `command.upgrade`: the steps, in the transaction that `migrate` has begun."""

from __future__ import annotations

from alembic import context

from candor_hub.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes few things of a table that is there: Alembic makes it anew and copies.
    render_as_batch=True,
)
context.run_migrations()
