"""Proposes an import profile from a table: how sure each proposal is and why, and questions for the rest.

Rules of this file:
- what is not sure is a question and stands in no profile: two forms of a date that both fit, a heading
  that only resembles one;
- cells are looked at to see which forms and words a column uses. Words are shown only of columns that
  hold few and short ones, as codes do: names of people do not look like that;
- it proposes; a person reads, answers and saves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rapidfuzz import fuzz, process

from candor_node.mapping import COLUMNS, DATE_FORMS, OWN_PREFIX, REQUIRED, Profile, fold, read_date
from candor_node.mapping_words import HEADINGS, WORDS
from candor_node.table_file import Row
from candor_proto.policy import Sharing
from candor_proto.record import RecordKind
from candor_records.codes import (
    AllegationCategory,
    DecisionMaker,
    Finality,
    Missing,
    Nexus,
    NoticeMethod,
    Opportunity,
    SourceOfRecord,
    StandardOfProof,
)
from candor_records.field_types import DATE
from candor_records.kinds import FIELDS

# A heading that resembles a known one by so much (of 100) is used, by so much is asked about.
SURE, WORTH_ASKING = 92.0, 80.0
MAX_WORDS, MAX_WORD_CHARACTERS = 60, 40

CODES: Mapping[str, tuple[str, ...]] = {
    column: tuple(codes)
    for column, codes in {
        "record_kind": RecordKind.__members__,
        "sex": ("M", "F", "X"),
        "decision_maker": DecisionMaker.__members__,
        "standard_of_proof": StandardOfProof.__members__,
        "notice_method": NoticeMethod.__members__,
        "opportunity": Opportunity.__members__,
        "finality": Finality.__members__,
        "sharing": Sharing.__members__,
        "on_duty": Nexus.__members__,
        "use_of_force_related": Nexus.__members__,
        "allegation_categories": AllegationCategory.__members__,
        "source_of_record": SourceOfRecord.__members__,
        **{name: known.type.codes.__members__ for name, known in FIELDS.items() if known.type.codes},
    }.items()
}
# Columns whose cell may list several codes.
SEVERAL = frozenset({"allegation_categories"}) | {
    name for name, known in FIELDS.items() if known.type.codes and ";" in known.type.words
}
DATES = frozenset(
    {column for column in REQUIRED if column.endswith(("_on", "_until", "_date"))}
    | {name for name, known in FIELDS.items() if known.type is DATE}
)
# Columns that may be empty in every row: a system that has none of them loses nothing but detail.
_MAY_BE_EMPTY = frozenset(COLUMNS) - {
    "agency_record_id", "record_kind", "first", "last", "effective_on", "source_of_record", "on_duty",
    "use_of_force_related",
}  # fmt: skip


@dataclass(frozen=True)
class ColumnProposal:
    """Under which heading a column of the template seems to stand; `certain` ones are in the profile."""

    column: str
    heading: str
    confidence: int
    reason: str
    certain: bool


@dataclass(frozen=True)
class Proposal:
    """A profile of what is certain, how each column was found, and what a person must say. Words in `words`
    are (column, word as folded, code or empty)."""

    profile: Profile
    columns: tuple[ColumnProposal, ...]
    questions: tuple[str, ...]
    words: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)


@dataclass
class _Seen:
    """What the rows hold, by column: the forms that every date fits, the words of codes."""

    forms: dict[str, set[str]]
    words: dict[str, set[str]]
    # Columns with a date in another form than ISO.
    other: set[str]


def propose(name: str, header: Sequence[str], rows: Iterable[Row], answers: Profile) -> Proposal:
    """A profile for a table. `answers` is what a person said already; it goes before what is found."""
    found, questions = _columns(header, answers)
    places = {fold(cell): at for at, cell in enumerate(header)}
    chosen = {one.column: one.heading for one in found if one.certain} | dict(answers.columns)
    seen = _look(rows, {column: places[heading] for column, heading in chosen.items() if heading in places})
    dates, date_questions = _dates(seen, answers)
    words, values, word_questions = _words(seen, answers)
    used, known = set(chosen.values()), {fold(cell) for cell in header}
    asked = {one.heading for one in found}
    left = [
        heading
        for heading in dict.fromkeys(fold(cell) for cell in header)
        if heading not in used | asked | set(answers.ignored) and not _own(heading)
    ]
    questions += [
        f"The column “{heading}” is like none of the template: --ignore it, or --map it." for heading in left
    ]
    questions += _lacking(chosen, answers)
    if lost := sorted(set(answers.columns.values()) - known):
        questions.append(f"The file has no column “{lost[0]}”.")
    fixed = {column: "" for column in REQUIRED if column not in chosen and column in _MAY_BE_EMPTY} | dict(
        answers.fixed
    )
    profile = replace(
        answers, name=name, columns=chosen, values=values, dates=dates, fixed=fixed, ignored=answers.ignored
    )
    return Proposal(profile, tuple(found), (*questions, *date_questions, *word_questions), words)


def _own(heading: str) -> bool:
    return heading.startswith(fold(OWN_PREFIX) + " ")


# --- headings ------------------------------------------------------------------------------------------


def _columns(header: Sequence[str], answers: Profile) -> tuple[list[ColumnProposal], list[str]]:
    """Each heading's best column, the surest first; what two headings claim is a question."""
    taken = set(answers.columns) | set(answers.fixed)
    skipped = set(answers.columns.values()) | set(answers.ignored)
    claims: dict[str, list[ColumnProposal]] = {}
    for heading in dict.fromkeys(fold(cell) for cell in header):
        if not heading or heading in skipped or _own(heading):
            continue
        claim = _claim(heading)
        if claim is not None and claim.column not in taken:
            claims.setdefault(claim.column, []).append(claim)
    found, questions = [], []
    for column in COLUMNS:
        best = sorted(claims.get(column, []), key=lambda claim: -claim.confidence)
        if not best:
            continue
        tied = [claim for claim in best if claim.confidence == best[0].confidence]
        certain = best[0].certain and len(tied) == 1
        found.append(replace(best[0], certain=certain))
        if len(tied) > 1:
            names = " or ".join(f"“{claim.heading}”" for claim in tied)
            questions.append(f"{column} may be {names}: --map one of them, --ignore the others.")
        elif not certain:
            questions.append(
                f"{column} may be “{best[0].heading}”, {best[0].reason}: --map it if that is so."
            )
        rest = [claim for claim in best[1:] if claim not in tied]
        questions += [
            f"The column “{claim.heading}” looks like {column}, which stands elsewhere: --ignore or --map it."
            for claim in rest
        ]
        found += [replace(claim, certain=False) for claim in (*tied[1:], *rest)]
    return found, questions


_BY_HEADING = {
    **{heading: column for column, headings in HEADINGS.items() for heading in headings},
    **{fold(column): column for column in COLUMNS},
}


def _claim(heading: str) -> ColumnProposal | None:
    if (column := _BY_HEADING.get(heading)) is not None:
        return ColumnProposal(column, heading, 100, "a heading of this kind is known", True)
    near = process.extractOne(heading, list(_BY_HEADING), scorer=fuzz.ratio, score_cutoff=WORTH_ASKING)
    if near is None:
        return None
    known, score, _ = near
    return ColumnProposal(
        _BY_HEADING[known],
        heading,
        round(score),
        f"which resembles “{known}”",
        score >= SURE and len(heading) > 5,
    )


def _lacking(chosen: Mapping[str, str], answers: Profile) -> list[str]:
    return [
        f"No column is {column}, which every record must have: --map a heading, or --set {column}=VALUE."
        for column in REQUIRED
        if column not in chosen and column not in answers.fixed and column not in _MAY_BE_EMPTY
    ]


# --- cells ---------------------------------------------------------------------------------------------


def _look(rows: Iterable[Row], places: Mapping[str, int]) -> _Seen:
    dates = {column: at for column, at in places.items() if column in DATES}
    codes = {column: at for column, at in places.items() if column in CODES}
    seen = _Seen({column: set(DATE_FORMS) for column in dates}, {column: set() for column in codes}, set())
    for row in rows:
        for column, at in dates.items():
            cell = row.cells[at].strip() if at < len(row.cells) else ""
            # A day that a workbook stores as one reads the same whatever form people see.
            if cell and cell not in Missing.__members__ and read_date(cell, "YYYY-MM-DD") is None:
                seen.other.add(column)
                seen.forms[column] = {form for form in seen.forms[column] if read_date(cell, form)}
        for column, at in codes.items():
            cell = row.cells[at] if at < len(row.cells) else ""
            if len(seen.words[column]) <= MAX_WORDS and (folded := fold(cell)):
                parts = map(fold, cell.split(";")) if column in SEVERAL else (folded,)
                seen.words[column].update(part for part in parts if part)
    return seen


def _dates(seen: _Seen, answers: Profile) -> tuple[dict[str, str], list[str]]:
    dates, questions = dict(answers.dates), []
    for column, forms in seen.forms.items():
        if column in dates or column not in seen.other:
            continue
        if len(forms) == 1:
            dates[column] = next(iter(forms))
        elif forms:
            choice = " or ".join(form for form in DATE_FORMS if form in forms)
            questions.append(f"Every date of {column} may be {choice}: say which with --date {column}=FORM.")
        else:
            questions.append(
                f"The dates of {column} are in no one form: say which with --date {column}=FORM, one of "
                f"{', '.join(DATE_FORMS)}; cells in another are refused."
            )
    return dates, questions


def _words(
    seen: _Seen, answers: Profile
) -> tuple[tuple[tuple[str, str, str], ...], dict[str, dict[str, str]], list[str]]:
    listed: list[tuple[str, str, str]] = []
    values = {column: dict(words) for column, words in answers.values.items()}
    questions = []
    for column, words in seen.words.items():
        if len(words) > MAX_WORDS or any(len(word) > MAX_WORD_CHARACTERS for word in words):
            questions.append(
                f"{column} holds too many or too long words to be a code: is it the right column?"
            )
            continue
        codes = {fold(code): code for code in CODES[column]}
        said = values.get(column, {})
        for word in sorted(words):
            if word in codes or word.upper() in Missing.__members__:
                # A spelling of the code itself ("Trial board") is a word for it unless it is the very code.
                code = codes.get(word, word.upper())
                if word in codes and word.replace(" ", "_") != word:
                    values.setdefault(column, {})[word] = code
                continue
            code = said.get(word) or WORDS.get(column, {}).get(word, "")
            listed.append((column, word, code))
            if code:
                values.setdefault(column, {})[word] = code
        unknown = [word for one, word, code in listed if one == column and not code]
        if unknown:
            questions.append(
                f"{column} holds {len(unknown)} word{'s' * (len(unknown) != 1)} without a code: give each by "
                f"--value {column}:WORD=CODE."
            )
    return tuple(listed), values, questions
