"""Signatures of logs and witnesses, types 0x01, 0x04 and 0x06 (C2SP signed-note, tlog-cosignature; §14.2)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from candor_proto.errors import MalformedMessage, SignatureInvalid
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.note import NoteSignature, VerifierKey
from candor_proto.tlog.signatures import (
    LogKeys,
    WitnessKeys,
    verify_in_order,
    verify_log,
    verify_signature,
)
from tests.parties import NOW

ORIGIN = "test.candor.example/log/1"
LOG = LogKeys(ORIGIN, b"\x01" * 32, b"\x02" * 32)
WITNESS = WitnessKeys("test.candor.example/witness/alpha", b"\x03" * 32, b"\x04" * 32)
CHECKPOINT = Checkpoint(ORIGIN, 12, bytes(range(32)))
SECONDS = int(NOW.timestamp())


def test_a_log_signs_with_both_kinds_and_the_ed25519_line_first() -> None:
    signed = LOG.sign(CHECKPOINT, NOW)
    ed25519, ml_dsa = LOG.verifier_keys
    assert (ed25519.kind, ml_dsa.kind) == (0x01, 0x06)
    assert signed.signatures[0].is_by(ed25519)
    assert signed.signatures[1].is_by(ml_dsa)
    assert verify_log(signed, LOG.verifier_keys) == NOW


def test_a_witness_cosigns_with_both_kinds_and_its_time() -> None:
    lines = WITNESS.cosign(CHECKPOINT, NOW)
    assert [key.kind for key in WITNESS.verifier_keys] == [0x04, 0x06]
    for key, line in zip(WITNESS.verifier_keys, lines, strict=True):
        assert verify_signature(key, CHECKPOINT, line) == NOW
        assert int.from_bytes(line.payload[:8], "big") == SECONDS


def test_what_is_signed_is_what_the_specifications_say_octet_for_octet() -> None:
    text = CHECKPOINT.text().encode()
    ed25519 = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
    assert LOG.sign(CHECKPOINT, NOW).signatures[0].payload == ed25519.sign(text)
    cosigner = Ed25519PrivateKey.from_private_bytes(b"\x03" * 32)
    line = WITNESS.cosign(CHECKPOINT, NOW)[0]
    message = b"cosignature/v1\ntime " + str(SECONDS).encode() + b"\n" + text
    assert line.payload == SECONDS.to_bytes(8, "big") + cosigner.sign(message)
    name = b"test.candor.example/witness/alpha"
    message = b"".join(
        (
            b"subtree/v1\n\0",
            bytes([len(name)]) + name,
            SECONDS.to_bytes(8, "big"),
            bytes([len(ORIGIN)]) + ORIGIN.encode(),
            bytes(8),
            (12).to_bytes(8, "big"),
            CHECKPOINT.root,
        )
    )
    payload = WITNESS.cosign(CHECKPOINT, NOW)[1].payload
    assert payload[:8] == SECONDS.to_bytes(8, "big")
    MLDSA44PrivateKey.from_seed_bytes(b"\x04" * 32).public_key().verify(payload[8:], message)


def test_times_are_whole_seconds() -> None:
    line = WITNESS.cosign(CHECKPOINT, NOW + timedelta(milliseconds=999))[1]
    assert verify_signature(WITNESS.verifier_keys[1], CHECKPOINT, line) == NOW


@pytest.mark.parametrize("number", [0, 1])
def test_a_signature_over_anything_else_is_refused(number: int) -> None:
    for keys, lines in (
        (LOG.verifier_keys, LOG.sign(CHECKPOINT, NOW).signatures),
        (WITNESS.verifier_keys, WITNESS.cosign(CHECKPOINT, NOW)),
    ):
        key, line = keys[number], lines[number]
        for other in (
            Checkpoint(ORIGIN + "0", 12, CHECKPOINT.root),
            Checkpoint(ORIGIN, 13, CHECKPOINT.root),
            Checkpoint(ORIGIN, 12, bytes(32)),
        ):
            with pytest.raises(SignatureInvalid):
                verify_signature(key, other, line)
        for at in (0, 7, 8, len(line.payload) - 1):
            changed = bytearray(line.payload)
            changed[at] ^= 1
            with pytest.raises(SignatureInvalid):
                verify_signature(key, CHECKPOINT, NoteSignature(line.name, line.key_id, bytes(changed)))
        for payload in (line.payload[:-1], line.payload + b"\0", b"x"):
            with pytest.raises(SignatureInvalid):
                verify_signature(key, CHECKPOINT, NoteSignature(line.name, line.key_id, payload))


def test_a_signature_counts_only_for_the_key_that_it_names() -> None:
    key, line = WITNESS.verifier_keys[1], WITNESS.cosign(CHECKPOINT, NOW)[1]
    for renamed in (
        NoteSignature("another", line.key_id, line.payload),
        NoteSignature(line.name, bytes(4), line.payload),
    ):
        with pytest.raises(SignatureInvalid):
            verify_signature(key, CHECKPOINT, renamed)
    # The same key under another name signs another message.
    twin = VerifierKey("test.candor.example/witness/beta", 0x06, key.key)
    with pytest.raises(SignatureInvalid):
        verify_signature(twin, CHECKPOINT, NoteSignature(twin.name, twin.key_id, line.payload))


def _cosigned_at(seconds: int) -> NoteSignature:
    """A line of type 0x04, whose message is easy to make, for any time."""
    key = Ed25519PrivateKey.from_private_bytes(b"\x03" * 32)
    message = f"cosignature/v1\ntime {seconds}\n{CHECKPOINT.text()}".encode()
    verifier = WITNESS.verifier_keys[0]
    return NoteSignature(verifier.name, verifier.key_id, seconds.to_bytes(8, "big") + key.sign(message))


def test_a_cosignature_without_a_time_or_beyond_all_times_is_refused() -> None:
    key = WITNESS.verifier_keys[0]
    assert verify_signature(key, CHECKPOINT, _cosigned_at(1)) == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    for seconds in (0, 253402300800, 2**63, 2**64 - 1):
        with pytest.raises(SignatureInvalid):
            verify_signature(key, CHECKPOINT, _cosigned_at(seconds))
    with pytest.raises(MalformedMessage):
        WITNESS.cosign(CHECKPOINT, datetime(1970, 1, 1, tzinfo=UTC))


def test_both_signatures_of_the_log_stand_first_and_in_order() -> None:
    ed25519, ml_dsa = LOG.sign(CHECKPOINT, NOW).signatures
    cosigned = WITNESS.cosign(CHECKPOINT, NOW)
    verify_log(SignedCheckpoint(CHECKPOINT, (ed25519, ml_dsa, *cosigned)), LOG.verifier_keys)
    for lines in (
        (ed25519,),
        (ml_dsa,),
        (ml_dsa, ed25519),
        (ed25519, cosigned[0], ml_dsa),
        (cosigned[0], ed25519, ml_dsa),
        cosigned,
    ):
        with pytest.raises(SignatureInvalid):
            verify_log(SignedCheckpoint(CHECKPOINT, lines), LOG.verifier_keys)


def test_a_log_is_verified_under_a_pair_of_keys_of_its_origin_only() -> None:
    signed = LOG.sign(CHECKPOINT, NOW)
    ed25519, ml_dsa = LOG.verifier_keys
    other = LogKeys.generate("test.candor.example/log/2").verifier_keys
    for keys in ((), (ed25519,), (ml_dsa, ed25519), (ed25519, ml_dsa, ml_dsa), other, WITNESS.verifier_keys):
        with pytest.raises(SignatureInvalid):
            verify_log(signed, keys)
    with pytest.raises(SignatureInvalid):
        verify_in_order(signed, (*LOG.verifier_keys, *WITNESS.verifier_keys))


def test_what_a_witness_signs_under_the_name_of_a_log_is_no_signature_of_the_log() -> None:
    posing = WitnessKeys(ORIGIN, b"\x05" * 32, b"\x06" * 32)
    with pytest.raises(SignatureInvalid):
        verify_log(SignedCheckpoint(CHECKPOINT, posing.cosign(CHECKPOINT, NOW)), posing.verifier_keys)


def test_keys_sign_for_their_own_log_only() -> None:
    with pytest.raises(MalformedMessage):
        LOG.sign(Checkpoint("test.candor.example/log/2", 0, bytes(32)), NOW)


def test_keys_do_not_print() -> None:
    for keys in (LOG, WITNESS):
        assert keys.ed25519_seed.hex() not in repr(keys) + str(vars(keys).get("name"))
        assert "redacted" in repr(keys)


def test_keys_are_made_from_seeds_and_kept_as_seeds() -> None:
    made = LogKeys.generate(ORIGIN)
    assert LogKeys(ORIGIN, made.ed25519_seed, made.ml_dsa_seed).verifier_keys == made.verifier_keys
    for seeds in ((bytes(31), bytes(32)), (bytes(32), bytes(33))):
        with pytest.raises(MalformedMessage):
            WitnessKeys("a", *seeds)
