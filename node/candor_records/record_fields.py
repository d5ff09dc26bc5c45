"""Reading a record's fields as texts, strictly (RECORDS.md §3.1): the door of the importer.

Rules of this file:
- `parse` says everything that is wrong with a row at once;
- no message holds a value: a shifted column may put a name anywhere;
- what may not be reported is refused with its reason and code (`refusals`), in code columns and in texts;
- a placeholder is refused with what to write instead: matching would take it for missing, and say so to
  nobody.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeVar

from candor_proto.normalise import refusal
from candor_proto.policy import Sharing
from candor_proto.record import RecordKind
from candor_records.codes import (
    AllegationCategory,
    DecisionMaker,
    Finality,
    JudgmentForm,
    Missing,
    Nexus,
    NoticeMethod,
    Opportunity,
    SourceOfRecord,
    StandardOfProof,
)
from candor_records.content import (
    ALL_FIELDS,
    MAX_NAME_CHARACTERS,
    MAX_NARRATIVE_CHARACTERS,
    Content,
    ContentInvalid,
    DueProcess,
    FieldInvalid,
    Identity,
    content_fields,
    other_kind,
)
from candor_records.field_types import OLDEST, Value, code, codes_of, line, plausible, read_date, read_state
from candor_records.kinds import FIELDS, FIELDS_OF
from candor_records.refusals import Refusal, Refused
from candor_records.refused_text import in_text

V = TypeVar("V")

_AGENCY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/#:-]{0,63}\Z")
_SSN4 = re.compile(r"[0-9]{4}\Z")
_WHOLE_SSN = re.compile(r"(?:[0-9]{9}|[0-9]{3}-[0-9]{2}-[0-9]{4})\Z")
_PARTIAL_DATE = re.compile(r"[0-9]{4}(?:-[0-9]{2}(?:-[0-9]{2})?)?\Z")

_MISSING = dict(Missing.__members__)
_ALL = frozenset({"narrative", *FIELDS})


class _Fields:
    """Reads the fields of one row and collects what is wrong with them."""

    def __init__(self, row: Mapping[str, str], search: Collection[str], settlements: bool) -> None:
        self._row = row
        self._search = search
        self._allowed = (Refusal.SETTLEMENT,) if settlements else ()
        self.faults: list[FieldInvalid] = []

    def text(self, name: str) -> str:
        return unicodedata.normalize("NFC", self._row[name]).strip()

    def read(self, name: str, parse: Callable[[str], V], default: V) -> V:
        """The parsed value of a field that must be there; `default` stands in once it was refused."""
        text = self.text(name)
        if not text:
            self.faults.append(FieldInvalid(name, "is empty, but must be given"))
            return default
        try:
            return parse(text)
        except ValueError as error:
            self.refuse(name, error)
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
            self.refuse(name, error)
            return empty

    def refuse(self, name: str, error: ValueError) -> None:
        refused = error.refusal if isinstance(error, Refused) else None
        self.faults.append(FieldInvalid(name, str(error), refused))

    def search(self, name: str, value: object, kind: RecordKind) -> None:
        """Refuse everything that a text may not hold, and a settlement by its code."""
        if name not in self._search:
            return
        if isinstance(value, str):
            found = in_text(value, kind)
        else:
            found = (Refusal.SETTLEMENT,) if value is JudgmentForm.SETTLEMENT_NO_ADMISSION else ()
        self.faults += [FieldInvalid.refused(name, one) for one in found if one not in self._allowed]

    def details(self, kind: RecordKind) -> dict[str, Value | Missing]:
        """The fields of the kind that are given; a file need not have their columns."""
        own = FIELDS_OF[kind]
        found: dict[str, Value | Missing] = {}
        for name, cell in self._row.items():
            if not cell or name not in FIELDS:
                continue
            field = own.get(name)
            if field is None:
                if (text := self.text(name)) and text not in _MISSING:
                    self.faults.append(FieldInvalid(name, other_kind(name, kind)))
                continue
            value = self.optional(name, field.type.parse, Missing.UNKNOWN)
            if value is not Missing.UNKNOWN:
                found[name] = value
            self.search(name, value, kind)
        return found


def _birth_date(text: str) -> str:
    if not _PARTIAL_DATE.match(text):
        raise ValueError("is not a date of the form YYYY-MM-DD (or YYYY-MM, or YYYY)")
    _check("birth_date", text)
    first_day = text + "-01" * ((10 - len(text)) // 3)
    plausible(first_day)
    return text


def _name(text: str) -> str:
    return line(text, MAX_NAME_CHARACTERS)


def _check(field: str, text: str, remedy: str = "leave it empty") -> str:
    """`text`, if matching can use it; `remedy` is what to do about a placeholder."""
    if reason := refusal(field, text):
        reason = reason.replace("leave it empty", remedy)
        raise Refused(Refusal.PLACEHOLDER, reason) if "placeholder" in reason else ValueError(reason)
    return text


def _first(text: str) -> str:
    """Must be given, so an unknown one has a word of its own."""
    if _name(text) == Missing.UNKNOWN.name:
        return text
    return _check("first", text, "write UNKNOWN if nobody knows it")


def _middle(text: str) -> str:
    return _check("middle", _name(text), "leave it empty, or write NOT_APPLICABLE if there is none")


def _last(text: str) -> str:
    """Must be given: a record of a person without a surname is a record of nobody."""
    return _check("last", _name(text), "give the surname, for matching cannot use it")


def _former_last(text: str) -> str:
    return _check("former_last", _name(text))


def _ssn4(text: str) -> str:
    if _WHOLE_SSN.match(text):
        raise Refused(Refusal.WHOLE_SSN, "holds a whole number; only its last four digits may be given")
    if not _SSN4.match(text):
        raise ValueError("is not four digits (a spreadsheet may have dropped leading zeros)")
    return _check("ssn4", text)


def _sex(text: str) -> str:
    if text.upper() not in ("M", "F", "X"):
        raise ValueError("is none of M, F, X")
    return text.upper()


def _state(text: str) -> str:
    return read_state(text)


def _post_id(text: str) -> str:
    return _check("post_id", _name(text))


def _agency_id(text: str) -> str:
    if not _AGENCY_ID.match(text):
        raise ValueError("is not 1 to 64 letters, digits, blanks or . _ / # : - with a letter or digit first")
    return text


def _narrative(text: str) -> str:
    if len(text) > MAX_NARRATIVE_CHARACTERS:
        raise ValueError(f"is longer than {MAX_NARRATIVE_CHARACTERS} characters")
    if not text.isprintable() and any(
        unicodedata.category(letter).startswith("C") and letter not in "\n\r\t" for letter in text
    ):
        raise ValueError("holds a control character")
    return text.replace("\r\n", "\n").replace("\r", "\n")


_KIND = code(RecordKind)
_MAKER, _STANDARD, _METHOD = code(DecisionMaker), code(StandardOfProof), code(NoticeMethod)
_OPPORTUNITY, _FINALITY, _SHARING = code(Opportunity), code(Finality), code(Sharing)
_NEXUS, _SOURCE, _CATEGORIES = code(Nexus), code(SourceOfRecord), codes_of(AllegationCategory)


def parse(
    row: Mapping[str, str], *, search: Collection[str] = _ALL, settlements: bool = False
) -> tuple[Content | None, tuple[FieldInvalid, ...]]:
    """The content of a row that has every one of CONTENT_FIELDS; or None and all that is wrong with it.

    `search` names the texts to be searched for what may not be reported: none when what was filed is read
    back, or a pattern that is added later would make a record unreadable. `settlements`: the policy pack
    in force lets them in.
    """
    read = _Fields(row, search, settlements)
    kind = read.read("record_kind", _KIND, RecordKind.TERMINATION_FOR_CAUSE)
    commendation = kind is RecordKind.COMMENDATION
    unknown, not_applicable = Missing.UNKNOWN, Missing.NOT_APPLICABLE
    identity = Identity(
        first=read.read("first", _first, ""),
        last=read.read("last", _last, ""),
        middle=read.optional("middle", _middle, unknown),
        suffix=read.optional("suffix", _name, unknown),
        former_last=read.optional("former_last", _former_last, unknown),
        birth_date=read.optional("birth_date", _birth_date, unknown),
        ssn4=read.optional("ssn4", _ssn4, unknown),
        sex=read.optional("sex", _sex, unknown),
        post_state=read.optional("post_state", read_state, unknown),
        post_id=read.optional("post_id", _post_id, unknown),
    )
    empty = not_applicable if commendation else unknown
    due_process = DueProcess(
        decided_on=read.optional("decided_on", read_date, empty),
        decision_maker=read.optional("decision_maker", _MAKER, empty),
        standard_of_proof=read.optional("standard_of_proof", _STANDARD, empty),
        notice_given_on=read.optional("notice_given_on", read_date, empty),
        notice_method=read.optional("notice_method", _METHOD, empty),
        opportunity=read.optional("opportunity", _OPPORTUNITY, empty),
        opportunity_on=read.optional("opportunity_on", read_date, not_applicable),
        finality=read.optional("finality", _FINALITY, empty),
        appeal_until=read.optional("appeal_until", read_date, not_applicable),
        subject_notified_on=read.optional("subject_notified_on", read_date, empty),
    )
    # An empty cell means YELLOW; for a commendation it means that the officer has not opted in.
    sharing = read.optional("sharing", _SHARING, unknown)
    if isinstance(sharing, Missing):
        sharing = Sharing.RED if commendation else Sharing.YELLOW
    narrative = read.optional("narrative", _narrative, not_applicable)
    categories = read.optional("allegation_categories", _CATEGORIES, not_applicable)
    values = {
        "agency_record_id": read.read("agency_record_id", _agency_id, "-"),
        "record_kind": kind,
        "identity": identity,
        "effective_on": read.read("effective_on", read_date, OLDEST),
        "due_process": due_process,
        "sharing": sharing,
        "on_duty": read.read("on_duty", _NEXUS, Nexus.UNKNOWN),
        "use_of_force_related": read.read("use_of_force_related", _NEXUS, Nexus.UNKNOWN),
        "allegation_categories": () if isinstance(categories, Missing) else categories,
        "source_of_record": read.read("source_of_record", _SOURCE, SourceOfRecord.COURT),
        "narrative": narrative,
        "details": read.details(kind),
    }
    read.search("narrative", narrative, kind)
    try:
        content = Content(**values)  # type: ignore[arg-type]
    except ContentInvalid as error:
        return None, (*read.faults, *_further(error.faults, read.faults))
    return (None, tuple(read.faults)) if read.faults else (content, ())


def _further(
    contradictions: Sequence[FieldInvalid], faults: Sequence[FieldInvalid]
) -> Iterator[FieldInvalid]:
    """Of what fields say against each other, what does not rest on a field that could not be read.

    That is all, if all could be read; otherwise only what may not be reported at all.
    """
    named = {fault.field for fault in faults}
    for fault in contradictions:
        if not named or (fault.refusal and fault.field not in named and "record_kind" not in named):
            yield fault


def unknown_field(name: str) -> FieldInvalid:
    remedy = "`candor-node import --template FILE` writes a table with every field."
    return FieldInvalid(name[:40], "a record has no such field", remedy=remedy)


def amended(content: Content, changes: Mapping[str, str], *, settlements: bool = False) -> Content:
    """`content` with other texts in the fields that `changes` names; `settlements` as in `parse`.

    Raises ContentInvalid, FieldInvalid.
    """
    if unknown := [name for name in changes if name not in ALL_FIELDS]:
        raise unknown_field(unknown[0])
    found, faults = parse({**content_fields(content), **changes}, search=changes, settlements=settlements)
    if found is None:
        raise ContentInvalid(faults)
    return found
