"""ristretto255 (RFC 9496) on Python's integers: for public values only, for nothing here is constant-time.

Points are in extended coordinates (X, Y, Z, T) on the twisted Edwards curve with a = -1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from candor_verify.errors import InvalidElement, InvalidScalar

P: Final = 2**255 - 19
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
D: Final = -121665 * pow(121666, -1, P) % P
SQRT_M1: Final = pow(2, (P - 1) // 4, P)
SQRT_AD_MINUS_ONE: Final = 25063068953384623474111414158702152701244531502492656460079210482610430750235
INVSQRT_A_MINUS_D: Final = 54469307008909316920995813868745141605393597292927456921205312896311721017578
ONE_MINUS_D_SQ: Final = (1 - D * D) % P
D_MINUS_ONE_SQ: Final = (D - 1) * (D - 1) % P
_D2: Final = 2 * D % P


class Point(NamedTuple):
    """A representative of an element."""

    x: int
    y: int
    z: int
    t: int


IDENTITY: Final = Point(0, 1, 1, 0)


def sqrt_ratio_m1(u: int, v: int) -> tuple[bool, int]:
    """SQRT_RATIO_M1 (RFC 9496 §4.2): whether u/v is square, and the non-negative root."""
    v3 = v * v * v % P
    root = u * v3 * pow(u * v3 * v3 * v % P, (P - 5) // 8, P) % P
    check = v * root * root % P
    flipped = check == -u % P
    if flipped or check == -u * SQRT_M1 % P:
        root = root * SQRT_M1 % P
    return check == u % P or flipped, -root % P if root & 1 else root


def decode(encoding: bytes) -> Point:
    """RFC 9496 §4.3.1, without the identity (RFC 9497 §4.1). Raises InvalidElement."""
    s = int.from_bytes(encoding, "little")
    if len(encoding) != 32 or s >= P or s & 1:
        raise InvalidElement("What stands for an element is no canonical encoding of one.")
    ss = s * s % P
    u1, u2 = 1 - ss, 1 + ss
    u2_squared = u2 * u2 % P
    v = (-D * u1 * u1 - u2_squared) % P
    square, inverse = sqrt_ratio_m1(1, v * u2_squared % P)
    den_x = inverse * u2 % P
    den_y = inverse * den_x * v % P
    x = 2 * s * den_x % P
    if x & 1:
        x = P - x
    y = u1 * den_y % P
    t = x * y % P
    if not square or t & 1 or y == 0:
        raise InvalidElement("What stands for an element is no canonical encoding of one.")
    if s == 0:
        raise InvalidElement("What stands for an element is the identity.")
    return Point(x, y, 1, t)


def encode(point: Point) -> bytes:
    """RFC 9496 §4.3.2."""
    x, y, z, t = point
    u1 = (z + y) * (z - y) % P
    u2 = x * y % P
    _, inverse = sqrt_ratio_m1(1, u1 * u2 * u2 % P)
    den1 = inverse * u1 % P
    den2 = inverse * u2 % P
    z_inverse = den1 * den2 * t % P
    if t * z_inverse % P & 1:
        x, y = y * SQRT_M1 % P, x * SQRT_M1 % P
        den = den1 * INVSQRT_A_MINUS_D % P
    else:
        den = den2
    if x * z_inverse % P & 1:
        y = -y
    s = den * (z - y) % P
    return (P - s if s & 1 else s).to_bytes(32, "little")


def add(first: Point, second: Point) -> Point:
    """The sum (Hisil et al., a = -1)."""
    x1, y1, z1, t1 = first
    x2, y2, z2, t2 = second
    a = (y1 - x1) * (y2 - x2) % P
    b = (y1 + x1) * (y2 + x2) % P
    c = t1 * _D2 % P * t2 % P
    d = 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return Point(e * f % P, g * h % P, f * g % P, e * h % P)


def double(point: Point) -> Point:
    """Twice the point."""
    x, y, z, _ = point
    a, b = x * x % P, y * y % P
    h = a + b
    e = h - (x + y) * (x + y) % P
    g = a - b
    f = 2 * z * z % P + g
    return Point(e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar: int, point: Point) -> Point:
    """`scalar` times the point."""
    return multiply_sum([scalar], [point])


def multiply_sum(scalars: Sequence[int], points: Sequence[Point]) -> Point:
    """The sum of scalar times point (Pippenger's buckets)."""
    width = 4 if len(points) < 32 else 8 if len(points) < 1_024 else 10
    result = IDENTITY
    for window in reversed(range(-(-256 // width))):
        for _ in range(width if result is not IDENTITY else 0):
            result = double(result)
        buckets: list[Point | None] = [None] * (1 << width)
        for scalar, point in zip(scalars, points, strict=True):
            digit = scalar >> window * width & (1 << width) - 1
            if digit:
                there = buckets[digit]
                buckets[digit] = point if there is None else add(there, point)
        running = total = IDENTITY
        for bucket in reversed(buckets[1:]):
            if bucket is not None:
                running = bucket if running is IDENTITY else add(running, bucket)
            if running is not IDENTITY:
                total = running if total is IDENTITY else add(total, running)
        if total is not IDENTITY:
            result = total if result is IDENTITY else add(result, total)
    return result


def one_way_map(uniform: bytes) -> Point:
    """64 uniform octets to an element (RFC 9496 §4.3.4)."""
    return add(_map(uniform[:32]), _map(uniform[32:]))


def _map(octets: bytes) -> Point:
    t = (int.from_bytes(octets, "little") & (1 << 255) - 1) % P
    r = SQRT_M1 * t * t % P
    u = (r + 1) * ONE_MINUS_D_SQ % P
    v = (-1 - r * D) * (r + D) % P
    square, s = sqrt_ratio_m1(u, v)
    c = -1 % P
    if not square:
        s = s * t % P
        s = P - s if not s & 1 and s else s
        c = r
    n = (c * (r - 1) * D_MINUS_ONE_SQ - v) % P
    w0 = 2 * s * v % P
    w1 = n * SQRT_AD_MINUS_ONE % P
    w2 = (1 - s * s) % P
    w3 = (1 + s * s) % P
    return Point(w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P)


def decode_scalar(encoding: bytes) -> int:
    """A scalar in its one form, little-endian and below the order. Raises InvalidScalar."""
    value = int.from_bytes(encoding, "little")
    if len(encoding) != 32 or value >= ORDER:
        raise InvalidScalar("What stands for a scalar is none.")
    return value


GENERATOR: Final = decode(bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"))
