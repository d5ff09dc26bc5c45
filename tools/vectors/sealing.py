"""Sealing: HPKE with MLKEM768-X25519 (docs/protocol.md §4.3)."""

from __future__ import annotations

import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from candor_proto.errors import CandorError
from candor_proto.ids import FederationName, NodeId
from candor_proto.sealing import (
    _SUITE,
    DisclosureKey,
    SealContext,
    SealKind,
    _public_key,
    check_public_key,
    open_statement,
    seal_statement,
)
from candor_proto.signing import SignedStatement
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.draws import draw
from tools.vectors.kept import kept
from tools.vectors.parties import ASKER, FEDERATION, OWNER, THIRD
from tools.vectors.shapes import OCTETS, TEXT, fixed, one_of

KINDS = {kind.text: kind for kind in SealKind}
_PARTIES = {
    "federation": TEXT,
    "kind": one_of(*KINDS),
    "envelope_id": fixed(16),
    "sender": TEXT,
    "recipient": TEXT,
    "binding": OCTETS,
}


def context_of(given: Given) -> SealContext:
    return SealContext(
        FederationName(given["federation"]),
        KINDS[given["kind"]],
        bytes.fromhex(given["envelope_id"]),
        NodeId(given["sender"]),
        NodeId(given["recipient"]),
        bytes.fromhex(given["binding"]),
    )


def shown_context(context: SealContext) -> dict[str, str]:
    return {
        "federation": str(context.federation),
        "kind": context.kind.text,
        "envelope_id": context.envelope_id.hex(),
        "sender": str(context.sender),
        "recipient": str(context.recipient),
        "binding": context.binding.hex(),
    }


def sealed_once(statement: SignedStatement, recipient: DisclosureKey, context: SealContext) -> bytes:
    """`statement` sealed: what stands in the files if that opens to it, else afresh."""

    def opens(sealed: bytes) -> bool:
        try:
            return open_statement(sealed, recipient, context) == statement
        except CandorError:
            return False

    def make() -> bytes:
        return seal_statement(statement, recipient.public, context)

    return kept(context.kind.sealed_octets, opens, make)


@operation(
    "disclosure-key",
    "4.3",
    "the public key of a private one",
    {"private_key": OCTETS},
    {"public_key": fixed(1216)},
)
def _disclosure_key(given: Given) -> dict[str, Any]:
    return {"public_key": DisclosureKey(bytes.fromhex(given["private_key"])).public.hex()}


@operation("disclosure-public-key", "4.3", "whether this is a usable public key", {"public_key": OCTETS}, {})
def _disclosure_public_key(given: Given) -> dict[str, Any]:
    check_public_key(bytes.fromhex(given["public_key"]))
    return {}


@operation("seal-info", "4.3", "`info` of a sealed message", _PARTIES, {"info": fixed(32)})
def _seal_info(given: Given) -> dict[str, Any]:
    return {"info": context_of(given).info().hex()}


@operation(
    "unseal",
    "4.3",
    "the signed statement in a sealed message, its signature unchecked. On the way: the two shared secrets "
    "of the KEM's "
    "parts and the KEM's own, for whoever has no ML-KEM-768",
    {"private_key": OCTETS, **_PARTIES, "sealed": OCTETS},
    {
        "ml_kem_shared_secret": fixed(32),
        "x25519_shared_secret": fixed(32),
        "kem_shared_secret": fixed(32),
        "body": OCTETS,
        "signature": fixed(64),
    },
)
def _unseal(given: Given) -> dict[str, Any]:
    sealed, octets = bytes.fromhex(given["sealed"]), bytes.fromhex(given["private_key"])
    statement = open_statement(sealed, DisclosureKey(octets), context_of(given))
    x25519 = X25519PrivateKey.from_private_bytes(octets[64:])
    ephemeral = sealed[1088:1120]
    first = MLKEM768PrivateKey.from_seed_bytes(octets[:64]).decapsulate(sealed[:1088])
    second = x25519.exchange(X25519PublicKey.from_public_bytes(ephemeral))
    own = x25519.public_key().public_bytes_raw()
    both = hashlib.sha3_256(first + second + ephemeral + own + b"\\.//^\\").digest()
    return {
        "ml_kem_shared_secret": first.hex(),
        "x25519_shared_secret": second.hex(),
        "kem_shared_secret": both.hex(),
        "body": statement.body.hex(),
        "signature": statement.signature.hex(),
    }


def book() -> Book:
    found = Book(
        "sealing",
        "Disclosure keys, what binds a sealed message to its parties, and sealed messages opened and "
        "refused.",
        ("4.3",),
        "Keys drawn; messages of the smallest kind sealed once by HPKE of `cryptography` and kept. The "
        "shared secrets are "
        "computed apart (X-Wing, draft-connolly-cfrg-xwing-kem) in the replaying test, which also opens one "
        "by hand.",
    )
    private = THIRD.disclosure.octets()
    found.case("key", "disclosure-key", {"private_key": private.hex()})
    found.case("key_cut", "disclosure-key", {"private_key": private[:-1].hex()}, refuse="malformed_message")
    public = found.keep("public key", OWNER.disclosure.public)
    found.case("public_key", "disclosure-public-key", {"public_key": changed("public key")})
    for flaw, edits in {
        "cut": [edit(1215, 1)],
        "longer": [edit(1216, 0, b"\0")],
        "x25519_zero": [edit(1184, 32, bytes(32))],
        "x25519_one": [edit(1184, 32, b"\1" + bytes(31))],
        "ml_kem_coefficient_too_large": [edit(0, 2, b"\xff\xff")],
    }.items():
        given = {"public_key": changed("public key", *edits)}
        found.case(f"public_key_{flaw}", "disclosure-public-key", given, refuse="malformed_message")
    assert len(public) == 1216
    context = SealContext(FEDERATION, SealKind.RECALL_ACK, draw("envelope id", 16), ASKER.node, OWNER.node)
    for kind in SealKind:
        binding = draw("binding", 32).hex() if kind is SealKind.RESPONSE else ""
        found.case(
            f"info_{kind.name.lower()}",
            "seal-info",
            {**shown_context(context), "kind": kind.text, "binding": binding},
        )
    _opened(found, context)
    return found


def _opened(found: Book, context: SealContext) -> None:
    statement = ASKER.signing.sign("recall-ack", draw("sealed body", 120))
    sealed = found.keep("sealed", sealed_once(statement, OWNER.disclosure, context))
    base = {
        "private_key": OWNER.disclosure.octets().hex(),
        **shown_context(context),
        "sealed": changed("sealed"),
    }
    found.case("opens", "unseal", base)

    def bit(at: int) -> dict[str, Any]:
        return edit(at, 1, bytes([sealed[at] ^ 1]))

    flaws: dict[str, dict[str, Any]] = {
        "another_recipient_key": {"private_key": THIRD.disclosure.octets().hex()},
        "another_federation": {"federation": "other.candor.example"},
        "another_kind": {"kind": "disclosure-request"},
        "another_envelope": {"envelope_id": draw("another envelope", 16).hex()},
        "another_sender": {"sender": "cedar-post"},
        "another_recipient": {"recipient": "cedar-post"},
        "another_binding": {"binding": "00"},
        "ml_kem_ciphertext_changed": {"sealed": changed("sealed", bit(0))},
        "x25519_share_changed": {"sealed": changed("sealed", bit(1088))},
        "x25519_share_of_low_order": {"sealed": changed("sealed", edit(1088, 32, bytes(32)))},
        "box_changed": {"sealed": changed("sealed", bit(1120))},
        "authentication_tag_changed": {"sealed": changed("sealed", bit(len(sealed) - 1))},
        "cut": {"sealed": changed("sealed", edit(len(sealed) - 1, 1))},
        "longer": {"sealed": changed("sealed", edit(len(sealed), 0, b"\0"))},
        "nothing": {"sealed": ""},
    }
    for flaw, change in flaws.items():
        found.case(f"opens_not_{flaw}", "unseal", {**base, **change}, refuse="sealed_data_invalid")
    octets = len(statement.body).to_bytes(4, "big") + statement.body + statement.signature
    room = context.kind.padded_octets - 4
    for flaw, padded, refuse in (
        (
            "padding_not_zero",
            len(octets).to_bytes(4, "big") + octets + bytes(room - len(octets) - 1) + b"\1",
            "sealed_data_invalid",
        ),
        (
            "length_beyond_the_end",
            (room + 1).to_bytes(4, "big") + octets + bytes(room - len(octets)),
            "sealed_data_invalid",
        ),
        (
            "signature_cut",
            (len(octets) - 1).to_bytes(4, "big") + octets[:-1] + bytes(room - len(octets) + 1),
            "malformed_message",
        ),
        (
            "octet_behind_the_statement",
            (len(octets) + 1).to_bytes(4, "big") + octets + bytes(room - len(octets)),
            "not_canonical",
        ),
        ("nothing_inside", bytes(4 + room), "malformed_message"),
    ):
        given = {**base, "sealed": _sealed_raw(padded, OWNER.disclosure, context).hex()}
        found.case(f"opens_not_{flaw}", "unseal", given, refuse=refuse)


def _sealed_raw(padded: bytes, recipient: DisclosureKey, context: SealContext) -> bytes:
    def opens(sealed: bytes) -> bool:
        try:
            return bool(_SUITE.decrypt(sealed, recipient._key, info=context.info()) == padded)
        except Exception:  # whatever does not open
            return False

    def make() -> bytes:
        return _SUITE.encrypt(padded, _public_key(recipient.public), info=context.info())

    return kept(context.kind.sealed_octets, opens, make)
