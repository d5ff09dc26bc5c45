"""Generate synthetic agency files for the demo and the tests: `tools/generate_officers.py DIR [--seed N]`.

Rules of this file:
- nobody here exists: names are drawn from public frequency lists, everything else is invented; any likeness
  is chance; narratives are neutral and say nothing of victims, witnesses or statements;
- the same arguments give the same octets: no clock, no hash order, one random stream an agency;
- every row is valid under RECORDS.md §3; the rows of `HELD` reasons are valid too, but their fair-process
  gate is closed (§3.5);
- the planted people are fixed: they do not depend on the seed, and no random person has their surname.

Surnames: the 400 most frequent of the 1990 United States Census (a work of the United States Government),
as shipped in the PyPI package `names` 0.3.0 (MIT). Nicknames: candor_proto.name_tables, which says its own.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from candor_proto.name_tables import CANONICAL_FORMS, FREQUENCY
from candor_proto.normalise import Particulars, refusal
from candor_records.kinds import FIELDS
from tools.officer_details import details

FIRST_COLUMNS = (
    "agency_record_id", "record_kind", "first", "middle", "last", "suffix", "former_last", "birth_date",
    "ssn4", "sex", "post_state", "post_id", "effective_on", "decided_on", "decision_maker",
    "standard_of_proof", "notice_given_on", "notice_method", "opportunity", "opportunity_on", "finality",
    "appeal_until", "subject_notified_on", "sharing", "on_duty", "use_of_force_related",
    "allegation_categories", "source_of_record", "narrative",
)  # fmt: skip
COLUMNS = (*FIRST_COLUMNS, *FIELDS)

# Decisions lie in a window that default retention (RECORDS.md §3.4: five years) does not close for years.
FIRST_DECISION = date(2023, 1, 9)
LAST_DECISION = date(2026, 8, 31)
# An appeal time that runs on while the demo is shown.
APPEAL_UNTIL = date(2031, 12, 31)
MIN_AGENCIES = 3


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SURNAMES = _words("""
Smith Johnson Williams Jones Brown Davis Miller Wilson Moore Taylor Anderson Thomas Jackson White Harris
Martin Thompson Garcia Martinez Robinson Clark Rodriguez Lewis Lee Walker Hall Allen Young Hernandez
King Wright Lopez Hill Scott Green Adams Baker Gonzalez Nelson Carter Mitchell Perez Roberts Turner
Phillips Campbell Parker Evans Edwards Collins Stewart Sanchez Morris Rogers Reed Cook Morgan Bell
Murphy Bailey Rivera Cooper Richardson Cox Howard Ward Torres Peterson Gray Ramirez James Watson Brooks
Kelly Sanders Price Bennett Wood Barnes Ross Henderson Coleman Jenkins Perry Powell Long Patterson
Hughes Flores Washington Butler Simmons Foster Gonzales Bryant Alexander Russell Griffin Diaz Hayes
Myers Ford Hamilton Graham Sullivan Wallace Woods Cole West Jordan Owens Reynolds Fisher Ellis Harrison
Gibson Mcdonald Cruz Marshall Ortiz Gomez Murray Freeman Wells Webb Simpson Stevens Tucker Porter Hunter
Hicks Crawford Henry Boyd Mason Morales Kennedy Warren Dixon Ramos Reyes Burns Gordon Shaw Holmes Rice
Robertson Hunt Black Daniels Palmer Mills Nichols Grant Knight Ferguson Rose Stone Hawkins Dunn Perkins
Hudson Spencer Gardner Stephens Payne Pierce Berry Matthews Arnold Wagner Willis Ray Watkins Olson
Carroll Duncan Snyder Hart Cunningham Bradley Lane Andrews Ruiz Harper Fox Riley Armstrong Carpenter
Weaver Greene Lawrence Elliott Chavez Sims Austin Peters Kelley Franklin Lawson Fields Gutierrez Ryan
Schmidt Carr Vasquez Castillo Wheeler Chapman Oliver Montgomery Richards Williamson Johnston Banks Meyer
Bishop Mccoy Howell Alvarez Morrison Hansen Fernandez Garza Harvey Little Burton Stanley Nguyen George
Jacobs Reid Kim Fuller Lynch Dean Gilbert Garrett Romero Welch Larson Frazier Burke Hanson Day Mendoza
Moreno Bowman Medina Fowler Brewer Hoffman Carlson Silva Pearson Holland Douglas Fleming Jensen Vargas
Byrd Davidson Hopkins May Terry Herrera Wade Soto Walters Curtis Neal Caldwell Lowe Jennings Barnett
Graves Jimenez Horton Shelton Barrett Obrien Castro Sutton Gregory Mckinney Lucas Miles Craig Rodriquez
Chambers Holt Lambert Fletcher Watts Bates Hale Rhodes Pena Beck Newman Haynes Mcdaniel Mendez Bush
Vaughn Parks Dawson Santiago Norris Hardy Love Steele Curry Powers Schultz Barker Guzman Page Munoz Ball
Keller Chandler Weber Leonard Walsh Lyons Ramsey Wolfe Schneider Mullins Benson Sharp Bowen Daniel
Barber Cummings Hines Baldwin Griffith Valdez Hubbard Salazar Reeves Warner Stevenson Burgess Santos
Tate Cross Garner Mann Mack Moss Thornton Dennis Mcgee Farmer Delgado Aguilar Vega Glover Manning Cohen
Harmon Rodgers Robbins Newton Todd Blair Higgins Ingram Reese Cannon Strickland Townsend Potter Goodwin
Walton Rowe Hampton Ortega Patton Swanson Joseph Francis Goodman Maldonado Yates Becker Erickson Hodges
Rios Conner Adkins Webster Norman Malone Hammond Flowers Cobb
""")

MALE = _words("""
James John Robert Michael William David Richard Charles Joseph Thomas Christopher Daniel Paul Mark
Donald George Kenneth Steven Edward Brian Ronald Anthony Kevin Jason Matthew Gary Timothy Jose Larry
Jeffrey Frank Scott Eric Stephen Andrew Raymond Gregory Joshua Jerry Dennis Walter Patrick Peter Harold
Douglas Henry Carl Arthur Ryan Roger Joe Juan Jack Albert Jonathan Justin Terry Gerald Keith Samuel
Willie Ralph Lawrence Nicholas Roy Benjamin Bruce Brandon Adam Harry Fred Wayne Billy Steve Louis Jeremy
Aaron Randy Howard Eugene Carlos Russell Bobby Victor Martin Ernest Phillip Todd Jesse Craig
""")

FEMALE = _words("""
Mary Patricia Linda Barbara Elizabeth Jennifer Maria Susan Margaret Dorothy Lisa Nancy Karen Betty Helen
Sandra Donna Carol Ruth Sharon Michelle Laura Sarah Kimberly Deborah Jessica Shirley Cynthia Angela
Melissa Brenda Amy Anna Rebecca Virginia Kathleen Pamela Martha Debra Amanda Stephanie Carolyn Christine
Marie Janet Catherine Frances Ann Joyce Diane Alice Julie Heather Teresa Doris Gloria Evelyn Jean Cheryl
Mildred Katherine Joan Ashley Judith Rose Janice Kelly Nicole Judy Christina Kathy Theresa Beverly
Denise Tammy Irene Jane Lori Rachel Marilyn Andrea Kathryn Louise Sara Anne Jacqueline Wanda Bonnie
Julia Ruby
""")

# Marks, particles and apostrophes, which the census list does not have.
OTHER_SURNAMES = (
    "Peña", "Núñez", "Muñoz", "O'Brien", "O'Neill", "de la Cruz", "St. John", "Sørensen", "Müller",
    "Łukaszewski", "Nguyễn", "Đặng", "Strauß", "D'Angelo", "van der Berg", "Begaye",
)  # fmt: skip
OTHER_GIVEN = {"M": ("José", "Andrés", "Łukasz", "Søren", "Jean-Luc"), "F": ("Zoë", "Renée", "Anaïs", "Þóra")}

STATES = ("OH", "TX", "MA", "PA", "CA", "NH", "RI", "CT")

CATEGORIES = (
    "DISHONESTY", "ABUSE_OF_POWER", "EXCESSIVE_FORCE", "SEXUAL_ASSAULT", "BIAS", "EGREGIOUS_OR_REPEATED",
    "GANG_PARTICIPATION", "FAILURE_TO_COOPERATE", "FAILURE_TO_INTERCEDE",
)  # fmt: skip
FORCE_TYPES = (
    "DEADLY", "LESS_LETHAL", "NECK_RESTRAINT", "UNHOLSTERED", "K9", "VEHICLE", "RESTRAINT_POSITION",
    "FAILURE_TO_RENDER_AID",
)  # fmt: skip

Row = dict[str, str]


@dataclass(frozen=True)
class AgencyFile:
    """The rows that one agency imports; every row has exactly `COLUMNS`, in that order."""

    node_id: str
    rows: tuple[Row, ...]

    def text(self) -> str:
        """The CSV file: header row, comma, CRLF-free."""
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return out.getvalue()


@dataclass(frozen=True)
class Planted:
    """A person of the demo: what the applicant's form says, and the record there is, if any.

    `agency` counts from 0 in the list of files; None means no record anywhere. `expect` says what a
    detailed lookup for `applicant` shows.
    """

    name: str
    applicant: Particulars
    agency: int | None
    row: Row | None
    expect: str


@dataclass(frozen=True)
class _Kind:
    """How records of one kind are decided (RECORDS.md §3.3, §3.4)."""

    name: str
    share: int
    decision_makers: tuple[str, ...]
    standard: str
    notice_methods: tuple[str, ...]
    sources: tuple[str, ...]
    narrative: str


_PERSONNEL = ("MAIL", "IN_PERSON", "COUNSEL")
KINDS = (
    _Kind(
        "TERMINATION_FOR_CAUSE", 30, ("CHIEF", "TRIAL_BOARD", "ARBITRATOR", "CIVIL_SERVICE"),
        "PREPONDERANCE", _PERSONNEL, ("PERSONNEL_ACTION",),
        "Employment ended after a sustained finding. Synthetic record.",
    ),
    _Kind(
        "SEPARATION_UNDER_INVESTIGATION", 10, (), "", _PERSONNEL, ("PERSONNEL_ACTION",),
        "The officer left while an investigation was open; no finding was made. Synthetic record.",
    ),
    _Kind(
        "DECERTIFICATION", 18, ("POST",), "CLEAR_AND_CONVINCING", ("MAIL", "COUNSEL"), ("POST_ORDER",),
        "The certificate was revoked by order of the issuing body. Synthetic record.",
    ),
    _Kind(
        "CRIMINAL_CONVICTION", 8, ("COURT",), "BEYOND_REASONABLE_DOUBT", ("COURT_SERVICE",), ("COURT",),
        "A court entered a judgment of conviction. Synthetic record.",
    ),
    _Kind(
        "CIVIL_JUDGMENT", 8, ("COURT",), "PREPONDERANCE", ("COURT_SERVICE",), ("COURT",),
        "A court entered judgment after trial. Synthetic record.",
    ),
    _Kind(
        "SUSTAINED_FORCE_FINDING", 16, ("CHIEF", "TRIAL_BOARD"), "PREPONDERANCE", _PERSONNEL,
        ("PERSONNEL_ACTION", "OVERSIGHT_BODY"),
        "A use-of-force review sustained the finding. Synthetic record.",
    ),
    _Kind(
        "COMMENDATION", 10, (), "", (), ("PERSONNEL_ACTION",),
        "An award for service was given. Synthetic record.",
    ),
)  # fmt: skip
_KIND = {kind.name: kind for kind in KINDS}
_FORCE_KINDS = ("SUSTAINED_FORCE_FINDING", "CIVIL_JUDGMENT")

_PARTICULAR_COLUMNS = (
    "first", "middle", "last", "suffix", "former_last", "birth_date", "ssn4", "sex", "post_state", "post_id",
)  # fmt: skip


# --- people ------------------------------------------------------------------------------------------


def _nicknames() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for nickname, forms in CANONICAL_FORMS.items():
        for form in forms:
            found.setdefault(form, []).append(nickname)
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


_NICKNAMES = _nicknames()


def _given(draw: random.Random, sex: str) -> str:
    if draw.random() < 0.02:
        return draw.choice(OTHER_GIVEN[sex])
    names = MALE if sex == "M" else FEMALE
    return draw.choices(names, [FREQUENCY.get(name.lower(), 40) for name in names])[0]


def _surname(draw: random.Random) -> str:
    if draw.random() < 0.04:
        return draw.choice(OTHER_SURNAMES)
    # Zipf by rank is close to the census list.
    return draw.choices(SURNAMES, [1 / (rank + 10) for rank in range(len(SURNAMES))])[0]


def _person(draw: random.Random) -> Particulars:
    sex = "F" if draw.random() < 0.15 else "M"
    first, middle = _given(draw, sex), _given(draw, sex)
    last = _surname(draw)
    hyphen = draw.random() < (0.08 if sex == "F" else 0.01)
    born = date(1962, 1, 1) + timedelta(days=draw.randrange(14_600))
    return Particulars(
        first=first,
        middle=draw.choice(("", "", middle, middle[:1])) if middle != first else "",
        last=f"{last}-{_surname(draw)}" if hyphen else last,
        suffix=draw.choice(("Jr", "Sr", "III")) if draw.random() < 0.03 else "",
        former_last=_surname(draw) if sex == "F" and draw.random() < 0.15 else "",
        birth_date=born.isoformat(),
        ssn4="" if draw.random() < 0.12 else _drawn(draw, "ssn4", 10_000),
        sex="" if draw.random() < 0.05 else sex,
        **_certificate(draw),
    )


def _certificate(draw: random.Random) -> dict[str, str]:
    if draw.random() < 0.35:
        return {"post_state": "", "post_id": ""}
    return {"post_state": draw.choice(STATES), "post_id": _drawn(draw, "post_id", 1_000_000)}


def _drawn(draw: random.Random, field: str, below: int) -> str:
    """Digits that intake takes: drawn again where they are a placeholder, such as 9999, or too short."""
    while refusal(field, digits := str(draw.randrange(1, below)).zfill(len(str(below)) - 1)):
        pass
    return digits


def _slip(draw: random.Random, name: str) -> str:
    """One typing error: two letters exchanged, one left out, or one doubled."""
    if len(name) < 4:
        return name
    at = draw.randrange(1, len(name) - 1)
    exchanged = name[:at] + name[at + 1] + name[at] + name[at + 2 :]
    return draw.choice((exchanged, name[:at] + name[at + 1 :], name[:at] + name[at - 1 :]))


def _as_filed_elsewhere(draw: random.Random, person: Particulars) -> Particulars:
    """The same person as another agency writes it down."""
    nicknames = _NICKNAMES.get(person.first.lower(), ())
    if nicknames and draw.random() < 0.35:
        person = replace(person, first=draw.choice(nicknames).capitalize())
    if draw.random() < 0.15:
        person = replace(person, last=_slip(draw, person.last))
    if draw.random() < 0.4:
        person = replace(person, middle=person.middle[:1])
    if draw.random() < 0.15:
        person = replace(person, ssn4="")
    if draw.random() < 0.1 and not person.former_last:
        person = replace(person, former_last=person.last, last=_surname(draw))
    if draw.random() < 0.3:
        person = replace(person, **_certificate(draw))
    return person


# --- rows --------------------------------------------------------------------------------------------


def _row(identifier: str, kind: _Kind, person: Particulars, sharing: str, **values: str) -> Row:
    row = dict.fromkeys(FIRST_COLUMNS, "")
    row |= {"agency_record_id": identifier, "record_kind": kind.name, "sharing": sharing}
    row |= {name: getattr(person, name) for name in _PARTICULAR_COLUMNS}
    row |= {"narrative": kind.narrative} | values
    return row | details(row)


def _decision(draw: random.Random, kind: _Kind, decided: date) -> dict[str, str]:
    """The columns of a completed decision whose gate is open (RECORDS.md §3.3, §3.5)."""
    notice = decided - timedelta(days=draw.randrange(40, 120))
    opportunity = notice + timedelta(days=draw.randrange(7, 30))
    columns = {
        "effective_on": (decided + timedelta(days=draw.choice((0, 0, 1, 14)))).isoformat(),
        "decided_on": decided.isoformat(),
        "standard_of_proof": kind.standard,
        "notice_given_on": notice.isoformat(),
        "notice_method": draw.choice(kind.notice_methods),
        "opportunity": draw.choice(("OFFERED_HELD", "OFFERED_HELD", "OFFERED_WAIVED")),
        "opportunity_on": opportunity.isoformat(),
        "finality": draw.choice(("FINAL", "FINAL", "EXHAUSTED", "WAIVED")),
        "subject_notified_on": (decided + timedelta(days=draw.randrange(3, 15))).isoformat(),
        "source_of_record": draw.choice(kind.sources),
    }
    if kind.decision_makers:
        columns["decision_maker"] = draw.choice(kind.decision_makers)
    return columns


def _conduct(draw: random.Random, kind: _Kind) -> dict[str, str]:
    force = kind.name in _FORCE_KINDS
    categories = ["EXCESSIVE_FORCE", draw.choice(FORCE_TYPES)] if force else [draw.choice(CATEGORIES)]
    return {
        "on_duty": "YES" if force else draw.choice(("YES", "YES", "NO", "UNKNOWN")),
        "use_of_force_related": "YES" if force or "EXCESSIVE_FORCE" in categories else "NO",
        "allegation_categories": ";".join(categories),
    }


def _no_notice(columns: dict[str, str]) -> dict[str, str]:
    """HELD: no notice was given and nothing was offered."""
    return columns | {
        "notice_given_on": "",
        "notice_method": "",
        "opportunity": "NOT_OFFERED",
        "opportunity_on": "",
    }


def _appeal_time_running(columns: dict[str, str]) -> dict[str, str]:
    """HELD: the decision can still be appealed."""
    return columns | {"finality": "APPEAL_TIME_RUNNING", "appeal_until": APPEAL_UNTIL.isoformat()}


def _record(draw: random.Random, identifier: str, kind: _Kind, person: Particulars) -> Row:
    """One row of `kind`; about one adjudicated row in thirty is HELD."""
    decided = FIRST_DECISION + timedelta(days=draw.randrange((LAST_DECISION - FIRST_DECISION).days))
    if kind.name == "COMMENDATION":
        # No due process is owed for an award: those columns stay empty.
        return _row(
            identifier, kind, person, "GREEN",
            effective_on=decided.isoformat(), on_duty="NOT_APPLICABLE", use_of_force_related="NOT_APPLICABLE",
            source_of_record="PERSONNEL_ACTION",
        )  # fmt: skip
    columns = _decision(draw, kind, decided) | _conduct(draw, kind)
    if kind.name == "SEPARATION_UNDER_INVESTIGATION":
        # Advisory: nothing was decided and nothing is final (§3.5); YELLOW is the floor (§3.6).
        undecided = dict.fromkeys(("decided_on", "standard_of_proof", "finality"), "")
        return _row(identifier, kind, person, draw.choice(("YELLOW", "YELLOW", "RED")), **columns | undecided)
    held = draw.random()
    if held < 0.015:
        columns = _no_notice(columns)
    elif held < 0.035:
        columns = _appeal_time_running(columns)
    sharing = draw.choices(("GREEN", "YELLOW", "RED"), (25, 65, 10))[0]
    return _row(identifier, kind, person, sharing, **columns)


# --- the planted people ------------------------------------------------------------------------------


def _planted_row(agency: int, kind: str, person: Particulars, sharing: str, held: str = "") -> Row:
    """A planted record: the same whatever the seed."""
    draw = random.Random(f"planted {person.last} {person.first}")
    columns = _decision(draw, _KIND[kind], date(2025, 3, 18)) | _conduct(draw, _KIND[kind])
    if held == "no notice":
        columns = _no_notice(columns)
    elif held == "appeal":
        columns = _appeal_time_running(columns)
    identifier = f"{agency + 1:02d}-P{draw.randrange(1000, 10_000)}"
    return _row(identifier, _KIND[kind], person, sharing, **columns)


def planted() -> tuple[Planted, ...]:
    """The people that a demo asks about, by name; the same for every seed."""
    wanderer = Particulars(
        first="Michael", middle="Andrew", last="Brannigan", birth_date="1987-03-14", ssn4="4827", sex="M",
        post_state="TX", post_id="208415",
    )  # fmt: skip
    twin = Particulars(
        first="Daniel", last="Okonkwo", birth_date="1990-09-26", ssn4="3315", sex="M", post_state="OH",
        post_id="661204",
    )  # fmt: skip
    father = Particulars(
        first="Robert", middle="Lee", last="Haverford", suffix="Sr", birth_date="1963-06-21", ssn4="1180",
        sex="M", post_state="PA", post_id="077341",
    )  # fmt: skip
    green = Particulars(
        first="Teresa", last="Quintanilla", birth_date="1982-12-05", ssn4="7702", sex="F", post_state="CA",
        post_id="550918",
    )  # fmt: skip
    red = Particulars(
        first="Walter", middle="J", last="Szczepanski", birth_date="1976-04-30", ssn4="9046", sex="M",
        post_state="MA", post_id="314420",
    )  # fmt: skip
    unheard = Particulars(first="Grace", last="Abernathy", birth_date="1993-02-11", ssn4="6158", sex="F")
    appealing = Particulars(first="Oscar", last="Delacroix", birth_date="1985-10-08", ssn4="2291", sex="M")
    clean = Particulars(
        first="Hannah", middle="Ruth", last="Winterbourne", birth_date="1995-07-19", ssn4="5534", sex="F"
    )
    return (
        Planted(
            "wandering",
            replace(wanderer, first="Mike", middle="", last="Branigan", post_state="", post_id=""), 1,
            _planted_row(1, "TERMINATION_FOR_CAUSE", wanderer, "YELLOW"),
            "opens behind a nickname and a typing error; strong; a person at the owner releases",
        ),
        Planted(
            "twin", replace(twin, first="David", ssn4="3316", post_state="", post_id=""), 2,
            _planted_row(2, "SUSTAINED_FORCE_FINDING", twin, "YELLOW"),
            "opens on surname, initial and birth date; below; never strong: a twin",
        ),
        Planted(
            "father and son",
            replace(father, suffix="Jr", birth_date="1991-06-21", ssn4="7713", post_state="", post_id=""), 2,
            _planted_row(2, "DECERTIFICATION", father, "YELLOW"),
            "opens on the names and a shared birthday; review: another suffix, last four and year of birth",
        ),
        Planted("clean", clean, None, None, "no record at any node"),
        Planted(
            "green", green, 0, _planted_row(0, "DECERTIFICATION", green, "GREEN"),
            "strong; released by the owner's standing rule",
        ),
        Planted(
            "red", red, 2, _planted_row(2, "TERMINATION_FOR_CAUSE", red, "RED"),
            "strong; the owner declines every release",
        ),
        Planted(
            "held without notice", unheard, 0,
            _planted_row(0, "TERMINATION_FOR_CAUSE", unheard, "YELLOW", held="no notice"),
            "no record found: HELD, for no notice was given and no hearing offered",
        ),
        Planted(
            "held on appeal", appealing, 1,
            _planted_row(1, "TERMINATION_FOR_CAUSE", appealing, "YELLOW", held="appeal"),
            "no record found: HELD while the time to appeal runs",
        ),
    )  # fmt: skip


# --- files -------------------------------------------------------------------------------------------


def generate(
    seed: int, agencies: int = 5, officers_per_agency: int = 300, node_ids: Sequence[str] | None = None
) -> list[AgencyFile]:
    """One file for each agency, `officers_per_agency` rows each, the planted ones among them.

    About one officer in ten has another record at an earlier agency, written down differently. Raises
    ValueError for fewer than 3 agencies or fewer than 10 rows each.
    """
    if agencies < MIN_AGENCIES or officers_per_agency < 10:
        raise ValueError(
            f"At least {MIN_AGENCIES} agencies of 10 officers are needed for the planted people."
        )
    names = list(node_ids) if node_ids is not None else [f"agency-{n + 1}" for n in range(agencies)]
    if len(names) != agencies:
        raise ValueError("One node id for each agency.")
    everybody: list[Particulars] = []
    files = []
    for agency, node_id in enumerate(names):
        draw = random.Random(f"candor officers {seed} {agency}")
        rows = [case.row for case in planted() if case.agency == agency and case.row]
        for number in range(officers_per_agency - len(rows)):
            wandered = everybody and draw.random() < 0.1
            person = _as_filed_elsewhere(draw, draw.choice(everybody)) if wandered else _person(draw)
            kind = draw.choices(KINDS, [kind.share for kind in KINDS])[0]
            rows.append(_record(draw, f"{agency + 1:02d}-{number + 1:05d}", kind, person))
            everybody.append(person)
        draw.shuffle(rows)
        files.append(AgencyFile(node_id, tuple(rows)))
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description="Write synthetic agency files for the demo.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--agencies", type=int, default=5)
    parser.add_argument("--officers", type=int, default=300, help="rows for each agency (default 300)")
    parser.add_argument("--node", action="append", help="a node id for each agency, in order")
    parser.add_argument("--planted", type=Path, help="also write the planted people to this JSON file")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for file in generate(arguments.seed, arguments.agencies, arguments.officers, arguments.node):
        (arguments.folder / f"{file.node_id}.csv").write_text(file.text(), encoding="utf-8")
    if arguments.planted:
        people = [asdict(case) for case in planted()]
        arguments.planted.write_text(
            json.dumps(people, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
