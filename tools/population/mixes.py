"""How often what goes wrong: rates, and the named mixes of them.

A mix has rates for records (what agencies file) and for queries (what applicants write), and says how many
rows are *sloppy*, where everything goes wrong at once. `dev` and `hard` reproduce officers-dev and
officers-devhard: `python -m tools.population --compare` measures them side by side.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Final


@dataclass(frozen=True)
class Rates:
    """Shares of rows, from 0 to 1, in which something happens to a value that is there.

    Errors: `nickname` if the given name has one; `made_nickname` is the share of those nicknames that are
    clipped or lengthened rather than taken from the table; `initial` of the given name; `middle_as_first`;
    `exchanged` given name and surname; `keyed`, `scanned`, `sounded` of each name; `cut` of the surname;
    `hyphen`, a second surname added; `former_filed`, the former surname in the place of the surname;
    `middle_initial`; `date_exchanged` day and month; `date_digit`; `date_placeholder`, 1 January of the year;
    `ssn_digit`; `post_digit`; `post_renewed`, another certificate altogether; `variant`, the name in another
    of the forms that its origin has (tools.population.variants); `marks_dropped`, letters without their
    marks; `marks_mangled`, letters with marks made something else.

    What is not written: `date_partial`, unknown parts as XX; the others by field. `former_missing` is the
    share of people with a former surname whose row does not mention it.
    """

    nickname: float = 0.0
    made_nickname: float = 0.2
    initial: float = 0.0
    middle_as_first: float = 0.0
    exchanged: float = 0.0
    keyed: float = 0.0
    scanned: float = 0.0
    sounded: float = 0.0
    cut: float = 0.0
    hyphen: float = 0.0
    former_filed: float = 0.0
    middle_initial: float = 0.0
    date_exchanged: float = 0.0
    date_digit: float = 0.0
    date_placeholder: float = 0.0
    ssn_digit: float = 0.0
    post_digit: float = 0.0
    post_renewed: float = 0.0
    variant: float = 0.0
    marks_dropped: float = 0.0
    marks_mangled: float = 0.0
    date_partial: float = 0.0
    middle_missing: float = 0.0
    suffix_missing: float = 0.0
    former_missing: float = 0.0
    date_missing: float = 0.0
    ssn_missing: float = 0.0
    sex_missing: float = 0.0
    post_missing: float = 0.0

    def scaled(self, errors: float, missing: float, most: float = 1.0) -> Rates:
        """Error rates times `errors`, missing rates times `missing`, none above `most`.

        `made_nickname`, `marks_dropped` and `post_renewed` are no errors of writing, and `former_missing`
        was seen not to move: these stay.
        """
        values = asdict(self)
        for name in ERRORS:
            values[name] = min(most, values[name] * errors)
        for name in MISSING:
            values[name] = min(most, values[name] * missing)
        return Rates(**values)


MISSING: Final = (
    "middle_missing", "suffix_missing", "date_missing", "date_partial", "ssn_missing", "sex_missing",
    "post_missing",
)  # fmt: skip
_UNSCALED: Final = ("made_nickname", "marks_dropped", "post_renewed", "former_missing")
RATE_NAMES: Final = tuple(field.name for field in fields(Rates))
ERRORS: Final = tuple(name for name in RATE_NAMES if name not in (*MISSING, *_UNSCALED))


@dataclass(frozen=True)
class Mix:
    """Rates of records and queries, and the share of sloppy rows.

    Every agency, and every applicant, has a share of its own between `sloppy_least` and `sloppy_most`. In a
    sloppy row errors are `sloppy_errors` and missing values `sloppy_missing` times as frequent.
    """

    name: str
    record: Rates
    query: Rates
    sloppy_least: float = 0.0
    sloppy_most: float = 0.0
    sloppy_errors: float = 1.0
    sloppy_missing: float = 1.0

    def check(self) -> None:
        """Raises ValueError for a rate or share that is none, and for a factor below 0."""
        shares = {f"record.{name}": value for name, value in asdict(self.record).items()}
        shares |= {f"query.{name}": value for name, value in asdict(self.query).items()}
        shares |= {"sloppy_least": self.sloppy_least, "sloppy_most": self.sloppy_most}
        wrong = [name for name, value in shares.items() if not 0 <= value <= 1]
        if wrong or self.sloppy_least > self.sloppy_most or min(self.sloppy_errors, self.sloppy_missing) < 0:
            raise ValueError(f"Mix {self.name!r} has a rate outside 0 to 1, or a negative factor: {wrong}.")


# Measured on officers-dev and on the rows of officers-devhard that are not sloppy, but for the last three:
# variants and marks are assumptions, which the development sets say nothing of.
_RECORD = Rates(
    nickname=0.050, initial=0.0058, middle_as_first=0.007, exchanged=0.008, keyed=0.027, scanned=0.0060,
    sounded=0.0045, cut=0.002, hyphen=0.0195, former_filed=0.16, middle_initial=0.30, date_exchanged=0.0095,
    date_digit=0.0115, date_placeholder=0.0048, ssn_digit=0.0105, post_digit=0.0070, date_partial=0.0088,
    middle_missing=0.31, suffix_missing=0.27, former_missing=0.66, date_missing=0.0203, ssn_missing=0.122,
    sex_missing=0.048, post_missing=0.357, variant=0.15, marks_dropped=0.70, marks_mangled=0.03,
)  # fmt: skip
_QUERY = Rates(
    nickname=0.112, initial=0.0115, middle_as_first=0.0170, exchanged=0.0145, keyed=0.030, scanned=0.0065,
    sounded=0.0055, cut=0.006, hyphen=0.026, former_filed=0.16, middle_initial=0.347, date_exchanged=0.0140,
    date_digit=0.0190, date_placeholder=0.0042, ssn_digit=0.0100, post_digit=0.0110, post_renewed=0.28,
    date_partial=0.0103, middle_missing=0.36, suffix_missing=0.32, former_missing=0.68, date_missing=0.0095,
    ssn_missing=0.204, sex_missing=0.101, post_missing=0.550, variant=0.20, marks_dropped=0.55,
    marks_mangled=0.02,
)  # fmt: skip

DEV = Mix("dev", _RECORD, _QUERY, 0.02, 0.02, 2.6, 3.0)
HARD = replace(
    DEV,
    name="hard",
    record=replace(_RECORD, date_digit=0.0145, date_exchanged=0.0120),
    query=replace(_QUERY, post_renewed=0.37, nickname=0.120),
    sloppy_least=0.39,
    sloppy_most=0.39,
)
MIXED = replace(DEV, name="mixed", sloppy_most=0.39)


def _more(name: str, **factors: float) -> Mix:
    """MIXED with single rates times a factor, at most 0.95."""

    def more(rates: Rates) -> Rates:
        values = asdict(rates)
        return replace(rates, **{rate: min(0.95, values[rate] * factor) for rate, factor in factors.items()})

    return replace(MIXED, name=name, record=more(_RECORD), query=more(_QUERY))


MIXES: Final[Mapping[str, Mix]] = {
    mix.name: mix
    for mix in (
        Mix("clean", Rates(), Rates()),
        DEV,
        HARD,
        MIXED,
        _more("keyboard-heavy", keyed=3.0, scanned=3.0, ssn_digit=2.5, post_digit=3.0, date_digit=1.5),
        _more("phonetic-heavy", sounded=8.0, nickname=1.8, hyphen=1.3, cut=2.0),
        _more("missing-heavy", **dict.fromkeys(MISSING, 1.6)),
        _more("origin-heavy", variant=3.0, marks_mangled=3.0, exchanged=1.5),
        _more("date-heavy", date_exchanged=4.0, date_digit=3.0, date_placeholder=4.0, date_partial=3.0),
    )
}


def to_json(mix: Mix) -> str:
    """The mix as the text that `from_json` reads."""
    return json.dumps(asdict(mix), indent=1) + "\n"


def from_json(text: str) -> Mix:
    """A mix of JSON: `base` names the mix that all unsaid rates come from (`clean` if unsaid).

    Raises ValueError for what is not JSON, an unknown name, or a value that is no rate.
    """
    told = json.loads(text)
    if not isinstance(told, dict):
        raise ValueError("A mix is a JSON object.")
    base = MIXES.get(str(told.pop("base", "clean")))
    if base is None:
        raise ValueError(f"`base` is one of {', '.join(MIXES)}.")
    sides = {side: _rates(getattr(base, side), side, told.pop(side, {})) for side in ("record", "query")}
    name = told.pop("name", "custom")
    if not isinstance(name, str):
        raise ValueError("`name` is text.")
    numbers = _numbers("mix", told, tuple(field.name for field in fields(Mix) if field.name.startswith("sl")))
    mix = replace(base, name=name, record=sides["record"], query=sides["query"], **numbers)
    mix.check()
    return mix


def _rates(base: Rates, side: str, told: object) -> Rates:
    return replace(base, **_numbers(side, told, RATE_NAMES))


def _numbers(where: str, told: object, allowed: tuple[str, ...]) -> dict[str, float]:
    if not isinstance(told, dict):
        raise ValueError(f"`{where}` is a JSON object.")
    for name, value in told.items():
        if name not in allowed:
            raise ValueError(f"`{where}` knows no {name!r}.")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"`{where}.{name}` is no number.")
    return {name: float(value) for name, value in told.items()}
