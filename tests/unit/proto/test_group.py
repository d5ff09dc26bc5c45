"""Elements, scalars and hashing to both (RFC 9497 §2.1 and §4.1, RFC 9380 §5.3.1)."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_proto import group, sodium
from candor_proto.errors import InvalidElement, InvalidScalar, LimitExceeded
from candor_proto.group import (
    Element,
    Scalar,
    combine,
    expand_message_xmd,
    hash_to_group,
    hash_to_scalar,
    invert_each,
    multiply,
    multiply_base,
    multiply_each,
    multiply_hashed,
    total,
)

VECTORS = Path(__file__).parents[2] / "vectors"
NEGATIVE = json.loads((VECTORS / "rfc9497_negative.json").read_text())
ORDER = 2**252 + 27742317777372353535851937790883648493


def scalar(number: int) -> Scalar:
    return Scalar.parse((number % ORDER).to_bytes(32, "little"))


def named(items: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(item, id=item["name"]) for item in items]


# --- parsing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("item", named(NEGATIVE["elements"]))
def test_bad_element_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(InvalidElement) as refusal:
        Element.parse(bytes.fromhex(item["encoding"]))
    assert refusal.value.code == item["error"]


@pytest.mark.parametrize("item", named(NEGATIVE["scalars"]))
def test_bad_scalar_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(InvalidScalar) as refusal:
        Scalar.parse(bytes.fromhex(item["encoding"]))
    assert refusal.value.code == item["error"]


def test_scalar_just_below_the_order_and_zero_are_canonical() -> None:
    for number in (0, 1, ORDER - 1):
        assert Scalar.parse(number.to_bytes(32, "little")).to_bytes() == number.to_bytes(32, "little")


def test_zero_scalar_is_refused_where_it_must_not_be_zero() -> None:
    with pytest.raises(InvalidScalar):
        Scalar.parse_nonzero(bytes(32))
    assert Scalar.parse_nonzero(b"\1" + bytes(31)) == scalar(1)


@given(st.one_of(st.binary(min_size=32, max_size=32), st.binary(max_size=70)))
def test_element_parse_returns_its_input_or_refuses_it(octets: bytes) -> None:
    try:
        element = Element.parse(octets)
    except InvalidElement:
        return
    assert element.to_bytes() == octets


@given(st.one_of(st.binary(min_size=32, max_size=32), st.binary(max_size=70)), st.booleans())
def test_scalar_parse_returns_its_input_or_refuses_it(octets: bytes, low: bool) -> None:
    if low and len(octets) == 32:
        octets = octets[:31] + bytes([octets[31] & 0x1F])
    in_range = len(octets) == 32 and int.from_bytes(octets, "little") < ORDER
    try:
        parsed = Scalar.parse(octets)
    except InvalidScalar:
        assert not in_range
        return
    assert in_range
    assert parsed.to_bytes() == octets


@given(st.binary(max_size=40), st.integers(0, 255))
def test_an_element_has_one_encoding(seed: bytes, bit: int) -> None:
    """Whatever bit is flipped, the result is refused or another element: never the same one again."""
    encoding = hash_to_group(seed).to_bytes()
    flipped = bytearray(encoding)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        other = Element.parse(bytes(flipped))
    except InvalidElement:
        return
    two = scalar(2)
    assert multiply(two, other) != multiply(two, Element.parse(encoding))


# --- secrets do not leak -------------------------------------------------------------------------------


def test_scalar_does_not_print_pickle_copy_or_hash() -> None:
    secret = Scalar.random()
    shown = f"{secret} {secret!r} {[secret]} {secret!s:>5}"
    assert secret.to_bytes().hex()[:8] not in shown
    assert "redacted" in shown
    assert str(int.from_bytes(secret.to_bytes(), "little")) not in shown
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        copy.deepcopy(secret)
    with pytest.raises(TypeError):
        hash(secret)


def test_element_does_not_print_but_pickles_through_parse() -> None:
    element = hash_to_group(b"a name")
    assert element.to_bytes().hex()[:8] not in repr(element)
    assert pickle.loads(pickle.dumps(element)) == element


def test_values_are_immutable_and_not_constructed_unchecked() -> None:
    for kind, value in ((Element, hash_to_group(b"x")), (Scalar, Scalar.random())):
        with pytest.raises(TypeError):
            kind()
        with pytest.raises(AttributeError):
            value._octets = bytes(32)
        with pytest.raises(AttributeError):
            value.other = 1


def test_element_and_scalar_of_the_same_octets_are_not_equal() -> None:
    octets = next(
        encoding
        for encoding in (hash_to_group(bytes([n])).to_bytes() for n in range(255))
        if int.from_bytes(encoding, "little") < ORDER
    )
    assert Element.parse(octets) != Scalar.parse(octets)
    assert len({Element.parse(octets), Element.parse(octets)}) == 1


# --- operations --------------------------------------------------------------------------------------


@given(st.integers(0, ORDER - 1), st.integers(0, ORDER - 1))
def test_scalar_operators_are_arithmetic_modulo_the_order(left: int, right: int) -> None:
    assert scalar(left) + scalar(right) == scalar(left + right)
    assert scalar(left) - scalar(right) == scalar(left - right)
    assert scalar(left) * scalar(right) == scalar(left * right)


@given(st.lists(st.integers(1, ORDER - 1), max_size=6))
def test_invert_each_equals_inverting_each(numbers: list[int]) -> None:
    scalars = [scalar(number) for number in numbers]
    assert invert_each(scalars) == [one.invert() for one in scalars]


def test_invert_each_refuses_a_zero_among_others() -> None:
    with pytest.raises(InvalidScalar):
        invert_each([scalar(2), scalar(0), scalar(3)])


def test_products_and_sums_agree() -> None:
    generator = multiply_base(scalar(1))
    assert multiply(scalar(5), generator) == multiply_base(scalar(5))
    assert multiply_each(scalar(3), [generator, multiply_base(scalar(2))]) == [
        multiply_base(scalar(3)),
        multiply_base(scalar(6)),
    ]
    assert combine([scalar(2), scalar(3)], [generator, multiply_base(scalar(7))]) == multiply_base(scalar(23))
    assert total([generator] * 4) == multiply_base(scalar(4))


def test_no_computation_yields_the_identity() -> None:
    generator, minus = multiply_base(scalar(1)), multiply_base(scalar(ORDER - 1))
    with pytest.raises(InvalidElement):
        total([generator, minus])
    with pytest.raises(InvalidElement):
        combine([scalar(1), scalar(1)], [generator, minus])
    with pytest.raises(InvalidElement):
        multiply(scalar(0), generator)
    with pytest.raises(InvalidElement):
        multiply_base(scalar(0))


# --- hashing -----------------------------------------------------------------------------------------

# RFC 9380 Appendix K.3: expand_message_xmd(SHA-512), DST QUUX-V01-CS02-with-expander-SHA512-256.
EXPANDER_DST = b"QUUX-V01-CS02-with-expander-SHA512-256"
EXPANDED = {
    b"": "6b9a7312411d92f921c6f68ca0b6380730a1a4d982c507211a90964c394179ba",
    b"abc": "0da749f12fbe5483eb066a5f595055679b976e93abe9be6f0f6318bce7aca8dc",
}


@pytest.mark.parametrize("message", EXPANDED)
def test_expand_message_xmd_of_rfc9380_k3(message: bytes) -> None:
    assert expand_message_xmd(message, EXPANDER_DST, 32).hex() == EXPANDED[message]


def test_expand_message_xmd_beyond_one_block_binds_the_length() -> None:
    long = expand_message_xmd(b"abc", EXPANDER_DST, 150)
    assert len(long) == 150
    assert len({long[start : start + 50] for start in (0, 50, 100)}) == 3
    assert expand_message_xmd(b"abc", EXPANDER_DST, 149)[:64] != long[:64]


@pytest.mark.parametrize(("dst_octets", "length"), [(0, 64), (256, 64), (20, 0), (20, 255 * 64 + 1)])
def test_expand_message_xmd_refuses_what_the_rfc_excludes(dst_octets: int, length: int) -> None:
    with pytest.raises(LimitExceeded):
        expand_message_xmd(b"", bytes(dst_octets), length)


def test_hash_to_group_uses_the_tag_of_voprf_mode() -> None:
    vector = json.loads((VECTORS / "rfc9497_ristretto255_sha512_voprf.json").read_text())
    assert group.HASH_TO_GROUP_DST.hex() == vector["hash_to_group_dst"]
    assert hash_to_group(b"x") == hash_to_group(b"x", group.HASH_TO_GROUP_DST)
    assert hash_to_group(b"x") != hash_to_group(b"x", b"another tag")
    assert hash_to_scalar(b"x") != hash_to_scalar(b"x", group.HASH_TO_GROUP_DST)


def test_hash_to_group_refuses_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its probability is 2^-252, so the case is forced."""
    monkeypatch.setattr(sodium.Curve, "from_hash", lambda self, uniform: sodium.IDENTITY)
    with pytest.raises(InvalidElement):
        hash_to_group(b"x")


@settings(deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_a_batch_of_hashes_is_multiplied_as_each_alone(messages: list[bytes]) -> None:
    alone = [multiply(scalar(7), hash_to_group(message)) for message in messages]
    assert multiply_hashed(scalar(7), messages) == alone


def test_a_batch_of_hashes_refuses_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, whatever the library's multiplication does with it."""
    monkeypatch.setattr(sodium.Curve, "from_hash_each", lambda self, uniform: [sodium.IDENTITY])
    monkeypatch.setattr(sodium.Curve, "scalarmult_each", lambda self, scalar, points: points)
    with pytest.raises(InvalidElement):
        multiply_hashed(scalar(7), [b"x"])


def test_hash_to_scalar_reduces_64_octets_little_endian() -> None:
    uniform = expand_message_xmd(b"x", group.HASH_TO_SCALAR_DST, 64)
    expected = int.from_bytes(uniform, "little") % ORDER
    assert hash_to_scalar(b"x").to_bytes() == expected.to_bytes(32, "little")


def test_a_dataclass_that_holds_a_scalar_cannot_be_dumped() -> None:
    @dataclasses.dataclass
    class Holder:
        secret: Scalar

    with pytest.raises(TypeError):
        dataclasses.asdict(Holder(Scalar.random()))
