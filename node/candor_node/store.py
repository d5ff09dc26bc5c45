"""The node's one writer: transactions on an encrypted database, one at a time, on one thread.

Rules of this file:
- one process holds the database (`<file>.lock`), one thread of it the connection;
- a piece of work is one transaction: all of it is on the disk when `run` returns, none of it when it raises.
  The one exception is a COMMIT that fails, of which nobody knows (RELIABILITY.md §7.5): the connection is
  thrown away, the error says so, and the caller looks its id up;
- errors of the database library are mapped here, once; IntegrityError passes, for callers act on it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from candor_node.driver import (
    Database,
    DatabaseError,
    IntegrityError,
    Migrations,
    OperationalError,
    Table,
    explain,
    open_database,
)
from candor_node.migrations import records_migrations
from candor_proto.errors import AlreadyExists, CandorError, StoreUnusable

__all__ = [
    "Database",
    "IntegrityError",
    "Migrations",
    "OperationalError",
    "Store",
    "Table",
    "Work",
]

T = TypeVar("T")
Work = Callable[[Database], T]

ALL_MIGRATIONS: tuple[Migrations, ...] = (records_migrations,)


class Store:
    """An open database. Made by `create` or `open`; any thread may call `run_sync`.

    `_database` and `_stale` belong to the writer thread.
    """

    def __init__(self, path: Path, key: bytes, lock: int) -> None:
        self.path = path
        self._key = key
        self._lock: int | None = lock
        self._database: Database | None = None
        self._stale = False
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="candor-store")
        self._writer = self._pool.submit(threading.get_ident).result()

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    @classmethod
    def create(cls, path: Path, key: bytes, migrations: Sequence[Migrations] = ALL_MIGRATIONS) -> Store:
        """A new database, readable for its owner only. Raises AlreadyExists or StoreUnusable."""
        lock = _take_lock(path)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            os.close(lock)
            raise AlreadyExists(
                f"There is a database at {path} already.", remedy="It was left as it is."
            ) from None
        except OSError as error:
            os.close(lock)
            raise _unusable(path, error) from None
        try:
            return cls._start(path, key, lock, migrations)
        except BaseException:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
            raise

    @classmethod
    def open(cls, path: Path, key: bytes, migrations: Sequence[Migrations] = ALL_MIGRATIONS) -> Store:
        """An existing database, brought up to this build's schema.

        Raises StoreUnusable: none there, wrong key, damaged, held by another process, newer than this build.
        """
        if path.parent.is_dir() and not path.is_file():
            raise StoreUnusable(f"There is no database at {path}.", remedy="Run `candor-node init` first.")
        return cls._start(path, key, _take_lock(path), migrations)

    @classmethod
    def _start(cls, path: Path, key: bytes, lock: int, migrations: Sequence[Migrations]) -> Store:
        store = cls(path, key, lock)
        try:
            store._pool.submit(store._prepare, tuple(migrations)).result()
        except BaseException:
            store.close()
            raise
        return store

    def run_sync(self, work: Work[T]) -> T:
        """Run `work` as one transaction and return what it returns; blocks until it is on the disk.

        Whatever `work` raises undoes all of it. Raises StoreUnusable for errors of disk and database.
        """
        if threading.get_ident() == self._writer:
            raise AssertionError("a transaction cannot wait for another one: call the function instead")
        return self._running().submit(self._transaction, work).result()

    async def run(self, work: Work[T]) -> T:
        """`run_sync` for the event loop. A cancelled caller does not stop work that has begun."""
        return await asyncio.get_running_loop().run_in_executor(self._running(), self._transaction, work)

    def checkpoint(self) -> None:
        """Write the log back into the database and cut it to nothing, so that what was destroyed is gone."""
        self._running().submit(self._checkpoint).result()

    def close(self) -> None:
        """Close connection and lock; a second call does nothing. Waits for work that has begun."""
        if self._lock is None:
            return
        self._pool.submit(self._disconnect).result()
        self._pool.shutdown()
        os.close(self._lock)
        self._lock = None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _running(self) -> ThreadPoolExecutor:
        if self._lock is None:
            raise StoreUnusable(f"The database {self.path} was closed.")
        return self._pool

    # --- on the writer thread ------------------------------------------------------------------------

    def _connected(self) -> Database:
        if self._stale:
            self._disconnect()
        if self._database is None:
            self._database = open_database(self.path, self._key)
        return self._database

    def _disconnect(self) -> None:
        database, self._database, self._stale = self._database, None, False
        if database is not None:
            database.conn.close()

    def _prepare(self, migrations: Sequence[Migrations]) -> None:
        try:
            database = self._connected()
            damage = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if damage != "ok":
                raise StoreUnusable(
                    f"The database {self.path} is damaged.",
                    remedy="Stop candor-node and restore the last backup.",
                )
            for known in migrations:
                _refuse_newer(database, known, self.path)
                known.apply(database)
        except (DatabaseError, MemoryError) as error:
            raise explain(error, self.path) from None

    def _transaction(self, work: Work[T]) -> T:
        try:
            database = self._connected()
            database.conn.execute("BEGIN IMMEDIATE")
            result = work(database)
            if not database.conn.in_transaction:
                # A full disk ends the transaction by itself; `work` swallowed the error that said so.
                raise StoreUnusable(f"A transaction on {self.path} was undone; nothing of it was stored.")
        except IntegrityError:
            self._roll_back()
            raise
        except (DatabaseError, MemoryError) as error:
            self._roll_back()
            # SQLCipher keeps an error of its own for good: after one allocation that failed, a connection
            # calls a sound database damaged. What a new one says is true.
            self._stale = True
            raise explain(error, self.path) from None
        except BaseException:
            self._roll_back()
            raise
        try:
            database.conn.execute("COMMIT")
        except (DatabaseError, MemoryError) as error:
            self._roll_back()
            if isinstance(error, IntegrityError):  # a deferred constraint: nothing was committed
                raise
            # After a failed fsync the pages in memory prove nothing: read what the disk holds.
            self._stale = True
            raise StoreUnusable(
                f"{explain(error, self.path).message} Whether the last step was stored is not known.",
                remedy="Repeat it under the same id: what was stored is not done twice.",
            ) from None
        return result

    def _roll_back(self) -> None:
        if self._database is not None and self._database.conn.in_transaction:
            try:
                self._database.conn.execute("ROLLBACK")
            except (DatabaseError, MemoryError):
                self._stale = True

    def _checkpoint(self) -> None:
        try:
            self._connected().conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except (DatabaseError, MemoryError) as error:
            self._stale = True
            raise explain(error, self.path) from None


def _refuse_newer(database: Database, migrations: Migrations, path: Path) -> None:
    """A schema that this build does not know might be read wrongly and written worse (RELIABILITY.md §7)."""
    known = {migration.name for migration in migrations._migrations}
    if any(applied.name not in known for applied in migrations.applied(database)):
        raise StoreUnusable(
            f"The database {path} was written by a newer version of candor-node.",
            remedy="Install that version again, or restore the backup from before the upgrade.",
        )


def _take_lock(path: Path) -> int:
    """The lock beside the database as an open file, freed by the kernel when the process ends."""
    lock_path = Path(f"{path}.lock")
    try:
        lock = os.open(lock_path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise StoreUnusable(
            f"candor-node run already has this database open ({path}).",
            remedy="Use the commands while it runs, they talk to it; or stop it first.",
        ) from None
    except OSError as error:
        os.close(lock)
        raise _unusable(path, error) from None
    return lock


def _unusable(path: Path, error: OSError) -> CandorError:
    if not path.parent.is_dir():
        return StoreUnusable(
            f"The folder {path.parent} does not exist.", remedy="Check the data folder in the configuration."
        )
    return StoreUnusable(
        f"{path.parent} cannot be written: {error.strerror}.",
        remedy="Check disk space and that the folder belongs to the user that runs candor-node.",
    )
