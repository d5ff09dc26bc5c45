"""Names in memory, found in spite of typing slips: what `records search` looks through.

Rules of this file:
- it is never written anywhere: whatever is removed is gone with its words, so that an expungement has
  nothing to chase. A word that no record bears any more is forgotten too;
- names are compared folded (`candor_proto.folding`): case, accents, hyphens and apostrophes say nothing;
- an index knows record ids, words and years of birth. Whose they are, the store says after it was asked.

Not for several threads at once: `name_search` keeps them apart.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import jellyfish

from candor_proto.errors import InputInvalid
from candor_proto.folding import fold, letters
from candor_proto.name_tables import CANONICAL_FORMS, NICKNAMES_OF
from candor_proto.name_words import split_words

MAX_QUERY_CHARACTERS = 200
MAX_QUERY_WORDS = 8
_YEAR = re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}(?![0-9])")

# Of 100: how near a word of the query is to a word of a record.
_EXACT, _NICKNAME, _BEGINNING, _PART, _INITIAL = 100, 92, 90, 75, 70
_YEAR_UNKNOWN = 60
# Below it no two words of more than three letters are within the slips allowed; cheap to compute.
_NEAR_ENOUGH = 0.75


def words_of(text: str) -> list[str]:
    """The words of a name as they are compared: lower-case ASCII letters, no placeholders."""
    return [word for word in map(letters, split_words(fold(text))) if word]


@dataclass(frozen=True, repr=False)
class Names:
    """What of a record can be searched for. `birth_year` is 0 when nobody knows it."""

    surnames: tuple[str, ...]
    given: tuple[str, ...]
    birth_year: int = 0

    @classmethod
    def of(cls, identity: Mapping[str, str]) -> Names:
        """From the identity fields of a stored record: `Missing` codes are no names."""
        birth = identity["birth_date"]
        return cls(
            _searchable(identity["last"], identity["former_last"]),
            _searchable(identity["first"], identity["middle"]),
            int(birth[:4]) if birth[:4].isdigit() else 0,
        )


def _searchable(*texts: str) -> tuple[str, ...]:
    """Every word once, and several words of one name also as one: `de la Cruz` is found as `Delacruz`."""
    found: dict[str, None] = {}
    for text in texts:
        words = [] if text in _MISSING else words_of(text)
        found.update(dict.fromkeys(words))
        if len(words) > 1:
            found["".join(words)] = None
    return tuple(found)


_MISSING = frozenset({"UNKNOWN", "NOT_APPLICABLE", "WITHHELD", ""})


@dataclass(frozen=True, repr=False)
class Query:
    """What somebody typed. `surnames` and `given` are sure (there was a comma), `either` may be both."""

    surnames: tuple[str, ...]
    given: tuple[str, ...]
    either: tuple[str, ...]
    birth_year: int

    @classmethod
    def parse(cls, text: str) -> Query:
        """`last`, `last, first`, `first last`, a part of a name, a year of birth. Raises InputInvalid."""
        if len(text) > MAX_QUERY_CHARACTERS:
            raise InputInvalid(
                f"A search has at most {MAX_QUERY_CHARACTERS} characters.",
                remedy="Give a last name, or `last, first`.",
            )
        years = _YEAR.findall(text)
        before, comma, after = _YEAR.sub(" ", text).partition(",")
        first, second = tuple(words_of(before)), tuple(words_of(after))
        found = cls(
            first if comma else (),
            second,
            () if comma else first,
            int(years[0]) if len(years) == 1 else 0,
        )
        if len(years) > 1 or len(first + second) > MAX_QUERY_WORDS or not (years or first or second):
            raise InputInvalid(
                f"A search is up to {MAX_QUERY_WORDS} words of a name and one year of birth.",
                remedy="Give a last name, `last, first`, `first last`, or a part of a name.",
            )
        return found


@dataclass(frozen=True)
class Found:
    """A record and how near it is to what was asked, of 100."""

    record_id: bytes
    score: int


class NameIndex:
    """Records by the words of their names. `add` and `remove` keep it true; nothing of it is stored."""

    def __init__(self) -> None:
        self._slots: dict[bytes, int] = {}
        self._ids: list[bytes] = []
        self._years = array("H")
        self._free: list[int] = []
        self._surnames, self._given = _Words(), _Words()

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, record_id: bytes, names: Names) -> None:
        """Put a record in, in place of what was known of it."""
        self.remove(record_id)
        if self._free:
            slot = self._free.pop()
            self._ids[slot], self._years[slot] = record_id, names.birth_year
        else:
            slot = len(self._ids)
            self._ids.append(record_id)
            self._years.append(names.birth_year)
        self._slots[record_id] = slot
        self._surnames.add(slot, names.surnames)
        self._given.add(slot, names.given)

    def remove(self, record_id: bytes) -> None:
        """Forget a record; nothing happens when it is not known."""
        slot = self._slots.pop(record_id, None)
        if slot is None:
            return
        self._surnames.remove(slot)
        self._given.remove(slot)
        self._ids[slot], self._years[slot] = b"", 0
        self._free.append(slot)

    def search(self, query: Query, offset: int = 0, limit: int = 50) -> tuple[list[Found], int]:
        """The records from `offset` on, nearest first, and how many there are in all.

        A record counts when all words of the query are near one of its own; if there is none, when all but
        one are.
        """
        scores = self._scores(query)
        if query.birth_year:
            scores = dict(self._of_year(query.birth_year, scores))
        ranked = sorted(scores.items(), key=lambda item: (-item[1], self._ids[item[0]]))
        page = ranked[offset : offset + limit]
        return [Found(self._ids[slot], round(score)) for slot, score in page], len(ranked)

    def _scores(self, query: Query) -> dict[int, float]:
        asked = [
            *((self._surnames.near(word),) for word in query.surnames),
            *((self._given.near(word, given=True),) for word in query.given),
            *((self._surnames.near(word), self._given.near(word, given=True)) for word in query.either),
        ]
        if not asked:  # a year of birth alone
            return dict.fromkeys(self._slots.values(), float(_EXACT))
        total: dict[int, int] = {}
        matched: dict[int, int] = {}
        for parts in asked:
            for slot, score in _best(parts).items():
                total[slot] = total.get(slot, 0) + score
                matched[slot] = matched.get(slot, 0) + 1
        most = max(matched.values(), default=0)
        if most < max(1, len(asked) - 1):
            return {}
        return {slot: total[slot] / len(asked) for slot, count in matched.items() if count == most}

    def _of_year(self, year: int, scores: Mapping[int, float]) -> Iterator[tuple[int, float]]:
        for slot, score in scores.items():
            if self._years[slot] == year:
                yield slot, score
            elif not self._years[slot]:
                yield slot, score * _YEAR_UNKNOWN / 100


def _best(parts: Sequence[Iterable[tuple[array[int], int]]]) -> dict[int, int]:
    """By slot the best score among words that are near."""
    found: dict[int, int] = {}
    for slots, score in sorted((near for part in parts for near in part), key=lambda near: near[1]):
        found.update(dict.fromkeys(slots, score))
    return found


class _Words:
    """One sort of words, and the slots of the records that bear them."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._words: list[str] = []
        self._bearers: list[array[int]] = []
        self._of_length: dict[int, set[int]] = {}
        self._free: list[int] = []
        self._of_slot: dict[int, tuple[int, ...]] = {}

    def add(self, slot: int, words: Sequence[str]) -> None:
        numbers = tuple(self._numbers[word] if word in self._numbers else self._new(word) for word in words)
        for number in numbers:
            self._bearers[number].append(slot)
        self._of_slot[slot] = numbers

    def remove(self, slot: int) -> None:
        for number in self._of_slot.pop(slot, ()):
            bearers = self._bearers[number]
            bearers.remove(slot)
            if not bearers:
                word, self._words[number] = self._words[number], ""
                del self._numbers[word]
                self._of_length[len(word)].discard(number)
                self._free.append(number)

    def near(self, asked: str, *, given: bool = False) -> list[tuple[array[int], int]]:
        """The bearers of every word that is near `asked`, with how near."""
        found = dict(self._with_slips(asked))
        found |= self._with_part(asked)
        if given:
            found |= {self._numbers[name]: _NICKNAME for name in _called(asked) if name in self._numbers}
        if asked in self._numbers:
            found[self._numbers[asked]] = _EXACT
        return [(self._bearers[number], score) for number, score in found.items()]

    def _new(self, word: str) -> int:
        if self._free:
            number = self._free.pop()
            self._words[number], self._bearers[number] = word, array("I")
        else:
            number = len(self._words)
            self._words.append(word)
            self._bearers.append(array("I"))
        self._numbers[word] = number
        self._of_length.setdefault(len(word), set()).add(number)
        return number

    def _with_part(self, asked: str) -> Iterator[tuple[int, int]]:
        if len(asked) == 1:
            for number, word in enumerate(self._words):
                if word[:1] == asked:
                    yield number, _INITIAL
        elif len(asked) == 2:
            for number, word in enumerate(self._words):
                if word[:2] == asked:
                    yield number, _BEGINNING
        else:
            for number, word in enumerate(self._words):
                if asked in word:
                    yield number, _BEGINNING if word.startswith(asked) else _PART

    def _with_slips(self, asked: str) -> Iterator[tuple[int, int]]:
        """Words within one slip of a short word, two of a long one (a letter, or two exchanged)."""
        allowed = 0 if len(asked) < 3 else 1 if len(asked) < 6 else 2
        similar, distance, words = (
            jellyfish.jaro_similarity,
            jellyfish.damerau_levenshtein_distance,
            self._words,
        )
        for length in range(len(asked) - allowed, len(asked) + allowed + 1) if allowed else ():
            for number in self._of_length.get(length, ()):
                word = words[number]
                if length > 3 and similar(asked, word) < _NEAR_ENOUGH:
                    continue
                slips = distance(asked, word)
                if slips <= allowed:
                    yield number, _EXACT - 100 * slips // (max(length, len(asked)) + 1)


def _called(name: str) -> set[str]:
    """What a person of this name may be called, in both directions of the table."""
    roots = {name, *CANONICAL_FORMS.get(name, ())}
    return roots | {called for root in roots for called in NICKNAMES_OF.get(root, ())}
