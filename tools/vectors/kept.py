"""What cannot be made a second time: taken from the files that are there, as long as it still holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from tools.vectors.book import FOLDER


@lru_cache(maxsize=1)
def known_texts() -> tuple[str, ...]:
    """Every text of the files that are there."""

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for item in value.values():
                yield from texts(item)
        elif isinstance(value, list):
            for item in value:
                yield from texts(item)

    found: dict[str, None] = {}
    for path in sorted(FOLDER.glob("*.json")):
        if path.name != "schema.json":
            found.update(dict.fromkeys(texts(json.loads(path.read_text("utf-8")))))
    return tuple(found)


@lru_cache(maxsize=1)
def _by_length() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for text in known_texts():
        found.setdefault(len(text), []).append(text)
    return found


def kept(octets: int, holds: Callable[[bytes], bool], make: Callable[[], bytes]) -> bytes:
    """Octets of this length, in hexadecimal in some file, for which `holds`; else new ones."""
    for text in _by_length().get(2 * octets, ()):
        try:
            value = bytes.fromhex(text)
        except ValueError:
            continue
        if holds(value):
            return value
    return make()
