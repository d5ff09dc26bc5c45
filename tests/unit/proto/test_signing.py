"""Ed25519 statements (docs/protocol.md §4.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.errors import MalformedMessage, SignatureInvalid
from candor_proto.signing import SignedStatement, SigningKey, VerifyingKey


def test_a_signature_verifies_in_its_own_context_and_returns_the_body() -> None:
    key = SigningKey.generate()
    assert key.sign("lookup", b"body").verify("lookup", key.public, "a") == b"body"


def test_a_signature_made_for_one_context_is_refused_in_another() -> None:
    key = SigningKey.generate()
    with pytest.raises(SignatureInvalid):
        key.sign("lookup", b"body").verify("answer", key.public, "a")


@given(st.binary(min_size=1, max_size=60), st.integers(0, 63), st.integers(0, 7))
def test_every_changed_bit_of_body_or_signature_is_refused(body: bytes, at: int, bit: int) -> None:
    key = SigningKey(bytes(range(32)))
    good = key.sign("lookup", body)
    spoilt = bytearray(good.signature)
    spoilt[at] ^= 1 << bit
    with pytest.raises(SignatureInvalid):
        SignedStatement(body, bytes(spoilt)).verify("lookup", key.public, "a")
    other = bytearray(body)
    other[at % len(body)] ^= 1 << bit
    with pytest.raises(SignatureInvalid):
        SignedStatement(bytes(other), good.signature).verify("lookup", key.public, "a")


def test_another_members_key_does_not_verify() -> None:
    with pytest.raises(SignatureInvalid):
        SigningKey.generate().sign("lookup", b"x").verify("lookup", SigningKey.generate().public, "a")


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(65)])
def test_a_signature_of_the_wrong_length_is_refused(signature: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        SignedStatement(b"x", signature).verify("lookup", SigningKey.generate().public, "a")


def test_a_key_that_is_no_curve_point_is_refused_as_a_signature_error() -> None:
    with pytest.raises(SignatureInvalid):
        SigningKey.generate().sign("lookup", b"x").verify("lookup", VerifyingKey(b"\xff" * 32), "a")


def test_keys_of_the_wrong_length_are_refused() -> None:
    with pytest.raises(MalformedMessage):
        VerifyingKey(bytes(31))
    with pytest.raises(MalformedMessage):
        SigningKey(bytes(33))


def test_a_private_key_never_prints() -> None:
    key = SigningKey(bytes(range(32)))
    assert key.seed().hex() not in repr(key)
    assert "redacted" in repr(key)


@pytest.mark.parametrize(
    "octets",
    [bytes(32), b"\x01" + bytes(31), b"\x01" + bytes(30) + b"\x80", b"\xec" + b"\xff" * 30 + b"\x7f"],
    ids=["order four", "identity", "identity with sign", "order two"],
)
def test_a_key_under_which_one_signature_fits_every_body_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        VerifyingKey(octets)
