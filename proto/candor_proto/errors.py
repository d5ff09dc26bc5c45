"""Every error the protocol can raise (docs/protocol.md §12).

Rules of this file:
- one class for each thing a caller may act on, never a bare ValueError;
- `code` is the stable name that travels on the wire and into `--json` output;
- `fault` says whose fault it is, so that the edge knows whom to tell;
- the message is a sentence a person can act on and never holds an identity field, a key or a tag.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar


class Fault(Enum):
    """Whose fault an error is."""

    OURS = "ours"
    PEER = "peer"
    OPERATOR = "operator"


class CandorError(Exception):
    """Base of every error that Candor raises on purpose."""

    code: ClassVar[str] = "internal"
    fault: ClassVar[Fault] = Fault.OURS

    def __init__(self, message: str, *, remedy: str = "") -> None:
        """`message` says what is wrong; `remedy` what to do next (may be empty)."""
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


# --- what a peer sent cannot be read ---------------------------------------------------------------


class MalformedMessage(CandorError):
    """Bytes or a message that do not parse as what they claim to be."""

    code = "malformed_message"
    fault = Fault.PEER


class NotCanonical(MalformedMessage):
    """Parsed, but does not re-encode to the very bytes received."""

    code = "not_canonical"


class UnsupportedVersion(MalformedMessage):
    """A protocol, scheme or suite version this build does not speak."""

    code = "unsupported_version"


class LimitExceeded(CandorError):
    """A size, count or time that a peer controls is over its limit (docs/protocol.md §13)."""

    code = "limit_exceeded"
    fault = Fault.PEER


# --- curve and OPRF ----------------------------------------------------------------------------------


class InvalidElement(MalformedMessage):
    """Not the canonical encoding of a ristretto255 element, or the identity (RFC 9497 §2.1)."""

    code = "invalid_element"


class InvalidScalar(MalformedMessage):
    """Not a canonical scalar, or zero where that is forbidden (RFC 9497 §2.1)."""

    code = "invalid_scalar"


class BatchTooLarge(LimitExceeded):
    """More elements than a batch may hold."""

    code = "batch_too_large"


class ProofInvalid(CandorError):
    """A proof does not verify under the key or root it claims."""

    code = "proof_invalid"
    fault = Fault.PEER


class CurveLibraryMissing(CandorError):
    """No usable libsodium on this machine."""

    code = "curve_library_missing"
    fault = Fault.OPERATOR


# --- statements --------------------------------------------------------------------------------------


class SignatureInvalid(CandorError):
    """A signature does not verify under the signer's key and the context it was made for."""

    code = "signature_invalid"
    fault = Fault.PEER


class Expired(CandorError):
    """A statement, token or certificate whose time has passed."""

    code = "expired"
    fault = Fault.PEER


class NotYetValid(CandorError):
    """Issued further in the future than the clock tolerance allows."""

    code = "not_yet_valid"
    fault = Fault.PEER


class Replayed(CandorError):
    """The same signed request was seen before."""

    code = "replayed"
    fault = Fault.PEER


class ConflictingResubmission(CandorError):
    """An id that was used before, with another body."""

    code = "conflicting_resubmission"
    fault = Fault.PEER


class WrongRecipient(CandorError):
    """A statement addressed to somebody else, or a target set that does not name this node."""

    code = "wrong_recipient"
    fault = Fault.PEER


class KeyMismatch(CandorError):
    """An epoch key or disclosure key other than the one the directory states."""

    code = "key_mismatch"
    fault = Fault.PEER


class StaleEpoch(CandorError):
    """The lookup names an epoch that is neither current nor in its grace."""

    code = "stale_epoch"
    fault = Fault.PEER


class Rollback(CandorError):
    """A directory or index head older than one that was seen before."""

    code = "rollback"
    fault = Fault.PEER


class NotLogged(CandorError):
    """What the log has to hold is not there, or not there yet (docs/protocol.md §10.4)."""

    code = "not_logged"
    fault = Fault.PEER


class NotEvidence(CandorError):
    """Every part of a piece of evidence verifies, and no misbehaviour follows from it (§17.1)."""

    code = "not_evidence"
    fault = Fault.PEER


class LogUnwitnessed(CandorError):
    """No head of the log that enough witnesses have signed, or none that is young enough (§15.5, §15.6)."""

    code = "log_unwitnessed"
    fault = Fault.PEER


class LogInconsistent(CandorError):
    """The log contradicts itself, its rules, or what was seen of it before (§14.5)."""

    code = "log_inconsistent"
    fault = Fault.PEER


class CommitmentMismatch(CandorError):
    """An opened record, or an audit opening, that is not what was committed to."""

    code = "commitment_mismatch"
    fault = Fault.PEER


class SealedDataInvalid(CandorError):
    """An entry, blob or sealed envelope that does not open or parse.

    During a lookup this is a *miss* and is never shown (docs/protocol.md §7.6).
    """

    code = "sealed_data_invalid"
    fault = Fault.PEER


class GateClosed(CandorError):
    """The shares held are below the owner's threshold (docs/protocol.md §6.4)."""

    code = "gate_closed"
    fault = Fault.PEER


# --- standing, policy, quota -------------------------------------------------------------------------


class NotAuthenticated(CandorError):
    """No usable peer certificate on this connection."""

    code = "not_authenticated"
    fault = Fault.PEER


class NotAMember(CandorError):
    """The peer is not in the directory."""

    code = "not_a_member"
    fault = Fault.PEER


class MemberSuspended(CandorError):
    """The member is suspended by the hub operator."""

    code = "member_suspended"
    fault = Fault.PEER


class CertificateRevoked(CandorError):
    """The certificate is on the deny list."""

    code = "certificate_revoked"
    fault = Fault.PEER


class DenyListStale(CandorError):
    """This side's deny list is older than its limit, or from the future: nobody can be admitted by it."""

    code = "deny_list_stale"
    fault = Fault.OURS


class CertificateRefused(CandorError):
    """A certificate whose key, profile, name or TLS version is not acceptable."""

    code = "certificate_refused"
    fault = Fault.PEER


class WrongRole(CandorError):
    """The certificate's role may not call this method."""

    code = "wrong_role"
    fault = Fault.PEER


class IdentityMismatch(CandorError):
    """The claimed sender is not the one the certificate or directory names."""

    code = "identity_mismatch"
    fault = Fault.PEER


class PurposeRefused(CandorError):
    """Purpose unknown, not allowed here, or without what it needs (case, consent)."""

    code = "purpose_refused"
    fault = Fault.PEER


class QuotaSpent(CandorError):
    """The asker has used its element quota for this window."""

    code = "quota_spent"
    fault = Fault.PEER


class InvitationInvalid(CandorError):
    """An enrolment token that is unknown, used, expired, or bound to another ORI."""

    code = "invitation_invalid"
    fault = Fault.PEER


class UnknownObject(CandorError):
    """No record, request, lookup, segment or member of that name."""

    code = "unknown_object"
    fault = Fault.OPERATOR


class AlreadyExists(CandorError):
    """Something of that name exists already and would be overwritten."""

    code = "already_exists"
    fault = Fault.OPERATOR


class WrongStanding(CandorError):
    """What was asked for is not possible with a record that stands where this one does."""

    code = "wrong_standing"
    fault = Fault.OPERATOR


class SecondPersonNeeded(CandorError):
    """What was asked for takes two people: it was put before a second one and nothing was done yet."""

    code = "second_person_needed"
    fault = Fault.OPERATOR


# --- the operator's side -----------------------------------------------------------------------------


class InputInvalid(CandorError):
    """What a person typed or a file holds is not usable; the message names field and reason."""

    code = "input_invalid"
    fault = Fault.OPERATOR


class ConfigInvalid(CandorError):
    """The configuration file is missing, unreadable, or holds wrong values."""

    code = "config_invalid"
    fault = Fault.OPERATOR


class StoreUnusable(CandorError):
    """The database, or a key file, cannot be opened or written."""

    code = "store_unusable"
    fault = Fault.OPERATOR


class WentBack(CandorError):
    """This node's database is older than what it had been, and no person has confirmed yet what was lost."""

    code = "went_back"
    fault = Fault.OPERATOR


class Unreachable(CandorError):
    """The other side could not be reached in time."""

    code = "unreachable"
    fault = Fault.OPERATOR


class ClockWrong(CandorError):
    """This machine's clock and the federation's differ by more than the tolerance."""

    code = "clock_wrong"
    fault = Fault.OPERATOR


class IllegalTransition(CandorError):
    """An event that the state table does not allow in this state: a bug of ours."""

    code = "illegal_transition"
    fault = Fault.OURS
