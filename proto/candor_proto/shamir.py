"""Secret sharing over GF(2^128): the arithmetic of the score gate (docs/protocol.md §6.2, §6.4).

Shamir, "How to share a secret", CACM 22 (1979). The field is GF(2)[x] / (x^128 + x^7 + x^2 + x + 1);
an element is 16 octets, big-endian, bit i the coefficient of x^i.

Control flow depends only on abscissae, which are public: multiplication walks the bits of the
*public* factor, so no branch is taken on a secret. Lagrange coefficients are public as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from candor_proto.errors import GateClosed, MalformedMessage

SECRET_OCTETS = 16
_BITS = 128
_MASK = (1 << _BITS) - 1
_REDUCTION = 0x87  # x^7 + x^2 + x + 1
_POLYNOMIAL = 1 << _BITS | _REDUCTION


def _times_x(value: int) -> int:
    carry = value >> (_BITS - 1)
    return ((value << 1) & _MASK) ^ (_REDUCTION * carry)


def multiply_by_public(secret: int, public: int) -> int:
    """`secret` × `public` in the field; branches only on the bits of `public`."""
    product = 0
    while public:
        if public & 1:
            product ^= secret
        secret = _times_x(secret)
        public >>= 1
    return product


def invert_public(value: int) -> int:
    """The inverse of a public, non-zero field element, by Euclid's algorithm over GF(2)[x].

    Its running time depends on `value`. Raises MalformedMessage for zero and for more than 128 bits.
    """
    if not 0 < value <= _MASK:
        raise MalformedMessage("Zero has no inverse, and an element has 128 bits.")
    # Held throughout: remainder = factor × value modulo the field polynomial, for both pairs.
    remainder, next_remainder = _POLYNOMIAL, value
    factor, next_factor = 0, 1
    while next_remainder != 1:
        shift = remainder.bit_length() - next_remainder.bit_length()
        if shift < 0:
            remainder, next_remainder = next_remainder, remainder
            factor, next_factor = next_factor, factor
        else:
            remainder ^= next_remainder << shift
            factor ^= next_factor << shift
    return next_factor


@lru_cache(maxsize=65536)
def _coefficients(abscissae: tuple[int, ...]) -> tuple[int, ...]:
    """Lagrange coefficients at 0 for distinct non-zero public abscissae."""
    coefficients = []
    for own in abscissae:
        numerator, denominator = 1, 1
        for other in abscissae:
            if other != own:
                numerator = multiply_by_public(numerator, other)
                denominator = multiply_by_public(denominator, own ^ other)
        coefficients.append(multiply_by_public(numerator, invert_public(denominator)))
    return tuple(coefficients)


def evaluate(coefficients: Sequence[bytes], abscissa: int) -> bytes:
    """f(abscissa) for f with `coefficients` (constant term first), each 16 octets; Horner's rule."""
    value = 0
    for coefficient in reversed(coefficients):
        value = multiply_by_public(value, abscissa) ^ int.from_bytes(coefficient, "big")
    return value.to_bytes(SECRET_OCTETS, "big")


@dataclass(frozen=True)
class _Lanes:
    """How to evaluate at given abscissae, which are public: no coefficient is in it.

    Each abscissa has a lane of `octets` in one large number. `shifts` holds (k, ((i, lanes), …)):
    coefficient i, shifted by k bits, is part of the sum in `lanes`, those whose abscissa to the power i has
    bit k. In each lane `low` selects the element, and `high` what stands above, once shifted down, until
    `folds` reductions have emptied it.
    """

    octets: int
    shifts: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]
    low: int
    high: int
    folds: int


@lru_cache(maxsize=1024)
def _lanes(abscissae: tuple[int, ...], terms: int) -> _Lanes:
    powers = [[1] * len(abscissae)]
    for _ in range(1, terms):
        powers.append([multiply_by_public(power, x) for power, x in zip(powers[-1], abscissae, strict=True)])
    widest = max((power.bit_length() for row in powers for power in row), default=1)
    octets = SECRET_OCTETS + (widest + 6) // 8  # an element times the widest power
    places = [_MASK << 8 * octets * place for place in reversed(range(len(abscissae)))]
    shifts = []
    for shift in range(widest):
        lanes = (
            sum(place for place, power in zip(places, row, strict=True) if power >> shift & 1)
            for row in powers
        )
        if parts := tuple((index, mask) for index, mask in enumerate(lanes) if mask):
            shifts.append((shift, parts))
    above = (1 << 8 * octets - _BITS) - 1
    high = sum(above << 8 * octets * place for place in range(len(abscissae)))
    # A fold turns n bits above the elements into n + 7 bits at their lower end.
    return _Lanes(octets, tuple(shifts), sum(places), high, 1 if widest - 1 + 7 <= _BITS else 2)


def evaluate_each(coefficients: Sequence[bytes], abscissae: tuple[int, ...]) -> list[bytes]:
    """f(abscissa) as `evaluate` gives it for each of `abscissae`, all of them at once: for owners.

    Coefficients are copied into every lane; masks and shifts come from the public abscissae alone.
    """
    lanes = _lanes(abscissae, len(coefficients))
    count = len(abscissae)
    copies = [int.from_bytes(octets.rjust(lanes.octets, b"\0") * count, "big") for octets in coefficients]
    value = 0
    for shift, parts in lanes.shifts:
        selected = 0
        for index, mask in parts:
            selected ^= copies[index] & mask
        value ^= selected << shift
    for _ in range(lanes.folds):  # x^128 = x^7 + x^2 + x + 1
        high = value >> _BITS & lanes.high
        value = value & lanes.low ^ high ^ high << 1 ^ high << 2 ^ high << 7
    octets = value.to_bytes(lanes.octets * count, "big")
    return [octets[end - SECRET_OCTETS : end] for end in range(lanes.octets, len(octets) + 1, lanes.octets)]


def interpolate_at_zero(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """The secret from `threshold` shares, those of the lowest abscissae.

    `shares` maps abscissa (1 … 2^128 − 1) to 16 octets. Raises GateClosed when there are fewer, and
    MalformedMessage for a threshold below 1 or an abscissa out of range.
    """
    if threshold < 1:
        raise MalformedMessage("A threshold is at least one share.")
    if len(shares) < threshold:
        raise GateClosed("Fewer shares than the threshold.")
    chosen = tuple(sorted(shares))[:threshold]
    if not 0 < chosen[0] <= chosen[-1] <= _MASK:
        # 0 is the secret itself; beyond 128 bits two abscissae may be one element.
        raise MalformedMessage("An abscissa lies between 1 and 2^128 - 1.")
    secret = 0
    for abscissa, coefficient in zip(chosen, _coefficients(chosen), strict=True):
        secret ^= multiply_by_public(int.from_bytes(shares[abscissa], "big"), coefficient)
    return secret.to_bytes(SECRET_OCTETS, "big")
