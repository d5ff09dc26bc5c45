"""Evidence (§17): accepted only if every part verifies and the misbehaviour follows from what the accused
alone can have signed.

Rules of this file and of its two neighbours, `against_owner` and `against_others`:
- whoever made the file is taken for a liar: nothing counts that the accused did not sign, or that does not
  follow from it by a hash, a proof or a box that opens;
- statements of one party are never held against another;
- where the text of §17.1 leaves doubt, the evidence does not hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from candor_verify import names
from candor_verify.certificates import chain_digest, directory_key
from candor_verify.checkpoint import Checkpoint
from candor_verify.errors import CertificateRefused, KeyMismatch, Malformed, Refused
from candor_verify.form import Fields, parse_file, same
from candor_verify.heads import Directory, Member, parse_directory
from candor_verify.names import HUB, at
from candor_verify.proof import Judge, check_lines
from candor_verify.receipt import Verified
from candor_verify.statements import Part

FORMAT = "candor-evidence/1"


class NotEvidence(Refused):
    """The parts verify, and show no misbehaviour of the accused."""

    code = "not_evidence"


@dataclass(frozen=True)
class Case:
    """One evidence file: what it says, and whom it accuses."""

    kind: str
    federation: str
    accused: str
    fields: Fields
    judge: Judge
    root: x509.Certificate | None
    members: dict[str, Member]

    def member(self, key: str, node: str) -> Member:
        """The logged member of this name, from the file's part `key`. Raises a Refused."""
        member = self.fields.logged(key).member(node, self.federation, self.judge)
        self.members[node] = member
        return member

    def head_pair(self) -> tuple[Checkpoint, Checkpoint]:
        """`first` and `second`: two heads of one shard of this federation, both signed by the log."""
        first, second = self.fields.checkpoint("first"), self.fields.checkpoint("second")
        same("origin", first.origin, second.origin)
        same("federation", names.shard_of(first.origin)[0], self.federation)
        for head in (first, second):
            check_lines(head, self.judge.policy)
        return first, second

    def directory(self, part: Part, chain: list[bytes]) -> Directory:
        """A directory of the federation, signed under its root when it was issued. Raises a Refused."""
        if self.root is None:
            raise CertificateRefused("This kind of evidence needs the federation's root (--root).")
        directory = parse_directory(part.body)
        same("federation of the directory", directory.federation, self.federation)
        same("digest of the chain", directory.chain_digest, chain_digest(chain))
        key = directory_key(chain, self.root, self.federation, at(directory.issued))
        part.verify("directory", key, HUB)
        return directory


Check = Callable[[Case], list[str]]


def verify_evidence(octets: bytes, judge: Judge, root: x509.Certificate | None = None) -> tuple[Verified, Case]:
    """What the file shows. Raises a Refused that says why it does not hold."""
    from candor_verify.against_others import KINDS as OTHERS
    from candor_verify.against_owner import KINDS as OWNER

    fields = Fields(parse_file(octets), "The evidence")
    fields.exactly("format", FORMAT)
    kind, federation, accused = fields.text("kind"), fields.federation(), fields.text("accused")
    case = Case(kind, federation, accused, fields, judge, root, {})
    if kind in OWNER:
        names.check_node(accused)
        lines = OWNER[kind](case)
    elif kind in OTHERS:
        lines = OTHERS[kind](case)
    else:
        raise Malformed("There is no evidence of this kind.")
    fields.done()
    return Verified(kind, (f"{kind}: {accused} of {federation}", *(f"  {line}" for line in lines))), case


def check_bindings(case: Case, keys: dict[str, bytes]) -> None:
    """That the whole log, read by the reviewer, has each member under the key that the file shows.

    Raises KeyMismatch: then whoever keeps the log may have made the member up.
    """
    for node, member in case.members.items():
        if keys.get(node) != member.signing_key:
            raise KeyMismatch(f"The log as a whole does not know {node} under the key in this file.")


def judged_at(judge: Judge) -> datetime:
    return judge.now
