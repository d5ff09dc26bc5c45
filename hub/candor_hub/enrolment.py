"""Inviting an agency, and admitting its node (docs/protocol.md §8.5), or admitting it again (§8.7).

Rules of this file:
- of a token the hub keeps the digest; who holds the token may enrol once, for one ORI, within its time;
- token, certificate, member and directory version are one transaction: a failed attempt consumes nothing;
- a reply may be lost, so the very same request with the same token gets the same certificate again;
- a member comes back under its node id with the signing key it always had, and with an invitation of its own
  or the operator's word that it may (`readmit`): the signing key alone opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.authority import Authority
from candor_certs.invitation import Invitation, new_token, token_digest
from candor_certs.lifetime import span
from candor_certs.names import PeerName, Role
from candor_certs.requests import check_request
from candor_hub.config import Config
from candor_hub.directory import DirectoryKeeper
from candor_hub.keys import HubKeys
from candor_hub.renewal import again, chain_der, check_fresh, check_live, record_certificate
from candor_hub.store import Store, Transaction
from candor_hub.store.certificates import CertificateRecord
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
    MemberSuspended,
    QuotaSpent,
    UnknownObject,
)
from candor_proto.ids import Digest, NodeId, Ori
from candor_proto.possession import check_possession
from candor_proto.sealing import check_public_key
from candor_proto.signing import VerifyingKey
from candor_proto.statements import CLOCK_TOLERANCE

INVITATION_LIFE = timedelta(days=14)
READMISSION_LIFE = timedelta(days=3)
FORGOTTEN_AFTER = timedelta(days=90)
# A person enrols a node by hand, once: whoever fails more often in a minute is guessing.
ATTEMPTS_PER_MINUTE_AND_ADDRESS = 10
_MINUTE = timedelta(minutes=1)
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

    def check_failures(self, address: str, now: datetime) -> None:
        """Count a failed attempt over all replicas; raises QuotaSpent for too many, StoreUnusable.

        Only failures are counted, and only who fails is refused: nobody is kept from joining by others.
        """
        if self._store.server is None:
            return  # `Attempts` has counted all there are
        with self._store.write() as tx:
            own, _ = tx.enrolments.attempts(address, now - _MINUTE)
            if own >= ATTEMPTS_PER_MINUTE_AND_ADDRESS:
                raise QuotaSpent(
                    "Too many enrolment attempts that failed.",
                    remedy="Check the invitation, wait a minute and try again.",
                )
            tx.enrolments.add_attempt(address, now)

    def enrol(self, request: EnrolmentRequest, now: datetime) -> tuple[bytes, ...]:
        """Admit a node; its certificate chain (DER).

        Raises ClockWrong, InvitationInvalid, AlreadyExists, LimitExceeded, MalformedMessage, what
        `requests.check_request` raises about the certificate request, and for a member that joins again
        KeyMismatch, SignatureInvalid, IdentityMismatch, CertificateRevoked or CertificateRefused.
        """
        check_clock(request.node_time, now)
        check_public_key(request.disclosure_key)
        if not request.token:
            return self._readmit(request, now)
        with self._store.write() as tx:
            invitation = _check_invitation(tx.enrolments.find(token_digest(request.token)), request, now)
            if invitation.serial is not None:
                return self._again(tx, invitation, request)
            rejoins = bool(request.signature) and invitation.node == request.node
            if rejoins:
                self._check_keys(tx, request)
                self._check_fresh(tx, request, now)
            else:
                _check_free(tx, request.node)
                _check_ori_free(tx, request.ori)
                _check_room(tx, request.signing_key)
                tx.members.add(self._member(request, invitation.name, now))
            authority, leaf = self._certify(tx, request, now)
            tx.enrolments.consume(invitation.token, request.digest(), leaf.serial_number, now)
            if not rejoins:
                self._directory.publish(tx, now)
        return chain_der(authority, leaf)

    def readmit(
        self, nodes: Collection[NodeId] | None, now: datetime, life: timedelta = READMISSION_LIFE
    ) -> tuple[NodeId, ...]:
        """Let members back whose certificates have ended, without an invitation; who may come.

        None: every active member that has no certificate which is still good, but for those whose newest one
        was denied by itself: a person had a reason for that, and names such a member. Each comes once, until
        `life` is over. Raises UnknownObject, CertificateRevoked, MemberSuspended or InputInvalid.
        """
        if not timedelta(0) < life <= INVITATION_LIFE:
            raise InputInvalid(f"Members are let back for at most {INVITATION_LIFE.days} days.")
        with self._store.write() as tx:
            if nodes is None:
                live = tx.certificates.shown(now).keys()
                wanted = [
                    record.member.node
                    for record in tx.members.all()
                    if record.member.status is MemberStatus.ACTIVE
                    and record.member.node not in live
                    and not _was_denied(tx, record.member.node)
                ]
            else:
                wanted = sorted(nodes)
                for node in wanted:
                    _check_active(_check_member(tx.members.find(node), node))
            for node in wanted:
                tx.enrolments.readmit(node, now + life, now)
        return tuple(wanted)

    def _readmit(self, request: EnrolmentRequest, now: datetime) -> tuple[bytes, ...]:
        """A certificate for a member that the operator lets back, or the same answer again (§8.7)."""
        # Members that were off ask again and again, and others may: nobody writes, or waits for his turn to,
        # before he is let in.
        with self._store.read() as tx:
            self._readmitted(tx, request, now)
        with self._store.write() as tx:
            earlier = self._readmitted(tx, request, now)
            if earlier is not None:
                return again(tx, earlier)
            self._check_fresh(tx, request, now)
            authority, leaf = self._certify(tx, request, now)
            tx.certificates.add_renewal(request.node, _asked(request), leaf.serial_number, None)
            tx.enrolments.forget_readmission(request.node)
        return chain_der(authority, leaf)

    def _readmitted(
        self, tx: Transaction, request: EnrolmentRequest, now: datetime
    ) -> CertificateRecord | None:
        """What this very request was answered with before, None if nothing; raises for who may not come."""
        node = request.node
        _check_active(self._check_keys(tx, request))
        earlier = tx.certificates.answer_to(node, _asked(request))
        until = tx.enrolments.readmitted_until(node)
        if earlier is None and (until is None or now >= until):
            raise InvitationInvalid(
                f"The hub's operator has not let {node} back in.",
                remedy=f"Ask the hub's operator to run: candor-hub readmit {node}. The node comes back "
                "by itself then.",
            )
        return earlier

    def _certify(
        self, tx: Transaction, request: EnrolmentRequest, now: datetime
    ) -> tuple[Authority, x509.Certificate]:
        authority = self._keys().as_of(tx).authority
        leaf = authority.issue_node(request.certificate_request, request.node, now)
        record_certificate(tx, request.node, leaf, authority, now)
        return authority, leaf

    def _check_keys(self, tx: Transaction, request: EnrolmentRequest) -> Member:
        """That it is the member: token or operator say only that somebody may come."""
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
        return member

    def _check_fresh(self, tx: Transaction, request: EnrolmentRequest, now: datetime) -> None:
        public_key = check_request(request.certificate_request, self._name(request.node))
        check_fresh(public_key, tx.certificates.of(request.node))
        check_live(tx, request.node, now)

    def _again(
        self, tx: Transaction, invitation: InvitationRecord, request: EnrolmentRequest
    ) -> tuple[bytes, ...]:
        earlier = tx.certificates.find(int(invitation.serial or "0", 16))
        if invitation.used_digest != request.digest() or earlier is None:
            raise InvitationInvalid(
                "This invitation was used already.", remedy="Ask the hub's operator for a new one."
            )
        return again(tx, earlier)

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


def _check_member(record: MemberRecord | None, node: NodeId, ori: Ori | None = None) -> Member:
    """The member that may join again as `node`, for `ori` if that is said."""
    if record is None:
        raise UnknownObject(f"There is no member {node}.", remedy="Invite it as a new one.")
    if record.revoked_at is not None:
        raise CertificateRevoked(
            f"{node} was revoked, and that is for good.",
            remedy="Invite the agency again under another node id.",
        )
    if ori is not None and ori not in record.member.oris:
        raise IdentityMismatch(f"{node} does not stand for {ori}.")
    return record.member


def _asked(request: EnrolmentRequest) -> Digest:
    return Digest(digest("certificate-request", request.certificate_request))


def _was_denied(tx: Transaction, node: NodeId) -> bool:
    """Whether the newest certificate of a member was denied by itself, not with its authority."""
    newest = tx.certificates.of(node)[-1:]
    return tx.certificates.any_denied(record.serial for record in newest)


def _check_active(member: Member) -> None:
    if member.status is not MemberStatus.ACTIVE:
        raise MemberSuspended(
            f"{member.node} is suspended.", remedy=f"First: candor-hub suspend {member.node} --lift"
        )


def unknown_invitation() -> InvitationInvalid:
    """What somebody hears whose token was never given."""
    return InvitationInvalid(
        "The hub knows no such invitation.", remedy="Ask the hub's operator for a new one."
    )


def _check_invitation(
    invitation: InvitationRecord | None, request: EnrolmentRequest, now: datetime
) -> InvitationRecord:
    remedy = "Ask the hub's operator for a new one."
    if invitation is None:
        raise unknown_invitation()
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
