"""§3.5: KDF is HKDF-SHA-256, checked against RFC 5869's own vectors by way of `cryptography`."""

from __future__ import annotations

import pickle

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.canonical import label_bytes
from candor_proto.derive import DerivingKey, derive, expand, extract

LABELS = ("index-entry", "share-coefficient", "label-key", "field-tag", "withdrawn")


given_inputs = given(
    ikm=st.binary(max_size=80),
    label=st.sampled_from(LABELS),
    info=st.binary(max_size=120),
    octets=st.integers(1, 200),
)


@given_inputs
def test_s3_5_kdf_is_hkdf_with_the_domain_label_as_salt(
    ikm: bytes, label: str, info: bytes, octets: int
) -> None:
    reference = HKDF(SHA256(), octets, label_bytes(label), info).derive(ikm)
    assert derive(ikm, label, info, octets) == reference
    assert expand(extract(ikm, label), info, octets) == reference


def test_expand_is_that_of_rfc5869_test_case_1() -> None:
    prk = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    info = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9")
    known = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    assert expand(prk, info, 42).hex() == known


@pytest.mark.parametrize("octets", [1, 31, 32, 33, 255 * 32])
def test_expand_reaches_every_length_rfc5869_allows(octets: int) -> None:
    assert expand(bytes(32), b"info", octets) == HKDFExpand(SHA256(), octets, b"info").derive(bytes(32))


@pytest.mark.parametrize("octets", [-1, 0, 255 * 32 + 1])
def test_expand_refuses_lengths_that_rfc5869_does_not_define(octets: int) -> None:
    with pytest.raises(AssertionError):
        expand(bytes(32), b"", octets)


@given_inputs
def test_s3_5_a_deriving_key_gives_what_the_kdf_gives(
    ikm: bytes, label: str, info: bytes, octets: int
) -> None:
    key = DerivingKey(ikm, label)
    reference = HKDF(SHA256(), octets, label_bytes(label), info).derive(ikm)
    assert key.derive(info, octets) == reference
    assert key.derive(info, octets) == derive(ikm, label, info, octets)


def test_a_deriving_key_reaches_every_length_and_refuses_every_other() -> None:
    key = DerivingKey(b"secret", LABELS[0])
    assert len(key.derive(b"", 255 * 32)) == 255 * 32
    for octets in (-1, 0, 255 * 32 + 1):
        with pytest.raises(AssertionError):
            key.derive(b"", octets)


def test_a_deriving_key_does_not_print_or_pickle() -> None:
    key = DerivingKey(b"secret", LABELS[0])
    assert repr(key) == "<DerivingKey redacted>"
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_labels_separate() -> None:
    assert len({derive(bytes(16), label, b"", 32) for label in LABELS}) == len(LABELS)
