"""Members, keys and a verified directory for tests of the core: no network, no files, a settable time."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from candor_proto import oprf
from candor_proto.canonical import Writer
from candor_proto.directory import (
    Directory,
    IndexHead,
    Member,
    MemberStatus,
    Seen,
    VerifiedDirectory,
    verify_directory,
)
from candor_proto.exchange import AskedPerson, Draft, Paperwork, blind_plan, draft_lookup
from candor_proto.ids import Digest, FederationName, KeyClass, LookupId, LookupShape, NodeId, Ori, Purpose
from candor_proto.matchkeys import plan_lookup
from candor_proto.normalise import SCHEME_VERSION, Particulars, normalise
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SignedStatement, SigningKey
from candor_proto.statements import Answer, AnswerStatus, Evaluation, Left, Lookup, Target, classes_of

NOW = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
FEDERATION = FederationName("test.candor.example")
MIKE = Particulars(first="Mike", middle="Lee", last="Schmidt", birth_date="1980-11-02", ssn4="4071", sex="M")
CHAIN_DIGEST = Digest(bytes(32))


def epoch_keys(seed: bytes, node: NodeId, epoch: int) -> dict[KeyClass, oprf.KeyPair]:
    """The three key pairs of docs/protocol.md §5.2."""
    return {
        key_class: oprf.derive_key_pair(
            seed,
            Writer("epoch-key")
            .text(str(FEDERATION))
            .text(str(node))
            .integer(epoch, 4)
            .integer(key_class.value, 1)
            .finish(),
        )
        for key_class in KeyClass
    }


@dataclass
class Party:
    """One member with all its keys."""

    node: NodeId
    signing: SigningKey = field(default_factory=SigningKey.generate)
    disclosure: DisclosureKey = field(default_factory=DisclosureKey.generate)
    epoch: int = 1
    seed: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    sequence: int = 1

    def keys(self) -> dict[KeyClass, oprf.KeyPair]:
        return epoch_keys(self.seed, self.node, self.epoch)

    def head(self, issued_at: datetime = NOW) -> IndexHead:
        return IndexHead(
            FEDERATION,
            self.node,
            self.sequence,
            self.epoch,
            {key_class: pair.public for key_class, pair in self.keys().items()},
            3,
            SCHEME_VERSION,
            (),
            issued_at,
        )

    def signed_head(self, issued_at: datetime = NOW) -> SignedStatement:
        return self.signing.sign("index-head", self.head(issued_at).encode())

    def member(self, **changes: object) -> Member:
        member = Member(
            node=self.node,
            name=f"The {self.node} department",
            oris=(Ori("ZZ0000100"),),
            tls_subject=f"spiffe://{FEDERATION}/node/{self.node}",
            signing_key=self.signing.public,
            disclosure_key=self.disclosure.public,
            status=MemberStatus.ACTIVE,
            joined_at=NOW - timedelta(days=10),
            answered_from=NOW - timedelta(days=9),
            head=self.signed_head(),
        )
        return replace(member, **changes)  # type: ignore[arg-type]  # test helper: names checked at run time

    def evaluate(self, lookup: Lookup, **changes: object) -> Answer:
        """An honest answer to `lookup`, with fields replaced by `changes`."""
        evaluations = {}
        for key_class in classes_of(lookup.shape) if lookup.persons else ():
            elements, proof = oprf.blind_evaluate(self.keys()[key_class], lookup.elements[key_class])
            evaluations[key_class] = Evaluation(elements, proof)
        answer = Answer(
            FEDERATION,
            lookup.lookup_id,
            lookup.digest(),
            self.node,
            lookup.asker,
            AnswerStatus.EVALUATED,
            self.epoch,
            NOW,
            Left(3_960, 996, 2_988, 2_376),
            lookup.shape,
            lookup.persons,
            evaluations,
        )
        return replace(answer, **changes)  # type: ignore[arg-type]  # test helper: names checked at run time

    def sign_answer(self, answer: Answer) -> SignedStatement:
        return self.signing.sign("answer", answer.encode())


class Parties:
    """A few members and the directory that names them."""

    def __init__(self, *names: str) -> None:
        self.directory_key = SigningKey.generate()
        self.all = {NodeId(name): Party(NodeId(name)) for name in sorted(names)}
        self.version = 1

    def __getitem__(self, name: str) -> Party:
        return self.all[NodeId(name)]

    def directory(self, **members: Member) -> Directory:
        """The directory document; a member given by name (dashes as underscores) replaces the honest one."""
        given = {name.replace("_", "-"): member for name, member in members.items()}
        listed = tuple(given.get(str(node), party.member()) for node, party in self.all.items())
        return Directory(FEDERATION, self.version, NOW, listed, (), CHAIN_DIGEST)

    def signed(self, directory: Directory | None = None) -> SignedStatement:
        return self.directory_key.sign("directory", (directory or self.directory()).encode())

    def verified(
        self, directory: Directory | None = None, now: datetime = NOW, seen: Seen | None = None
    ) -> VerifiedDirectory:
        return verify_directory(
            self.signed(directory), self.directory_key.public, CHAIN_DIGEST, FEDERATION, now, seen
        )

    def targets(self) -> tuple[Target, ...]:
        return tuple(Target(node, party.epoch) for node, party in self.all.items())

    def draft(
        self,
        asker: str,
        particulars: Particulars = MIKE,
        shape: LookupShape = LookupShape.SCREENING,
        purpose: Purpose = Purpose.J_APPLICANT,
        now: datetime = NOW,
        lookup_id: LookupId | None = None,
    ) -> Draft:
        return self.draft_all(asker, [particulars], shape, purpose, now, lookup_id)

    def draft_all(
        self,
        asker: str,
        people: Sequence[Particulars],
        shape: LookupShape = LookupShape.SCREENING,
        purpose: Purpose = Purpose.J_APPLICANT,
        now: datetime = NOW,
        lookup_id: LookupId | None = None,
    ) -> Draft:
        """One lookup about all of `people`, the first plan of each."""
        asked = []
        for particulars in people:
            paperwork = Paperwork.draw("REQ-1", "CONSENT-1", "Sgt. Example")
            plan = plan_lookup(normalise(particulars), shape, paperwork.filler_seed)[0]
            asked.append(AskedPerson(blind_plan(plan), paperwork))
        return draft_lookup(
            asked,
            shape,
            purpose,
            FEDERATION,
            NodeId(asker),
            self.targets(),
            self[asker].signing,
            now,
            lookup_id,
        )


def states(progress: Mapping[NodeId, object]) -> dict[str, object]:
    return {str(node): state for node, state in progress.items()}
