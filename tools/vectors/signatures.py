"""Signed statements (docs/protocol.md §4.1)."""

from __future__ import annotations

from typing import Any

from candor_proto.canonical import Writer
from candor_proto.ids import FederationName, NodeId
from candor_proto.possession import sign_certificate_request
from candor_proto.signing import SignedStatement, SigningKey, VerifyingKey
from tools.vectors.book import Book, Given, operation
from tools.vectors.draws import draw
from tools.vectors.parties import ASKER, FEDERATION, OWNER
from tools.vectors.shapes import OCTETS, TEXT, fixed

CONTEXTS = (
    "lookup",
    "answer",
    "index-head",
    "directory",
    "disclosure-request",
    "disclosure-response",
    "recall-notice",
    "recall-ack",
    "certificate-request",
    "witness-key",
    "heartbeat",
    "pack-adoption",
    "succession",
)


@operation(
    "sign",
    "4.1",
    "public key of the 32-octet Ed25519 `seed`, the octets that are signed for `context` and `body`, the "
    "signature",
    {"seed": OCTETS, "context": TEXT, "body": OCTETS},
    {"public_key": fixed(32), "signed": OCTETS, "signature": fixed(64)},
)
def _sign(given: Given) -> dict[str, Any]:
    key, body = SigningKey(bytes.fromhex(given["seed"])), bytes.fromhex(given["body"])
    statement = key.sign(given["context"], body)
    statement.verify(given["context"], key.public, "the signer")
    signed = Writer("signature").text(given["context"]).octets(body).finish()
    return {
        "public_key": key.public.value.hex(),
        "signed": signed.hex(),
        "signature": statement.signature.hex(),
    }


@operation(
    "verify",
    "4.1",
    "whether the signature is that of the holder of `public_key` on `body` for `context`",
    {"public_key": OCTETS, "context": TEXT, "body": OCTETS, "signature": OCTETS},
    {},
)
def _verify(given: Given) -> dict[str, Any]:
    key = VerifyingKey(bytes.fromhex(given["public_key"]))
    statement = SignedStatement(bytes.fromhex(given["body"]), bytes.fromhex(given["signature"]))
    statement.verify(given["context"], key, "the signer")
    return {}


@operation(
    "certificate-request",
    "8.6",
    "body and signature that go with the certificate request `csr` (PKCS #10 in DER; here any octets)",
    {"seed": OCTETS, "federation": TEXT, "node": TEXT, "csr": OCTETS},
    {"body": OCTETS, "signature": fixed(64)},
)
def _certificate_request(given: Given) -> dict[str, Any]:
    key, csr = SigningKey(bytes.fromhex(given["seed"])), bytes.fromhex(given["csr"])
    signature = sign_certificate_request(key, FederationName(given["federation"]), NodeId(given["node"]), csr)
    body = Writer("certificate-request").text(given["federation"]).text(given["node"]).octets(csr).finish()
    SignedStatement(body, signature).verify("certificate-request", key.public, given["node"])
    return {"body": body.hex(), "signature": signature.hex()}


def book() -> Book:
    found = Book(
        "signatures",
        "Signed statements: what is signed in each context, signatures that hold and signatures that do not.",
        ("4.1", "8.6"),
        "Ed25519 of `cryptography` under drawn seeds; the first is RFC 8032 §7.1 TEST 1's key. Keys of small "
        "order are "
        "those of libsodium's ge25519_has_small_order. Cross-checked with RFC 8032 §7.1 in the replaying "
        "test.",
    )
    body = draw("signed body", 40)
    rfc = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
    found.case("seed_of_rfc8032", "sign", {"seed": rfc, "context": "lookup", "body": ""})
    seed = ASKER.signing.seed().hex()
    for context in CONTEXTS:
        name = context.replace("-", "_")
        found.case(f"sign_{name}", "sign", {"seed": seed, "context": context, "body": body.hex()})
    good = ASKER.signing.sign("lookup", body)
    public, signature = ASKER.signing.public.value, good.signature
    order = (2**252 + 27742317777372353535851937790883648493).to_bytes(32, "little")
    larger = (int.from_bytes(signature[32:], "little") + int.from_bytes(order, "little")).to_bytes(
        32, "little"
    )

    def verify(name: str, refuse: str | None, comment: str = "", **change: Any) -> None:
        given = {"public_key": public, "context": "lookup", "body": body, "signature": signature, **change}
        shown = {key: value if isinstance(value, str) else value.hex() for key, value in given.items()}
        found.case(name, "verify", shown, comment=comment, refuse=refuse)

    verify("holds", None)
    for context in ("answer", "Lookup", "lookup ", ""):
        name = {"answer": "another", "Lookup": "capital", "lookup ": "trailing_space", "": "empty"}[context]
        verify(f"context_{name}", "signature_invalid", context=context)
    verify("body_changed", "signature_invalid", body=bytes([body[0] ^ 1]) + body[1:])
    verify("body_longer", "signature_invalid", body=body + b"\0")
    verify("another_signer", "signature_invalid", public_key=OWNER.signing.public.value)
    verify(
        "signature_bit_changed", "signature_invalid", signature=signature[:-1] + bytes([signature[-1] ^ 1])
    )
    verify("signature_cut", "signature_invalid", signature=signature[:-1])
    verify("signature_longer", "signature_invalid", signature=signature + b"\0")
    verify("signature_empty", "signature_invalid", signature=b"")
    verify("signature_zeros", "signature_invalid", signature=bytes(64))
    verify(
        "s_above_the_order", "signature_invalid", "S plus the group order", signature=signature[:32] + larger
    )
    bare = ASKER.signing._key.sign(body)
    verify("without_context", "signature_invalid", "Ed25519 over the body alone", signature=bare)
    for name, key in {
        "zero": "00" * 32,
        "one": "01" + "00" * 31,
        "one_negative": "01" + "00" * 30 + "80",
        "order_eight": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "order_eight_negative": "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "order_eight_other": "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "minus_one": "ec" + "ff" * 30 + "7f",
        "p": "ed" + "ff" * 30 + "7f",
        "p_plus_one": "ee" + "ff" * 30 + "7f",
    }.items():
        verify(
            f"key_of_small_order_{name}",
            "malformed_message",
            "under such a key one signature verifies for every body",
            public_key=key,
            signature=b"\1" + bytes(63),
        )
    verify("key_cut", "malformed_message", public_key=public[:-1])
    verify("key_longer", "malformed_message", public_key=public + b"\0")
    csr = draw("certificate request", 90).hex()
    given = {"seed": seed, "federation": str(FEDERATION), "node": "alder-pd", "csr": csr}
    found.case("certificate_request", "certificate-request", given)
    return found
