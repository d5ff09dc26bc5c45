"""The witness protocol as a pure function (C2SP tlog-witness; docs/protocol.md §15.3)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.errors import (
    CandorError,
    LimitExceeded,
    LogInconsistent,
    MalformedMessage,
    SignatureInvalid,
    UnknownObject,
    Unreachable,
)
from candor_proto.merkle import EMPTY_ROOT
from candor_proto.tlog import tiles
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.note import VerifierKey
from candor_proto.tlog.witness import (
    SIZE,
    TEXT,
    Verdict,
    WitnessRequest,
    WitnessResponse,
    add_checkpoint,
    cosignature_lines,
    parse_request,
    parse_response,
    request_octets,
)
from tests.log_scene import LogScene
from tests.parties import NOW
from tests.thorough import sampled
from tests.unit.proto.tlog.changes import SPARSE, one_octet_changes

SCENE = LogScene(entries=[b"entry %d" % number for number in range(20)])

# The example of tlog-witness, whose keys are not given.
EXAMPLE = """old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
""".encode()  # noqa: E501
RESPONSE = """— witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==
— witness.example/w1 I7rEps0pvK2UqkS2gSpVUDhrhVtQV9lgF6pRrWAvjJHjyWpW7VcE3SiOlVlbQNt64vWhO+DlkL0+UfzuOBMh9ChdMkP1vi/lCAsmlw==
— witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==
""".encode()  # noqa: E501


def keys_of(origin: str) -> Sequence[VerifierKey]:
    return SCENE.keys.verifier_keys if origin == SCENE.origin else ()


def ask(request: bytes, latest: int | SignedCheckpoint | None = None) -> Verdict:
    """What a witness says that cosigned the log at size `latest`."""
    known = SCENE.signed(latest) if isinstance(latest, int) else latest
    return add_checkpoint(request, keys_of, lambda origin: known if origin == SCENE.origin else None)


def request(old: int, new: int, **changes: object) -> bytes:
    proof = changes.get("proof", tiles.consistency_proof(SCENE.tiles, min(old, new), new))
    return request_octets(old, proof, changes.get("signed", SCENE.signed(new)))  # type: ignore[arg-type]


def test_the_examples_of_the_specification_parse() -> None:
    asked = parse_request(EXAMPLE)
    assert (asked.old_size, len(asked.hashes), asked.signed.checkpoint.size) == (20852014, 4, 20852163)
    assert asked.encode() == EXAMPLE
    answered = parse_response(200, RESPONSE)
    assert [line.name for line in answered.signatures] == ["witness.example/w1"] * 2 + ["witness.example/w2"]
    assert cosignature_lines(answered.signatures) == RESPONSE


def test_every_step_of_a_log_is_accepted() -> None:
    for old, new in itertools.combinations_with_replacement(range(21), 2):
        verdict = ask(request(old, new), old or None)
        assert (verdict.status, verdict.body) == (200, b"")
        assert verdict.accepted is not None
        assert verdict.accepted.checkpoint == SCENE.checkpoint(new)


def test_a_witness_that_knows_nothing_yet_takes_any_first_head() -> None:
    assert ask(request(0, 7)).status == 200
    assert ask(request(0, 0)).status == 200


@pytest.mark.parametrize(("latest", "old"), [(None, 3), (5, 0), (5, 4), (5, 6), (7, 5)])
def test_another_old_size_is_a_conflict_that_names_the_size(latest: int | None, old: int) -> None:
    verdict = ask(request(old, 9), latest)
    assert (verdict.status, verdict.content_type) == (409, SIZE)
    assert verdict.body == f"{latest or 0}\n".encode()
    assert verdict.accepted is None
    assert parse_response(verdict.status, verdict.body) == WitnessResponse(size=latest or 0)


def test_an_unknown_log_is_not_found() -> None:
    other = LogScene(shard=2, entries=[b"a"])
    verdict = ask(request_octets(0, (), other.signed()))
    assert (verdict.status, verdict.content_type) == (404, TEXT)


def test_a_head_that_the_log_has_not_signed_is_forbidden() -> None:
    checkpoint = SCENE.checkpoint(7)
    ed25519, ml_dsa = SCENE.signed(7).signatures
    forged = LogScene(entries=SCENE.entries).signed(7).signatures
    other = SCENE.signed(8).signatures
    cosigned = SCENE.witnesses[0].cosign(checkpoint, NOW)
    for lines in (
        forged,
        other,
        cosigned,
        (ed25519,),
        (ml_dsa,),
        (ml_dsa, ed25519),
        (ed25519, other[1]),
        (other[0], ml_dsa),
        (*cosigned, ed25519, ml_dsa),
    ):
        verdict = ask(request_octets(0, (), SignedCheckpoint(checkpoint, tuple(lines))))
        assert verdict.status == 403
    assert (
        ask(request_octets(0, (), SignedCheckpoint(checkpoint, (ed25519, ml_dsa, *cosigned)))).status == 200
    )


def test_a_log_with_one_ed25519_key_can_be_witnessed_too() -> None:
    (key, _), signed = SCENE.keys.verifier_keys, SCENE.signed(7)
    alone = SignedCheckpoint(signed.checkpoint, signed.signatures[:1])
    verdict = add_checkpoint(request_octets(0, (), alone), lambda origin: (key,), lambda origin: None)
    assert verdict.status == 200


def test_an_old_size_above_the_checkpoint_is_a_bad_request_even_when_it_is_the_known_one() -> None:
    assert ask(request(9, 7), 9).status == 400
    assert ask(request(9, 7), 5).status == 400


@pytest.mark.parametrize(
    ("old", "new", "proof"),
    [
        (0, 7, (bytes(32),)),
        (7, 7, (bytes(32),)),
        (5, 9, ()),
        (5, 9, (bytes(32),)),
        (5, 9, (*tiles.consistency_proof(SCENE.tiles, 5, 9), bytes(32))),
        (5, 9, tiles.consistency_proof(SCENE.tiles, 5, 9)[1:]),
        (5, 9, tiles.consistency_proof(SCENE.tiles, 4, 9)),
        (4, 9, tiles.consistency_proof(SCENE.tiles, 4, 10)),
    ],
)
def test_a_proof_that_does_not_verify_is_unprocessable(old: int, new: int, proof: tuple[bytes, ...]) -> None:
    assert ask(request(old, new, proof=proof), old or None).status == 422


def test_a_fork_is_unprocessable() -> None:
    other = LogScene(entries=[*SCENE.entries[:4], b"another", *SCENE.entries[5:]])
    other.keys = SCENE.keys
    proof = tiles.consistency_proof(other.tiles, 7, 12)
    assert ask(request_octets(7, proof, other.signed(12)), 7).status == 422
    assert ask(request_octets(7, (), other.signed(7)), 7).status == 422
    assert ask(request_octets(7, proof, other.signed(12)), other.signed(7)).status == 200


def test_an_empty_log_has_the_root_of_no_entries() -> None:
    wrong = SCENE.keys.sign(Checkpoint(SCENE.origin, 0, bytes(32)), NOW)
    right = SCENE.keys.sign(Checkpoint(SCENE.origin, 0, EMPTY_ROOT), NOW)
    for latest in (None, right, wrong):
        assert ask(request_octets(0, (), wrong), latest).status == 422
    assert ask(request_octets(0, (), right)).status == 200
    assert ask(request_octets(0, (), right), right).status == 200


REQUEST = request(5, 9)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"old 5\n",
        b"old 5\n\n",
        REQUEST.replace(b"old 5", b"old 05"),
        REQUEST.replace(b"old 5", b"old -5"),
        REQUEST.replace(b"old 5", b"old  5"),
        REQUEST.replace(b"old 5", b"Old 5"),
        REQUEST.replace(b"old 5", b"old 9223372036854775808"),
        REQUEST.replace(b"old 5\n", b"old 5\nAAAA\n"),
        REQUEST.replace(b"old 5\n", b"old 5\n\n"),
        REQUEST.replace(b"\n\n", b"\n", 1),
        REQUEST.replace(b"\n", b"\r\n"),
        REQUEST + b"\n",
        b"\xff" + REQUEST,
        request(0, 5).replace(b"old 0\n", b"old 0\n" + (b"A" * 43 + b"=\n") * 64),
        REQUEST + b"x" * 600_000,
    ],
)
def test_a_request_that_is_none_is_a_bad_request(octets: bytes) -> None:
    assert ask(octets, 5).status == 400


def test_63_hashes_are_read_and_judged() -> None:
    assert ask(request(5, 9, proof=(bytes(32),) * 63), 5).status == 422
    with pytest.raises(LimitExceeded):
        WitnessRequest(5, (bytes(32),) * 64, SCENE.signed())
    for old, hashes in ((-1, ()), (2**63, ()), (0, (bytes(31),))):
        with pytest.raises(MalformedMessage):
            WitnessRequest(old, hashes, SCENE.signed())


@pytest.mark.slow
def test_every_change_of_one_octet_is_refused() -> None:
    honest, latest = parse_request(REQUEST), SCENE.signed(5)
    for changed in sampled(one_octet_changes(REQUEST, SPARSE), 1_500, "witness"):
        verdict = ask(changed, latest)
        assert verdict.status in (400, 403, 404, 409, 422)
        assert verdict.accepted is None
        try:
            parsed = parse_request(changed)
        except (MalformedMessage, LimitExceeded):
            continue
        assert parsed != honest
        assert parsed.encode() == changed


@given(st.integers(0, 30), st.lists(st.binary(min_size=32, max_size=32), max_size=63), st.integers(0, 20))
def test_a_request_parses_to_itself(old: int, hashes: list[bytes], size: int) -> None:
    asked = WitnessRequest(old, tuple(hashes), SignedCheckpoint(SCENE.checkpoint(size), SIGNED.signatures))
    assert parse_request(asked.encode()) == asked


SIGNED = SCENE.signed()


@given(st.binary(max_size=100), st.integers(0, 80))
def test_a_witness_answers_anything_with_a_status(octets: bytes, at: int) -> None:
    for text in (octets, REQUEST[:at] + octets + REQUEST[at:]):
        assert ask(text, 5).status in (200, 400, 403, 404, 409, 422)


# --- races -----------------------------------------------------------------------------------------


class Witness:
    """A store of one row, compared and replaced in one step or, wrongly, in two."""

    def __init__(self, latest: SignedCheckpoint | None = None) -> None:
        self.latest = latest

    def judge(self, octets: bytes) -> Verdict:
        return add_checkpoint(octets, keys_of, lambda origin: self.latest)

    def store(self, verdict: Verdict) -> None:
        assert verdict.accepted is not None
        self.latest = verdict.accepted

    def answer(self, octets: bytes) -> Verdict:
        verdict = self.judge(octets)
        if verdict.accepted is not None:
            self.store(verdict)
        return verdict


def test_of_two_requests_from_one_size_the_second_is_a_conflict() -> None:
    """The race of the specification: sizes N and N + K, both asked from the same old size."""
    for first, second in ((9, 12), (12, 9)):
        witness = Witness(SCENE.signed(5))
        assert witness.answer(request(5, first)).status == 200
        refused = witness.answer(request(5, second))
        assert (refused.status, refused.body) == (409, f"{first}\n".encode())
        assert witness.latest is not None
        assert witness.latest.checkpoint.size == first


def test_without_one_transaction_the_race_rolls_a_witness_back() -> None:
    """Why `latest` is read where `accepted` is stored: this is the order that it must exclude."""
    witness = Witness(SCENE.signed(5))
    smaller, larger = witness.judge(request(5, 9)), witness.judge(request(5, 12))
    witness.store(larger)
    witness.store(smaller)
    assert witness.latest is not None
    assert witness.latest.checkpoint.size == 9


def test_a_size_is_cosigned_again_with_the_same_root_only() -> None:
    witness = Witness(SCENE.signed(9))
    assert witness.answer(request(9, 9)).status == 200
    other = LogScene(entries=[b"x", *SCENE.entries[1:]])
    other.keys = SCENE.keys
    assert witness.answer(request_octets(9, (), other.signed(9))).status == 422


def test_a_log_that_lost_the_size_learns_it_and_goes_on() -> None:
    witness = Witness(SCENE.signed(9))
    answered = witness.answer(request(0, 15))
    size = parse_response(answered.status, answered.body).size
    assert size == 9
    assert witness.answer(request(size, 15)).status == 200


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=12))
def test_a_witness_never_goes_back_whatever_is_asked(asked: list[tuple[int, int]]) -> None:
    witness, size = Witness(), 0
    for old, new in asked:
        verdict = witness.answer(request(old, new))
        if verdict.status == 200:
            assert (old, new >= size) == (size, True)
            size = new
        assert (witness.latest.checkpoint.size if witness.latest else 0) == size


# --- what a witness answers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, MalformedMessage),
        (403, SignatureInvalid),
        (404, UnknownObject),
        (422, LogInconsistent),
        (500, Unreachable),
        (429, Unreachable),
        (201, Unreachable),
    ],
)
def test_a_refusal_is_a_typed_error(status: int, error: type[CandorError]) -> None:
    with pytest.raises(error):
        parse_response(status, b"anything\n")


@pytest.mark.parametrize(
    "body", [b"", b"9", b"9\n\n", b"09\n", b"-1\n", b" 9\n", b"9" * 40 + b"\n", b"\xff\n"]
)
def test_a_conflict_names_a_size_and_nothing_else(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_response(409, body)


@pytest.mark.parametrize("body", [b"", b"\n", b"signed\n", RESPONSE[:-1], RESPONSE + b"\n", b"\xff\n"])
def test_an_answer_is_signature_lines_and_nothing_else(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_response(200, body)


def test_a_witness_answers_with_both_its_signatures() -> None:
    lines = SCENE.witnesses[0].cosign(SCENE.checkpoint(), NOW)
    assert parse_response(200, cosignature_lines(lines)).signatures == lines
