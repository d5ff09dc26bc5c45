"""Whether this node may share: it notices that its database went back, and says so until a person has looked.

What tells that a database went back although nobody restored it by command:
- a journal, beside the database or in the backup folder, that knows entries of the ledger which are not here;
- a backup in the backup folder of a later state;
- a heartbeat in the log, or a head in the directory, that this node's key signed and it does not remember;
- a head of the log with a cosignature of its witness key, of a size that it does not remember.

Rules of this file:
- only what this node's own keys have signed, or its database key has sealed, counts: nobody else can close
  it;
- a witness signs nothing in a run before it has seen which heads the hub shows its signature under;
- what is said again after it was healed comes from another copy of this node: both copies close.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from candor_backup import changes, folders
from candor_backup.changes import Account, Keys
from candor_node import backup, backup_keys, ledger, rollback
from candor_node.clock import Clock
from candor_node.journal import Journals
from candor_node.logs import log
from candor_node.rollback import Cause, Rollback, Tail
from candor_node.store import Database, Store
from candor_node.tlog import log_store, witness_store
from candor_proto.directory import IndexHead
from candor_proto.errors import CandorError, SignatureInvalid, Unreachable
from candor_proto.ids import NodeId
from candor_proto.signing import VerifyingKey
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.entries import Entry, Statement
from candor_proto.tlog.signatures import verify_signature
from candor_proto.tlog.statements import HEARTBEAT, Heartbeat, parse_statement

SHOWN = ("signed", "checkpoint")


class Sharing:
    """Belongs to the event loop, but for `observe` and `own_head`, which run inside transactions."""

    def __init__(
        self,
        store: Store,
        node: NodeId,
        key: VerifyingKey,
        clock: Clock,
        journals: Journals,
        backup_folder: Path | None,
    ) -> None:
        """`key` is this node's own: the log may name another one for it, with which somebody else signs."""
        self._store = store
        self._node = node
        self._key = key
        self._clock = clock
        self._journals = journals
        self._backup_folder = backup_folder
        # The rollback that nobody has confirmed yet.
        self.rollback: Rollback | None = None
        self._shown_seen = False

    async def start(self) -> None:
        """Before anything else: look at the journals and the backup folder, and heal what went back."""
        found = await self._journals.look_back() or await self._newer_backup()
        if found is not None:
            _say(found)
        await self.load()

    async def load(self) -> None:
        """What the database says now."""
        self.rollback = await self._store.run(rollback.open_one)

    async def _newer_backup(self) -> Rollback | None:
        account = self._last_account()
        if account is None or account.owner != str(self._node):
            return None
        number, digest = account.facts["ledger"]
        now = self._clock.now()

        def work(db: Database) -> Rollback | None:
            other = account.facts["pair"] != backup_keys.lineage(db).hex()
            known = rollback.knows(db, number, bytes.fromhex(digest))
            if other or known:
                return None
            tail = Tail(known_until=account.written_at, last=(number, bytes.fromhex(digest)))
            return rollback.heal(db, now, Cause.BACKUP, tail)

        return await self._store.run(work)

    def _last_account(self) -> Account | None:
        try:
            if self._backup_folder is None:
                return None
            found = folders.parts(self._backup_folder, backup.RECORDS, folders.CHANGES)
            return changes.read_account(found[-1], Keys.of(self._store.database_key))[0] if found else None
        except CandorError:
            return None

    # --- what it allows -------------------------------------------------------------------------------------

    def is_open(self) -> bool:
        """Whether lookups are answered, requests decided and indexes published."""
        return self.rollback is None

    def check(self) -> None:
        """Raises WentBack while nothing is shared."""
        if self.rollback is not None:
            raise rollback.closed(self.rollback)

    async def confirm(self, by: str, *, old_witness_keys: bool = False) -> Rollback:
        """A person has read what was lost. Raises UnknownObject or AlreadyExists."""
        now = self._clock.now()

        def work(db: Database) -> Rollback:
            found = rollback.confirm(db, now, by)
            if old_witness_keys and witness_store.reinstate(db, now):
                ledger.append(db, now, "store.witness_keys_reinstated", {}, {"by": by})
            return found

        found = await self._store.run(work)
        await self.load()
        return found

    # --- the log --------------------------------------------------------------------------------------------

    def observe(
        self, db: Database, now: datetime, shard: int, position: int, octets: bytes, entry: Entry
    ) -> None:
        """An entry of the log, as `tlog.folding.Observer`: a heartbeat says where this node's ledger
        stood."""
        if not isinstance(entry, Statement) or entry.context != HEARTBEAT:
            return
        said = parse_statement(entry.context, entry.signed.body)
        if not isinstance(said, Heartbeat) or said.node != self._node:
            return
        if rollback.knows(db, said.ledger_number, said.ledger_digest) or _before(db, said.issued_at):
            return
        try:
            entry.signed.verify(HEARTBEAT, self._key, str(self._node))
        except SignatureInvalid:
            return  # `folding` tells people of the other key
        tail = Tail(known_until=said.issued_at, last=(said.ledger_number, said.ledger_digest))
        self._went_back(db, now, tail)

    def own_head(self, db: Database, head: IndexHead) -> None:
        """A head that this node's key signed and it does not remember (`Admission`)."""
        if not _before(db, head.issued_at):
            self._went_back(db, self._clock.now(), Tail(known_until=head.issued_at))

    def _went_back(self, db: Database, now: datetime, tail: Tail) -> None:
        found = rollback.heal(db, now, Cause.LOG, tail)
        self.rollback = found
        _say(found)

    async def may_cosign(self, get: Callable[[str], Awaitable[bytes]]) -> bool:
        """Whether the witness may sign: after it has seen under which heads the hub shows its signature, and,
        in a database that went back, once the log was read to a head that was witnessed since.
        """
        if not self._shown_seen:
            await self._look_at_shown(get)
        return self._shown_seen and await self._store.run(log_store.restored_at) is None

    async def _look_at_shown(self, get: Callable[[str], Awaitable[bytes]]) -> None:
        shard = await self._store.run(log_store.last_shard)
        if shard is None:
            self._shown_seen = True
            return
        for name in SHOWN:
            try:
                signed = parse_checkpoint(await get(f"{shard.number}/{name}"))
            except Unreachable:
                return  # that says nothing of what is shown: the hub asks again
            except CandorError:
                continue  # none yet, or the hub shows nothing that counts
            if signed.checkpoint.origin == shard.origin:
                await self._store.run(partial(self._compare_shown, signed=signed))
        self._shown_seen = True

    def _compare_shown(self, db: Database, signed: SignedCheckpoint) -> None:
        keys = witness_store.keys(db)
        known = witness_store.cosigned(db, signed.checkpoint.origin)
        size = known.checkpoint.size if known else 0
        if keys is None or signed.checkpoint.size <= size:
            return
        for key in keys.verifier_keys:
            for signature in signed.signatures:
                if signature.is_by(key):
                    try:
                        at = verify_signature(key, signed.checkpoint, signature)
                    except CandorError:
                        continue
                    self._went_back(db, self._clock.now(), Tail(known_until=at))
                    return


def _before(db: Database, moment: datetime) -> bool:
    """Whether something was said before this database was healed last: that is explained.

    Where the journal's word stood in for a person's, only what was said before that word.
    """
    last = rollback.newest(db)
    if last is None:
        return False
    by_itself = last.confirmed_by == rollback.BY_ITSELF and last.known_until is not None
    return moment <= (last.known_until if by_itself and last.known_until else last.noticed_at)


def _say(found: Rollback) -> None:
    error = rollback.closed(found)
    log.error("the database went back", code=error.code, reason=error.message)
