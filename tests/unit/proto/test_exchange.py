"""The exchange: what asker, hub and node check, and the state tables (docs/protocol.md §7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from candor_proto import exchange, oprf
from candor_proto.errors import (
    Expired,
    IdentityMismatch,
    IllegalTransition,
    KeyMismatch,
    MalformedMessage,
    NotAMember,
    ProofInvalid,
    SignatureInvalid,
    WrongRecipient,
)
from candor_proto.exchange import (
    LOOKUP_TRANSITIONS,
    TRANSITIONS,
    LookupEvent,
    LookupState,
    Progress,
    TargetEvent,
    lookup_after,
    plan_targets,
    unblind,
    verify_answer,
    verify_lookup,
)
from candor_proto.ids import KeyClass, LookupShape, NodeId
from candor_proto.normalise import Particulars
from candor_proto.result import TargetReport, TargetState
from candor_proto.scheme import CURRENT
from candor_proto.signing import SignedStatement
from candor_proto.statements import Answer, AnswerStatus, Evaluation
from tests.parties import MIKE, NOW, Parties
from tests.schemes import NEXT, UNKNOWN_VERSION, both_known

PARTIES = Parties("asker", "other", "owner")
OWNER = NodeId("owner")
DRAFT = PARTIES.draft("asker", shape=LookupShape.DETAILED)
LOOKUP = DRAFT.lookup
ANSWER = PARTIES["owner"].evaluate(LOOKUP)


def check(answer: Answer, signed_by: str = "owner") -> Answer:
    statement = PARTIES[signed_by].sign_answer(answer)
    return verify_answer(statement, LOOKUP, LOOKUP.digest(), OWNER, PARTIES["owner"].signing.public)


def test_an_honest_exchange_gives_the_owners_own_function_of_every_slot() -> None:
    verified = verify_lookup(DRAFT.statement, PARTIES.verified(), OWNER, NOW)
    assert verified == LOOKUP
    (outputs,) = unblind(DRAFT, check(ANSWER), PARTIES["owner"].head())
    keys = PARTIES["owner"].keys()
    assert len(outputs) == 40
    assert all(value == oprf.evaluate(keys[slot.key_class], slot.input) for slot, value in outputs)


def test_a_lookup_signed_by_somebody_else_is_refused() -> None:
    forged = PARTIES["other"].signing.sign("lookup", LOOKUP.encode())
    with pytest.raises(SignatureInvalid):
        verify_lookup(forged, PARTIES.verified(), OWNER, NOW)


def test_a_lookup_of_a_stranger_is_refused() -> None:
    stranger = Parties("stranger", "owner").draft("stranger")
    with pytest.raises(NotAMember):
        verify_lookup(stranger.statement, PARTIES.verified(), OWNER, NOW)


def test_an_altered_target_set_is_refused() -> None:
    altered = replace(LOOKUP, targets=LOOKUP.targets[:-1])
    with pytest.raises(SignatureInvalid):
        verify_lookup(
            SignedStatement(altered.encode(), DRAFT.statement.signature), PARTIES.verified(), OWNER, NOW
        )


def test_a_lookup_addressed_to_others_is_refused() -> None:
    others = replace(LOOKUP, targets=tuple(t for t in LOOKUP.targets if t.node != OWNER))
    statement = PARTIES["asker"].signing.sign("lookup", others.encode())
    with pytest.raises(WrongRecipient):
        verify_lookup(statement, PARTIES.verified(), OWNER, NOW)


def test_an_expired_lookup_is_refused() -> None:
    with pytest.raises(Expired):
        verify_lookup(DRAFT.statement, PARTIES.verified(), OWNER, NOW + timedelta(hours=24))


def test_a_forged_answer_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        check(ANSWER, signed_by="other")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"node": NodeId("other")}, IdentityMismatch),
        ({"asker": NodeId("other")}, IdentityMismatch),
        ({"lookup_id": PARTIES.draft("asker").lookup.lookup_id}, IdentityMismatch),
        ({"lookup": PARTIES.draft("asker").lookup.digest()}, IdentityMismatch),
        ({"epoch": 2}, KeyMismatch),
    ],
    ids=["another node", "another asker", "another lookup", "another body", "another epoch"],
)
def test_an_answer_to_something_else_is_refused(changes: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        check(replace(ANSWER, **changes))  # type: ignore[arg-type]  # parametrised


def test_an_answer_in_another_shape_is_refused() -> None:
    screening = PARTIES["owner"].evaluate(PARTIES.draft("asker").lookup)
    with pytest.raises(MalformedMessage):
        check(replace(screening, lookup_id=LOOKUP.lookup_id, lookup=LOOKUP.digest()))


def test_an_answer_under_a_key_of_its_own_is_refused() -> None:
    """Attack A6: a per-asker key would make every asker's tags distinguishable."""
    keys = oprf.derive_key_pair(bytes(32), b"another key")
    elements, proof = oprf.blind_evaluate(keys, LOOKUP.elements[KeyClass.MATCH])
    evaluations = {**ANSWER.evaluations, KeyClass.MATCH: Evaluation(elements, proof)}
    with pytest.raises(ProofInvalid):
        unblind(DRAFT, check(replace(ANSWER, evaluations=evaluations)), PARTIES["owner"].head())


def test_answers_of_two_classes_swapped_are_refused() -> None:
    weak, match = ANSWER.evaluations[KeyClass.WEAK], ANSWER.evaluations[KeyClass.MATCH]
    mixed = Evaluation(weak.elements, match.proof)
    with pytest.raises(ProofInvalid):
        unblind(
            DRAFT,
            check(replace(ANSWER, evaluations={**ANSWER.evaluations, KeyClass.WEAK: mixed})),
            PARTIES["owner"].head(),
        )


def test_an_index_of_another_epoch_is_not_used() -> None:
    with pytest.raises(KeyMismatch):
        unblind(DRAFT, check(ANSWER), replace(PARTIES["owner"].head(), epoch=2))


def test_blinding_the_same_person_twice_gives_unrelated_elements() -> None:
    again = PARTIES.draft("asker", shape=LookupShape.DETAILED).lookup
    for key_class in KeyClass:
        assert not set(again.elements[key_class]) & set(LOOKUP.elements[key_class])


def test_several_persons_in_one_lookup_each_get_their_own_outputs() -> None:
    """§7.1: the elements of a class run person by person, under one proof."""
    people = [MIKE, Particulars(first="Al", last="Ng"), Particulars(), Particulars(last="Xu", ssn4="1234")]
    draft = PARTIES.draft_all("asker", people)
    answer = PARTIES["owner"].evaluate(draft.lookup)
    statement = PARTIES["owner"].sign_answer(answer)
    verified = verify_answer(
        statement, draft.lookup, draft.lookup.digest(), OWNER, PARTIES["owner"].signing.public
    )
    found = unblind(draft, verified, PARTIES["owner"].head(), threads=3)
    keys = PARTIES["owner"].keys()
    assert [[slot for slot, _ in outputs] for outputs in found] == [
        [item.slot for item in slots] for slots in draft.persons
    ]
    assert all(
        value == oprf.evaluate(keys[slot.key_class], slot.input)
        for outputs in found
        for slot, value in outputs
    )


def test_an_answer_about_another_number_of_persons_is_refused() -> None:
    draft = PARTIES.draft_all("asker", [MIKE] * 4)
    answer = replace(
        PARTIES["owner"].evaluate(draft.lookup), lookup=LOOKUP.digest(), lookup_id=LOOKUP.lookup_id
    )
    with pytest.raises(MalformedMessage, match="another shape"):
        check(answer)


def test_secrets_of_a_draft_never_print() -> None:
    (slots,) = DRAFT.persons
    shown = repr(DRAFT) + repr(slots) + repr(slots[0].blinded)
    for item in slots:
        assert item.blinded.blind.to_bytes().hex() not in shown
        assert item.slot.input.hex() not in shown
    assert "mike" not in shown.lower()
    assert "schmidt" not in shown.lower()


# --- state tables ------------------------------------------------------------------------------------


def test_every_pair_of_lookup_state_and_event_is_listed_or_refused() -> None:
    for state, event in product(LookupState, LookupEvent):
        if (state, event) in LOOKUP_TRANSITIONS:
            assert lookup_after(state, event) is LOOKUP_TRANSITIONS[state, event]
        else:
            with pytest.raises(IllegalTransition):
                lookup_after(state, event)


def test_nothing_is_sent_before_it_was_stored() -> None:
    for event in (LookupEvent.HUB_ACCEPTS, LookupEvent.SHOW, LookupEvent.HUB_DENIES):
        with pytest.raises(IllegalTransition):
            lookup_after(LookupState.DRAFT, event)


def test_closed_and_denied_lookups_stay_so() -> None:
    for state, event in product((LookupState.CLOSED, LookupState.DENIED), LookupEvent):
        assert (state, event) not in LOOKUP_TRANSITIONS


def test_the_target_table_is_total_and_a_first_valid_answer_is_final() -> None:
    assert set(TRANSITIONS) == set(product(TargetState, TargetEvent))
    for state, event in product(TargetState, TargetEvent):
        if state not in (TargetState.PENDING, TargetState.INVALID):
            assert TRANSITIONS[state, event] is state


def test_an_answer_from_a_node_that_was_not_asked_is_refused() -> None:
    progress = Progress.start(LOOKUP)
    assert progress.pending == (NodeId("asker"), NodeId("other"), OWNER)
    after = progress.after_target(OWNER, TargetEvent.EVALUATED)
    assert after.targets[OWNER] is TargetState.ANSWERED
    assert OWNER not in after.pending
    with pytest.raises(WrongRecipient):
        progress.after_target(NodeId("stranger"), TargetEvent.EVALUATED)


def test_an_invalid_answer_leaves_the_door_open_for_the_true_one() -> None:
    progress = Progress.start(LOOKUP).after_target(OWNER, TargetEvent.INVALID)
    assert progress.targets[OWNER] is TargetState.INVALID
    assert progress.after_target(OWNER, TargetEvent.EVALUATED).targets[OWNER] is TargetState.ANSWERED


def test_every_answer_status_is_an_event() -> None:
    assert {exchange.event_of(status) for status in AnswerStatus} == {
        TargetEvent.EVALUATED,
        TargetEvent.REFUSED,
        TargetEvent.QUOTA,
        TargetEvent.STALE_EPOCH,
    }


def test_all_members_are_targets_unless_chosen_and_those_without_index_are_named() -> None:
    view = PARTIES.verified()
    held = {
        NodeId("asker"): PARTIES["asker"].head(),
        NodeId("owner"): replace(PARTIES["owner"].head(), epoch=4),
    }
    planned = plan_targets(view, held)
    assert [(str(target.node), target.epoch) for target in planned.targets] == [("asker", 1), ("owner", 4)]
    assert planned.groups == {CURRENT.version: planned.targets}
    assert planned.unasked == (TargetReport(NodeId("other"), TargetState.NO_INDEX),)
    with pytest.raises(NotAMember):
        plan_targets(view, held, [NodeId("stranger")])


def test_members_are_asked_by_scheme_and_those_of_an_unknown_one_are_not_asked() -> None:
    """§7.7: what this build does not know it cannot ask, and says so."""
    view, held = PARTIES.verified(), {node: party.head() for node, party in PARTIES.all.items()}
    held[NodeId("owner")] = replace(held[NodeId("owner")], scheme_version=NEXT.version)
    held[NodeId("other")] = replace(held[NodeId("other")], scheme_version=UNKNOWN_VERSION)
    with both_known():
        planned = plan_targets(view, held)
    assert list(planned.groups) == [NEXT.version, CURRENT.version]
    assert [[str(target.node) for target in group] for group in planned.groups.values()] == [
        ["owner"],
        ["asker"],
    ]
    (unasked,) = planned.unasked
    assert (unasked.node, unasked.state) == (NodeId("other"), TargetState.UNKNOWN_SCHEME)
    assert unasked.reason == (
        "this node's index uses scheme version 99, which this version of Candor does not know: update Candor"
    )


def test_an_answer_is_not_unblinded_for_an_index_of_another_scheme() -> None:
    draft = PARTIES.draft("asker")
    answer, head = PARTIES["owner"].evaluate(draft.lookup), PARTIES["owner"].head()
    assert draft.scheme_version == CURRENT.version
    assert unblind(draft, answer, head)
    with pytest.raises(KeyMismatch, match="another scheme"):
        unblind(draft, answer, replace(head, scheme_version=NEXT.version))
