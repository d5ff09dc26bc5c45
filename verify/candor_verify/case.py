"""What a check of evidence (§17) is given, and what it may rely on.

Rules of `case`, `against_owner` and `against_others`:
- whoever made the file is taken for a liar: nothing counts that the accused did not sign, or that does not
  follow from it by a hash, a proof or a box that opens;
- statements of one party are never held against another;
- where the text of §17.1 leaves doubt, the evidence does not hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509

from candor_verify import names
from candor_verify.certificates import chain_digest, directory_key
from candor_verify.checkpoint import Checkpoint
from candor_verify.errors import CertificateRefused, Refused
from candor_verify.form import Fields, same
from candor_verify.heads import Directory, Member, parse_directory
from candor_verify.names import HUB, at
from candor_verify.proof import Judge, check_lines
from candor_verify.statements import Part


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
    members: dict[str, Member] = field(default_factory=dict)

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
            check_lines(head, self.judge)
        return first, second

    def directory(self, part: Part, chain: list[bytes]) -> Directory:
        """A directory of the federation, signed under its root when it was issued. Raises a Refused."""
        if self.root is None:
            raise CertificateRefused("This kind of evidence needs the federation's root (--root).")
        directory = parse_directory(part.body)
        same("federation of the directory", directory.federation, self.federation)
        key = directory_key(chain, self.root, self.federation, at(directory.issued))
        same("digest of the chain", directory.chain_digest, chain_digest(chain))
        part.verify("directory", key, HUB)
        return directory


Check = Callable[[Case], list[str]]
