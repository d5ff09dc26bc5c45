"""Policies, quorums, the time of witness, the age of a log (docs/protocol.md §15.4-§15.6)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from candor_proto.ids import NodeId
from candor_proto.tlog.age import age_of
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.note import parse_vkey
from candor_proto.tlog.policy import PolicyWitness, members_policy, parse_policy
from tools.vectors.book import Book, Given, changed, operation
from tools.vectors.logs import NEXT_KEYS, OUTSIDE, checkpoint
from tools.vectors.notes import LOG_KEYS, ed25519_line, ml_dsa_line, seconds_of, signed, witness_keys
from tools.vectors.parties import DAY, HOUR, MINUTE, NOW, moment, ms
from tools.vectors.shapes import FLAG, OCTETS, TEXT, TIME, U16, U64, fields, listed, one_of

_WITNESS = fields(name=TEXT, vkey=TEXT, url=TEXT)


@operation(
    "policy",
    "15.4",
    "what a policy says; a missing URL is empty",
    {"policy": OCTETS},
    {
        "logs": listed(fields(vkey=TEXT, url=TEXT)),
        "witnesses": listed(_WITNESS),
        "groups": listed(fields(name=TEXT, threshold=U16, members=listed(TEXT))),
        "quorum": TEXT,
    },
)
def _policy(given: Given) -> dict[str, Any]:
    policy = parse_policy(bytes.fromhex(given["policy"]))
    return {
        "logs": [{"vkey": log.key.encode(), "url": log.url} for log in policy.logs],
        "witnesses": [
            {"name": one.name, "vkey": one.key.encode(), "url": one.url} for one in policy.witnesses
        ],
        "groups": [
            {"name": one.name, "threshold": one.threshold, "members": list(one.members)}
            for one in policy.groups
        ],
        "quorum": policy.quorum,
    }


@operation(
    "quorum",
    "15.4",
    "whether cosignatures of these witnesses (names of `witness` lines) make the quorum",
    {"policy": OCTETS, "witnesses": listed(TEXT)},
    {"quorum": FLAG},
)
def _quorum(given: Given) -> dict[str, Any]:
    return {"quorum": parse_policy(bytes.fromhex(given["policy"])).has_quorum(set(given["witnesses"]))}


@operation(
    "hub-policy",
    "15.4",
    "the policy that the hub makes: of these log keys in order, the ML-DSA-44 keys of members in the order "
    "in which they "
    "joined, and what its operator set besides (`outside` of how many `threshold` must sign)",
    {
        "logs": listed(TEXT),
        "members": listed(fields(node=TEXT, vkey=TEXT)),
        "outside": listed(_WITNESS),
        "threshold": U16,
    },
    {"policy": TEXT},
)
def _hub_policy(given: Given) -> dict[str, Any]:
    members = [(NodeId(one["node"]), parse_vkey(one["vkey"])) for one in given["members"]]
    outside = [PolicyWitness(one["name"], parse_vkey(one["vkey"]), one["url"]) for one in given["outside"]]
    logs = [parse_vkey(text) for text in given["logs"]]
    return {"policy": members_policy(logs, members, outside, given["threshold"]).decode()}


@operation(
    "time-of-witness",
    "15.5",
    "the time of witness of a head under a policy, in seconds since 1970; both signatures of the log and "
    "each known "
    "cosignature are verified on the way",
    {"policy": OCTETS, "checkpoint": OCTETS, "now": TIME},
    {"seconds": U64},
)
def _time_of_witness(given: Given) -> dict[str, Any]:
    policy = parse_policy(bytes.fromhex(given["policy"]))
    made = policy.verify(parse_checkpoint(bytes.fromhex(given["checkpoint"])), moment(given["now"]))
    return {"seconds": str(seconds_of(made))}


@operation(
    "log-age",
    "15.6",
    "how old a log is whose newest head has this time of witness",
    {"time_of_witness": TIME, "now": TIME},
    {"age": one_of("current", "late", "closed")},
)
def _log_age(given: Given) -> dict[str, Any]:
    return {"age": age_of(moment(given["time_of_witness"]), moment(given["now"])).value}


def _vkey(node: str, kind: int) -> str:
    return witness_keys(node).verifier_keys[0 if kind == 4 else 1].encode()


def _lines(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


_LOG = LOG_KEYS.verifier_keys[0].encode()


def book() -> Book:
    found = Book(
        "policies",
        "Policies parsed and refused, quorums, the policy that the hub makes, the time of witness, the age "
        "of a log.",
        ("15.4", "15.5", "15.6"),
        "Written by hand from C2SP tlog-policy and §15.4; by candor_proto.tlog.policy. Small ones use "
        "Ed25519 witness keys "
        "(type 4), for ML-DSA-44 keys are long.",
    )
    small = found.keep(
        "small", _lines(f"log {_LOG}", f"witness w1 {_vkey('w1', 4)} https://w1.example/x", "quorum w1")
    )
    _parsed(found)
    _refused(found, small)
    _made(found)
    _times(found)
    for name, behind in (
        ("an_hour", HOUR),
        ("an_hour_and_a_millisecond", HOUR + timedelta(milliseconds=1)),
        ("a_day", DAY),
        ("a_day_and_a_millisecond", DAY + timedelta(milliseconds=1)),
        ("ahead", -MINUTE),
    ):
        found.case(f"age_{name}", "log-age", {"time_of_witness": ms(NOW - behind), "now": ms(NOW)})
    return found


def _parsed(found: Book) -> None:
    found.case("policy_small", "policy", {"policy": changed("small")})
    three = [f"witness w{n} {_vkey(f'w{n}', 4)}" for n in (1, 2, 3)]
    nested = [*three, f"witness w4 {_vkey('w4', 4)}", "group a 2 w1 w2 w3", "group b any a w4", "quorum b"]
    for name, lines in (
        (
            "blanks_and_comments",
            ["# nothing", "", f"  log\t{_LOG}  https://log.example ", "\t# x", "quorum none  "],
        ),
        ("two_of_three", [*three, "group two 2 w1 w2 w3", "quorum two"]),
        ("nested", nested),
        ("all", [*three, "group every all w1 w2 w3", "quorum every"]),
        ("quorum_before_the_logs", ["quorum none", f"log {_LOG}"]),
        ("nothing_but_a_quorum", ["quorum none"]),
    ):
        found.case(f"policy_{name}", "policy", {"policy": _lines(*lines).hex()})
    found.keep("nested", _lines(*nested))
    for names in ((), ("w1",), ("w4",), ("w1", "w3"), ("w2", "w3", "w4"), ("somebody",)):
        given = {"policy": changed("nested"), "witnesses": list(names)}
        found.case(f"quorum_of_{'_'.join(names) or 'nobody'}", "quorum", given)


def _refused(found: Book, small: bytes) -> None:
    w1, w2 = (f"witness w{n} {_vkey(f'w{n}', 4)}" for n in (1, 2))
    log = f"log {_LOG}"
    for flaw, lines in (
        ("no_quorum", [log, w1]),
        ("two_quorums", [log, "quorum none", "quorum none"]),
        ("quorum_not_defined", [log, "quorum w1"]),
        ("quorum_defined_below", [log, "quorum w1", w1]),
        ("quorum_of_two", [w1, w2, "quorum w1 w2"]),
        ("unknown_word", ["logs x", "quorum none"]),
        ("capital_word", [f"Log {_LOG}", "quorum none"]),
        ("log_without_key", ["log", "quorum none"]),
        ("log_with_too_much", [f"{log} https://x y", "quorum none"]),
        ("log_key_of_a_witness", [f"log {_vkey('w1', 4)}", "quorum none"]),
        ("witness_key_of_a_log", [f"witness w1 {_LOG}", "quorum none"]),
        ("log_key_twice", [log, log, "quorum none"]),
        ("witness_key_twice", [w1, w1.replace("witness w1", "witness w2"), "quorum none"]),
        ("name_twice", [w1, w2.replace("witness w2", "witness w1"), "quorum none"]),
        ("witness_called_none", [w1.replace("witness w1", "witness none"), "quorum none"]),
        ("group_without_members", [w1, "group g 1", "quorum none"]),
        ("group_of_a_name_not_defined", [w1, "group g 1 w2", "quorum g"]),
        ("group_member_twice", [w1, w2, "group g 1 w1 w1", "quorum g"]),
        ("member_of_two_groups", [w1, w2, "group g 1 w1", "group h 2 w1 w2", "quorum h"]),
        ("threshold_zero", [w1, "group g 0 w1", "quorum g"]),
        ("threshold_with_leading_zero", [w1, "group g 01 w1", "quorum g"]),
        ("threshold_above_the_members", [w1, "group g 2 w1", "quorum g"]),
        ("threshold_in_words", [w1, "group g most w1", "quorum g"]),
        ("vkey_of_another_id", [f"witness w1 x{_vkey('w1', 4)}", "quorum none"]),
    ):
        refuse = "malformed_message"
        found.case(f"policy_{flaw}", "policy", {"policy": _lines(*lines).hex()}, refuse=refuse)
    for flaw, octets, refuse in (
        ("no_newline_at_the_end", small[:-1], "malformed_message"),
        ("carriage_returns", small.replace(b"\n", b"\r\n"), "malformed_message"),
        ("nothing", b"", "malformed_message"),
    ):
        found.case(f"policy_{flaw}", "policy", {"policy": octets.hex()}, refuse=refuse)
    many = "group g any " + " ".join("w1" for _ in range(20_000))
    assert len(many) > 60_000
    witnesses = [f"witness v{n} {_vkey(f'v{n}', 4)}" for n in range(65)]
    found.case(
        "policy_of_65_witnesses",
        "policy",
        {"policy": _lines(*witnesses, "quorum none").hex()},
        refuse="limit_exceeded",
    )


def _made(found: Book) -> None:
    keys = [key.encode() for key in LOG_KEYS.verifier_keys]
    members = [{"node": node, "vkey": _vkey(node, 4)} for node in ("cedar-post", "alder-pd", "birch-so")]
    outside = [
        {
            "name": "outside-1",
            "vkey": OUTSIDE.verifier_keys[0].encode(),
            "url": "https://witness.example/candor",
        },
        {"name": "outside-2", "vkey": _vkey("outside-2", 4), "url": "https://w2.example"},
    ]
    base: dict[str, Any] = {"logs": keys, "members": [], "outside": [], "threshold": 0}
    two = [key.encode() for key in (*LOG_KEYS.verifier_keys, *NEXT_KEYS.verifier_keys)]
    for name, change, comment in (
        ("of_no_witness", {}, ""),
        ("of_two_members", {"members": members[:2]}, "too few for a quorum"),
        ("of_three_members", {"members": members}, "two of three; in order of node id"),
        ("of_outside_alone", {"outside": outside[:1], "threshold": 1}, ""),
        ("of_outside_that_is_not_needed", {"outside": outside, "threshold": 0}, ""),
        ("of_members_and_outside", {"members": members, "outside": outside, "threshold": 1}, ""),
        ("at_a_rotation", {"logs": two}, ""),
        (
            "of_a_member_with_its_ml_dsa_key",
            {"members": [{"node": "birch-so", "vkey": _vkey("birch-so", 6)}]},
            "the keys that members have in fact; above, short ones stand for them",
        ),
        (
            "of_25_members",
            {"members": [{"node": f"m{n:02}", "vkey": _vkey(f"m{n:02}", 4)} for n in range(25)]},
            "the first 24 that joined",
        ),
    ):
        found.case(f"hub_policy_{name}", "hub-policy", {**base, **change}, comment=comment)
    spoilt = [{**outside[0], "name": "member/alder-pd"}]
    given = {**base, "outside": spoilt}
    found.case("hub_policy_with_an_operators_member", "hub-policy", given, refuse="malformed_message")
    found.case(
        "hub_policy_without_two_lines_of_one_log",
        "hub-policy",
        {**base, "logs": keys[:1] * 2},
        refuse="malformed_message",
    )


def _times(found: Book) -> None:
    names = ("w1", "w2", "w3")
    made = checkpoint(12)
    logs = [f"log {key.encode()}" for key in LOG_KEYS.verifier_keys]
    three = [f"witness {name} {_vkey(name, 4)}" for name in names]
    found.keep("two of three", _lines(*logs, *three, "group two 2 w1 w2 w3", "quorum two"))
    found.keep("none", _lines(*logs, "quorum none"))
    found.keep("one log key", _lines(logs[0], "quorum none"))
    birch = _lines(*logs, f"witness birch {_vkey('birch-so', 6)}", "quorum birch")
    found.keep("ml-dsa", birch)
    bare = signed(made, NOW)

    def cosigned(*signers: tuple[str, timedelta]) -> SignedCheckpoint:
        return bare.with_signatures(
            [ed25519_line(witness_keys(name), made, NOW + at) for name, at in signers]
        )

    def case(
        name: str,
        policy: str,
        octets: Any,
        refuse: str | None = None,
        comment: str = "",
        now: timedelta = HOUR,
    ) -> None:
        given = {"policy": changed(policy), "checkpoint": octets, "now": ms(NOW + now)}
        found.case(f"time_{name}", "time-of-witness", given, refuse=refuse, comment=comment)

    def keep(name: str, head: SignedCheckpoint) -> dict[str, Any]:
        found.keep(name, head.encode())
        return changed(name)

    both = cosigned(("w1", 10 * MINUTE), ("w3", 3 * MINUTE))
    every = cosigned(("w1", 10 * MINUTE), ("w2", 5 * MINUTE), ("w3", 3 * MINUTE))
    plain = keep("signed by the log alone", bare)
    case("of_two", "two of three", keep("cosigned by two", both), comment="the earlier of the two")
    case("of_three", "two of three", keep("cosigned by three", every), comment="the second latest")
    case("without_witnesses", "none", plain, comment="the log's own ML-DSA-44 time")
    case("without_witnesses_with_cosignatures", "none", changed("cosigned by two"))
    case(
        "of_an_ml_dsa_witness",
        "ml-dsa",
        keep(
            "cosigned with ML-DSA", bare.with_signatures([ml_dsa_line(witness_keys("birch-so"), made, NOW)])
        ),
    )
    ahead = cosigned(("w1", 70 * MINUTE), ("w2", 65 * MINUTE), ("w3", 3 * MINUTE))
    late = keep("cosigned ahead", ahead)
    case(
        "one_too_far_ahead",
        "two of three",
        late,
        comment="65 minutes are within the tolerance of 5, 70 are not",
    )
    case("two_too_far_ahead", "two of three", late, "log_unwitnessed", now=59 * MINUTE)
    case("own_too_far_ahead", "none", plain, "log_unwitnessed", now=-6 * MINUTE)
    case("not_enough", "two of three", keep("cosigned by one", cosigned(("w2", MINUTE))), "log_unwitnessed")
    case("nobody", "two of three", plain, "log_unwitnessed")
    known = cosigned(("w1", MINUTE), ("w2", MINUTE))
    wrong = known.signatures[2].payload
    lines = [
        *known.signatures[:2],
        _with_payload(known, 2, bytes([*wrong[:-1], wrong[-1] ^ 1])),
        known.signatures[3],
    ]
    spoilt = SignedCheckpoint(made, tuple(lines)).encode().hex()
    case("a_known_cosignature_fails", "two of three", spoilt, "signature_invalid")
    third = cosigned(("w1", MINUTE), ("w2", MINUTE), ("w3", MINUTE))
    wrong = third.signatures[4].payload
    lines = [*third.signatures[:4], _with_payload(third, 4, bytes([*wrong[:-1], wrong[-1] ^ 1]))]
    spoilt = SignedCheckpoint(made, tuple(lines)).encode().hex()
    case("one_more_that_fails", "two of three", spoilt, "signature_invalid", "though two are enough")
    case("of_a_log_with_one_key", "one log key", plain, "signature_invalid")
    case("of_another_log", "two of three", _renamed(), "signature_invalid")


def _with_payload(head: SignedCheckpoint, position: int, payload: bytes) -> Any:
    line = head.signatures[position]
    return type(line)(line.name, line.key_id, payload)


def _renamed() -> str:
    """A head of the next shard, of which the policy has no key."""

    return signed(Checkpoint(NEXT_KEYS.origin, 1, bytes(32)), NOW, NEXT_KEYS).encode().hex()
