"""RFC 9497 VOPRF mode: the RFC's vectors, what must be refused, and another implementation."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from voprf import ristretto as oracle

from candor_proto import oprf
from candor_proto.errors import (
    BatchTooLarge,
    CandorError,
    InvalidScalar,
    LimitExceeded,
    MalformedMessage,
    ProofInvalid,
)
from candor_proto.group import Element, Scalar, multiply_base
from candor_proto.oprf import (
    Blinded,
    BlindedBatch,
    KeyPair,
    Proof,
    blind,
    blind_evaluate,
    derive_key_pair,
    evaluate,
    evaluate_each,
    finalize,
    verify_proof,
)

VECTORS = Path(__file__).parents[2] / "vectors"
SUITE = json.loads((VECTORS / "rfc9497_ristretto255_sha512_voprf.json").read_text())
NEGATIVE = json.loads((VECTORS / "rfc9497_negative.json").read_text())
ORDER = 2**252 + 27742317777372353535851937790883648493
KEY = derive_key_pair(bytes.fromhex(SUITE["seed"]), bytes.fromhex(SUITE["key_info"]))

nonzero_scalars = st.integers(1, ORDER - 1).map(lambda n: Scalar.parse(n.to_bytes(32, "little")))


def octets(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def elements(texts: list[str]) -> list[Element]:
    return [Element.parse(item) for item in octets(texts)]


def scalar(text: str) -> Scalar:
    return Scalar.parse(bytes.fromhex(text))


def named(items: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(item, id=item["name"]) for item in items]


# --- RFC 9497 A.1.2 ------------------------------------------------------------------------------------


def test_derive_key_pair_of_rfc9497_a_1_2() -> None:
    assert SUITE["suite"] == oprf.SUITE
    assert KEY.secret.to_bytes().hex() == SUITE["secret"]
    assert KEY.public.to_bytes().hex() == SUITE["public"]
    assert KeyPair.from_secret(KEY.secret) == KEY


@pytest.mark.parametrize("vector", named(SUITE["vectors"]))
def test_vector_of_rfc9497_a_1_2(vector: dict[str, Any]) -> None:
    blinded = [
        blind(item, scalar(hidden))
        for item, hidden in zip(octets(vector["inputs"]), vector["blinds"], strict=True)
    ]
    assert [item.element.to_bytes().hex() for item in blinded] == vector["blinded"]

    evaluated, proof = blind_evaluate(KEY, [item.element for item in blinded], r=scalar(vector["nonce"]))
    assert [item.to_bytes().hex() for item in evaluated] == vector["evaluated"]
    assert proof.to_bytes().hex() == vector["proof"]
    assert len(blinded) == vector["batch"]

    outputs = finalize(blinded, evaluated, KEY.public, Proof.parse(bytes.fromhex(vector["proof"])))
    assert [item.hex() for item in outputs] == vector["outputs"]
    assert [evaluate(KEY, item).hex() for item in octets(vector["inputs"])] == vector["outputs"]


# --- what must be refused --------------------------------------------------------------------------------


@pytest.mark.parametrize("item", named(NEGATIVE["proofs"]))
def test_bad_proof_is_refused(item: dict[str, Any]) -> None:
    with pytest.raises(CandorError) as refusal:
        verify_proof(
            Element.parse(bytes.fromhex(item["public"])),
            elements(item["blinded"]),
            elements(item["evaluated"]),
            Proof.parse(bytes.fromhex(item["proof"])),
        )
    assert refusal.value.code == item["error"]


@pytest.mark.parametrize("item", named(NEGATIVE["batches"]))
def test_batch_over_the_limit_is_refused_by_both_sides(item: dict[str, Any]) -> None:
    vector = SUITE["vectors"][0]
    blinded, evaluated = elements(vector["blinded"])[0], elements(vector["evaluated"])[0]
    proof = Proof.parse(bytes.fromhex(vector["proof"]))
    count = item["count"]
    assert count == oprf.MAX_BATCH + 1
    asked = Blinded(b"\0", scalar(vector["blinds"][0]), blinded)
    for call in (
        lambda: blind_evaluate(KEY, [blinded] * count),
        lambda: verify_proof(KEY.public, [blinded] * count, [evaluated] * count, proof),
        lambda: finalize([asked] * count, [evaluated] * count, KEY.public, proof),
    ):
        with pytest.raises(BatchTooLarge) as refusal:
            call()
        assert refusal.value.code == item["error"]


def test_empty_batch_is_refused_by_both_sides() -> None:
    proof = Proof.parse(bytes.fromhex(SUITE["vectors"][0]["proof"]))
    for call in (lambda: blind_evaluate(KEY, []), lambda: finalize([], [], KEY.public, proof)):
        with pytest.raises(MalformedMessage) as refusal:
            call()
        assert refusal.value.code == "malformed_message"


def test_batch_limit_fits_the_two_octet_index_of_the_rfc() -> None:
    assert oprf.MAX_BATCH <= 2**16 - 1


def test_finalize_yields_nothing_where_the_proof_is_of_another_key() -> None:
    """The attack that VOPRF exists against: an owner answers one asker with a key of its own."""
    marked = derive_key_pair(bytes.fromhex(SUITE["seed"]), b"marks this asker")
    asked = [blind(b"smith"), blind(b"jones")]
    evaluated, proof = blind_evaluate(marked, [item.element for item in asked])
    finalize(asked, evaluated, marked.public, proof)
    with pytest.raises(ProofInvalid):
        finalize(asked, evaluated, KEY.public, proof)


def test_proof_for_blinded_elements_that_were_not_asked_is_refused() -> None:
    asked, others = [blind(b"smith")], [blind(b"smith")]
    evaluated, proof = blind_evaluate(KEY, [item.element for item in others])
    with pytest.raises(ProofInvalid):
        finalize(asked, evaluated, KEY.public, proof)


def test_nonce_zero_is_refused_because_it_publishes_the_key() -> None:
    with pytest.raises(InvalidScalar):
        blind_evaluate(KEY, [blind(b"x").element], r=Scalar.parse(bytes(32)))


def test_blind_zero_is_refused() -> None:
    with pytest.raises(InvalidScalar):
        blind(b"x", Scalar.parse(bytes(32)))


def test_key_zero_is_refused() -> None:
    with pytest.raises(InvalidScalar):
        KeyPair.from_secret(Scalar.parse(bytes(32)))


def test_input_longer_than_its_length_field_is_refused() -> None:
    longest = bytes(oprf.MAX_INPUT_BYTES)
    assert len(evaluate(KEY, longest)) == oprf.OUTPUT_BYTES
    for call in (lambda: blind(longest + b"x"), lambda: evaluate(KEY, longest + b"x")):
        with pytest.raises(LimitExceeded):
            call()
    with pytest.raises(LimitExceeded):
        derive_key_pair(bytes(32), longest + b"x")


@settings(max_examples=20, deadline=None)
@given(inputs=st.lists(st.binary(max_size=60), max_size=6))
def test_evaluating_many_gives_what_evaluating_each_gives(inputs: list[bytes]) -> None:
    assert evaluate_each(KEY, inputs) == [evaluate(KEY, value) for value in inputs]


def test_one_input_too_long_refuses_its_batch_before_any_curve_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oprf, "multiply_hashed", lambda *_: pytest.fail("evaluated before it was checked"))
    with pytest.raises(LimitExceeded):
        evaluate_each(KEY, [b"x", bytes(oprf.MAX_INPUT_BYTES + 1)])


@pytest.mark.parametrize("length", [0, 31, 33])
def test_seed_of_a_wrong_length_is_refused(length: int) -> None:
    with pytest.raises(MalformedMessage):
        derive_key_pair(bytes(length), b"")


def test_keys_of_another_seed_or_info_differ() -> None:
    pairs = [derive_key_pair(bytes([n]) * 32, info) for n in (1, 2) for info in (b"", b"a", b"b")]
    assert len({pair.public for pair in pairs}) == 6


def test_fresh_blinds_and_nonces_are_used_where_none_is_given() -> None:
    first, second = blind(b"x"), blind(b"x")
    assert first.element != second.element
    proofs = {blind_evaluate(KEY, [first.element])[1].to_bytes() for _ in range(3)}
    assert len(proofs) == 3


def test_keys_blinds_and_inputs_do_not_print_or_pickle() -> None:
    asked = blind(b"doe jane 1980-01-02")
    for value in (KEY, asked, BlindedBatch.of([asked])):
        shown = f"{value} {value!r} {[value]}"
        assert "redacted" in shown
        assert "doe" not in shown
        assert KEY.secret.to_bytes().hex()[:8] not in shown
        with pytest.raises(TypeError):
            pickle.dumps(value)


# --- properties ------------------------------------------------------------------------------------------


@given(st.binary(max_size=80), nonzero_scalars, nonzero_scalars)
@settings(max_examples=40, deadline=None)
def test_finalize_after_blind_evaluate_equals_evaluate(item: bytes, hidden: Scalar, nonce: Scalar) -> None:
    asked = blind(item, hidden)
    evaluated, proof = blind_evaluate(KEY, [asked.element], r=nonce)
    assert finalize([asked], evaluated, KEY.public, proof) == (evaluate(KEY, item),)


@given(st.one_of(st.binary(min_size=64, max_size=64), st.binary(max_size=130)), st.booleans())
@settings(deadline=None)
def test_proof_parse_returns_its_input_or_refuses_it(data: bytes, low: bool) -> None:
    if low and len(data) == 64:
        data = data[:31] + bytes([data[31] & 0x0F]) + data[32:63] + bytes([data[63] & 0x0F])
    try:
        proof = Proof.parse(data)
    except InvalidScalar:
        return
    assert proof.to_bytes() == data


def small(number: int) -> Scalar:
    return Scalar.parse(number.to_bytes(32, "little"))


@pytest.mark.parametrize("count", [1, 7, 8, 16, 17, 40])
def test_threads_change_nothing_but_time(count: int) -> None:
    asked = [blind(bytes([n]), small(n + 1)) for n in range(count)]
    blinded = [item.element for item in asked]
    evaluated, proof = blind_evaluate(KEY, blinded, r=small(99))
    expected = tuple(evaluate(KEY, bytes([n])) for n in range(count))
    with ThreadPoolExecutor(3) as pool:
        for threads in (2, 3):
            for run in (map, pool.map):
                assert blind_evaluate(KEY, blinded, r=small(99), threads=threads, map=run) == (
                    evaluated,
                    proof,
                )
                assert finalize(asked, evaluated, KEY.public, proof, threads=threads, map=run) == expected


def test_slices_are_run_by_the_map_that_is_passed_in() -> None:
    threads_seen = set()

    def note(name: str) -> None:
        threads_seen.add(name)

    with ThreadPoolExecutor(2, initializer=note, initargs=("pool",)) as pool:
        blind_evaluate(KEY, [blind(bytes([n])).element for n in range(16)], threads=2, map=pool.map)
    assert threads_seen == {"pool"}


def test_wrong_element_is_found_wherever_it_sits_in_a_batch_of_slices() -> None:
    asked = [blind(bytes([n])).element for n in range(20)]
    evaluated, proof = blind_evaluate(KEY, asked, threads=2)
    verify_proof(KEY.public, asked, evaluated, proof, threads=2)
    for position in (0, 9, 10, 19):
        forged = list(evaluated)
        forged[position] = multiply_base(small(position + 2))
        with pytest.raises(ProofInvalid):
            verify_proof(KEY.public, asked, forged, proof, threads=2)


# --- another implementation: the wheel voprf (Rust, curve25519-dalek) --------------------------------------

SEED, INFO = bytes(range(32)), b"candor cross-check"
OURS = derive_key_pair(SEED, INFO)
THEIRS = oracle.Evaluator.from_seed(SEED, INFO)


def test_oracle_derives_the_same_key_and_outputs() -> None:
    assert THEIRS.public_key.serialize() == OURS.public.to_bytes()
    for item in (b"a", b"smith", bytes(1000)):
        assert THEIRS.evaluate_known_input(item) == evaluate(OURS, item)


@pytest.mark.parametrize("count", [1, 2, 16])
def test_our_finalize_accepts_the_proof_of_the_oracle(count: int) -> None:
    asked = [blind(b"input %d" % n) for n in range(count)]
    sent = [oracle.BlindedInput.deserialize(item.element.to_bytes()) for item in asked]
    reply = THEIRS.evaluate_batch(sent).serialize()  # proof, then elements
    evaluated = [Element.parse(reply[start : start + 32]) for start in range(64, len(reply), 32)]
    outputs = finalize(asked, evaluated, OURS.public, Proof.parse(reply[:64]))
    assert outputs == tuple(evaluate(OURS, item.input) for item in asked)


@pytest.mark.parametrize("count", [1, 2, 16])
def test_the_oracle_accepts_our_proof(count: int) -> None:
    clients, sent = zip(*(oracle.Client.blind(b"input %d" % n) for n in range(count)), strict=True)
    evaluated, proof = blind_evaluate(OURS, [Element.parse(item.serialize()) for item in sent])
    reply = proof.to_bytes() + b"".join(item.to_bytes() for item in evaluated)
    public = oracle.PublicKey.deserialize(OURS.public.to_bytes())
    outputs = oracle.Client.finalize_batch(clients, oracle.VerifiableBatchOutput.deserialize(reply), public)
    assert outputs == [evaluate(OURS, b"input %d" % n) for n in range(count)]


# The oracle reads the first 32 octets of a longer string; we refuse it.
@pytest.mark.parametrize("item", named([e for e in NEGATIVE["elements"] if e["name"] != "one_octet_long"]))
def test_the_oracle_refuses_the_same_elements(item: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        oracle.BlindedInput.deserialize(bytes.fromhex(item["encoding"]))
