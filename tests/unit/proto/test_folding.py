"""folding: one pinned table makes the same octets of a character everywhere (docs/matching.md §1.1)."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_proto import fold_table, folding
from candor_proto.fold_table import FOLD, FOLD_SHA256
from candor_proto.folding import (
    fold,
    fold_marked,
    foreign_letters,
    letters,
    without_marks,
    written_out,
)
from tools import generate_fold_table

_FORMS = ("NFC", "NFD", "NFKC", "NFKD")
TEXTS = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="aoueAOUsß'’´¨ıİŁłĐøÅåüÜñçşğ\u0301\u0308\u030a\u0327\u0323ﬁ①Ａ５ -", max_size=30),
)


def test_digest_covers_the_table_and_belongs_to_this_scheme_version() -> None:
    """A new table is a new scheme version: change both, and the vectors, on purpose."""
    assert hashlib.sha256(FOLD.encode()).hexdigest() == FOLD_SHA256
    assert FOLD_SHA256 == "d01ca2f125c498a897032d1c37a8d3d1cad6ae3009d1cd31bcd39e969cb67705"


@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="the table is generated with Python 3.11")
def test_committed_table_is_what_the_tool_generates() -> None:
    with open(fold_table.__file__, encoding="utf-8") as file:
        assert file.read() == generate_fold_table.generate()


def test_what_the_table_says_is_what_this_pythons_unicode_says() -> None:
    """Unicode's stability policy: of a character once assigned, normalisation never changes."""
    assigned = [code for code in folding._TABLE if unicodedata.category(chr(code)) != "Cn"]
    assert len(assigned) > 1_900
    for code in assigned:
        assert folding._TABLE[code] == generate_fold_table.folded(chr(code)).replace("␠", " ")


@settings(deadline=None)
@given(TEXTS)
def test_folding_is_idempotent_and_ascii(text: str) -> None:
    folded = fold(text)
    assert folded.isascii()
    assert fold(folded) == folded
    assert without_marks(fold_marked(text)) == folded
    assert fold_marked(fold_marked(text)) == fold_marked(text)


@settings(deadline=None)
@given(TEXTS, st.sampled_from(_FORMS))
def test_composition_makes_no_difference(text: str, form: str) -> None:
    assert fold_marked(unicodedata.normalize(form, text)) == fold_marked(text)  # type: ignore[arg-type]


@settings(deadline=None)
@given(TEXTS, st.sampled_from([str.upper, str.lower, str.swapcase]))
def test_case_makes_no_difference(text: str, change: object) -> None:
    assert callable(change)
    assert fold_marked(change(text)) == fold_marked(text)


@settings(deadline=None)
@given(st.sampled_from("aouenAOU"), st.permutations(["\u0301", "\u0308", "\u0323", "\u030c"]))
def test_marks_may_stand_in_any_order(letter: str, marks: list[str]) -> None:
    one, other = letter + "".join(marks), letter + "".join(reversed(marks))
    assert fold_marked(one) == fold_marked(other)
    assert fold(one) == letter.lower()


@pytest.mark.parametrize("form", _FORMS)
def test_composition_makes_no_difference_for_any_character(form: Any) -> None:
    """Alone, and before a mark: all of Unicode."""
    for code in (*range(0xD800), *range(0xE000, 0x30000)):
        for text in (chr(code), f"a{chr(code)}\u0308"):
            composed = unicodedata.normalize(form, text)
            if composed != text:
                assert fold_marked(composed) == fold_marked(text), hex(code)


def test_case_makes_no_difference_for_any_character() -> None:
    for code in (*range(0xD800), *range(0xE000, 0x20000)):
        plain = fold_marked(chr(code))
        assert fold_marked(chr(code).upper()) == fold_marked(chr(code).lower()) == plain, hex(code)


@given(st.text(st.characters(max_codepoint=127)))
def test_plain_text_takes_a_shorter_way_to_the_same(text: str) -> None:
    assert fold(text) == fold(f"{text}e\u0301")[:-1]  # which is not plain any more
    assert letters(text) == re.sub(r"[^a-z]+", "", fold(text).translate(folding._SCANNED))


@pytest.mark.parametrize(
    ("filed", "folded", "marked"),
    [
        ("José", "jose", "jose"),  # the measured code made `jos` of it
        ("PEÑA", "pena", "pena"),
        ("Strauß", "strauss", "strauss"),
        ("STRAUẞ", "strauss", "strauss"),
        ("Æsir Œuvre", "aesir oeuvre", "aesir oeuvre"),
        ("Sørensen", "sorensen", "sörensen"),
        ("Ǿ", "o", "ö"),
        ("Łukasz Đặng Þóra Guðrún", "lukasz dang thora gudrun", "lukasz dang thora gudrun"),
        ("Yıldız İpek", "yildiz ipek", "yildiz ipek"),
        ("Nguyễn", "nguyen", "nguyen"),
        ("Ħaż Ŋuŋ Ŧ Ə Ɓ Ơ", "haz nun t e b o", "haz nun t e b o"),
        ("ﬁn ﬀ Ĳ", "fin ff ij", "fin ff ij"),
        ("Ａｎｎ　Ⓐⓓⓐ", "ann ada", "ann ada"),
        ("Müller", "muller", "müller"),
        ("Mu\u0308ller", "muller", "müller"),
        ("Mu¨ller", "muller", "muller"),  # an accent that stands alone says nothing
        ("Jose´", "jose", "jose"),
        ("A¨\u0308", "a", "a"),
        ("Åberg", "aberg", "åberg"),
        ("A\u030aberg", "aberg", "åberg"),
        ("Ṻ", "u", "ü"),
        ("O’Brien ʻOkina O`Neil", "o'brien 'okina o'neil", "o'brien 'okina o'neil"),
        ("Smith–Jones\u2011Weber", "smith-jones-weber", "smith-jones-weber"),
        ("zero\u200bwidth\u00adhyphen\ufeff", "zerowidthhyphen", "zerowidthhyphen"),
        ("a\u00a0b\u3000c\td\u2028e", "a b c d e", "a b c d e"),
        ("a\x00b\x7fc", "abc", "abc"),
        ("１９８０", "1980", "1980"),
        ("٤٠٧١", "", ""),  # other digits are no digits: nobody files them
        ("李 Иван Γιώργος", "  ", "  "),
    ],
)
def test_characters_become_plain_letters(filed: str, folded: str, marked: str) -> None:
    assert fold(filed) == folded
    assert fold_marked(filed) == marked


def test_umlauts_are_written_out_as_passports_do() -> None:
    assert written_out(fold_marked("Müller Jäger Köhler Ågård Øre")) == "mueller jaeger koehler aagaard oere"


@pytest.mark.parametrize(
    ("filed", "normal"),
    [
        ("5Mith", "smith"),
        ("Fl0Wers", "flowers"),
        ("Wi11iam", "william"),
        ("Mary Ann", "maryann"),
        ("R2D2", "rd"),
        ("Ⓐda", "ada"),
        ("李", ""),
    ],
)
def test_scanning_confusions_are_undone_and_all_else_deleted(filed: str, normal: str) -> None:
    assert letters(filed) == normal


@given(st.text(max_size=40))
def test_letters_are_a_to_z_and_stay(text: str) -> None:
    name = letters(text)
    assert all("a" <= letter <= "z" for letter in name)
    assert letters(name) == name


@pytest.mark.parametrize(
    ("text", "foreign"), [("Müller", False), ("ʻAkau", False), ("Ивaн", True), ("李 Wei", True)]
)
def test_letters_of_other_scripts_are_told(text: str, foreign: bool) -> None:
    assert foreign_letters(text) is foreign
