"""Statements that members make for the log: witness keys, what reached them, consents (§14.8, §15.2, §19.3).

Each is the body of a signed statement (§4.1); the contexts are `CONTEXTS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from candor_proto.canonical import Reader, Writer
from candor_proto.errors import LimitExceeded, MalformedMessage, NotCanonical
from candor_proto.ids import FederationName, NodeId
from candor_proto.tlog.base64lines import HASH_OCTETS, MAX_COUNT
from candor_proto.tlog.note import COSIGNATURE_ED25519, COSIGNATURE_ML_DSA_44, KEY_OCTETS, VerifierKey

WITNESS_KEY = "witness-key"
HEARTBEAT = "heartbeat"
PACK_ADOPTION = "pack-adoption"
SUCCESSION = "succession"
CONTEXTS = (WITNESS_KEY, HEARTBEAT, PACK_ADOPTION, SUCCESSION)
MAX_COVERED = 65_536
MAX_ORIGIN_OCTETS = 255


def read_count(reader: Reader) -> int:
    """A u64 that is no time; databases hold 63 bits of it (§14.3)."""
    value = reader.integer(8)
    if value > MAX_COUNT:
        raise MalformedMessage("A number that nobody can have reached.")
    return value


def write_count(writer: Writer, value: int) -> Writer:
    if value > MAX_COUNT:
        raise MalformedMessage("A number that nobody can have reached.")
    return writer.integer(value, 8)


def witness_name(federation: FederationName, node: NodeId) -> str:
    """The key name of a member as a witness."""
    return f"{federation}/witness/{node}"


@dataclass(frozen=True)
class WitnessKeyStatement:
    """The keys under which a member cosigns; a later one takes its place."""

    federation: FederationName
    node: NodeId
    ed25519_key: bytes
    ml_dsa_key: bytes
    issued_at: datetime

    def encode(self) -> bytes:
        writer = Writer(WITNESS_KEY).text(str(self.federation)).text(str(self.node))
        writer.fixed(self.ed25519_key, KEY_OCTETS[COSIGNATURE_ED25519])
        writer.fixed(self.ml_dsa_key, KEY_OCTETS[COSIGNATURE_ML_DSA_44])
        return writer.time(self.issued_at).finish()

    @classmethod
    def decode(cls, data: bytes) -> WitnessKeyStatement:
        """Raises MalformedMessage or LimitExceeded."""
        reader = Reader(data, WITNESS_KEY)
        statement = cls(
            FederationName(reader.text(64)),
            NodeId(reader.text(64)),
            reader.fixed(KEY_OCTETS[COSIGNATURE_ED25519]),
            reader.fixed(KEY_OCTETS[COSIGNATURE_ML_DSA_44]),
            reader.time(),
        )
        reader.finish()
        return statement

    @property
    def verifier_keys(self) -> tuple[VerifierKey, VerifierKey]:
        """Ed25519 (0x04), then ML-DSA-44 (0x06); raises MalformedMessage for a key of small order."""
        name = witness_name(self.federation, self.node)
        return (
            VerifierKey(name, COSIGNATURE_ED25519, self.ed25519_key),
            VerifierKey(name, COSIGNATURE_ML_DSA_44, self.ml_dsa_key),
        )


def received_bits(flags: Sequence[bool]) -> bytes:
    """One bit a commitment, the first in the most significant bit of the first octet; unused bits zero."""
    value = 0
    for flag in flags:
        value = value << 1 | flag
    octets = -(-len(flags) // 8)
    return (value << octets * 8 - len(flags)).to_bytes(octets, "big")


@dataclass(frozen=True)
class Heartbeat:
    """What a member holds of the lookups that the log names in `start` ≤ index < `end` (§14.8)."""

    federation: FederationName
    node: NodeId
    origin: str
    number: int
    start: int
    end: int
    received: bytes
    answered: int
    refused: int
    ledger_number: int
    ledger_digest: bytes
    issued_at: datetime

    def encode(self) -> bytes:
        writer = Writer(HEARTBEAT).text(str(self.federation)).text(str(self.node)).text(self.origin)
        for value in (self.number, self.start, self.end):
            write_count(writer, value)
        writer.octets(self.received)
        for value in (self.answered, self.refused, self.ledger_number):
            write_count(writer, value)
        return writer.fixed(self.ledger_digest, HASH_OCTETS).time(self.issued_at).finish()

    @classmethod
    def decode(cls, data: bytes) -> Heartbeat:
        """Raises MalformedMessage or LimitExceeded; whether the bits fit the log says `check_covers`."""
        reader = Reader(data, HEARTBEAT)
        federation, node = FederationName(reader.text(64)), NodeId(reader.text(64))
        origin = reader.text(MAX_ORIGIN_OCTETS)
        number, start, end = (read_count(reader) for _ in range(3))
        received = reader.octets(MAX_COVERED // 8)
        answered, refused, ledger_number = (read_count(reader) for _ in range(3))
        ledger_digest, issued_at = reader.fixed(HASH_OCTETS), reader.time()
        reader.finish()
        if start > end:
            raise MalformedMessage("A heartbeat whose range ends before it begins.")
        return cls(
            federation, node, origin, number, start, end, received, answered, refused, ledger_number,
            ledger_digest, issued_at,
        )  # fmt: skip

    def check_covers(self, commitments: int) -> None:
        """Check that `received` has one bit for each of the `commitments` in its range, and zeros behind.

        Raises LimitExceeded above 65,536, NotCanonical otherwise.
        """
        if commitments > MAX_COVERED:
            raise LimitExceeded(f"A heartbeat covers at most {MAX_COVERED} commitments.")
        unused = len(self.received) * 8 - commitments
        if not 0 <= unused < 8 or int.from_bytes(self.received[-1:], "big") & ((1 << unused) - 1):
            raise NotCanonical("The bits of a heartbeat do not fit the range that it covers.")

    def has_received(self, position: int) -> bool:
        """The bit of the commitment at `position`, from 0, among those of the range."""
        if not 0 <= position < len(self.received) * 8:
            raise MalformedMessage("A heartbeat has no bit there.")
        return bool(self.received[position // 8] >> 7 - position % 8 & 1)


@dataclass(frozen=True)
class PackAdoption:
    """That a member took up a pack of rules (docs/packs.md)."""

    federation: FederationName
    node: NodeId
    pack: str
    version: int
    pack_digest: bytes
    adopted_at: datetime

    def encode(self) -> bytes:
        writer = Writer(PACK_ADOPTION).text(str(self.federation)).text(str(self.node)).text(self.pack)
        writer.integer(self.version, 4).fixed(self.pack_digest, HASH_OCTETS)
        return writer.time(self.adopted_at).finish()

    @classmethod
    def decode(cls, data: bytes) -> PackAdoption:
        """Raises MalformedMessage or LimitExceeded."""
        reader = Reader(data, PACK_ADOPTION)
        federation, node, pack = FederationName(reader.text(64)), NodeId(reader.text(64)), reader.text(256)
        version, pack_digest, adopted_at = reader.integer(4), reader.fixed(HASH_OCTETS), reader.time()
        reader.finish()
        return cls(federation, node, pack, version, pack_digest, adopted_at)


@dataclass(frozen=True)
class SuccessionConsent:
    """That a member goes over to a successor of shard `shard`, which ends for it with `size` and `root`."""

    federation: FederationName
    node: NodeId
    shard: int
    size: int
    root: bytes
    root_certificate_digest: bytes
    ed25519_key: bytes
    ml_dsa_key: bytes
    policy_digest: bytes
    issued_at: datetime

    def encode(self) -> bytes:
        writer = Writer(SUCCESSION).text(str(self.federation)).text(str(self.node)).integer(self.shard, 4)
        write_count(writer, self.size).fixed(self.root, HASH_OCTETS)
        writer.fixed(self.root_certificate_digest, HASH_OCTETS)
        writer.fixed(self.ed25519_key, KEY_OCTETS[COSIGNATURE_ED25519])
        writer.fixed(self.ml_dsa_key, KEY_OCTETS[COSIGNATURE_ML_DSA_44])
        return writer.fixed(self.policy_digest, HASH_OCTETS).time(self.issued_at).finish()

    @classmethod
    def decode(cls, data: bytes) -> SuccessionConsent:
        """Raises MalformedMessage or LimitExceeded."""
        reader = Reader(data, SUCCESSION)
        federation, node = FederationName(reader.text(64)), NodeId(reader.text(64))
        shard, size, root = reader.integer(4), read_count(reader), reader.fixed(HASH_OCTETS)
        certificate = reader.fixed(HASH_OCTETS)
        ed25519 = reader.fixed(KEY_OCTETS[COSIGNATURE_ED25519])
        ml_dsa = reader.fixed(KEY_OCTETS[COSIGNATURE_ML_DSA_44])
        policy, issued_at = reader.fixed(HASH_OCTETS), reader.time()
        reader.finish()
        return cls(federation, node, shard, size, root, certificate, ed25519, ml_dsa, policy, issued_at)


MemberStatement: TypeAlias = WitnessKeyStatement | Heartbeat | PackAdoption | SuccessionConsent


def parse_statement(context: str, body: bytes) -> MemberStatement:
    """Raises MalformedMessage or LimitExceeded, also for a context that the log does not take."""
    if context == WITNESS_KEY:
        return WitnessKeyStatement.decode(body)
    if context == HEARTBEAT:
        return Heartbeat.decode(body)
    if context == PACK_ADOPTION:
        return PackAdoption.decode(body)
    if context == SUCCESSION:
        return SuccessionConsent.decode(body)
    raise MalformedMessage(f"The log takes no statement of context {context[:40]!r}.")
