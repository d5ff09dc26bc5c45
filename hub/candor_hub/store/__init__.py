"""All that the hub remembers, behind one seam: transactions with one table group for each noun.

    with store.write() as tx:
        tx.quotas.spend(asker, hour, wanted)
        tx.mailbox.accept(...)

Rules of this package:
- SQL stands here and nowhere else; what is read comes out as values, not as rows;
- what a `write()` did is on the disk when it ends without an exception; an exception undoes all of it, and
  nothing of another (several share a transaction: `store.group`);
- calls block: on the event loop they go through `asyncio.to_thread`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from candor_hub.driver import (
    FAILURES,
    Connection,
    DBAPIError,
    Engine,
    Server,
    discard,
    explain,
    is_embedded,
    open_engine,
    reading,
    server_of,
    writing,
)
from candor_hub.migrations import check_schema, migrate
from candor_hub.store.certificates import Certificates
from candor_hub.store.directories import Directories
from candor_hub.store.enrolments import Enrolments
from candor_hub.store.envelopes import Envelopes
from candor_hub.store.facts import Facts
from candor_hub.store.group import GroupWriter
from candor_hub.store.log import Log
from candor_hub.store.log_states import LogStates
from candor_hub.store.logged import Logged
from candor_hub.store.mailbox import Mailbox
from candor_hub.store.members import Members
from candor_hub.store.objects import Objects
from candor_hub.store.quotas import Quotas
from candor_hub.store.segments import Segments
from candor_proto.errors import AlreadyExists, StoreUnusable

__all__ = ["Store", "Transaction"]

FEDERATION = "federation"


@dataclass(frozen=True)
class Transaction:
    """The tables, as one transaction sees them."""

    facts: Facts
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
    objects: Objects

    @classmethod
    def over(cls, connection: Connection) -> Transaction:
        return cls(
            Facts(connection),
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
            Objects(connection),
        )


class Store:
    """The hub's database. Safe to use from several threads; writers of this process take turns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = reading(engine)
        # One writer at a time: bodies of this process take turns here, which is fair and does not spin.
        self._group = GroupWriter(writing(engine))

    @classmethod
    def create(
        cls, url: str, key: bytes, federation: str, *, password: Callable[[], str | None] = lambda: None
    ) -> Store:
        """A new database: a file, or the tables in an empty database of a server.

        Raises AlreadyExists, StoreUnusable.
        """
        engine = open_engine(url, key, create=True, password=password)
        try:
            migrate(engine)
            store = cls(engine)
            with store.write() as tx:
                if tx.facts.get(FEDERATION) is not None:
                    raise AlreadyExists(
                        "The database holds a hub already.",
                        remedy="Name an empty one, or use `candor-hub run` with its settings.",
                    )
                tx.facts.put(FEDERATION, federation)
        except BaseException:
            engine.dispose()
            raise
        return store

    @classmethod
    def open(
        cls,
        url: str,
        key: bytes,
        federation: str,
        *,
        upgrade: bool = False,
        password: Callable[[], str | None] = lambda: None,
    ) -> Store:
        """The database of `federation`; raises StoreUnusable."""
        engine = open_engine(url, key, password=password)
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
        with self.read() as tx:
            found = tx.facts.get(FEDERATION)
        if found is None:
            raise StoreUnusable(
                "The database holds no hub: it was begun, and not finished.",
                remedy="Run `candor-hub init` or `candor-hub migrate-store` again.",
            )
        if found != federation:
            raise StoreUnusable(
                f"The database belongs to the federation {found}, the configuration says {federation}.",
                remedy="Use the configuration that `candor-hub init` wrote beside this database.",
            )

    @property
    def server(self) -> Server | None:
        """How to open further sessions; None for an embedded database, which one process has for itself."""
        return server_of(self._engine)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """One consistent view of everything; raises StoreUnusable."""
        with self._begin(self._reading) as connection:
            yield Transaction.over(connection)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Durable at its end; any exception undoes all of it. Raises StoreUnusable; not to be nested."""
        with self._group.write() as connection:
            yield Transaction.over(connection)

    @property
    def commits(self) -> int:
        """How many groups this process has committed, each with one fsync."""
        return self._group.commits

    @contextmanager
    def _begin(self, engine: Engine) -> Iterator[Connection]:
        try:
            with engine.connect() as connection:
                try:
                    with connection.begin():
                        yield connection
                except (DBAPIError, MemoryError) as error:
                    # SQLCipher keeps an error of its own until the connection ends.
                    discard(connection, error)
                    raise
        except FAILURES as error:
            raise explain(error, self._engine) from error

    def check(self) -> None:
        """Raises StoreUnusable when the database's own check finds damage."""
        if not is_embedded(self._engine):
            return
        with self._begin(self._reading) as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise StoreUnusable(
                "The database is damaged.", remedy="Stop candor-hub and restore the last backup."
            )

    def close(self) -> None:
        self._engine.dispose()
