"""Which use of lookups somebody should look into (RELIABILITY.md §8): rules over events without names.

Rules of this file:
- pure: events of some weeks go in, alerts about the last of them come out. People are traces, never names;
- an alert is a reason to ask, not a finding: its words say what was seen and what would explain it;
- chance is reckoned with: a surname by how common it is here and in the census, a share of women by what
  peers ask about, a volume by the user's own weeks and by the peers' same week;
- the limits were chosen on one synthetic year and measured on another (`bench/insiders.py`). That says how
  they behave on its assumptions, not how real misuse looks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from statistics import median

from candor_proto.evidence import Rarity

WEEK = timedelta(weeks=1)
MONTH = timedelta(days=28)
# How far back events are looked at: for what is usual of a user, for a surname, for a share of women.
HISTORY = timedelta(weeks=26)
VOLUME_BACK, SURNAME_BACK, SKEW_BACK = timedelta(weeks=12), timedelta(weeks=6), timedelta(weeks=8)


class Detector(Enum):
    """What an alert is about."""

    SELF = "self"
    SURNAME = "same surname"
    HOT_SUBJECT = "hot subject"
    LEAVER = "leaver"
    VOLUME = "volume"
    SEX_SKEW = "sex skew"
    HOT_RECORD = "hot record"


@dataclass(frozen=True)
class Limits:
    """From where on somebody should look; `*_chance` are probabilities under ordinary use."""

    surname_chance: float = 0.02
    hot_users: int = 4
    hot_lookups: int = 8
    volume_own: float = 5.5
    volume_peers: float = 4.0
    volume_least: int = 15
    skew_chance: float = 1e-5
    skew_least: int = 20
    skew_from_peers: float = 0.3
    skew_from_own: float = 0.15
    hot_agencies: int = 4


@dataclass(frozen=True)
class Asked:
    """One search: by whom and, as traces, about whom."""

    search_id: str
    user: str
    at: datetime
    person: bytes
    full_name: bytes
    surname: bytes
    sex: str
    in_batch: bool = False


@dataclass(frozen=True)
class Profile:
    """A user as far as detectors need it."""

    user: str
    full_name: bytes | None = None
    surname: bytes | None = None
    rarity: Rarity = Rarity.UNKNOWN
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Acted:
    """Something a user did or tried; `reference` is the number of its entry in the ledger."""

    user: str
    at: datetime
    reference: str


@dataclass(frozen=True)
class Requested:
    """A disclosure request that another agency sent for a record of ours."""

    request_id: str
    agency: str
    record: str
    at: datetime


@dataclass(frozen=True)
class Alert:
    """What somebody should look into. `user` is "" where it is about a subject or a record."""

    detector: Detector
    user: str
    evidence: tuple[str, ...]
    count: int
    words: str


def detect(
    start: datetime,
    asked: Sequence[Asked],
    profiles: Iterable[Profile],
    acted: Iterable[Acted] = (),
    requested: Iterable[Requested] = (),
    limits: Limits = Limits(),
) -> list[Alert]:
    """The alerts of the week that begins at `start`; `asked` reaches back over HISTORY."""
    end = start + WEEK
    known = {profile.user: profile for profile in profiles}
    seen = [each for each in asked if start - HISTORY <= each.at < end]
    of_user: dict[str, list[Asked]] = defaultdict(list)
    for each in seen:
        of_user[each.user].append(each)
    return [
        *_self(known, of_user, start),
        *_surname(known, of_user, seen, start, limits),
        *_hot_subject(seen, start, end, limits),
        *_leaver(known, [*acted, *(Acted(each.user, each.at, each.search_id) for each in seen)], start, end),
        *_volume(of_user, start, limits),
        *_skew(of_user, start, limits),
        *_hot_record(requested, start, end, limits),
    ]


# --- detectors -----------------------------------------------------------------------------------------


def _self(known: Mapping[str, Profile], of_user: Mapping[str, list[Asked]], start: datetime) -> list[Alert]:
    found = []
    for user, events in of_user.items():
        own = known[user].full_name if user in known else None
        hits = [each for each in events if each.at >= start and own is not None and each.full_name == own]
        if hits:
            words = "asked about a person of their own name: themselves, or a namesake"
            found.append(_alert(Detector.SELF, user, hits, words))
    return found


# The share of people who bear one surname, at most, by how common the name is (1990 census, rounded up).
_SURNAME_SHARE = {
    Rarity.VERY_COMMON: 0.01,
    Rarity.COMMON: 0.001,
    Rarity.RARE: 0.0001,
    Rarity.UNKNOWN: 0.0001,
}


def _surname(
    known: Mapping[str, Profile],
    of_user: Mapping[str, list[Asked]],
    seen: Sequence[Asked],
    start: datetime,
    limits: Limits,
) -> list[Alert]:
    since = start + WEEK - SURNAME_BACK
    seen = [each for each in seen if each.at >= since]
    people: dict[bytes, set[bytes]] = defaultdict(set)
    for each in seen:
        people[each.surname].add(each.person)
    everybody, found = len({each.person for each in seen}), []
    for user, all_events in of_user.items():
        events = [each for each in all_events if each.at >= since]
        profile = known.get(user)
        if profile is None or profile.surname is None:
            continue
        same = [each for each in events if each.surname == profile.surname]
        if not any(each.at >= start for each in same):
            continue
        own_people, all_people = {each.person for each in same}, {each.person for each in events}
        # What others ask about here counts too: some towns have one name.
        others = len(people[profile.surname] - own_people) / max(1, everybody - len(all_people))
        share = max(_SURNAME_SHARE[profile.rarity], others)
        if poisson_tail(len(own_people), share * len(all_people)) < limits.surname_chance:
            words = f"asked about {len(own_people)} people of their own surname, more than chance explains"
            found.append(_alert(Detector.SURNAME, user, same, words, len(own_people)))
    return found


def _hot_subject(seen: Sequence[Asked], start: datetime, end: datetime, limits: Limits) -> list[Alert]:
    about: dict[bytes, list[Asked]] = defaultdict(list)
    for each in seen:
        if each.at >= end - MONTH:
            about[each.person].append(each)
    found = []
    for events in about.values():
        users = {each.user for each in events}
        often = len(users) >= limits.hot_users or len(events) >= limits.hot_lookups
        if often and any(each.at >= start for each in events):
            words = f"one person was asked about {len(events)} times by {len(users)} users in four weeks"
            found.append(_alert(Detector.HOT_SUBJECT, "", events, words))
    return found


def _leaver(
    known: Mapping[str, Profile], acted: Iterable[Acted], start: datetime, end: datetime
) -> list[Alert]:
    late: dict[str, list[Acted]] = defaultdict(list)
    for each in acted:
        profile = known.get(each.user)
        ended = profile.ended_at if profile is not None else None
        if ended is not None and start <= each.at < end and each.at >= ended:
            late[each.user].append(each)
    words = "acted, or tried to, after their last day here"
    return [
        Alert(Detector.LEAVER, user, tuple(each.reference for each in events), len(events), words)
        for user, events in late.items()
    ]


def _volume(of_user: Mapping[str, list[Asked]], start: datetime, limits: Limits) -> list[Alert]:
    weeks = {user: _weeks(events, start) for user, events in of_user.items()}
    this_week = [counts[0] for counts in weeks.values() if counts[0]]
    usual, found = median(this_week) if this_week else 0.0, []
    for user, counts in weeks.items():
        now, before = counts[0], counts[1:]
        own = sum(before) / len(before) if before else usual
        above_own, above_peers = _above(now, own), _above(now, usual)
        if now >= limits.volume_least and above_own > limits.volume_own and above_peers > limits.volume_peers:
            words = f"asked about {now} people; their usual week has {own:.0f}, their peers' {usual:.0f}"
            events = [each for each in of_user[user] if each.at >= start and not each.in_batch]
            found.append(_alert(Detector.VOLUME, user, events, words, now))
    return found


def _weeks(events: Sequence[Asked], start: datetime) -> list[int]:
    """Distinct people asked about singly, this week first, back to the user's first week."""
    people: dict[int, set[bytes]] = defaultdict(set)
    for each in events:
        if not each.in_batch and each.at >= start + WEEK - VOLUME_BACK:
            people[max(0, -((each.at - start) // WEEK))].add(each.person)
    return [len(people[back]) for back in range(max(people, default=0) + 1)]


def _above(count: float, usual: float) -> float:
    """How far a count lies above what is usual, in standard deviations of a Poisson count."""
    return 2 * (math.sqrt(count) - math.sqrt(usual))


def _skew(of_user: Mapping[str, list[Asked]], start: datetime, limits: Limits) -> list[Alert]:
    since, found = start + WEEK - SKEW_BACK, []
    single = {
        user: [each for each in events if each.sex in ("M", "F") and not each.in_batch]
        for user, events in of_user.items()
    }
    recent = {user: _women([each for each in events if each.at >= since]) for user, events in single.items()}
    all_women = sum(women for women, _ in recent.values())
    all_people = sum(count for _, count in recent.values())
    for user, events in single.items():
        women, count = recent[user]
        this_week = [each for each in events if each.at >= start]
        if count < limits.skew_least or count == all_people or not this_week:
            continue
        share, peers = women / count, (all_women - women) / (all_people - count)
        # A user's own earlier share, drawn towards the peers' while little is known of it.
        before, earlier = _women([each for each in events if each.at < since])
        own = (before + 10 * peers) / (earlier + 10)
        unlike_peers = abs(share - peers) >= limits.skew_from_peers
        # Coming nearer to what peers do is no reason to ask.
        farther = abs(share - peers) > abs(own - peers) and abs(share - own) >= limits.skew_from_own
        unlike_before = farther and earlier >= limits.skew_least
        usual = peers if unlike_peers else own
        if (unlike_peers or unlike_before) and binomial_tail(women, count, usual) < limits.skew_chance:
            words = f"{share:.0%} of the people they asked about are women; their peers' {peers:.0%}"
            found.append(_alert(Detector.SEX_SKEW, user, this_week, words, count))
    return found


def _women(events: Sequence[Asked]) -> tuple[int, int]:
    """How many women, and how many people, these searches were about."""
    return len({each.person for each in events if each.sex == "F"}), len({each.person for each in events})


def _hot_record(
    requested: Iterable[Requested], start: datetime, end: datetime, limits: Limits
) -> list[Alert]:
    of_record: dict[str, list[Requested]] = defaultdict(list)
    for each in requested:
        if end - MONTH <= each.at < end:
            of_record[each.record].append(each)
    found = []
    for events in of_record.values():
        agencies = {each.agency for each in events}
        if len(agencies) >= limits.hot_agencies and any(each.at >= start for each in events):
            words = f"{len(agencies)} agencies requested one record of ours in four weeks"
            evidence = tuple(each.request_id for each in events)
            found.append(Alert(Detector.HOT_RECORD, "", evidence, len(events), words))
    return found


def _alert(
    detector: Detector, user: str, events: Sequence[Asked], words: str, count: int | None = None
) -> Alert:
    evidence = tuple(each.search_id for each in events)
    return Alert(detector, user, evidence, len(events) if count is None else count, words)


# --- chance --------------------------------------------------------------------------------------------


def poisson_tail(count: int, mean: float) -> float:
    """The probability of `count` or more when `mean` are expected."""
    if count <= 0:
        return 1.0
    if mean <= 0:
        return 0.0
    below = sum(math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(count))
    return max(0.0, 1.0 - below)


def binomial_tail(count: int, of: int, share: float) -> float:
    """The probability of something at least as one-sided as `count` of `of`, to the side it lies on."""
    if not 0 < share < 1:
        return 1.0 if count == of * share else 0.0
    reach = range(count, of + 1) if count >= of * share else range(count + 1)
    return min(1.0, sum(_binomial(k, of, share) for k in reach))


def _binomial(k: int, of: int, share: float) -> float:
    ways = math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)
    return math.exp(ways + k * math.log(share) + (of - k) * math.log(1 - share))
