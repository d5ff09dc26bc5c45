"""Sealed segments and index heads: kept for their owner, handed to every member (docs/protocol.md §6.6-6.8).

Rules of this file:
- a segment is stored under the digest of its octets and only for the node that its header names;
- a head is taken only if it is the owner's own, newer than the last, and everything it names is here: members
  must never be sent after something that the hub does not hold;
- what no head names is kept for 48 hours, for members that are fetching it, then dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from candor_hub.directory import DirectoryKeeper
from candor_hub.segment_files import SegmentFiles, given_at
from candor_hub.store import Store, Transaction
from candor_hub.store.directories import StoredHead
from candor_hub.store.segments import SegmentRecord
from candor_proto.canonical import to_milliseconds
from candor_proto.directory import IndexHead, Member, SeenHead, check_progress, verify_head
from candor_proto.errors import (
    IdentityMismatch,
    KeyMismatch,
    LimitExceeded,
    MalformedMessage,
    NotYetValid,
    Rollback,
    UnknownObject,
)
from candor_proto.ids import Digest, FederationName, NodeId
from candor_proto.segment import Segment, address
from candor_proto.signing import SignedStatement
from candor_proto.statements import CLOCK_TOLERANCE
from candor_wire.limits import CHUNK_BYTES

GRACE = timedelta(hours=48)
_SWEPT = 500
T = TypeVar("T")
# An index of 100,000 records has about 1.3 GB; twice that, and some more, may wait for its head.
MAX_UNNAMED_OCTETS = 4 * 1024**3


class Index:
    """Segments and heads of all members; safe to use from several threads."""

    def __init__(
        self, store: Store, files: SegmentFiles, directory: DirectoryKeeper, federation: FederationName
    ) -> None:
        self._store = store
        self._files = files
        self._directory = directory
        self._federation = federation
        # Between a row's end and its file's end the same segment must not be put again.
        self._file_lock = threading.Lock()

    def put_segment(self, stated: Digest, octets: bytes, caller: NodeId, now: datetime) -> None:
        """Store a segment of `caller`; a repetition changes nothing.

        Raises MalformedMessage, NotCanonical, LimitExceeded, IdentityMismatch or StoreUnusable.
        """
        if address(octets) != stated:
            raise MalformedMessage("A segment whose octets do not have the address it was sent under.")
        header = Segment(octets).header
        if header.node != caller or header.federation != self._federation:
            raise IdentityMismatch(f"A segment of {header.node} was sent by {caller}.")
        record = SegmentRecord(stated, caller, header.epoch, header.number, len(octets))
        with self._file_lock:
            with self._store.read() as tx:
                if tx.segments.unnamed_octets(caller) + len(octets) > MAX_UNNAMED_OCTETS:
                    raise LimitExceeded(
                        "Too many segments are stored that no index head names.",
                        remedy="Publish a head that names them; the others are dropped after 48 hours.",
                    )
            name = self._files.put(stated, octets)
            with self._store.write() as tx:
                new = tx.segments.add(replace(record, stored_as=name), now)
                known = tx.segments.find([stated])[stated]
            if not new and known.name != name:
                # Somebody was here before, at another replica perhaps: one copy is enough.
                self._files.remove(name)

    def get_segment(self, wanted: Digest) -> Iterator[bytes]:
        """The octets in chunks; raises UnknownObject or StoreUnusable."""
        with self._store.read() as tx:
            found = tx.segments.find([wanted]).get(wanted)
        if found is None:
            raise UnknownObject("There is no such segment.", remedy="Fetch the directory again.")
        return self._files.read(found.name, CHUNK_BYTES)

    def put_head(self, statement: SignedStatement, member: Member, now: datetime) -> int:
        """Publish the index head of `member`, who is the caller; the directory version that carries it.

        Raises SignatureInvalid, IdentityMismatch, MalformedMessage, Rollback, KeyMismatch, NotYetValid,
        UnknownObject.
        """
        head = verify_head(statement, member, self._federation)
        if head.issued_at > now + CLOCK_TOLERANCE:
            raise NotYetValid("An index head issued in the future.", remedy="Check this machine's clock.")
        with self._store.write() as tx:
            last = tx.directories.head(member.node)
            if last is not None and last.statement.body == statement.body:
                return tx.directories.latest_version()
            _check_newer(head, last)
            _check_held(tx, head)
            tx.directories.set_head(head, statement)
            tx.segments.name_only(member.node, [segment.address for segment in head.segments], now)
            return self._directory.publish(tx, now)

    def collect_garbage(self, now: datetime) -> int:
        """Drop segments that no head has named for the time of grace; how many."""
        with self._file_lock:
            with self._store.write() as tx:
                gone = tx.segments.drop_released(now - GRACE)
            for each in gone:
                self._files.remove(each)
        return len(gone)

    def sweep(self, now: datetime) -> int:
        """Drop objects that no row names, left by a crash; how many. Raises StoreUnusable.

        One that was begun less than the time of grace ago may be getting its row at this moment.
        """
        old, swept = to_milliseconds(now - GRACE), 0
        for some in batched(self._files.names(), _SWEPT):
            begun = {name: given_at(name) for name in some}
            candidates = [name for name, at in begun.items() if at is not None and at < old]
            with self._store.read() as tx:
                named = tx.segments.named(candidates)
            for name in candidates:
                if name not in named:
                    self._files.remove(name)
                    swept += 1
        return swept


def batched(items: Iterable[T], count: int) -> Iterator[list[T]]:
    left = iter(items)
    while some := list(islice(left, count)):
        yield some


def _check_newer(head: IndexHead, last: StoredHead | None) -> None:
    if last is None:
        return
    check_progress(head, SeenHead(last.sequence))
    if head.sequence == last.sequence:
        raise Rollback(
            f"The index head of {head.node} has sequence {head.sequence} again, with other contents.",
            remedy="A head must have a higher sequence than the one before.",
        )
    if head.epoch < last.epoch:
        raise Rollback(
            f"The index head of {head.node} is of epoch {head.epoch}; {last.epoch} was published before."
        )
    # Logged, it would make everybody refuse the log (§14.5), and the other members pay for it.
    if head.epoch == last.epoch and head.keys != IndexHead.decode(last.statement.body).keys:
        raise KeyMismatch(
            f"The index head of {head.node} has other keys than the one before in the same epoch.",
            remedy="Begin a new epoch: the keys of one never change.",
        )


def _check_held(tx: Transaction, head: IndexHead) -> None:
    held = tx.segments.find([segment.address for segment in head.segments])
    for segment in head.segments:
        record = held.get(segment.address)
        if record is None or record.node != head.node:
            raise UnknownObject(
                f"The index head names segment {segment.number}, which the hub does not hold.",
                remedy="Send the segments first, then the head.",
            )
        if (record.epoch, record.number, record.octets) != (head.epoch, segment.number, segment.octets):
            raise MalformedMessage(
                f"The index head describes segment {segment.number} otherwise than the segment itself."
            )
