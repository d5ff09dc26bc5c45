"""Vectors of §14.5 and §16 to §18: a log added up, files, receipts, evidence, draws, openings."""

from __future__ import annotations

from collections.abc import Callable

from cryptography import x509

from candor_verify import draw, form, opening, receipt, statements, succession
from candor_verify.checkpoint import Checkpoint
from candor_verify.entries import parse_entry
from candor_verify.errors import IdentityMismatch, KeyMismatch, LogInconsistent, Malformed
from candor_verify.evidence import verify_evidence
from candor_verify.fold import End, State
from candor_verify.heads import parse_head
from candor_verify.merkle import CompactRange, leaf_hash
from candor_verify.names import at
from candor_verify.policy import parse_policy
from candor_verify.proof import Judge
from candor_verify.vectors_basic import Given, Outcome


def fold_log(given: Given) -> Outcome:
    shards: list[Outcome] = []
    end: End | None = None
    state: State | None = None
    for number, octets in enumerate(given.raw("shards"), 1):
        if number > 1 and end is None:
            raise LogInconsistent("A further shard begins, and the one before is not closed.")
        state = State(given.text("federation"), number, end)
        border, states = CompactRange(), []
        for entry in map(bytes.fromhex, octets):
            state.apply(entry)
            border.append(leaf_hash(entry))
            states.append(state.directory_state().hex())
        shards.append({"size": str(state.size), "root": border.root().hex(), "states": states})
        end = state.end(border.root())
    keys = [] if state is None else sorted(state.members.items())
    return {
        "shards": shards,
        "witness_keys": [
            {
                "node": node,
                "ed25519_key": known.witness_key.ed25519.hex(),
                "issued": str(known.witness_key.issued),
            }
            for node, known in keys
            if known.witness_key is not None
        ],
    }


def read_file(given: Given) -> Outcome:
    return {"file": form.parse_file(given.octets("octets"))}


def write_file(given: Given) -> Outcome:
    return {"text": form.encode(given.raw("file")).decode()}


def _judge(given: Given) -> Judge:
    return Judge(parse_policy(given.octets("policy")), at(given.number("now")))


def verify_receipt(given: Given) -> Outcome:
    found = receipt.verify_receipt(form.encode(given.raw("file")), _judge(given))
    return {
        "kind": found.kind,
        "status": found.status,
        "seconds": None if found.logged_by is None else str(int(found.logged_by.timestamp())),
    }


def check_evidence(given: Given) -> Outcome:
    root = None if given.raw("root") is None else x509.load_der_x509_certificate(given.octets("root"))
    found, case = verify_evidence(form.encode(given.raw("file")), _judge(given), root)
    return {"kind": found.kind, "accused": case.accused}


def check_opening(given: Given) -> Outcome:
    opened = opening.verify_opening(form.encode(given.raw("file")), _judge(given))
    register = opening.read_register("\n".join(given.raw("register")).encode())
    return {
        "cases": [case for case in opened.cases if case is not None],
        "not_in_the_register": [case for _, case in opened.not_in(register)],
    }


def audit_draw(given: Given) -> Outcome:
    head = Checkpoint(given.text("origin"), given.number("size"), given.octets("root"), ())
    found = draw.draw_of(head, given.number("from"), given.number("rate"))
    drawn = [
        {"index": entry["index"], "position": position}
        for entry in given.raw("entries")
        if found.start <= int(entry["index"]) < found.end
        for position in range(entry["commitments"])
        if found.is_drawn(int(entry["index"]), position)
    ]
    return {"seed": found.seed.hex(), "drawn": drawn}


def check_answer(given: Given) -> Outcome:
    """What an asker checks but for its own secrets (§7.5)."""
    part = given.part("answer")
    body = given.octets("lookup_body")
    lookup = statements.parse_lookup(body)
    answer = statements.parse_answer(part.body)
    part.verify("answer", given.octets("signing_key"), given.text("node"))
    named = (answer.federation, answer.node, answer.asker, answer.lookup_id, answer.lookup_digest)
    due = (lookup.federation, given.text("node"), lookup.asker, lookup.lookup_id)
    if named != (*due, statements.lookup_digest(body)):
        raise IdentityMismatch("The answer is not one to this lookup.")
    if (answer.shape, answer.persons) != (lookup.shape, lookup.persons):
        raise Malformed("The answer is of another shape, or about another number of persons.")
    if answer.status == statements.EVALUATED:
        head = parse_head(given.octets("head_body"))
        place = (head.node, head.epoch, head.scheme)
        due_place = (answer.node, lookup.epoch_of(answer.node), given.number("scheme_version"))
        if place != due_place or answer.epoch != head.epoch:
            raise KeyMismatch("The head is not the one that the answer is under.")
        receipt.check_proofs(answer, lookup, head)
    return {"status": answer.status}


def decode_pack_adoption(given: Given) -> Outcome:
    found = statements.parse_pack_adoption(given.octets("body"))
    return {
        "federation": found.federation,
        "node": found.node,
        "pack": found.pack,
        "version": found.version,
        "pack_digest": found.pack_digest.hex(),
        "adopted": str(found.adopted),
    }


def decode_succession(given: Given) -> Outcome:
    found = statements.parse_succession(given.octets("body"))
    return {
        "federation": found.federation,
        "node": found.node,
        "shard": found.shard,
        "size": str(found.size),
        "root": found.root.hex(),
        "root_certificate": found.root_certificate.hex(),
        "ed25519_key": found.ed25519.hex(),
        "ml_dsa_44_key": found.ml_dsa.hex(),
        "policy": found.policy.hex(),
        "issued": str(found.issued),
    }


def judge_succession(given: Given) -> Outcome:
    read = [parse_entry(bytes.fromhex(one)) for one in given.raw("entries")]
    keys = {one["node"]: bytes.fromhex(one["signing_key"]) for one in given.raw("members")}
    old = succession.Old(
        given.text("federation"), given.number("shard"), given.number("size"), given.octets("root"), keys
    )
    found = succession.judge(read, old)
    return {
        "consents": list(found.consents),
        "active": found.active,
        "ed25519_key": found.keys.ed25519.key.hex(),
        "ml_dsa_44_key": found.keys.ml_dsa.key.hex(),
        "policy_version": found.policy.version,
    }


FORWARD: dict[str, Callable[[Given], object]] = {
    "fold-log": fold_log,
    "read-file": read_file,
    "write-file": write_file,
    "verify-receipt": verify_receipt,
    "verify-evidence": check_evidence,
    "check-opening": check_opening,
    "audit-draw": audit_draw,
    "check-answer": check_answer,
    "succession": judge_succession,
}
BACKWARD: dict[str, Callable[[Given, Given], object]] = {
    "encode-pack-adoption": lambda expected, _: decode_pack_adoption(expected),
    "encode-succession": lambda expected, _: decode_succession(expected),
}
