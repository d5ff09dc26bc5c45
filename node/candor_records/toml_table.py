"""One table of a TOML file, read strictly: every fault is collected with its place, and repeats no value.

Rules of this file:
- a key that nobody asked for is a fault: a misspelt one must not pass for nothing;
- what was refused is replaced by a stand-in, so that the rest is read as well: whoever collects faults never
  uses what came out;
- a text is one line that can be shown on a terminal.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import date, datetime
from enum import Enum
from typing import TypeVar

E = TypeVar("E", bound=Enum)
V = TypeVar("V")

MAX_TEXT_CHARACTERS = 1_000
FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_NOTHING = date(1970, 1, 1)


class Table:
    """Reads one table of the file; what is wrong goes into `faults` with its place."""

    def __init__(self, values: object, place: str, faults: list[str]) -> None:
        self.place, self.faults = place, faults
        self._values: dict[str, object] = {}
        if isinstance(values, dict):
            self._values = dict(values)
        else:
            self.wrong("", "must be a table")

    def wrong(self, key: str, reason: str) -> None:
        place = ", ".join(part for part in (self.place, key) if part)
        self.faults.append(f"{place} {reason}" if place else reason)

    def take(self, key: str, read: Callable[[object], V], missing: V, *, optional: bool = False) -> V:
        """The value read; `missing` where there is none, or where it was refused with a fault."""
        if key not in self._values:
            if not optional:
                self.wrong(key, "is missing")
            return missing
        try:
            return read(self._values.pop(key))
        except ValueError as error:
            self.wrong(key, str(error))
            return missing

    def text(self, key: str, *, pattern: re.Pattern[str] | None = None, optional: bool = False) -> str:
        def read(value: object) -> str:
            text = text_value(value)
            if pattern is not None and not pattern.match(text):
                raise ValueError("is not written as it must be")
            return text

        return self.take(key, read, "", optional=optional)

    def integer(self, key: str, low: int, high: int) -> int:
        return self.take(key, lambda value: _integer(value, low, high), low)

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        return self.take(key, lambda value: _integer(value, low, high), None, optional=True)

    def day(self, key: str) -> date:
        return self.take(key, _day, _NOTHING)

    def optional_day(self, key: str) -> date | None:
        return self.take(key, _day, None, optional=True)

    def flag(self, key: str) -> bool:
        return self.take(key, _flag, False, optional=True)

    def code(self, key: str, codes: type[E], missing: E) -> E:
        return self.take(key, _code(codes), missing)

    def optional_code(self, key: str, codes: type[E]) -> E | None:
        return self.take(key, _code(codes), None, optional=True)

    def codes(self, key: str, codes: type[E]) -> tuple[E, ...]:
        return self.take(key, _list(_code(codes)), ())

    def list_of(self, key: str, read: Callable[[object], V]) -> tuple[V, ...]:
        return self.take(key, _list(read), ())

    def table(self, key: str) -> Table | None:
        place = ", ".join(part for part in (self.place, key) if part)
        if key not in self._values:
            self.wrong(key, "is missing")
            return None
        return Table(self._values.pop(key), place, self.faults)

    def finish(self) -> None:
        """What was not read is not known."""
        for key in self._values:
            shown = key if FIELD_NAME.match(key) else "a key"
            self.wrong(shown, "is not known here")


# --- values ----------------------------------------------------------------------------------------


def text_value(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text")
    text = unicodedata.normalize("NFC", value).strip()
    if not text:
        raise ValueError("is empty")
    if len(text) > MAX_TEXT_CHARACTERS:
        raise ValueError(f"is longer than {MAX_TEXT_CHARACTERS} characters")
    if any(unicodedata.category(letter).startswith("C") for letter in text):
        raise ValueError("holds a control character or a line break")
    return text


def _integer(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be a whole number")
    if not low <= value <= high:
        raise ValueError(f"must be from {low} to {high}")
    return value


def _day(value: object) -> date:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError("must be a date without quotes, as 2026-01-31")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _code(codes: type[E]) -> Callable[[object], E]:
    def read(value: object) -> E:
        found = codes.__members__.get(value) if isinstance(value, str) else None
        if found is None:
            raise ValueError(f"must be one of {', '.join(codes.__members__)}")
        return found

    return read


def _list(read: Callable[[object], V]) -> Callable[[object], tuple[V, ...]]:
    def read_all(value: object) -> tuple[V, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError("must be a list with something in it")
        found = tuple(read(item) for item in value)
        if len(set(found)) != len(found):
            raise ValueError("names something twice")
        return found

    return read_all


def one_of(names: Iterable[str]) -> Callable[[object], str]:
    known = tuple(names)

    def read(value: object) -> str:
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return str(value)

    return read
