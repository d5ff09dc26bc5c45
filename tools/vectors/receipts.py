"""The file form, and receipts of answers and disclosures (docs/protocol.md §16)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from candor_proto import merkle
from candor_proto.accountability.file_form import encode_file, parse_file
from candor_proto.accountability.receipt import AnswerReceipt, parse_receipt
from candor_proto.accountability.trust import Trust
from candor_proto.disclosure import Outcome
from candor_proto.ids import LookupShape
from candor_proto.record import CanonicalRecord
from candor_proto.signing import SignedStatement
from candor_proto.statements import AnswerStatus
from candor_proto.tlog.checkpoint import Checkpoint
from candor_proto.tlog.entries import Receipts, receipt_commitment
from candor_proto.tlog.policy import parse_policy
from candor_proto.tlog.proof import LogProof
from tools.vectors import logs, world
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.disclosure import request, response
from tools.vectors.notes import ORIGIN, seconds_of
from tools.vectors.parties import ASKER, EPOCH, FEDERATION, HOUR, NOW, OWNER, THIRD, moment, ms
from tools.vectors.shapes import OCTETS, TIME, U64, maybe, one_of

_FILE = {"type": "object"}
FileValue = dict[str, Any]


@operation(
    "write-file",
    "16.2",
    "the octets of a file of this value, as text",
    {"file": _FILE},
    {"text": {"type": "string"}},
)
def _write_file(given: Given) -> dict[str, Any]:
    octets = encode_file(given["file"])
    parse_file(octets)
    return {"text": octets.decode("ascii")}


@operation("read-file", "16.2", "the value of a file", {"octets": OCTETS}, {"file": _FILE})
def _read_file(given: Given) -> dict[str, Any]:
    octets = bytes.fromhex(given["octets"])
    parse_file(octets)
    return {"file": json.loads(octets)}


@operation(
    "verify-receipt",
    "16.4",
    "whether the receipt of this value verifies under the policy; of an answer its status and the time by "
    "which the log's "
    "heads had it at the latest, in seconds since 1970 (16.4)",
    {"file": _FILE, "policy": OCTETS, "now": TIME},
    {"kind": one_of("answer", "disclosure"), "status": maybe({"type": "integer"}), "seconds": maybe(U64)},
)
def _verify_receipt(given: Given) -> dict[str, Any]:
    receipt = parse_receipt(encode_file(given["file"]))
    trust = Trust(parse_policy(bytes.fromhex(given["policy"])), moment(given["now"]))
    if isinstance(receipt, AnswerReceipt):
        made = receipt.verify(trust)
        seconds = str(seconds_of(made.witnessed_at))
        return {"kind": "answer", "status": made.answer.status.value, "seconds": seconds}
    receipt.verify(trust)
    return {"kind": "disclosure", "status": None, "seconds": None}


class Filing:
    """Pieces of files, the longer of them in the material of a book."""

    def __init__(self, found: Book) -> None:
        self.found = found

    def octets(self, name: str, value: bytes) -> Any:
        self.found.keep(name, value)
        return {"base64": changed(name)}

    def part(self, name: str, statement: SignedStatement) -> FileValue:
        return {"body": self.octets(name, statement.body), "signature": {"base64": statement.signature.hex()}}

    def entry(self, name: str, entry: bytes) -> Any:
        return self.octets(f"entry {name}", entry)

    def logged(self, name: str, size: int = logs.SIZE) -> FileValue:
        """A logged part of an entry of the story's log."""
        proof = logs.log_proof(name, size)
        return self.proved(name, dict(logs.first_shard())[name], proof.encode(), f"head of {size}")

    def proved(self, name: str, entry: bytes, proof: bytes, head: str) -> FileValue:
        """A logged part whose proof ends in the checkpoint kept as `head`."""
        own, _, checkpoint = proof.partition(b"\n\n")
        self.found.keep(head, checkpoint)
        return {
            "entry": self.entry(name, entry),
            "proof": {"join": [(own + b"\n\n").decode(), changed(head)]},
        }

    def members(self) -> FileValue:
        return {
            "asker_member": self.logged("member alder-pd"),
            "owner_member": self.logged("member birch-so"),
        }


def answer_receipt(filing: Filing) -> FileValue:
    """The receipt of the story's answer."""
    return {
        "format": "candor-receipt/1",
        "kind": "answer",
        "federation": str(FEDERATION),
        "asker": ASKER.name,
        "owner": OWNER.name,
        "lookup": filing.part("lookup", world.draft().statement),
        "answer": filing.part("answer", world.sign_answer(OWNER, world.answer(world.draft()))),
        "head": filing.part("head", world.sign_head(OWNER, world.owner_head())),
        **filing.members(),
        "head_logged": filing.logged("head birch-so"),
        "request_logged": filing.logged("requests"),
        "receipt_logged": filing.logged("receipts"),
    }


def disclosure_receipt(filing: Filing, outcome: Outcome = Outcome.RELEASED) -> FileValue:
    answered = OWNER.signing.sign("disclosure-response", response(outcome).encode())
    return {
        "format": "candor-receipt/1",
        "kind": "disclosure",
        "federation": str(FEDERATION),
        "asker": ASKER.name,
        "owner": OWNER.name,
        "request": filing.part("request", ASKER.signing.sign("disclosure-request", request().encode())),
        "response": filing.part(f"response {outcome.name.lower()}", answered),
        **filing.members(),
    }


def book() -> Book:
    found = Book(
        "receipts",
        "The file form, receipts of answers and of disclosures that verify, and ones that do not.",
        ("16.2", "16.3", "16.4", "16.5"),
        "Of the story (README.md), under its log's head of 12 entries and the policy of one witness outside; "
        "by "
        "candor_proto.accountability.",
    )
    _forms(found)
    filing = Filing(found)
    found.keep("policy", logs.POLICY.text)
    _answers(found, filing)
    _disclosures(found, filing)
    return found


def _forms(found: Book) -> None:
    value: FileValue = {"b": [1, {"z": None, "a": '\u00e9\U0001f600"\\/\n\x7f'}], "a": "", "c": {}, "d": []}
    octets = found.keep("file", encode_file(value))
    found.case("file", "write-file", {"file": value})
    found.case("file_reads", "read-file", {"octets": changed("file")})
    text = octets.decode()
    for flaw, spoilt, refuse in (
        ("newline_missing", text[:-1], "not_canonical"),
        ("newline_behind", text + "\n", "not_canonical"),
        ("byte_order_mark", "\ufeff" + text, "malformed_message"),
        ("two_spaces", text.replace("\n ", "\n  "), "not_canonical"),
        ("no_spaces", text.replace("\n ", "\n"), "not_canonical"),
        ("no_space_behind_the_colon", text.replace('"a": ""', '"a":""'), "not_canonical"),
        ("keys_not_sorted", '{\n "b": 1,\n "a": 1\n}\n', "not_canonical"),
        ("key_twice", '{\n "a": 1,\n "a": 1\n}\n', "not_canonical"),
        ("unescaped", '{\n "a": "\u00e9"\n}\n', "malformed_message"),
        ("escaped_needlessly", '{\n "a": "\\u0041"\n}\n', "not_canonical"),
        ("escaped_in_capitals", '{\n "a": "\\u00E9"\n}\n', "not_canonical"),
        ("slash_escaped", '{\n "a": "\\/"\n}\n', "not_canonical"),
        ("number_with_a_fraction", '{\n "a": 1.00\n}\n', "not_canonical"),
        ("number_with_leading_zero", '{\n "a": 01\n}\n', "malformed_message"),
        ("a_list", "[\n 1\n]\n", "malformed_message"),
        ("a_comment", '{\n "a": 1 // one\n}\n', "malformed_message"),
        ("comma_behind", '{\n "a": 1,\n}\n', "malformed_message"),
        ("cut", text[:20], "malformed_message"),
        ("nothing", "", "malformed_message"),
    ):
        found.case(f"file_{flaw}", "read-file", {"octets": {"text": spoilt}}, refuse=refuse)


def _answers(found: Book, filing: Filing) -> None:
    good = answer_receipt(filing)
    base = {"policy": changed("policy"), "now": ms(NOW + HOUR)}
    found.case("answer", "verify-receipt", {"file": good, **base})
    refused = world.sign_answer(OWNER, world.answer(world.draft(), status=AnswerStatus.REFUSED_STANDING))
    refusal = {**good, "answer": filing.part("refusal", refused), "head": None, "head_logged": None}
    unlogged = world.sign_answer(OWNER, replace(world.answer(world.draft()), answered_at=NOW))
    other_lookup = world.draft(LookupShape.SCREENING, 4)
    wrong_epoch = world.sign_answer(OWNER, replace(world.answer(world.draft()), epoch=EPOCH + 1))
    head = world.owner_head()
    later = world.sign_head(OWNER, replace(head, sequence=6, issued_at=NOW))

    def flaw(
        name: str,
        refuse: str,
        base_file: FileValue = good,
        comment: str = "",
        section: str = "16.4",
        **change: Any,
    ) -> None:
        given = {"file": {**base_file, **change}, **base}
        found.case(
            f"answer_not_{name}", "verify-receipt", given, comment=comment, refuse=refuse, section=section
        )

    flaw(
        "logged_refusal_missing",
        "malformed_message",
        {**good, "head": None},
        "head null for what was evaluated",
    )
    flaw("head_logged_missing", "malformed_message", head_logged=None)
    flaw(
        "head_with_a_refusal",
        "malformed_message",
        {**refusal, "head": good["head"], "head_logged": good["head_logged"]},
    )
    found.case("answer_refused", "verify-receipt", {"file": refusal, **base}, section="16.4")
    flaw("another_asker", "identity_mismatch", asker=THIRD.name)
    flaw("another_owner", "identity_mismatch", owner=THIRD.name)
    flaw("another_federation", "identity_mismatch", federation="other.candor.example")
    flaw(
        "members_exchanged",
        "identity_mismatch",
        asker_member=good["owner_member"],
        owner_member=good["asker_member"],
    )
    flaw(
        "lookup_of_another",
        "identity_mismatch",
        lookup=filing.part("other lookup", other_lookup.statement),
        comment="the answer is to another lookup",
    )
    flaw("answer_not_logged", "not_logged", answer=filing.part("unlogged answer", unlogged))
    flaw("request_entry_of_another_kind", "malformed_message", request_logged=good["receipt_logged"])
    flaw("receipt_entry_of_another_kind", "malformed_message", receipt_logged=good["request_logged"])
    flaw("head_not_the_logged_one", "not_logged", head=filing.part("later head", later))
    flaw(
        "answer_of_another_epoch",
        "key_mismatch",
        {**good, "receipt_logged": _logging(filing, wrong_epoch)},
        answer=filing.part("answer of another epoch", wrong_epoch),
    )
    spoilt = {"base64": changed("answer", edit(40, 1, b"\xff"))}
    flaw("answer_changed", "signature_invalid", answer={**good["answer"], "body": spoilt})
    spoilt = {"base64": changed("lookup", edit(60, 1, b"\xff"))}
    flaw("lookup_changed", "signature_invalid", lookup={**good["lookup"], "body": spoilt}, section="16.4")
    spoilt = {"base64": changed("entry member birch-so", edit(40, 1, b"Z"))}
    flaw("member_entry_changed", "proof_invalid", owner_member={**good["owner_member"], "entry": spoilt})
    flaw(
        "key_missing",
        "malformed_message",
        {key: value for key, value in good.items() if key != "asker"},
        section="16.2",
    )
    flaw("remark", "malformed_message", section="16.2", remark="seen by me")
    flaw("format_2", "malformed_message", section="16.2", format="candor-receipt/2")
    flaw("kind_unknown", "malformed_message", section="16.2", kind="lookup")
    flaw("part_with_a_remark", "malformed_message", section="16.3", lookup={**good["lookup"], "remark": ""})
    flaw("signature_cut", "malformed_message", section="16.3", lookup={**good["lookup"], "signature": "AAAA"})
    flaw(
        "base64_without_padding",
        "malformed_message",
        section="16.2",
        lookup={**good["lookup"], "signature": "AAA"},
    )
    flaw("number_for_text", "malformed_message", section="16.2", asker=7)
    for name, change, refuse in (
        ("policy_of_another_log", {"policy": logs.policy_text(logs.NEXT_KEYS).hex()}, "signature_invalid"),
        ("before_it_was_witnessed", {"now": ms(NOW - HOUR)}, "log_unwitnessed"),
    ):
        found.case(f"answer_not_{name}", "verify-receipt", {"file": good, **base, **change}, refuse=refuse)


def _logging(filing: Filing, answer: SignedStatement) -> FileValue:
    """A receipts entry, in a log of its own, that commits to this answer too."""
    entry = Receipts((receipt_commitment(2, answer.body, answer.signature),)).encode()
    head = logs.witnessed(Checkpoint(ORIGIN, 1, merkle.root([entry])), logs.SIGNED_AT)
    return filing.proved("receipts alone", entry, LogProof(0, (), head).encode(), "head of one")


def _disclosures(found: Book, filing: Filing) -> None:
    good = disclosure_receipt(filing)
    base = {"policy": changed("policy"), "now": ms(NOW + HOUR)}
    found.case("disclosure", "verify-receipt", {"file": good, **base}, section="16.5")
    for outcome in (Outcome.DECLINED, Outcome.NOT_THE_SAME_PERSON):
        given = {"file": disclosure_receipt(filing, outcome), **base}
        found.case(f"disclosure_{outcome.name.lower()}", "verify-receipt", given, section="16.5")
    fields = {**world.RECORD.fields, "case_number": "C-2032"}
    other = CanonicalRecord(world.RECORD.kind, world.RECORD.tier, fields)

    def answered(name: str, change: Callable[[], Any]) -> FileValue:
        return filing.part(name, OWNER.signing.sign("disclosure-response", change().encode()))

    asked_again = replace(request(), case="REQ-2026-0418")
    again = filing.part("another request", ASKER.signing.sign("disclosure-request", asked_again.encode()))
    for flaw, change, refuse in (
        (
            "another_record",
            {"response": answered("another record", lambda: replace(response(), record=other.encode()))},
            "commitment_mismatch",
        ),
        ("response_to_another_request", {"request": again}, "commitment_mismatch"),
        (
            "response_of_another_owner",
            {"response": answered("of another owner", lambda: replace(response(), owner=THIRD.node))},
            "identity_mismatch",
        ),
        (
            "request_signed_by_another",
            {"request": {**good["request"], "signature": good["response"]["signature"]}},
            "signature_invalid",
        ),
        ("remark", {"remark": ""}, "malformed_message"),
    ):
        given = {"file": {**good, **change}, **base}
        found.case(f"disclosure_not_{flaw}", "verify-receipt", given, refuse=refuse, section="16.5")
