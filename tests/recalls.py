"""An owner that released a record and the node that holds it, without a hub: for tests of recall.

    couple = Couple(tmp_path)
    dcn = couple.file()
    request = couple.release(dcn)          # asked for, released, on its way
    couple.carry()                         # alpha holds the record
    couple.act(lambda db, doing: lifecycle.void(db, dcn, doing))
    couple.tell()                          # bravo sends what is due, alpha acts, bravo hears of it

Databases, keys, signatures and seals are real; the hub is a list, and time stands still unless it is moved.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from candor_node import filings, ledger, lifecycle, lookup_store, mail_store, request_store
from candor_node.disclosures import Requester
from candor_node.lifecycle import Doing, LifeEvent
from candor_node.lookup_store import SearchRow
from candor_node.mail_store import InboxRow
from candor_node.recall_store import Recall, ReceivedRecall
from candor_node.recall_store import list_received as received_recalls
from candor_node.recall_store import list_sent as sent_recalls
from candor_node.recalled import RecallRecipient
from candor_node.recalling import Recaller
from candor_node.request_store import SentRequest
from candor_node.store import Database, Store
from candor_node.workers import Lane
from candor_proto.directory import VerifiedDirectory
from candor_proto.disclosure import (
    DisclosureRequest,
    DisclosureResponse,
    Outcome,
    OwnerState,
    seal_response,
)
from candor_proto.ids import Digest, FederationName, Handle, LookupId, LookupShape, NodeId, Purpose, RequestId
from candor_proto.record import SALT_OCTETS, DisputeStatus, commit
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SigningKey
from candor_proto.statements import LOOKUP_LIFE
from candor_records.policy import NoPack, Policy
from candor_records.records import Dcn, Record, canonical
from candor_wire.codec import Envelope, MessageKind
from tests.parties import FEDERATION, NOW, Parties
from tests.records import CONTRIBUTOR, ORI, make_content, new_store, open_again

ALPHA, BRAVO = NodeId("alpha"), NodeId("bravo")


class Moved:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at


class Indexes:
    """The directory, and no index."""

    def __init__(self, directory: VerifiedDirectory) -> None:
        self.directory: VerifiedDirectory = directory
        self.indexes: dict[NodeId, Any] = {}

    def require_directory(self) -> VerifiedDirectory:
        return self.directory


class Outbox:
    """The store's own outbox, which `Couple.carry` empties."""

    def wake(self) -> None:
        pass


@dataclass(frozen=True)
class Released:
    """A request and its response, as if a person had decided; as rows of the two databases."""

    request: DisclosureRequest
    reply: DisclosureKey
    envelope: Envelope

    @classmethod
    def of(
        cls,
        record: Record,
        key: SigningKey,
        owner: NodeId,
        holder: NodeId,
        search: LookupId,
        now: datetime,
        federation: FederationName = FEDERATION,
    ) -> Released:
        salt, octets = secrets.token_bytes(SALT_OCTETS), canonical(record).encode()
        reply = DisclosureKey.generate()
        request = DisclosureRequest(
            federation,
            RequestId(secrets.token_bytes(16)),
            holder,
            owner,
            1,
            Handle(secrets.token_bytes(16)),
            commit(salt, octets),
            Purpose.J_APPLICANT,
            "REQ-1",
            Digest(bytes(32)),
            "Inv. Roe",
            search,
            reply.public,
            now,
            now + timedelta(days=30),
        )
        response = DisclosureResponse(
            federation,
            request.request_id,
            request.digest(),
            owner,
            holder,
            Outcome.RELEASED,
            salt,
            octets,
            DisputeStatus.NONE,
            "",
            now,
        )
        envelope = Envelope(
            request.request_id.value,
            MessageKind.DISCLOSURE_RESPONSE,
            owner,
            holder,
            seal_response(response, key, reply.public),
            b"",
            request.expires_at,
        )
        return cls(request, reply, envelope)

    def ask(self, db: Database, hit: int) -> None:
        """At the holder."""
        search = self.request.lookup_id
        request_store.add_sent(db, search, hit, self.request, self.reply.octets(), "dana")

    def release(self, db: Database, dcn: str, now: datetime) -> None:
        """At the owner; the response lies in its outbox then."""
        request_store.add_received(db, self.request, OwnerState.RECEIVED, "", dcn, now)
        request_store.settle_received(
            db, self.request.request_id, OwnerState.RELEASED, now, reason="", by="chief"
        )
        mail_store.enqueue(db, self.envelope, now)


def add_search(db: Database, search_id: LookupId, now: datetime) -> None:
    """A lookup that requests may be about."""
    row = SearchRow(
        search_id,
        Purpose.J_APPLICANT,
        LookupShape.DETAILED,
        "REQ-1",
        "C-1",
        "Roe",
        now,
        now + LOOKUP_LIFE,
        1,
        False,
        1,
        (),
    )
    lookup_store.add_search(db, row)


@dataclass
class Side:
    """One of the two nodes, with what it has of recall and disclosure."""

    name: NodeId
    store: Store
    recaller: Recaller
    recipient: RecallRecipient
    requester: Requester

    def events(self, area: str) -> list[str]:
        return [entry.event for entry in self.store.run_sync(lambda db: ledger.entries(db, event=area))]

    async def process(self, row: InboxRow) -> None:
        works = {
            MessageKind.DISCLOSURE_RESPONSE: self.requester.process,
            MessageKind.RECALL_NOTICE: self.recipient.process,
            MessageKind.RECALL_ACK: self.recaller.process,
        }
        await works[row.envelope.kind](row)


@dataclass
class Couple:
    """Alpha asked, bravo released."""

    folder: Path
    policy: Policy = field(default_factory=NoPack)
    clock: Moved = field(default_factory=Moved)
    sent: list[Envelope] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.parties = Parties("alpha", "bravo", "mallory")
        self.indexes = Indexes(self.parties.verified())
        self.alpha, self.bravo = self._side(ALPHA), self._side(BRAVO)
        self.search_id = LookupId(secrets.token_bytes(16))
        self.alpha.store.run_sync(lambda db: add_search(db, self.search_id, NOW))

    def close(self) -> None:
        self.alpha.store.close()
        self.bravo.store.close()

    def _side(self, name: NodeId) -> Side:
        place, key = self.folder / str(name), self.parties[str(name)]
        place.mkdir(exist_ok=True)
        store = open_again(place) if (place / "node.db").exists() else new_store(place)
        indexes: Any = self.indexes
        outbox: Any = Outbox()
        parts = store, indexes, outbox, FEDERATION, name, key.signing
        return Side(
            name,
            store,
            Recaller(*parts, key.disclosure, self.clock),
            RecallRecipient(*parts, key.disclosure, self.clock),
            Requester(*parts, self.clock),
        )

    def at(self, folder: Path) -> Couple:
        """The same two, on copies of their databases in another folder."""
        twin = copy(self)
        twin.folder, twin.sent = folder, list(self.sent)
        twin.alpha, twin.bravo = twin._side(ALPHA), twin._side(BRAVO)
        return twin

    # --- what the owner does -----------------------------------------------------------------------------

    def act(self, work: Callable[[Database, Doing], Any]) -> Any:
        """Do something to a record of bravo's, now."""
        doing = Doing(self.clock.now(), CONTRIBUTOR, self.policy, "Because.", "chief-1")
        return self.bravo.store.run_sync(lambda db: work(db, doing))

    def file(self, **overrides: str) -> Dcn:
        content = make_content(**overrides)
        event: LifeEvent = self.act(lambda db, doing: lifecycle.file(db, content, ORI, BRAVO, doing))
        return event.after.dcn

    def correct(self, dcn: Dcn, **overrides: str) -> Dcn:
        content = make_content(**overrides)
        event: LifeEvent = self.act(lambda db, doing: lifecycle.correct(db, dcn, content, doing))
        return event.after.dcn

    def release(self, dcn: Dcn, hit: int = 1) -> DisclosureRequest:
        """Alpha asks for the version `dcn`, bravo releases it; the response lies in bravo's outbox."""
        record = self.bravo.store.run_sync(lambda db: filings.find(db, dcn))
        now, key = self.clock.now(), self.parties["bravo"].signing
        released = Released.of(record, key, BRAVO, ALPHA, self.search_id, now)
        request = released.request
        self.alpha.store.run_sync(lambda db: released.ask(db, hit))
        self.bravo.store.run_sync(lambda db: released.release(db, str(dcn), now))
        return request

    # --- the mail ----------------------------------------------------------------------------------------

    def take(self, side: Side) -> list[Envelope]:
        """What the hub takes from `side` now, out of its outbox."""
        now = self.clock.now()

        def work(db: Database) -> list[Envelope]:
            rows = mail_store.due(db, side.name, now, 100)
            mail_store.sent(db, *(row.number for row in rows))
            return [row.envelope for row in rows]

        taken = side.store.run_sync(work)
        self.sent += taken
        return taken

    def deliver(self, envelope: Envelope) -> None:
        """The hub hands a message on, and its recipient processes it."""
        side = self.alpha if envelope.recipient == ALPHA else self.bravo
        row = side.store.run_sync(lambda db: mail_store.receive(db, envelope, self.clock.now()))
        if row is not None:
            asyncio.run(side.process(row))

    def work_off(self, side: Side) -> None:
        """Process what was stored and left, as a node does that was started again."""
        for kind in (MessageKind.DISCLOSURE_RESPONSE, MessageKind.RECALL_NOTICE, MessageKind.RECALL_ACK):
            for row in side.store.run_sync(
                lambda db, kind=kind: mail_store.unsettled(db, kind, side.name, 10, Lane.SINGLE, [])  # type: ignore[misc]
            ):
                asyncio.run(side.process(row))

    def carry(self) -> list[Envelope]:
        """Everything that waits in either outbox arrives, and what it brings about as well."""
        carried = []
        while taken := [*self.take(self.bravo), *self.take(self.alpha)]:
            carried += taken
            for envelope in taken:
                self.deliver(envelope)
        return carried

    def send(self) -> int:
        """Bravo seals what is due."""
        return asyncio.run(self.bravo.recaller.send_due())

    def tell(self) -> list[Envelope]:
        """Everything is said and heard, until nothing is due any more."""
        carried = []
        while self.send():
            carried += self.carry()
        return carried

    def later(self, **by: float) -> None:
        self.clock.at += timedelta(**by)

    # --- what they know ----------------------------------------------------------------------------------

    def recalls(self) -> list[Recall]:
        """Bravo's, oldest first."""
        return self.bravo.store.run_sync(lambda db: sent_recalls(db, 100))[::-1]

    def received(self) -> list[ReceivedRecall]:
        """Alpha's, oldest first."""
        return self.alpha.store.run_sync(lambda db: received_recalls(db, 100))[::-1]

    def holding(self, request: DisclosureRequest) -> SentRequest:
        """What alpha has of a request."""
        known = self.alpha.store.run_sync(lambda db: request_store.sent(db, request.request_id))
        assert known is not None
        return known
