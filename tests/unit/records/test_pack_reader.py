"""Packs are read strictly: every fault at once, with its place, and no value repeated."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_node import shipped_packs
from candor_records.pack_reader import MAX_OCTETS, read_pack
from candor_records.pack_rules import PackInvalid, Reports, Term
from tests.packs import APPEAL, SHORT, clock, make_pack, pack_text


def faults(text: str) -> tuple[str, ...]:
    with pytest.raises(PackInvalid) as caught:
        read_pack(text.encode())
    return caught.value.faults


def without(text: str, line: str) -> str:
    kept = re.sub(rf"^{re.escape(line)}.*\n", "", text, flags=re.MULTILINE)
    assert kept != text
    return kept


def test_a_pack_is_read_as_it_is_written() -> None:
    pack = make_pack(clock(), APPEAL, SHORT)
    assert (pack.name, pack.jurisdiction, pack.version) == ("testland", "ZZ", 1)
    assert [rule.term for rule in pack.rules] == [Term.REPORTING_CLOCK, Term.GATE_EXCEPTION, Term.RETENTION]
    assert isinstance(pack.rules[0].terms, Reports)
    assert pack.rules[0].terms.words == "reported within 5 calendar days of the day the action took effect"
    assert pack.octets == pack_text(clock(), APPEAL, SHORT).encode()


@pytest.mark.parametrize("name", shipped_packs.names())
def test_every_rule_of_every_shipped_pack_has_words_and_a_citation(name: str) -> None:
    for rule in shipped_packs.shipped(name).pack.rules:
        assert rule.terms.words
        assert rule.source.citation
        assert "verify with counsel" in rule.cited


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("format", "format is missing"),
        ("name", "name is missing"),
        ("version", "version is missing"),
        ("effective_on", "effective_on is missing"),
        ("status", "status is missing"),
        ("issuer", "issuer is missing"),
        ("id", "rule 1, id is missing"),
        ("term", "rule zz.clock, term is missing"),
        ("kinds", "rule zz.clock, kinds is missing"),
        ("days", "rule zz.clock, days is missing"),
        ("citation", "rule zz.clock, source, citation is missing"),
        ("counted", "rule zz.clock, counted is missing"),
    ],
)
def test_what_is_missing_is_named_with_its_place(line: str, fault: str) -> None:
    assert faults(without(pack_text(), line)) == (fault,)


@pytest.mark.parametrize("table", ["source", "passes", "refuses"])
def test_a_rule_without_a_source_or_without_both_cases_is_none(table: str) -> None:
    text = re.sub(rf"\[rule\.{table}\]\n(?:[a-z]+ = .*\n)+", "", pack_text())
    assert faults(text) == (f"rule zz.clock, {table} is missing",)


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("format = 1", "format = 2", "format must be 1: this version of Candor reads no other"),
        ('status = "verify with counsel"', 'status = "approved"', 'status must be "verify with counsel"'),
        ('name = "testland"', 'name = "Test Land"', "name is not written as it must be"),
        ('jurisdiction = "ZZ"', 'jurisdiction = "US"', "jurisdiction must be US for the pack default"),
        ('name = "testland"', 'name = "default"', "jurisdiction must be US for the pack default"),
        ("version = 1", "version = true", "version must be a whole number"),
        ("version = 1", "version = 0", "version must be from 1 to"),
        ("2026-01-01", '"2026-01-01"', "effective_on must be a date without quotes"),
        ("2026-01-01", "2026-01-01T00:00:00Z", "effective_on must be a date without quotes"),
        ("days = 5", "days = 5\nday = 5", "rule zz.clock, day is not known here"),
        ("days = 5", "days = 0", "rule zz.clock, days must be from 1 to 365"),
        ('"CALENDAR"', '"MOON"', "rule zz.clock, counted must be one of CALENDAR, BUSINESS"),
        ('["TERMINATION_FOR_CAUSE"]', '["ALLEGATION"]', "rule zz.clock, kinds must be one of"),
        ('["TERMINATION_FOR_CAUSE"]', "[]", "rule zz.clock, kinds must be a list with something in it"),
        ('"Testland Code § 1"', '"\\u001b[2J"', "source, citation holds a control character"),
        ('"Testland Code § 1"', '"x"\nverified = true', "source, url is missing"),
        ('"Testland Code § 1"', '"x"\nurl = "javascript:1"', "source, url is not written as it must be"),
        ("on = 2021-06-19\n", "", "rule zz.clock, passes, on is missing"),
        ('"REPORTING_CLOCK"', '"NOTICE"', "rule zz.clock, term must be one of"),
    ],
)
def test_a_pack_with_a_fault_is_refused(old: str, new: str, fault: str) -> None:
    text = pack_text()
    assert text.count(old) >= 1
    assert any(fault in found for found in faults(text.replace(old, new, 1)))


def test_all_faults_are_reported_at_once() -> None:
    text = pack_text(clock(days=0), SHORT.replace("keep_years = 2", "keep_years = 2\nfor_life = true"))
    assert len(faults(without(text, "issuer"))) == 3 + 1  # issuer, days, one of three, its review


def test_no_fault_repeats_a_value() -> None:
    secret = "Placeholderson"
    text = pack_text().replace('"CALENDAR"', f'"{secret}"').replace('"ZZ"', f'"{secret}"')
    text = text.replace("days = 5", f'"{secret}\\n" = 5')
    assert secret not in str(PackInvalid(faults(text)))


def test_two_rules_of_one_id_or_about_the_same_are_refused() -> None:
    assert "rule zz.clock, id occurs twice" in faults(pack_text(clock(), clock()))
    other = clock().replace("zz.clock", "zz.other")
    assert faults(pack_text(clock(), other)) == ("rule zz.other, kinds says again what rule zz.clock says",)


# --- what a pack cannot say ------------------------------------------------------------------------


@pytest.mark.parametrize("exception", ["NO_NOTICE", "NOTICE", "OPPORTUNITY", "VOID", "EXPIRED", ""])
def test_no_exception_loosens_anything_but_final(exception: str) -> None:
    """The attack: a pack that lets a record match without notice or opportunity."""
    text = pack_text(APPEAL.replace('"FINAL_APPEAL_PENDING"', f'"{exception}"'))
    assert any("must be one of FINAL_APPEAL_PENDING, ADVISORY_SEPARATION" in each for each in faults(text))


def test_the_advisory_exception_is_for_separations_alone() -> None:
    text = pack_text(APPEAL.replace('"FINAL_APPEAL_PENDING"', '"ADVISORY_SEPARATION"'))
    assert any("must be SEPARATION_UNDER_INVESTIGATION alone" in each for each in faults(text))


def test_nothing_is_kept_for_life_without_a_review() -> None:
    text = pack_text(SHORT.replace("keep_years = 2", "for_life = true"))
    assert any("review_after_years is missing" in each for each in faults(text))


# --- anything at all -------------------------------------------------------------------------------


@given(st.binary(max_size=400))
def test_octets_are_a_pack_or_pack_invalid(octets: bytes) -> None:
    with pytest.raises(PackInvalid):
        read_pack(octets)


_VALUES = st.recursive(
    st.one_of(
        st.text(max_size=8).map(lambda text: '"' + "".join(c for c in text if c.isalnum()) + '"'),
        st.integers(-5, 10**30).map(str),
        st.sampled_from(["true", "1.5", "nan", "2026-02-28", "2026-01-01T00:00:00", "07:32:00", "{}", "[]"]),
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda values: f"[{', '.join(values)}]"),
    max_leaves=4,
)


@given(st.data())
def test_any_value_anywhere_is_a_pack_or_pack_invalid(data: st.DataObject) -> None:
    lines = pack_text(clock(), APPEAL, SHORT).splitlines()
    places = [number for number, line in enumerate(lines) if " = " in line]
    for number in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        key = lines[number].split(" = ")[0]
        lines[number] = f"{key} = {data.draw(_VALUES)}"
    try:
        read_pack("\n".join(lines).encode())
    except PackInvalid as error:
        assert error.faults
        assert str(error).isprintable()


def test_what_would_exhaust_the_parser_is_refused() -> None:
    assert faults("a = " + "[" * 50_000) == (
        "it is not TOML: a number is too long, or lists are nested too deeply",
    )
    assert faults("a = " + "9" * 5_000)[0].startswith("it is not TOML")
    assert faults("#" * (MAX_OCTETS + 1)) == (f"it is longer than {MAX_OCTETS} octets",)
    assert faults(pack_text(*[clock().replace("zz.clock", f"zz.c{n}") for n in range(201)])) == (
        "rule occurs more than 200 times",
    )
