"""The group of RFC 9497 §4.1, ristretto255 with SHA-512: elements, scalars and hashing to both.

Rules of this file:
- an `Element` is always canonical and never the identity, a `Scalar` always below the group order:
  both are checked where octets become values (`parse`), never again after that;
- what libsodium has just computed from valid values needs no second check, and skips it (`_trusted`);
- a scalar may be a key or a blind, so it does not print, hash or pickle, and compares in constant time;
- the default domain-separation tags are those of VOPRF mode; every other use brings its own.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Sequence
from typing import NoReturn, Self

from candor_proto import sodium
from candor_proto.errors import InvalidElement, InvalidScalar, LimitExceeded
from candor_proto.sodium import ELEMENT_BYTES, IDENTITY, SCALAR_BYTES, curve

__all__ = [
    "CONTEXT_STRING",
    "ELEMENT_BYTES",
    "SCALAR_BYTES",
    "Element",
    "Scalar",
    "combine",
    "elements_of",
    "expand_message_xmd",
    "hash_to_group",
    "hash_to_scalar",
    "invert_each",
    "multiply",
    "multiply_base",
    "multiply_each",
    "multiply_hashed",
    "multiply_pairs",
    "scalars_of",
    "total",
]

# "OPRFV1-" || I2OSP(mode, 1) || "-" || identifier, with mode 0x01 for VOPRF (RFC 9497 §3.1).
CONTEXT_STRING = b"OPRFV1-\x01-ristretto255-SHA512"
HASH_TO_GROUP_DST = b"HashToGroup-" + CONTEXT_STRING
HASH_TO_SCALAR_DST = b"HashToScalar-" + CONTEXT_STRING

_SHA512_BYTES = 64
_AFTER_Z_PAD = hashlib.sha512(bytes(128))  # Z_pad, one block of SHA-512, is hashed once; copied, not updated
_ZERO = bytes(SCALAR_BYTES)


class Element:
    """A ristretto255 element other than the identity, as its 32-octet canonical encoding."""

    __slots__ = ("_octets",)
    _octets: bytes

    def __init__(self) -> None:
        raise TypeError("An Element comes from Element.parse or from a computation.")

    @classmethod
    def parse(cls, octets: bytes) -> Self:
        """DeserializeElement of RFC 9497 §4.1. Raises InvalidElement."""
        octets = bytes(octets)
        if octets == IDENTITY:
            raise InvalidElement("The identity element is not accepted.")
        if not curve().is_valid_point(octets):
            raise InvalidElement("Not the canonical 32-octet encoding of a ristretto255 element.")
        return cls._trusted(octets)

    @classmethod
    def _trusted(cls, octets: bytes) -> Self:
        """Wrap what libsodium has just produced and what cannot be the identity."""
        element = object.__new__(cls)
        _set_element(element, octets)
        return element

    def to_bytes(self) -> bytes:
        """SerializeElement: 32 octets."""
        return self._octets

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("An Element is immutable.")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Element) and other._octets == self._octets

    def __hash__(self) -> int:
        return hash(self._octets)

    def __repr__(self) -> str:
        # An unblinded element is a hash of an identity field: whoever reads it in a log can test guesses.
        return "<Element>"

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return Element.parse, (self._octets,)


class Scalar:
    """An integer below the group order as 32 octets little-endian; possibly secret, so never shown."""

    __slots__ = ("_octets",)
    _octets: bytes

    def __init__(self) -> None:
        raise TypeError("A Scalar comes from Scalar.parse, Scalar.random or a computation.")

    @classmethod
    def parse(cls, octets: bytes) -> Self:
        """DeserializeScalar of RFC 9497 §4.1, zero included. Raises InvalidScalar.

        Canonical means: reducing it modulo the order changes nothing. libsodium does that in constant
        time, so keys and blinds may be read this way too.
        """
        octets = bytes(octets)
        if len(octets) != SCALAR_BYTES:
            raise InvalidScalar(f"A scalar is {SCALAR_BYTES} octets, got {len(octets)}.")
        if not hmac.compare_digest(curve().scalar_reduce(octets + _ZERO), octets):
            raise InvalidScalar("A scalar must be below the group order.")
        return cls._trusted(octets)

    @classmethod
    def parse_nonzero(cls, octets: bytes) -> Self:
        """Like `parse`, and refuses zero: for keys, blinds and proof nonces."""
        return cls.parse(octets).require_nonzero()

    @classmethod
    def random(cls) -> Self:
        """RandomScalar: uniform and non-zero (RFC 9497 §2.1)."""
        return cls._trusted(curve().scalar_random())

    @classmethod
    def _trusted(cls, octets: bytes) -> Self:
        """Wrap what libsodium has just reduced."""
        scalar = object.__new__(cls)
        _set_scalar(scalar, octets)
        return scalar

    def to_bytes(self) -> bytes:
        """SerializeScalar: 32 octets little-endian. Of a key or blind, this is the secret itself."""
        return self._octets

    def is_zero(self) -> bool:
        return hmac.compare_digest(self._octets, _ZERO)

    def require_nonzero(self) -> Self:
        """This scalar; raises InvalidScalar where it is zero."""
        if self.is_zero():
            raise InvalidScalar("A scalar that is zero is not accepted here.")
        return self

    def __add__(self, other: Scalar) -> Scalar:
        return Scalar._trusted(curve().scalar_add(self._octets, other._octets))

    def __sub__(self, other: Scalar) -> Scalar:
        return Scalar._trusted(curve().scalar_sub(self._octets, other._octets))

    def __mul__(self, other: Scalar) -> Scalar:
        return Scalar._trusted(curve().scalar_mul(self._octets, other._octets))

    def invert(self) -> Scalar:
        """ScalarInverse; raises InvalidScalar for zero."""
        return Scalar._trusted(curve().scalar_invert(self._octets))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("A Scalar is immutable.")

    # With __eq__ and no __hash__ a class is unhashable: a hash would be a function of the secret.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scalar) and hmac.compare_digest(other._octets, self._octets)

    def __repr__(self) -> str:
        return "<Scalar redacted>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Scalar may be a key and does not pickle; call to_bytes where that is meant.")


# The slots' own setters: the only way past __setattr__, and twice as fast as object.__setattr__.
_set_element = Element.__dict__["_octets"].__set__
_set_scalar = Scalar.__dict__["_octets"].__set__


# --- operations --------------------------------------------------------------------------------------


def multiply(scalar: Scalar, element: Element) -> Element:
    """scalar * element. Raises InvalidElement where the product is the identity (a zero scalar)."""
    return Element._trusted(curve().scalarmult(scalar._octets, element._octets))


def multiply_base(scalar: Scalar) -> Element:
    """ScalarMultGen. Raises InvalidElement for zero."""
    return Element._trusted(curve().scalarmult_base(scalar._octets))


def multiply_each(scalar: Scalar, elements: Sequence[Element]) -> list[Element]:
    """scalar * element for each; the fast form of `multiply` for a batch."""
    products = curve().scalarmult_each(scalar._octets, [element._octets for element in elements])
    return [Element._trusted(product) for product in products]


def multiply_pairs(scalars: Sequence[Scalar], elements: Sequence[Element]) -> list[Element]:
    """scalars[i] * elements[i] for each; the fast form of `multiply` for a batch."""
    products = curve().scalarmult_pairs(
        [scalar._octets for scalar in scalars], [element._octets for element in elements]
    )
    return [Element._trusted(product) for product in products]


def combine(weights: Sequence[Scalar], elements: Sequence[Element]) -> Element:
    """The sum of weights[i] * elements[i], at least one. Raises InvalidElement where it is the identity."""
    total = curve().weighted_sum(
        [weight._octets for weight in weights], [element._octets for element in elements]
    )
    return _unless_identity(total)


def total(elements: Sequence[Element]) -> Element:
    """The sum of `elements`, at least one. Raises InvalidElement where it is the identity."""
    library = curve()
    return _unless_identity(functools.reduce(library.add, (element._octets for element in elements)))


def _unless_identity(octets: bytes) -> Element:
    if octets == IDENTITY:
        raise InvalidElement("A computation gave the identity element.")
    return Element._trusted(octets)


def invert_each(scalars: Sequence[Scalar]) -> list[Scalar]:
    """1 / scalar for each, at the price of one inversion and three products each.

    Montgomery's trick: invert the product of all, then peel off one factor at a time. libsodium 1.0.18
    needs 30 µs for an inversion and 0.3 µs for a product. Raises InvalidScalar if any is zero.
    """
    if not scalars:
        return []
    library = curve()
    products = [scalars[0]._octets]
    for scalar in scalars[1:]:
        products.append(library.scalar_mul(products[-1], scalar._octets))
    remaining = library.scalar_invert(products[-1])
    inverses = []
    for index in range(len(scalars) - 1, 0, -1):
        inverses.append(Scalar._trusted(library.scalar_mul(remaining, products[index - 1])))
        remaining = library.scalar_mul(remaining, scalars[index]._octets)
    inverses.append(Scalar._trusted(remaining))
    inverses.reverse()
    return inverses


# --- between processes of one node ------------------------------------------------------------------


def elements_of(octets: bytes) -> list[Element]:
    """Elements that another process of this node has parsed or computed; they are not checked again."""
    return [Element._trusted(octets[at : at + ELEMENT_BYTES]) for at in range(0, len(octets), ELEMENT_BYTES)]


def scalars_of(octets: bytes) -> list[Scalar]:
    """Scalars, one behind the other. Raises InvalidScalar."""
    return [Scalar.parse(octets[at : at + SCALAR_BYTES]) for at in range(0, len(octets), SCALAR_BYTES)]


# --- hashing -----------------------------------------------------------------------------------------


def expand_message_xmd(message: bytes, dst: bytes, length: int) -> bytes:
    """`length` uniform octets (1 to 16,320) from SHA-512, RFC 9380 §5.3.1.

    `dst` is 1 to 255 octets; longer tags (§5.3.3) are not needed here. Raises LimitExceeded.
    """
    blocks, dst_prime, after_message, after_first = _framing(dst, length)
    state = _AFTER_Z_PAD.copy()
    state.update(message + after_message)
    first = state.digest()
    uniform = block = hashlib.sha512(first + after_first).digest()
    for index in range(2, blocks + 1):
        mixed = bytes(a ^ b for a, b in zip(first, block, strict=True))
        block = hashlib.sha512(mixed + bytes([index]) + dst_prime).digest()
        uniform += block
    return uniform[:length]


@functools.lru_cache(maxsize=64)
def _framing(dst: bytes, length: int) -> tuple[int, bytes, bytes, bytes]:
    """Number of blocks, DST_prime, what follows the message, what follows b_0: tags and lengths are few."""
    blocks = -(-length // _SHA512_BYTES)
    if not (1 <= blocks <= 255 and 1 <= len(dst) <= 255):
        raise LimitExceeded("expand_message_xmd takes a tag of 1-255 octets and gives 1-16,320 octets.")
    dst_prime = dst + bytes([len(dst)])
    return blocks, dst_prime, length.to_bytes(2, "big") + b"\0" + dst_prime, b"\x01" + dst_prime


def hash_to_group(message: bytes, dst: bytes = HASH_TO_GROUP_DST) -> Element:
    """HashToGroup of RFC 9497 §4.1 (hash_to_ristretto255, RFC 9380 Appendix B).

    Raises InvalidElement in the case, of probability 2^-252, that the result is the identity.
    """
    return _unless_identity(curve().from_hash(expand_message_xmd(message, dst, sodium.HASH_BYTES)))


def multiply_hashed(scalar: Scalar, messages: Sequence[bytes]) -> list[Element]:
    """scalar * hash_to_group(message) for each; raises InvalidElement as both do. For owners."""
    library = curve()
    uniform = [expand_message_xmd(message, HASH_TO_GROUP_DST, sodium.HASH_BYTES) for message in messages]
    points = library.from_hash_each(uniform)
    if IDENTITY in points:
        raise InvalidElement("A computation gave the identity element.")
    return [Element._trusted(product) for product in library.scalarmult_each(scalar._octets, points)]


def hash_to_scalar(message: bytes, dst: bytes = HASH_TO_SCALAR_DST) -> Scalar:
    """HashToScalar of RFC 9497 §4.1: 64 uniform octets, little-endian, modulo the group order."""
    return Scalar._trusted(curve().scalar_reduce(expand_message_xmd(message, dst, sodium.HASH_BYTES)))
