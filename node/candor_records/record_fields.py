"""Reading a record's fields as texts, strictly (RECORDS.md §3.1): the door of the importer.

Rules of this file:
- `parse` says everything that is wrong with a row at once;
- no message holds a value: a shifted column may put a name anywhere;
- what may not be reported is refused with the reason, not with "unknown code";
- a placeholder is refused with what to write instead: matching would take it for missing, and say so to
  nobody.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import date
from enum import Enum
from typing import TypeVar

from candor_proto.normalise import normalise_state, refusal
from candor_proto.policy import Sharing
from candor_proto.record import RecordKind
from candor_records.content import (
    MAX_NAME_CHARACTERS,
    MAX_NARRATIVE_CHARACTERS,
    NO_ALLEGATION,
    AllegationCategory,
    Content,
    ContentInvalid,
    DecisionMaker,
    DueProcess,
    FieldInvalid,
    Finality,
    Identity,
    Missing,
    Nexus,
    NoticeMethod,
    Opportunity,
    SourceOfRecord,
    StandardOfProof,
    content_fields,
)

E = TypeVar("E", bound=Enum)
V = TypeVar("V")

_AGENCY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/#:-]{0,63}\Z")
_SSN4 = re.compile(r"[0-9]{4}\Z")
_WHOLE_SSN = re.compile(r"(?:[0-9]{9}|[0-9]{3}-[0-9]{2}-[0-9]{4})\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_PARTIAL_DATE = re.compile(r"[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2})?)?\Z")
# The oldest officer whom anybody could report; whatever is older is a placeholder or a slip.
_OLDEST = date(1901, 1, 1)
_FULL_SSN = re.compile(r"(?<![0-9])[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}(?![0-9])")
_COMPELLED = re.compile(r"garrity (?:statement|interview|warning|advisement)|compelled statement", re.I)

_MISSING = dict(Missing.__members__)

_NO_SETTLEMENT = "a settlement is not a judgment and is not reported"
_NO_CHRI = (
    "criminal history information from III or NCIC may not be reported (28 CFR 20.33); "
    "use the court's own record"
)
_REFUSED_CODES = {
    **dict.fromkeys(
        ("ALLEGATION", "COMPLAINT", "ACCUSATION", "INVESTIGATION", "ARREST", "CHARGE", "INDICTMENT",
         "NOT_SUSTAINED", "UNFOUNDED", "EXONERATED"),
        NO_ALLEGATION,
    ),
    **dict.fromkeys(
        ("SETTLEMENT", "SETTLED", "CIVIL_SETTLEMENT", "SETTLEMENT_NO_ADMISSION", "CONSENT_DECREE"),
        _NO_SETTLEMENT,
    ),
    **dict.fromkeys(
        ("CHRI", "III", "NCIC", "FBI", "RAP_SHEET", "CRIMINAL_HISTORY", "NGI", "IDENTITY_HISTORY"), _NO_CHRI
    ),
}  # fmt: skip


class _Fields:
    """Reads the fields of one row and collects what is wrong with them."""

    def __init__(self, row: Mapping[str, str]) -> None:
        self._row = row
        self.faults: list[FieldInvalid] = []

    def text(self, name: str) -> str:
        return unicodedata.normalize("NFC", self._row[name]).strip()

    def read(self, name: str, parse: Callable[[str], V], default: V) -> V:
        """The parsed value of a field that must be there; `default` stands in once it was refused."""
        text = self.text(name)
        try:
            if not text:
                raise ValueError("is empty, but must be given")
            return parse(text)
        except ValueError as error:
            self.faults.append(FieldInvalid(name, str(error)))
            return default

    def optional(self, name: str, parse: Callable[[str], V], empty: Missing) -> V | Missing:
        """The parsed value, or why there is none; an empty cell means `empty`."""
        text = self.text(name)
        if not text:
            return empty
        if (missing := _MISSING.get(text)) is not None:
            return missing
        try:
            return parse(text)
        except ValueError as error:
            self.faults.append(FieldInvalid(name, str(error)))
            return empty


def _code(codes: type[E]) -> Callable[[str], E]:
    def parse(text: str) -> E:
        try:
            return codes[text.upper()]
        except KeyError:
            refused = _REFUSED_CODES.get(re.sub(r"[\s-]+", "_", text.upper()))
            raise ValueError(refused or f"is none of {', '.join(codes.__members__)}") from None

    return parse


def _date(text: str) -> date:
    if not _DATE.match(text):
        raise ValueError("is not a date of the form YYYY-MM-DD")
    return _plausible(text)


def _plausible(text: str) -> date:
    try:
        value = date.fromisoformat(text)
    except ValueError:
        raise ValueError("is a day that does not exist") from None
    if value < _OLDEST:
        raise ValueError("is a placeholder, not a date")
    return value


def _birth_date(text: str) -> str:
    if not _PARTIAL_DATE.match(text):
        raise ValueError("is not a date of the form YYYY-MM-DD (or YYYY-MM, or YYYY)")
    _usable("birth_date", text)
    first_day = text + "-01" * ((10 - len(text)) // 3)
    _plausible(first_day)
    return text


def _name(text: str) -> str:
    if len(text) > MAX_NAME_CHARACTERS:
        raise ValueError(f"is longer than {MAX_NAME_CHARACTERS} characters")
    # Nothing of category C is printable: letters need not be looked at one by one in what is.
    if not text.isprintable() and any(unicodedata.category(letter).startswith("C") for letter in text):
        raise ValueError("holds a control character")
    return text


def _usable(field: str, text: str) -> str:
    if reason := refusal(field, text):
        raise ValueError(reason)
    return text


def _first(text: str) -> str:
    """Must be given, so an unknown one has a word of its own."""
    if _name(text) != Missing.UNKNOWN.name and (reason := refusal("first", text)):
        raise ValueError(reason.replace("leave it empty", "write UNKNOWN if nobody knows it"))
    return text


def _middle(text: str) -> str:
    if reason := refusal("middle", _name(text)):
        raise ValueError(reason + ", or write NOT_APPLICABLE if there is none")
    return text


def _last(text: str) -> str:
    """Must be given: a record of a person without a surname is a record of nobody."""
    if reason := refusal("last", _name(text)):
        raise ValueError(reason.replace("; leave it empty", ", which matching cannot use; give the surname"))
    return text


def _former_last(text: str) -> str:
    return _usable("former_last", _name(text))


def _ssn4(text: str) -> str:
    if _WHOLE_SSN.match(text):
        raise ValueError("holds a whole number; only its last four digits may be given")
    if not _SSN4.match(text):
        raise ValueError("is not four digits (a spreadsheet may have dropped leading zeros)")
    return _usable("ssn4", text)


def _sex(text: str) -> str:
    if text.upper() not in ("M", "F", "X"):
        raise ValueError("is none of M, F, X")
    return text.upper()


def _state(text: str) -> str:
    return normalise_state(_usable("post_state", text))


def _post_id(text: str) -> str:
    return _usable("post_id", _name(text))


def _agency_id(text: str) -> str:
    if not _AGENCY_ID.match(text):
        raise ValueError("is not 1 to 64 letters, digits, blanks or . _ / # : - with a letter or digit first")
    return text


def _categories(text: str) -> tuple[AllegationCategory, ...]:
    parse = _code(AllegationCategory)
    found = {parse(part.strip()) for part in text.split(";") if part.strip()}
    return tuple(category for category in AllegationCategory if category in found)


def _narrative(text: str) -> str:
    if len(text) > MAX_NARRATIVE_CHARACTERS:
        raise ValueError(f"is longer than {MAX_NARRATIVE_CHARACTERS} characters")
    if not text.isprintable() and any(
        unicodedata.category(letter).startswith("C") and letter not in "\n\r\t" for letter in text
    ):
        raise ValueError("holds a control character")
    if _FULL_SSN.search(text):
        raise ValueError("holds what looks like a social security number")
    if _COMPELLED.search(text):
        raise ValueError("mentions a compelled statement, which no report may carry (Garrity)")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse(row: Mapping[str, str]) -> tuple[Content | None, tuple[FieldInvalid, ...]]:
    """The content of a row that has every one of CONTENT_FIELDS; or None and all that is wrong with it."""
    read = _Fields(row)
    text = _name
    kind = read.read("record_kind", _code(RecordKind), RecordKind.TERMINATION_FOR_CAUSE)
    commendation = kind is RecordKind.COMMENDATION
    unknown, not_applicable = Missing.UNKNOWN, Missing.NOT_APPLICABLE
    identity = Identity(
        first=read.read("first", _first, ""),
        last=read.read("last", _last, ""),
        middle=read.optional("middle", _middle, unknown),
        suffix=read.optional("suffix", text, unknown),
        former_last=read.optional("former_last", _former_last, unknown),
        birth_date=read.optional("birth_date", _birth_date, unknown),
        ssn4=read.optional("ssn4", _ssn4, unknown),
        sex=read.optional("sex", _sex, unknown),
        post_state=read.optional("post_state", _state, unknown),
        post_id=read.optional("post_id", _post_id, unknown),
    )
    empty = not_applicable if commendation else unknown
    due_process = DueProcess(
        decided_on=read.optional("decided_on", _date, empty),
        decision_maker=read.optional("decision_maker", _code(DecisionMaker), empty),
        standard_of_proof=read.optional("standard_of_proof", _code(StandardOfProof), empty),
        notice_given_on=read.optional("notice_given_on", _date, empty),
        notice_method=read.optional("notice_method", _code(NoticeMethod), empty),
        opportunity=read.optional("opportunity", _code(Opportunity), empty),
        opportunity_on=read.optional("opportunity_on", _date, not_applicable),
        finality=read.optional("finality", _code(Finality), empty),
        appeal_until=read.optional("appeal_until", _date, not_applicable),
        subject_notified_on=read.optional("subject_notified_on", _date, empty),
    )
    # An empty cell means YELLOW; for a commendation it means that the officer has not opted in.
    sharing = read.optional("sharing", _code(Sharing), unknown)
    if isinstance(sharing, Missing):
        sharing = Sharing.RED if commendation else Sharing.YELLOW
    values = {
        "agency_record_id": read.read("agency_record_id", _agency_id, "-"),
        "record_kind": kind,
        "identity": identity,
        "effective_on": read.read("effective_on", _date, _OLDEST),
        "due_process": due_process,
        "sharing": sharing,
        "on_duty": read.read("on_duty", _code(Nexus), Nexus.UNKNOWN),
        "use_of_force_related": read.read("use_of_force_related", _code(Nexus), Nexus.UNKNOWN),
        "source_of_record": read.read("source_of_record", _code(SourceOfRecord), SourceOfRecord.COURT),
        "narrative": read.optional("narrative", _narrative, not_applicable),
    }
    categories = read.optional("allegation_categories", _categories, not_applicable)
    if read.faults:
        return None, tuple(read.faults)
    try:
        known = () if isinstance(categories, Missing) else categories
        return Content(**values, allegation_categories=known), ()  # type: ignore[arg-type]
    except ContentInvalid as error:
        return None, error.faults


def amended(content: Content, changes: Mapping[str, str]) -> Content:
    """`content` with other texts in the fields that `changes` names; raises ContentInvalid, FieldInvalid."""
    fields = content_fields(content)
    if unknown := [name for name in changes if name not in fields]:
        raise FieldInvalid(unknown[0][:40], "a record has no such field")
    found, faults = parse({**fields, **changes})
    if found is None:
        raise ContentInvalid(faults)
    return found
