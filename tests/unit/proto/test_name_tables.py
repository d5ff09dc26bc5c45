"""name_tables: generated constants that both sides must hold to the octet (MATCHING.md §3 rule 4)."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from candor_proto import name_rarity, name_tables
from candor_proto.name_tables import (
    CANONICAL_FORMS,
    FREQUENCIES,
    FREQUENCY,
    NICKNAMES,
    NICKNAMES_OF,
    TABLES_SHA256,
)
from candor_proto.normalise import letters
from tools.generate_name_rarity import GIVEN_STEPS
from tools.generate_name_tables import DROPPED_PAIRS, SPANISH_PAIRS, SPELLINGS

ROOT = Path(__file__).resolve().parents[3]


def test_digest_covers_both_tables() -> None:
    assert hashlib.sha256(f"{NICKNAMES}\0{FREQUENCIES}".encode()).hexdigest() == TABLES_SHA256


def test_digest_belongs_to_this_scheme_version() -> None:
    """A new table is a new scheme version: change both, and the vectors, on purpose."""
    assert TABLES_SHA256 == "52dec9e02c96bf1e647f45306b3f001fd607c62bf594895dd102ef3021d3eda7"


def test_module_is_compact() -> None:
    assert Path(name_tables.__file__).stat().st_size < 250_000


def test_names_are_in_normal_form() -> None:
    for name in (
        *FREQUENCY,
        *CANONICAL_FORMS,
        *(form for forms in CANONICAL_FORMS.values() for form in forms),
    ):
        assert letters(name) == name


def test_canonical_forms_run_from_frequent_to_rare() -> None:
    assert CANONICAL_FORMS["mike"] == ("michael", "micheal", "miguel")
    assert FREQUENCY["michael"] == 2629 + 12  # thousandths of a percent, male and female lists added
    assert FREQUENCY["robert"] == 3143 + 8


def test_bill_is_william_and_not_robert() -> None:
    assert CANONICAL_FORMS["bill"][0] == "william"
    assert "robert" not in CANONICAL_FORMS["bill"] + CANONICAL_FORMS["billy"]


def test_fred_is_neither_bill_nor_willie() -> None:
    """The table says so, and Willie is the most frequent of them: every Fred became a Willie."""
    assert CANONICAL_FORMS["fred"][0] == "alfred"
    assert not {"bill", "billy", "will", "willie"} & set(CANONICAL_FORMS["fred"])


def test_both_directions_of_the_table_say_the_same() -> None:
    pairs = {(form, name) for name, forms in CANONICAL_FORMS.items() for form in forms}
    assert {(form, name) for form, names in NICKNAMES_OF.items() for name in names} == pairs


def test_corrections_are_in_normal_form_and_none_is_undone() -> None:
    """What is dropped is not added again, and no spelling stands in two classes."""
    added = {name for row in SPELLINGS for name in row}
    assert all(letters(name) == name for name in added | {name for pair in SPANISH_PAIRS for name in pair})
    assert len(added) == sum(map(len, SPELLINGS))
    pairs = {(form, name) for name, forms in CANONICAL_FORMS.items() for form in forms}
    assert not DROPPED_PAIRS & pairs
    assert pairs >= SPANISH_PAIRS


def test_generator_wraps_and_sorts_the_same_way(tmp_path: Path) -> None:
    """Rendering the tables from their own content gives the committed file: the form is deterministic."""
    script = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "proto")!r}]
from tools.generate_name_tables import render, OUTPUT
from candor_proto.name_tables import CANONICAL_FORMS, FREQUENCY
pairs = sorted((form, name) for name, forms in CANONICAL_FORMS.items() for form in forms)
assert render(pairs, FREQUENCY) == OUTPUT.read_text(encoding="utf-8")
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


def test_name_rarity_is_rendered_the_same_way(tmp_path: Path) -> None:
    """The committed lists give the committed file; the frequencies behind them need the source (--check)."""
    script = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "proto")!r}]
from candor_proto import name_rarity
from tools.generate_name_rarity import GIVEN_STEPS, HEADER, OUTPUT, SURNAME_STEPS
from tools.generate_name_tables import wrapped
lists = {{
    name.lower(): "\\n".join(wrapped(sorted(getattr(name_rarity, name))))
    for name in ("GIVEN_VERY_COMMON", "GIVEN_COMMON", "SURNAMES_VERY_COMMON", "SURNAMES_COMMON")
}}
steps = {{"given": [one / 1000 for one in GIVEN_STEPS], "surname": [one / 1000 for one in SURNAME_STEPS]}}
assert HEADER.format(**steps, **lists) == OUTPUT.read_text(encoding="utf-8")
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


def test_how_common_a_given_name_is_follows_its_frequency() -> None:
    """The same source as FREQUENCY, both sexes in thousandths of a percent; that holds fewer names."""
    upper, lower = GIVEN_STEPS
    for name, share in FREQUENCY.items():
        assert (name in name_rarity.GIVEN_VERY_COMMON) is (share >= upper), name
        assert (name in name_rarity.GIVEN_COMMON) is (lower <= share < upper), name
