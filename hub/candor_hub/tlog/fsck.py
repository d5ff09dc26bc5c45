"""Checks the whole log: every file against every other, and against the database (`candor-hub log fsck`).

Every entry is read and judged by the rules of §14.5, every hash of every tile computed from the entries,
every checkpoint verified and compared with the root at its size. Nothing is believed because of where it
lies; what the database says of size and root is believed, for it is what was signed.

Repair makes hash tiles again out of bundles, and the copies of checkpoints out of the database; it removes
what an interrupted append has left. It touches no entry: what was signed cannot be made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from candor_hub.store import Store
from candor_hub.store.log import PolicyRecord, ShardRecord
from candor_hub.tlog.appender import tile_root
from candor_hub.tlog.files import (
    CHECKPOINT,
    DRAW,
    LOCK,
    POLICY,
    SHARDS,
    SIGNED,
    LogFiles,
    is_known,
)
from candor_proto.errors import CandorError, LogInconsistent, UnknownObject
from candor_proto.ids import FederationName
from candor_proto.merkle import HASH_OCTETS, CompactRange, leaf_hash
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.entries import DirectoryEntry, PolicyEntry
from candor_proto.tlog.policy import parse_policy
from candor_proto.tlog.signatures import verify_log
from candor_proto.tlog.state import LogState
from candor_proto.tlog.tiles import (
    MAX_LEVEL,
    TILE_WIDTH,
    bundle_path,
    decode_bundle,
    parse_path,
    tile_path,
    tile_width,
)


@dataclass(frozen=True)
class Finding:
    """Something that is wrong; `repairable` says that it can be made again from what is right."""

    path: str
    what: str
    repairable: bool = False

    def as_json(self) -> dict[str, object]:
        return {"path": self.path, "what": self.what, "repairable": self.repairable}


@dataclass
class Report:
    """What a check has seen and found."""

    shards: int = 0
    entries: int = 0
    files: int = 0
    findings: list[Finding] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.findings


@dataclass(frozen=True)
class _Records:
    """What the database says."""

    shards: tuple[ShardRecord, ...]
    policies: tuple[PolicyRecord, ...]
    directories: dict[int, dict[int, int]]
    draws: dict[int, dict[str, bytes]]


def fsck(
    store: Store, files: LogFiles, federation: FederationName, *, repair: bool = False, running: bool = False
) -> Report:
    """Check everything. `running` says that a hub appends meanwhile: what lies behind the size that the
    database had at the beginning is not looked at.

    Raises StoreUnusable when the database, or a file for another reason than its contents, cannot be read.
    """
    with store.read() as tx:
        shards = tx.log.shards()
        records = _Records(
            shards,
            tx.log.policies(),
            {shard.shard: tx.log.directories(shard.shard) for shard in shards},
            {shard.shard: tx.log.draws(shard.shard) for shard in shards},
        )
    check = _Check(files, records, federation, running)
    check.run()
    if repair:
        check.repair()
    return check.report


class _Check:
    def __init__(self, files: LogFiles, records: _Records, federation: FederationName, running: bool) -> None:
        self._files = files
        self._records = records
        self._federation = federation
        self.running = running
        self.report = Report()
        self._expected: set[str] = {SHARDS, LOCK}
        self._again: dict[str, bytes] = {}
        self._leftovers: list[str] = []

    def run(self) -> None:
        state = LogState.first(self._federation)
        for shard in self._records.shards:
            self.report.shards += 1
            walk = _Walk(self, shard, state)
            state = walk.run()
            if shard.closed and state.shard.closed is not None:
                state = state.successor(shard.range.root())
            elif shard.closed and shard is not self._records.shards[-1]:
                # What follows is a successor of ours (§19.2): our own database says so.
                state = state.succeeded(shard.range.size, shard.range.root())
        self._check_list()
        self._check_others()

    def find(self, path: str, what: str, again: bytes | None = None) -> None:
        """Something is wrong with the file `path`; `again` is what it has to hold."""
        if again is not None:
            self._again[path] = again
        self.report.findings.append(Finding(path, what, again is not None))

    def expect(self, path: str) -> None:
        self._expected.add(path)

    def _check_list(self) -> None:
        lines = [f"{one.origin} {one.witnessed_size}\n" for one in self._records.shards if one.signed]
        self.compare(SHARDS, "".join(lines).encode(), "is not the list of shards")

    def compare(self, path: str, octets: bytes, what: str, *, with_more: bool = False) -> None:
        """Compare a copy with what the database has, behind which there may be more signatures."""
        self.expect(path)
        try:
            found = self._files.read(path)
        except UnknownObject:
            found = b""
        self.report.files += 1
        if found == octets or (with_more and _with_more_signatures(found, octets)):
            return
        if not self.running:
            self.find(path, what, octets)

    def _check_others(self) -> None:
        """Files that the log does not have."""
        sizes = {str(shard.shard): shard.size for shard in self._records.shards}
        for path in self._files.all():
            if path in self._expected:
                continue
            number, _, name = path.partition("/")
            size = sizes.get(number)
            if size is not None and _is_unfinished(name):
                self._leave(path, "was being written when the hub ended")
            elif size is None or not is_known(name):
                self.report.findings.append(Finding(path, "is no file of the log: somebody put it there"))
            elif _lies_behind(name, size):
                self._leave(path, "lies behind what was signed: an append was interrupted")

    def _leave(self, path: str, what: str) -> None:
        if not self.running:
            self.report.files += 1
            self._leftovers.append(path)
            self.report.findings.append(Finding(path, what, repairable=True))

    def repair(self) -> None:
        """Write again what can be; the findings that are left are those that cannot."""
        self._files.write(self._again)
        self._files.remove(self._leftovers)
        self.report.repaired = sorted((*self._again, *self._leftovers))
        self.report.findings = [one for one in self.report.findings if not one.repairable]


def _is_unfinished(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last.startswith(".") and last.endswith(".new")


def _lies_behind(name: str, size: int) -> bool:
    """Whether a tile or bundle is not one of a log of this size; nothing else lies behind it."""
    try:
        level, index, width = parse_path(name)
    except CandorError:
        return True
    return tile_width(level or 0, index, size) < width


def _with_more_signatures(found: bytes, octets: bytes) -> bool:
    try:
        parse_checkpoint(found)
    except CandorError:
        return False
    return found.startswith(octets)


class _Walk:
    """One shard: its entries in order, and everything that hangs from them."""

    def __init__(self, check: _Check, shard: ShardRecord, state: LogState) -> None:
        self._check = check
        self._files = check._files
        self._reader = check._files.shard(shard.shard)
        self._shard = shard
        self._state = state
        self._range = CompactRange.EMPTY
        # By level: the hashes of the tile that is being filled.
        self._filling: list[bytearray] = []
        self._wanted = self._checkpoints()
        self._broken = False
        self._sound = True
        self._tiles: list[tuple[str, bytes, str]] = []

    def run(self) -> LogState:
        shard = self._shard
        for octets in self._entries():
            self._take(octets)
        if self._sound:
            self._finish()
        for name, size, _ in self._wanted:
            if size > shard.size and not self._check.running:
                self._check.find(self._path(name), f"has {size} entries, the database knows {shard.size}")
        return self._state

    def _path(self, name: str) -> str:
        return f"{self._shard.shard}/{name}"

    # --- entries ----------------------------------------------------------------------------------------

    def _entries(self) -> Iterator[bytes]:
        """Every entry in order; ends at the first that is not there or not to be read."""
        for index in range(-(-self._shard.size // TILE_WIDTH)):
            width = tile_width(0, index, self._shard.size)
            entries = self._bundle(index, width)
            if entries is None:
                self._sound = False
                return
            yield from entries

    def _bundle(self, index: int, width: int) -> tuple[bytes, ...] | None:
        """The entries of a bundle, read from the file that has to be there; others of it are compared."""
        full = self._path(bundle_path(index))
        main = full if width == TILE_WIDTH else f"{full}.p/{width}"
        entries = self._read_bundle(main, width)
        for narrower in self._files.widths(full):
            path = f"{full}.p/{narrower}"
            if path == main or narrower > width:
                continue
            found = self._read_bundle(path, narrower)
            if entries is not None and found is not None and found != entries[:narrower]:
                self._check.find(path, "does not hold the entries of the wider bundle")
        return entries

    def _read_bundle(self, path: str, width: int) -> tuple[bytes, ...] | None:
        self._check.expect(path)
        self._check.report.files += 1
        try:
            return decode_bundle(self._files.read(path), width)
        except UnknownObject:
            self._check.find(path, "is missing: entries that were signed are not there")
        except CandorError as error:
            self._check.find(path, f"cannot be read: {error.message}")
        return None

    def _take(self, octets: bytes) -> None:
        index, hashed = self._range.size, leaf_hash(octets)
        self._check.report.entries += 1
        if not self._broken:
            try:
                entry = self._state.apply(index, octets)
            except LogInconsistent as error:
                self._broken = True
                path = self._path(bundle_path(index // TILE_WIDTH))
                self._check.find(path, f"entry {index}: {error.message}")
            else:
                self._place(index, entry)
        self._range = self._range.extend((hashed,))
        self._add(0, hashed)
        self._compare_checkpoints()

    def _place(self, index: int, entry: object) -> None:
        """What the database says of where directories and policies stand."""
        records, number = self._check._records, self._shard.shard
        if isinstance(entry, DirectoryEntry) and records.directories[number].get(entry.version) != index:
            self._check.find("database", f"directory version {entry.version} is not placed at {index}")
        if isinstance(entry, PolicyEntry):
            known = {policy.version: policy for policy in records.policies}.get(entry.version)
            if known is None or known.text != entry.text:
                self._check.find("database", f"policy {entry.version} is another than entry {index} says")

    # --- hashes -----------------------------------------------------------------------------------------

    def _add(self, level: int, hashed: bytes) -> None:
        while len(self._filling) <= level:
            self._filling.append(bytearray())
        filling = self._filling[level]
        filling += hashed
        if len(filling) == TILE_WIDTH * HASH_OCTETS:
            self._tile(level, (self._range.size >> (8 * (level + 1))) - 1, bytes(filling))
            above = tile_root(bytes(filling))
            self._filling[level] = bytearray()
            self._add(level + 1, above)

    def _tile(self, level: int, index: int, octets: bytes) -> None:
        """Compare every file of a tile with its hashes, computed from the entries."""
        width = len(octets) // HASH_OCTETS
        full = self._path(tile_path(level, index))
        main = full if width == TILE_WIDTH else f"{full}.p/{width}"
        paths = {main: octets}
        for narrower in self._files.widths(full):
            if narrower <= width:
                paths[f"{full}.p/{narrower}"] = octets[: narrower * HASH_OCTETS]
        for path, wanted in paths.items():
            self._check.expect(path)
            self._check.report.files += 1
            try:
                found = self._files.read(path)
            except UnknownObject:
                self._tiles.append((path, wanted, "is missing"))
                continue
            if found != wanted:
                self._tiles.append((path, wanted, "does not have the hashes of the entries"))

    def _finish(self) -> None:
        """The tiles at the right edge, the root, and what was found of tiles."""
        shard = self._shard
        for level in range(MAX_LEVEL + 1):
            if level >= len(self._filling):
                break
            filling = bytes(self._filling[level])
            if filling:
                self._tile(level, (shard.size >> (8 * level)) // TILE_WIDTH, filling)
        sound = self._range == shard.range
        if not sound:
            path = self._path(bundle_path(max(0, shard.size - 1) // TILE_WIDTH))
            self._check.find(path, "the entries do not have the root that was signed")
        for path, wanted, what in self._tiles:
            # Of entries that are not the ones that were signed no tile is made.
            self._check.find(path, what, wanted if sound else None)

    # --- checkpoints ------------------------------------------------------------------------------------

    def _checkpoints(self) -> list[tuple[str, int, bytes]]:
        """Name, size and octets of every checkpoint in a file, verified; the copies are compared."""
        shard, records = self._shard, self._check._records
        known: dict[str, bytes] = {}
        if shard.signed:
            known[SIGNED] = shard.signed
        if shard.witnessed:
            known[CHECKPOINT] = shard.witnessed
        for policy in records.policies:
            if policy.shard == shard.shard and policy.checkpoint:
                known[f"{POLICY}/{policy.version}"] = policy.checkpoint
        for month, octets in records.draws[shard.shard].items():
            known[f"{DRAW}/{month}"] = octets
        wanted = []
        for name, octets in known.items():
            self._check.compare(
                self._path(name), octets, "is not the checkpoint in the database", with_more=name == SIGNED
            )
            try:
                signed = parse_checkpoint(octets)
                verify_log(signed, shard.verifier_keys)
                self._check_cosignatures(name, octets)
            except CandorError as error:
                self._check.find("database", f"the checkpoint {self._path(name)}: {error.message}")
                continue
            wanted.append((name, signed.checkpoint.size, octets))
        shown = self._shown_signed()
        if shown is not None:
            wanted.append((SIGNED, *shown))
        return wanted

    def _check_cosignatures(self, name: str, octets: bytes) -> None:
        """Every cosignature that a policy knows has to verify."""
        signed = parse_checkpoint(octets)
        for policy in self._check._records.policies:
            parse_policy(policy.text).cosignatures(signed)

    def _shown_signed(self) -> tuple[int, bytes] | None:
        """The file `signed`, with the cosignatures that came since: each has to verify."""
        try:
            octets = self._files.read(self._path(SIGNED))
            signed = parse_checkpoint(octets)
        except CandorError:
            return None  # said already: it is not the one in the database
        try:
            verify_log(signed, self._shard.verifier_keys)
            self._check_cosignatures(SIGNED, octets)
        except CandorError as error:
            self._check.find(self._path(SIGNED), error.message, self._shard.signed)
            return None
        return signed.checkpoint.size, octets

    def _compare_checkpoints(self) -> None:
        size = self._range.size
        for name, wanted, octets in self._wanted:
            if wanted == size and parse_checkpoint(octets).checkpoint.root != self._range.root():
                self._check.find(self._path(name), f"does not have the root of the first {size} entries")
