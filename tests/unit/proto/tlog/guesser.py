"""Somebody who knows everything but the secrets, and tries to find it confirmed in the log.

The guesser holds all public data of the federation and the right person and case. What the protocol keeps
from it are random numbers: ids, salts, blinds, seeds, signatures not seen, what a seal draws. It hashes
whatever can be put together from the rest, in every way that this protocol or a careless one would.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations

from candor_proto.canonical import Writer, digest
from candor_proto.derive import derive
from candor_proto.merkle import leaf_hash

# A value of fewer characters stands in random octets by chance: it is looked for in hashes only.
SHORTEST_LITERAL = 4
# And one of fewer than these in base64, which public keys in a policy are written in.
SHORTEST_IN_BASE64 = 8
WINDOW = 8
LABELS = (
    *("commitment/case", "commitment/consent", "commitment/officer", "commitment/filler", "logged/request"),
    *("logged/receipt", "logged/index-head", "lookup", "answer", "index-head", "record", "segment"),
    *("disclosure-request", "disclosure-response", "recall-notice", "recall-ack", "log-entry", "signature"),
    *("seal", "directory", "directory-state", "seen-statement", "audit-seed", "audit-draw", "field-tag"),
    *("index-entry", "label-key", "withdrawn", "heartbeat", "witness-key", "pack-adoption", "epoch-key"),
)
_SEPARATORS = (b"", b" ", b"|", b",", b"\n", b"\0")
_HEX = re.compile(rb"[0-9a-fA-F]{16,}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}")
_LONG_BASE64 = re.compile(rb"[A-Za-z0-9+/]{64,}={0,2}")


def written(value: str) -> set[str]:
    """A value as somebody might write it."""
    joined = re.sub(r"[^A-Za-z0-9]", "", value)
    spelled = {value, value.strip(), joined}
    return {form for text in spelled for form in (text, text.lower(), text.upper()) if form}


def spellings(value: str) -> set[bytes]:
    """A value as somebody might put it into a hash: as text, or canonically encoded."""
    texts = written(value)
    return {text.encode() for text in texts} | {Writer().text(text).finish() for text in texts}


class Leaves:
    """The octets of a log, prepared for being searched."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._lower = b"\n\n".join(leaf.lower() for leaf in leaves)
        self._without_keys = b"\n\n".join(_LONG_BASE64.sub(b"", leaf).lower() for leaf in leaves)
        self._windows: set[bytes] = set()
        for leaf in leaves:
            for octets in (leaf, *_unwrapped(leaf)):
                self._windows.update(octets[at : at + WINDOW] for at in range(len(octets) - WINDOW + 1))

    def hold_literally(self, octets: bytes) -> bool:
        """Whether these octets stand there, in capitals or not."""
        return octets.lower() in (self._lower if len(octets) >= SHORTEST_IN_BASE64 else self._without_keys)

    def hold_hash(self, made: bytes) -> bool:
        """Whether a hash stands there, whole or cut off behind 8 octets or more; also in hex and base64."""
        return made[:WINDOW] in self._windows


def _unwrapped(leaf: bytes) -> Iterator[bytes]:
    for found in _HEX.findall(leaf):
        yield bytes.fromhex(found[: len(found) // 2 * 2].decode())
    for found in _BASE64.findall(leaf):
        yield base64.b64decode(found[: len(found) // 4 * 4])


class Guesser:
    """`values` are what is to be hidden, `public` what everybody knows; `inputs` are ready-made octets."""

    def __init__(self, values: Sequence[str], public: Sequence[bytes], inputs: Iterable[bytes] = ()) -> None:
        self.values = [value for value in values if value]
        self.public = [b"", bytes(16), bytes(32), *public]
        self.inputs = set(inputs)
        self.singles = sorted(set().union(*map(spellings, self.values)) | self.inputs)

    def literals(self) -> Iterator[bytes]:
        texts = set().union(*(written(value) for value in self.values))
        for octets in sorted({text.encode() for text in texts} | self.inputs):
            known = any(octets.lower() in piece.lower() for piece in self.public)
            if len(octets) >= SHORTEST_LITERAL and not known:
                yield octets

    def hashes(self) -> Iterator[bytes]:
        for octets in self.singles:
            yield from self._plain(octets)
            for known in self.public:
                yield from self._keyed(known, octets)
        # Two or three fields together, as they are or in lower case.
        for count in (2, 3):
            for chosen in permutations(self.values, count):
                for parts in (chosen, [part.lower() for part in chosen]):
                    pieces = [part.encode() for part in parts]
                    yield digest("record", *pieces)
                    for separator in _SEPARATORS if count == 2 else _SEPARATORS[:3]:
                        yield hashlib.sha256(separator.join(pieces)).digest()

    @staticmethod
    def _plain(octets: bytes) -> Iterator[bytes]:
        for name in ("sha256", "sha512", "sha1", "md5", "sha3_256", "blake2b", "blake2s"):
            yield hashlib.new(name, octets).digest()
        yield leaf_hash(octets)
        yield hashlib.sha256(hashlib.sha256(octets).digest()).digest()
        for label in LABELS:
            yield digest(label, octets)
            yield hashlib.sha256(Writer(label).octets(octets).finish()).digest()
            yield hashlib.sha256(Writer(label).finish() + octets).digest()

    @staticmethod
    def _keyed(known: bytes, octets: bytes) -> Iterator[bytes]:
        yield hmac.digest(known, octets, "sha256")
        yield hmac.digest(known, octets, "sha1")
        yield hashlib.sha256(known + octets).digest()
        yield hashlib.sha256(octets + known).digest()
        yield hashlib.blake2b(octets, key=known[:64], digest_size=32).digest()
        for label in LABELS:
            yield digest(label, known, octets)
            yield digest(label, octets, known)
        yield derive(octets, "index-entry", known, 16)
        yield derive(octets, "field-tag", known, 8)

    def confirms(self, leaves: Leaves, further: Iterable[bytes] = ()) -> str:
        """How something of the secret is confirmed by these leaves, or "" if it is not.

        `further` are hashes that take more than the values to make.
        """
        for octets in self.literals():
            if leaves.hold_literally(octets):
                return f"a leaf holds {octets!r}"
        for made in self.hashes():
            if leaves.hold_hash(made):
                return f"a leaf holds the hash {made.hex()} of something guessed"
        for made in further:
            if leaves.hold_hash(made):
                return f"a leaf holds {made.hex()}, which can be made without the secrets"
        return ""
