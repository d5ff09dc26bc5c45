"""What a check of receipts and evidence rests on, and the steps that all of them share (§16.1, §17.1).

Nobody's word counts here: a policy (§15.4), the time, and where a directory is shown the federation's root.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from candor_proto.accountability.file_form import LoggedPart
from candor_proto.directory import IndexHead
from candor_proto.errors import CertificateRefused, IdentityMismatch, MalformedMessage, NotLogged
from candor_proto.ids import FederationName, NodeId
from candor_proto.signing import SignedStatement, VerifyingKey
from candor_proto.statements import Answer, Lookup
from candor_proto.tlog.checkpoint import SignedCheckpoint
from candor_proto.tlog.entries import (
    Entry,
    MemberEntry,
    Receipts,
    Requests,
    head_entry,
    log_origin,
    parse_entry,
    receipt_commitment,
    request_commitment,
)
from candor_proto.tlog.policy import Policy
from candor_proto.tlog.signatures import verify_log

E = TypeVar("E", bound=Entry)

# The kind of envelope that an answer is (§8.3).
ANSWER_KIND = 2

DirectoryKey = Callable[[Sequence[bytes], datetime], VerifyingKey]


def no_root(chain: Sequence[bytes], at: datetime) -> VerifyingKey:
    """The `directory_key` of somebody who was given no root certificate."""
    raise CertificateRefused(
        "A directory can only be checked with the federation's root certificate.", remedy="Give it as well."
    )


@dataclass(frozen=True)
class Trust:
    """`directory_key` gives the key of a directory's certificate (DER, the own one first) once its chain
    was verified up to the federation's root as of a time; it raises CertificateRefused."""

    policy: Policy
    now: datetime
    directory_key: DirectoryKey = no_root

    def logged(self, logged: LoggedPart, federation: FederationName) -> bytes:
        """The octets of an entry of a log of `federation`; raises as LogProof.verify, or IdentityMismatch."""
        # A policy may list logs of several federations; a member of one is nobody in the others.
        check_log(logged.proof.signed.checkpoint.origin, federation)
        logged.proof.verify(logged.entry, self.policy, self.now)
        return logged.entry

    def entry(self, logged: LoggedPart, kind: type[E], federation: FederationName) -> E:
        """The entry of a logged part once its proof holds; raises as `logged`, or MalformedMessage."""
        entry = parse_entry(self.logged(logged, federation))
        if not isinstance(entry, kind):
            raise MalformedMessage(f"A logged part that is no {kind.__name__} entry.")
        return entry

    def signing_key(self, logged: LoggedPart, node: NodeId, federation: FederationName) -> VerifyingKey:
        """The key of a member, by its logged entry."""
        member = self.entry(logged, MemberEntry, federation)
        if member.node != node:
            raise IdentityMismatch(f"The member entry shown for {node} is that of {member.node}.")
        return VerifyingKey(member.signing_key)

    def request_position(
        self, logged: LoggedPart, lookup: SignedStatement, federation: FederationName
    ) -> int:
        """Where in its entry the commitment to `lookup` stands; raises NotLogged."""
        return _position(self.entry(logged, Requests, federation), request_commitment(lookup))

    def receipt_position(
        self, logged: LoggedPart, answer: SignedStatement, federation: FederationName
    ) -> int:
        """Where in its entry the commitment to `answer` stands; raises NotLogged."""
        commitment = receipt_commitment(ANSWER_KIND, answer.body, answer.signature)
        return _position(self.entry(logged, Receipts, federation), commitment)

    def checkpoint(self, signed: SignedCheckpoint, federation: FederationName) -> datetime:
        """The log's time of signing a checkpoint that is shown alone, both signatures checked (§17.1)."""
        check_log(signed.checkpoint.origin, federation)
        moment = verify_log(signed, self.policy.log_keys(signed.checkpoint.origin))
        self.policy.cosignatures(signed)
        if self.policy.knows(signed) != signed:
            raise MalformedMessage("A checkpoint with signatures unknown to the policy, or in disorder.")
        return moment


def check_log(origin: str, federation: FederationName) -> None:
    """Whether `origin` is that of a shard of the log of `federation` (§14.1); raises IdentityMismatch."""
    shard = origin.rpartition("/")[2]
    if not (shard.isascii() and shard.isdecimal() and origin == log_origin(federation, int(shard))):
        raise IdentityMismatch("The log is not one of this federation.")


def _position(entry: Requests | Receipts, commitment: bytes) -> int:
    try:
        return entry.commitments.index(commitment)
    except ValueError:
        raise NotLogged("The log entry shown holds no commitment to this statement.") from None


def signed_lookup(
    statement: SignedStatement, federation: FederationName, asker: NodeId, key: VerifyingKey
) -> Lookup:
    """A lookup that `asker` signed; raises SignatureInvalid, IdentityMismatch or MalformedMessage."""
    lookup = Lookup.decode(statement.verify("lookup", key, str(asker)))
    if (lookup.federation, lookup.asker) != (federation, asker):
        raise IdentityMismatch("A lookup of another asker or federation.")
    return lookup


def signed_answer(
    statement: SignedStatement, lookup: Lookup, federation: FederationName, owner: NodeId, key: VerifyingKey
) -> Answer:
    """What `owner` signed as its answer to `lookup`, whatever it says; raises as `signed_lookup`."""
    answer = Answer.decode(statement.verify("answer", key, str(owner)))
    if (answer.federation, answer.node, answer.asker) != (federation, owner, lookup.asker):
        raise IdentityMismatch("An answer between other parties.")
    if answer.lookup_id != lookup.lookup_id or answer.lookup != lookup.digest():
        raise IdentityMismatch("An answer to another lookup.")
    return answer


def signed_index_head(
    statement: SignedStatement, federation: FederationName, owner: NodeId, key: VerifyingKey
) -> IndexHead:
    """An index head that `owner` signed; raises as `signed_lookup`."""
    head = IndexHead.decode(statement.verify("index-head", key, str(owner)))
    if (head.federation, head.node) != (federation, owner):
        raise IdentityMismatch("An index head of another owner or federation.")
    return head


def check_head_logged(
    trust: Trust, logged: LoggedPart, statement: SignedStatement, federation: FederationName
) -> None:
    """Whether this very statement is what a logged head entry speaks of; raises NotLogged."""
    if trust.logged(logged, federation) != head_entry(statement).encode():
        raise NotLogged("The log entry shown is that of another index head.")
