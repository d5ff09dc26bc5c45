"""How a true person is written down: one row of a file, with what goes wrong and what is left out.

Errors are independent of each other and of who the person is, but for sloppy rows, in which all of them are
more frequent, and for variants of writing, which a name has or has not (variants.py).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from tools.population.cultures import shorts
from tools.population.draw import Draw
from tools.population.mixes import Mix, Rates
from tools.population.names import nickname
from tools.population.people import Naming, Person, certificate, other_surname
from tools.population.slips import cut, folded, keyed, mangled, misdialled, scanned, sounded
from tools.population.variants import varied

# Steps between the least and the most sloppy agency.
LEVELS = 11
# Rows with marks in which letters and marks are separate characters.
_APART_SHARE = 0.1
_DAYS_MOST = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
# Position in YYYYMMDD of a wrong digit, as often as seen; -1 stands for two digits of the year exchanged.
_DATE_PLACES: Sequence[int] = (2,) * 9 + (3,) * 7 + (5,) * 18 + (6,) * 11 + (7,) * 31 + (-1,) * 17


@dataclass(frozen=True, slots=True)
class Row:
    """One row of A.csv or B.csv. Empty text is a missing value; `entity_id`, `kind`, `origin` are labels."""

    rec_id: str
    entity_id: str
    agency: str
    first: str
    middle: str
    last: str
    suffix: str
    former_last: str
    dob: str
    ssn4: str
    sex: str
    post_state: str
    post_id: str
    kind: str
    origin: str


COLUMNS = tuple(Row.__dataclass_fields__)


class Clerk:
    """Whoever writes rows of one side by one mix: `agencies` or applicants, each as sloppy as they are."""

    def __init__(self, mix: Mix, rates: Rates, naming: Naming) -> None:
        self._usual = rates
        self._sloppy = rates.scaled(mix.sloppy_errors, mix.sloppy_missing)
        step = (mix.sloppy_most - mix.sloppy_least) / (LEVELS - 1)
        self._shares = tuple(mix.sloppy_least + step * level for level in range(LEVELS))
        self._naming = naming

    def write(self, draw: Draw, person: Person, level: int, labels: tuple[str, str, str, str]) -> Row:
        """The row of `person` at sloppiness `level`; `labels` are rec_id, entity_id, agency and kind."""
        rates = self._sloppy if draw.chance(self._shares[level]) else self._usual
        rec_id, entity_id, agency, kind = labels
        first, middle, last, former = self._names(draw, person, rates)
        state, number = _certificate(draw, person, rates)
        ssn4 = person.ssn4
        if draw.chance(rates.ssn_digit):
            ssn4 = misdialled(draw, ssn4)
        return Row(
            rec_id=rec_id,
            entity_id=entity_id,
            agency=agency,
            first=titled(first),
            middle=titled(middle),
            last=titled(last),
            suffix="" if draw.chance(rates.suffix_missing) else titled(person.suffix),
            former_last=titled(former),
            dob=_date(draw, person.birth_date, rates),
            ssn4="" if draw.chance(rates.ssn_missing) else ssn4,
            sex="" if draw.chance(rates.sex_missing) else person.sex,
            post_state=state.upper(),
            post_id=number,
            kind=kind,
            origin=person.names.origin,
        )

    def _names(self, draw: Draw, person: Person, rates: Rates) -> tuple[str, str, str, str]:
        first, middle, last = person.names.first, person.names.middle, person.names.last
        if person.names.culture and draw.chance(rates.variant):
            first, middle, last = varied(draw, person.names)
        former = person.former_last
        if former and draw.chance(rates.former_filed):
            last, former = former, ""
        elif draw.chance(rates.former_missing):
            former = ""
        if draw.chance(rates.hyphen):
            last = _hyphened(draw, last, other_surname(draw, self._naming, person.sex, person.names))
        if draw.chance(rates.nickname):
            first = nickname(draw, first, rates.made_nickname, shorts(person.names.culture).get(first, ()))
        if middle and draw.chance(rates.middle_as_first):
            first, middle = middle, first
        if draw.chance(rates.initial):
            first = first[:1]
        if draw.chance(rates.middle_missing):
            middle = ""
        elif draw.chance(rates.middle_initial):
            middle = middle[:1]
        if draw.chance(rates.exchanged):
            first, last = last, first
        first, last = _slips(draw, first, rates), _slips(draw, last, rates)
        if draw.chance(rates.cut):
            last = cut(draw, last)
        if len(middle) > 1 and draw.chance(0.1):
            middle = _slips(draw, middle, rates)
        if (first + middle + last + former).isascii():
            return first, middle, last, former
        first, middle, last, former = marked(draw, (first, middle, last, former), rates)
        return first, middle, last, former


def _slips(draw: Draw, name: str, rates: Rates) -> str:
    if draw.chance(rates.sounded):
        name = sounded(draw, name)
    if draw.chance(rates.scanned):
        name = scanned(draw, name)
    if draw.chance(rates.keyed):
        name = keyed(draw, name)
    return name


def marked(draw: Draw, names: Sequence[str], rates: Rates) -> tuple[str, ...]:
    """The names of a row with marks as this row has them: dropped, mangled, taken apart (NFD) or kept."""
    if draw.chance(rates.marks_dropped):
        return tuple(map(folded, names))
    if draw.chance(rates.marks_mangled):
        return tuple(mangled(draw, name) for name in names)
    if draw.chance(_APART_SHARE):
        return tuple(unicodedata.normalize("NFD", name) for name in names)
    return tuple(names)


def _hyphened(draw: Draw, last: str, other: str) -> str:
    """Two surnames in one field: mostly `last-other`, sometimes `last other`, seldom the other way round."""
    if draw.chance(0.2):
        last, other = other, last
    return f"{last}{'-' if draw.chance(0.65) else ' '}{other}"


def _certificate(draw: Draw, person: Person, rates: Rates) -> tuple[str, str]:
    state, number = person.post_state, person.post_id
    if draw.chance(rates.post_renewed):
        state, number = certificate(draw)
    if draw.chance(rates.post_digit):
        number = misdialled(draw, number)
    return ("", "") if draw.chance(rates.post_missing) else (state, number)


def _date(draw: Draw, date: str, rates: Rates) -> str:
    if draw.chance(rates.date_missing):
        return ""
    if draw.chance(rates.date_exchanged) and date[8:] <= "12":
        date = f"{date[:4]}-{date[8:]}-{date[5:7]}"
    if draw.chance(rates.date_digit):
        date = _wrong_digit(draw, date)
    if draw.chance(rates.date_placeholder):
        date = date[:4] + "-01-01"
    if draw.chance(rates.date_partial):
        date = draw.pick((date[:4] + "-XX-XX", date[:8] + "XX", "XXXX" + date[4:]))
    return date


def _wrong_digit(draw: Draw, date: str) -> str:
    """Another date that is possible, one digit or two neighbouring digits of the year away."""
    digits = date.replace("-", "")
    for _ in range(20):
        at = draw.pick(_DATE_PLACES)
        if at < 0:
            wrong = digits[:2] + digits[3] + digits[2] + digits[4:]
        else:
            wrong = digits[:at] + str(draw.below(10)) + digits[at + 1 :]
        month, day = int(wrong[4:6]), int(wrong[6:])
        if wrong != digits and 1 <= month <= 12 and 1 <= day <= _DAYS_MOST[month - 1]:
            return f"{wrong[:4]}-{wrong[4:6]}-{wrong[6:]}"
    return date


def titled(name: str) -> str:
    """Every letter behind another lower case, every other one upper case, as the development sets have it."""
    if name.isascii() and name.isalpha():
        return name.capitalize()
    letters = []
    inside = False
    for letter in name:
        letters.append(letter.lower() if inside else letter.upper())
        # A combining mark belongs to its letter.
        inside = letter.isalpha() or "\u0300" <= letter <= "\u036f"
    return "".join(letters)
