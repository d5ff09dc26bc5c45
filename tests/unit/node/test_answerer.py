"""Answering the lookups of others (docs/protocol.md §7.3, §7.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_node import epochs, ledger, mail_store
from candor_node.answerer import Answerer
from candor_node.mail_store import InboxRow, OutboxRow
from candor_node.outbox import OWN_SENDER_SECONDS, Outbox
from candor_node.store import Database, Store, Work
from candor_node.workers import Workers
from candor_proto.budget import Quota
from candor_proto.directory import IndexHead, Member, MemberStatus
from candor_proto.errors import CandorError, NotAMember
from candor_proto.exchange import (
    AskedPerson,
    Draft,
    Paperwork,
    blind_plan,
    draft_lookup,
    unblind,
    verify_answer,
)
from candor_proto.ids import FederationName, KeyClass, LookupShape, NodeId, Ori, Purpose
from candor_proto.matchkeys import plan_lookup
from candor_proto.normalise import SCHEME_VERSION, Particulars, normalise
from candor_proto.oprf import KeyPair, evaluate
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SignedStatement, SigningKey
from candor_proto.statements import Answer, AnswerStatus, Target, lookup_digest
from candor_records.policy import NoPack
from candor_wire.codec import Envelope, MessageKind
from tests.empty import empty_store
from tests.records import STORE_KEY

FEDERATION = FederationName("demo-exchange.example")
OWN, ASKER = NodeId("bravo"), NodeId("alpha")
NOW = datetime.fromisoformat("2026-03-02T12:00:00+00:00")
PERSON = Particulars(first="Quentin", last="Placeholderson", birth_date="1984-07-23", ssn4="4821")
DISCLOSURE = DisclosureKey.generate()


@dataclass
class FixedClock:
    moment: datetime = NOW

    def now(self) -> datetime:
        return self.moment


class Directory:
    """A DirectoryView of given members."""

    federation = FEDERATION
    version = 1

    def __init__(self, *members: Member) -> None:
        self.members = {member.node: member for member in members}

    def nodes(self) -> tuple[NodeId, ...]:
        return tuple(sorted(self.members))

    def member(self, node: NodeId) -> Member:
        if node not in self.members:
            raise NotAMember(f"{node} is not a member.")
        return self.members[node]

    def head(self, node: NodeId) -> IndexHead | None:
        return None


@dataclass
class Indexes:
    """Stands for IndexClient."""

    directory: Directory
    waits: int = 0

    async def caught_up(self, seconds: float) -> None:
        self.waits += 1

    def require_directory(self) -> Directory:
        return self.directory


class Hub:
    """Stands for HubClient: out of reach, so that what is to be sent can be looked at."""

    async def submit(self, envelope: Envelope) -> int:
        await asyncio.Event().wait()
        return 0

    async def outcome(self, row: OutboxRow, error: CandorError | None, settle: Work[None]) -> None: ...


def member(node: NodeId, key: SigningKey) -> Member:
    return Member(
        node,
        f"{node} agency",
        (Ori("ZZ0010000"),),
        f"spiffe://{FEDERATION}/node/{node}",
        key.public,
        DISCLOSURE.public,
        MemberStatus.ACTIVE,
        NOW - timedelta(days=90),
        NOW - timedelta(days=89),
    )


@dataclass
class Bench:
    """A node that answers, and an asker that signs."""

    store: Store
    quota: Quota = field(default_factory=Quota)
    clock: FixedClock = field(default_factory=FixedClock)
    own_key: SigningKey = field(default_factory=SigningKey.generate)
    asker_key: SigningKey = field(default_factory=SigningKey.generate)
    workers: Workers = field(default_factory=lambda: Workers(1))
    policy: NoPack = field(default_factory=NoPack)

    def __post_init__(self) -> None:
        self.asker = member(ASKER, self.asker_key)
        self.indexes = Indexes(Directory(self.asker, member(OWN, self.own_key)))
        self.store.run_sync(lambda db: epochs.current(db, NOW))

    def answerer(self) -> Answerer:
        indexes: Any = self.indexes
        hub: Any = Hub()
        outbox = Outbox(self.store, hub, OWN, self.clock, hub.outcome)
        return Answerer(
            self.store,
            indexes,
            OWN,
            self.own_key,
            self.quota,
            self.clock,
            self.workers,
            outbox,
            lambda _: self.policy,
        )

    def change_asker(self, **changes: object) -> None:
        self.indexes.directory.members[ASKER] = replace(self.asker, **changes)  # type: ignore[arg-type]

    def draft(
        self,
        *,
        epoch: int = 1,
        purpose: Purpose = Purpose.J_APPLICANT,
        shape: LookupShape = LookupShape.DETAILED,
        target: NodeId = OWN,
        issued_at: datetime = NOW,
    ) -> Draft:
        papers = Paperwork.draw("REQ-1", "CONSENT-1", "Inv. Roe")
        plan = plan_lookup(normalise(PERSON), shape, papers.filler_seed)[0]
        targets = [Target(target, epoch)]
        asked = [AskedPerson(blind_plan(plan), papers)]
        return draft_lookup(asked, shape, purpose, FEDERATION, ASKER, targets, self.asker_key, issued_at)

    def envelope(
        self, draft: Draft, sender: NodeId = ASKER, statement: SignedStatement | None = None
    ) -> Envelope:
        statement = statement or draft.statement
        return Envelope(
            draft.lookup.lookup_id.value,
            MessageKind.LOOKUP,
            sender,
            OWN,
            statement.body,
            statement.signature,
            draft.lookup.expires_at,
        )

    def unstored(self, draft: Draft, statement: SignedStatement | None = None) -> InboxRow:
        """The lookup as it comes from the hub."""
        return mail_store.unstored(self.envelope(draft, statement=statement))

    def waiting(self) -> int:
        return self.store.run_sync(mail_store.counts).inbox_waiting

    def arrive(
        self, draft: Draft, *, sender: NodeId = ASKER, statement: SignedStatement | None = None
    ) -> InboxRow:
        """The lookup as a stored delivery; a body that was here before is stored once more."""
        envelope = self.envelope(draft, sender, statement)

        def work(db: Database) -> InboxRow:
            db.execute("DELETE FROM inbox WHERE state <> 'new'")
            assert mail_store.receive(db, envelope, self.clock.now())
            return mail_store.unsettled(db, MessageKind.LOOKUP, OWN, 100)[-1]

        return self.store.run_sync(work)

    def process(self, row: InboxRow) -> None:
        asyncio.run(self.answerer().process(row))

    def answers(self) -> list[Answer]:
        return [Answer.decode(row.envelope.body) for row in self.outgoing()]

    def outgoing(self) -> list[OutboxRow]:
        later = self.clock.now() + timedelta(seconds=OWN_SENDER_SECONDS)
        return self.store.run_sync(lambda db: mail_store.due(db, OWN, later, 100))

    def forget_outbox(self) -> None:
        numbers = [row.number for row in self.outgoing()]
        self.store.run_sync(lambda db: mail_store.sent(db, *numbers))

    def dropped(self) -> list[str]:
        return [
            note
            for (note,) in self.store.run_sync(
                lambda db: db.execute("SELECT note FROM inbox WHERE state = 'dropped'").fetchall()
            )
        ]

    def used(self) -> int:
        uses = self.store.run_sync(lambda db: mail_store.quota_uses(db, ASKER))
        return sum(use.of(None) for use in uses)

    def head(self, epoch: int = 1) -> IndexHead:
        keys = self.keys(epoch)
        return IndexHead(
            FEDERATION,
            OWN,
            1,
            epoch,
            {key_class: pair.public for key_class, pair in keys.items()},
            3,
            SCHEME_VERSION,
            (),
            NOW,
        )

    def keys(self, epoch: int = 1) -> Mapping[KeyClass, KeyPair]:
        found = self.store.run_sync(lambda db: epochs.usable(db, epoch, NOW))
        return epochs.keys_for(found.seed, FEDERATION, OWN, epoch)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with empty_store(tmp_path / "node.db", STORE_KEY) as store:
        yield Bench(store)


def test_an_answer_verifies_and_unblinds_to_the_owners_own_outputs(bench: Bench) -> None:
    draft = bench.draft()
    bench.process(bench.arrive(draft))
    (row,) = bench.outgoing()
    answer = verify_answer(
        row.envelope.statement, draft.lookup, lookup_digest(draft.statement.body), OWN, bench.own_key.public
    )
    assert answer.status is AnswerStatus.EVALUATED
    keys = bench.keys()
    for slot, output in unblind(draft, answer, bench.head())[0]:
        assert output == evaluate(keys[slot.key_class], slot.input)
    assert row.envelope.recipient == ASKER
    assert row.envelope.expires_at == draft.lookup.expires_at


def test_quota_replay_entry_and_ledger_are_written(bench: Bench) -> None:
    draft = bench.draft()
    bench.process(bench.arrive(draft))
    (entry,) = bench.store.run_sync(lambda db: ledger.entries(db, event="lookup"))
    assert entry.event == "lookup.answered"
    assert entry.refs == {"lookup_id": str(draft.lookup.lookup_id), "asker": "alpha"}
    assert entry.details["status"] == "EVALUATED"
    assert bench.used() == 40


def test_a_replayed_lookup_is_not_evaluated_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = bench.draft()
    bench.process(bench.arrive(draft))
    bench.forget_outbox()

    def evaluated(*_: object, **__: object) -> None:
        raise AssertionError("evaluated a replayed lookup")

    monkeypatch.setattr("candor_node.answerer.oprf.blind_evaluate", evaluated)
    bench.process(bench.arrive(draft))
    assert bench.answers() == []
    assert bench.dropped() == ["replayed"]
    assert bench.used() == 40


def test_another_body_under_a_used_id_is_not_evaluated(bench: Bench) -> None:
    first = bench.draft()
    bench.process(bench.arrive(first))
    lookup = replace(bench.draft().lookup, lookup_id=first.lookup.lookup_id)
    second = Draft(lookup, bench.asker_key.sign("lookup", lookup.encode()), ())
    bench.process(bench.arrive(second))
    assert len(bench.answers()) == 1
    assert bench.dropped() == ["replayed"]


def test_what_cannot_be_logged_is_not_done(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no ledger")

    row = bench.arrive(bench.draft())
    monkeypatch.setattr("candor_node.answerer.ledger.append", refuse)
    with pytest.raises(OSError, match="no ledger"):
        bench.process(row)
    assert bench.answers() == []
    assert bench.used() == 0
    monkeypatch.undo()
    bench.process(row)
    assert [answer.status for answer in bench.answers()] == [AnswerStatus.EVALUATED]


# --- what gets no answer -------------------------------------------------------------------------------


def test_a_lookup_of_a_stranger_is_dropped(bench: Bench) -> None:
    del bench.indexes.directory.members[ASKER]
    bench.process(bench.arrive(bench.draft()))
    assert bench.answers() == []
    assert bench.dropped() == ["not_a_member"]


def test_a_lookup_signed_with_another_key_is_dropped(bench: Bench) -> None:
    draft = bench.draft()
    forged = SigningKey.generate().sign("lookup", draft.statement.body)
    bench.process(bench.arrive(draft, statement=forged))
    assert bench.answers() == []
    assert bench.dropped() == ["signature_invalid"]


def test_a_lookup_for_others_is_dropped(bench: Bench) -> None:
    bench.process(bench.arrive(bench.draft(target=NodeId("charlie"))))
    assert bench.answers() == []
    assert bench.dropped() == ["wrong_recipient"]


def test_a_lookup_delivered_after_its_end_is_dropped(bench: Bench) -> None:
    row = bench.arrive(bench.draft())
    bench.clock.moment = NOW + timedelta(hours=25)
    bench.process(row)
    assert bench.answers() == []
    assert bench.dropped() == ["expired"]


def test_a_lookup_in_another_senders_envelope_is_dropped(bench: Bench) -> None:
    bench.process(bench.arrive(bench.draft(), sender=OWN))
    assert bench.answers() == []
    assert bench.dropped() == ["identity_mismatch"]


def test_a_bad_lookup_is_settled_and_not_looked_at_again(bench: Bench) -> None:
    bench.process(bench.arrive(bench.draft(), sender=OWN))
    assert bench.waiting() == 0


def test_octets_that_are_no_lookup_are_dropped(bench: Bench) -> None:
    draft = bench.draft()
    bench.process(bench.arrive(draft, statement=bench.asker_key.sign("lookup", b"no lookup")))
    assert bench.dropped() == ["malformed_message"]


# --- refusals ------------------------------------------------------------------------------------------


def test_a_suspended_asker_is_refused(bench: Bench) -> None:
    bench.change_asker(status=MemberStatus.SUSPENDED)
    bench.process(bench.arrive(bench.draft()))
    assert [answer.status for answer in bench.answers()] == [AnswerStatus.REFUSED_STANDING]
    assert bench.used() == 0


def test_a_new_member_is_refused_before_its_time(bench: Bench) -> None:
    bench.change_asker(answered_from=NOW + timedelta(hours=1))
    bench.process(bench.arrive(bench.draft()))
    assert [answer.status for answer in bench.answers()] == [AnswerStatus.REFUSED_STANDING]


def test_a_purpose_that_the_pack_in_force_leaves_out_is_refused(bench: Bench) -> None:
    bench.policy.purposes = frozenset({Purpose.CERTIFICATION})
    bench.process(bench.arrive(bench.draft()))
    bench.process(bench.arrive(bench.draft(purpose=Purpose.CERTIFICATION)))
    found = [answer.status for answer in bench.answers()]
    assert found == [AnswerStatus.REFUSED_PURPOSE, AnswerStatus.EVALUATED]
    assert bench.used() == 40


def test_a_purpose_that_is_off_is_refused(bench: Bench) -> None:
    bench.process(bench.arrive(bench.draft(purpose=Purpose.C)))
    assert [answer.status for answer in bench.answers()] == [AnswerStatus.REFUSED_PURPOSE]


def test_an_epoch_that_is_over_is_stale_and_one_in_grace_is_not(bench: Bench) -> None:
    bench.store.run_sync(lambda db: epochs.rotate(db, NOW))
    in_grace = bench.draft(epoch=1)
    bench.process(bench.arrive(in_grace))
    assert [answer.status for answer in bench.answers()] == [AnswerStatus.EVALUATED]
    bench.clock.moment = NOW + epochs.GRACE
    over = bench.draft(epoch=1, issued_at=bench.clock.moment)
    bench.process(bench.arrive(over))
    assert bench.answers()[-1].status is AnswerStatus.STALE_EPOCH
    assert bench.used() == 40


def test_an_asker_over_its_quota_is_refused_and_uses_nothing(bench: Bench) -> None:
    bench.quota = Quota(total=500, weak=500, match=500, code=500)
    bench.process(bench.arrive(bench.draft()))
    bench.process(bench.arrive(bench.draft()))
    assert [answer.status for answer in bench.answers()] == [AnswerStatus.EVALUATED, AnswerStatus.QUOTA]
    assert bench.used() == 40


def test_a_refusal_has_the_size_of_an_answer(bench: Bench) -> None:
    bench.process(bench.arrive(bench.draft()))
    bench.process(bench.arrive(bench.draft(purpose=Purpose.C)))
    bench.process(bench.arrive(bench.draft(epoch=9)))
    rows = bench.outgoing()
    assert len(rows) == 3
    assert len({len(row.envelope.body) for row in rows}) == 1


# --- crashes -------------------------------------------------------------------------------------------


def test_a_crash_before_the_answer_is_stored_leaves_the_lookup_as_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = bench.arrive(bench.draft())

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Outbox, "put", crash)
    with pytest.raises(KeyboardInterrupt):
        bench.process(row)
    monkeypatch.undo()
    assert bench.used() == 0
    assert bench.waiting() == 1
    bench.process(row)
    assert [answer.status for answer in bench.answers()] == [AnswerStatus.EVALUATED]
    assert bench.used() == 40
    assert len(bench.store.run_sync(lambda db: ledger.entries(db, event="lookup.answered"))) == 1


# --- lookups that are not stored yet -------------------------------------------------------------------


def test_a_lookup_that_was_not_stored_is_stored_with_its_answer(bench: Bench) -> None:
    draft = bench.draft()
    bench.process(bench.unstored(draft))
    assert [answer.status for answer in bench.answers()] == [AnswerStatus.EVALUATED]
    assert bench.waiting() == 0
    # The hub, which never heard that it arrived, delivers it again.
    assert bench.store.run_sync(lambda db: mail_store.receive(db, bench.envelope(draft), NOW)) is None
    bench.process(bench.unstored(draft))
    assert len(bench.answers()) == 1
    assert bench.used() == 40


def test_a_lookup_that_was_stored_while_it_was_evaluated_is_left_to_who_stored_it(bench: Bench) -> None:
    draft = bench.draft()
    stored = bench.arrive(draft)
    bench.process(bench.unstored(draft))
    assert bench.answers() == []
    assert bench.waiting() == 1
    bench.process(stored)
    assert len(bench.answers()) == 1
    assert bench.used() == 40


def test_a_bad_lookup_that_was_not_stored_is_remembered_as_dropped(bench: Bench) -> None:
    forged = SigningKey.generate().sign("lookup", bench.draft().statement.body)
    bench.process(bench.unstored(bench.draft(), statement=forged))
    assert bench.answers() == []
    assert bench.dropped() == ["signature_invalid"]


# --- judged twice ----------------------------------------------------------------------------------------


def test_an_asker_over_its_quota_costs_no_evaluation(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.quota = Quota(total=0, weak=0, match=0, code=0)
    monkeypatch.setattr("candor_node.answerer.oprf.blind_evaluate", None)
    bench.process(bench.arrive(bench.draft()))
    assert [answer.status for answer in bench.answers()] == [AnswerStatus.QUOTA]


@pytest.mark.parametrize("meanwhile", ["the quota is spent", "the epoch's seed is destroyed"])
def test_what_no_longer_holds_when_the_answer_is_stored_gives_a_refusal(
    bench: Bench, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others of the same asker are answered, or an epoch ends, while this one is evaluated."""
    evaluate = Answerer._evaluate

    def slowly(self: Answerer, *given: Any) -> Any:
        evaluations = evaluate(self, *given)
        assert evaluations
        if meanwhile == "the quota is spent":
            self._quota = Quota(total=0, weak=0, match=0, code=0)
        else:
            self._store.run_sync(lambda db: epochs.rotate(db, NOW))
            self._store.run_sync(lambda db: epochs.destroy_expired(db, NOW + epochs.GRACE))
        return evaluations

    monkeypatch.setattr(Answerer, "_evaluate", slowly)
    bench.process(bench.arrive(bench.draft()))
    (answer,) = bench.answers()
    assert answer.status in (AnswerStatus.QUOTA, AnswerStatus.STALE_EPOCH)
    assert not answer.evaluations
    assert bench.used() == 0


def test_a_lookup_waits_for_the_directory_that_was_announced(bench: Bench) -> None:
    bench.process(bench.arrive(bench.draft()))
    assert bench.indexes.waits == 1


def test_every_class_is_evaluated_under_its_own_key(bench: Bench) -> None:
    publics = {pair.public.to_bytes() for pair in bench.keys().values()}
    assert len(publics) == len(KeyClass)
