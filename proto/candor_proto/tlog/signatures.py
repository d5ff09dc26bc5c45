"""What logs and witnesses sign (C2SP signed-note type 0x01, tlog-cosignature types 0x04 and 0x06).

A log signs with both kinds of key, so that today's tools can read it and no quantum computer can forge
its past; a witness likewise (docs/protocol.md §14.2, §15.2). Times are whole seconds since 1970.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from candor_proto.errors import MalformedMessage, SignatureInvalid
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_ML_DSA_44,
    ED25519,
    NoteSignature,
    VerifierKey,
)

SEED_OCTETS = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = struct.Struct(">Q")
_PAYLOAD_OCTETS = {ED25519: 64, COSIGNATURE_ED25519: 8 + 64, COSIGNATURE_ML_DSA_44: 8 + 2420}


def _message(kind: int, name: str, checkpoint: Checkpoint, seconds: int) -> bytes:
    """The octets that a key of `kind` under `name` signs."""
    if kind == ED25519:
        return checkpoint.text().encode("utf-8")
    if kind == COSIGNATURE_ED25519:
        return f"cosignature/v1\ntime {seconds}\n{checkpoint.text()}".encode()
    signer, origin = name.encode("utf-8"), checkpoint.origin.encode("utf-8")
    return b"".join(
        (
            b"subtree/v1\n\0",
            bytes([len(signer)]) + signer,
            _TIME.pack(seconds),
            bytes([len(origin)]) + origin,
            _TIME.pack(0),
            _TIME.pack(checkpoint.size),
            checkpoint.root,
        )
    )


@lru_cache(maxsize=256)
def _verifier(kind: int, key: bytes) -> Callable[[bytes, bytes], None]:
    if kind == COSIGNATURE_ML_DSA_44:
        return MLDSA44PublicKey.from_public_bytes(key).verify
    return Ed25519PublicKey.from_public_bytes(key).verify


def verify_signature(key: VerifierKey, checkpoint: Checkpoint, signature: NoteSignature) -> datetime | None:
    """The time that `signature` states, None for type 0x01; raises SignatureInvalid.

    A time of zero, or one beyond the year 9999, is refused: no witness of ours can have meant it (§14.2).
    """
    refusal = SignatureInvalid(
        f"The signature of {key.name} on a checkpoint of {checkpoint.origin} does not verify."
    )
    payload = signature.payload
    if not signature.is_by(key) or len(payload) != _PAYLOAD_OCTETS[key.kind]:
        raise refusal
    seconds = 0
    if key.kind != ED25519:
        (seconds,), payload = _TIME.unpack(payload[:8]), payload[8:]
    try:
        _verifier(key.kind, key.key)(payload, _message(key.kind, key.name, checkpoint, seconds))
    except (InvalidSignature, ValueError):
        raise refusal from None
    if key.kind == ED25519:
        return None
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise refusal from None
    if not seconds:
        raise refusal
    return moment


def verify_in_order(signed: SignedCheckpoint, keys: Sequence[VerifierKey]) -> list[datetime | None]:
    """The times of the first signature lines, which must be those of `keys` in this order (§14.2)."""
    times = []
    for position, key in enumerate(keys):
        if position >= len(signed.signatures):
            raise SignatureInvalid(
                f"A checkpoint of {signed.checkpoint.origin} lacks a signature of its log."
            )
        times.append(verify_signature(key, signed.checkpoint, signed.signatures[position]))
    return times


def verify_log(signed: SignedCheckpoint, keys: Sequence[VerifierKey]) -> datetime:
    """Check both signatures of the log; the time of the ML-DSA-44 one.

    `keys` are the log's Ed25519 and ML-DSA-44 key, both under its origin. Raises SignatureInvalid.
    """
    origin = signed.checkpoint.origin
    if [(key.name, key.kind) for key in keys] != [(origin, ED25519), (origin, COSIGNATURE_ML_DSA_44)]:
        raise SignatureInvalid(f"No pair of keys is known for the log {origin}.")
    moment = verify_in_order(signed, keys)[1]
    assert moment is not None  # type 0x06 states a time
    return moment


class _KeyPairs:
    """One key pair of each kind under one name; never printed."""

    def __init__(self, name: str, ed25519_seed: bytes, ml_dsa_seed: bytes, ed25519_kind: int) -> None:
        if len(ed25519_seed) != SEED_OCTETS or len(ml_dsa_seed) != SEED_OCTETS:
            raise MalformedMessage(f"A seed is {SEED_OCTETS} octets.")
        self.ed25519_seed, self.ml_dsa_seed = ed25519_seed, ml_dsa_seed
        self._ed25519 = Ed25519PrivateKey.from_private_bytes(ed25519_seed)
        self._ml_dsa = MLDSA44PrivateKey.from_seed_bytes(ml_dsa_seed)
        self.verifier_keys = (
            VerifierKey(name, ed25519_kind, self._ed25519.public_key().public_bytes_raw()),
            VerifierKey(name, COSIGNATURE_ML_DSA_44, self._ml_dsa.public_key().public_bytes_raw()),
        )

    def _sign(self, checkpoint: Checkpoint, now: datetime) -> tuple[NoteSignature, NoteSignature]:
        seconds = (now - _EPOCH) // timedelta(seconds=1)
        if seconds < 1:
            raise MalformedMessage("A signature states a time after 1970.")
        lines = []
        for key, sign in zip(self.verifier_keys, (self._ed25519.sign, self._ml_dsa.sign), strict=True):
            stated = b"" if key.kind == ED25519 else _TIME.pack(seconds)
            signature = sign(_message(key.kind, key.name, checkpoint, seconds))
            lines.append(NoteSignature(key.name, key.key_id, stated + signature))
        return lines[0], lines[1]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.verifier_keys[0].name!r}, <redacted>)"


def _new_seeds() -> tuple[bytes, bytes]:
    return Ed25519PrivateKey.generate().private_bytes_raw(), MLDSA44PrivateKey.generate().private_bytes_raw()


class LogKeys(_KeyPairs):
    """The two key pairs of one shard, under its origin (§14.1)."""

    def __init__(self, origin: str, ed25519_seed: bytes, ml_dsa_seed: bytes) -> None:
        super().__init__(origin, ed25519_seed, ml_dsa_seed, ED25519)
        self.origin = origin

    @classmethod
    def generate(cls, origin: str) -> LogKeys:
        return cls(origin, *_new_seeds())

    def sign(self, checkpoint: Checkpoint, now: datetime) -> SignedCheckpoint:
        """The checkpoint with both signatures; `now`, to the second, is the time that the second states."""
        if checkpoint.origin != self.origin:
            raise MalformedMessage(f"The keys of {self.origin} sign no checkpoint of another log.")
        return SignedCheckpoint(checkpoint, self._sign(checkpoint, now))


class WitnessKeys(_KeyPairs):
    """The two key pairs of one witness, under its name (§15.2)."""

    def __init__(self, name: str, ed25519_seed: bytes, ml_dsa_seed: bytes) -> None:
        super().__init__(name, ed25519_seed, ml_dsa_seed, COSIGNATURE_ED25519)
        self.name = name

    @classmethod
    def generate(cls, name: str) -> WitnessKeys:
        return cls(name, *_new_seeds())

    def cosign(self, checkpoint: Checkpoint, now: datetime) -> tuple[NoteSignature, NoteSignature]:
        """Both cosignatures, Ed25519 first; `now`, to the second, is the time that they state.

        Only for a checkpoint that was stored as the newest one (§15.3).
        """
        return self._sign(checkpoint, now)
