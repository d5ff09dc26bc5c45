"""Detectors of misuse, one pattern at a time; how often they are right is measured by bench/insiders.py."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.evidence import Rarity
from candor_records.detectors import (
    WEEK,
    Acted,
    Alert,
    Asked,
    Detector,
    Limits,
    Profile,
    Requested,
    binomial_tail,
    detect,
    poisson_tail,
)

START = datetime(2026, 11, 23, tzinfo=UTC)
DAY = timedelta(days=1)


class Log:
    """Makes searches with running ids."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def ask(
        self,
        user: str,
        person: str = "",
        *,
        at: datetime = START + DAY,
        name: str = "",
        surname: str = "",
        sex: str = "M",
        in_batch: bool = False,
    ) -> None:
        number = len(self.asked)
        person = person or f"person-{number}"
        self.asked.append(
            Asked(
                f"{number:032x}",
                user,
                at,
                person.encode(),
                (name or f"name-{number}").encode(),
                (surname or f"surname-{number}").encode(),
                sex,
                in_batch,
            )
        )

    def found(self, *profiles: Profile) -> list[Alert]:
        return detect(START, self.asked, profiles)


@pytest.fixture
def log() -> Log:
    return Log()


def test_nothing_happened_and_nothing_is_alerted() -> None:
    assert detect(START, [], [Profile("u-1")]) == []


def test_somebody_who_asks_about_their_own_name(log: Log) -> None:
    log.ask("u-1", name="own")
    log.ask("u-2", name="own")
    (alert,) = log.found(Profile("u-1", full_name=b"own"), Profile("u-2", full_name=b"other"))
    assert (alert.detector, alert.user, alert.evidence) == (Detector.SELF, "u-1", (f"{0:032x}",))


def test_what_was_before_the_week_is_not_alerted_again(log: Log) -> None:
    log.ask("u-1", name="own", at=START - DAY)
    log.ask("u-1", name="own", at=START + WEEK)
    assert log.found(Profile("u-1", full_name=b"own")) == []


def test_relatives_of_a_rare_name_are_alerted_and_namesakes_of_a_common_one_are_not(log: Log) -> None:
    for _ in range(3):
        log.ask("u-1", surname="rare")
        log.ask("u-2", surname="common")
    for _ in range(120):
        log.ask("u-2")
    found = log.found(
        Profile("u-1", surname=b"rare", rarity=Rarity.RARE),
        Profile("u-2", surname=b"common", rarity=Rarity.VERY_COMMON),
    )
    assert [(each.detector, each.user) for each in found if each.detector is Detector.SURNAME] == [
        (Detector.SURNAME, "u-1")
    ]


def test_a_surname_that_everybody_here_asks_about_is_no_alert(log: Log) -> None:
    for user in range(20):
        for _ in range(5):
            log.ask(f"u-{user}", surname="townsend")
    assert not log.found(Profile("u-1", surname=b"townsend", rarity=Rarity.RARE))


def test_one_person_asked_about_by_many_or_by_one_again_and_again(log: Log) -> None:
    for user in range(4):
        log.ask(f"u-{user}", "in-the-news")
    for _ in range(8):
        log.ask("u-9", "an-ex")
    for user in range(2):
        log.ask(f"u-{user}", "an-applicant")
    hot = [each for each in log.found() if each.detector is Detector.HOT_SUBJECT]
    assert sorted(each.count for each in hot) == [4, 8]


def test_who_acts_after_the_last_day(log: Log) -> None:
    log.ask("u-1")
    gone = Profile("u-1", ended_at=START)
    late = [Acted("u-1", START + DAY, "ledger:7"), Acted("u-1", START - DAY, "ledger:6")]
    (alert,) = detect(START, log.asked, [gone], late)
    assert (alert.detector, set(alert.evidence)) == (Detector.LEAVER, {"ledger:7", f"{0:032x}"})


def test_a_week_far_above_the_own_and_the_peers(log: Log) -> None:
    for week in range(1, 6):
        for user in range(10):
            for _ in range(5):
                log.ask(f"u-{user}", at=START - week * WEEK + DAY)
    for user in range(1, 10):
        for _ in range(6):
            log.ask(f"u-{user}")
    for _ in range(40):
        log.ask("u-0")
        log.ask("u-1", in_batch=True)
    volume = [each for each in log.found() if each.detector is Detector.VOLUME]
    assert [(each.user, each.count) for each in volume] == [("u-0", 40)]


def test_a_busy_season_of_everybody_is_no_alert(log: Log) -> None:
    for user in range(10):
        for _ in range(5):
            log.ask(f"u-{user}", at=START - WEEK + DAY)
        for _ in range(40):
            log.ask(f"u-{user}")
    assert not [each for each in log.found() if each.detector is Detector.VOLUME]


@pytest.mark.parametrize("women", [0, 38])
def test_a_share_of_women_unlike_the_peers(log: Log, women: int) -> None:
    for user in range(1, 11):
        for number in range(40):
            log.ask(f"u-{user}", sex="F" if number % 3 == 0 else "M")
    for number in range(40):
        log.ask("u-0", sex="F" if number < women else "M")
    skew = [each.user for each in log.found() if each.detector is Detector.SEX_SKEW]
    assert skew == ["u-0"]


def test_a_record_that_many_agencies_request() -> None:
    requested = [Requested(f"r-{n}", f"agency-{n}", "hot", START + DAY) for n in range(4)]
    requested += [Requested(f"s-{n}", "agency-1", "same agency", START + DAY) for n in range(9)]
    (alert,) = detect(START, [], [], (), requested)
    assert (alert.detector, alert.count) == (Detector.HOT_RECORD, 4)


def test_words_hold_counts_and_no_trace(log: Log) -> None:
    for _ in range(10):
        log.ask("u-1", "somebody", name="own", surname="own")
    for each in log.found(Profile("u-1", b"own", b"own", Rarity.RARE)):
        assert "somebody" not in each.words
        assert "own'" not in each.words


@given(st.integers(0, 60), st.floats(0.01, 50))
def test_the_poisson_tail_falls_with_the_count(count: int, mean: float) -> None:
    assert 0 <= poisson_tail(count + 1, mean) <= poisson_tail(count, mean) + 1e-9 <= 1 + 1e-9


def test_tails_are_what_tables_say() -> None:
    assert math.isclose(poisson_tail(3, 1.0), 0.0803, abs_tol=1e-4)
    assert math.isclose(binomial_tail(9, 10, 0.5), 11 / 1024)
    assert math.isclose(binomial_tail(1, 10, 0.5), 11 / 1024)
    assert binomial_tail(5, 5, 1.0) == 1.0
    assert binomial_tail(4, 5, 1.0) == 0.0


def test_alerts_do_not_depend_on_the_order_of_events(log: Log) -> None:
    for user in range(4):
        log.ask(f"u-{user}", "in-the-news", name="own")
    known = [Profile("u-1", full_name=b"own")]
    shuffled = random.Random(1).sample(log.asked, len(log.asked))
    one = detect(START, log.asked, known, limits=Limits())
    other = detect(START, shuffled, known, limits=Limits())
    assert [(a.detector, a.user, sorted(a.evidence)) for a in one] == [
        (a.detector, a.user, sorted(a.evidence)) for a in other
    ]
