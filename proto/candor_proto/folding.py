"""From any text to the plain letters that names are compared in: the first step of every normal form.

Rules of this file (docs/matching.md §1.1):
- every character is looked up in one pinned table, alone: the same octets on every platform and Python
  version (ADR 0020), whatever the composition or the order of marks;
- folding comes before anything is deleted: the measured code deleted first, and `José` became `jos`;
- letters of other scripts are in no table and vanish; intake says so (`foreign_letters`), matching cannot.
"""

from __future__ import annotations

import re

from candor_proto.fold_table import FOLD

_SPACE, _DIAERESIS, _RING, _ALONE = "␠", "¨", "°", "´"


class _FoldTable(dict[int, str | None]):
    """For `str.translate`: what has no entry is deleted."""

    def __missing__(self, _code: int) -> None:
        return None


def _read_table() -> _FoldTable:
    found = _FoldTable()
    for line in FOLD.strip("\n").split("\n"):
        for run in line.split(" ⏎ "):
            first, *texts = run.split(" ")
            for place, text in enumerate(texts):
                found[int(first, 16) + place] = text.replace(_SPACE, " ")
    return found


_TABLE = _read_table()


# An accent that stands alone is a space and a mark when it is decomposed: `Jose´` is `Jose`, not two words.
_SPACES = "\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_ACCENTS = "".join(chr(code) for code, text in _TABLE.items() if text == _ALONE)
_LONE_ACCENT = re.compile(f"[{_SPACES}][\u0300-\u036f]+|[{_ACCENTS}][\u0300-\u036f]*")
_MARKS = re.compile(f"[{_DIAERESIS}{_RING}]+")
# ä ö ü (and ø, which the table gives as ö) and å are kept as one letter in the marked form.
_UMLAUT = re.compile(f"(?:[aou]{_RING}*{_DIAERESIS}|a{_RING})[{_DIAERESIS}{_RING}]*")
_UMLAUTS = {"a" + _DIAERESIS: "ä", "o" + _DIAERESIS: "ö", "u" + _DIAERESIS: "ü", "a" + _RING: "å"}
_WITHOUT_MARK = str.maketrans("äöüå", "aoua")
_WRITTEN_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa"})
_ASCII_SPACES = str.maketrans(dict.fromkeys("\t\n\v\f\r\x1c\x1d\x1e\x1f", " ") | {"`": "'"})
# Scanning confusions, in names only (MATCHING.md §3 rule 1). On officers-dev and devhard no other digit
# occurs.
_SCANNED = str.maketrans({"0": "o", "1": "l", "5": "s"})
_NOT_A_LETTER = re.compile(r"[^a-z]+")
_NOT_A_MARKED_LETTER = re.compile(r"[^a-zäöüå]+")


def fold(text: str) -> str:
    """`text` in lower case, in ASCII, without marks; letters that Unicode does not decompose written out."""
    if text.isascii():
        return text.lower() if text.isprintable() and "`" not in text else _plain(text)
    return without_marks(fold_marked(text))


def fold_marked(text: str) -> str:
    """As `fold`, but ä, ö, ü and å stay: `without_marks` of it is `fold` of the same."""
    if text.isascii():
        return fold(text)
    folded = _LONE_ACCENT.sub("", text).translate(_TABLE)
    return _MARKS.sub("", _UMLAUT.sub(_umlaut, folded))


def _plain(text: str) -> str:
    return "".join(letter for letter in text.lower().translate(_ASCII_SPACES) if " " <= letter <= "~")


def _umlaut(found: re.Match[str]) -> str:
    letter, marks = found[0][0], found[0][1:]
    return _UMLAUTS[letter + (_DIAERESIS if _DIAERESIS in marks else _RING)]


def without_marks(folded: str) -> str:
    """ä, ö, ü, å as a, o, u, a: what most American forms make of them."""
    return folded if folded.isascii() else folded.translate(_WITHOUT_MARK)


def written_out(folded: str) -> str:
    """ä, ö, ü, å as ae, oe, ue, aa: what a passport's machine-readable zone makes of them (ICAO Doc 9303)."""
    return folded if folded.isascii() else folded.translate(_WRITTEN_OUT)


def letters(text: str) -> str:
    """The normal form of a word of a name: folded, scanning confusions undone, a-z only."""
    folded = fold(text)
    if folded.isascii() and folded.isalpha():  # a-z only: nothing to undo, nothing to delete
        return folded
    return _NOT_A_LETTER.sub("", folded.translate(_SCANNED))


def marked_letters(folded: str) -> str:
    """As `letters` for what `fold_marked` gave: a-z and ä, ö, ü, å."""
    if folded.isascii() and folded.isalpha():
        return folded
    return _NOT_A_MARKED_LETTER.sub("", folded.translate(_SCANNED))


def foreign_letters(text: str) -> bool:
    """Whether folding makes letters of `text` vanish: Greek, Cyrillic, Chinese. For intake, not normative."""
    return not text.isascii() and any(letter.isalpha() and ord(letter) not in _TABLE for letter in text)
