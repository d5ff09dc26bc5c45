"""The directory: built from the members' rows, signed, stored as a version of its own at every change.

Rules of this file:
- whatever changes a member calls `publish` in the same transaction, so that no state exists of which there is
  no signed version, and "has the version moved?" answers "has anything changed?" for every reader;
- the version is looked up in the database for every call that is judged by it: another process (the command
  line) or replica may have moved it a moment ago.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from candor_certs.revocation import DenyList
from candor_hub.authorities import check_deniable
from candor_hub.keys import HubKeys
from candor_hub.store import Mark, Store, Transaction
from candor_hub.store.directories import StoredDirectory
from candor_hub.store.log import LogNews
from candor_hub.tlog.confirmed import went_back
from candor_hub.tlog.due import log_directory
from candor_proto.directory import Directory, IndexHead, Member, MemberStatus
from candor_proto.errors import CertificateRevoked, InputInvalid, NotAMember, UnknownObject
from candor_proto.ids import FederationName, NodeId
from candor_wire.codec import chain_digest

# Longer than any list is good.
WENT_BACK = timedelta(days=1)


@dataclass(frozen=True)
class CurrentDirectory:
    """The hub's own directory as a DirectoryView: the rows behind it were checked when they were written."""

    directory: Directory
    active: frozenset[NodeId] = field(init=False, repr=False, compare=False)
    statuses: Mapping[NodeId, MemberStatus] = field(init=False, repr=False, compare=False)
    _members: dict[NodeId, Member] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "active", frozenset(self.nodes()))
        members = {member.node: member for member in self.directory.members}
        object.__setattr__(self, "_members", members)
        object.__setattr__(self, "statuses", {node: member.status for node, member in members.items()})

    @property
    def version(self) -> int:
        return self.directory.version

    @property
    def federation(self) -> FederationName:
        return self.directory.federation

    def nodes(self) -> tuple[NodeId, ...]:
        return tuple(member.node for member in self.directory.members if member.status is MemberStatus.ACTIVE)

    def member(self, node: NodeId) -> Member:
        try:
            return self._members[node]
        except KeyError:
            raise NotAMember(
                f"{node} is not a member of {self.federation}.",
                remedy="Ask the hub's operator for an invitation.",
            ) from None

    def head(self, node: NodeId) -> IndexHead | None:
        head = self.member(node).head
        return IndexHead.decode(head.body) if head else None


@dataclass(frozen=True)
class Snapshot:
    """The latest directory, as of a moment of this process's monotonic clock."""

    stored: StoredDirectory
    view: CurrentDirectory
    serials: frozenset[int]
    read_at_seconds: float
    # Whether the database is older than what witnesses know (`tlog.confirmed`).
    went_back: bool = False

    @property
    def version(self) -> int:
        return self.stored.version

    def deny_list(self, now: datetime) -> DenyList:
        """The denied serials, as old as this snapshot is: an old one refuses everybody.

        One of a database that went back counts as old: who was denied since is not on it.
        """
        age = timedelta(seconds=max(0.0, time.monotonic() - self.read_at_seconds))
        if self.went_back:
            age += WENT_BACK
        return DenyList(self.serials, now - age)


class DirectoryKeeper:
    """Reads and writes the directory; safe to use from several threads."""

    def __init__(
        self,
        store: Store,
        keys: Callable[[], HubKeys],
        vouched_at: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keys` is asked each time, because certificates are renewed while the hub runs.

        `vouched_at` says until when the database is known to be the one that all others write to
        (`time.monotonic`, seconds).
        """
        self._store = store
        self._keys = keys
        self._vouched_at = vouched_at
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        # What was committed when `look` looked last, and what it saw.
        self._looked_at: Mark | None = None
        self._looked: tuple[Snapshot, LogNews] | None = None

    @property
    def known(self) -> Snapshot:
        """What `latest` returned last, to whichever thread; `latest` comes first."""
        assert self._snapshot is not None
        return self._snapshot

    def latest(self) -> Snapshot:
        """The directory as the database has it now; raises StoreUnusable."""
        read_at = time.monotonic()
        with self._store.read() as tx:
            return self._seen(self._fresh(tx, read_at))

    def look(self) -> tuple[Snapshot, LogNews]:
        """As `latest`, and what is new about the log; raises StoreUnusable. One caller at a time.

        Where nobody has committed anything since the last look nothing is read again: it says the same.
        """
        read_at = time.monotonic()
        mark = self._store.mark()
        if mark is not None and mark == self._looked_at and self._looked is not None:
            seen, news = self._looked
            known = replace(seen, read_at_seconds=min(read_at, self._vouched_at()))
        else:
            with self._store.read() as tx:
                known, news = self._fresh(tx, read_at), tx.log.news()
        # The mark is of before: what was committed while we read is seen the next time.
        self._looked_at, self._looked = mark, (known, news)
        return self._seen(known), news

    def _fresh(self, tx: Transaction, read_at: float) -> Snapshot:
        # What a former primary says may be old: it counts from when it was known to be the one.
        read_at = min(read_at, self._vouched_at())
        version, known = tx.directories.latest_version(), self._snapshot
        if known is None or known.version != version:
            known = _snapshot(tx.directories.load(version), read_at)
        return replace(known, read_at_seconds=read_at, went_back=went_back(tx))

    def _seen(self, fresh: Snapshot) -> Snapshot:
        with self._lock:
            # Two threads may have read at once: what was seen is never taken back.
            if self._snapshot is None or fresh.version >= self._snapshot.version:
                self._snapshot = fresh
            return self._snapshot

    def shown(self, announced: int, wanted: int | None) -> StoredDirectory:
        """The version that a member gets: the one wanted, or the newest up to `announced` (§10.4).

        Raises UnknownObject when it is not kept any more, or none is announced yet; StoreUnusable.
        """
        known = self._snapshot
        if known is not None and known.version == (wanted or announced):
            return known.stored
        with self._store.read() as tx:
            version = wanted or tx.directories.kept(announced)
            stored = tx.directories.find(version) if version else None
        if stored is None:
            raise UnknownObject(
                f"Version {wanted} of the directory is not kept."
                if wanted
                else "No version of the directory is witnessed yet.",
                remedy="Ask for the newest one." if wanted else "Try again in a moment.",
            )
        return stored

    def publish(self, tx: Transaction, now: datetime) -> int:
        """Sign and store the next version, in the transaction that changed something; its number."""
        keys = self._keys().as_of(tx)
        version = tx.directories.latest_version() + 1
        directory = Directory(
            federation=keys.authority.federation,
            version=version,
            issued_at=now,
            members=tuple(record.member for record in tx.members.all()),
            denied_serials=tx.members.denied_serials(),
            chain_digest=chain_digest(keys.directory_chain_der),
        )
        statement = keys.directory_key.sign("directory", directory.encode())
        stored = StoredDirectory(version, statement, keys.directory_chain_der)
        tx.directories.add(stored, now, tx.log.witnessed_directory())
        tx.notices.directory()
        log_directory(tx, directory, now)
        return version

    def publish_if_certified_anew(self, now: datetime) -> int | None:
        """The new version's number, if the directory key's certificate is not the one published last."""
        with self._store.write() as tx:
            version = tx.directories.latest_version()
            if version and tx.directories.load(version).chain == self._keys().as_of(tx).directory_chain_der:
                return None
            return self.publish(tx, now)

    # --- what the operator decides ------------------------------------------------------------------

    def set_status(self, node: NodeId, status: MemberStatus, now: datetime) -> int:
        """Suspend a member or lift it; the new version's number. Raises UnknownObject, CertificateRevoked."""
        with self._store.write() as tx:
            _check_known(tx, node)
            if tx.members.is_revoked(node):
                raise CertificateRevoked(
                    f"{node} was revoked, and that is for good.",
                    remedy="Invite the agency again under another node id.",
                )
            tx.members.set_status(node, status)
            return self.publish(tx, now)

    def revoke(self, node: NodeId, now: datetime) -> tuple[int, int]:
        """Deny every certificate of a member and suspend it; the new version, how many certificates.

        For good: its node id is not given again, its ORI may be. Raises UnknownObject.
        """
        with self._store.write() as tx:
            _check_known(tx, node)
            denied = tx.members.deny(node, tx.members.serials(node), now)
            tx.members.set_revoked(node, now)
            return self.publish(tx, now), denied

    def deny(
        self, serial: int, now: datetime, *, authority: bool = False, cut_off: bool = False
    ) -> tuple[int, NodeId | None]:
        """Deny one certificate for good; the new version, whose it was (None: an authority's).

        `authority` says that the serial is an issuing authority's, which denies all that it certified,
        `cut_off` that members who still go by it are to be cut off. Raises UnknownObject for a serial that no
        member has, InputInvalid for the root, WrongStanding for an authority that would be missed.
        """
        with self._store.write() as tx:
            found = tx.certificates.find(serial)
            node = found.node if found else None
            if node is None and not authority:
                raise UnknownObject(
                    f"This hub issued no certificate with the serial {serial:x}.",
                    remedy="`candor-hub certificates NODE` lists a member's. If it is an issuing "
                    "authority's, say so with --authority.",
                )
            if serial == self._keys().root.serial_number:
                raise InputInvalid(
                    "This is the root, which everything hangs from.",
                    remedy="A new root means a successor: docs/succession.md.",
                )
            check_deniable(tx, serial, now, cut_off=cut_off)
            tx.members.deny(node, (serial,), now)
            return self.publish(tx, now), node


def _check_known(tx: Transaction, node: NodeId) -> None:
    if not tx.members.exists(node):
        raise UnknownObject(f"There is no member {node}.", remedy="`candor-hub agencies` lists them.")


def _snapshot(stored: StoredDirectory, read_at_seconds: float) -> Snapshot:
    directory = Directory.decode(stored.statement.body)
    return Snapshot(stored, CurrentDirectory(directory), frozenset(directory.denied_serials), read_at_seconds)
