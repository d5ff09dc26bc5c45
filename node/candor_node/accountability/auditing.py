"""What an auditor does with an opening: without a node, a database or a network (docs/protocol.md §18)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from candor_proto.accountability.file_form import encode_file, parse_file
from candor_proto.accountability.opening_file import AuditorKey, parse_opening, parse_sealed_opening
from candor_proto.accountability.trust import Trust
from candor_proto.errors import IdentityMismatch, InputInvalid, MalformedMessage
from candor_proto.ids import FederationName, NodeId
from candor_proto.sealing import PRIVATE_KEY_OCTETS, DisclosureKey
from candor_proto.tlog.base64lines import encode_octets
from candor_proto.tlog.policy import parse_policy

# The auditor's own file; no other party reads it.
PRIVATE_FORMAT = "candor-auditor-private-key/1"


@dataclass(frozen=True)
class Checked:
    """What an opening shows; `findings` are cases that do not stand in the register."""

    lookup_id: str
    asker: str
    purpose: str
    shape: str
    issued_at: str
    persons: int
    cases: tuple[str, ...]
    findings: tuple[str, ...]

    def report(self) -> dict[str, Any]:
        return {**asdict(self), "cases": list(self.cases), "findings": list(self.findings)}


def make_key(auditor: str, federation: str) -> tuple[bytes, bytes]:
    """The files of a new key pair, private and public. Raises MalformedMessage for names that are none."""
    key, names = DisclosureKey.generate(), (FederationName(federation), NodeId(auditor))
    private = {
        "format": PRIVATE_FORMAT,
        "federation": str(names[0]),
        "auditor": str(names[1]),
        "private": encode_octets(key.octets()),
    }
    return encode_file(private), AuditorKey(*names, key.public).encode()


def unseal(sealed_file: bytes, private_file: bytes) -> bytes:
    """The opening inside; raises InputInvalid, IdentityMismatch, SealedDataInvalid, MalformedMessage."""
    sealed = parse_sealed_opening(sealed_file)
    try:
        fields = parse_file(private_file)
        fields.expect("format", PRIVATE_FORMAT)
    except MalformedMessage:
        raise InputInvalid(
            "This is no auditor's private key.",
            remedy="Give the file that `audit auditor-key --out` named; the one in .pub is the public half.",
        ) from None
    names = fields.federation(), fields.node("auditor")
    key = DisclosureKey(fields.octets("private", PRIVATE_KEY_OCTETS))
    fields.finish()
    if names != (sealed.federation, sealed.auditor):
        raise IdentityMismatch(
            f"This opening was made for the auditor {sealed.auditor} of {sealed.federation}."
        )
    octets = sealed.open(key)
    opening = parse_opening(octets)
    if (opening.federation, opening.asker) != (sealed.federation, sealed.asker):
        raise IdentityMismatch("The opening inside is of another agency than its envelope says.")
    return octets


def read_register(octets: bytes) -> list[str]:
    """Case numbers, one a line; raises InputInvalid."""
    try:
        lines = octets.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputInvalid(
            "The register of cases is no text in UTF-8.", remedy="Save it as such, one case number a line."
        ) from None
    return [line.strip() for line in lines if line.strip()]


def check(opening_file: bytes, policy: bytes, register: Sequence[str] | None, now: datetime) -> Checked:
    """All of §18.3. Raises CommitmentMismatch, NotLogged, and whatever a part of it raises."""
    opening = parse_opening(opening_file)
    checked = opening.check(Trust(parse_policy(policy), now))
    lookup = checked.lookup
    return Checked(
        lookup_id=str(lookup.lookup_id),
        asker=str(lookup.asker),
        purpose=lookup.purpose.name,
        shape=lookup.shape.name,
        issued_at=f"{lookup.issued_at:%Y-%m-%d %H:%M:%S} UTC",
        persons=len(checked.cases()),
        cases=checked.cases(),
        findings=() if register is None else checked.cases_not_in(register),
    )
