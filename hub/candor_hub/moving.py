"""Moves an embedded hub to PostgreSQL: `candor-hub migrate-store` (docs/postgresql.md, section 5).

    the hub stands still, and its database is locked -> rows, files of the log, segments and keys are copied,
    in one transaction -> all of it is read there and compared, and the log checked -> the source is marked as
    moved -> the target is finished -> the settings name it

Rules of this file:
- nothing is deleted, and nothing of the source is changed before everything was compared;
- two databases must never both run: the source is marked before the target is finished. Who is interrupted
  between the two, or before the settings name the target, finishes it with `--again`; before, the source runs
  on and the target is refused;
- keys and passwords are in no message.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from candor_certs.store import replace_private
from candor_hub.config import Config, check_database_url, load_config, password_in
from candor_hub.driver.postgresql import parse_url
from candor_hub.keys import DATABASE_KEY, TLS
from candor_hub.places import database_key, log_files_in, vault_in
from candor_hub.segment_files import SegmentFolder, SegmentRows
from candor_hub.store import Store, Transaction
from candor_hub.store.copying import TableSum, compare, copy, count, sums
from candor_hub.store.facts import MOVED, MOVING
from candor_hub.store.objects import PIECE_OCTETS, SEGMENTS
from candor_hub.tlog.files import LOCK, Lock, LogFiles
from candor_hub.tlog.fsck import fsck
from candor_hub.vault import FolderVault, Vault
from candor_proto.errors import ConfigInvalid, StoreUnusable
from candor_proto.segment import address

# Told what is being done, and how many of how many steps of it are done.
Progress = Callable[[str, int, int], None]
_STAYS = (DATABASE_KEY, TLS)


@dataclass(frozen=True)
class Moved:
    """What was copied, or would be."""

    to: str
    rows: int
    log_files: int
    segments: int
    secrets: int
    log_entries: int = 0

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Move:
    """What the operator wishes; `again` begins anew over what an interrupted move has left."""

    config: Config
    url: str
    password_file: Path | None = None
    again: bool = False

    def __post_init__(self) -> None:
        check_database_url(self.url)
        if not self.config.embedded:
            raise ConfigInvalid(
                "This hub has no embedded database: `database_url` names another one already.",
                remedy="`candor-hub migrate-store` moves a hub from its folder to PostgreSQL, once.",
            )

    @property
    def name(self) -> str:
        """Of the target, without a user."""
        return parse_url(self.url).name

    def password(self) -> str | None:
        return None if self.password_file is None else password_in(self.password_file)


def look(move: Move) -> Moved:
    """What would be moved; nothing is written there. Raises StoreUnusable, AlreadyExists or ConfigInvalid."""
    with _standing_still(move) as store:
        if not _is_finished(move, store):
            Store.look_at(move.url, password=move.password, again=move.again)
        with store.read() as tx:
            return _counted(move, tx)


def move_store(move: Move, file: Path, now: datetime, progress: Progress) -> Moved:
    """Move the hub whose settings are in `file`. Raises StoreUnusable, AlreadyExists or ConfigInvalid."""
    with _standing_still(move) as store:
        if _is_finished(move, store):
            # It may have run on meanwhile, so nothing of it is compared, or touched.
            with store.read() as tx:
                copied_before = _counted(move, tx)
            _settle(move, file, now)
            return copied_before
        key = database_key(move.config)
        target = Store.begin(move.url, key, password=move.password, again=move.again)
        with closing(target):
            with target.write() as tx:
                tx.facts.put(MOVING, now.isoformat())
            vault = vault_in(move.config.keys, target, key)
            # A writing transaction, so that no command changes the source meanwhile.
            with store.write() as source:
                expected = _counted(move, source)
                # Before the target's transaction, which the server ends when nothing is said for ten seconds.
                paths = _paths(LogFiles(move.config.log))
                with target.write() as tx:
                    copied = copy(source, tx, _steps(progress, "rows", expected.rows))
                    files = _copy_log(
                        move.config, paths, target, tx, _steps(progress, "log", expected.log_files)
                    )
                    _copy_segments(move.config, source, tx, _steps(progress, "segments", expected.segments))
                    secrets = _copy_secrets(move.config, vault, tx)
                entries = _check(move, source, target, vault, copied, files, now, progress)
                # When this is committed, only the target may ever run.
                source.facts.put(MOVED, f"{move.name} at {now:%Y-%m-%d %H:%M} UTC")
            progress("finishing", 0, 1)
            target.finish(str(move.config.federation))
        _settle(move, file, now)
        progress("finishing", 1, 1)
    return Moved(move.name, expected.rows, len(files), expected.segments, secrets, entries)


# --- the source ------------------------------------------------------------------------------------------


@contextmanager
def _standing_still(move: Move) -> Iterator[Store]:
    """The source, locked against a hub."""
    config, lock = move.config, Lock(move.config.log)
    lock.take()
    try:
        with closing(
            Store.open(
                config.database, database_key(config), str(config.federation), upgrade=True, moved=True
            )
        ) as store:
            with store.read() as tx:
                elsewhere = tx.facts.get(MOVED)
            if elsewhere is not None and not (move.again and elsewhere.startswith(f"{move.name} at ")):
                raise StoreUnusable(
                    f"This hub has moved to {elsewhere}.",
                    remedy="If that move was interrupted at its very end, finish it there with --again.",
                )
            yield store
    finally:
        lock.give_back()


def _is_finished(move: Move, store: Store) -> bool:
    """Whether a move was interrupted after its end, before the settings named the target.

    The source has moved there, and there is a hub with this one's log. Raises StoreUnusable.
    """
    with store.read() as tx:
        moved, ours = tx.facts.get(MOVED), tx.log.shards()
    if moved is None or not Store.holds_hub(move.url, password=move.password):
        return False
    config = move.config
    there = Store.open(move.url, database_key(config), str(config.federation), password=move.password)
    with closing(there), there.read() as tx:
        theirs = tx.log.shards()
    keys = [shard.verifier_keys for shard in ours]
    return bool(keys) and [shard.verifier_keys for shard in theirs[: len(keys)]] == keys


def _counted(move: Move, tx: Transaction) -> Moved:
    config = move.config
    return Moved(
        move.name,
        count(tx),
        len(_paths(LogFiles(config.log))),
        0 if config.segments_url else len(tx.segments.all()),
        len(_secret_names(config)),
    )


def _paths(files: LogFiles) -> list[str]:
    names = ((path, path.rpartition("/")[2]) for path in files.all())
    return [path for path, name in names if path != LOCK and not name.startswith(".")]


def _secret_names(config: Config) -> list[str]:
    names = FolderVault(config.keys).names()
    return [name for name in names if name not in _STAYS and not name.rpartition("/")[2].startswith(".")]


# --- the target ------------------------------------------------------------------------------------------


def _copy_log(
    config: Config, paths: list[str], target: Store, tx: Transaction, done: Callable[[int], None]
) -> dict[str, bytes]:
    """Copy these files of the log; the digest of each."""
    source, files = LogFiles(config.log), log_files_in(config.log, target).within(tx)
    digests = dict[str, bytes]()
    for path in paths:
        octets = source.read(path)
        digests[path] = _digest(octets)
        files.write({path: octets})
        done(1)
    return digests


def _copy_segments(config: Config, source: Transaction, tx: Transaction, done: Callable[[int], None]) -> None:
    if config.segments_url:
        return  # they stay in their bucket
    folder = SegmentFolder(config.segments)
    for record in source.segments.all():
        octets = b"".join(folder.read(record.name, PIECE_OCTETS))
        if address(octets) != record.address:
            raise StoreUnusable(
                f"The segment {record.address.hex()} of {record.node} is damaged on this disk.",
                remedy="Restore it from a backup, or have the member publish its index anew.",
            )
        pieces = max(1, -(-len(octets) // PIECE_OCTETS))
        for piece in range(pieces):
            part = octets[piece * PIECE_OCTETS : (piece + 1) * PIECE_OCTETS]
            tx.objects.add_piece(SEGMENTS, record.name, piece, pieces, part)
        done(1)


def _copy_secrets(config: Config, vault: Vault, tx: Transaction) -> int:
    folder, names = FolderVault(config.keys), _secret_names(config)
    for name in names:
        secret = folder.get(name)
        assert secret is not None
        vault.put(name, secret, tx)
    return len(names)


def _check(
    move: Move,
    source: Transaction,
    target: Store,
    vault: Vault,
    copied: list[TableSum],
    files: dict[str, bytes],
    now: datetime,
    progress: Progress,
) -> int:
    """Read everything as it is stored there, and compare; the entries of the log. Raises StoreUnusable."""
    config = move.config
    progress("checking", 0, 4)
    with target.read() as tx:
        compare(copied, sums(tx))
    progress("checking", 1, 4)
    there = log_files_in(config.log, target)
    for path, digest in files.items():
        # The others are copies of what rows say, and `fsck` compares them.
        if "/tile/" in path and _digest(there.read(path)) != digest:
            raise StoreUnusable(f"{path} of the log was not copied as it is.", remedy="Try --again.")
    progress("checking", 2, 4)
    if not config.segments_url:
        rows = SegmentRows(target, lambda: now)
        for record in source.segments.all():
            if address(b"".join(rows.read(record.name, PIECE_OCTETS))) != record.address:
                raise StoreUnusable("A segment was not copied as it is.", remedy="Try --again.")
    folder = FolderVault(config.keys)
    for name in _secret_names(config):
        if vault.get(name) != folder.get(name):
            raise StoreUnusable(f"The key {name} was not copied as it is.", remedy="Try --again.")
    progress("checking", 3, 4)
    report = fsck(target, there, config.federation)
    if not report.good:
        finding = report.findings[0]
        raise StoreUnusable(
            f"The log is not sound: {finding.path}: {finding.what}",
            remedy="See `candor-hub log fsck` about the source, and its --repair.",
        )
    progress("checking", 4, 4)
    return report.entries


def _digest(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def _steps(progress: Progress, what: str, total: int) -> Callable[[int], None]:
    reached = 0

    def done(some: int) -> None:
        nonlocal reached
        reached += some
        progress(what, reached, total)

    return done


# --- the settings ----------------------------------------------------------------------------------------


def _settle(move: Move, file: Path, now: datetime) -> None:
    """Name the target in the settings; the file as it was is kept beside it."""
    before = file.read_text("utf-8")
    kept = file.with_name(f"{file.name}.before-{now:%Y%m%dT%H%M%SZ}")
    if not kept.exists():
        replace_private(kept, before.encode())
    text = re.sub(r"(?m)^(\s*)(database_url|database_password_file)(\s*=)", r"\1# \2\3", before)
    lines = [f'database_url = "{_escaped(move.url)}"']
    if move.password_file is not None:
        lines.append(f'database_password_file = "{_escaped(str(move.password_file.resolve()))}"')
    # At the top: behind a table's head it would be a key of that table.
    text = "\n".join([*lines, text])
    tomllib.loads(text)
    replace_private(file, text.encode())
    load_config(file)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
