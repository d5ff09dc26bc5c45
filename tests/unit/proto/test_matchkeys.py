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
    MAX_SURNAMES,
    SCHEME_VERSION,
    TAG_LABELS,
    Label,
    LookupPlan,
    Slot,
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
from candor_proto.phonetics import canonical_forms, double_metaphone
from candor_proto.scheme import CURRENT
from tests.unit.proto.test_normalise import PARTICULARS

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "matchkeys.json"
SEED = bytes(range(32))
RESERVES = CURRENT.reserve_labels
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


def test_the_list_is_fixed() -> None:
    """ADR 0022: labels, classes and gate weights of scheme version 3; the last five are reserves."""
    assert [(label.name, label.key_class.letter, label.weight) for label in MATCH_LABELS] == [
        ("SW1+So", "W", 2),
        ("F1+Lz+MD", "W", 1),
        ("F+Dc", "W", 2),
        ("F+S", "W", 2),
        ("L3+Dc", "M", 2),
        ("Fc+D", "M", 2),
        ("Ls+Dc", "M", 2),
        ("SW3+MD", "M", 2),
        ("SW3+YM", "M", 1),
        ("SWp+YM", "M", 2),
        ("F1+L4+YM", "M", 2),
        ("L3+S", "M", 1),
        ("Lk+S", "M", 2),
        ("SW3+So", "M", 1),
        ("YD+S", "M", 1),
        ("YM+S", "M", 2),
        ("P", "M", 2),
        ("L3+Yo", "M", 2),
        ("SWp+MD", "M", 1),
        ("Yo+So", "M", 2),
        ("Dc+So", "M", 1),
    ]
    assert [label.name for label in RESERVES] == ["P", "L3+Yo", "SWp+MD", "Yo+So", "Dc+So"]


def test_positions_count_through_the_list_and_slots_through_the_class() -> None:
    """Shares are computed for the position: two labels of one position would carry the same shares."""
    assert [label.position for label in MATCH_LABELS] == list(range(21))
    assert [label.position for label in CODE_LABELS] == list(range(24))
    for key_class, slots in CLASS_SLOTS.items():
        labels = [label for label in MATCH_LABELS + CODE_LABELS if label.key_class is key_class]
        reserves = [label.slot for label in RESERVES if label.key_class is key_class]
        assert [label.slot for label in labels] == list(range(slots)) + reserves
        assert reserves == list(range(slots, len(labels)))
    assert CLASS_SLOTS == {KeyClass.WEAK: 4, KeyClass.MATCH: 12, KeyClass.CODE: 24}


def test_no_label_opens_alone() -> None:
    """PROTOCOL.md §3: no label carries the threshold alone."""
    assert all(0 < label.weight < GATE_THRESHOLD for label in MATCH_LABELS)


def test_no_label_is_of_names_alone() -> None:
    """Whoever knows how somebody is called must not find out more from that: a staff list would do."""
    beyond_names = {"D", "Dc", "Yo", "Y", "YM", "YD", "MD", "S", "So", "P"}
    assert all(beyond_names & set(label.codes) for label in MATCH_LABELS)


def test_every_match_key_is_published_and_blobs_hold_the_field_codes_only() -> None:
    assert BLOB_LABELS == ()
    assert ENTRY_LABELS == MATCH_LABELS
    assert TAG_LABELS == CODE_LABELS
    assert {key.label for key in record_keys(normalise(MIKE))} == set(MATCH_LABELS)


def test_birth_date_and_last_four_open_whatever_the_names() -> None:
    """ADR 0016: a new surname and a slip in the given name leave nothing else to meet on."""
    renamed = replace(MIKE, first="Nike", middle="", last="Weber", suffix="", former_last="", post_id="")
    assert {label.name for label in agree(renamed, MIKE)} == {"YD+S", "YM+S"}
    assert gate_weight(agree(renamed, MIKE)) == GATE_THRESHOLD
    assert gate_weight(agree(replace(renamed, ssn4="4017"), MIKE)) < GATE_THRESHOLD


def test_a_changed_surname_opens_by_given_name_and_birth_date() -> None:
    """ADR 0022: most of what scheme version 2 missed were surnames that had changed."""
    renamed = replace(MIKE, last="Weber", ssn4="", post_id="")
    assert {label.name for label in agree(renamed, MIKE)} == {"F+Dc", "Fc+D"}
    assert gate_weight(agree(renamed, MIKE)) >= GATE_THRESHOLD


def test_the_certificate_opens_with_any_label_of_the_name_where_it_is_asked() -> None:
    """The reserve P: asked where the last four are missing."""
    found = agree(replace(MIKE, ssn4="", birth_date="1980-11-12"), MIKE)
    assert {label.name for label in found} == {"SW3+YM", "SWp+YM", "F1+L4+YM", "P"}
    assert "P" not in {label.name for label in agree(MIKE, MIKE)}


def test_variants_of_a_label_count_once_at_the_gate() -> None:
    label = MATCH_LABELS[4]
    assert gate_weight([label, label]) == label.weight


def test_field_codes_are_the_twenty_four() -> None:
    names = " ".join(label.name for label in CODE_LABELS)
    assert names == "F Fc Fp Fo Fz L Ls Lz SW SW1 SW3 D Yo YM YD MD Y S P PS M M1 X G"
    assert {label.key_class for label in CODE_LABELS} == {KeyClass.CODE}


# --- codes -------------------------------------------------------------------------------------------


def test_codes_of_mike_schmidt() -> None:
    """The example column of MATCHING.md §3, by hand."""
    plans = plan_lookup(normalise(MIKE), LookupShape.DETAILED, SEED)
    assert len(plans) == 1
    assert asked(plans[0]) == {
        "SW1+So": ["m/s", "0147"],
        "F1+Lz+MD": ["m", "idt", "1102"],
        "F+Dc": ["mike", "19800211"],
        "F+S": ["mike", "4071"],
        "L3+Dc": ["sch", "19800211"],
        "Fc+D": ["michael", "19801102"],
        "Ls+Dc": ["S530", "19800211"],
        "SW3+MD": ["mik/sch", "1102"],
        "SW3+YM": ["mik/sch", "198011"],
        "SWp+YM": ["MKL/XMT", "198011"],
        "F1+L4+YM": ["m", "schm", "198011"],
        "L3+S": ["sch", "4071"],
        "Lk+S": ["scmdt", "4071"],
        "SW3+So": ["mik/sch", "0147"],
        "YD+S": ["198002", "4071"],
        "YM+S": ["198011", "4071"],
    } | {
        "F": ["mike"],
        "Fc": ["michael"],
        "Fp": ["MKL"],
        "Fo": ["eikm"],
        "Fz": ["ike"],
        "L": ["schmidt"],
        "Ls": ["S530"],
        "Lz": ["idt"],
        "SW": ["mike/schmidt"],
        "SW1": ["m/s"],
        "SW3": ["mik/sch"],
        "D": ["19801102"],
        "Yo": ["01891102"],
        "YM": ["198011"],
        "YD": ["198002"],
        "MD": ["1102"],
        "Y": ["1980"],
        "S": ["4071"],
        "P": ["MA328139"],
        "PS": ["MA"],
    }


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
    assert {"F+Dc", "L3+Dc", "Ls+Dc"} <= names
    assert not names & {"F1+Lz+MD", "Fc+D", "SW3+MD", "SW3+YM", "SWp+YM", "F1+L4+YM", "YD+S", "YM+S"}


def test_swapped_names_meet_in_sw() -> None:
    exchanged = replace(MIKE, first="Schmidt", last="Mike")
    names = {label.name for label in agree(exchanged, MIKE)}
    assert names == {"SW1+So", "SW3+MD", "SW3+YM", "SWp+YM", "SW3+So", "YD+S", "YM+S"} - {"SWp+YM"}


def test_nickname_meets_its_formal_name_both_ways() -> None:
    formal = replace(MIKE, first="Michael")
    for query, record in ((MIKE, formal), (formal, MIKE)):
        assert {"Fc+D", "SWp+YM"} <= {label.name for label in agree(query, record)}


def test_a_nickname_of_another_root_meets_the_formal_name_in_the_record() -> None:
    """Sandy asks as Sandra, and Alexander is filed with that root among others."""
    sandy, alexander = replace(MIKE, first="Sandy"), replace(MIKE, first="Alexander")
    for query, record in ((sandy, alexander), (alexander, sandy)):
        assert "Fc+D" in {label.name for label in agree(query, record)}


def test_two_given_names_meet_whether_joined_or_in_two_fields() -> None:
    joined, apart = replace(MIKE, first="Mary Ann"), replace(MIKE, first="Mary", middle="Ann")
    for query, record in ((joined, apart), (apart, joined)):
        assert {"F+Dc", "F+S", "Fc+D", "SWp+YM"} <= {label.name for label in agree(query, record)}


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


def test_middle_name_used_as_first_meets_in_the_sound_of_the_root_alone() -> None:
    """MATCHING.md §3 "Two sides"; not in the root, which would make `Fc+D` cheap to guess (ADR 0022)."""
    record = record_codes(normalise(replace(MIKE, first="Louis", middle="Mike")))
    query = plan_lookup(normalise(MIKE), LookupShape.DETAILED, SEED)[0]
    asked = {slot.label.name: slot.input for slot in query.slots if slot.label}
    recorded = {code.input for code in record.codes}
    assert asked["Fp"] in recorded
    assert asked["Fc"] not in recorded


# --- octets ------------------------------------------------------------------------------------------


def test_octets_are_those_of_the_protocol_page() -> None:
    """docs/protocol.md §5.4, spelled out."""
    assert octets("K:L3+Dc", ("sch", "19800211")) == b"\x03\x07K:L3+Dc\x02\x00\x03sch\x00\x0819800211"
    assert octets("C:F", ("é",)) == b"\x03\x03C:F\x01\x00\x02\xc3\xa9"
    assert filler_input(SEED, KeyClass.MATCH, 11) == (
        b"\x03\x06filler\x03\x00\x40" + SEED.hex().encode() + b"\x00\x01M\x00\x0211"
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
    assert octets("K:P", ("x",))[0] == SCHEME_VERSION == 3


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


def published(person: Person) -> set[bytes]:
    """All inputs of a record of `person`, keys and codes."""
    return {key.input for key in record_keys(person)} | {code.input for code in record_codes(person).codes}


def cut_off(person: Person) -> bool:
    """Whether a record of `person` has more surnames, keys or codes than it may."""
    surnames = {person.surname, *person.other_surnames, *person.recorded_surnames, *person.spare_surnames}
    full = len(record_keys(person)) == MAX_RECORD_KEYS or record_codes(person).dropped > 0
    return full or len(surnames - {""}) > MAX_SURNAMES


@settings(max_examples=300)
@given(PARTICULARS, st.sampled_from(BOTH))
def test_whatever_is_asked_of_a_person_stands_on_that_persons_record(
    particulars: Particulars, shape: LookupShape
) -> None:
    """Both sides of §3: also of parts of surnames, of spare surnames, and under reserve labels."""
    person = normalise(particulars)
    if not cut_off(person):
        slots = [slot for plan in plan_lookup(person, shape, SEED) for slot in plan.slots if slot.label]
        assert {slot.input for slot in slots} <= published(person)


@pytest.mark.parametrize(
    "last", ["O'Brien", "Vandyke", "Mueller", "de la Cruz-Peña", "McDonald", "Smith Jones"]
)
@pytest.mark.parametrize("missing", ["", "ssn4", "birth_date", "first", "post_id", "middle"])
def test_whatever_is_asked_of_these_surnames_stands_on_their_record(last: str, missing: str) -> None:
    filed = replace(MIKE, middle="Lee", last=last, former_last="Saint John", suffix="Jr", sex="M")
    person = normalise(replace(filed, **({missing: ""} if missing else {})))
    assert len(record_keys(person)) < MAX_RECORD_KEYS
    keys = {key.input for key in record_keys(person)}
    plans = plan_lookup(person, LookupShape.SCREENING, SEED)
    asked_here = {slot.input for plan in plans for slot in plan.slots if slot.label}
    assert asked_here
    assert asked_here <= keys


def test_field_tags_overflow_by_rank_and_keep_every_label() -> None:
    """Every label keeps its first value before any keeps a second."""
    crowded = replace(MANY, first="Chris", middle="Al", suffix="Jr", sex="M")
    tags = record_codes(normalise(crowded))
    assert len(tags.codes) == MAX_FIELD_TAGS
    assert tags.dropped > 0
    assert tags.presence == (1 << 24) - 1
    values = {parsed(code.input)[1][0] for code in tags.codes}
    assert {"christopher", double_metaphone("albert"), "andersonbakercastillodelgado", "anderson"} <= values


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
        ("first", "UNKNOWN", {"F", "F1", "Fc", "SW1", "SW3", "SWp"}),
        ("last", "LNU", {"L3", "L4", "Lk", "Ls", "Lz", "SW1", "SW3", "SWp"}),
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
    assert [slot.label for slot in plan.slots] == [label for label in MATCH_LABELS if label not in RESERVES]


# A missing birth date leaves more free slots than there are reserves.
UNDATED = replace(MIKE, birth_date="")


def test_free_slots_hold_seeded_fillers() -> None:
    (plan,) = plan_lookup(normalise(UNDATED), LookupShape.SCREENING, SEED)
    last = plan.slots[-1]
    assert last.label is None
    assert last.input == filler_input(SEED, KeyClass.MATCH, 11)
    (other,) = plan_lookup(normalise(UNDATED), LookupShape.SCREENING, bytes(32))
    assert other.slots[-1].input != last.input


def own_label(slot: Slot) -> bool:
    """Whether a slot holds its own label's key, or one of an alternative surname by chance."""
    return slot.label is not None and slot.label.slot == slot.position


def others(plan: LookupPlan, key_class: KeyClass) -> list[str]:
    """What stands in slots of a class that are not its label's own, as its label and values."""
    found = [parsed(s.input) for s in plan.of_class(key_class) if s.label and not own_label(s)]
    return [" ".join([name.partition(":")[2], *values]) for name, values in found]


def test_reserves_are_asked_where_a_field_is_missing_in_list_order() -> None:
    """What is left free holds a filler."""
    (plan,) = plan_lookup(normalise(replace(MIKE, ssn4="")), LookupShape.SCREENING, SEED)
    assert others(plan, KeyClass.MATCH) == ["P MA328139", "L3+Yo sch 01891102", "SWp+MD MKL/XMT 1102"]
    assert [s.label.name if s.label else None for s in plan.of_class(KeyClass.MATCH)][7:] == [
        "P", "L3+Yo", "SWp+MD", None, None,
    ]  # fmt: skip
    (plan,) = plan_lookup(normalise(UNDATED), LookupShape.SCREENING, SEED)
    assert others(plan, KeyClass.MATCH) == ["P MA328139"]
    (plan,) = plan_lookup(normalise(MIKE), LookupShape.SCREENING, SEED)
    assert others(plan, KeyClass.MATCH) == []


def test_without_a_given_name_birth_date_and_last_four_open_by_themselves() -> None:
    """The reserves of birth date and last four, also where two digits of the latter are exchanged."""
    query = replace(MIKE, first="", last="Weber", ssn4="4017", post_id="")
    assert {label.name for label in agree(query, MIKE)} == {"Yo+So", "Dc+So"}
    assert gate_weight(agree(query, MIKE)) == GATE_THRESHOLD
    (plan,) = plan_lookup(normalise(replace(MIKE, first="")), LookupShape.SCREENING, SEED)
    assert others(plan, KeyClass.MATCH) == [
        "P MA328139", "L3+Yo sch 01891102", "Yo+So 01891102 0147", "Dc+So 19800211 0147",
    ]  # fmt: skip


def test_alternative_surnames_come_before_spare_ones_and_those_before_reserves() -> None:
    """Two surnames, one of which has a spare spelling; the last four are missing."""
    person = normalise(replace(MIKE, last="O'Brien", former_last="Weber", ssn4=""))
    assert (person.other_surnames, person.spare_surnames) == (("weber",), ("brien",))
    (plan, further) = plan_lookup(person, LookupShape.SCREENING, SEED)
    found = [line.split()[:2] for line in others(plan, KeyClass.MATCH)]
    assert found == [
        ["L3+Dc", "web"], ["Ls+Dc", "W160"], ["SW3+MD", "mik/web"], ["SW3+YM", "mik/web"],
        ["SWp+YM", "APR/MKL"],
    ]  # fmt: skip
    # Slots of the former surname's last key; none of a spare surname, and no reserve.
    assert [parsed(slot.input)[1] for slot in further.slots if slot.label] == [["m", "webe", "198011"]]
    # No former surname: the spare one's keys, and nothing is left for reserves.
    (plan,) = plan_lookup(normalise(replace(MIKE, last="O'Brien", ssn4="")), LookupShape.SCREENING, SEED)
    spare = [line.split()[1] for line in others(plan, KeyClass.MATCH)]
    assert spare == ["bri", "B650", "bri/mik", "bri/mik", "MKL/PRN"]


def test_spare_surnames_take_free_slots_before_reserves() -> None:
    """Without a given name five keys of class M can be made of a surname and a birth date, and seven slots
    are left."""
    (plan,) = plan_lookup(
        normalise(replace(MIKE, first="", last="Vandyke", ssn4="")), LookupShape.SCREENING, SEED
    )
    assert others(plan, KeyClass.MATCH) == [
        "L3+Dc dyk 19800211", "Ls+Dc D200 19800211", "P MA328139", "L3+Yo van 01891102",
    ]  # fmt: skip


class Plain(Person):
    """A person without spare surnames."""

    spare_surnames = ()


WITHOUT_RESERVES = replace(CURRENT, match_labels=tuple(one for one in MATCH_LABELS if one not in RESERVES))


@settings(max_examples=200)
@given(PARTICULARS, st.sampled_from(BOTH))
def test_reserves_and_spare_surnames_never_cause_a_further_lookup(
    particulars: Particulars, shape: LookupShape
) -> None:
    """They only take the place of fillers in lookup 0: whoever counts lookups learns nothing from them."""
    person = normalise(particulars)
    plans = plan_lookup(person, shape, SEED)
    plain = plan_lookup(Plain(**vars(person)), shape, SEED, WITHOUT_RESERVES)
    assert len(plans) == len(plain)
    assert [plan.slots for plan in plans[1:]] == [plan.slots for plan in plain[1:]]
    for slot, without in zip(plans[0].slots, plain[0].slots, strict=True):
        assert slot.input == without.input or without.label is None
    assert not any(slot.label in RESERVES for plan in plans[1:] for slot in plan.slots)
    assert not any(
        slot.label in RESERVES for key_class in (KeyClass.WEAK,) for slot in plans[0].of_class(key_class)
    )


def test_alternative_surnames_fill_free_slots_of_their_class_and_then_further_lookups() -> None:
    person = normalise(replace(MIKE, former_last="Weber", ssn4="", post_id=""))
    first, second = plan_lookup(person, LookupShape.SCREENING, SEED)
    weak = [parsed(slot.input) for slot in first.of_class(KeyClass.WEAK) if slot.label]
    # SW1+So and F+S lack the last four: the first of their slots takes the former name's key.
    assert weak == [
        ("K:F1+Lz+MD", ["m", "ber", "1102"]),
        ("K:F1+Lz+MD", ["m", "idt", "1102"]),
        ("K:F+Dc", ["mike", "19800211"]),
    ]
    names = [line.split()[0] for line in others(first, KeyClass.MATCH)]
    assert names == ["L3+Dc", "Ls+Dc", "SW3+MD", "SW3+YM", "SWp+YM"]
    rest = [parsed(slot.input)[0] for slot in second.slots if slot.label]
    assert rest == ["K:F1+L4+YM"]
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
    person = normalise(UNDATED)
    inputs = inputs_of(person, LookupShape.SCREENING)
    inputs[-1] = octets("K:P", ("MA999999",))
    with pytest.raises(CommitmentMismatch) as caught:
        check_plan(person, LookupShape.SCREENING, SEED, inputs)
    assert "Slot 11 of class MATCH" in str(caught.value)
    assert "999999" not in str(caught.value)


def test_the_first_slot_that_differs_is_named() -> None:
    inputs = inputs_of(normalise(replace(MIKE, ssn4="4072")), LookupShape.SCREENING)
    with pytest.raises(CommitmentMismatch, match="Slot 0 of class WEAK"):
        check_plan(normalise(MIKE), LookupShape.SCREENING, SEED, inputs)


def test_keys_moved_to_other_slots_do_not_pass() -> None:
    person = normalise(MIKE)
    inputs = inputs_of(person, LookupShape.SCREENING)
    inputs[4], inputs[5] = inputs[5], inputs[4]
    with pytest.raises(CommitmentMismatch, match="Slot 0 of class MATCH"):
        check_plan(person, LookupShape.SCREENING, SEED, inputs)


def test_another_seed_shape_or_number_does_not_pass() -> None:
    person = normalise(UNDATED)
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
        "spare_surnames": list(person.spare_surnames),
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
