"""An asker, an owner, a hub with its log, and what each of them signed: for tests of receipts and evidence.

`Court` holds what honest parties sent and logged; a test changes one thing, and asks whether that accuses.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from candor_proto.accountability.evidence import Evidence, Item, Kind
from candor_proto.accountability.file_form import LoggedPart
from candor_proto.accountability.receipt import AnswerReceipt, DisclosureReceipt
from candor_proto.accountability.trust import ANSWER_KIND, Trust
from candor_proto.canonical import digest
from candor_proto.directory import Directory, IndexHead, SegmentRef
from candor_proto.disclosure import DisclosureRequest, DisclosureResponse, Outcome
from candor_proto.errors import CertificateRefused
from candor_proto.ids import Digest, LookupId, NodeId, Purpose, RequestId
from candor_proto.merkle import CompactRange, leaf_hash
from candor_proto.normalise import Particulars
from candor_proto.record import CanonicalRecord, DisputeStatus, RecordKind, Tier, commit
from candor_proto.sealed_index import IndexOwner, seal_blob
from candor_proto.sealing import DisclosureKey
from candor_proto.segment import Segment, address
from candor_proto.signing import SignedStatement, VerifyingKey
from candor_proto.statements import Answer
from candor_proto.tlog import tiles
from candor_proto.tlog.entries import (
    DirectoryEntry,
    Receipts,
    Requests,
    Statement,
    head_entry,
    member_entry,
    receipt_commitment,
    request_commitment,
)
from candor_proto.tlog.state import state_of
from candor_proto.tlog.statements import HEARTBEAT, Heartbeat, received_bits
from tests.indexes import SealedPerson, Sealer
from tests.log_scene import LogScene
from tests.parties import FEDERATION, MIKE, NOW, Parties

ASKER, OWNER, OTHER = NodeId("asker"), NodeId("owner"), NodeId("other")
VICTIM = Particulars(first="Erika", last="Mustermann", birth_date="1970-08-12", ssn4="5151", sex="F")
CHAIN = (b"a certificate in DER", b"the one above it")
RECORD = CanonicalRecord(
    RecordKind.TERMINATION_FOR_CAUSE, Tier.ADJUDICATED, {"dcn": "C-1", "last": "Mustermann"}
)


class Court:
    """Everything honest parties did, logged; `people` are in the owner's index, the first with `RECORD`."""

    def __init__(self) -> None:
        self.parties = Parties("asker", "owner", "other")
        self.log = LogScene(names=("asker", "other", "owner"))
        self.owner, self.asker = self.parties["owner"], self.parties["asker"]
        self.index_owner = IndexOwner(FEDERATION, OWNER, self.owner.epoch)
        self.salt = secrets.token_bytes(32)
        self.segment, self.people = self.sealed((VICTIM, MIKE))
        self.head = self.head_of(self.segment)
        self.signed_head = self.sign_head(self.head)
        self.draft = self.parties.draft("asker")
        self.lookup = self.draft.statement
        self.answer = self.owner.evaluate(self.draft.lookup)
        self.signed_answer = self.owner.sign_answer(self.answer)
        self.directory = replace(
            self.parties.directory(), chain_digest=Digest(digest("certificate-chain", *CHAIN))
        )
        self.logged: dict[str, int] = {}
        for name in ("asker", "other", "owner"):
            self.enter(f"member {name}", member_entry(self.parties[name].member()).encode())
        self.enter("head", head_entry(self.signed_head).encode())
        self.enter("directory", self.directory_entry().encode())
        self.enter("others", Requests((bytes([1]) * 32, bytes([2]) * 32)).encode())
        mine = request_commitment(self.lookup)
        self.commitments = tuple(sorted((bytes(32), mine, b"\xff" * 32)))
        self.enter("request", Requests(self.commitments).encode())
        self.enter("receipt", Receipts((self.receipt(self.signed_answer),)).encode())
        self.position = self.commitments.index(mine)

    # --- the log -------------------------------------------------------------------------------------------

    def enter(self, name: str, entry: bytes) -> None:
        self.logged[name] = len(self.log.entries)
        self.log.append([entry])

    def part(self, name: str) -> LoggedPart:
        """A logged part with a proof under the newest head."""
        index = self.logged[name]
        return LoggedPart(self.log.entries[index], self.log.proof(index))

    def trust(self, now: datetime = NOW) -> Trust:
        def directory_key(chain: Sequence[bytes], at: datetime) -> VerifyingKey:
            if tuple(chain) != CHAIN or at != NOW:
                raise CertificateRefused("Not the chain of the hub.")
            return self.parties.directory_key.public

        return Trust(self.log.policy, now, directory_key)

    def members(self) -> dict[str, Item]:
        return {"asker_member": self.part("member asker"), "owner_member": self.part("member owner")}

    @staticmethod
    def receipt(answer: SignedStatement) -> bytes:
        return receipt_commitment(ANSWER_KIND, answer.body, answer.signature)

    def directory_entry(self) -> DirectoryEntry:
        directory = self.directory
        return DirectoryEntry(
            directory.version, directory.issued_at, directory.chain_digest.value, state_of(directory)
        )

    # --- the index -----------------------------------------------------------------------------------------

    def sealer(self, number: int = 1) -> Sealer:
        return Sealer(self.owner.keys(), self.index_owner, number, 3)

    def sealed(self, people: Sequence[Particulars]) -> tuple[bytes, tuple[SealedPerson, ...]]:
        """A segment of the owner's; the blob of the first person is committed to RECORD."""
        sealer = self.sealer()
        sealed = [sealer.seal(person) for person in people]
        first = recommitted(sealed[0], self.index_owner, commit(self.salt, RECORD.encode()))
        return sealer.segment([first, *sealed[1:]]), (first, *sealed[1:])

    def head_of(self, *segments: bytes, **changes: object) -> IndexHead:
        refs = tuple(
            SegmentRef(Segment(octets).header.number, address(octets), len(octets)) for octets in segments
        )
        return replace(self.owner.head(), segments=refs, **changes)  # type: ignore[arg-type]  # names checked at run time

    def sign_head(self, head: IndexHead) -> SignedStatement:
        return self.owner.signing.sign("index-head", head.encode())

    # --- what is said --------------------------------------------------------------------------------------

    def sign_answer(self, answer: Answer) -> SignedStatement:
        return self.owner.sign_answer(answer)

    def heartbeat(self, received: Sequence[bool], **changes: object) -> SignedStatement:
        """The owner's, about all entries from the directory's on up to the receipt."""
        heartbeat = Heartbeat(
            FEDERATION, OWNER, self.log.origin, 0, self.logged["directory"], self.logged["receipt"] + 1,
            received_bits(received), 1, 0, 10, bytes(32), NOW + timedelta(hours=1),
        )  # fmt: skip
        changed = replace(heartbeat, **changes)  # type: ignore[arg-type]  # names checked at run time
        return self.owner.signing.sign(HEARTBEAT, changed.encode())

    def enter_heartbeat(self, statement: SignedStatement, name: str = "heartbeat") -> None:
        self.enter(name, Statement(HEARTBEAT, statement).encode())

    def request(self, **changes: object) -> DisclosureRequest:
        first = self.people[0]
        request = DisclosureRequest(
            FEDERATION, RequestId(secrets.token_bytes(16)), ASKER, OWNER, self.head.epoch,
            first.label.handle, first.label.commitment, Purpose.J_APPLICANT, "REQ-1", Digest(bytes(32)),
            "Sgt. Example", LookupId(self.draft.lookup.lookup_id.value), DisclosureKey.generate().public, NOW,
            NOW + timedelta(days=30),
        )  # fmt: skip
        return replace(request, **changes)  # type: ignore[arg-type]  # names checked at run time

    def response(self, request: DisclosureRequest, **changes: object) -> DisclosureResponse:
        response = DisclosureResponse(
            FEDERATION, request.request_id, request.digest(), OWNER, ASKER, Outcome.RELEASED, self.salt,
            RECORD.encode(), DisputeStatus.NONE, "", NOW,
        )  # fmt: skip
        return replace(response, **changes)  # type: ignore[arg-type]  # names checked at run time

    def sign_request(self, request: DisclosureRequest) -> SignedStatement:
        return self.asker.signing.sign("disclosure-request", request.encode())

    def sign_response(self, response: DisclosureResponse) -> SignedStatement:
        return self.owner.signing.sign("disclosure-response", response.encode())

    def sign_directory(self, directory: Directory) -> SignedStatement:
        return self.parties.directory_key.sign("directory", directory.encode())

    # --- files ---------------------------------------------------------------------------------------------

    def answer_receipt(self, **changes: object) -> AnswerReceipt:
        receipt = AnswerReceipt(
            FEDERATION, ASKER, OWNER, self.lookup, self.signed_answer, self.signed_head,
            self.part("member asker"), self.part("member owner"), self.part("head"), self.part("request"),
            self.part("receipt"),
        )  # fmt: skip
        return replace(receipt, **changes)  # type: ignore[arg-type]  # names checked at run time

    def disclosure_receipt(self, **changes: object) -> DisclosureReceipt:
        request = self.request()
        receipt = DisclosureReceipt(
            FEDERATION, ASKER, OWNER, self.sign_request(request), self.sign_response(self.response(request)),
            self.part("member asker"), self.part("member owner"),
        )  # fmt: skip
        return replace(receipt, **changes)  # type: ignore[arg-type]  # names checked at run time

    def evidence(self, kind: Kind, items: Mapping[str, Item], accused: str = "owner") -> Evidence:
        return Evidence(kind, FEDERATION, accused, dict(items))

    def dropped(self, **changes: Item) -> Evidence:
        """A dropped lookup, by the heartbeat that was entered; whether it is one is the test's business."""
        index, start = self.logged["request"], self.logged["directory"]
        request = self.part("request")
        items: dict[str, Item] = {
            "lookup": self.lookup,
            "owner": OWNER,
            "request_logged": request,
            "heartbeat_logged": self.part("heartbeat"),
            "prefix": tiles_prefix(self.log.entries, start),
            "entries": tuple(self.log.entries[start:index]),
            "consistency": tuple(
                tiles.consistency_proof(self.log.tiles, index + 1, request.proof.signed.checkpoint.size)
            ),
            **self.members(),
        }
        return self.evidence(Kind.DROPPED_LOOKUP, items | changes, "hub")


def tiles_prefix(entries: Sequence[bytes], size: int) -> tuple[bytes, ...]:
    """The hashes of the largest full subtrees of the first `size` entries."""
    return CompactRange.EMPTY.extend(leaf_hash(entry) for entry in entries[:size]).hashes


def recommitted(person: SealedPerson, owner: IndexOwner, commitment: Digest) -> SealedPerson:
    """The same record with another commitment in its blob."""
    label = replace(person.label, commitment=commitment)
    return replace(
        person, label=label, blob=seal_blob(label, person.secrets.secret, person.secrets.blob_id, owner)
    )
