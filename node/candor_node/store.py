"""The node's one writer: transactions on an encrypted database, one at a time, on one thread.

Rules of this file:
- one process holds the database (`<file>.lock`), one thread of it the connection;
- a piece of work is one unit: all of it is on the disk when `run` returns, none of it when it raises. What
  waits while another commit is under way shares the next one (group commit: an fsync costs more than the
  work), each piece in a savepoint of its own. The one exception is a COMMIT that fails, of which nobody knows
  (RELIABILITY.md §7.5): the connection is thrown away, the error says so to everybody who shared it, and the
  caller looks its id up;
- errors of the database library are mapped here, once; IntegrityError passes, for callers act on it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from candor_node import schema
from candor_node.driver import (
    BUSY_TIMEOUT_MILLISECONDS,
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
from candor_node.subject_migrations import subject_migrations
from candor_node.tlog.migrations import tlog_migrations, witness_migrations
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

# Of everything that happens with a record, and of the log. Messages between members have tables of their own.
ALL_MIGRATIONS: tuple[Migrations, ...] = (
    records_migrations,
    subject_migrations,
    tlog_migrations,
    witness_migrations,
)

# Pieces of work that share one commit: the first of them waits for the last, so there is an end to it.
MAX_GROUP = 100
DOUBT_SECONDS = 1.0
# Somebody who reads keeps the file from holding still: others write between the attempts.
FREEZE_ATTEMPTS = 40
FREEZE_PAUSE_SECONDS = 0.1
FREEZE_WAIT_MILLISECONDS = 50


@dataclass
class _Job(Generic[T]):
    """A piece of work and who waits for it. `result` is kept until the commit that makes it true."""

    work: Work[T]
    future: Future[T] = field(default_factory=Future)
    result: T | None = None


class Store:
    """An open database. Made by `create` or `open`; any thread may call `run_sync`.

    `_database`, `_still` and `_stale` belong to the writer thread; `_jobs` is a queue into it; `_told` is set
    by whoever wants to be told, and called by the writer.
    """

    def __init__(self, path: Path, key: bytes, lock: int) -> None:
        self.path = path
        self._key = key
        self._lock: int | None = lock
        self._database: Database | None = None
        self._still: Database | None = None
        self._stale = False
        self._jobs: deque[_Job[Any]] = deque()
        self._told: Callable[[], None] | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="candor-store")
        self._writer = self._pool.submit(threading.get_ident).result()

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    @property
    def database_key(self) -> bytes:
        """For whoever copies pages; never print it."""
        return self._key

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
        return self._enqueue(work).result()

    async def run(self, work: Work[T]) -> T:
        """`run_sync` for the event loop. A cancelled caller does not stop work that has begun."""
        return await asyncio.wrap_future(self._enqueue(work))

    async def run_at_last(self, work: Work[T]) -> T:
        """`run` for reading what a commit of which nobody knows has left: however long the disk takes."""
        while True:
            try:
                return await self.run(work)
            except StoreUnusable:
                await asyncio.sleep(DOUBT_SECONDS)

    @contextmanager
    def telling(self, changed: Callable[[], None]) -> Iterator[None]:
        """Call `changed` after each commit that changed something, or of which nobody knows.

        On the writer's thread, which it must not keep, and before whoever committed hears of it. One is told.
        """
        if self._told is not None:
            raise AssertionError("somebody else is told already")
        self._told = changed
        try:
            yield
        finally:
            self._told = None

    def reader(self) -> Database:
        """A connection of its own for the calling thread, which closes it: to read for long (a backup)."""
        self._running()
        return open_database(self.path, self._key)

    @contextmanager
    def frozen(self, look: Work[T]) -> Iterator[T]:
        """Hold the database's file still: all that is committed is in it, and what is committed meanwhile
        goes into the log beside it. What `look` reads of it at that moment is given.

        For whoever copies the file in another process; one at a time, and `checkpoint` waits for it. Raises
        StoreUnusable.
        """
        seen = self._freeze(look)
        try:
            yield seen
        finally:
            with suppress(StoreUnusable, RuntimeError):  # closed meanwhile: then it holds still no more
                self._running().submit(self._thaw).result()

    def _freeze(self, look: Work[T]) -> T:
        for _ in range(FREEZE_ATTEMPTS):
            found = self._running().submit(self._hold_still, look).result()
            if found is not None:
                return found[0]
            time.sleep(FREEZE_PAUSE_SECONDS)
        raise StoreUnusable(
            f"The database {self.path} does not hold still: somebody reads it all the time.",
            remedy="End what else has it open, or wait for it; the next backup tries again.",
        )

    def checkpoint(self) -> bool:
        """Write the log back into the database and cut it to nothing, so that what was destroyed is gone.

        False when somebody who still reads (a backup) kept the log from being cut.
        """
        return self._running().submit(self._checkpoint).result()

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

    def _enqueue(self, work: Work[T]) -> Future[T]:
        pool, job = self._running(), _Job(work)
        self._jobs.append(job)
        # Whichever of these calls comes first takes all that wait by then; the others find nothing left.
        pool.submit(self._work_off)
        return job.future

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
        self._thaw()
        database, self._database, self._stale = self._database, None, False
        if database is not None:
            database.conn.close()

    def _hold_still(self, look: Work[T]) -> tuple[T] | None:
        """Open the reader that keeps the file as it is; None when somebody is in the way."""
        if self._still is not None:
            raise AssertionError("the database holds still for somebody else already")
        try:
            database = self._connected()
            database.conn.execute(f"PRAGMA busy_timeout = {FREEZE_WAIT_MILLISECONDS}")
            try:
                if database.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    return None
                # Nobody commits from here on until the reader is there: it finds an empty log, reads the file
                # alone, and by that keeps everybody from writing the log back into it.
                database.conn.execute("BEGIN IMMEDIATE")
                try:
                    if not self._log_is_empty():
                        return None
                    self._still = still = open_database(self.path, self._key)
                    still.conn.execute("BEGIN")
                    still.conn.execute("SELECT count(*) FROM sqlite_master").fetchone()
                finally:
                    database.conn.execute("ROLLBACK")
                return (look(still),)
            finally:
                database.conn.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MILLISECONDS}")
        except (DatabaseError, MemoryError) as error:
            self._stale = True
            self._thaw()
            raise explain(error, self.path) from None
        except BaseException:
            self._thaw()
            raise

    def _log_is_empty(self) -> bool:
        try:
            return os.stat(f"{self.path}-wal").st_size == 0
        except FileNotFoundError:
            return True

    def _thaw(self) -> None:
        still, self._still = self._still, None
        if still is not None:
            still.conn.close()

    def _prepare(self, migrations: Sequence[Migrations]) -> None:
        try:
            database = self._connected()
            damage = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if damage != "ok":
                raise StoreUnusable(
                    f"The database {self.path} is damaged.",
                    remedy="Stop candor-node and restore the last backup.",
                )
            schema.upgrade(database, migrations, self.path, self._key)
        except (DatabaseError, MemoryError) as error:
            raise explain(error, self.path) from None

    def _work_off(self) -> None:
        """Take what waits, run it as one transaction, and only then tell anybody."""
        jobs: list[_Job[Any]] = []
        while self._jobs and len(jobs) < MAX_GROUP:
            job = self._jobs.popleft()
            # A caller that was cancelled before its turn gets nothing done.
            if job.future.set_running_or_notify_cancel():
                jobs.append(job)
        if not jobs:
            return
        try:
            done = self._transaction(jobs)
        except BaseException as error:
            for job in jobs:
                if not job.future.done():
                    job.future.set_exception(error)
            return
        for job in done:
            job.future.set_result(job.result)

    def _transaction(self, jobs: Sequence[_Job[Any]]) -> list[_Job[Any]]:
        """Run `jobs` and commit; those whose work is on the disk now. The others have heard their error."""
        try:
            database = self._connected()
            changes = database.conn.total_changes
            database.conn.execute("BEGIN IMMEDIATE")
            done = [job for job in jobs if self._savepoint(database, job)]
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
            # After a failed fsync the pages in memory prove nothing: read what the disk holds.
            self._stale = True
            raise StoreUnusable(
                f"{explain(error, self.path).message} Whether the last step was stored is not known.",
                remedy="Repeat it under the same id: what was stored is not done twice.",
            ) from None
        finally:
            if done and (told := self._told) is not None and database.conn.total_changes != changes:
                told()
        return done

    def _savepoint(self, database: Database, job: _Job[Any]) -> bool:
        """Run one piece of work; whether it is to be committed. Raises what undid the whole transaction."""
        database.conn.execute("SAVEPOINT work")
        try:
            job.result = job.work(database)
        except BaseException as error:
            told = error
            if isinstance(error, DatabaseError | MemoryError) and not isinstance(error, IntegrityError):
                told = explain(error, self.path)
                # What the next transaction reads comes from a connection without this one's error.
                self._stale = True
            job.future.set_exception(told)
            self._check_not_undone(database)
            database.conn.execute("ROLLBACK TO work")
            database.conn.execute("RELEASE work")
            return False
        self._check_not_undone(database)
        database.conn.execute("RELEASE work")
        return True

    def _check_not_undone(self, database: Database) -> None:
        """Raises StoreUnusable: a full disk ends the transaction by itself, with all that shared it."""
        if not database.conn.in_transaction:
            raise StoreUnusable(
                f"A transaction on {self.path} was undone; nothing of it was stored.",
                remedy="Check the disk; the step can then be repeated.",
            )

    def _roll_back(self) -> None:
        if self._database is not None and self._database.conn.in_transaction:
            try:
                self._database.conn.execute("ROLLBACK")
            except (DatabaseError, MemoryError):
                self._stale = True

    def _checkpoint(self) -> bool:
        if self._still is not None:
            return False  # it would wait for the backup, and everybody for it
        try:
            row = self._connected().conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not row[0]
        except (DatabaseError, MemoryError) as error:
            self._stale = True
            raise explain(error, self.path) from None


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
