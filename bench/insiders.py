"""Do the detectors of misuse find planted misuse, and how often do they cry wolf? (RELIABILITY.md §8)

Synthetic years of 300 users: whom an agency asks about, how often, and among it planted misuse of each kind.
The limits of `candor_records.detectors` were chosen on seed 1; what is reported is of other seeds. Everything
here is made up: volumes, surnames by census-like steps, a share of women of its own for each user, surges,
repeated checks of one applicant. It says how the limits behave on these assumptions, not how real misuse
looks.

    python -m bench.insiders            writes bench/results/insiders.json
    python -m bench.insiders --seed 1   only prints, for choosing limits
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from candor_proto.evidence import Rarity
from candor_records.detectors import HISTORY, WEEK, Acted, Alert, Asked, Detector, Profile, Requested, detect

USERS, WEEKS, WARM_UP = 300, 52, 20
PLANTED_OF_EACH = 60
CHOSEN_ON, REPORTED = 1, (2, 3, 4)
START = datetime(2026, 1, 5, tzinfo=UTC)
RESULTS = Path(__file__).parent / "results" / "insiders.json"
# Weeks after the misuse in which its events still count.
LOOK_BACK = {Detector.SURNAME: 6, Detector.SEX_SKEW: 8, Detector.HOT_SUBJECT: 4, Detector.HOT_RECORD: 4}


@dataclass(frozen=True)
class Misuse:
    """One planted misuse: of which kind, by whom (or about which person), in which weeks it shows."""

    detector: Detector
    who: str
    weeks: frozenset[int]


@dataclass
class Year:
    """A year of one agency's lookups."""

    profiles: list[Profile] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    acted: list[Acted] = field(default_factory=list)
    requested: list[Requested] = field(default_factory=list)
    planted: list[Misuse] = field(default_factory=list)


class Maker:
    """Makes a year from a seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.year = Year()
        self.count = 0
        # Surnames by rank: the commonest is borne by 0.9 %, the tail by next to nobody.
        self.weights = [0.09 / (rank + 10) for rank in range(40_000)]
        self.cumulative: list[float] = []
        total = 0.0
        for weight in self.weights:
            total += weight
            self.cumulative.append(total)
        self.total = total

    def surname(self) -> int:
        return self.draw.choices(range(len(self.weights)), cum_weights=self.cumulative)[0]

    def rarity(self, rank: int) -> Rarity:
        share = self.weights[rank] / self.total
        if share >= 0.001:
            return Rarity.VERY_COMMON
        return Rarity.COMMON if share >= 0.0001 else Rarity.RARE

    def person(self, surname: int | None = None, women: float = 0.22) -> tuple[str, str, str, str]:
        """Person, full name, surname and sex of somebody; 400 given names, commoner ones first."""
        self.count += 1
        last = self.surname() if surname is None else surname
        first = min(399, int(self.draw.expovariate(1 / 60)))
        sex = "F" if self.draw.random() < women else "M"
        return f"p{self.count}", f"n{first}.{last}", f"s{last}", sex

    def ask(self, user: str, week: int, about: tuple[str, str, str, str], *, in_batch: bool = False) -> None:
        at = START + week * WEEK + timedelta(seconds=self.draw.randrange(7 * 86_400))
        person, name, surname, sex = about
        number = f"{len(self.year.asked):032x}"
        self.year.asked.append(
            Asked(number, user, at, person.encode(), name.encode(), surname.encode(), sex, in_batch)
        )

    def poisson(self, mean: float) -> int:
        return sum(self.draw.random() < mean / 200 for _ in range(200)) if mean < 60 else round(mean)

    def make(self) -> Year:
        own_names: dict[str, tuple[int, int]] = {}
        for number in range(USERS):
            user, last = f"user-{number:03d}", self.surname()
            first = min(399, int(self.draw.expovariate(1 / 60)))
            own_names[user] = (first, last)
            self.year.profiles.append(
                Profile(user, f"n{first}.{last}".encode(), f"s{last}".encode(), self.rarity(last))
            )
        for profile in self.year.profiles:
            self.ordinary(profile.user)
        self.plant(own_names)
        self.year.asked.sort(key=lambda each: each.at)
        return self.year

    def ordinary(self, user: str) -> None:
        """Uneven users, busy seasons, weeks off, surges, batches, applicants who are checked again."""
        rate = self.draw.lognormvariate(math.log(6), 0.6)
        women = self.draw.betavariate(0.22 * 25, 0.78 * 25)
        recent: list[tuple[str, str, str, str]] = []
        for week in range(WEEKS):
            if self.draw.random() < 0.08:
                continue
            season = 1.6 if week % 26 in (8, 9, 10) else 1.0
            surge = self.draw.uniform(1.5, 3.0) if self.draw.random() < 0.02 else 1.0
            mean = rate * season * surge * self.draw.gammavariate(6, 1 / 6)
            for _ in range(self.poisson(mean)):
                again = recent and self.draw.random() < 0.06
                about = self.draw.choice(recent) if again else self.person(women=women)
                self.ask(user, week, about)
                recent = [*recent[-7:], about]
                # A colleague takes a case over, or checks it again.
                if self.draw.random() < 0.04:
                    other = self.draw.choice(self.year.profiles).user
                    self.ask(other, min(WEEKS - 1, week + self.draw.randrange(2)), about)
            if self.draw.random() < 0.01:
                for _ in range(self.draw.randrange(20, 120)):
                    self.ask(user, week, self.person(women=women), in_batch=True)

    # --- misuse ------------------------------------------------------------------------------------------

    def plant(self, own_names: dict[str, tuple[int, int]]) -> None:
        names = [profile.user for profile in self.year.profiles]
        leavers = set(self.draw.sample(names, PLANTED_OF_EACH))
        staying = [name for name in names if name not in leavers]
        for _ in range(PLANTED_OF_EACH):
            self.plant_self(self.draw.choice(staying), own_names)
            self.plant_surname(self.draw.choice(staying), own_names)
            self.plant_hot_subject(staying)
            self.plant_volume(self.draw.choice(staying))
            self.plant_hot_record()
        for user in self.draw.sample(staying, PLANTED_OF_EACH):
            self.plant_skew(user)
        for user in leavers:
            self.plant_leaver(user)

    def _week(self, length: int = 1) -> int:
        return self.draw.randrange(WARM_UP, WEEKS - length)

    def _planted(self, detector: Detector, who: str, weeks: Sequence[int]) -> None:
        self.year.planted.append(Misuse(detector, who, frozenset(weeks)))

    def plant_self(self, user: str, own_names: dict[str, tuple[int, int]]) -> None:
        week, (first, last) = self._week(), own_names[user]
        self.count += 1
        self.ask(user, week, (f"p{self.count}", f"n{first}.{last}", f"s{last}", "M"))
        self._planted(Detector.SELF, user, [week])

    def plant_surname(self, user: str, own_names: dict[str, tuple[int, int]]) -> None:
        """Several relatives within three weeks."""
        week, length = self._week(3), 3
        for _ in range(self.draw.randrange(3, 8)):
            self.ask(user, week + self.draw.randrange(length), self.person(own_names[user][1], 0.5))
        self._planted(Detector.SURNAME, user, range(week, week + length))

    def plant_hot_subject(self, names: Sequence[str]) -> None:
        """Somebody in the news, whom many look up; or one user who follows one person."""
        week, about = self._week(3), self.person(women=0.7)
        if self.draw.random() < 0.5:
            for user in self.draw.sample(names, self.draw.randrange(5, 40)):
                self.ask(user, week + self.draw.randrange(3), about)
        else:
            user = self.draw.choice(names)
            for _ in range(self.draw.randrange(9, 30)):
                self.ask(user, week + self.draw.randrange(3), about)
        self._planted(Detector.HOT_SUBJECT, about[0], range(week, week + 3))

    def plant_leaver(self, user: str) -> None:
        """Ends; what the ordinary year still holds of this user after that day is taken out, some is left."""
        week = self._week(4)
        ended = START + week * WEEK
        position = next(i for i, each in enumerate(self.year.profiles) if each.user == user)
        known = self.year.profiles[position]
        self.year.profiles[position] = Profile(user, known.full_name, known.surname, known.rarity, ended)
        self.year.asked = [each for each in self.year.asked if each.user != user or each.at < ended]
        for number in range(self.draw.randrange(1, 4)):
            at = ended + timedelta(hours=self.draw.randrange(1, 24 * 7))
            self.year.acted.append(Acted(user, at, f"ledger:{number}"))
        self._planted(Detector.LEAVER, user, [week])

    def plant_volume(self, user: str) -> None:
        """A week of browsing: four to eight times what the user usually asks."""
        week = self._week()
        usual = sum(each.user == user and not each.in_batch for each in self.year.asked) / WEEKS
        for _ in range(max(30, round(usual * self.draw.uniform(4, 8)))):
            self.ask(user, week, self.person())
        self._planted(Detector.VOLUME, user, [week])

    def plant_skew(self, user: str) -> None:
        """Over eight weeks, forty to eighty lookups that are nearly all of women, spread out."""
        week = self._week(8)
        for _ in range(self.draw.randrange(40, 80)):
            self.ask(user, week + self.draw.randrange(8), self.person(women=0.94))
        self._planted(Detector.SEX_SKEW, user, range(week, min(WEEKS, week + 10)))

    def plant_hot_record(self) -> None:
        week, record = self._week(2), f"r{self.count}-{self.draw.random()}"
        for number in range(self.draw.randrange(5, 12)):
            at = START + (week + self.draw.randrange(2)) * WEEK + timedelta(hours=number)
            self.year.requested.append(Requested(f"q{record}{number}", f"agency-{number}", record, at))
        self._planted(Detector.HOT_RECORD, record, range(week, week + 2))


def owner_noise(year: Year, seed: int) -> None:
    """Ordinary requests: a record is asked for by one to three agencies."""
    draw = random.Random(seed * 7 + 1)
    for number in range(2_000):
        week, record = draw.randrange(WEEKS), f"ordinary-{number}"
        for agency in range(draw.choices((1, 2, 3), (90, 8, 2))[0]):
            at = START + week * WEEK + timedelta(hours=draw.randrange(24 * 7))
            year.requested.append(Requested(f"o{number}{agency}", f"agency-{agency}", record, at))


# --- measuring -------------------------------------------------------------------------------------------


def measure(seed: int) -> dict[str, Any]:
    """Recall of each kind, and false alerts per 100 users a week, in one synthetic year."""
    year = Maker(seed).make()
    owner_noise(year, seed)
    people = {each.search_id: each.person.decode() for each in year.asked}
    records = {each.request_id: each.record for each in year.requested}
    alerts: list[tuple[int, str, Alert]] = []
    began = time.perf_counter()
    for week in range(WARM_UP, WEEKS):
        start = START + week * WEEK
        seen = [each for each in year.asked if start - HISTORY <= each.at < start + WEEK]
        for alert in detect(start, seen, year.profiles, year.acted, year.requested):
            who = alert.user
            if alert.detector is Detector.HOT_SUBJECT:
                who = people[alert.evidence[0]]
            elif alert.detector is Detector.HOT_RECORD:
                who = records[alert.evidence[0]]
            alerts.append((week, who, alert))
    seconds = time.perf_counter() - began
    found: dict[Detector, Counter[str]] = defaultdict(Counter)
    hit = {(alert.detector, who, week) for week, who, alert in alerts}
    for each in year.planted:
        caught = any((each.detector, each.who, week) in hit for week in each.weeks)
        found[each.detector]["caught" if caught else "missed"] += 1
    # An alert is true while misuse of its kind by that user, or about that subject, is within its look-back.
    guilty: dict[tuple[Detector, str], set[int]] = defaultdict(set)
    for each in year.planted:
        reach = range(min(each.weeks), max(each.weeks) + 1 + LOOK_BACK.get(each.detector, 0))
        guilty[each.detector, each.who].update(reach)
    false = Counter(alert.detector for week, who, alert in alerts if week not in guilty[alert.detector, who])
    user_weeks = USERS * (WEEKS - WARM_UP)
    return {
        "seed": seed,
        "searches": len(year.asked),
        "recall": {
            each.value: found[each]["caught"] / sum(found[each].values()) for each in Detector if found[each]
        },
        "false_alerts": {each.value: false[each] for each in Detector},
        "false_alerts_per_100_users_a_week": sum(false.values()) * 100 / user_weeks,
        "alerts": len(alerts),
        "seconds_a_week": seconds / (WEEKS - WARM_UP),
    }


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args(list(arguments))
    if given.seed is not None:
        print(json.dumps(measure(given.seed), indent=2))
        return
    years = [measure(seed) for seed in REPORTED]
    report = {
        "headline": {
            "lowest_recall_of_a_kind": min(min(year["recall"].values()) for year in years),
            "most_false_alerts_per_100_users_a_week": max(
                year["false_alerts_per_100_users_a_week"] for year in years
            ),
        },
        "what": "synthetic years of 300 users with planted misuse; limits chosen on another seed",
        "users": USERS,
        "weeks": WEEKS - WARM_UP,
        "planted_of_each": PLANTED_OF_EACH,
        "chosen_on_seed": CHOSEN_ON,
        "years": years,
    }
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
