"""What cannot be made a second time: taken from the files that are there, as long as it still holds."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any

from candor_proto.errors import CandorError
from candor_proto.tlog.checkpoint import Checkpoint
from candor_proto.tlog.note import NoteSignature, VerifierKey
from candor_proto.tlog.signatures import verify_signature
from tools.vectors.book import FOLDER

_HEX = re.compile(r"(?:[0-9a-f]{2})+")
_LINE = re.compile("\u2014 ([^ \n]+) ([A-Za-z0-9+/]+=*)\n".encode())


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


@lru_cache(maxsize=1)
def _lines() -> dict[tuple[str, bytes], list[NoteSignature]]:
    """Every signature line in some file, by key name and key id, however it is written there."""
    found: dict[tuple[str, bytes], list[NoteSignature]] = {}
    for text in known_texts():
        octets = bytes.fromhex(text) if _HEX.fullmatch(text) else text.encode("utf-8", "replace")
        for name, material in _LINE.findall(octets):
            try:
                raw = base64.b64decode(material, validate=True)
                line = NoteSignature(name.decode("utf-8"), raw[:4], raw[4:])
            except (ValueError, CandorError):
                continue
            found.setdefault((line.name, line.key_id), []).append(line)
    return found


def line_kept(
    key: VerifierKey, checkpoint: Checkpoint, at: datetime, make: Callable[[], NoteSignature]
) -> NoteSignature:
    """The line of `key` on `checkpoint`, of this time, that a file has and that verifies; or a new one."""
    cached = _MADE.get((key, checkpoint, at))
    if cached is not None:
        return cached
    for line in dict.fromkeys(_lines().get((key.name, key.key_id), ())):
        try:
            if verify_signature(key, checkpoint, line) == at:
                return _MADE.setdefault((key, checkpoint, at), line)
        except CandorError:
            continue
    return _MADE.setdefault((key, checkpoint, at), make())


_MADE: dict[tuple[VerifierKey, Checkpoint, datetime], NoteSignature] = {}
