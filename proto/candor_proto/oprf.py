"""The verifiable oblivious PRF of RFC 9497: VOPRF mode, suite ristretto255-SHA512, byte-exact.

The asker blinds an input, the owner of the key multiplies it and proves, once for a whole batch, that
it used the key it published; the asker checks the proof and unblinds. The owner learns nothing of the
input, the asker nothing but F(key, input).

Rules of this file:
- nothing is unblinded before the batch proof has verified;
- every random value can be passed in, so that the RFC's vectors replay; outside tests leave it out.
  A proof nonce `r` used twice with one key gives the key away;
- a batch is 1 to MAX_BATCH elements under one key with one proof;
- the core starts no threads. With `threads` > 1 a batch is cut into as many contiguous slices, and `map`
  runs them: one after the other by default, side by side with `ThreadPoolExecutor(threads).map`, which
  pays because curve operations release the GIL. The result is the same. The pool must not be the one
  whose worker is calling, or the two wait for each other.
"""

from __future__ import annotations

import hashlib
from builtins import map as in_sequence
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, Self, TypeVar

from candor_proto.errors import (
    BatchTooLarge,
    InvalidElement,
    LimitExceeded,
    MalformedMessage,
    ProofInvalid,
)
from candor_proto.group import (
    CONTEXT_STRING,
    SCALAR_BYTES,
    Element,
    Scalar,
    combine,
    hash_to_group,
    hash_to_scalar,
    invert_each,
    multiply,
    multiply_base,
    multiply_each,
    multiply_hashed,
    multiply_pairs,
    total,
)

T = TypeVar("T")

SUITE = "ristretto255-SHA512"
MAX_BATCH = 4096  # elements
MAX_INPUT_BYTES = 65535  # RFC 9497 §1.2; lengths are hashed as two octets
SEED_BYTES = SCALAR_BYTES
PROOF_BYTES = 2 * SCALAR_BYTES
OUTPUT_BYTES = 64

_SEED_DST = b"Seed-" + CONTEXT_STRING
_DERIVE_DST = b"DeriveKeyPair" + CONTEXT_STRING  # the RFC has no hyphen here
_LENGTH_32 = (32).to_bytes(2, "big")
_LENGTH_64 = (64).to_bytes(2, "big")
_MIN_SLICE = 8  # elements; below that a second thread costs more than it saves


class SliceMap(Protocol):
    """What runs the slices of a batch, in order: the built-in `map`, or the `map` of an executor."""

    def __call__(self, work: Callable[[slice], T], slices: Iterable[slice], /) -> Iterable[T]: ...


@dataclass(frozen=True)
class KeyPair:
    """A VOPRF key of an owner; `public` is `secret` times the generator."""

    secret: Scalar
    public: Element

    @classmethod
    def from_secret(cls, secret: Scalar) -> KeyPair:
        """The pair of a stored secret. Raises InvalidScalar for zero."""
        return cls(secret, multiply_base(secret.require_nonzero()))

    def __repr__(self) -> str:
        return "<KeyPair redacted>"


@dataclass(frozen=True)
class Blinded:
    """An input, the blind over it and the element to send. Only `element` may leave the asker."""

    input: bytes
    blind: Scalar
    element: Element

    def __repr__(self) -> str:
        return "<Blinded redacted>"


class BlindedBatch:
    """Blinded inputs in the order in which they are sent, with what every answer to them needs.

    The same elements are sent to every owner: what is the same for all answers is computed for the first.
    """

    def __init__(
        self, inputs: Sequence[bytes], elements: Sequence[Element], inverses: Sequence[Scalar]
    ) -> None:
        """`inverses` are 1 / blind for each, as secret as the blinds."""
        self.inputs = tuple(inputs)
        self.elements = tuple(elements)
        self.inverses = tuple(inverses)

    @classmethod
    def of(cls, items: Sequence[Blinded]) -> Self:
        """All that was blinded, in its order."""
        return cls(
            [item.input for item in items],
            [item.element for item in items],
            invert_each([item.blind for item in items]),
        )

    def __len__(self) -> int:
        return len(self.elements)

    def __repr__(self) -> str:
        return "<BlindedBatch redacted>"


@dataclass(frozen=True)
class Proof:
    """A batch proof that evaluated = key * blinded for the key behind a public element (RFC 9497 §2.2)."""

    c: Scalar
    s: Scalar

    @classmethod
    def parse(cls, octets: bytes) -> Proof:
        """Read 64 octets, c then s. Raises InvalidScalar unless both are canonical.

        Any other length leaves one of the two with a wrong length, which `Scalar.parse` refuses.
        """
        return cls(Scalar.parse(octets[:SCALAR_BYTES]), Scalar.parse(octets[SCALAR_BYTES:]))

    def to_bytes(self) -> bytes:
        """64 octets: c, then s."""
        return self.c.to_bytes() + self.s.to_bytes()


def derive_key_pair(seed: bytes, info: bytes) -> KeyPair:
    """DeriveKeyPair of RFC 9497 §3.2.1.

    `seed` is 32 octets from the operating system's generator and as secret as the key; `info` is
    public, at most 65,535 octets. Raises MalformedMessage or LimitExceeded for wrong lengths.
    """
    if len(seed) != SEED_BYTES:
        raise MalformedMessage(f"A key seed is {SEED_BYTES} octets, got {len(seed)}.")
    derive_input = seed + _with_length(info)
    for counter in range(256):
        secret = hash_to_scalar(derive_input + bytes([counter]), _DERIVE_DST)
        if not secret.is_zero():
            return KeyPair.from_secret(secret)
    raise MalformedMessage("No key can be derived from this seed.")  # probability 2^-64512


# --- asker, first step -------------------------------------------------------------------------------


def blind(input: bytes, blind: Scalar | None = None) -> Blinded:
    """Blind of RFC 9497 §3.3.1. `input` is at most 65,535 octets.

    Raises LimitExceeded for a longer input, InvalidScalar for a blind that is zero, InvalidElement if
    the input hashes to the identity (probability 2^-252).
    """
    _check_input(input)
    blind = Scalar.random() if blind is None else blind.require_nonzero()
    return Blinded(bytes(input), blind, multiply(blind, hash_to_group(input)))


# --- owner -------------------------------------------------------------------------------------------


def blind_evaluate(
    key: KeyPair,
    elements: Sequence[Element],
    *,
    r: Scalar | None = None,
    threads: int = 1,
    map: SliceMap = in_sequence,
) -> tuple[tuple[Element, ...], Proof]:
    """BlindEvaluate of RFC 9497 §3.3.2 for a batch: key * element for each, and one proof for all.

    `r` is the proof nonce (tests only). Raises BatchTooLarge, MalformedMessage for an empty batch,
    InvalidScalar for a nonce that is zero, which would publish the key.
    """
    _check_batch(len(elements))
    r = Scalar.random() if r is None else r.require_nonzero()
    seed = _composite_seed(key.public)

    def evaluate_slice(part: slice) -> tuple[list[Element], Element]:
        blinded = elements[part]
        evaluated = multiply_each(key.secret, blinded)
        return evaluated, combine(_composite_weights(seed, part.start, blinded, evaluated), blinded)

    # ComputeCompositesFast: M is summed over the batch, Z = key * M needs one multiplication.
    done = list(map(evaluate_slice, _slices(len(elements), threads)))
    m = total([partial for _, partial in done])
    z = multiply(key.secret, m)
    c = _challenge(key.public, m, z, multiply_base(r), multiply(r, m))
    evaluated = tuple(element for part, _ in done for element in part)
    return evaluated, Proof(c, r - c * key.secret)


def evaluate(key: KeyPair, input: bytes) -> bytes:
    """Evaluate of RFC 9497 §3.3.1: the owner's own output for `input`, 64 octets, without a proof.

    For publishing. Raises LimitExceeded for an input above 65,535 octets.
    """
    _check_input(input)
    return _output(input, multiply(key.secret, hash_to_group(input)))


def evaluate_each(key: KeyPair, inputs: Sequence[bytes]) -> list[bytes]:
    """`evaluate` for each of `inputs`; the fast form for many. Raises like it."""
    for input in inputs:
        _check_input(input)
    products = multiply_hashed(key.secret, inputs)
    return [_output(input, product) for input, product in zip(inputs, products, strict=True)]


# --- asker, second step ------------------------------------------------------------------------------


def verify_proof(
    public: Element,
    blinded: Sequence[Element],
    evaluated: Sequence[Element],
    proof: Proof,
    *,
    threads: int = 1,
    map: SliceMap = in_sequence,
) -> None:
    """VerifyProof of RFC 9497 §2.2.2: one key, that of `public`, made every `evaluated` from `blinded`.

    Raises ProofInvalid; BatchTooLarge or MalformedMessage where the two lists are no batch.
    """
    _check_batch(len(blinded))
    if len(evaluated) != len(blinded):
        raise MalformedMessage(f"{len(evaluated)} evaluated elements answer {len(blinded)} blinded ones.")
    seed = _composite_seed(public)

    def composite_slice(part: slice) -> tuple[Element, Element]:
        c, d = blinded[part], evaluated[part]
        weights = _composite_weights(seed, part.start, c, d)
        return combine(weights, c), combine(weights, d)

    try:
        done = list(map(composite_slice, _slices(len(blinded), threads)))
        m = total([partial for partial, _ in done])
        z = total([partial for _, partial in done])
        t2 = total([multiply_base(proof.s), multiply(proof.c, public)])
        t3 = combine([proof.s, proof.c], [m, z])
    except InvalidElement:
        # A zero in the proof, or a commitment that is the identity. RFC 9497 §2.1 draws the nonce from
        # the non-zero scalars, so an honest prover comes here with probability 2^-252.
        raise ProofInvalid("The batch proof does not verify under this public key.") from None
    if _challenge(public, m, z, t2, t3) != proof.c:
        raise ProofInvalid("The batch proof does not verify under this public key.")


def finalize(
    blinded: Sequence[Blinded] | BlindedBatch,
    evaluated: Sequence[Element],
    public: Element,
    proof: Proof,
    *,
    threads: int = 1,
    map: SliceMap = in_sequence,
) -> tuple[bytes, ...]:
    """Finalize of RFC 9497 §3.3.2 for a batch: check the proof, then unblind; 64 octets for each input.

    Raises ProofInvalid, and then yields nothing; BatchTooLarge or MalformedMessage as `verify_proof`.
    """
    batch = blinded if isinstance(blinded, BlindedBatch) else BlindedBatch.of(blinded)
    verify_proof(public, batch.elements, evaluated, proof, threads=threads, map=map)

    def unblind_slice(part: slice) -> list[bytes]:
        unblinded = multiply_pairs(batch.inverses[part], evaluated[part])
        return [_output(input, element) for input, element in zip(batch.inputs[part], unblinded, strict=True)]

    done = map(unblind_slice, _slices(len(batch), threads))
    return tuple(output for part in done for output in part)


class Finalize(Protocol):
    """`finalize`, or what does the same elsewhere."""

    def __call__(
        self,
        blinded: BlindedBatch,
        evaluated: Sequence[Element],
        public: Element,
        proof: Proof,
        *,
        threads: int = 1,
        map: SliceMap = in_sequence,
    ) -> tuple[bytes, ...]: ...


# --- shared ------------------------------------------------------------------------------------------


def _check_batch(count: int) -> None:
    if count > MAX_BATCH:
        raise BatchTooLarge(f"A batch is at most {MAX_BATCH} elements, got {count}.")
    if count < 1:
        raise MalformedMessage("A batch holds at least one element.")


def _check_input(input: bytes) -> None:
    if len(input) > MAX_INPUT_BYTES:
        raise LimitExceeded(f"An input is at most {MAX_INPUT_BYTES} octets, got {len(input)}.")


def _with_length(octets: bytes) -> bytes:
    """I2OSP(len, 2) || octets."""
    _check_input(octets)
    return len(octets).to_bytes(2, "big") + octets


def _composite_seed(public: Element) -> bytes:
    """Seed of the composites, RFC 9497 §2.2.1: binds them to the public key."""
    transcript = _with_length(public.to_bytes()) + _with_length(_SEED_DST)
    return hashlib.sha512(transcript).digest()


def _composite_weights(
    seed: bytes, first_index: int, blinded: Sequence[Element], evaluated: Sequence[Element]
) -> list[Scalar]:
    """The weights d_i of the elements from `first_index` on (ComputeComposites, RFC 9497 §2.2.1)."""
    prefix = _LENGTH_64 + seed
    weights = []
    for index, (c, d) in enumerate(zip(blinded, evaluated, strict=True), first_index):
        parts = (prefix, index.to_bytes(2, "big"), _LENGTH_32, c.to_bytes(), _LENGTH_32, d.to_bytes())
        weights.append(hash_to_scalar(b"".join((*parts, b"Composite"))))
    return weights


def _challenge(public: Element, m: Element, z: Element, t2: Element, t3: Element) -> Scalar:
    """The Fiat-Shamir challenge, RFC 9497 §2.2.1."""
    parts = [_with_length(element.to_bytes()) for element in (public, m, z, t2, t3)]
    return hash_to_scalar(b"".join((*parts, b"Challenge")))


def _output(input: bytes, unblinded: Element) -> bytes:
    """The last hash of Finalize and Evaluate, RFC 9497 §3.3.1; 64 octets."""
    octets = _with_length(input) + _LENGTH_32 + unblinded.to_bytes() + b"Finalize"
    return hashlib.sha512(octets).digest()


def _slices(count: int, threads: int) -> list[slice]:
    """`count` items cut into contiguous slices of nearly equal size, at most `threads` of them."""
    pieces = max(1, min(threads, count // _MIN_SLICE))
    bounds = [count * index // pieces for index in range(pieces + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]
