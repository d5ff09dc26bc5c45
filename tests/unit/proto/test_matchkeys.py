"""matchkeys: which keys a record publishes and a lookup asks (MATCHING.md §3-6; docs/protocol.md §5)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_proto.errors import CommitmentMismatch, LimitExceeded
from candor_proto.ids import KeyClass, LookupShape
from candor_proto.matchkeys import (
    BLOB_LABELS,
    CLASS_SLOTS,
    CODE_LABELS,
    ENTRY_LABELS,
    GATE_THRESHOLD,
    MATCH_LABELS,
    MAX_FIELD_TAGS,
    MAX_PLANS,
    MAX_RECORD_KEYS,
    SCHEME_VERSION,
    TAG_LABELS,
    Label,
    LookupPlan,
    canonical_forms,
    check_plan,
    consonant_skeleton,
    filler_input,
    gate_weight,
    octets,
    plan_lookup,
    record_codes,
    record_keys,
)
from candor_proto.name_tables import TABLES_SHA256
from candor_proto.normalise import Particulars, Person, normalise
from tests.unit.proto.test_normalise import PARTICULARS

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "matchkeys.json"
SEED = bytes(range(32))
BOTH = (LookupShape.SCREENING, LookupShape.DETAILED)

MIKE = Particulars(
    first="Mike", last="Schmidt", birth_date="1980-11-02", ssn4="4071", post_state="MA", post_id="328139"
)
MANY = replace(MIKE, last="Anderson-Baker Castillo Delgado", former_last="Eriksen-Fuentes")
EMPTY = Particulars(
    first="FNU", middle="NMN", last="LNU", birth_date="1900-01-01", ssn4="0000", sex="?", post_id="none"
)


def parsed(data: bytes) -> tuple[str, list[str]]:
    """Label name and values of an input: an independent reading of docs/protocol.md §5.4."""
    assert data[0] == SCHEME_VERSION
    at = 2 + data[1]
    name, count = data[2:at].decode(), data[at]
    at += 1
    values = []
    for _ in range(count):
        length = int.from_bytes(data[at : at + 2], "big")
        values.append(data[at + 2 : at + 2 + length].decode())
        at += 2 + length
    assert at == len(data)
    return name, values


def asked(plan: LookupPlan) -> dict[str, list[str]]:
    """Label name to values of the slots that are no fillers (one slot a label expected)."""
    return {slot.label.name: parsed(slot.input)[1] for slot in plan.slots if slot.label is not None}


def agree(query: Particulars, record: Particulars) -> set[Label]:
    """The entry labels on which a lookup meets a record."""
    keys = {key.input: key.label for key in record_keys(normalise(record))}
    slots = [s for plan in plan_lookup(normalise(query), LookupShape.SCREENING, SEED) for s in plan.slots]
    return {keys[slot.input] for slot in slots if slot.input in keys}


# --- the lists ---------------------------------------------------------------------------------------


def test_r16_is_the_fixed_list() -> None:
    """MATCHING.md §4 "R16 medium" with `D+S` for `L1+D`, classes and gate weights of scheme version 2."""
    assert [(label.name, label.key_class.letter, label.weight) for label in MATCH_LABELS] == [
        ("L1+Dc", "W", 1),
        ("D+S", "W", 1),
        ("Y+S", "W", 0),
        ("F3+S", "W", 1),
        ("SWp+MD", "M", 2),
        ("Ls+S", "M", 2),
        ("Yo+So", "M", 2),
        ("F1+L4+YM", "M", 1),
        ("SWp+So", "M", 2),
        ("SW+YM", "M", 2),
        ("F+Dc", "M", 2),
        ("SWp+YD", "M", 2),
        ("L4+S", "M", 2),
        ("F3+Lk+MD", "M", 2),
        ("Ls+Dc", "M", 1),
        ("P", "M", 2),
    ]


def test_positions_count_through_the_list_and_slots_through_the_class() -> None:
    """Shares are computed for the position: two labels of one position would carry the same shares."""
    assert [label.position for label in MATCH_LABELS] == list(range(16))
    assert [label.position for label in CODE_LABELS] == list(range(24))
    for key_class, slots in CLASS_SLOTS.items():
        labels = [label for label in MATCH_LABELS + CODE_LABELS if label.key_class is key_class]
        assert [label.slot for label in labels] == list(range(slots))
    assert CLASS_SLOTS == {KeyClass.WEAK: 4, KeyClass.MATCH: 12, KeyClass.CODE: 24}


def test_no_label_opens_alone() -> None:
    """PROTOCOL.md §3: no label carries the threshold alone."""
    assert all(label.weight < GATE_THRESHOLD for label in MATCH_LABELS)


def test_weak_labels_of_small_domain_are_field_tags_and_not_entries() -> None:
    assert [label.name for label in BLOB_LABELS] == ["Y+S"]
    assert set(ENTRY_LABELS) == set(MATCH_LABELS) - set(BLOB_LABELS)
    assert TAG_LABELS == CODE_LABELS + BLOB_LABELS
    published = {key.label for key in record_keys(normalise(MIKE))}
    assert published == set(ENTRY_LABELS)


def test_birth_date_and_last_four_open_whatever_the_names() -> None:
    """ADR 0016: a new surname and a slip in the given name leave nothing else to meet on."""
    renamed = replace(MIKE, first="Nike", middle="", last="Weber", suffix="", former_last="", post_id="")
    assert {label.name for label in agree(renamed, MIKE)} == {"D+S", "Yo+So"}
    assert gate_weight(agree(renamed, MIKE)) == GATE_THRESHOLD
    assert gate_weight(agree(replace(renamed, ssn4="4017"), MIKE)) < GATE_THRESHOLD


def test_variants_of_a_label_count_once_at_the_gate() -> None:
    label = MATCH_LABELS[4]
    assert gate_weight([label, label]) == label.weight


def test_field_codes_are_the_twenty_four() -> None:
    names = " ".join(label.name for label in CODE_LABELS)
    assert names == "F Fc Fp F3 Fo L Lp Ls L4 Lk Lo D Dc YM YD MD Y S So P M M1 X G"
    assert {label.key_class for label in CODE_LABELS} == {KeyClass.CODE}


# --- codes -------------------------------------------------------------------------------------------


def test_codes_of_mike_schmidt() -> None:
    """The example column of MATCHING.md §3, by hand."""
    plans = plan_lookup(normalise(MIKE), LookupShape.DETAILED, SEED)
    assert len(plans) == 1
    assert asked(plans[0]) == {
        "L1+Dc": ["s", "19800211"],
        "D+S": ["19801102", "4071"],
        "Y+S": ["1980", "4071"],
        "F3+S": ["mik", "4071"],
        "SWp+MD": ["MKL/XMT", "1102"],
        "Ls+S": ["S530", "4071"],
        "Yo+So": ["01891102", "0147"],
        "F1+L4+YM": ["m", "schm", "198011"],
        "SWp+So": ["MKL/XMT", "0147"],
        "SW+YM": ["mike/schmidt", "198011"],
        "F+Dc": ["mike", "19800211"],
        "SWp+YD": ["MKL/XMT", "198002"],
        "L4+S": ["schm", "4071"],
        "F3+Lk+MD": ["mik", "scmdt", "1102"],
        "Ls+Dc": ["S530", "19800211"],
        "P": ["MA328139"],
    } | {
        "F": ["mike"],
        "Fc": ["michael"],
        "Fp": ["MKL"],
        "F3": ["mik"],
        "Fo": ["eikm"],
        "L": ["schmidt"],
        "Lp": ["XMT"],
        "Ls": ["S530"],
        "L4": ["schm"],
        "Lk": ["scmdt"],
        "Lo": ["cdhimst"],
        "D": ["19801102"],
        "Dc": ["19800211"],
        "YM": ["198011"],
        "YD": ["198002"],
        "MD": ["1102"],
        "Y": ["1980"],
        "S": ["4071"],
        "So": ["0147"],
    } | {"P": ["MA328139"]}


def test_root_is_the_most_frequent_form_then_another_than_itself_then_alphabetical() -> None:
    """MATCHING.md §3 rule 4; Bill corrected as tools/generate_name_tables.py says."""
    assert canonical_forms("mike")[0] == "michael"
    assert canonical_forms("robert")[0] == "robert"
    assert canonical_forms("bill")[0] == "william"
    assert canonical_forms("bedney")[0] == "abednego"  # neither in the census: not itself
    assert canonical_forms("zzyzx") == ("zzyzx",)
    assert canonical_forms("") == ()


@pytest.mark.parametrize(
    ("name", "skeleton"), [("schmidt", "scmdt"), ("lloyd", "ld"), ("aaron", "arn"), ("babbit", "bt")]
)
def test_consonant_skeleton(name: str, skeleton: str) -> None:
    assert consonant_skeleton(name) == skeleton


def test_swapped_day_and_month_meet_in_dc_only() -> None:
    swapped = replace(MIKE, birth_date="1980-02-11")
    names = {label.name for label in agree(MIKE, swapped)}
    assert {"L1+Dc", "F+Dc", "Ls+Dc"} <= names
    assert not names & {"SWp+MD", "SW+YM", "SWp+YD"}


def test_swapped_names_meet_in_sw() -> None:
    assert "SW+YM" in {label.name for label in agree(replace(MIKE, first="Schmidt", last="Mike"), MIKE)}


def test_nickname_meets_its_formal_name_both_ways() -> None:
    formal = replace(MIKE, first="Michael")
    for query, record in ((MIKE, formal), (formal, MIKE)):
        assert {"SWp+MD", "SWp+So", "SWp+YD"} <= {label.name for label in agree(query, record)}


def test_a_given_name_that_is_an_initial_is_no_field_code() -> None:
    """It would disagree with the name that it stands for; the match keys keep it."""
    initial = normalise(replace(MIKE, first="M"))
    assert not {"F", "Fc", "Fp", "F3", "Fo"} & set(asked(plan_lookup(initial, LookupShape.DETAILED, SEED)[0]))
    assert record_codes(initial).presence & 0b11111 == 0
    assert "F1+L4+YM" in {key.label.name for key in record_keys(initial)}


def test_a_middle_initial_is_no_middle_name() -> None:
    codes = {code.label.name for code in record_codes(normalise(replace(MIKE, middle="J."))).codes}
    assert "M1" in codes
    assert "M" not in codes


def test_middle_name_used_as_first_meets_in_the_root() -> None:
    """MATCHING.md §3 "Two sides": the record emits the canonical forms of first and middle."""
    record = record_codes(normalise(replace(MIKE, first="Louis", middle="Mike")))
    query = plan_lookup(normalise(MIKE), LookupShape.DETAILED, SEED)[0]
    root = next(slot.input for slot in query.slots if slot.label and slot.label.name == "Fc")
    assert root in {code.input for code in record.codes}


# --- octets ------------------------------------------------------------------------------------------


def test_octets_are_those_of_the_protocol_page() -> None:
    """docs/protocol.md §5.4, spelled out."""
    assert octets("K:L1+Dc", ("s", "19800211")) == b"\x02\x07K:L1+Dc\x02\x00\x01s\x00\x0819800211"
    assert octets("C:F", ("é",)) == b"\x02\x03C:F\x01\x00\x02\xc3\xa9"
    assert filler_input(SEED, KeyClass.MATCH, 11) == (
        b"\x02\x06filler\x03\x00\x40" + SEED.hex().encode() + b"\x00\x01M\x00\x0211"
    )


@given(
    st.tuples(st.text(max_size=8), st.lists(st.text(max_size=8), max_size=4)),
    st.tuples(st.text(max_size=8), st.lists(st.text(max_size=8), max_size=4)),
)
def test_no_two_labels_or_value_lists_collide(
    one: tuple[str, list[str]], other: tuple[str, list[str]]
) -> None:
    assert (octets(*one) == octets(*other)) == (one == other)
    assert parsed(octets(*one)) == one


def test_versions_cannot_collide() -> None:
    assert octets("K:P", ("x",))[0] == SCHEME_VERSION == 2


@pytest.mark.parametrize(("label", "values"), [("x" * 256, []), ("x", ["y"] * 256), ("x", ["y" * 65_536])])
def test_octets_refuse_what_their_lengths_cannot_say(label: str, values: list[str]) -> None:
    with pytest.raises(LimitExceeded):
        octets(label, values)


@settings(max_examples=60)
@given(PARTICULARS)
def test_every_input_says_its_own_label(particulars: Particulars) -> None:
    """No input of one label can be that of another, on either side."""
    person = normalise(particulars)
    for kind, items in (("K", record_keys(person)), ("", record_codes(person).codes)):
        for item in items:
            prefix = kind or ("C" if item.label in CODE_LABELS else "K")
            name, values = parsed(item.input)
            assert name == f"{prefix}:{item.label.name}"
            assert len(values) == len(item.label.codes)
            assert all(values)


# --- the record's side -------------------------------------------------------------------------------


@settings(max_examples=60)
@given(PARTICULARS)
def test_a_record_stays_within_its_slots_and_keeps_every_field(particulars: Particulars) -> None:
    person = normalise(particulars)
    keys, tags = record_keys(person), record_codes(person)
    assert len(keys) == len(set(keys)) <= MAX_RECORD_KEYS
    assert len(tags.codes) == len(set(tags.codes)) <= MAX_FIELD_TAGS
    present = {TAG_LABELS[bit] for bit in range(len(TAG_LABELS)) if tags.presence >> bit & 1}
    assert present == {code.label for code in tags.codes}
    order = [TAG_LABELS.index(code.label) for code in tags.codes]
    assert order == sorted(order)


@settings(max_examples=60)
@given(PARTICULARS)
def test_what_is_asked_of_a_whole_surname_stands_on_that_persons_record(particulars: Particulars) -> None:
    """A record always meets a lookup with the very same particulars, on every label that both have."""
    person = normalise(particulars)
    published = {key.input for key in record_keys(person)} | {c.input for c in record_codes(person).codes}
    plan = plan_lookup(person, LookupShape.DETAILED, SEED)[0]
    own = [slot for slot in plan.slots if slot.label and slot.label.slot == slot.position]
    if person.surname and len(record_keys(person)) < MAX_RECORD_KEYS and not record_codes(person).dropped:
        assert all(slot.input in published for slot in own)


def test_field_tags_overflow_by_rank_and_keep_every_label() -> None:
    """Every label keeps its first value before any keeps a second."""
    crowded = replace(MANY, first="Chris", middle="Al", suffix="Jr", sex="M")
    tags = record_codes(normalise(crowded))
    assert len(tags.codes) == MAX_FIELD_TAGS
    assert tags.dropped > 0
    assert tags.presence == (1 << 25) - 1
    values = {parsed(code.input)[1][0] for code in tags.codes}
    assert {"christopher", "albert", "andersonbakercastillodelgado", "anderson"} <= values


def test_record_keys_overflow_by_rank_and_keep_every_label() -> None:
    words = " ".join(f"{letter}{letter}a{letter}{other}" for letter in "bcdf" for other in "ghkm")
    keys = record_keys(normalise(replace(MIKE, first="Al", middle="Quinn", last=words)))
    assert len(keys) <= MAX_RECORD_KEYS
    assert {key.label for key in keys} == set(ENTRY_LABELS)


def test_placeholders_never_contribute() -> None:
    """MATCHING.md §7 trap 5: one agency's 1900-01-01 must not match another's."""
    nobody = normalise(EMPTY)
    assert record_keys(nobody) == ()
    assert record_codes(nobody).codes == ()
    assert record_codes(nobody).presence == 0
    for shape in BOTH:
        (plan,) = plan_lookup(nobody, shape, SEED)
        assert all(slot.label is None for slot in plan.slots)


@pytest.mark.parametrize(
    ("field", "placeholder", "codes"),
    [
        ("first", "UNKNOWN", {"F", "F1", "F3", "SW", "SWp"}),
        ("last", "LNU", {"L1", "L4", "Lk", "Ls", "SW", "SWp"}),
        ("birth_date", "1900-01-01", {"Y", "D", "Dc", "MD", "YM", "YD", "Yo"}),
        ("birth_date", "XXXX-XX-XX", {"Y", "D", "Dc", "MD", "YM", "YD", "Yo"}),
        ("ssn4", "0000", {"S", "So"}),
        ("post_id", "UNKNOWN", {"P"}),
    ],
)
def test_a_missing_field_takes_its_keys_with_it(field: str, placeholder: str, codes: set[str]) -> None:
    keys = record_keys(normalise(replace(MIKE, **{field: placeholder})))
    assert {key.label for key in keys} == {label for label in ENTRY_LABELS if not codes & set(label.codes)}


# --- the asker's side --------------------------------------------------------------------------------


@settings(max_examples=60)
@given(PARTICULARS, st.sampled_from(BOTH), st.binary(min_size=32, max_size=32))
def test_a_lookup_always_has_its_fixed_number_of_slots(
    particulars: Particulars, shape: LookupShape, seed: bytes
) -> None:
    """Attack A5: sizes that vary with aliases and missing fields."""
    plans = plan_lookup(normalise(particulars), shape, seed)
    assert 1 <= len(plans) <= MAX_PLANS
    expected = {KeyClass.WEAK: 4, KeyClass.MATCH: 12}
    if shape is LookupShape.DETAILED:
        expected[KeyClass.CODE] = 24
    for number, plan in enumerate(plans):
        assert (plan.number, plan.shape) == (number, shape)
        assert Counter(slot.key_class for slot in plan.slots) == expected
        for key_class, slots in expected.items():
            assert [slot.position for slot in plan.of_class(key_class)] == list(range(slots))
        assert len({slot.input for slot in plan.slots}) == len(plan.slots)
    assert plan_lookup(normalise(particulars), shape, seed) == plans


def test_own_keys_stand_in_their_own_slots() -> None:
    (plan,) = plan_lookup(normalise(MIKE), LookupShape.SCREENING, SEED)
    assert [slot.label for slot in plan.slots] == list(MATCH_LABELS)


def test_free_slots_hold_seeded_fillers() -> None:
    (plan,) = plan_lookup(normalise(replace(MIKE, post_id="")), LookupShape.SCREENING, SEED)
    last = plan.slots[-1]
    assert last.label is None
    assert last.input == filler_input(SEED, KeyClass.MATCH, 11)
    (other,) = plan_lookup(normalise(replace(MIKE, post_id="")), LookupShape.SCREENING, bytes(32))
    assert other.slots[-1].input != last.input


def test_alternative_surnames_fill_free_slots_of_their_class_and_then_further_lookups() -> None:
    person = normalise(replace(MIKE, former_last="Weber", ssn4=""))
    first, second = plan_lookup(person, LookupShape.SCREENING, SEED)
    weak = [parsed(slot.input) for slot in first.of_class(KeyClass.WEAK) if slot.label]
    # D+S, Y+S and F3+S lack the last four: the first of their slots takes the former name's key.
    assert weak == [("K:L1+Dc", ["s", "19800211"]), ("K:L1+Dc", ["w", "19800211"])]
    free = [
        slot for slot in first.of_class(KeyClass.MATCH) if slot.label and slot.label.slot != slot.position
    ]
    assert [parsed(slot.input)[0] for slot in free] == ["K:SWp+MD", "K:F1+L4+YM", "K:SW+YM", "K:SWp+YD"]
    rest = [parsed(slot.input)[0] for slot in second.slots if slot.label]
    assert rest == ["K:F3+Lk+MD", "K:Ls+Dc"]
    assert not first.incomplete


def test_every_surname_is_asked_somewhere_while_plans_last() -> None:
    plans = plan_lookup(normalise(replace(MIKE, last="Smith-Jones")), LookupShape.DETAILED, SEED)
    names = {parsed(slot.input)[1][0] for plan in plans for slot in plan.slots if slot.label}
    assert {"smithjones", "smith", "jones"} <= names
    assert not plans[0].incomplete


def test_more_surnames_than_the_plans_hold_are_flagged() -> None:
    plans = plan_lookup(normalise(MANY), LookupShape.DETAILED, SEED)
    assert len(plans) == MAX_PLANS
    assert all(plan.incomplete for plan in plans)


def test_a_seed_is_thirty_two_octets() -> None:
    with pytest.raises(LimitExceeded):
        plan_lookup(normalise(MIKE), LookupShape.SCREENING, b"short")


# --- audit by opening --------------------------------------------------------------------------------


def inputs_of(person: Person, shape: LookupShape, number: int = 0) -> list[bytes]:
    return [slot.input for slot in plan_lookup(person, shape, SEED)[number].slots]


@pytest.mark.parametrize("shape", BOTH)
def test_an_honest_opening_passes(shape: LookupShape) -> None:
    person = normalise(replace(MIKE, last="Smith-Jones"))
    for number in range(len(plan_lookup(person, shape, SEED))):
        plan = check_plan(person, shape, SEED, inputs_of(person, shape, number), number)
        assert plan.number == number


def test_a_guess_hidden_as_a_filler_is_named_by_its_slot_and_not_shown() -> None:
    """Attack A5b."""
    person = normalise(replace(MIKE, post_id=""))
    inputs = inputs_of(person, LookupShape.SCREENING)
    inputs[-1] = octets("K:P", ("MA999999",))
    with pytest.raises(CommitmentMismatch) as caught:
        check_plan(person, LookupShape.SCREENING, SEED, inputs)
    assert "Slot 11 of class MATCH" in str(caught.value)
    assert "999999" not in str(caught.value)


def test_the_first_slot_that_differs_is_named() -> None:
    inputs = inputs_of(normalise(replace(MIKE, ssn4="4072")), LookupShape.SCREENING)
    with pytest.raises(CommitmentMismatch, match="Slot 1 of class WEAK"):
        check_plan(normalise(MIKE), LookupShape.SCREENING, SEED, inputs)


def test_keys_moved_to_other_slots_do_not_pass() -> None:
    person = normalise(MIKE)
    inputs = inputs_of(person, LookupShape.SCREENING)
    inputs[4], inputs[5] = inputs[5], inputs[4]
    with pytest.raises(CommitmentMismatch, match="Slot 0 of class MATCH"):
        check_plan(person, LookupShape.SCREENING, SEED, inputs)


def test_another_seed_shape_or_number_does_not_pass() -> None:
    person = normalise(replace(MIKE, post_id=""))
    inputs = inputs_of(person, LookupShape.SCREENING)
    for seed, shape, number in (
        (bytes(32), LookupShape.SCREENING, 0),
        (SEED, LookupShape.DETAILED, 0),
        (SEED, LookupShape.SCREENING, 1),
        (SEED, LookupShape.SCREENING, -1),
    ):
        with pytest.raises(CommitmentMismatch):
            check_plan(person, shape, seed, inputs, number)


# --- redaction ---------------------------------------------------------------------------------------


def test_inputs_and_fillers_do_not_show_in_any_repr() -> None:
    person = normalise(replace(MIKE, middle="", sex=""))
    (plan,) = plan_lookup(person, LookupShape.DETAILED, SEED)
    shown = " ".join(map(repr, (plan, *plan.slots, *record_keys(person), record_codes(person))))
    for secret in ("schm", "mik", "4071", "1980", "328139", "XMT", "S530", SEED.hex(), "b'", "label=None"):
        assert secret not in shown


def test_a_filler_slot_prints_like_any_other() -> None:
    full, gap = (plan_lookup(normalise(p), LookupShape.SCREENING, SEED)[0] for p in (MIKE, EMPTY))
    assert [repr(slot) for slot in full.slots] == [repr(slot) for slot in gap.slots]


# --- vectors -----------------------------------------------------------------------------------------


def described(particulars: Particulars) -> dict[str, Any]:
    """What tests/vectors/matchkeys.json states of a person: every input as its label and values."""

    def line(data: bytes) -> str:
        name, values = parsed(data)
        return " ".join([name, *values])

    person = normalise(particulars)
    tags = record_codes(person)
    plans = plan_lookup(person, LookupShape.DETAILED, SEED)
    return {
        "person": {name: value for name, value in vars(person).items() if value},
        "other_surnames": list(person.other_surnames),
        "record_keys": [line(key.input) for key in record_keys(person)],
        "record_codes": [line(code.input) for code in tags.codes],
        "presence": tags.presence,
        "dropped": tags.dropped,
        "lookups": [[line(s.input) if s.label else "filler" for s in plan.slots] for plan in plans],
        "lookup_sha256": [
            hashlib.sha256(b"".join(s.input for s in plan.slots)).hexdigest() for plan in plans
        ],
    }


def _cases() -> list[dict[str, Any]]:
    document: dict[str, Any] = json.loads(VECTORS.read_text(encoding="utf-8"))
    cases: list[dict[str, Any]] = document["cases"]
    return cases


@pytest.mark.parametrize("case", _cases(), ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    found = described(Particulars(**case["particulars"]))
    assert found == {key: case[key] for key in found}


def test_vectors_belong_to_this_scheme_and_these_tables() -> None:
    document = json.loads(VECTORS.read_text(encoding="utf-8"))
    assert document["scheme_version"] == SCHEME_VERSION
    assert document["tables_sha256"] == TABLES_SHA256
    assert document["filler_seed"] == SEED.hex()
    for name, values, expected in document["octets"]:
        assert octets(name, values).hex() == expected
