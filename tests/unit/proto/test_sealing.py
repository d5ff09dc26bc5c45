"""HPKE sealing (docs/protocol.md §4.3; attack A9)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from candor_proto import sealing
from candor_proto.errors import LimitExceeded, MalformedMessage, SealedDataInvalid
from candor_proto.ids import FederationName, NodeId
from candor_proto.sealing import DisclosureKey, SealContext, SealKind, check_public_key, seal

KEY = DisclosureKey.generate()
CONTEXT = SealContext(
    FederationName("test.candor.example"), SealKind.REQUEST, bytes(16), NodeId("a"), NodeId("b")
)


def test_what_was_sealed_opens_and_its_size_depends_on_the_kind_alone() -> None:
    for statement in (b"", b"x", b"y" * (SealKind.REQUEST.padded_octets - 4)):
        sealed = seal(statement, KEY.public, CONTEXT)
        assert len(sealed) == SealKind.REQUEST.sealed_octets
        assert KEY.open(sealed, CONTEXT) == statement


def test_too_long_a_statement_is_refused_not_cut() -> None:
    with pytest.raises(LimitExceeded):
        seal(bytes(SealKind.REQUEST.padded_octets - 3), KEY.public, CONTEXT)


@pytest.mark.parametrize(
    "other",
    [
        replace(CONTEXT, federation=FederationName("other.example")),
        replace(CONTEXT, envelope_id=b"\x01" * 16),
        replace(CONTEXT, sender=NodeId("c")),
        replace(CONTEXT, recipient=NodeId("c")),
        replace(CONTEXT, binding=b"\x01" * 32),
        # Lengths are part of the digest, so that two fields cannot trade octets.
        replace(CONTEXT, sender=NodeId("ab"), recipient=NodeId("b")),
    ],
    ids=["federation", "envelope id", "sender", "recipient", "binding", "shifted"],
)
def test_a_sealed_message_redirected_to_another_context_does_not_open(other: SealContext) -> None:
    with pytest.raises(SealedDataInvalid):
        KEY.open(seal(b"x", KEY.public, CONTEXT), other)


def test_another_key_does_not_open() -> None:
    with pytest.raises(SealedDataInvalid):
        DisclosureKey.generate().open(seal(b"x", KEY.public, CONTEXT), CONTEXT)


@pytest.mark.parametrize("at", [0, 600, 1100, 1130, 5000, -1])
def test_every_changed_part_of_a_sealed_message_is_noticed(at: int) -> None:
    sealed = bytearray(seal(b"x" * 100, KEY.public, CONTEXT))
    sealed[at] ^= 1
    with pytest.raises(SealedDataInvalid):
        KEY.open(bytes(sealed), CONTEXT)


def test_a_sealed_message_of_another_size_is_refused() -> None:
    sealed = seal(b"x", KEY.public, CONTEXT)
    for wrong in (b"", sealed[:-1], sealed + b"\x00"):
        with pytest.raises(SealedDataInvalid):
            KEY.open(wrong, CONTEXT)


@pytest.mark.parametrize(
    "padded", [b"\x00\x00\x00\x01x\x01", b"\xff\xff\xff\xff"], ids=["not zero", "too long"]
)
def test_malformed_padding_is_refused(padded: bytes) -> None:
    suite = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM)
    whole = padded + bytes(SealKind.REQUEST.padded_octets - len(padded))
    sealed = suite.encrypt(whole, sealing._public_key(KEY.public), info=CONTEXT.info())
    with pytest.raises(SealedDataInvalid):
        KEY.open(sealed, CONTEXT)


def test_keys_round_trip_and_never_print() -> None:
    again = DisclosureKey(KEY.octets())
    assert again.public == KEY.public
    assert KEY.octets().hex()[:20] not in repr(KEY)


@pytest.mark.parametrize("octets", [b"", bytes(1215), bytes(1217), b"\xff" * 1216])
def test_an_unusable_public_key_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        check_public_key(octets)


def test_a_private_key_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        DisclosureKey(bytes(95))


def test_a_public_key_with_a_point_of_low_order_is_refused_at_the_door() -> None:
    low = KEY.public[:1184] + bytes(32)
    with pytest.raises(MalformedMessage):
        check_public_key(low)
    with pytest.raises(MalformedMessage):
        seal(b"x", low, CONTEXT)
