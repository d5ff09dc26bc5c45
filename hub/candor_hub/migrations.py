"""Brings a database to the schema of this program; raises StoreUnusable for one that is newer.

Rules of this file:
- steps are numbered, run once each and in order, and are never changed once released;
- all steps of one start are one transaction, so that a crash leaves the old schema;
- there is no way back: `candor-hub backup` comes first.
"""

from __future__ import annotations

from collections.abc import Callable

from candor_hub.driver import Connection, DBAPIError, Engine, explain, sa, writing
from candor_hub.tables import LOG_TABLES, REPLICA_TABLES, envelopes, mailbox, meta, metadata, renewals
from candor_proto.errors import StoreUnusable

_SCHEMA = "schema"


def _first_schema(connection: Connection) -> None:
    metadata.create_all(connection)


def _renewals(connection: Connection) -> None:
    """Which request each renewed certificate answered."""
    renewals.create(connection, checkfirst=True)


def _senders_in_the_mailbox(connection: Connection) -> None:
    """Deliveries say who sent them and when they expire; what was waiting keeps its place."""
    if "sender" in {column["name"] for column in sa.inspect(connection).get_columns("mailbox")}:
        return  # a new database: the first step made the tables of today
    # Not by a new table: with the old one SQLite would forget which delivery ids were given.
    connection.execute(sa.text("ALTER TABLE mailbox ADD COLUMN sender TEXT NOT NULL DEFAULT ''"))
    connection.execute(sa.text("ALTER TABLE mailbox ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0"))
    own = envelopes.c.number == mailbox.c.envelope
    connection.execute(
        sa.update(mailbox).values(
            sender=sa.select(envelopes.c.sender).where(own).scalar_subquery(),
            expires_at=sa.select(envelopes.c.expires_at).where(own).scalar_subquery(),
        )
    )
    connection.execute(sa.text("DROP INDEX mailbox_by_recipient"))
    next(index for index in mailbox.indexes if index.name == "mailbox_by_recipient").create(connection)


def _log(connection: Connection) -> None:
    """The transparency log; the ledger that it was to be made of named nobody else's statements, and goes."""
    metadata.create_all(connection, tables=LOG_TABLES, checkfirst=True)
    connection.execute(sa.text("DROP TABLE IF EXISTS ledger"))


def _replicas(connection: Connection) -> None:
    """Several processes on one database."""
    metadata.create_all(connection, tables=REPLICA_TABLES, checkfirst=True)


STEPS: tuple[Callable[[Connection], None], ...] = (
    _first_schema,
    _renewals,
    _senders_in_the_mailbox,
    _log,
    _replicas,
)


def schema_version(connection: Connection) -> int:
    """How many steps this database has seen; 0 for an empty one."""
    if not sa.inspect(connection).has_table("meta"):
        return 0
    value = connection.execute(sa.select(meta.c.value).where(meta.c.name == _SCHEMA)).scalar()
    return int(value or 0)


def migrate(engine: Engine) -> int:
    """Apply what is missing; the number of steps taken. Raises StoreUnusable."""
    try:
        with writing(engine).begin() as connection:
            done = schema_version(connection)
            _refuse_newer(done)
            for step in STEPS[done:]:
                step(connection)
            if done < len(STEPS):
                connection.execute(sa.delete(meta).where(meta.c.name == _SCHEMA))
                connection.execute(sa.insert(meta).values(name=_SCHEMA, value=str(len(STEPS))))
            return len(STEPS) - done
    except DBAPIError as error:
        raise explain(error, engine) from None


def check_schema(engine: Engine) -> None:
    """Raises StoreUnusable unless the database has exactly this program's schema."""
    try:
        with engine.begin() as connection:
            done = schema_version(connection)
    except DBAPIError as error:
        raise explain(error, engine) from None
    _refuse_newer(done)
    if done < len(STEPS):
        raise StoreUnusable(
            f"The database has schema {done}, this program needs {len(STEPS)}.",
            remedy="Start `candor-hub run` once; it brings the database up to date.",
        )


def _refuse_newer(done: int) -> None:
    if done > len(STEPS):
        raise StoreUnusable(
            f"The database was written by a newer version (schema {done}, this program knows {len(STEPS)}).",
            remedy="Install the newer version again, or restore the backup made before it.",
        )
