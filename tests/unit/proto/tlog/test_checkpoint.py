"""Checkpoints (C2SP tlog-checkpoint; docs/protocol.md §14.2)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.errors import CandorError, LimitExceeded, MalformedMessage, NotCanonical
from candor_proto.merkle import EMPTY_ROOT
from candor_proto.tlog.checkpoint import (
    Checkpoint,
    SignedCheckpoint,
    parse_checkpoint,
    parse_checkpoint_text,
)
from candor_proto.tlog.note import NoteSignature
from candor_proto.tlog.signatures import verify_log
from tests.log_scene import LogScene
from tests.parties import NOW
from tests.thorough import sampled
from tests.unit.proto.tlog.changes import FEW, one_octet_changes

# The example of tlog-cosignature, which holds that of tlog-checkpoint; its keys are not given.
EXAMPLE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
""".encode()  # noqa: E501
SCENE = LogScene(entries=[b"a", b"b", b"c"])
ROOT = base64.b64encode(EMPTY_ROOT).decode()


def test_the_example_of_the_specification_parses() -> None:
    signed = parse_checkpoint(EXAMPLE)
    assert signed.checkpoint.origin == "example.com/behind-the-sofa"
    assert signed.checkpoint.size == 20852163
    assert signed.checkpoint.root.hex().startswith("0ac5186a91863e8e")
    assert [line.name for line in signed.signatures] == [
        "example.com/behind-the-sofa",
        "witness.example.com/w1",
    ]
    # The time line of the example: `time 1679315147`.
    assert int.from_bytes(signed.signatures[1].payload[:8], "big") == 1679315147
    assert signed.encode() == EXAMPLE


@given(
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.integers(0, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
)
def test_a_checkpoint_parses_to_itself(origin: str, size: int, root: bytes) -> None:
    checkpoint = Checkpoint(origin, size, root)
    assert parse_checkpoint_text(checkpoint.text()) == checkpoint
    signed = SignedCheckpoint(checkpoint, (NoteSignature("a", bytes(4), b"x"),))
    assert parse_checkpoint(signed.encode()) == signed


def test_every_change_of_one_octet_is_refused_or_does_not_verify() -> None:
    scene = LogScene(entries=[b"a", b"b", b"c"], names=())
    signed = scene.signed()
    octets = signed.encode()
    text_ends = octets.index(b"\n\n") + 120
    verify_log(parse_checkpoint(octets), scene.keys.verifier_keys)
    for masks, part in ((tuple(range(1, 256)), slice(0, text_ends)), (FEW, slice(text_ends, None))):
        before, after = octets[: part.start], octets[part.stop :] if part.stop else b""
        for piece in sampled(one_octet_changes(octets[part], masks), 4_000, "checkpoint"):
            changed = before + piece + after
            try:
                parsed = parse_checkpoint(changed)
            except (MalformedMessage, LimitExceeded):
                continue
            assert parsed != signed
            assert parsed.encode() == changed
            with pytest.raises(CandorError):
                verify_log(parsed, scene.keys.verifier_keys)


@pytest.mark.parametrize(
    "text",
    [
        f"o\n0\n{ROOT}\nextension\n",
        f"o\n0\n{ROOT}\n\n",
        f"o\n0\n{ROOT[:-1]}\n",
        f"o\n0\n{ROOT}=\n",
        f"o\n0\n {ROOT}\n",
        f"o\n0\n{ROOT[:-2]}6=\n",
        "o\n0\nAAAA\n",
        f"o\n00\n{ROOT}\n",
        f"o\n+1\n{ROOT}\n",
        f"o\n-1\n{ROOT}\n",
        f"o\n 1\n{ROOT}\n",
        f"o\n1_0\n{ROOT}\n",
        f"o\n١\n{ROOT}\n",
        f"o\n9223372036854775808\n{ROOT}\n",
        f"o\n18446744073709551616\n{ROOT}\n",
        f"\n0\n{ROOT}\n",
        f"{'o' * 256}\n0\n{ROOT}\n",
        f"o\n{ROOT}\n",
        "o\n0\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_checkpoint_text(text)
    with pytest.raises(MalformedMessage):
        parse_checkpoint(f"{text}\n— a AAAAAAA=\n".encode())


def test_a_checkpoint_is_checked_when_it_is_made() -> None:
    for origin, size, root in (
        ("", 0, bytes(32)),
        ("a\nb", 0, bytes(32)),
        ("\ud800", 0, bytes(32)),
        ("a", -1, bytes(32)),
        ("a", 2**63, bytes(32)),
        ("a", 0, bytes(31)),
    ):
        with pytest.raises(MalformedMessage):
            Checkpoint(origin, size, root)
    with pytest.raises(MalformedMessage):
        SignedCheckpoint(Checkpoint("a", 0, bytes(32)), ())


def test_a_key_that_signs_twice_is_refused() -> None:
    signed = SCENE.cosigned(witnesses=[0])
    again = SCENE.witnesses[0].cosign(signed.checkpoint, NOW)[0]
    with pytest.raises(NotCanonical):
        parse_checkpoint(signed.encode() + again.line().encode())


def test_signatures_are_added_behind_and_renewed_in_place() -> None:
    signed = SCENE.signed()
    first = SCENE.witnesses[0].cosign(signed.checkpoint, NOW)
    second = SCENE.witnesses[1].cosign(signed.checkpoint, NOW)
    renewed = SCENE.witnesses[0].cosign(signed.checkpoint, NOW.replace(hour=15))
    both = signed.with_signatures(first).with_signatures(second)
    assert both.signatures == (*signed.signatures, *first, *second)
    assert both.with_signatures(renewed).signatures == (*signed.signatures, *renewed, *second)
