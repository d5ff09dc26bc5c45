"""RFC 9497, VOPRF mode, ristretto255-SHA512: batch proofs, and an element under its blind (§5.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from candor_verify import ristretto
from candor_verify.errors import BatchTooLarge, InvalidScalar, Malformed, ProofInvalid
from candor_verify.octets import u8, u16

CONTEXT = b"OPRFV1-\x01-ristretto255-SHA512"
MAX_BATCH = 4_096
PROOF_OCTETS = 64


def expand_message_xmd(message: bytes, tag: bytes, length: int) -> bytes:
    """RFC 9380 §5.3.1 with SHA-512, for up to 64 octets."""
    dst = tag + u8(len(tag))
    first = hashlib.sha512(bytes(128) + message + u16(length) + b"\x00" + dst).digest()
    return hashlib.sha512(first + b"\x01" + dst).digest()[:length]


def hash_to_scalar(message: bytes) -> int:
    """RFC 9497 §4.1."""
    uniform = expand_message_xmd(message, b"HashToScalar-" + CONTEXT, 64)
    return int.from_bytes(uniform, "little") % ristretto.ORDER


def hash_to_group(message: bytes) -> ristretto.Point:
    """RFC 9497 §4.1."""
    return ristretto.one_way_map(expand_message_xmd(message, b"HashToGroup-" + CONTEXT, 64))


def blinded(input_octets: bytes, blind: bytes) -> bytes:
    """The element of a lookup for an input under its blind. Raises InvalidScalar."""
    scalar = ristretto.decode_scalar(blind)
    if scalar == 0:
        raise InvalidScalar("A blind is zero.")
    return ristretto.encode(ristretto.multiply(scalar, hash_to_group(input_octets)))


def verify_proof(key: bytes, elements: Sequence[bytes], evaluated: Sequence[bytes], proof: bytes) -> None:
    """That all of `evaluated` are the elements under the one key (RFC 9497 §2.2.2).

    Raises ProofInvalid; InvalidElement or InvalidScalar for what is none; BatchTooLarge; and Malformed for
    another number of elements than was asked, or none.
    """
    if len(elements) > MAX_BATCH:
        raise BatchTooLarge(f"A batch of {len(elements)} elements; at most {MAX_BATCH} are read.")
    if len(elements) != len(evaluated) or not elements:
        raise Malformed("A proof covers as many elements as were asked, and at least one.")
    public = ristretto.decode(key)
    points = list(map(ristretto.decode, elements))
    evaluations = list(map(ristretto.decode, evaluated))
    challenge = ristretto.decode_scalar(proof[:32])
    response = ristretto.decode_scalar(proof[32:])
    weights = _composite_weights(key, elements, evaluated)
    m = ristretto.multiply_sum(weights, points)
    z = ristretto.multiply_sum(weights, evaluations)
    t2 = ristretto.multiply_sum([response, challenge], [ristretto.GENERATOR, public])
    t3 = ristretto.multiply_sum([response, challenge], [m, z])
    parts = (key, *map(ristretto.encode, (m, z, t2, t3)))
    # The identity is no element (RFC 9497 §4.1): who proved with the nonce zero gave the key away.
    if bytes(32) in parts:
        raise ProofInvalid("The proof of the answer holds the identity.")
    transcript = b"".join(map(_framed, parts))
    if hash_to_scalar(transcript + b"Challenge") != challenge:
        raise ProofInvalid("The proof of the answer does not verify under the key.")


def derive_key_pair(seed: bytes, info: bytes) -> tuple[bytes, bytes]:
    """DeriveKeyPair (RFC 9497 §3.2.1), for vectors alone. Raises Malformed."""
    if len(seed) != 32:
        raise Malformed("A seed has 32 octets.")
    for counter in range(256):
        uniform = expand_message_xmd(seed + _framed(info) + u8(counter), b"DeriveKeyPair" + CONTEXT, 64)
        secret = int.from_bytes(uniform, "little") % ristretto.ORDER
        if secret:
            public = ristretto.multiply(secret, ristretto.GENERATOR)
            return secret.to_bytes(32, "little"), ristretto.encode(public)
    raise Malformed("The seed gives no key.")


def output_of(input_octets: bytes, product: ristretto.Point) -> bytes:
    """F(k, x) from x and the unblinded element (RFC 9497 §3.3.2)."""
    framed = _framed(input_octets) + _framed(ristretto.encode(product)) + b"Finalize"
    return hashlib.sha512(framed).digest()


def blind_evaluate(secret: int, elements: Sequence[bytes], nonce: int) -> tuple[list[bytes], bytes]:
    """Evaluations and proof of a batch (RFC 9497 §2.2.1, §3.3.2), for vectors alone.

    Raises Malformed or InvalidScalar.
    """
    if not secret or not nonce:
        raise InvalidScalar("A key or a nonce is zero.")
    if not elements:
        raise Malformed("A batch is not empty.")
    points = list(map(ristretto.decode, elements))
    results = [ristretto.multiply(secret, point) for point in points]
    evaluated = list(map(ristretto.encode, results))
    key = ristretto.encode(ristretto.multiply(secret, ristretto.GENERATOR))
    weights = _composite_weights(key, elements, evaluated)
    m = ristretto.multiply_sum(weights, points)
    z = ristretto.multiply(secret, m)
    t2, t3 = ristretto.multiply(nonce, ristretto.GENERATOR), ristretto.multiply(nonce, m)
    parts = (key, *map(ristretto.encode, (m, z, t2, t3)))
    challenge = hash_to_scalar(b"".join(map(_framed, parts)) + b"Challenge")
    response = (nonce - challenge * secret) % ristretto.ORDER
    return evaluated, challenge.to_bytes(32, "little") + response.to_bytes(32, "little")


def finalize(
    key: bytes,
    inputs: Sequence[bytes],
    blinds: Sequence[bytes],
    evaluated: Sequence[bytes],
    proof: bytes,
) -> list[bytes]:
    """The outputs of a batch, whose proof is verified (RFC 9497 §3.3.2). Raises as `verify_proof`."""
    if not len(inputs) == len(blinds) == len(evaluated):
        raise Malformed("A batch has as many blinds and evaluations as inputs.")
    elements = [blinded(string, blind) for string, blind in zip(inputs, blinds, strict=True)]
    verify_proof(key, elements, evaluated, proof)
    return [
        output_of(
            string,
            ristretto.multiply(
                pow(ristretto.decode_scalar(blind), -1, ristretto.ORDER), ristretto.decode(element)
            ),
        )
        for string, blind, element in zip(inputs, blinds, evaluated, strict=True)
    ]


def _composite_weights(key: bytes, elements: Sequence[bytes], evaluated: Sequence[bytes]) -> list[int]:
    """The d_i of ComputeComposites (RFC 9497 §2.2.1)."""
    seed = hashlib.sha512(_framed(key) + _framed(b"Seed-" + CONTEXT)).digest()
    return [
        hash_to_scalar(_framed(seed) + u16(i) + _framed(element) + _framed(result) + b"Composite")
        for i, (element, result) in enumerate(zip(elements, evaluated, strict=True))
    ]


def _framed(value: bytes) -> bytes:
    return u16(len(value)) + value
