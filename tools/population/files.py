"""A population: records, queries and which of them are the same person, streamed and the same every time.

Rules of this file:
- shares of every kind are exact counts, spread by sequential sampling (draw.Quota), so that a population of
  any size has the structure of the development sets and need not be held in memory;
- people, records and queries are drawn from streams of their own: with one seed, another mix writes down
  *the same people* differently;
- relatives stand next to each other in A, as in the development sets: tests shuffle first.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from tools.population.draw import Draw, Quota
from tools.population.errors import COLUMNS, LEVELS, Clerk, Row
from tools.population.mixes import DEV, Mix
from tools.population.origins import ORIGINS
from tools.population.people import Naming, Person, person, with_relative

AGENCIES = 400
# Shares measured on officers-dev and officers-devhard together.
SECOND_RECORD_SHARE = 0.0763  # of records
RELATIVE_SHARES = {"fatherson": 0.0100, "twin": 0.0068, "collision": 0.0119}  # of people with a record
MEMBER_SHARES = {"fatherson": 0.0262, "twin": 0.0158, "collision": 0.0288}  # of queries with a record
OTHER_SHARES = {"fatherson": 0.0668, "twin": 0.0542, "collision": 0.0866}  # of queries without one

TRUTH_COLUMNS = ("query_id", "rec_id")

Pair = tuple[str, str]


@dataclass(frozen=True)
class Labelled:
    """Records, queries, and the pairs (query id, record id) that are one person, in memory."""

    records: Sequence[Row]
    queries: Sequence[Row]
    truth: Sequence[Pair]


@dataclass(frozen=True)
class _Plan:
    """Exact counts. `inside` are relatives with a record, `outside` those who only ask."""

    people: int
    twice: int
    inside: dict[str, int]
    outside: dict[str, int]
    members: dict[str, int]
    others: int

    @property
    def units(self) -> int:
        """People with a record who are not the relative in a family of two."""
        return self.people - sum(self.inside.values())


def _plan(records: int, queries: int, members: float) -> _Plan:
    twice = round(records * SECOND_RECORD_SHARE)
    people = records - twice
    inside = {kind: round(people * share) for kind, share in RELATIVE_SHARES.items()}
    asked = round(queries * members)
    member = {kind: min(inside[kind], round(asked * share)) for kind, share in MEMBER_SHARES.items()}
    member["plain"] = asked - sum(member.values())
    outside = {kind: round((queries - asked) * share) for kind, share in OTHER_SHARES.items()}
    plan = _Plan(people, twice, inside, outside, member, queries - asked - sum(outside.values()))
    if member["plain"] > plan.units:
        raise ValueError("So many queries with a record need more records.")
    if sum(inside.values()) + sum(outside.values()) > plan.units:
        raise ValueError("Some queries without a record are relatives of others: they need more records.")
    return plan


class Population:
    """What `generate` makes. Reading `queries` or `truth` first costs one pass over the records."""

    def __init__(self, seed: int, plan: _Plan, mix: Mix, origins: str) -> None:
        self._name = f"candor population {seed} {origins}"
        self._plan = plan
        self._mix = mix
        self._naming: Naming = ORIGINS[origins]
        self._queries: list[Row] | None = None
        self._truth: list[Pair] = []

    @property
    def queries(self) -> list[Row]:
        """The rows of B in the order of their ids, which is random."""
        self._finish()
        return self._queries or []

    @property
    def truth(self) -> list[Pair]:
        """(query id, record id) of every true pair, sorted."""
        self._finish()
        return self._truth

    def _finish(self) -> None:
        if self._queries is None:
            for _ in self.records():
                pass

    def records(self) -> Iterator[Row]:
        """The rows of A, one after another; the same at every call."""
        writer = _Writer(self._name, self._plan, self._mix, self._naming)
        yield from writer.records()
        self._queries = sorted(writer.queries, key=attrgetter("rec_id"))
        self._truth = sorted(writer.truth)


class _Writer:
    """One pass: owns the streams and what is left of the plan."""

    def __init__(self, name: str, plan: _Plan, mix: Mix, naming: Naming) -> None:
        self._plan = plan
        self._naming = naming
        self._people = Draw(f"{name} people")
        self._choices = Draw(f"{name} choices")
        self._filed = Draw(f"{name} records")
        self._asked = Draw(f"{name} queries")
        self._agencies = Clerk(mix, mix.record, naming)
        self._applicants = Clerk(mix, mix.query, naming)
        levels = Draw(f"{name} agencies")
        self._levels = [levels.below(LEVELS) for _ in range(AGENCIES)]
        # Ids of queries in random order, so that they say nothing.
        self._query_numbers = iter(
            self._choices.order(sum(plan.members.values()) + sum(plan.outside.values()) + plan.others)
        )
        self._twice = Quota(plan.twice, plan.people)
        totals = plan.inside | {"plain": plan.units}
        self._members = {kind: Quota(plan.members[kind], total) for kind, total in totals.items()}
        self._entities = 0
        self._rows = 0
        # Queries without a record get the last entity numbers, as in the development sets.
        self._outsiders = plan.people
        self.queries: list[Row] = []
        self.truth: list[Pair] = []

    def records(self) -> Iterator[Row]:
        left = self._plan.units
        kinds = {kind: count for kind, count in self._plan.inside.items() if count}
        outside = {kind: count for kind, count in self._plan.outside.items() if count}
        for _ in range(self._plan.units):
            at = self._choices.below(left)
            left -= 1
            kind, within = _taken(at, kinds, outside)
            if not kind:
                yield from self._file(person(self._people, self._naming), "plain")
                continue
            base, relative = with_relative(self._people, self._naming, kind)
            yield from self._file(base, "plain")
            if within:
                yield from self._file(relative, kind)
            else:
                self._ask_without_record(relative, kind)
        for _ in range(self._plan.others):
            self._ask_without_record(person(self._people, self._naming), "plain")

    def _file(self, somebody: Person, kind: str) -> Iterator[Row]:
        self._entities += 1
        entity = f"E{self._entities:07d}"
        member = self._members[kind].take(self._choices)
        query_id = self._ask(somebody, entity, kind) if member else ""
        agency = self._filed.below(AGENCIES)
        for number in range(1 + self._twice.take(self._choices)):
            # The second record lies at another agency.
            agency = (agency + number * (1 + self._filed.below(AGENCIES - 1))) % AGENCIES
            rec_id = f"A{self._rows:06d}"
            self._rows += 1
            labels = (rec_id, entity, f"AG{agency:03d}", kind)
            yield self._agencies.write(self._filed, somebody, self._levels[agency], labels)
            if member:
                self.truth.append((query_id, rec_id))

    def _ask_without_record(self, somebody: Person, kind: str) -> None:
        self._outsiders += 1
        self._ask(somebody, f"E{self._outsiders:07d}", f"nm_{kind}")

    def _ask(self, somebody: Person, entity: str, kind: str) -> str:
        query_id = f"Q{next(self._query_numbers):06d}"
        level = self._asked.below(LEVELS)
        row = self._applicants.write(self._asked, somebody, level, (query_id, entity, "APPL", kind))
        self.queries.append(row)
        return query_id


def _taken(at: int, inside: dict[str, int], outside: dict[str, int]) -> tuple[str, bool]:
    """The kind of family that place `at` falls on, one less of it being left; `""` for none."""
    for within, counts in ((True, inside), (False, outside)):
        for kind in counts:
            if at < counts[kind]:
                counts[kind] -= 1
                return kind, within
            at -= counts[kind]
    return "", False


def generate(
    seed: int,
    records: int = 20_000,
    queries: int = 5_000,
    mix: Mix = DEV,
    origins: str = "census",
    members: float = 0.5,
) -> Population:
    """A labelled population: the same arguments give the same octets, whatever platform or Python.

    `members` is the share of queries whose person has a record. Raises ValueError for a mix that is none, for
    unknown origins, or for more queries than the records have people and relatives for.
    """
    mix.check()
    if origins not in ORIGINS:
        raise ValueError(f"`origins` is one of {', '.join(ORIGINS)}.")
    if records < 1 or queries < 0 or not 0 <= members <= 1:
        raise ValueError("At least one record, no negative count, and `members` from 0 to 1.")
    return Population(seed, _plan(records, queries, members), mix, origins)


def held(population: Population) -> Labelled:
    """The whole population in memory: about 1 KB a row."""
    return Labelled(tuple(population.records()), population.queries, population.truth)


def write(data: Population | Labelled, folder: Path) -> None:
    """A.csv, B.csv and truth.csv in `folder`, which is made: UTF-8, LF, header row, empty for missing."""
    folder.mkdir(parents=True, exist_ok=True)
    values = attrgetter(*COLUMNS)
    # Records first: queries and truth are known when they have been streamed.
    records = data.records if isinstance(data, Labelled) else data.records()
    _write_csv(folder / "A.csv", COLUMNS, map(values, records))
    _write_csv(folder / "B.csv", COLUMNS, map(values, data.queries))
    _write_csv(folder / "truth.csv", TRUTH_COLUMNS, data.truth)


def read(folder: Path) -> Labelled:
    """What `write` wrote; columns that are not there are empty, others are dropped."""
    with (folder / "truth.csv").open(encoding="utf-8", newline="") as file:
        truth = [(row["query_id"], row["rec_id"]) for row in csv.DictReader(file)]
    return Labelled(_read_csv(folder / "A.csv"), _read_csv(folder / "B.csv"), truth)


def _write_csv(path: Path, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _read_csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return [Row(**{name: row.get(name) or "" for name in COLUMNS}) for row in csv.DictReader(file)]
