"""All that the hub remembers, behind one seam: transactions with one table group for each noun.

    with store.write() as tx:
        tx.quotas.spend(asker, hour, wanted)
        tx.mailbox.accept(...)

Rules of this package:
- SQL stands here and nowhere else; what is read comes out as values, not as rows;
- what a `write()` did is on the disk when it ends without an exception; an exception undoes all of it, and
  nothing of another (on SQLite several share a transaction: `store.group`);
- calls block: on the event loop they go through `asyncio.to_thread`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from candor_hub.driver import Connection, DBAPIError, Engine, explain, open_engine, sa, writing
from candor_hub.migrations import check_schema, migrate
from candor_hub.store.certificates import Certificates
from candor_hub.store.directories import Directories
from candor_hub.store.enrolments import Enrolments
from candor_hub.store.envelopes import Envelopes
from candor_hub.store.fence import Fence
from candor_hub.store.group import GroupWriter
from candor_hub.store.log import Log
from candor_hub.store.log_states import LogStates
from candor_hub.store.logged import Logged
from candor_hub.store.mailbox import Mailbox
from candor_hub.store.members import Members
from candor_hub.store.notices import Notices
from candor_hub.store.quotas import Quotas
from candor_hub.store.replicas import Replicas
from candor_hub.store.rounds import LogRounds
from candor_hub.store.segments import Segments
from candor_hub.tables import meta
from candor_proto.errors import StoreUnusable

__all__ = ["Store", "Transaction", "Transactions"]

_FEDERATION = "federation"


@dataclass(frozen=True)
class Transaction:
    """The tables, as one transaction sees them."""

    members: Members
    certificates: Certificates
    enrolments: Enrolments
    directories: Directories
    segments: Segments
    envelopes: Envelopes
    mailbox: Mailbox
    quotas: Quotas
    log: Log
    logged: Logged
    log_states: LogStates
    fence: Fence
    rounds: LogRounds
    replicas: Replicas
    notices: Notices

    @classmethod
    def over(cls, connection: Connection) -> Transaction:
        return cls(
            Members(connection),
            Certificates(connection),
            Enrolments(connection),
            Directories(connection),
            Segments(connection),
            Envelopes(connection),
            Mailbox(connection),
            Quotas(connection),
            Log(connection),
            Logged(connection),
            LogStates(connection),
            Fence(connection),
            LogRounds(connection),
            Replicas(connection),
            Notices(connection),
        )


class Transactions(Protocol):
    """Where transactions come from: a Store, or one that is fenced (`tlog.fenced`)."""

    def read(self) -> AbstractContextManager[Transaction]: ...

    def write(self) -> AbstractContextManager[Transaction]: ...


class Store:
    """The hub's database. Safe to use from several threads; writers of this process take turns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.server: object | None = None
        self._writing = writing(engine)
        # SQLite has one writer at a time: bodies take turns here, which is fair and does not spin, unlike its
        # busy handler. PostgreSQL has many, and groups commits by itself.
        self._group = GroupWriter(self._writing) if engine.dialect.name == "sqlite" else None

    @classmethod
    def create(cls, url: str, key: bytes, federation: str) -> Store:
        """A new database; raises StoreUnusable."""
        engine = open_engine(url, key, create=True)
        migrate(engine)
        store = cls(engine)
        with store._begin(store._writing) as connection:
            connection.execute(sa.insert(meta).values(name=_FEDERATION, value=federation))
        return store

    @classmethod
    def open(cls, url: str, key: bytes, federation: str, *, upgrade: bool = False) -> Store:
        """The database of `federation`; raises StoreUnusable."""
        engine = open_engine(url, key)
        try:
            if upgrade:
                migrate(engine)
            check_schema(engine)
            store = cls(engine)
            store._check_federation(federation)
        except BaseException:
            engine.dispose()
            raise
        return store

    def _check_federation(self, federation: str) -> None:
        with self._begin(self._engine) as connection:
            found = connection.execute(sa.select(meta.c.value).where(meta.c.name == _FEDERATION)).scalar()
        if found != federation:
            raise StoreUnusable(
                f"The database belongs to the federation {found}, the configuration says {federation}.",
                remedy="Use the configuration that `candor-hub init` wrote beside this database.",
            )

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """One consistent view of everything; raises StoreUnusable."""
        with self._begin(self._engine) as connection:
            yield Transaction.over(connection)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Durable at its end; any exception undoes all of it. Raises StoreUnusable; not to be nested."""
        with self._group.write() if self._group else self._begin(self._writing) as connection:
            yield Transaction.over(connection)

    @property
    def commits(self) -> int:
        """How many groups this process has committed, each with one fsync."""
        return self._group.commits if self._group else 0

    @contextmanager
    def _begin(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.connect() as connection:
                try:
                    with connection.begin():
                        yield connection
                except (DBAPIError, MemoryError):
                    # After an error of the disk, of COMMIT above all, nothing that this connection remembers
                    # is to be trusted; and SQLCipher keeps an error of its own until the connection ends.
                    connection.invalidate()
                    raise
        except (DBAPIError, MemoryError) as error:
            raise explain(error, self._engine) from error

    def check(self) -> None:
        """Raises StoreUnusable when the database's own check finds damage."""
        if self._engine.dialect.name != "sqlite":
            return
        with self._begin(self._engine) as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise StoreUnusable(
                "The database is damaged.", remedy="Stop candor-hub and restore the last backup."
            )

    def close(self) -> None:
        self._engine.dispose()
