"""A node's store with one officer's records, requests for them, and people at the counter, for tests."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from pathlib import Path

from candor_node import lifecycle, lookup_store, request_store, subjects
from candor_node.lifecycle import Doing
from candor_node.lookup_store import SearchRow
from candor_node.store import Database, Store
from candor_proto.disclosure import REQUEST_LIFE, DisclosureRequest, OwnerState
from candor_proto.ids import (
    Digest,
    FederationName,
    Handle,
    LookupId,
    LookupShape,
    NodeId,
    Purpose,
    RequestId,
)
from candor_proto.normalise import Particulars
from candor_proto.sealing import DisclosureKey
from candor_records.policy import NoPack
from candor_records.records import Dcn
from candor_records.roles import ALL_ROLES, Actor
from candor_records.subject_report import Agency
from tests.empty import empty_store
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, STORE_KEY, make_content

DAY = timedelta(days=1)
CLERK, APPROVER = Actor("clerk-7", ALL_ROLES), Actor("captain-1", ALL_ROLES)
AGENCY = Agency("Springfield Police", (str(ORI),), str(NODE), "12 Main St", "the State POST", 60)
OFFICER = Particulars(first="Quentin", last="Placeholderson", birth_date="1984-07-23")
_KEY = DisclosureKey.generate()


def subject_store(folder: Path) -> Store:
    return empty_store(folder / "node.db", STORE_KEY)


def doing(days: float = 0, **changes: str) -> Doing:
    return Doing(NOW + days * DAY, CONTRIBUTOR, NoPack(), **changes)


def filed(store: Store, **overrides: str) -> Dcn:
    content = make_content(**overrides)
    return store.run_sync(lambda db: lifecycle.file(db, content, ORI, NODE, doing())).after.dcn


def asked_for(
    store: Store,
    dcn: Dcn | None,
    state: OwnerState = OwnerState.RELEASED,
    reason: str = "released by a person",
    requester: str = "shelbyville-pd",
    purpose: Purpose = Purpose.J_APPLICANT,
    case: str = "REQ-77",
    handle: bytes | None = None,
    at: datetime = NOW + 5 * DAY,
) -> RequestId:
    """Another agency has asked for a record, and this became of it."""
    request = DisclosureRequest(
        federation=FederationName("test-federation"),
        request_id=RequestId(secrets.token_bytes(16)),
        requester=NodeId(requester),
        owner=NODE,
        epoch=1,
        handle=Handle(handle or secrets.token_bytes(16)),
        commitment=Digest(bytes(32)),
        purpose=purpose,
        case=case,
        consent=Digest(bytes(32)),
        officer="Inv. Somebody Else",
        lookup_id=LookupId(secrets.token_bytes(16)),
        reply_key=_KEY.public,
        issued_at=at,
        expires_at=at + REQUEST_LIFE,
    )

    def work(db: Database) -> None:
        request_store.add_received(db, request, OwnerState.RECEIVED, "", str(dcn or ""), at)
        if state is not OwnerState.RECEIVED:
            request_store.settle_received(
                db, request.request_id, state, at + DAY, reason=reason, by="captain-1"
            )

    store.run_sync(work)
    return request.request_id


def looked_up(
    store: Store,
    person: Particulars = OFFICER,
    purpose: Purpose = Purpose.J_CURRENT,
    case: str = "CASE-1",
    at: datetime = NOW,
) -> LookupId:
    """This node has asked about somebody."""
    row = SearchRow(
        search_id=LookupId(secrets.token_bytes(16)),
        purpose=purpose,
        shape=LookupShape.DETAILED,
        case=case,
        consent="CONSENT-1",
        officer="Inv. Dana Roe",
        created_at=at,
        expires_at=at + DAY,
        plans=1,
        incomplete=False,
        directory_version=1,
        missing=(),
    )

    def work(db: Database) -> None:
        lookup_store.add_search(db, row)
        about = subjects.subject(subjects.trace_key(db), person)
        subjects.note(db, row.search_id, "inv-1", about, at)

    store.run_sync(work)
    return row.search_id
