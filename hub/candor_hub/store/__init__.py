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
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from candor_hub.driver import (
    FAILURES,
    Connection,
    DBAPIError,
    Engine,
    changes_of,
    discard,
    explain,
    is_embedded,
    open_engine,
    reading,
    server_of,
    soundness,
    writing,
)
from candor_hub.driver.soundness import Replication
from candor_hub.driver.sqlite import copy_file
from candor_hub.migrations import check_schema, migrate, present_schema
from candor_hub.store.authorities import Authorities
from candor_hub.store.certificates import Certificates
from candor_hub.store.directories import Directories
from candor_hub.store.enrolments import Enrolments
from candor_hub.store.envelopes import Envelopes
from candor_hub.store.facts import FEDERATION, MOVED, MOVING, Facts
from candor_hub.store.fence import Fence
from candor_hub.store.group import GroupWriter
from candor_hub.store.log import Log
from candor_hub.store.log_states import LogStates
from candor_hub.store.logged import Logged
from candor_hub.store.mailbox import Mailbox
from candor_hub.store.members import Members
from candor_hub.store.notices import Notices
from candor_hub.store.objects import Objects
from candor_hub.store.quotas import Quotas
from candor_hub.store.replicas import Replicas
from candor_hub.store.rounds import LogRounds
from candor_hub.store.secrets import Secrets
from candor_hub.store.segments import Segments
from candor_hub.store.standing import Standing
from candor_proto.errors import AlreadyExists, StoreUnusable

if TYPE_CHECKING:
    from candor_hub.driver.postgresql import Server

__all__ = ["Mark", "Store", "Transaction", "Transactions"]

# Of what is committed: comparable with another one of the same process (`Store.mark`).
Mark = tuple[int, int]


@dataclass(frozen=True)
class Transaction:
    """The tables, as one transaction sees them."""

    facts: Facts
    members: Members
    certificates: Certificates
    authorities: Authorities
    enrolments: Enrolments
    directories: Directories
    segments: Segments
    envelopes: Envelopes
    mailbox: Mailbox
    quotas: Quotas
    log: Log
    logged: Logged
    log_states: LogStates
    standing: Standing
    fence: Fence
    rounds: LogRounds
    replicas: Replicas
    notices: Notices
    objects: Objects
    secrets: Secrets

    @classmethod
    def over(cls, connection: Connection) -> Transaction:
        return cls(
            Facts(connection),
            Members(connection),
            Certificates(connection),
            Authorities(connection),
            Enrolments(connection),
            Directories(connection),
            Segments(connection),
            Envelopes(connection),
            Mailbox(connection),
            Quotas(connection),
            Log(connection),
            Logged(connection),
            LogStates(connection),
            Standing(connection),
            Fence(connection),
            LogRounds(connection),
            Replicas(connection),
            Notices(connection),
            Objects(connection),
            Secrets(connection),
        )


class Transactions(Protocol):
    """Where transactions come from: a Store, or one that is fenced (`tlog.fenced`)."""

    def read(self) -> AbstractContextManager[Transaction]: ...

    def write(self) -> AbstractContextManager[Transaction]: ...


class Store:
    """The hub's database. Safe to use from several threads; writers of this process take turns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = reading(engine)
        # One writer at a time: bodies of this process take turns here, which is fair and does not spin.
        self._group = GroupWriter(writing(engine))
        self._changes = changes_of(engine)

    @classmethod
    def create(
        cls, url: str, key: bytes, federation: str, *, password: Callable[[], str | None] = lambda: None
    ) -> Store:
        """A new database, finished; raises AlreadyExists, StoreUnusable."""
        store = cls.begin(url, key, password=password)
        store.finish(federation)
        return store

    @classmethod
    def begin(
        cls,
        url: str,
        key: bytes,
        *,
        password: Callable[[], str | None] = lambda: None,
        again: bool = True,
    ) -> Store:
        """A new database: a file, or the tables in a database of a server. `open` refuses it until `finish`.

        What an interrupted beginning has left in it goes; what an interrupted move has, only if `again`.
        Raises AlreadyExists, StoreUnusable.
        """
        engine = open_engine(url, key, create=True, password=password)
        try:
            migrate(engine)
            store = cls(engine)
            with store.write() as tx:
                _check_free(tx.facts, again)
                tx.facts.clear_database()
        except BaseException:
            engine.dispose()
            raise
        return store

    @classmethod
    def look_at(cls, url: str, *, password: Callable[[], str | None], again: bool) -> None:
        """Raises what `begin` would, and changes nothing."""
        engine = open_engine(url, b"", password=password)
        try:
            with reading(engine).begin() as connection:
                if present_schema(connection):
                    _check_free(Facts(connection), again)
        except FAILURES as error:
            raise explain(error, engine) from error
        finally:
            engine.dispose()

    @classmethod
    def holds_hub(cls, url: str, *, password: Callable[[], str | None]) -> bool:
        """Whether a finished hub is there, of whatever federation; raises StoreUnusable."""
        engine = open_engine(url, b"", password=password)
        try:
            with reading(engine).begin() as connection:
                return bool(present_schema(connection)) and Facts(connection).get(FEDERATION) is not None
        except FAILURES as error:
            raise explain(error, engine) from error
        finally:
            engine.dispose()

    def finish(self, federation: str) -> None:
        """From now on it is the database of this federation; raises StoreUnusable."""
        with self.write() as tx:
            tx.facts.put(MOVING, None)
            tx.facts.put(FEDERATION, federation)

    @classmethod
    def open(
        cls,
        url: str,
        key: bytes,
        federation: str,
        *,
        upgrade: bool = False,
        password: Callable[[], str | None] = lambda: None,
        moved: bool = False,
    ) -> Store:
        """The database of `federation`, with `moved` also one that has moved; raises StoreUnusable."""
        engine = open_engine(url, key, password=password)
        try:
            if upgrade:
                migrate(engine)
            check_schema(engine)
            store = cls(engine)
            store._check_federation(federation, moved)
        except BaseException:
            engine.dispose()
            raise
        return store

    def _check_federation(self, federation: str, moved: bool) -> None:
        with self.read() as tx:
            found, elsewhere = tx.facts.get(FEDERATION), tx.facts.get(MOVED)
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
        if elsewhere is not None and not moved:
            raise StoreUnusable(
                f"This hub has moved to {elsewhere}. A log that goes on in two places is a fork.",
                remedy="Start it with that `database_url`. If the move was interrupted at its very end and "
                "the other database is not finished, `candor-hub migrate-store --again` finishes it.",
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

    def mark(self) -> Mark | None:
        """A mark of what is committed now: while it is the same, reading again would find the same.

        It costs a hundredth of a transaction. None: at a server, which whoever wants to know has to ask.
        Raises StoreUnusable.
        """
        if self._changes is None:
            return None
        try:
            return self._changes.mark()
        except FAILURES as error:
            raise explain(error, self._engine) from error

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

    def damage(self, octets: int = 0, *, deep: bool = False) -> str | None:
        """What the database's own check finds: "" if all is whole, None if there was no time to see.

        A server checks its pages itself. Raises StoreUnusable.
        """
        if not is_embedded(self._engine):
            return ""
        with self._begin(self._reading) as connection:
            return soundness.damage(connection, octets, deep=deep)

    def check(self) -> None:
        """Raises StoreUnusable when the database's own check finds damage."""
        if self.damage():
            raise StoreUnusable(
                "The database is damaged.", remedy="Stop candor-hub and restore the last backup."
            )

    def copy_to(self, target: Path) -> None:
        """A copy of an embedded database as of one moment, under the same key, in the new file `target`.

        Raises StoreUnusable.
        """
        try:
            with self._engine.connect() as connection:
                copy_file(connection, target)
        except (DBAPIError, MemoryError) as error:
            raise explain(error, self._engine) from error

    def replication(self) -> Replication | None:
        """How a server's standbys are; None for an embedded database. Raises StoreUnusable."""
        if is_embedded(self._engine):
            return None
        with self._begin(self._reading) as connection:
            return soundness.replication(connection)

    def unguarded(self) -> str:
        """How the connections to a server could be listened to or led elsewhere; empty if they could not.

        Raises StoreUnusable.
        """
        if is_embedded(self._engine):
            return ""
        with self._begin(self._reading) as connection:
            return soundness.unguarded(connection)

    def close(self) -> None:
        if self._changes is not None:
            self._changes.close()
        self._engine.dispose()


def _check_free(facts: Facts, again: bool) -> None:
    if facts.get(FEDERATION) is not None:
        raise AlreadyExists(
            "The database holds a hub already.",
            remedy="Name an empty one, or use `candor-hub run` with its settings.",
        )
    since = facts.get(MOVING)
    if since is not None and not again:
        raise StoreUnusable(
            f"The database holds what a move that began at {since} has left.",
            remedy="Begin anew over it with --again, unless that move is still under way.",
        )
