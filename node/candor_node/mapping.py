"""An import profile: how one records system's table becomes the columns of the template.

Rules of this file:
- a profile says everything and guesses nothing: which heading is which column, which word is which code, how
  dates are written, what stands in columns that the system has not, which headings are left out on purpose;
- a heading that the profile does not know stops the import: a column that appeared since may matter;
- a cell that does not fit its profile passes as it is, and is refused where every cell is looked at;
- the JSON form is strict in both directions, for profiles travel between agencies.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TypeGuard

from candor_node.table_file import Reading
from candor_proto.errors import InputInvalid
from candor_records.content import ALL_FIELDS, CONTENT_FIELDS
from candor_records.template import COMMENT

# Columns of reports and exports that are ours: never data, whatever the profile says.
OWN_PREFIX = "candor_"
REQUIRED = CONTENT_FIELDS
COLUMNS = ALL_FIELDS
MAX_PROFILE_OCTETS = 256 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_MAX_TEXT = 500

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_Y, _M, _D, _N = (
    r"(?P<y>[0-9]{4})",
    r"(?P<m>[0-9]{1,2})",
    r"(?P<d>[0-9]{1,2})",
    r"(?P<n>[A-Za-z]{3})[a-z]*\.?",
)
# Systems that know only moments write midnight behind each day.
_MIDNIGHT = r"(?:[ T](?:0?0:00(?::00(?:\.0+)?)?|12:00(?::00)? ?AM))?\Z"
# Years have four digits: of two, nobody can say which century a birth date means.
_DATE_FORMS = {
    "YYYY-MM-DD": f"{_Y}-{_M}-{_D}",
    "MM/DD/YYYY": f"{_M}/{_D}/{_Y}",
    "DD/MM/YYYY": f"{_D}/{_M}/{_Y}",
    "MM-DD-YYYY": f"{_M}-{_D}-{_Y}",
    "DD-MM-YYYY": f"{_D}-{_M}-{_Y}",
    "DD.MM.YYYY": rf"{_D}\.{_M}\.{_Y}",
    "YYYY/MM/DD": f"{_Y}/{_M}/{_D}",
    "YYYYMMDD": "(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})",
    "DD-MON-YYYY": f"{_D}[- ]{_N}[- ]{_Y}",
    "MON DD, YYYY": f"{_N} {_D},? {_Y}",
}
DATE_FORMS = {name: re.compile(form + _MIDNIGHT) for name, form in _DATE_FORMS.items()}
_ISO = DATE_FORMS["YYYY-MM-DD"]


class ProfileInvalid(InputInvalid):
    """A profile contradicts itself or the template; the sentence says where."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The profile cannot be used: {what}.", remedy="Correct it and save it again.")


def fold(text: str) -> str:
    """A heading or a coded word as it is compared: case, blanks and punctuation do not count."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(letter if letter.isalnum() or letter == "#" else " " for letter in plain).split())


def read_date(text: str, form: str) -> str | None:
    """The ISO date that `text` says in the form of that name, or None."""
    found = DATE_FORMS[form].match(text.strip())
    if found is None:
        return None
    parts = found.groupdict()
    try:
        month = _MONTHS.index(parts["n"].upper()) + 1 if "n" in parts else int(parts["m"])
        return date(int(parts["y"]), month, int(parts["d"])).isoformat()
    except ValueError:
        return None


@dataclass(frozen=True)
class Profile:
    """One way to read one system's table. All keys of the mappings are columns of the template.

    `columns` says under which heading a column stands, `values` which code a word stands for, `dates` in
    which form days are written, `fixed` what a column holds in every row. Headings and words are folded.
    """

    name: str
    reading: Reading = field(default_factory=Reading)
    columns: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    dates: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ProfileInvalid("its name is not 1 to 64 letters, digits or . _ -")
        for part in (self.columns, self.values, self.dates, self.fixed):
            if unknown := sorted(set(part) - set(COLUMNS)):
                raise ProfileInvalid(f"the template has no column {unknown[0][:40]}")
        for column, form in self.dates.items():
            if form not in DATE_FORMS:
                raise ProfileInvalid(
                    f"the dates of {column} are in none of the forms {', '.join(DATE_FORMS)}"
                )
        if both := sorted(set(self.columns) & set(self.fixed)):
            raise ProfileInvalid(f"{both[0]} has a heading and a fixed value; one of them is wrong")
        headings = set(self.columns.values())
        if "" in headings or any(fold(heading) != heading for heading in (*headings, *self.ignored)):
            raise ProfileInvalid("a heading is not in its folded form")
        if headings & set(self.ignored):
            raise ProfileInvalid("a heading is used and left out")
        if any(fold(word) != word for words in self.values.values() for word in words):
            raise ProfileInvalid("a word is not in its folded form")


class Mapper:
    """A profile laid over one header. `columns` are those that its rows have, in this order."""

    def __init__(self, profile: Profile | None, header: Sequence[str]) -> None:
        self.profile = profile
        headings = [fold(cell) for cell in header]
        own = [cell.strip().lower().startswith(OWN_PREFIX) for cell in header]
        # Our own columns stand in reports and exports alone, whose cells are guarded against formulas.
        self.guarded = any(own)
        # A heading may stand for several columns: some systems know one day for decision and effect.
        known: dict[str, list[str]] = {}
        sources = profile.columns if profile else {name: fold(name) for name in COLUMNS}
        for column, heading in sources.items():
            known.setdefault(heading, []).append(column)
        ignored = set(profile.ignored) if profile else set()
        places: dict[str, int] = {}
        strange: list[str] = []
        twice: set[str] = set()
        for at, heading in enumerate(headings):
            if own[at] or heading in ignored:
                continue
            if heading not in known:
                strange.append(header[at])
            for column in known.get(heading, ()):
                if places.setdefault(column, at) != at:
                    twice.add(column)
        fixed = dict(profile.fixed) if profile else {}
        self._missing = [name for name in REQUIRED if name not in places and name not in fixed]
        _refuse(
            self._missing if profile is None else self._lost(places), strange, sorted(twice), header, profile
        )
        self._places = places
        self._fixed = fixed
        self.columns = (*places, *fixed)
        self._headings = {column: header[at].strip() for column, at in places.items()}
        self._convert = [(at, *self._ways(column)) for column, at in places.items()]

    def _lost(self, places: Mapping[str, int]) -> list[str]:
        """Headings that the profile names and the file has not, by the column they stand for."""
        assert self.profile is not None
        return [column for column in self.profile.columns if column not in places]

    def _ways(self, column: str) -> tuple[Mapping[str, str] | None, str | None]:
        if self.profile is None:
            return None, None
        return self.profile.values.get(column), self.profile.dates.get(column)

    def row(self, cells: Sequence[str]) -> list[str]:
        """The cells of `columns`. Those that a workbook left away at the end are empty."""
        found = []
        width = len(cells)
        for at, words, form in self._convert:
            cell = cells[at] if at < width else ""
            if words is not None:
                cell = _coded(cell, words)
            elif form is not None:
                # A workbook says its days in ISO form, whatever the person sees.
                cell = (
                    read_date(cell, form)
                    or (read_date(cell, "YYYY-MM-DD") if _ISO.match(cell) else None)
                    or cell
                )
            found.append(cell)
        return [*found, *self._fixed.values()]

    def passes_over(self, cells: Sequence[str]) -> bool:
        """Whether a row of the template is for people only: its first cell begins with COMMENT.

        In the table of another system every row is somebody's, whatever its numbers begin with.
        """
        return self.profile is None and bool(cells) and cells[0].lstrip().startswith(COMMENT)

    def heading(self, column: str) -> str:
        """How the clerk's own table calls a column, or the column's name where it has none."""
        return self._headings.get(column, column)

    def reason(self, column: str, reason: str) -> str:
        """What is wrong with a cell, in the terms of the clerk's table."""
        form = self.profile.dates.get(column) if self.profile else None
        return reason.replace("YYYY-MM-DD", form, 1) if form else reason


def _coded(cell: str, words: Mapping[str, str]) -> str:
    """A cell in codes: as a whole, or word by word where it lists several."""
    whole = words.get(fold(cell))
    if whole is None and ";" in cell:
        return ";".join(words.get(fold(part), part.strip()) for part in cell.split(";"))
    return cell if whole is None else whole


def _refuse(
    missing: Sequence[str],
    strange: Sequence[str],
    twice: Sequence[str],
    header: Sequence[str],
    profile: Profile | None,
) -> None:
    """Raises InputInvalid for a header that the profile, or the template, does not fit."""
    remedy = (
        "Nothing was stored. Use the columns of the template (`candor-node import --template FILE`), or have "
        "a profile proposed: `candor-node import FILE --propose`."
        if profile is None
        else "Nothing was stored. Have a new profile proposed (--propose) or correct it."
    )
    if profile is None and len(missing) == len(REQUIRED):
        if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
            raise InputInvalid("The columns are not separated by commas.", remedy=remedy)
        raise InputInvalid("The first row does not name the columns.", remedy=remedy)
    if profile is not None and len(header) == 1 and len(missing) == len(profile.columns) > 1:
        raise InputInvalid(
            f"The columns are not separated as the profile {profile.name} says: "
            f"by {profile.reading.delimiter}.",
            remedy="Nothing was stored. Export the file as before, or --propose a new profile.",
        )
    faults = []
    if missing:
        faults.append(f"missing: {', '.join(missing)}")
    if strange:
        # A header cell is repeated only where it looks like a column's name; it may be data.
        shown = [_shown(name) for name in strange[:40]]
        faults.append(f"unknown: {', '.join(shown)}")
    if twice:
        faults.append(f"twice: {', '.join(twice)}")
    if faults:
        what = "the template" if profile is None else f"the profile {profile.name}"
        raise InputInvalid(f"The columns are not those of {what}; {'; '.join(faults)}.", remedy=remedy)


def _shown(name: str) -> str:
    return name if name.replace("_", "").isalpha() and len(name) <= 40 else "…"


# --- JSON ----------------------------------------------------------------------------------------------


def format_profile(profile: Profile) -> str:
    """The profile as JSON for a file; `parse_profile` reads it back to the same profile."""
    reading = profile.reading
    value = {
        "candor_import_profile": 1,
        "name": profile.name,
        "reading": {"encoding": reading.encoding, "delimiter": reading.delimiter, "sheet": reading.sheet},
        "columns": dict(profile.columns),
        "values": {column: dict(words) for column, words in profile.values.items()},
        "dates": dict(profile.dates),
        "fixed": dict(profile.fixed),
        "ignored": list(profile.ignored),
    }
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


_KEYS = {"candor_import_profile", "name", "reading", "columns", "values", "dates", "fixed", "ignored"}


def parse_profile(text: str) -> Profile:
    """Raises ProfileInvalid for whatever is not a profile of this version."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_PROFILE_OCTETS:
        raise ProfileInvalid("it is too large")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ProfileInvalid("it is not JSON") from None
    if not isinstance(value, dict) or set(value) != _KEYS or value["candor_import_profile"] != 1:
        raise ProfileInvalid("it does not have the parts of a profile, and only those")
    reading, values, ignored = value["reading"], value["values"], value["ignored"]
    if not _texts(reading) or set(reading) != {"encoding", "delimiter", "sheet"}:
        raise ProfileInvalid("`reading` must say encoding, delimiter and sheet")
    if not all(map(_texts, (value["columns"], value["dates"], value["fixed"]))):
        raise ProfileInvalid("`columns`, `dates` and `fixed` map texts to texts")
    if not isinstance(values, dict) or not all(_texts(words) for words in values.values()):
        raise ProfileInvalid("`values` maps columns to words and their codes")
    if not isinstance(ignored, list) or not _texts(dict.fromkeys(map(str, ignored), "")):
        raise ProfileInvalid("`ignored` is a list of headings")
    name = value["name"]
    return Profile(
        name if isinstance(name, str) else "",
        Reading(**reading),
        value["columns"],
        values,
        value["dates"],
        value["fixed"],
        tuple(map(str, ignored)),
    )


def _texts(value: object) -> TypeGuard[dict[str, str]]:
    return isinstance(value, dict) and all(
        isinstance(text, str) and len(text) <= _MAX_TEXT for text in value.values()
    )
