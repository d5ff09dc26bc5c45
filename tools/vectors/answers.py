"""The signed answer, and what the asker makes of it (docs/protocol.md §7.4, §7.5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from candor_proto import oprf
from candor_proto.directory import IndexHead
from candor_proto.exchange import BlindedSlot, Draft, unblind, verify_answer
from candor_proto.group import Scalar
from candor_proto.ids import Digest, FederationName, KeyClass, LookupId, LookupShape, NodeId
from candor_proto.matchkeys import Slot
from candor_proto.oprf import Proof
from candor_proto.signing import SignedStatement, VerifyingKey
from candor_proto.statements import CLASSES, SLOTS, Answer, AnswerStatus, Evaluation, Left, Lookup, classes_of
from tools.vectors import world
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.curve import elements
from tools.vectors.draws import draw_scalar
from tools.vectors.lookups import PERSON, draft_of, making
from tools.vectors.parties import EPOCH, FEDERATION, MINUTE, NOW, OWNER, THIRD, moment, ms, part
from tools.vectors.shapes import OCTETS, PART, TEXT, TIME, U8, U32, fields, fixed, listed, maybe

_EVALUATION = maybe(fields(elements=listed(fixed(32)), proof=fixed(64)))
ANSWER = {
    "federation": TEXT,
    "lookup_id": fixed(16),
    "lookup_digest": fixed(32),
    "node": TEXT,
    "asker": TEXT,
    "status": U8,
    "epoch": U32,
    "answered": TIME,
    "left": fields(all=U32, W=U32, M=U32, C=U32),
    "shape": U8,
    "persons": U8,
    "W": _EVALUATION,
    "M": _EVALUATION,
    "C": _EVALUATION,
}
_BY_CLASS = fields(W=listed(fixed(64)), M=listed(fixed(64)), C=listed(fixed(64)))


def shown_answer(answer: Answer) -> dict[str, Any]:
    def evaluation(key_class: KeyClass) -> dict[str, Any] | None:
        found = answer.evaluations.get(key_class)
        if found is None:
            return None
        return {
            "elements": [element.to_bytes().hex() for element in found.elements],
            "proof": found.proof.to_bytes().hex(),
        }

    left = answer.left
    return {
        "federation": str(answer.federation),
        "lookup_id": answer.lookup_id.hex(),
        "lookup_digest": answer.lookup.hex(),
        "node": str(answer.node),
        "asker": str(answer.asker),
        "status": answer.status.value,
        "epoch": answer.epoch,
        "answered": ms(answer.answered_at),
        "left": {"all": left.total, "W": left.weak, "M": left.match, "C": left.code},
        "shape": answer.shape.value,
        "persons": answer.persons,
        **{key_class.letter: evaluation(key_class) for key_class in CLASSES},
    }


def _answer(given: Given) -> Answer:
    evaluations: dict[KeyClass, Evaluation] = {}
    for key_class in CLASSES:
        if (one := given[key_class.letter]) is not None:
            evaluations[key_class] = Evaluation(
                tuple(elements(one["elements"])), Proof.parse(bytes.fromhex(one["proof"]))
            )
    left = given["left"]
    return Answer(
        FederationName(given["federation"]),
        LookupId(bytes.fromhex(given["lookup_id"])),
        Digest(bytes.fromhex(given["lookup_digest"])),
        NodeId(given["node"]),
        NodeId(given["asker"]),
        AnswerStatus(given["status"]),
        given["epoch"],
        moment(given["answered"]),
        Left(left["all"], left["W"], left["M"], left["C"]),
        LookupShape(given["shape"]),
        given["persons"],
        evaluations,
    )


@operation(
    "encode-answer",
    "7.4",
    "the body of an answer; a class is null where the answer evaluates nothing of it. Two-way",
    ANSWER,
    {"body": OCTETS},
)
def _encode_answer(given: Given) -> dict[str, Any]:
    body = _answer(given).encode()
    assert shown_answer(Answer.decode(body)) == dict(given)
    return {"body": body.hex()}


@operation("decode-answer", "7.4", "the fields of an answer", {"body": OCTETS}, ANSWER)
def _decode_answer(given: Given) -> dict[str, Any]:
    return shown_answer(Answer.decode(bytes.fromhex(given["body"])))


@operation(
    "take-answer",
    "7.5",
    "what the asker makes of an evaluated answer of `node` (whose key the directory has) to its lookup (as "
    "in "
    "`make-lookup`), with the head that it holds: the outputs of each person by class, in slot order",
    {
        "lookup": fields(
            seed=OCTETS,
            federation=TEXT,
            lookup_id=fixed(16),
            asker=TEXT,
            purpose=U8,
            shape=U8,
            persons=listed(PERSON),
            issued=TIME,
            targets=listed(fields(node=TEXT, epoch=U32)),
        ),
        "answer": PART,
        "node": TEXT,
        "signing_key": OCTETS,
        "head_body": OCTETS,
    },
    {"outputs": listed(_BY_CLASS)},
)
def _take_answer(given: Given) -> dict[str, Any]:
    draft = draft_of(given["lookup"])
    outputs = unblind(
        draft, _checked(given, draft.lookup), IndexHead.decode(bytes.fromhex(given["head_body"]))
    )
    return {
        "outputs": [
            {
                key_class.letter: [output.hex() for slot, output in person if slot.key_class is key_class]
                for key_class in CLASSES
            }
            for person in outputs
        ]
    }


@operation(
    "check-answer",
    "7.5",
    "whether this is an answer of `node` to the lookup of this body, whose inputs are of this scheme "
    "version, under the "
    "head held; its status",
    {
        "lookup_body": OCTETS,
        "scheme_version": U8,
        "answer": PART,
        "node": TEXT,
        "signing_key": OCTETS,
        "head_body": OCTETS,
    },
    {"status": U8},
)
def _check_answer(given: Given) -> dict[str, Any]:
    lookup = Lookup.decode(bytes.fromhex(given["lookup_body"]))
    answer = _checked(given, lookup)
    if answer.status is AnswerStatus.EVALUATED:
        # Nobody knows inputs and blinds here: what comes out is nothing, the proofs are checked all the same.
        value, blind = bytes([given["scheme_version"]]), Scalar.parse(b"\1" + bytes(31))
        slots = tuple(
            BlindedSlot(Slot(key_class, number, None, value), oprf.Blinded(value, blind, element))
            for key_class in CLASSES
            for number, element in enumerate(lookup.elements[key_class])
        )
        draft = Draft(lookup, SignedStatement(lookup.encode(), b""), (slots,))
        unblind(draft, answer, IndexHead.decode(bytes.fromhex(given["head_body"])))
    return {"status": answer.status.value}


def _checked(given: Given, lookup: Lookup) -> Answer:
    statement = SignedStatement(
        bytes.fromhex(given["answer"]["body"]), bytes.fromhex(given["answer"]["signature"])
    )
    key = VerifyingKey(bytes.fromhex(given["signing_key"]))
    return verify_answer(statement, lookup, lookup.digest(), NodeId(given["node"]), key)


def book() -> Book:
    found = Book(
        "answers",
        "Answers of every status, for one person and for four; answers that do not parse; what an asker "
        "accepts, and what "
        "counts as no answer.",
        ("7.4", "7.5"),
        "Answers of the story's owner (README.md) to the lookups of lookups.json, proof nonces drawn; by "
        "candor_proto.oprf, "
        "statements and exchange. Elements, proofs and outputs are those of RFC 9497's functions, "
        "cross-checked as oprf.json.",
    )
    screening = world.draft()
    good = world.answer(screening)
    shown = shown_answer(good)
    found.case("evaluated", "encode-answer", shown)
    found.case(
        "evaluated_detailed", "encode-answer", shown_answer(world.answer(world.draft(LookupShape.DETAILED)))
    )
    nobody = world.draft(LookupShape.SCREENING, 0)
    found.case("about_nobody", "encode-answer", shown_answer(world.answer(nobody)))
    for status in AnswerStatus:
        if status is not AnswerStatus.EVALUATED:
            refusal = shown_answer(world.answer(screening, status=status))
            found.case(f"status_{status.name.lower()}", "encode-answer", refusal)
    _refused(found, good)
    _taken(found)
    return found


def _refused(found: Book, good: Answer) -> None:
    body = found.keep("evaluated", good.encode())
    refusal = found.keep("refused", world.answer(world.draft(), status=AnswerStatus.REFUSED).encode())
    status = 17 + 4 + len(str(FEDERATION)) + 16 + 32 + 4 + len(OWNER.name) + 4 + len(str(good.asker))
    persons = status + 1 + 4 + 8 + 16 + 1
    for flaw, octets, refuse, comment in (
        ("octet_behind", changed("evaluated", edit(len(body), 0, b"\0")), "not_canonical", ""),
        ("cut", changed("evaluated", edit(len(body) - 1, 1)), "malformed_message", ""),
        ("status_0", changed("evaluated", edit(status, 1, b"\0")), "malformed_message", ""),
        ("status_7", changed("evaluated", edit(status, 1, b"\7")), "malformed_message", ""),
        ("shape_3", changed("evaluated", edit(persons - 1, 1, b"\3")), "malformed_message", ""),
        ("shape_of_another", changed("evaluated", edit(persons - 1, 1, b"\2")), "malformed_message", ""),
        ("persons_2", changed("evaluated", edit(persons, 1, b"\2")), "malformed_message", ""),
        ("persons_0_with_elements", changed("evaluated", edit(persons, 1, b"\0")), "not_canonical", ""),
        ("element_identity", changed("evaluated", edit(persons + 1, 32, bytes(32))), "invalid_element", ""),
        (
            "proof_not_canonical",
            changed("evaluated", edit(persons + 1 + 4 * 32, 32, b"\xff" * 32)),
            "invalid_scalar",
            "c of the proof of class W above the group order",
        ),
        (
            "refusal_with_an_octet",
            changed("refused", edit(persons + 1 + 200, 1, b"\1")),
            "not_canonical",
            "a refusal carries zeros only",
        ),
        (
            "refusal_with_an_octet_in_a_proof",
            changed("refused", edit(len(refusal) - 1, 1, b"\1")),
            "not_canonical",
            "",
        ),
        (
            "evaluated_with_zeros",
            changed("refused", edit(status, 1, b"\1")),
            "invalid_element",
            "a refusal that says evaluated",
        ),
    ):
        found.case(f"answer_{flaw}", "decode-answer", {"body": octets}, comment=comment, refuse=refuse)


def _taken(found: Book) -> None:
    draft, head = world.draft(), world.owner_head()
    good = world.answer(draft)
    found.keep("head", head.encode())
    found.keep("head of cedar-post", world.head_of(THIRD, []).encode())
    base: dict[str, Any] = {
        "answer": part(world.sign_answer(OWNER, good)),
        "node": OWNER.name,
        "signing_key": OWNER.signing.public.value.hex(),
        "head_body": changed("head"),
    }
    found.case("take_evaluated", "take-answer", {**base, "lookup": making(LookupShape.SCREENING, 1)})
    four = world.draft(LookupShape.SCREENING, 4)
    answer_to_four = part(world.sign_answer(OWNER, world.answer(four)))
    batch = {"lookup": making(LookupShape.SCREENING, 4), "answer": answer_to_four}
    found.case("take_four_persons", "take-answer", {**base, **batch})
    found.keep("lookup", draft.statement.body)
    base |= {"lookup_body": changed("lookup"), "scheme_version": 3}
    found.case("check_evaluated", "check-answer", base)
    declined = world.sign_answer(OWNER, world.answer(draft, status=AnswerStatus.REFUSED_STANDING))
    found.case("check_refused", "check-answer", {**base, "answer": part(declined)})
    stale = world.sign_answer(OWNER, replace(world.answer(draft, status=AnswerStatus.STALE_EPOCH), epoch=8))
    found.case(
        "check_stale_epoch",
        "check-answer",
        {**base, "answer": part(stale)},
        comment="an answer that evaluates nothing may name another epoch",
    )

    def signed(changes: Mapping[str, Any]) -> dict[str, str]:
        return part(world.sign_answer(OWNER, replace(good, **changes)))

    wrong_key = _evaluated_with(OWNER.keys_of(EPOCH + 1), draft.lookup)
    per_class = {**good.evaluations, KeyClass.MATCH: wrong_key[KeyClass.MATCH]}
    swapped = good.evaluations[KeyClass.WEAK]
    swap = Evaluation((swapped.elements[1], swapped.elements[0], *swapped.elements[2:]), swapped.proof)
    renamed = replace(draft.lookup, lookup_id=four.lookup.lookup_id)
    scheme = replace(head, scheme_version=4).encode().hex()
    for flaw, change, refuse, comment in (
        (
            "wrong_keys",
            {"answer": signed({"evaluations": wrong_key})},
            "proof_invalid",
            "keys of another epoch",
        ),
        ("wrong_key_in_one_class", {"answer": signed({"evaluations": per_class})}, "proof_invalid", ""),
        (
            "two_elements_swapped",
            {"answer": signed({"evaluations": {**good.evaluations, KeyClass.WEAK: swap}})},
            "proof_invalid",
            "",
        ),
        (
            "another_epoch",
            {"answer": signed({"epoch": EPOCH + 1})},
            "key_mismatch",
            "evaluated, but not as named",
        ),
        ("another_node", {"answer": signed({"node": THIRD.node})}, "identity_mismatch", ""),
        ("another_asker", {"answer": signed({"asker": THIRD.node})}, "identity_mismatch", ""),
        (
            "another_federation",
            {"answer": signed({"federation": FederationName("other.candor.example")})},
            "identity_mismatch",
            "",
        ),
        (
            "another_lookup_id",
            {"answer": signed({"lookup_id": four.lookup.lookup_id})},
            "identity_mismatch",
            "",
        ),
        ("another_digest", {"answer": signed({"lookup": renamed.digest()})}, "identity_mismatch", ""),
        (
            "answer_of_a_batch",
            {"answer": answer_to_four},
            "identity_mismatch",
            "an answer to the lookup about four persons",
        ),
        (
            "another_shape",
            {"answer": signed({"persons": 0, "evaluations": {}})},
            "malformed_message",
            "the persons of the answer are not those of the lookup",
        ),
        (
            "signed_by_another",
            {"answer": part(world.sign_answer(THIRD, good))},
            "signature_invalid",
            "",
        ),
        (
            "signed_for_another_context",
            {"answer": part(OWNER.signing.sign("lookup", good.encode()))},
            "signature_invalid",
            "",
        ),
        ("head_of_another_node", {"head_body": changed("head of cedar-post")}, "key_mismatch", ""),
        (
            "head_of_another_epoch",
            {"head_body": replace(head, epoch=EPOCH + 1).encode().hex()},
            "key_mismatch",
            "",
        ),
        ("head_of_another_scheme", {"head_body": scheme}, "key_mismatch", "inputs of version 3"),
        ("inputs_of_another_scheme", {"scheme_version": 2}, "key_mismatch", ""),
    ):
        found.case(f"check_{flaw}", "check-answer", {**base, **change}, comment=comment, refuse=refuse)
    assert good.answered_at == NOW + MINUTE


def _evaluated_with(keys: Mapping[KeyClass, oprf.KeyPair], lookup: Lookup) -> dict[KeyClass, Evaluation]:
    made = {}
    for key_class in classes_of(lookup.shape):
        nonce = draw_scalar(f"wrong key nonce {key_class.value}")
        assert SLOTS[lookup.shape][key_class] == len(lookup.elements[key_class])
        made[key_class] = Evaluation(
            *oprf.blind_evaluate(keys[key_class], lookup.elements[key_class], r=nonce)
        )
    return made
