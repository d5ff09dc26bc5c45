"""The certificate of destruction: what was destroyed, when, by whom, under which rule (RECORDS.md §4.4).

Rules of this file:
- it names nobody the records were about: control numbers, kinds, days and rules only. Who destroyed is a user
  id, and the second person who approved another;
- its octets are one form of JSON: `parse` refuses whatever does not format to itself, for what is signed must
  read the same to everybody;
- it is tied to the ledger: number and digest of the entry that accounts for the run, so that neither can be
  made up without the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from candor_proto.errors import CandorError, MalformedMessage, NotCanonical
from candor_proto.ids import NodeId
from candor_proto.record import RecordKind
from candor_proto.signing import SignedStatement, SigningKey, VerifyingKey
from candor_records.records import Dcn, Standing

CONTEXT = "certificate of destruction"
FORM = "candor certificate of destruction 1"
MAX_OCTETS = 16 * 1024 * 1024


@dataclass(frozen=True)
class Destroyed:
    """One record: every control number it ever had, and the rule by which its time was over."""

    control_numbers: tuple[Dcn, ...]
    kind: RecordKind
    standing: Standing
    ended_on: date
    rule: str


@dataclass(frozen=True)
class Certificate:
    """One run. `kept` had reached their end too, and a legal hold keeps them."""

    number: int
    node: NodeId
    at: datetime
    by: str
    second: str
    destroyed: tuple[Destroyed, ...]
    kept: tuple[Dcn, ...]
    ledger_number: int
    ledger_digest: bytes

    def format(self) -> bytes:
        """The octets that are signed."""
        return json.dumps(
            {
                "form": FORM,
                "number": self.number,
                "node": str(self.node),
                "at": self.at.astimezone(UTC).strftime(_TIME),
                "by": self.by,
                "second": self.second,
                "destroyed": [
                    {
                        "control_numbers": [str(dcn) for dcn in one.control_numbers],
                        "kind": one.kind.name,
                        "standing": one.standing.name,
                        "ended_on": one.ended_on.isoformat(),
                        "rule": one.rule,
                    }
                    for one in self.destroyed
                ],
                "kept_by_legal_hold": [str(dcn) for dcn in self.kept],
                "ledger": {"number": self.ledger_number, "digest": self.ledger_digest.hex()},
            },
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()

    @classmethod
    def parse(cls, octets: bytes) -> Certificate:
        """Raises MalformedMessage, or NotCanonical for octets that `format` would not make."""
        try:
            read: Mapping[str, Any] = json.loads(octets)
            found = cls(
                int(read["number"]),
                NodeId(read["node"]),
                datetime.strptime(read["at"], _TIME).replace(tzinfo=UTC),
                str(read["by"]),
                str(read["second"]),
                tuple(
                    Destroyed(
                        tuple(Dcn(dcn) for dcn in one["control_numbers"]),
                        RecordKind[one["kind"]],
                        Standing[one["standing"]],
                        date.fromisoformat(one["ended_on"]),
                        str(one["rule"]),
                    )
                    for one in read["destroyed"]
                ),
                tuple(Dcn(dcn) for dcn in read["kept_by_legal_hold"]),
                int(read["ledger"]["number"]),
                bytes.fromhex(read["ledger"]["digest"]),
            )
            again = found.format()
        except _UNREADABLE as error:
            raise MalformedMessage("This is no certificate of destruction.") from error
        if again != octets:
            raise NotCanonical("This certificate is not in the one form that is signed.")
        return found

    def text(self) -> str:
        """For printing."""
        lines = [
            f"CERTIFICATE OF DESTRUCTION No. {self.number}",
            "",
            f"Node        {self.node}",
            f"Destroyed   {self.at:%Y-%m-%d %H:%M:%S} UTC",
            f"By          {self.by}",
            f"Approved by {self.second}",
            f"Ledger      entry {self.ledger_number}, digest {self.ledger_digest.hex()}",
            "",
            f"{len(self.destroyed)} records were destroyed: the keys that opened them, and with these every "
            "version,",
            "statement, dispute and reason. No name or content can be recovered by anybody.",
            "",
        ]
        for one in self.destroyed:
            numbers = ", ".join(map(str, one.control_numbers))
            lines += [
                f"  {numbers}",
                f"    {one.kind.name}, {one.standing.name}; ended {one.ended_on}: {one.rule}",
            ]
        if self.kept:
            lines += ["", "Kept by a legal hold, although their time is over:"]
            lines += [f"  {dcn}" for dcn in self.kept]
        return "\n".join(lines) + "\n"


_TIME = "%Y-%m-%dT%H:%M:%SZ"
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, CandorError)


# --- the file that is handed on -------------------------------------------------------------------------


def sign(certificate: Certificate, key: SigningKey) -> SignedStatement:
    """Signed by the node."""
    return key.sign(CONTEXT, certificate.format())


def file_of(signed: SignedStatement, key: VerifyingKey) -> bytes:
    """The certificate as a file: what was signed, the signature, and the key it verifies under."""
    body = json.loads(signed.body)
    document = {"certificate": body, "signature": signed.signature.hex(), "signed_with": key.value.hex()}
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def verify_file(octets: bytes, key: VerifyingKey) -> Certificate:
    """The certificate of a file, once it is checked; raises MalformedMessage or SignatureInvalid.

    `key` is the node's signing key as the checker knows it, never the one that the file itself names.
    """
    if len(octets) > MAX_OCTETS:
        raise MalformedMessage("This file is too long for a certificate of destruction.")
    try:
        document = json.loads(octets)
        body = json.dumps(document["certificate"], ensure_ascii=False, separators=(",", ":")).encode()
        signature = bytes.fromhex(document["signature"])
    except _UNREADABLE as error:
        raise MalformedMessage("This file is no certificate of destruction.") from error
    SignedStatement(body, signature).verify(CONTEXT, key, "the node")
    return Certificate.parse(body)
