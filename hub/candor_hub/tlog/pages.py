"""What of the log is shown, to members and to everybody else, and no more (docs/protocol.md §14.6).

Rules of this file:
- what is shown comes from the database first: a checkpoint that is not stored is shown to nobody;
- a checkpoint that is kept (of a policy, of a draw) is shown when a row has it, whatever lies in the folder;
- tiles and bundles are shown up to the size that is signed: behind it lies what an append wrote and may
  write otherwise after a crash, and a tile is for ever to whoever has fetched it;
- the files of checkpoints are copies, made again at each start, for whoever serves the folder by other means.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import structlog

from candor_hub.store import Transaction
from candor_hub.store.log import ShardRecord
from candor_hub.tlog.files import CHECKPOINT, DRAW, POLICY, SHARDS, SIGNED, LogFiles
from candor_proto.errors import StoreUnusable, UnknownObject
from candor_proto.tlog.checkpoint import SignedCheckpoint

log = structlog.get_logger(__name__)

END = "end"
_SHARD_PATH = re.compile(r"([1-9][0-9]{0,8})/(.+)\Z")
_KEPT = re.compile(r"policy/[1-9][0-9]{0,9}\Z|draw/(?:[0-9]{4}-[0-9]{2}|end)\Z")


@dataclass(frozen=True)
class Page:
    """A file of the log as it is served; `fixed` says that it never changes, `text` what it is."""

    octets: bytes
    fixed: bool
    text: bool


@dataclass(frozen=True)
class _Shown:
    """The heads of a shard that are shown."""

    origin: str
    size: int = 0
    signed: bytes = b""
    witnessed_size: int = 0
    witnessed: bytes = b""

    def with_row(self, row: ShardRecord) -> _Shown:
        """These, or what a row of the database has that is newer: rows may come in another order."""
        shown = self
        # What is shown may have the same head with cosignatures behind it.
        if row.size >= self.size and not self.signed.startswith(row.signed or b"-"):
            shown = replace(shown, size=row.size, signed=row.signed)
        if row.witnessed_size >= self.witnessed_size:
            shown = replace(shown, witnessed_size=row.witnessed_size, witnessed=row.witnessed)
        return shown


class Pages:
    """Safe to use from several threads."""

    def __init__(self, files: LogFiles, *, copies: bool = True) -> None:
        """`copies` says that files of checkpoints are copies of rows, and to be written."""
        self._files = files
        self._copies = copies
        self._lock = threading.Lock()
        # Replaced whole, never changed.
        self._shown: Mapping[int, _Shown] = {}
        self._texts: Mapping[str, bytes] = {}
        # Paths of checkpoints that rows have, where there are copies of them.
        self._kept: frozenset[str] = frozenset()
        # Files that could not be written, for instance because the disk was full.
        self._owed: Mapping[str, bytes] = {}

    def get(self, path: str) -> Page:
        """The file of this path below `/log`; raises UnknownObject or StoreUnusable."""
        text = self._texts.get(path)
        if text is not None:
            return Page(text, fixed=False, text=True)
        found = _SHARD_PATH.match(path)
        shown = self._shown.get(int(found[1])) if found else None
        if found is None or shown is None:
            raise UnknownObject(f"There is no {path} in the log.")
        if _KEPT.match(found[2]):
            if self._copies and path not in self._kept:
                raise UnknownObject(f"There is no {path} in the log.")
            owed = self._owed.get(path)
            return Page(owed or self._files.read(path), fixed=True, text=True)
        return Page(self._files.shard(int(found[1])).get(found[2], shown.size), fixed=True, text=False)

    def load(self, tx: Transaction) -> None:
        """Show what the database has, and put right the files that say something else."""
        shards, kept = tx.log.shards(), dict[str, bytes]()
        if not self._copies:
            self.show(shards)
            return
        for policy in tx.log.policies():
            if policy.checkpoint and policy.shard:
                kept[f"{policy.shard}/{POLICY}/{policy.version}"] = policy.checkpoint
        for shard in shards:
            for month, checkpoint in tx.log.draws(shard.shard).items():
                kept[f"{shard.shard}/{DRAW}/{month}"] = checkpoint
        self.show(shards, kept)

    def show(self, shards: Iterable[ShardRecord], kept: Mapping[str, bytes] | None = None) -> None:
        """What these rows of the database have; `kept` are checkpoints that stay, by path."""
        with self._lock:
            shown = dict(self._shown)
            for row in shards:
                shown[row.shard] = shown.get(row.shard, _Shown(row.origin)).with_row(row)
            self._replace(shown, kept or {})

    def add_cosignatures(self, shard: int, signed: SignedCheckpoint) -> None:
        """The newest head signed, with the cosignatures at hand; an older one changes nothing."""
        with self._lock:
            shown, octets = self._shown.get(shard), signed.encode()
            if shown is not None and octets.startswith(shown.signed):
                self._replace({**self._shown, shard: replace(shown, signed=octets)}, {})

    def _replace(self, shown: Mapping[int, _Shown], kept: Mapping[str, bytes]) -> None:
        texts = _texts(shown)
        changed = {name: octets for name, octets in texts.items() if self._texts.get(name) != octets}
        self._kept |= kept.keys()
        # A policy's checkpoint before the one that needs it.
        self._write(kept)
        self._shown, self._texts = shown, texts
        self._write(changed)

    def _write(self, texts: Mapping[str, bytes]) -> None:
        if not self._copies:
            return
        # Not durable by themselves: the database is, and each start writes them again.
        owed = {**self._owed, **texts}
        try:
            self._files.write(owed, durable=False)
        except StoreUnusable as error:
            # What they say is in the database: a head goes on to its witnesses, and members read it here.
            self._owed = owed
            log.error(
                "files of the log could not be written",
                code=error.code,
                message=error.message,
                remedy=error.remedy,
            )
        else:
            self._owed = {}


def _texts(shown: Mapping[int, _Shown]) -> dict[str, bytes]:
    texts: dict[str, bytes] = {}
    lines = []
    for number, shard in sorted(shown.items()):
        if shard.signed:
            texts[f"{number}/{SIGNED}"] = shard.signed
            lines.append(f"{shard.origin} {shard.witnessed_size}\n")
        if shard.witnessed:
            texts[f"{number}/{CHECKPOINT}"] = shard.witnessed
    return {**texts, SHARDS: "".join(lines).encode()}
