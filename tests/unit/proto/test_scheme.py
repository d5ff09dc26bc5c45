"""Schemes: two versions side by side share no input, and every one has the slots of the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from candor_proto.errors import CommitmentMismatch, MalformedMessage, UnsupportedVersion
from candor_proto.field_codes import Sounds
from candor_proto.ids import KeyClass, LookupShape
from candor_proto.matchkeys import (
    MAX_PLANS,
    check_plan,
    filler_input,
    gate_weight,
    octets,
    plan_lookup,
    plans_needed,
    record_codes,
    record_inputs,
    record_keys,
)
from candor_proto.normalise import Particulars, normalise
from candor_proto.scheme import (
    CLASS_SLOTS,
    CURRENT,
    MAX_LABELS,
    SCHEMES,
    Label,
    Scheme,
    find_scheme,
    scheme_of_inputs,
)
from candor_proto.sealed_index import abscissae
from tests.parties import MIKE
from tests.schemes import NEXT, SHORT, UNKNOWN_VERSION, both_known

SEED = bytes(range(32))
PERSON = normalise(replace(MIKE, post_state="CA", post_id="328139"))
SEVERAL = normalise(replace(MIKE, last="Smith-Jones", former_last="Vandenberg Ashe"))


def test_one_scheme_is_released() -> None:
    assert dict(SCHEMES) == {CURRENT.version: CURRENT}
    assert find_scheme(CURRENT.version) is CURRENT


def test_a_scheme_that_this_build_does_not_know_is_said_to_be_one() -> None:
    with pytest.raises(UnsupportedVersion, match=f"version {UNKNOWN_VERSION} is not known"):
        find_scheme(UNKNOWN_VERSION)


# --- domain separation -------------------------------------------------------------------------------


def test_s5_4_one_label_and_one_value_are_another_input_in_another_version() -> None:
    one, other = octets("K:P", ("CA1",)), octets("K:P", ("CA1",), NEXT)
    assert (one[0], other[0]) == (CURRENT.version, NEXT.version)
    assert one[1:] == other[1:]
    assert filler_input(SEED, KeyClass.WEAK, 0) != filler_input(SEED, KeyClass.WEAK, 0, NEXT)


def test_s5_4_no_input_of_one_version_is_an_input_of_the_other() -> None:
    def made(scheme: Scheme) -> set[bytes]:
        asked = plan_lookup(SEVERAL, LookupShape.DETAILED, SEED, scheme)
        return {
            *(key.input for key in record_keys(SEVERAL, scheme)),
            *(code.input for code in record_codes(SEVERAL, scheme).codes),
            *(slot.input for plan in asked for slot in plan.slots),
        }

    one, other = made(CURRENT), made(NEXT)
    assert len(one) > 100
    assert {value[0] for value in one} == {CURRENT.version}
    assert {value[0] for value in other} == {NEXT.version}
    assert not one & other


def test_labels_of_two_versions_are_never_equal() -> None:
    for one in CURRENT.match_labels:
        twin = replace(one, version=NEXT.version)
        assert twin != one
        assert gate_weight([one, twin]) == 2 * one.weight
    assert not {*CURRENT.match_labels, *CURRENT.code_labels} & {*NEXT.match_labels, *NEXT.code_labels}


# --- every scheme fits the wire ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", list(LookupShape))
@pytest.mark.parametrize("person", [PERSON, SEVERAL, normalise(Particulars())])
def test_s5_3_a_lookup_has_the_same_slots_under_every_scheme(shape: LookupShape, person: object) -> None:
    plans = [plan_lookup(person, shape, SEED, scheme)[0] for scheme in (CURRENT, NEXT)]  # type: ignore[arg-type]  # parametrized
    slots = [[(slot.key_class, slot.position) for slot in plan.slots] for plan in plans]
    assert slots[0] == slots[1]
    assert [plan.scheme_version for plan in plans] == [CURRENT.version, NEXT.version]


def test_a_scheme_has_its_labels_by_list_slot_and_use() -> None:
    assert [label.name for label in NEXT.match_labels] == [
        label.name for label in reversed(CURRENT.match_labels)
    ]
    assert [label.name for label in NEXT.blob_labels] == ["F1+Lz+MD"]
    assert NEXT.tag_labels == NEXT.code_labels + NEXT.blob_labels
    assert set(NEXT.entry_labels) == set(NEXT.match_labels) - set(NEXT.blob_labels)
    assert NEXT.positions["P"] == 4
    assert [label.name for label in NEXT.reserve_labels] == ["SW3+YM", "SW3+MD", "Ls+Dc", "Fc+D", "L3+Dc"]
    for scheme in (CURRENT, NEXT):
        for key_class, count in CLASS_SLOTS.items():
            assert [label.slot for label in scheme.class_labels[key_class]] == list(range(count))
        assert [label.slot for label in scheme.reserve_labels] == [12, 13, 14, 15, 16]


def _relabel(change: Callable[[tuple[Label, ...]], tuple[Label, ...]]) -> Scheme:
    return replace(CURRENT, match_labels=change(CURRENT.match_labels))


def _last(**changes: object) -> Scheme:
    """The current scheme with its last reserve changed."""
    return _relabel(lambda labels: (*labels[:-1], replace(labels[-1], **changes)))  # type: ignore[arg-type]  # any field


def _longer(count: int) -> Scheme:
    """The current scheme with reserves until it has `count` labels."""
    more = [f"X{number}" for number in range(count - len(CURRENT.match_labels))]
    rows = [(label.name, label.key_class, label.weight) for label in CURRENT.match_labels]
    codes = [label.name for label in CURRENT.code_labels]
    return Scheme.of(CURRENT.version, [*rows, *((name, KeyClass.MATCH, 1) for name in more)], codes, 3)


def test_s6_2_a_scheme_has_at_most_32_match_keys() -> None:
    """The shares of each stand at abscissae of their own, which end there."""
    assert MAX_LABELS == 32
    longest = _longer(MAX_LABELS)
    assert longest.positions[longest.match_labels[-1].name] == MAX_LABELS - 1
    assert abscissae(MAX_LABELS - 1, 2) == (1 + 3 * 31, 2 + 3 * 31)
    with pytest.raises(MalformedMessage, match="does not fit the wire"):
        _longer(MAX_LABELS + 1)


@pytest.mark.parametrize(
    "changes",
    [{"key_class": KeyClass.WEAK, "slot": 4}, {"key_class": KeyClass.CODE, "slot": 24}, {"weight": 0}],
)
def test_a_reserve_is_a_published_key_of_class_m(changes: Mapping[str, object]) -> None:
    """Of class W it would spend the small quota in place of fillers; of weight 0 it would not be an entry."""
    assert _last(weight=1) != _last(weight=2)
    with pytest.raises(MalformedMessage, match="does not fit the wire"):
        _last(**changes)


def test_reserves_are_asked_in_their_order_in_the_free_slots_of_class_m() -> None:
    for scheme in (CURRENT, NEXT):
        (plan,) = plan_lookup(normalise(replace(MIKE, ssn4="")), LookupShape.SCREENING, SEED, scheme)
        free = [slot.label for slot in plan.of_class(KeyClass.MATCH) if slot.label in scheme.reserve_labels]
        lacking = {"P", "S", "So"}
        assert free == [label for label in scheme.reserve_labels if not lacking & set(label.codes)]
        assert len(free) >= 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: replace(CURRENT, version=0),
        lambda: replace(NEXT, version=256),
        lambda: replace(CURRENT, version=NEXT.version),
        lambda: _relabel(lambda labels: labels[1:]),
        lambda: _relabel(lambda labels: (replace(labels[0], key_class=KeyClass.MATCH), *labels[1:])),
        lambda: _relabel(lambda labels: (labels[1], *labels[1:])),
        lambda: _relabel(lambda labels: tuple(replace(label, weight=0) for label in labels)),
        lambda: replace(CURRENT, code_labels=CURRENT.code_labels[1:]),
    ],
)
def test_a_scheme_that_does_not_fit_the_wire_cannot_be_built(make: Callable[[], Scheme]) -> None:
    with pytest.raises(MalformedMessage, match="does not fit the wire"):
        make()


# --- records and lookups -----------------------------------------------------------------------------


def test_records_have_the_keys_and_tags_of_the_scheme_asked_for() -> None:
    keys, codes = record_inputs(PERSON, Sounds(), NEXT)
    assert keys == record_keys(PERSON, NEXT)
    assert codes == record_codes(PERSON, NEXT)
    assert {key.label for key in keys} == set(NEXT.entry_labels) >= set(NEXT.reserve_labels)
    assert {code.label for code in codes.codes} <= set(NEXT.tag_labels)
    present = [label for bit, label in enumerate(NEXT.tag_labels) if codes.presence >> bit & 1]
    assert NEXT.blob_labels[0] in present
    assert next(label for label in NEXT.tag_labels if label.name == "X") not in present


def test_a_person_is_asked_about_as_often_under_every_scheme() -> None:
    many = normalise(replace(MIKE, last="Smith Jones Ashe Vandenberg"))
    alone = [len(plan_lookup(many, LookupShape.SCREENING, SEED, one)) for one in (CURRENT, SHORT)]
    assert plans_needed(many, LookupShape.SCREENING, (SHORT, CURRENT)) == alone[0] == MAX_PLANS
    assert plans_needed(many, LookupShape.SCREENING, ()) == alone[1] == 1
    for person in (PERSON, SEVERAL, many):
        needed = plans_needed(person, LookupShape.DETAILED, (CURRENT, SHORT))
        for scheme in (CURRENT, SHORT):
            assert len(plan_lookup(person, LookupShape.DETAILED, SEED, scheme, least=needed)) == needed


def test_a_plan_that_a_scheme_does_not_need_holds_fillers_only() -> None:
    (first,) = plan_lookup(PERSON, LookupShape.SCREENING, SEED)
    again, further = plan_lookup(PERSON, LookupShape.SCREENING, SEED, least=2)
    assert again == first
    assert [slot.label for slot in further.slots] == [None] * 16
    inputs = [slot.input for slot in further.slots]
    assert check_plan(PERSON, LookupShape.SCREENING, SEED, inputs, 1) == further
    guess = [octets("K:P", ("CA999999",)), *inputs[1:]]
    with pytest.raises(CommitmentMismatch, match="Slot 0 of class WEAK"):
        check_plan(PERSON, LookupShape.SCREENING, SEED, guess, 1)


def test_nobody_is_asked_about_more_often_than_three_times() -> None:
    assert len(plan_lookup(PERSON, LookupShape.SCREENING, SEED, least=9)) == MAX_PLANS
    plans = plan_lookup(PERSON, LookupShape.SCREENING, SEED, least=9)
    with pytest.raises(CommitmentMismatch, match="there is no lookup 3"):
        check_plan(PERSON, LookupShape.SCREENING, SEED, [slot.input for slot in plans[2].slots], 3)


def test_the_inputs_of_one_version_are_no_lookup_of_the_other() -> None:
    inputs = [slot.input for slot in plan_lookup(PERSON, LookupShape.SCREENING, SEED, NEXT)[0].slots]
    assert check_plan(PERSON, LookupShape.SCREENING, SEED, inputs, scheme=NEXT).scheme_version == NEXT.version
    with pytest.raises(CommitmentMismatch, match="Slot 0 of class WEAK"):
        check_plan(PERSON, LookupShape.SCREENING, SEED, inputs)


def test_inputs_name_their_scheme() -> None:
    inputs = [slot.input for slot in plan_lookup(PERSON, LookupShape.SCREENING, SEED, NEXT)[0].slots]
    with pytest.raises(UnsupportedVersion):
        scheme_of_inputs(inputs)
    with both_known():
        assert scheme_of_inputs(inputs) is NEXT
    # One that names another is found by whoever recomputes them all, and named by its slot.
    with both_known():
        assert scheme_of_inputs([octets("K:P", ("CA1",)), b"", *inputs[1:]]) is NEXT
    for none in ([], [b""]):
        with pytest.raises(CommitmentMismatch, match="no match-key scheme"):
            scheme_of_inputs(none)
