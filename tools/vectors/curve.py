"""The blinded function (docs/protocol.md §5.1, §5.2; RFC 9497)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from candor_proto import oprf
from candor_proto.group import Element, Scalar
from candor_proto.ids import FederationName, KeyClass, NodeId
from candor_proto.oprf import Proof
from tools.vectors.book import FOLDER, Book, Given, operation
from tools.vectors.draws import draw, draw_scalar
from tools.vectors.parties import EPOCH, FEDERATION, OWNER, epoch_key_info
from tools.vectors.shapes import OCTETS, TEXT, U32, fixed, listed, one_of

CLASSES = {key_class.letter: key_class for key_class in KeyClass}


def elements(texts: Sequence[str]) -> list[Element]:
    return [Element.parse(bytes.fromhex(text)) for text in texts]


@operation(
    "epoch-key",
    "5.2",
    "`info` and the key pair that DeriveKeyPair gives for the epoch `seed`",
    {"seed": OCTETS, "federation": TEXT, "node": TEXT, "epoch": U32, "class": one_of("W", "M", "C")},
    {"info": OCTETS, "secret": fixed(32), "public": fixed(32)},
)
def _epoch_key(given: Given) -> dict[str, Any]:
    info = epoch_key_info(
        FederationName(given["federation"]), NodeId(given["node"]), given["epoch"], CLASSES[given["class"]]
    )
    pair = oprf.derive_key_pair(bytes.fromhex(given["seed"]), info)
    return {
        "info": info.hex(),
        "secret": pair.secret.to_bytes().hex(),
        "public": pair.public.to_bytes().hex(),
    }


@operation(
    "derive-key-pair",
    "5.1",
    "DeriveKeyPair of RFC 9497",
    {"seed": OCTETS, "info": OCTETS},
    {"secret": fixed(32), "public": fixed(32)},
)
def _derive_key_pair(given: Given) -> dict[str, Any]:
    pair = oprf.derive_key_pair(bytes.fromhex(given["seed"]), bytes.fromhex(given["info"]))
    return {"secret": pair.secret.to_bytes().hex(), "public": pair.public.to_bytes().hex()}


@operation(
    "blind",
    "5.1",
    "Blind of RFC 9497 under this blind",
    {"input": OCTETS, "blind": OCTETS},
    {"element": fixed(32)},
)
def _blind(given: Given) -> dict[str, Any]:
    made = oprf.blind(bytes.fromhex(given["input"]), Scalar.parse(bytes.fromhex(given["blind"])))
    return {"element": made.element.to_bytes().hex()}


@operation(
    "blind-evaluate",
    "5.1",
    "BlindEvaluate of RFC 9497 for a batch; `nonce` is the proof's random scalar r",
    {"secret": OCTETS, "elements": listed(OCTETS), "nonce": OCTETS},
    {"public": fixed(32), "evaluated": listed(fixed(32)), "proof": fixed(64)},
)
def _blind_evaluate(given: Given) -> dict[str, Any]:
    pair = oprf.KeyPair.from_secret(Scalar.parse(bytes.fromhex(given["secret"])))
    nonce = Scalar.parse(bytes.fromhex(given["nonce"]))
    evaluated, proof = oprf.blind_evaluate(pair, elements(given["elements"]), r=nonce)
    return {
        "public": pair.public.to_bytes().hex(),
        "evaluated": [element.to_bytes().hex() for element in evaluated],
        "proof": proof.to_bytes().hex(),
    }


@operation(
    "finalize",
    "5.1",
    "Finalize of RFC 9497 for a batch: the proof is checked, then each input has its output F",
    {
        "public": OCTETS,
        "inputs": listed(OCTETS),
        "blinds": listed(OCTETS),
        "evaluated": listed(OCTETS),
        "proof": OCTETS,
    },
    {"outputs": listed(fixed(64))},
)
def _finalize(given: Given) -> dict[str, Any]:
    blinded = [
        oprf.blind(bytes.fromhex(value), Scalar.parse(bytes.fromhex(blind)))
        for value, blind in zip(given["inputs"], given["blinds"], strict=True)
    ]
    public, proof = Element.parse(bytes.fromhex(given["public"])), Proof.parse(bytes.fromhex(given["proof"]))
    outputs = oprf.finalize(blinded, elements(given["evaluated"]), public, proof)
    return {"outputs": [output.hex() for output in outputs]}


@operation(
    "evaluate",
    "5.1",
    "F(k, x): what an owner computes for its own inputs",
    {"secret": OCTETS, "input": OCTETS},
    {"output": fixed(64)},
)
def _evaluate(given: Given) -> dict[str, Any]:
    pair = oprf.KeyPair.from_secret(Scalar.parse(bytes.fromhex(given["secret"])))
    return {"output": oprf.evaluate(pair, bytes.fromhex(given["input"])).hex()}


@operation(
    "element", "5.1", "whether this is an element: canonical, and not the identity", {"octets": OCTETS}, {}
)
def _element(given: Given) -> dict[str, Any]:
    Element.parse(bytes.fromhex(given["octets"]))
    return {}


@operation(
    "scalar",
    "5.1",
    "whether this is a scalar of 32 octets, little-endian, below the group order",
    {"octets": OCTETS},
    {},
)
def _scalar(given: Given) -> dict[str, Any]:
    Scalar.parse(bytes.fromhex(given["octets"]))
    return {}


def book() -> Book:
    found = Book(
        "oprf",
        "The verifiable oblivious function and the keys of an epoch, batches and proofs, and what must be "
        "refused.",
        ("5.1", "5.2"),
        "The cases rfc9497_… are RFC 9497 Appendix A.1.2 as in "
        "tests/vectors/rfc9497_ristretto255_sha512_voprf.json, "
        "elements and scalars refused those of rfc9497_negative.json; the others under drawn keys, by "
        "candor_proto.oprf. "
        "Cross-checked with the wheel `voprf` (curve25519-dalek) in tests/unit/proto/test_oprf.py.",
    )
    _of_the_rfc(found)
    for letter in CLASSES:
        given = {"seed": OWNER.seed.hex(), "federation": str(FEDERATION), "node": OWNER.name}
        found.case(f"epoch_key_{letter.lower()}", "epoch-key", {**given, "epoch": EPOCH, "class": letter})
    given = {"seed": OWNER.seed.hex(), "federation": str(FEDERATION), "node": OWNER.name}
    found.case("epoch_key_of_the_next_epoch", "epoch-key", {**given, "epoch": EPOCH + 1, "class": "M"})
    found.case(
        "epoch_seed_cut",
        "epoch-key",
        {**given, "seed": given["seed"][:-2], "epoch": EPOCH, "class": "M"},
        refuse="malformed_message",
    )
    _ours(found)
    return found


def _of_the_rfc(found: Book) -> None:
    rfc = json.loads((FOLDER.parent / "rfc9497_ristretto255_sha512_voprf.json").read_text("utf-8"))
    found.case("rfc9497_key", "derive-key-pair", {"seed": rfc["seed"], "info": rfc["key_info"]})
    for number, vector in enumerate(rfc["vectors"], 1):
        name = f"rfc9497_a_1_2_{number}"
        for index, (value, blind) in enumerate(zip(vector["inputs"], vector["blinds"], strict=True), 1):
            made = found.case(f"{name}_blind_{index}", "blind", {"input": value, "blind": blind})
            assert made["element"] == vector["blinded"][index - 1]
        given = {"secret": rfc["secret"], "elements": vector["blinded"], "nonce": vector["nonce"]}
        made = found.case(f"{name}_evaluate", "blind-evaluate", given)
        assert (made["evaluated"], made["proof"]) == (vector["evaluated"], vector["proof"])
        given = {
            "public": rfc["public"],
            "inputs": vector["inputs"],
            "blinds": vector["blinds"],
            "evaluated": vector["evaluated"],
            "proof": vector["proof"],
        }
        assert found.case(f"{name}_finalize", "finalize", given)["outputs"] == vector["outputs"]
    negative = json.loads((FOLDER.parent / "rfc9497_negative.json").read_text("utf-8"))
    for kind in ("element", "scalar"):
        for entry in negative[f"{kind}s"]:
            found.case(
                f"{kind}_{entry['name']}",
                kind,
                {"octets": entry["encoding"]},
                comment=entry.get("how", ""),
                refuse=entry["error"],
            )


def _ours(found: Book) -> None:
    pair, other = OWNER.keys[KeyClass.MATCH], OWNER.keys[KeyClass.WEAK]
    inputs = [draw(f"oprf input {number}", 20) for number in range(5)]
    blinds = [draw_scalar(f"oprf blind {number}") for number in range(5)]
    blinded = [oprf.blind(value, blind) for value, blind in zip(inputs, blinds, strict=True)]
    sent = [item.element for item in blinded]
    evaluated, proof = oprf.blind_evaluate(pair, sent, r=draw_scalar("oprf nonce"))
    secret = pair.secret.to_bytes().hex()
    found.case(
        "generator", "element", {"octets": "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"}
    )
    found.case("evaluate_own_input", "evaluate", {"secret": secret, "input": inputs[0].hex()})
    found.case("evaluate_empty_input", "evaluate", {"secret": secret, "input": ""})
    batch = {
        "secret": secret,
        "elements": [element.to_bytes().hex() for element in sent],
        "nonce": draw_scalar("oprf nonce").to_bytes().hex(),
    }
    found.case("batch_of_five", "blind-evaluate", batch)
    found.case("batch_of_none", "blind-evaluate", {**batch, "elements": []}, refuse="malformed_message")
    found.case("nonce_zero", "blind-evaluate", {**batch, "nonce": "00" * 32}, refuse="invalid_scalar")
    found.case("secret_zero", "blind-evaluate", {**batch, "secret": "00" * 32}, refuse="invalid_scalar")
    found.case("blind_zero", "blind", {"input": "00", "blind": "00" * 32}, refuse="invalid_scalar")
    good: dict[str, Any] = {
        "public": pair.public.to_bytes().hex(),
        "inputs": [value.hex() for value in inputs],
        "blinds": [blind.to_bytes().hex() for blind in blinds],
        "evaluated": [element.to_bytes().hex() for element in evaluated],
        "proof": proof.to_bytes().hex(),
    }
    found.case("finalize_five", "finalize", good)
    shown = good["evaluated"]
    one_wrong = oprf.blind_evaluate(other, sent[:1], r=draw_scalar("oprf other nonce"))[0][0].to_bytes().hex()
    for name, change, refuse, comment in (
        ("another_key", {"public": other.public.to_bytes().hex()}, "proof_invalid", ""),
        ("two_swapped", {"evaluated": [shown[1], shown[0], *shown[2:]]}, "proof_invalid", ""),
        ("one_evaluated_with_another_key", {"evaluated": [one_wrong, *shown[1:]]}, "proof_invalid", ""),
        ("one_too_few", {"evaluated": shown[:-1]}, "malformed_message", ""),
        (
            "another_input",
            {"blinds": [good["blinds"][1], *good["blinds"][1:]]},
            "proof_invalid",
            "another blinded element",
        ),
        ("proof_zeros", {"proof": "00" * 64}, "proof_invalid", ""),
        (
            "proof_s_changed",
            {"proof": good["proof"][:64] + draw_scalar("s").to_bytes().hex()},
            "proof_invalid",
            "",
        ),
        (
            "proof_c_changed",
            {"proof": draw_scalar("c").to_bytes().hex() + good["proof"][64:]},
            "proof_invalid",
            "",
        ),
        (
            "proof_not_canonical",
            {"proof": "ff" * 32 + good["proof"][64:]},
            "invalid_scalar",
            "c above the group order",
        ),
        ("proof_cut", {"proof": good["proof"][:-2]}, "invalid_scalar", ""),
    ):
        found.case(f"finalize_{name}", "finalize", {**good, **change}, comment=comment, refuse=refuse)
