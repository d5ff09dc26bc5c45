"""From a person's particulars, as filed, to the normal forms that match keys are made of.

Rules of this file (design/MATCHING.md §3; docs/protocol.md "Canonicaliser"):
- both sides must agree to the octet, so this text is normative, has vectors (tests/vectors/matchkeys.json),
  and any change of a rule or table is a new `SCHEME_VERSION`;
- a value that cannot be read is *missing*, never an error and never a guess: "" is missing;
- a placeholder is missing (§3 rule 5), or one agency's 1900-01-01 would match another's (§7 trap 5);
- normalising what is already normal changes nothing: `normalise(p).particulars()` normalises to the same;
- no identity value stands in a repr or in an exception.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, fields

from candor_proto.errors import InputInvalid

SCHEME_VERSION = 2

# A longer field is not a name; the bound keeps every code far below the 65,535 octets of matchkeys.octets.
MAX_FIELD_CHARACTERS = 200
# §3 rule 2 asks for three letters: `de`, `la`, `St` and initials say nothing about the family.
MIN_PART_LETTERS = 3

# Letters that NFKD leaves whole (§3 rule 1, plus ð, which the same names are written with).
_FOLDED = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
)
# Scanning confusions, in names only (§3 rule 1).
_SCANNED = str.maketrans({"0": "o", "1": "l", "5": "s"})
_NOT_A_LETTER = re.compile(r"[^a-z]+")
_NOT_ALPHANUMERIC = re.compile(r"[^A-Z0-9]+")
_DIGITS = re.compile(r"[0-9]+")
_STATE = re.compile(r"[A-Z]{2}")
# What separates the words of a surname; an apostrophe or a full stop does not (O'Brien, St.John).
_BETWEEN_WORDS = re.compile(r"[\s,;/‐‑‒–—―−-]+")

# §3 rule 5, field usage: first or last name unknown; no first, last, middle name; no middle initial.
_NAME_PLACEHOLDERS = frozenset({"unknown", "fnu", "lnu", "nfn", "nln", "nmn", "nmi", "nomiddlename"})
_POST_PLACEHOLDERS = frozenset({"NONE", "UNKNOWN", "PENDING", "NA", "TBD"})
_SSN4_PLACEHOLDERS = frozenset({"0000"})  # the Social Security Administration never issues it
_DATE_PLACEHOLDERS = frozenset({"19000101"})

# Generations only: a degree or a title (Esq, PhD) says nothing about which of two namesakes a person is.
_SUFFIXES = {
    "jr": "jr", "jnr": "jr", "junior": "jr",
    "sr": "sr", "snr": "sr", "senior": "sr",
    "ii": "ii", "2nd": "ii", "iii": "iii", "3rd": "iii", "iv": "iv", "4th": "iv", "v": "v", "5th": "v",
}  # fmt: skip
_SEXES = {"m": "m", "male": "m", "f": "f", "female": "f", "x": "x", "nonbinary": "x"}


@dataclass(frozen=True, repr=False)
class Particulars:
    """What a form or a record says about a person, as filed; "" is missing.

    `birth_date` is YYYY-MM-DD or YYYYMMDD, unknown parts written XX; `ssn4` the last four digits;
    `post_state` and `post_id` the state and number of the POST certificate.
    """

    first: str = ""
    middle: str = ""
    last: str = ""
    suffix: str = ""
    former_last: str = ""
    birth_date: str = ""
    ssn4: str = ""
    sex: str = ""
    post_state: str = ""
    post_id: str = ""

    def __repr__(self) -> str:
        return f"Particulars({_shown(self)})"


@dataclass(frozen=True, repr=False)
class Person:
    """The normal forms of a person's particulars; "" is missing. Made by `normalise` only.

    `last` and `former_last` are words of a-z with one space between them; `year`, `month`, `day` are
    digits; `post_state` is two capital letters, `post_id` capitals and digits.
    """

    first: str
    middle: str
    last: str
    suffix: str
    former_last: str
    year: str
    month: str
    day: str
    ssn4: str
    sex: str
    post_state: str
    post_id: str

    def __repr__(self) -> str:
        return f"Person({_shown(self)})"

    @property
    def surname(self) -> str:
        """The whole surname, joined."""
        return self.last.replace(" ", "")

    @property
    def other_surnames(self) -> tuple[str, ...]:
        """Parts of the surname, the former surname, its parts (§3 rule 2); no duplicates, not the whole one.

        A single significant part counts: `de la Cruz` must meet `Cruz`.
        """
        found: dict[str, None] = {}
        for name in (self.last, self.former_last):
            found.setdefault(name.replace(" ", ""))
            for word in name.split():
                if len(word) >= MIN_PART_LETTERS:
                    found.setdefault(word)
        return tuple(name for name in found if name and name != self.surname)

    def particulars(self) -> Particulars:
        """The normal forms as particulars, which normalise to this very person."""
        date = f"{self.year or 'XXXX'}-{self.month or 'XX'}-{self.day or 'XX'}"
        return Particulars(
            first=self.first,
            middle=self.middle,
            last=self.last,
            suffix=self.suffix,
            former_last=self.former_last,
            birth_date=date if self.year or self.month or self.day else "",
            ssn4=self.ssn4,
            sex=self.sex,
            post_state=self.post_state,
            post_id=self.post_id,
        )


def _shown(value: Particulars | Person) -> str:
    """Which fields are present, never what they hold."""
    return ", ".join(f"{field.name}=…" for field in fields(value) if getattr(value, field.name))


def fold(text: str) -> str:
    """Lower-case `text` without marks; letters that Unicode does not decompose are written out (§3 rule 1).

    Folding comes before anything is deleted: the measured code deleted first, and `José` became `jos`.
    """
    if text.isascii():  # nothing of it decomposes, is a mark or is folded
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).lower())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).translate(_FOLDED)


def letters(text: str) -> str:
    """The normal form of a name: folded, scanning confusions undone, a-z only (§3 rule 1)."""
    folded = fold(text)
    if folded.isascii() and folded.isalpha():  # a-z only: nothing to undo, nothing to delete
        return folded
    return _NOT_A_LETTER.sub("", folded.translate(_SCANNED))


def normalise_name(text: str) -> str:
    """The normal form of a given or middle name, or "" for a placeholder."""
    name = letters(text)
    return "" if name in _NAME_PLACEHOLDERS else name


def normalise_suffix(text: str) -> str:
    """One of jr, sr, ii, iii, iv, v, or "" for anything else."""
    plain = re.sub(r"[^a-z0-9]+", "", fold(text))
    return _SUFFIXES.get(plain) or _SUFFIXES.get(letters(text), "")


def split_surname(text: str) -> tuple[str, str]:
    """(words of the surname, generation suffix found behind them) of a surname as filed (§3 rules 1 and 2).

    The last word that is left is never taken for a suffix: `Ii` alone is a surname. A lone V stays,
    being more often an initial than a fifth.
    """
    words = [word for word in _BETWEEN_WORDS.split(fold(text)) if normalise_name(word)]
    suffix = ""
    while len(words) > 1 and normalise_suffix(words[-1]) not in ("", "v"):
        suffix = normalise_suffix(words.pop())
    last = " ".join(letters(word) for word in words)
    return ("", suffix) if last.replace(" ", "") in _NAME_PLACEHOLDERS else (last, suffix)


def normalise_birth_date(text: str) -> tuple[str, str, str]:
    """(year, month, day) as digits, each "" when unknown (§3 rule 3).

    No calendar check: 1.3 % of FEBRL4's dates are impossible and still carry evidence. A part of zeros is
    how systems without XX write "unknown", so it is missing too.
    """
    digits = unicodedata.normalize("NFKD", text).strip().replace("-", "")
    if len(digits) != 8 or digits in _DATE_PLACEHOLDERS:
        return "", "", ""
    parts = (digits[:4], digits[4:6], digits[6:])
    if len(set(digits)) == 1:
        return "", "", ""
    year, month, day = [part if _DIGITS.fullmatch(part) and int(part) else "" for part in parts]
    return year, month, day


def normalise_ssn4(text: str) -> str:
    """Four digits, or "" for anything else and for the never issued 0000 (§3 rule 5)."""
    digits = unicodedata.normalize("NFKD", text).strip()
    return (
        digits if len(digits) == 4 and _DIGITS.fullmatch(digits) and digits not in _SSN4_PLACEHOLDERS else ""
    )


def normalise_post(state: str, number: str) -> tuple[str, str]:
    """(state, number) of a POST certificate, or two empty texts.

    Numbers are unique within a state only (§7 trap 7), so one without the other is missing; §3's code `P`
    wants more than three characters in all.
    """
    issuer = _NOT_ALPHANUMERIC.sub("", fold(state).upper())
    certificate = _NOT_ALPHANUMERIC.sub("", fold(number).upper())
    usable = (
        _STATE.fullmatch(issuer)
        and len(issuer + certificate) > 3
        and certificate.strip("0")
        and certificate not in _POST_PLACEHOLDERS
    )
    return (issuer, certificate) if usable else ("", "")


def normalise(particulars: Particulars) -> Person:
    """The normal forms of `particulars` under this scheme version.

    Raises InputInvalid, naming the field, for a field of more than 200 characters; nothing else.
    """
    for field in fields(particulars):
        if len(getattr(particulars, field.name)) > MAX_FIELD_CHARACTERS:
            raise InputInvalid(f"The field {field.name} is longer than {MAX_FIELD_CHARACTERS} characters.")
    last, suffix_in_last = split_surname(particulars.last)
    former_last, _ = split_surname(particulars.former_last)
    year, month, day = normalise_birth_date(particulars.birth_date)
    post_state, post_id = normalise_post(particulars.post_state, particulars.post_id)
    return Person(
        first=normalise_name(particulars.first),
        middle=normalise_name(particulars.middle),
        last=last,
        suffix=normalise_suffix(particulars.suffix) or suffix_in_last,
        former_last=former_last,
        year=year,
        month=month,
        day=day,
        ssn4=normalise_ssn4(particulars.ssn4),
        sex=_SEXES.get(letters(particulars.sex), ""),
        post_state=post_state,
        post_id=post_id,
    )
