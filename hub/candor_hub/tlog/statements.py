"""What members have to say in the log: witness keys, heartbeats, packs (docs/protocol.md §14.8, §15.2).

Rules of this file:
- a statement is its member's, signed under the key in the directory, and the call is the member's too;
- whatever anybody who reads the log would refuse is refused here: one entry that breaks the rules would stop
  the log for all;
- a heartbeat without the bit of a lookup that lives is refused: logged, it would prove that this hub dropped
  the lookup (§17.1).
"""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import groupby

from candor_hub.store import Store, Transaction
from candor_hub.store.log import ShardRecord
from candor_hub.store.logged import HeartbeatRecord, WitnessRecord
from candor_hub.tlog import due
from candor_hub.tlog.appender import present_shard
from candor_hub.tlog.files import LogFiles
from candor_proto.canonical import digest
from candor_proto.directory import Member
from candor_proto.errors import (
    AlreadyExists,
    ClockWrong,
    IdentityMismatch,
    LimitExceeded,
    NotYetValid,
    QuotaSpent,
    Rollback,
    WrongStanding,
)
from candor_proto.ids import FederationName, NodeId
from candor_proto.signing import SignedStatement
from candor_proto.statements import CLOCK_TOLERANCE
from candor_proto.tlog.entries import Requests, Statement, parse_entry
from candor_proto.tlog.statements import (
    MAX_COVERED,
    Heartbeat,
    SuccessionConsent,
    WitnessKeyStatement,
    parse_statement,
)
from candor_proto.tlog.tiles import MAX_ENTRY_OCTETS, TILE_WIDTH

# One an hour is what a node makes; whoever hands in more only makes the log grow.
MAX_STATEMENTS_AN_HOUR = 60
_HOUR = timedelta(hours=1)


class Statements:
    """Takes statements of members; safe to use from several threads."""

    def __init__(self, store: Store, files: LogFiles, federation: FederationName) -> None:
        self._store = store
        self._files = files
        self._federation = federation
        self._taken: dict[NodeId, deque[datetime]] = {}

    def put(self, context: str, statement: SignedStatement, member: Member, now: datetime) -> None:
        """Have a statement of `member`, who is the caller, logged; it waits durably when this returns.

        The same one again changes nothing. Raises MalformedMessage, LimitExceeded, IdentityMismatch,
        SignatureInvalid, NotYetValid, ClockWrong, Rollback, AlreadyExists, WrongStanding or QuotaSpent.
        """
        said = parse_statement(context, statement.body)
        if (said.federation, said.node) != (self._federation, member.node):
            raise IdentityMismatch(f"A statement of {said.node} was handed in by {member.node}.")
        statement.verify(context, member.signing_key, str(member.node))
        entry = Statement(context, statement).encode()
        if len(entry) > MAX_ENTRY_OCTETS:
            raise LimitExceeded(f"With its statement an entry of the log has over {MAX_ENTRY_OCTETS} octets.")
        if isinstance(said, Heartbeat):
            self._heartbeat(said, entry, now)
        elif isinstance(said, WitnessKeyStatement):
            self._witness_key(said, statement, entry, now)
        elif isinstance(said, SuccessionConsent):
            self._consent(said, entry, now)
        else:
            with self._store.write() as tx:
                self._wait(tx, member.node, entry, now)

    def _wait(self, tx: Transaction, node: NodeId, entry: bytes, now: datetime) -> None:
        taken = self._taken.setdefault(node, deque())
        while taken and not timedelta(0) <= now - taken[0] < _HOUR:
            taken.popleft()
        if len(taken) >= MAX_STATEMENTS_AN_HOUR:
            raise QuotaSpent(
                f"{node} had {MAX_STATEMENTS_AN_HOUR} statements logged in an hour.",
                remedy="Try again later.",
            )
        taken.append(now)
        tx.log.wait([(Statement.KIND, entry)], now)

    # --- witness keys -----------------------------------------------------------------------------------

    def _witness_key(
        self, said: WitnessKeyStatement, statement: SignedStatement, entry: bytes, now: datetime
    ) -> None:
        node, keys = said.node, said.verifier_keys
        if said.issued_at > now + CLOCK_TOLERANCE:
            raise NotYetValid("A witness key issued in the future.", remedy="Check this machine's clock.")
        held = [key.key for key in keys]
        with self._store.write() as tx:
            known = tx.logged.witness(node)
            if known is not None and [known.ed25519_key, known.ml_dsa_key] == held:
                return
            if known is not None and said.issued_at <= known.issued_at:
                raise Rollback(f"{node} has handed in a younger witness key already.")
            if tx.logged.witness_key_is_taken(node, held):
                raise AlreadyExists("Another member has this witness key.", remedy="Make new ones.")
            if {one.key.key for one in tx.log.outside()} & set(held):
                raise AlreadyExists("A witness of the operator has this key.", remedy="Make new ones.")
            tx.logged.set_witness(
                WitnessRecord(node, said.ed25519_key, said.ml_dsa_key, said.issued_at, statement)
            )
            self._wait(tx, node, entry, now)
            due.log_policy(tx, self._federation, now)

    # --- consents ---------------------------------------------------------------------------------------

    def _consent(self, said: SuccessionConsent, entry: bytes, now: datetime) -> None:
        """A member has come over: what it consents to is what this hub began with, or another hub (§19.3)."""
        with self._store.write() as tx:
            begun = next((one for one in tx.log.shards() if one.shard == said.shard + 1), None)
            before = next((one for one in tx.log.shards() if one.shard == said.shard), None)
            policies = {sha256(one.text).digest() for one in tx.log.policies()}
            if (
                begun is None
                or before is None
                or (before.size, before.range.root()) != (said.size, said.root)
                or (begun.ed25519_key, begun.ml_dsa_key) != (said.ed25519_key, said.ml_dsa_key)
                or said.policy_digest not in policies
            ):
                raise WrongStanding(
                    f"The consent of {said.node} is to another successor than this hub.",
                    remedy="Look at the invitation: `candor-node move` goes to the hub that it names.",
                )
            self._wait(tx, said.node, entry, now)

    # --- heartbeats -------------------------------------------------------------------------------------

    def _heartbeat(self, said: Heartbeat, entry: bytes, now: datetime) -> None:
        if abs(said.issued_at - now) > CLOCK_TOLERANCE:
            raise ClockWrong(
                f"The heartbeat says {said.issued_at:%Y-%m-%d %H:%M:%S} UTC, the hub "
                f"{now:%Y-%m-%d %H:%M:%S} UTC.",
                remedy="Set the clock of the wrong machine (NTP), then try again.",
            )
        with self._store.read() as tx:
            shard = _check_shard(present_shard(tx), said)
            before = tx.log_states.requests_before
            said.check_covers(before(said.end) - before(said.start))
            live = tx.logged.live_requests(said.node, now)
            covered = tx.log_states.requests_between(said.start, said.end, MAX_COVERED) if live else []
        # Read outside of the transaction: what is logged does not change.
        commitments = self._commitments(shard, covered)
        for position, commitment in enumerate(commitments):
            if commitment in live and not said.has_received(position):
                raise WrongStanding(
                    f"The heartbeat of {said.node} leaves out a lookup that lives (number {position} of its "
                    "range).",
                    remedy="Wait for its delivery; the range can be handed in once it has come or expired.",
                )
        octets = digest("hub-heartbeat", entry)
        with self._store.write() as tx:
            last = tx.logged.heartbeat(said.node)
            if last is not None and last.digest == octets:
                return
            _check_shard(present_shard(tx), said)
            _check_follows(shard, last, said)
            record = HeartbeatRecord(shard.shard, said.number, said.end, octets, now)
            tx.logged.set_heartbeat(said.node, record)
            self._wait(tx, said.node, entry, now)

    def _commitments(self, shard: ShardRecord, indexes: list[int]) -> list[bytes]:
        """The commitments of the `requests` entries at these indexes, in order."""
        reader, found = self._files.shard(shard.shard), list[bytes]()
        for bundle, some in groupby(indexes, lambda index: index // TILE_WIDTH):
            # Once for all of its entries: a range may name 65,536 of them.
            first, held = bundle * TILE_WIDTH, tuple(some)
            entries = reader.bundle(bundle, held[-1] - first + 1)
            for index in held:
                entry = parse_entry(entries[index - first])
                if isinstance(entry, Requests):
                    found += entry.commitments
        return found


def _check_shard(shard: ShardRecord | None, said: Heartbeat) -> ShardRecord:
    """Raises WrongStanding unless the heartbeat is about what the present shard holds."""
    if shard is None or shard.closed or said.origin != shard.origin or said.end > shard.size:
        raise WrongStanding(
            f"The heartbeat of {said.node} is about entries that the present shard of the log does not hold.",
            remedy="Follow the log, then begin anew.",
        )
    return shard


def _check_follows(shard: ShardRecord, last: HeartbeatRecord | None, said: Heartbeat) -> None:
    """Raises Rollback unless the heartbeat is the next one of its member in the shard."""
    if last is None or last.shard != shard.shard:
        return
    if (said.number, said.start) != (last.number + 1, last.until):
        raise Rollback(
            f"A heartbeat of {said.node} that does not follow its last one, which has the number "
            f"{last.number} and ends at {last.until}.",
            remedy="Go on from there.",
        )
