"""What a field of a record may hold, and how it is read and written: dates, codes, texts, amounts, digests.

Rules of this file:
- one text form for each value: `parse(plain(value)) == value`;
- whatever else is refused with a reason that does not repeat it (`ValueError`, which the reader of the row
  catches and names the field to). An empty cell never comes here: it is for `Missing` to say.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import TypeVar

from candor_proto.canonical import to_milliseconds
from candor_proto.normalise import normalise_state
from candor_records.codes import Missing, YesNo
from candor_records.refusals import Refusal, Refused, of_code

E = TypeVar("E", bound=Enum)

# The oldest officer whom anybody could report; whatever is older is a placeholder or a slip.
OLDEST = date(1901, 1, 1)
MAX_DIGESTS = 32

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_AMOUNT = re.compile(r"\$?((?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+))(?:\.([0-9]{2}))?\Z")
_MAX_CENTS = 10**13
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_OFFENCE_CODE = re.compile(r"[0-9]{4}\Z")


@dataclass(frozen=True, order=True)
class Amount:
    """Money in cents; as a text 12500.00."""

    cents: int

    def __str__(self) -> str:
        return f"{self.cents // 100}.{self.cents % 100:02d}"


Value = str | date | Amount | Enum | tuple[str, ...] | tuple[Enum, ...]


@dataclass(frozen=True)
class FieldType:
    """How a cell is read. `words` say it to a clerk; `codes` is the closed set, if it is one.

    `max_octets` bounds the text form, so that the sum over a kind can be held below what a release may be.
    """

    words: str
    parse: Callable[[str], Value]
    holds: Callable[[Value], bool]
    max_octets: int
    codes: type[Enum] | None = None


# --- text forms --------------------------------------------------------------------------------------


def plain(value: object) -> str:
    """The one text form of a field's value."""
    match value:
        case str():
            return value
        case Enum():
            return value.name
        case datetime():
            return str(to_milliseconds(value))
        case date():
            return value.isoformat()
        case tuple():
            items = (item.name if isinstance(item, Enum) else str(item) for item in value)
            return ";".join(items) or Missing.NOT_APPLICABLE.name
    return str(value)


# --- reading -----------------------------------------------------------------------------------------


def code(codes: type[E]) -> Callable[[str], E]:
    """Reads one code in any case; a word for what may not be reported is refused for that reason."""

    def parse(text: str) -> E:
        try:
            return codes[text.upper()]
        except KeyError:
            if refused := of_code(text):
                raise Refused(refused) from None
            raise ValueError(f"is none of {', '.join(codes.__members__)}") from None

    return parse


def codes_of(codes: type[E]) -> Callable[[str], tuple[E, ...]]:
    """Reads codes with `;` between them; the order and number of times they are written say nothing."""
    parse_one = code(codes)

    def parse(text: str) -> tuple[E, ...]:
        found = {parse_one(part.strip()) for part in text.split(";") if part.strip()}
        if not found:
            raise ValueError("names no code")
        return tuple(one for one in codes if one in found)

    return parse


def read_date(text: str) -> date:
    if not _DATE.match(text):
        raise ValueError("is not a date of the form YYYY-MM-DD")
    return plausible(text)


def plausible(text: str) -> date:
    """A whole day that exists and is no placeholder."""
    try:
        value = date.fromisoformat(text)
    except ValueError:
        raise ValueError("is a day that does not exist") from None
    if value < OLDEST:
        raise Refused(Refusal.PLACEHOLDER, "is a placeholder, not a date")
    return value


def line(text: str, max_characters: int) -> str:
    """One line of text, without control characters."""
    if len(text) > max_characters:
        raise ValueError(f"is longer than {max_characters} characters")
    # Nothing of category C is printable: letters need not be looked at one by one in what is.
    if not text.isprintable() and any(unicodedata.category(letter).startswith("C") for letter in text):
        raise ValueError("holds a control character")
    return text


def _amount(text: str) -> Amount:
    found = _AMOUNT.match(text)
    if not found:
        raise ValueError("is not an amount in dollars such as 12500 or 12500.00")
    cents = int(found[1].replace(",", "")) * 100 + int(found[2] or "0") if len(found[1]) < 20 else _MAX_CENTS
    if cents >= _MAX_CENTS:
        raise ValueError("is too large to be an amount in dollars")
    return Amount(cents)


def _digests(text: str) -> tuple[str, ...]:
    found = {part.strip().lower() for part in text.split(";") if part.strip()}
    if not found or not all(_DIGEST.match(one) for one in found):
        raise ValueError("is no list of SHA-256 digests (64 hexadecimal digits each, ; between them)")
    if len(found) > MAX_DIGESTS:
        raise ValueError(f"holds more than {MAX_DIGESTS} digests")
    return tuple(sorted(found))


def read_state(text: str) -> str:
    """Two capital letters, of a state's name as well."""
    state = normalise_state(text)
    if not state:
        raise ValueError("is no state; give its two letters")
    return state


def _offence_code(text: str) -> str:
    if not _OFFENCE_CODE.match(text):
        raise ValueError("is not the four digits of an NCIC offence code")
    return text


# --- the types ---------------------------------------------------------------------------------------


def _is(*kinds: type) -> Callable[[Value], bool]:
    return lambda value: isinstance(value, kinds)


def one_of(codes: type[Enum]) -> FieldType:
    names = ", ".join(codes.__members__)
    return FieldType(f"one of {names}", code(codes), _is(codes), max(map(len, codes.__members__)), codes)


def some_of(codes: type[Enum]) -> FieldType:
    def holds(value: Value) -> bool:
        return isinstance(value, tuple) and bool(value) and all(isinstance(one, codes) for one in value)

    names = codes.__members__
    octets = sum(len(name) + 1 for name in names)
    words = f"one or more of {', '.join(names)}, with ; between them"
    return FieldType(words, codes_of(codes), holds, octets, codes)


def text(max_characters: int) -> FieldType:
    """One line of text, of which what may not be reported is refused."""

    def parse(text: str) -> str:
        return line(text, max_characters)

    words = f"text of at most {max_characters} characters"
    return FieldType(words, parse, _is(str), 4 * max_characters)


DATE = FieldType("date YYYY-MM-DD", read_date, _is(date), 10)
YES_NO = one_of(YesNo)
AMOUNT = FieldType("amount in dollars, as 12500.00", _amount, _is(Amount), 14)
STATE = FieldType("two letters of a state, or US", read_state, _is(str), 2)
OFFENCE_CODE = FieldType("four digits", _offence_code, _is(str), 4)
DIGESTS = FieldType(
    f"at most {MAX_DIGESTS} SHA-256 digests in hexadecimal, with ; between them",
    _digests,
    lambda value: isinstance(value, tuple) and bool(value) and all(isinstance(one, str) for one in value),
    65 * MAX_DIGESTS,
)
