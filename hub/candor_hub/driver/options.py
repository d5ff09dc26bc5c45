"""Options of an engine that the two databases read, each in its way."""

from __future__ import annotations

# Transactions begin with the lock that one writer has at a time.
WRITES = "candor_writes"
# Foreign keys are checked at the end, by the migration itself (SQLite; on PostgreSQL they hold meanwhile).
FOREIGN_KEYS_OFF = "candor_foreign_keys_off"
# How a URL of a PostgreSQL database begins.
POSTGRESQL_SCHEMES = ("postgresql", "postgres", "postgresql+psycopg")
# The `postgresql.Server` of an engine.
SERVER = "candor_server"
