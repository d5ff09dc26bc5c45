"""From a person's particulars, as filed, to the normal forms that match keys are made of.

Rules of this file (docs/matching.md §1, normative; MATCHING.md §3):
- both sides must agree to the octet, so the rules have vectors (tests/vectors/normalise.json,
  matchkeys.json), and any change of a rule or table is a new `SCHEME_VERSION`;
- a value that cannot be read is *missing*, never an error and never a guess: "" is missing;
- a placeholder is missing (§3 rule 5), or one agency's 1900-01-01 would match another's (§7 trap 5);
- normalising what is already normal changes nothing: `normalise(p).particulars()` normalises to the same;
- no identity value stands in a repr or in an exception.

The parts: `folding` (letters), `name_words` (given names), `surnames`, `identifiers` (dates and numbers).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

from candor_proto.errors import InputInvalid
from candor_proto.folding import fold as fold
from candor_proto.folding import foreign_letters
from candor_proto.folding import letters as letters
from candor_proto.identifiers import normalise_birth_date as normalise_birth_date
from candor_proto.identifiers import normalise_certificate, read_date
from candor_proto.identifiers import normalise_post as normalise_post
from candor_proto.identifiers import normalise_ssn4 as normalise_ssn4
from candor_proto.identifiers import normalise_state as normalise_state
from candor_proto.name_words import normalise_name as normalise_name
from candor_proto.name_words import normalise_suffix as normalise_suffix
from candor_proto.name_words import read_given
from candor_proto.surnames import asked_surnames, read_surname, recorded_surnames, spare_surnames
from candor_proto.surnames import split_surname as split_surname

SCHEME_VERSION = 3

# A longer field is not a name; the bound keeps every code far below the 65,535 octets of matchkeys.octets.
MAX_FIELD_CHARACTERS = 200
_SEXES = {"m": "m", "male": "m", "f": "f", "female": "f", "x": "x", "nonbinary": "x"}


@dataclass(frozen=True, repr=False)
class Particulars:
    """What a form or a record says about a person, as filed; "" is missing.

    `birth_date` is YYYY-MM-DD, unknown parts written XX, or another form of `normalise_birth_date`; `ssn4`
    the last four digits; `post_state` and `post_id` the state and number of the POST certificate.
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
    digits; `post_state` is two capital letters, `post_id` capitals and digits. What the others cannot say,
    and is "" when there is no more to say: `given`, the words of a given name of several (`first` joined);
    `called`, a nickname that stood in quotes or brackets; `marked`, the words of the surname with ä, ö, ü,
    å.
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
    given: str = ""
    called: str = ""
    marked: str = ""

    def __repr__(self) -> str:
        return f"Person({_shown(self)})"

    @property
    def surname(self) -> str:
        """The whole surname, joined."""
        return self.last.replace(" ", "")

    @property
    def other_surnames(self) -> tuple[str, ...]:
        """Parts of the surname, the former surname, its parts; both sides write them. Not the whole one."""
        if not self.former_last and " " not in self.last and self.last[:1] not in "adev":
            return ()  # nothing to split: what may be glued on begins with one of these letters
        return asked_surnames(self.last, self.former_last)

    @property
    def spare_surnames(self) -> tuple[str, ...]:
        """Of `recorded_surnames` those that a lookup may ask in place of a filler: Brien of O'Brien."""
        recorded = self.recorded_surnames
        return tuple(name for name in spare_surnames(self.last, self.former_last) if name in recorded)

    @property
    def recorded_surnames(self) -> tuple[str, ...]:
        """Spellings of the surnames that only records write: Mc and Mac, ü as ue, Dyke of Vandyke."""
        return recorded_surnames(self.last, self.former_last, self.marked, self.middle)

    @property
    def recorded_given(self) -> tuple[str, ...]:
        """Given names that only records write: a nickname, the first of several words, first with middle."""
        joined = self.first + self.middle if self.first and len(self.middle) > 1 else ""
        names = (self.called, self.given.partition(" ")[0], joined)
        return tuple(dict.fromkeys(name for name in names if name and name != self.first))

    def particulars(self) -> Particulars:
        """The normal forms as particulars, which normalise to this very person."""
        date = f"{self.year or 'XXXX'}-{self.month or 'XX'}-{self.day or 'XX'}"
        first = self.given or self.first
        return Particulars(
            first=f"{first} ({self.called})" if self.called else first,
            middle=self.middle,
            last=self.marked or self.last,
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


def normalise(particulars: Particulars) -> Person:
    """The normal forms of `particulars` under this scheme version.

    Raises InputInvalid, naming the field, for a field of more than 200 characters; nothing else.
    """
    filed = particulars
    for field in _FIELDS:
        if len(getattr(filed, field)) > MAX_FIELD_CHARACTERS:
            raise InputInvalid(f"The field {field} is longer than {MAX_FIELD_CHARACTERS} characters.")
    first, middle, last = (
        read_given(filed.first),
        read_given(filed.middle, middle=True),
        read_surname(filed.last),
    )
    year, month, day = normalise_birth_date(filed.birth_date)
    post_state, post_id = normalise_post(filed.post_state, filed.post_id)
    plain, marked = last.last, last.marked
    own_suffix = normalise_suffix(filed.suffix) if filed.suffix else ""
    middle_name = middle.name if len(middle.words) < 2 or len(middle.words[0]) > 1 else middle.words[0]
    called = first.called or middle.called
    return Person(
        first=first.name or called,
        middle=middle_name or first.initial,
        last=plain,
        suffix=own_suffix or last.suffix or middle.suffix or first.suffix,
        former_last=split_surname(filed.former_last)[0]
        or (split_surname(last.former)[0] if last.former else ""),
        year=year,
        month=month,
        day=day,
        ssn4=normalise_ssn4(filed.ssn4) if filed.ssn4 else "",
        sex=_SEXES.get(letters(filed.sex), "") if filed.sex else "",
        post_state=post_state,
        post_id=post_id,
        given=" ".join(first.words) if len(first.words) > 1 and len(first.words[0]) > 1 else "",
        called="" if called == first.name or not first.name else called,
        marked="" if marked == plain else marked,
    )


_FIELDS = tuple(field.name for field in fields(Particulars))


# --- at the doors --------------------------------------------------------------------------------------

_EMPTY_IT = "is a placeholder; leave it empty"
# What a lookup is refused for. Not for a middle name: NMN says that there is none, and nothing is lost.
REFUSED_IN_LOOKUPS = ("first", "last", "former_last", "birth_date", "ssn4", "post_state", "post_id")


def refusal(field: str, text: str) -> str:
    """Why matching could use nothing of `text` in `field`, and what to do; "" if it can, or if there is none.

    For the doors at which somebody can still correct it: matching itself takes such a value for missing. Not
    normative. No reason holds a value. Suffix and sex are not looked at: `Esq` is rightly ignored. Unknown
    parts of a date are no fault; a certificate's number is looked at without its state.
    """
    if not text.strip():
        return ""
    if field in _NAME_READERS:
        if foreign_letters(text):
            return "holds letters that are not Latin; write it as the passport does in Latin letters"
        return "" if _NAME_READERS[field](text) else "is a placeholder or has no letters; leave it empty"
    if field == "birth_date":
        if (parts := read_date(text)) is None:
            return "is not a date; write YYYY-MM-DD, unknown parts as XX"
        return _EMPTY_IT if any(parts) and not any(normalise_birth_date(text)) else ""
    if field == "ssn4" and not normalise_ssn4(text):
        digits = fold(text).strip()
        return _EMPTY_IT if digits.isdigit() and len(digits) == 4 else "is not the last four digits alone"
    if field == "post_state" and not normalise_state(text):
        return "is no state; give its two letters"
    if field == "post_id" and len(normalise_certificate("", text)) < 2:
        return "is a placeholder or holds no number; leave it empty, and post_state as well"
    return ""


_NAME_READERS: Mapping[str, Callable[[str], str]] = {
    "first": normalise_name,
    "middle": normalise_name,
    "last": lambda text: split_surname(text)[0],
    "former_last": lambda text: split_surname(text)[0],
}
