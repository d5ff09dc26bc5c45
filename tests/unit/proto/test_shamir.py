"""§6.2 and §6.4: the field GF(2^128), sharing and interpolation."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_proto.errors import GateClosed, MalformedMessage
from candor_proto.shamir import (
    SECRET_OCTETS,
    evaluate,
    evaluate_each,
    interpolate_at_zero,
    invert_public,
    multiply_by_public,
)

ELEMENTS = st.integers(0, (1 << 128) - 1)
NONZERO = st.integers(1, (1 << 128) - 1)
SHARE = st.binary(min_size=SECRET_OCTETS, max_size=SECRET_OCTETS)
POLYNOMIAL = (1 << 128) | 0x87


def slowly(one: int, other: int) -> int:
    """A second reading of §6.2: carry-less product, then long division by x^128 + x^7 + x^2 + x + 1."""
    product = 0
    for bit in range(128):
        if other >> bit & 1:
            product ^= one << bit
    for bit in range(255, 127, -1):
        if product >> bit & 1:
            product ^= POLYNOMIAL << (bit - 128)
    return product


# --- the field ---------------------------------------------------------------------------------------


@given(one=ELEMENTS, other=ELEMENTS)
def test_s6_2_the_product_is_that_of_the_stated_field(one: int, other: int) -> None:
    assert multiply_by_public(one, other) == multiply_by_public(other, one) == slowly(one, other)


@given(one=ELEMENTS, other=ELEMENTS, third=ELEMENTS)
def test_s6_2_multiplication_is_associative_and_distributes(one: int, other: int, third: int) -> None:
    assert multiply_by_public(multiply_by_public(one, other), third) == multiply_by_public(
        one, multiply_by_public(other, third)
    )
    assert multiply_by_public(one ^ other, third) == multiply_by_public(one, third) ^ multiply_by_public(
        other, third
    )


@settings(deadline=None)
@given(
    coefficients=st.lists(SHARE, min_size=1, max_size=8),
    points=st.lists(st.one_of(st.integers(1, 48), NONZERO), max_size=40).map(tuple),
)
def test_s6_2_evaluating_at_all_abscissae_at_once_is_evaluating_at_each(
    coefficients: list[bytes], points: tuple[int, ...]
) -> None:
    assert evaluate_each(coefficients, points) == [evaluate(coefficients, point) for point in points]


@pytest.mark.parametrize("fill", [b"\x00", b"\x01", b"\x80", b"\xff"])
@pytest.mark.parametrize("threshold", range(3, 9))
def test_s6_2_all_shares_of_an_owner_are_those_of_the_polynomial(threshold: int, fill: bytes) -> None:
    """Carries would show in full lanes, and what leaks from one lane into the next."""
    coefficients, points = [fill * SECRET_OCTETS] * threshold, tuple(range(1, 49))
    assert evaluate_each(coefficients, points) == [evaluate(coefficients, point) for point in points]


@given(value=NONZERO)
def test_every_element_but_zero_has_an_inverse(value: int) -> None:
    inverse = invert_public(value)
    assert 0 < inverse < 1 << 128
    assert multiply_by_public(value, inverse) == 1


@pytest.mark.parametrize("value", [1, 2, 3, 0x87, (1 << 127), (1 << 128) - 1, *range(4, 64)])
def test_small_and_extreme_elements_have_an_inverse(value: int) -> None:
    assert multiply_by_public(value, invert_public(value)) == 1


@pytest.mark.parametrize("value", [0, -1, 1 << 128])
def test_what_is_no_unit_of_the_field_is_refused(value: int) -> None:
    with pytest.raises(MalformedMessage):
        invert_public(value)


def test_the_wrap_is_x7_x2_x_1() -> None:
    assert multiply_by_public(1 << 127, 2) == 0x87


# --- sharing -----------------------------------------------------------------------------------------


@st.composite
def polynomials(draw: st.DrawFn) -> list[bytes]:
    return draw(st.lists(SHARE, min_size=3, max_size=8))


@given(coefficients=polynomials(), data=st.data())
def test_s6_4_any_t_shares_give_the_secret(coefficients: list[bytes], data: st.DataObject) -> None:
    threshold = len(coefficients)
    chosen = data.draw(st.lists(st.integers(1, 48), min_size=threshold, max_size=16, unique=True))
    shares = {abscissa: evaluate(coefficients, abscissa) for abscissa in chosen}
    assert interpolate_at_zero(shares, threshold) == coefficients[0]


@given(coefficients=polynomials(), data=st.data())
def test_fewer_than_t_shares_fit_every_secret(coefficients: list[bytes], data: st.DataObject) -> None:
    """t − 1 shares tell nothing: for any other secret there is a polynomial through them."""
    threshold = len(coefficients)
    other = data.draw(SHARE)
    chosen = data.draw(
        st.lists(st.integers(1, 48), min_size=threshold - 1, max_size=threshold - 1, unique=True)
    )
    shares = {abscissa: evaluate(coefficients, abscissa) for abscissa in chosen}
    free = max(chosen) + 1
    # The missing share that leads to `other`: solve the interpolation for it.
    without = interpolate_at_zero({**shares, free: bytes(SECRET_OCTETS)}, threshold)
    unit = interpolate_at_zero(
        {**dict.fromkeys(shares, bytes(SECRET_OCTETS)), free: (1).to_bytes(SECRET_OCTETS, "big")}, threshold
    )
    missing = multiply_by_public(
        int.from_bytes(without, "big") ^ int.from_bytes(other, "big"),
        invert_public(int.from_bytes(unit, "big")),
    )
    assert interpolate_at_zero({**shares, free: missing.to_bytes(16, "big")}, threshold) == other
    with pytest.raises(GateClosed):
        interpolate_at_zero(shares, threshold)


@settings(max_examples=40)
@given(coefficients=polynomials(), data=st.data())
def test_interpolating_with_too_low_a_degree_does_not_meet_the_secret(
    coefficients: list[bytes], data: st.DataObject
) -> None:
    threshold = len(coefficients)
    chosen = data.draw(
        st.lists(st.integers(1, 48), min_size=threshold - 1, max_size=threshold - 1, unique=True)
    )
    shares = {abscissa: evaluate(coefficients, abscissa) for abscissa in chosen}
    guess = interpolate_at_zero(shares, threshold - 1)
    # The two differ by a multiple of the highest coefficient, so they meet only where that is zero.
    assert (guess == coefficients[0]) == (coefficients[-1] == bytes(SECRET_OCTETS))


def test_s6_4_the_shares_of_lowest_abscissa_are_taken() -> None:
    coefficients = [bytes([n]) * 16 for n in (1, 2, 3)]
    shares = {abscissa: evaluate(coefficients, abscissa) for abscissa in (40, 4, 19, 5)}
    shares[40] = bytes(16)
    assert interpolate_at_zero(shares, 3) == coefficients[0]


@pytest.mark.parametrize(
    ("shares", "threshold"),
    [
        ({}, 0),
        ({1: bytes(16)}, 0),
        ({1: bytes(16)}, -1),
        ({0: bytes(16), 1: bytes(16), 2: bytes(16)}, 3),
        ({-1: bytes(16), 1: bytes(16), 2: bytes(16)}, 3),
        ({1: bytes(16), 2: bytes(16), 1 << 128 | 1: bytes(16)}, 3),
    ],
)
def test_abscissae_and_thresholds_out_of_range_raise_only_typed_errors(
    shares: dict[int, bytes], threshold: int
) -> None:
    with pytest.raises(MalformedMessage):
        interpolate_at_zero(shares, threshold)
