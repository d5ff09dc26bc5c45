"""Inviting an agency, and admitting its node (docs/protocol.md §8.5), or admitting it again (§8.7).

Rules of this file:
- of a token the hub keeps the digest; who holds the token may enrol once, for one ORI, within its time;
- token, certificate, member and directory version are one transaction: a failed attempt consumes nothing;
- a reply may be lost, so the very same request with the same token gets the same certificate again;
- a member comes back under its node id with an invitation of its own and the signing key it always had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.invitation import Invitation, new_token, token_digest
from candor_certs.lifetime import span
from candor_certs.names import PeerName, Role
from candor_certs.requests import check_request
from candor_hub.config import Config
from candor_hub.directory import DirectoryKeeper
from candor_hub.keys import HubKeys
from candor_hub.renewal import chain_der, check_fresh, check_live, record_certificate
from candor_hub.store import Store, Transaction
from candor_hub.store.enrolments import InvitationRecord
from candor_hub.store.members import MemberRecord
from candor_proto.canonical import digest
from candor_proto.directory import MAX_MEMBERS, Member, MemberStatus
from candor_proto.errors import (
    AlreadyExists,
    CertificateRevoked,
    ClockWrong,
    ConfigInvalid,
    IdentityMismatch,
    InputInvalid,
    InvitationInvalid,
    KeyMismatch,
    LimitExceeded,
    UnknownObject,
)
from candor_proto.ids import Digest, NodeId, Ori
from candor_proto.possession import check_possession
from candor_proto.sealing import check_public_key
from candor_proto.signing import VerifyingKey
from candor_proto.statements import CLOCK_TOLERANCE

INVITATION_LIFE = timedelta(days=14)
FORGOTTEN_AFTER = timedelta(days=90)
_WILDCARDS = ("0.0.0.0", "[::]")  # noqa: S104 - refused, not listened on


@dataclass(frozen=True)
class EnrolmentRequest:
    """What a node asks for; the token is a secret."""

    token: bytes = field(repr=False)
    ori: Ori
    node: NodeId
    certificate_request: bytes = field(repr=False)
    signing_key: VerifyingKey
    disclosure_key: bytes = field(repr=False)
    node_time: datetime
    # Only of a member that joins again.
    signature: bytes = field(default=b"", repr=False)

    def digest(self) -> Digest:
        """Names everything but the time, so that a repeated request is known again."""
        return Digest(
            digest(
                "enrolment-request",
                str(self.ori).encode(),
                str(self.node).encode(),
                self.certificate_request,
                self.signing_key.value,
                self.disclosure_key,
            )
        )


def check_clock(node_time: datetime, now: datetime) -> None:
    """Raises ClockWrong, naming both times, when they differ by more than the tolerance (§8.4)."""
    if abs(node_time - now) > CLOCK_TOLERANCE:
        word = "behind" if node_time < now else "ahead of"
        raise ClockWrong(
            f"The node's clock is {span(abs(node_time - now))} {word} the hub's, and may differ by "
            f"{int(CLOCK_TOLERANCE.total_seconds() // 60)} minutes: the node says "
            f"{node_time:%Y-%m-%d %H:%M:%S} UTC, the hub {now:%Y-%m-%d %H:%M:%S} UTC.",
            remedy="Set the clock of the wrong machine (NTP), then try again.",
        )


class Enrolment:
    """Invitations and admissions; safe to use from several threads."""

    def __init__(
        self, config: Config, store: Store, keys: Callable[[], HubKeys], directory: DirectoryKeeper
    ) -> None:
        self._config = config
        self._store = store
        self._keys = keys
        self._directory = directory

    def announce(self, config: Config) -> None:
        """From now on invitations name the addresses of `config`."""
        self._config = config

    def invite(
        self,
        ori: Ori,
        node: NodeId | None,
        name: str,
        now: datetime,
        life: timedelta = INVITATION_LIFE,
        *,
        rejoin: bool = False,
    ) -> Invitation:
        """A new invitation; with `rejoin` for the member `node`, whose certificate ended while it was away.

        Raises AlreadyExists, InputInvalid or MalformedMessage; with `rejoin` UnknownObject, IdentityMismatch
        or CertificateRevoked.
        """
        if not timedelta(0) < life <= INVITATION_LIFE:
            raise InputInvalid(f"An invitation is good for at most {INVITATION_LIFE.days} days.")
        expires_at = (now + life).replace(microsecond=0)
        with self._store.write() as tx:
            if rejoin and node is not None:
                name = _check_member(tx.members.find(node), node, ori).name
            else:
                if node is not None:
                    _check_free(tx, node)
                _check_ori_free(tx, ori)
            invitation = self._invitation(ori, node, name, expires_at)
            token = token_digest(invitation.token)
            tx.enrolments.add(InvitationRecord(token, ori, node, name, expires_at), now)
        return invitation

    def _invitation(self, ori: Ori, node: NodeId | None, name: str, expires_at: datetime) -> Invitation:
        for setting in ("public_address", "public_enrolment_address"):
            _check_dialable(setting, getattr(self._config, setting))
        return Invitation(
            federation=self._config.federation,
            hub_address=self._config.public_address,
            enrolment_address=self._config.public_enrolment_address,
            ori=ori,
            agency_name=name,
            token=new_token(),
            expires_at=expires_at,
            root_certificate_der=self._keys().root.public_bytes(Encoding.DER),
            node=node,
        )

    def knows(self, token: bytes) -> bool:
        """Whether this token was given to somebody, whatever became of it."""
        with self._store.read() as tx:
            return tx.enrolments.find(token_digest(token)) is not None

    def enrol(self, request: EnrolmentRequest, now: datetime) -> tuple[bytes, ...]:
        """Admit a node; its certificate chain (DER).

        Raises ClockWrong, InvitationInvalid, AlreadyExists, LimitExceeded, MalformedMessage, what
        `requests.check_request` raises about the certificate request, and for a member that joins again
        KeyMismatch, SignatureInvalid, IdentityMismatch, CertificateRevoked or CertificateRefused.
        """
        check_clock(request.node_time, now)
        check_public_key(request.disclosure_key)
        keys = self._keys()
        with self._store.write() as tx:
            invitation = _check_invitation(tx.enrolments.find(token_digest(request.token)), request, now)
            if invitation.serial is not None:
                return self._again(tx, keys, invitation, request)
            again = bool(request.signature) and invitation.node == request.node
            if again:
                self._check_rejoin(tx, request, now)
            else:
                _check_free(tx, request.node)
                _check_ori_free(tx, request.ori)
                _check_room(tx, request.signing_key)
                tx.members.add(self._member(request, invitation.name, now))
            leaf = keys.authority.issue_node(request.certificate_request, request.node, now)
            record_certificate(tx, request.node, leaf, now)
            tx.enrolments.consume(invitation.token, request.digest(), leaf.serial_number, now)
            if not again:
                self._directory.publish(tx, now)
        return chain_der(keys, leaf)

    def _check_rejoin(self, tx: Transaction, request: EnrolmentRequest, now: datetime) -> None:
        """The token says that the operator agrees, the signature that it is the member."""
        member = _check_member(tx.members.find(request.node), request.node, request.ori)
        if (request.signing_key, request.disclosure_key) != (member.signing_key, member.disclosure_key):
            raise KeyMismatch(
                f"The keys are not those of {member.node} in the directory.",
                remedy="Join again from the folder that holds the node's own keys; if they are lost, the "
                f"hub's operator revokes {member.node} and invites the agency under another node id.",
            )
        check_possession(
            request.signature,
            member.signing_key,
            self._config.federation,
            member.node,
            request.certificate_request,
        )
        public_key = check_request(request.certificate_request, self._name(request.node))
        check_fresh(public_key, tx.certificates.of(member.node))
        check_live(tx, member.node, now)

    def _again(
        self, tx: Transaction, keys: HubKeys, invitation: InvitationRecord, request: EnrolmentRequest
    ) -> tuple[bytes, ...]:
        der = tx.members.certificate(invitation.serial or "")
        if invitation.used_digest != request.digest() or der is None:
            raise InvitationInvalid(
                "This invitation was used already.", remedy="Ask the hub's operator for a new one."
            )
        return chain_der(keys, x509.load_der_x509_certificate(der))

    def _name(self, node: NodeId) -> PeerName:
        return PeerName(self._config.federation, Role.NODE, node)

    def _member(self, request: EnrolmentRequest, name: str, now: datetime) -> Member:
        return Member(
            node=request.node,
            name=name,
            oris=(request.ori,),
            tls_subject=self._name(request.node).uri,
            signing_key=request.signing_key,
            disclosure_key=request.disclosure_key,
            status=MemberStatus.ACTIVE,
            joined_at=now,
            answered_from=now + self._config.new_member_wait,
        )


def _check_dialable(setting: str, address: str) -> None:
    """Raises ConfigInvalid for an address that one listens on and nobody can dial."""
    if address.rpartition(":")[0] in _WILDCARDS:
        raise ConfigInvalid(
            f"An invitation would tell the agency to connect to {address}, which is nowhere.",
            remedy=f"Set `{setting}` in hub.toml to the name and port by which members reach this hub.",
        )


def _check_member(record: MemberRecord | None, node: NodeId, ori: Ori) -> Member:
    """The member that may join again as `node` for `ori`."""
    if record is None:
        raise UnknownObject(f"There is no member {node}.", remedy="Invite it as a new one.")
    if record.revoked_at is not None:
        raise CertificateRevoked(
            f"{node} was revoked, and that is for good.",
            remedy="Invite the agency again under another node id.",
        )
    if ori not in record.member.oris:
        raise IdentityMismatch(f"{node} does not stand for {ori}.")
    return record.member


def _check_invitation(
    invitation: InvitationRecord | None, request: EnrolmentRequest, now: datetime
) -> InvitationRecord:
    remedy = "Ask the hub's operator for a new one."
    if invitation is None:
        raise InvitationInvalid("The hub knows no such invitation.", remedy=remedy)
    if now >= invitation.expires_at:
        raise InvitationInvalid(
            f"The invitation ended on {invitation.expires_at:%Y-%m-%d %H:%M} UTC.", remedy=remedy
        )
    if invitation.ori != request.ori:
        raise InvitationInvalid("The invitation is for another ORI.", remedy=remedy)
    if invitation.node not in (None, request.node):
        raise InvitationInvalid(f"The invitation is for the node {invitation.node}.", remedy=remedy)
    return invitation


def _check_free(tx: Transaction, node: NodeId) -> None:
    if tx.members.exists(node):
        raise AlreadyExists(
            f"There is a member {node} already; a node id is never given twice.",
            remedy="Choose another node id.",
        )


def _check_ori_free(tx: Transaction, ori: Ori) -> None:
    holder = tx.members.holder_of(ori)
    if holder is not None:
        raise AlreadyExists(
            f"The member {holder} stands for {ori} already.",
            remedy=f"If that node is lost, `candor-hub revoke {holder}` first.",
        )


def _check_room(tx: Transaction, signing_key: VerifyingKey) -> None:
    # A copy of another member's key: whoever sees a signature could not say whose it is.
    if tx.members.key_is_known(signing_key):
        raise AlreadyExists("Another member has this signing key.", remedy="Make a new one and join again.")
    if tx.members.count() >= MAX_MEMBERS:
        raise LimitExceeded(f"A federation has at most {MAX_MEMBERS:,} members.")
