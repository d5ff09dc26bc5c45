"""Policies and the time of witness (C2SP tlog-policy; docs/protocol.md §15.4, §15.5)."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.errors import CandorError, LimitExceeded, LogUnwitnessed, MalformedMessage, SignatureInvalid
from candor_proto.ids import NodeId
from candor_proto.tlog.note import NoteSignature, VerifierKey
from candor_proto.tlog.policy import (
    MAX_POLICY_OCTETS,
    Group,
    Policy,
    PolicyWitness,
    members_policy,
    parse_policy,
)
from candor_proto.tlog.signatures import LogKeys, WitnessKeys
from tests.log_scene import LogScene
from tests.parties import NOW
from tests.unit.proto.tlog.changes import FEW, one_octet_changes

SCENE = LogScene(entries=[b"a", b"b", b"c"])
LOG = SCENE.keys.verifier_keys
KEYS = [
    WitnessKeys(f"w.example/{number}", bytes([number]) * 32, bytes([number]) * 32) for number in range(1, 9)
]
ED = [keys.verifier_keys[0].encode() for keys in KEYS]
ML = [keys.verifier_keys[1].encode() for keys in KEYS]
# One key under two names.
TWIN = VerifierKey("another.example/log/1", LOG[0].kind, LOG[0].key)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)

# The example of tlog-policy, with keys.
EXAMPLE = f"""
log {LOG[0].encode()}

witness X1 {ED[0]}
witness X2 {ED[1]}
witness X3 {ED[2]}
group X-witnesses 2 X1 X2 X3

witness Y1 {ML[3]}
witness Y2 {ML[4]}
witness Y3 {ML[5]}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
""".encode()


def test_the_example_of_the_specification_takes_two_of_one_group_and_one_of_the_other() -> None:
    policy = parse_policy(EXAMPLE)
    assert policy.quorum == "X-and-Y"
    assert policy.groups[2] == Group("X-and-Y", 2, ("X-witnesses", "Y-witnesses"))
    everybody = [witness.name for witness in policy.witnesses]
    for count in range(7):
        for names in itertools.combinations(everybody, count):
            xs = sum(name.startswith("X") for name in names)
            assert policy.has_quorum(set(names)) == (xs >= 2 and len(names) > xs)


def test_spaces_tabs_comments_and_urls_are_read() -> None:
    octets = (
        f"  # a comment\n\t\n\tlog  {LOG[0].encode()}\thttps://log.example/  \n"
        f"witness one {ED[0]} https://one.example/\nquorum \t one\n#\n"
    ).encode()
    policy = parse_policy(octets)
    assert policy.logs[0].url == "https://log.example/"
    assert policy.witnesses[0] == PolicyWitness("one", KEYS[0].verifier_keys[0], "https://one.example/")
    assert (policy.quorum, policy.text) == ("one", octets)


def test_names_are_octets_and_need_not_be_utf_8() -> None:
    kelvin, latin = "\N{KELVIN SIGN}".encode(), b"K\xe9"
    lines = [
        b"witness %s %s" % (name, vkey.encode())
        for name, vkey in zip((b"K", kelvin, latin), ED, strict=False)
    ]
    octets = b"\n".join([*lines, b"group g 3 K " + kelvin + b" " + latin, b"quorum g", b""])
    names = [witness.name for witness in parse_policy(octets).witnesses]
    assert [name.encode("utf-8", "surrogateescape") for name in names] == [b"K", kelvin, latin]


def _policy(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"quorum none",
        _policy("quorum"),
        _policy("quorum none", "quorum none"),
        _policy("quorum one"),
        _policy("quorum one", f"witness one {ED[0]}"),
        _policy(f"witness one {ED[0]}"),
        _policy(f"witness none {ED[0]}", "quorum none"),
        _policy("witness one", "quorum none"),
        _policy(f"witness one {ED[0]} url more", "quorum none"),
        _policy(f"witness one {ED[0]}", f"witness one {ED[1]}", "quorum none"),
        _policy(f"witness one {ED[0]}", f"witness two {ED[0]}", "quorum none"),
        _policy(f"witness one {LOG[0].encode()}", "quorum none"),
        _policy(f"log {ED[0]}", "quorum none"),
        _policy(f"log {LOG[0].encode()}", f"log {LOG[0].encode()}", "quorum none"),
        _policy(f"log {LOG[0].encode()}", f"log {TWIN.encode()}", "quorum none"),
        _policy(f"log {LOG[0].encode()[:-4]}AAAA", "quorum none"),
        _policy("log", "quorum none"),
        _policy(f"witness one {ED[0]}", "group g all", "quorum none"),
        _policy(f"witness one {ED[0]}", "group g 0 one", "quorum none"),
        _policy(f"witness one {ED[0]}", "group g 2 one", "quorum none"),
        _policy(f"witness one {ED[0]}", "group g 01 one", "quorum none"),
        _policy(f"witness one {ED[0]}", "group g some one", "quorum none"),
        _policy(f"witness one {ED[0]}", "group g any one one", "quorum none"),
        _policy(f"witness one {ED[0]}", "group g any one two", "quorum none"),
        _policy(f"witness one {ED[0]}", "group g any g", "quorum none"),
        _policy(f"witness one {ED[0]}", "group g any none", "quorum none"),
        _policy(f"witness one {ED[0]}", "group one any one", "quorum none"),
        _policy(f"witness one {ED[0]}", "group none any one", "quorum none"),
        _policy(f"witness one {ED[0]}", "group g any one", "group h any one", "quorum h"),
        _policy("Quorum none"),
        _policy("quorum none", "unknown line"),
        b"quorum\x0bnone\n",
        b"quorum none\r\n",
        b"quorum none\x00\n",
        b"# \x7f\nquorum none\n",
    ],
    # The keys are drawn: as names of tests they would differ from worker to worker.
    ids=map(str, itertools.count(1)),
)
def test_what_is_no_policy_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_policy(octets)


def test_two_logs_may_be_the_two_keys_of_one_but_not_two_of_one_type() -> None:
    again = LogKeys.generate(SCENE.origin).verifier_keys
    policy = parse_policy(_policy(f"log {LOG[1].encode()}", f"log {LOG[0].encode()}", "quorum none"))
    assert policy.log_keys(SCENE.origin) == LOG
    assert policy.log_keys("another") == ()
    with pytest.raises(MalformedMessage):
        parse_policy(_policy(f"log {LOG[0].encode()}", f"log {again[0].encode()}", "quorum none"))


def test_a_policy_has_its_limits() -> None:
    with pytest.raises(LimitExceeded):
        parse_policy(b"#" * MAX_POLICY_OCTETS + b"\nquorum none\n")
    groups = [f"group g{number} any {'one' if not number else f'g{number - 1}'}" for number in range(65)]
    parse_policy(_policy(f"witness one {ED[0]}", *groups[:64], "quorum g63"))
    with pytest.raises(LimitExceeded):
        parse_policy(_policy(f"witness one {ED[0]}", *groups, "quorum g64"))
    for line in ("witness w{} {}", "log {1}"):
        lines = []
        for number in range(65):
            seed = number.to_bytes(32, "big")
            key = (WitnessKeys if "wit" in line else LogKeys)(f"k{number}", seed, seed).verifier_keys[0]
            lines.append(line.format(number, key.encode()))
        parse_policy(_policy(*lines[:64], "quorum none"))
        with pytest.raises(LimitExceeded):
            parse_policy(_policy(*lines, "quorum none"))


@given(st.binary(max_size=200) | st.text("lognewitsquorum anyall12\n\t#", max_size=80).map(str.encode))
def test_reading_a_policy_raises_nothing_else(octets: bytes) -> None:
    try:
        assert parse_policy(octets).text == octets
    except CandorError as error:
        assert isinstance(error, MalformedMessage | LimitExceeded)


def test_every_change_of_one_octet_is_refused_or_another_policy_under_which_nothing_new_verifies() -> None:
    octets = _policy(
        f"log {LOG[0].encode()}",
        f"log {LOG[1].encode()}",
        f"witness one {ED[0]}",
        f"witness two {ED[1]}",
        "group g all one two",
        "quorum g",
    )
    policy = parse_policy(octets)
    signed = SCENE.signed()
    weak = signed.with_signatures(KEYS[0].cosign(signed.checkpoint, NOW))
    for changed in one_octet_changes(octets, FEW):
        try:
            other = parse_policy(changed)
        except (MalformedMessage, LimitExceeded):
            continue
        assert other != policy
        with pytest.raises(CandorError):
            other.verify(weak, NOW)


# --- the time of witness ---------------------------------------------------------------------------


def _times(*minutes: int | None) -> tuple[LogScene, object]:
    signed = SCENE.signed(now=NOW - HOUR)
    for keys, minute in zip(SCENE.witnesses, minutes, strict=True):
        if minute is not None:
            signed = signed.with_signatures(keys.cosign(signed.checkpoint, NOW + minute * MINUTE))
    return SCENE, signed


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ((-30, -20, -10), -20),
        ((-10, -20, -30), -20),
        ((-30, -10, None), -30),
        ((None, -20, -20), -20),
        ((0, 5, None), 0),
        ((5, 5, 5), 5),
        ((-30, -20, 6), -30),
        ((-30, 6, 6), None),
        ((0, None, None), None),
        ((None, None, None), None),
        ((6, 6, 6), None),
    ],
)
def test_the_time_of_witness_is_that_of_the_quorum(
    minutes: tuple[int | None, ...], expected: int | None
) -> None:
    _, signed = _times(*minutes)
    if expected is None:
        with pytest.raises(LogUnwitnessed):
            SCENE.policy.verify(signed, NOW)  # type: ignore[arg-type]
    else:
        assert SCENE.policy.verify(signed, NOW) == NOW + expected * MINUTE  # type: ignore[arg-type]


def test_without_a_quorum_rule_it_is_the_logs_own_time() -> None:
    policy = parse_policy(members_policy(LOG, []))
    assert policy.time_of_witness(SCENE.signed(now=NOW - HOUR), NOW) == NOW - HOUR
    assert policy.time_of_witness(SCENE.signed(now=NOW + 5 * MINUTE), NOW) == NOW + 5 * MINUTE
    with pytest.raises(LogUnwitnessed):
        policy.time_of_witness(SCENE.signed(now=NOW + 6 * MINUTE), NOW)
    with pytest.raises(SignatureInvalid):
        policy.time_of_witness(LogScene(entries=[b"a"]).signed(), NOW)
    ed25519_only = parse_policy(_policy(f"log {LOG[0].encode()}", "quorum none"))
    with pytest.raises(SignatureInvalid):
        ed25519_only.time_of_witness(SCENE.signed(), NOW)


def test_a_known_signature_that_fails_refuses_the_head_even_with_a_quorum() -> None:
    signed = SCENE.cosigned(witnesses=[0, 1])
    forged = SCENE.witnesses[2].cosign(SCENE.checkpoint(2), NOW)[1]
    with pytest.raises(SignatureInvalid):
        SCENE.policy.verify(signed.with_signatures([forged]), NOW)


def test_an_unknown_signature_is_ignored() -> None:
    signed = SCENE.cosigned(witnesses=[0, 1])
    # The Ed25519 lines of members, a stranger's, and one that only borrows a known name.
    stranger = NoteSignature(SCENE.witnesses[2].name, b"\1\2\3\4", b"x")
    assert SCENE.policy.verify(signed.with_signatures([stranger]), NOW) == NOW
    assert set(SCENE.policy.cosignatures(signed)) == {"member/alpha", "member/beta"}


def test_a_head_of_another_log_or_without_the_logs_signatures_is_refused() -> None:
    other = LogScene(entries=[b"a"])
    other.witnesses = SCENE.witnesses
    with pytest.raises(SignatureInvalid):
        SCENE.policy.verify(other.cosigned(), NOW)
    second = LogScene(shard=2, entries=[b"a"])
    second.witnesses = SCENE.witnesses
    with pytest.raises(SignatureInvalid):
        SCENE.policy.verify(second.cosigned(), NOW)


def test_one_witness_does_not_count_twice() -> None:
    policy = SCENE.policy
    signed = SCENE.signed().with_signatures(SCENE.witnesses[0].cosign(SCENE.checkpoint(), NOW))
    assert len(signed.signatures) == 4
    with pytest.raises(LogUnwitnessed):
        policy.verify(signed, NOW)


def test_a_proof_carries_the_logs_lines_and_known_ones_in_order() -> None:
    signed = SCENE.cosigned(witnesses=[2, 0])
    known = SCENE.policy.knows(signed)
    assert [line.name for line in known.signatures] == [
        SCENE.origin,
        SCENE.origin,
        SCENE.witnesses[0].name,
        SCENE.witnesses[2].name,
    ]
    assert SCENE.policy.verify(known, NOW) == NOW
    with pytest.raises(SignatureInvalid):
        SCENE.policy.knows(LogScene(shard=2, entries=[b"a"]).cosigned())


# --- the policy that the hub makes -----------------------------------------------------------------


def _members(count: int) -> list[tuple[NodeId, VerifierKey]]:
    made = []
    for number in range(count):
        seed = number.to_bytes(32, "big")
        made.append(
            (NodeId(f"node-{(number * 7) % 100:02}"), WitnessKeys(f"w{number}", seed, seed).verifier_keys[1])
        )
    return made


def test_the_hubs_policy_is_written_as_the_protocol_says() -> None:
    members = _members(3)
    by_name = sorted(members)
    expected = _policy(
        f"log {LOG[0].encode()}",
        f"log {LOG[1].encode()}",
        *(f"witness member/{node} {key.encode()}" for node, key in by_name),
        f"group members 2 {' '.join(f'member/{node}' for node, _ in by_name)}",
        "quorum members",
    )
    assert members_policy(LOG, members) == expected


@pytest.mark.parametrize(("count", "needed"), [(3, 2), (4, 3), (5, 3), (23, 12), (24, 13), (30, 13)])
def test_more_than_half_of_the_first_24_members_make_the_quorum(count: int, needed: int) -> None:
    policy = parse_policy(members_policy(LOG, _members(count)))
    assert (policy.quorum, policy.groups[0].threshold) == ("members", needed)
    assert {witness.name for witness in policy.witnesses} == {
        f"member/{node}" for node, _ in _members(min(count, 24))
    }
    assert len(policy.text) < MAX_POLICY_OCTETS


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_members_are_named_and_make_no_quorum(count: int) -> None:
    policy = parse_policy(members_policy(LOG, _members(count)))
    assert (policy.quorum, policy.groups, len(policy.witnesses)) == ("none", (), count)


@pytest.mark.parametrize(("members", "threshold"), [(0, 0), (0, 2), (3, 0), (3, 1), (3, 2)])
def test_an_operators_witnesses_count_besides(members: int, threshold: int) -> None:
    extra = [
        PolicyWitness("one", KEYS[0].verifier_keys[0], "https://one.example/"),
        PolicyWitness("two", KEYS[1].verifier_keys[1]),
    ]
    policy = parse_policy(members_policy(LOG, _members(members), extra, threshold))
    own = {f"member/{node}" for node, _ in _members(members)}
    for chosen in (set(), {"one"}, {"one", "two"}):
        assert policy.has_quorum(own | chosen) == (len(chosen) >= threshold)
        assert policy.has_quorum(chosen) == (len(chosen) >= threshold and not members)
    assert policy.witnesses[-2:] == tuple(extra)


@pytest.mark.parametrize(
    "name", ["none", "members", "outside", "both", "member/x", "a b", "", "a\nb", "\ud800x"]
)
def test_an_operators_witness_cannot_take_a_name_that_means_something_else(name: str) -> None:
    with pytest.raises(MalformedMessage):
        members_policy(LOG, _members(3), [PolicyWitness(name, KEYS[0].verifier_keys[0])])


def test_a_member_may_be_called_like_a_word_of_the_policy() -> None:
    keys = [key for _, key in _members(3)]
    named = [(NodeId(name), key) for name, key in zip(("none", "members", "quorum"), keys, strict=True)]
    policy = parse_policy(members_policy(LOG, named))
    assert policy.has_quorum({"member/none", "member/quorum"})


def test_two_members_with_one_key_make_no_policy() -> None:
    (first, key), (second, _), *_ = _members(3)
    with pytest.raises(MalformedMessage):
        members_policy(LOG, [(first, key), (second, key)])
    extra = [PolicyWitness(str(node), key) for node, key in _members(36)[24:]]
    with pytest.raises(LimitExceeded):
        members_policy(LOG, _members(24), extra)


def test_a_policy_is_its_octets() -> None:
    first = parse_policy(b"quorum none\n")
    assert first != parse_policy(b"quorum  none\n")
    assert isinstance(first, Policy)
