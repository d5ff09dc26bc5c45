"""The one table between typed errors and gRPC status, read both ways (docs/protocol.md §12).

Servicers hold no try/except: an interceptor calls `to_status`, the client's edge `from_status`. The
code travels in the trailing metadata key `candor-error`; message and remedy in the status details.
What is not in the table is INTERNAL with its details withheld.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import grpc

from candor_proto import errors
from candor_proto.errors import CandorError

ERROR_METADATA_KEY = "candor-error"
_SEPARATOR = "\n"

STATUS: Mapping[type[CandorError], grpc.StatusCode] = {
    errors.MalformedMessage: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotCanonical: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UnsupportedVersion: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidElement: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidScalar: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InputInvalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.ConfigInvalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.LimitExceeded: grpc.StatusCode.OUT_OF_RANGE,
    errors.BatchTooLarge: grpc.StatusCode.OUT_OF_RANGE,
    errors.QuotaSpent: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.SignatureInvalid: grpc.StatusCode.DATA_LOSS,
    errors.ProofInvalid: grpc.StatusCode.DATA_LOSS,
    errors.KeyMismatch: grpc.StatusCode.DATA_LOSS,
    errors.CommitmentMismatch: grpc.StatusCode.DATA_LOSS,
    errors.SealedDataInvalid: grpc.StatusCode.DATA_LOSS,
    errors.Rollback: grpc.StatusCode.DATA_LOSS,
    errors.GateClosed: grpc.StatusCode.DATA_LOSS,
    errors.LogInconsistent: grpc.StatusCode.DATA_LOSS,
    errors.NotEvidence: grpc.StatusCode.DATA_LOSS,
    errors.Expired: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotYetValid: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StaleEpoch: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ClockWrong: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotLogged: grpc.StatusCode.FAILED_PRECONDITION,
    errors.LogUnwitnessed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WrongStanding: grpc.StatusCode.FAILED_PRECONDITION,
    errors.WentBack: grpc.StatusCode.FAILED_PRECONDITION,
    errors.SecondPersonNeeded: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Replayed: grpc.StatusCode.ALREADY_EXISTS,
    errors.ConflictingResubmission: grpc.StatusCode.ALREADY_EXISTS,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.NotAuthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.CertificateRefused: grpc.StatusCode.UNAUTHENTICATED,
    errors.CertificateRevoked: grpc.StatusCode.UNAUTHENTICATED,
    errors.InvitationInvalid: grpc.StatusCode.UNAUTHENTICATED,
    errors.NotAMember: grpc.StatusCode.PERMISSION_DENIED,
    errors.MemberSuspended: grpc.StatusCode.PERMISSION_DENIED,
    errors.WrongRole: grpc.StatusCode.PERMISSION_DENIED,
    errors.IdentityMismatch: grpc.StatusCode.PERMISSION_DENIED,
    errors.WrongRecipient: grpc.StatusCode.PERMISSION_DENIED,
    errors.PurposeRefused: grpc.StatusCode.PERMISSION_DENIED,
    errors.UnknownObject: grpc.StatusCode.NOT_FOUND,
    errors.Unreachable: grpc.StatusCode.UNAVAILABLE,
    errors.DenyListStale: grpc.StatusCode.UNAVAILABLE,
    errors.StoreUnusable: grpc.StatusCode.INTERNAL,
    errors.CurveLibraryMissing: grpc.StatusCode.INTERNAL,
    errors.IllegalTransition: grpc.StatusCode.INTERNAL,
}
_TRANSPORT = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)
_BROKEN_OFF = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
_BY_CODE = {kind.code: kind for kind in STATUS}
WITHHELD = "Something went wrong on this side; its log says what."


def to_status(error: BaseException) -> tuple[grpc.StatusCode, str, str]:
    """gRPC status, details and `candor-error` code for any exception."""
    # A kind of error that is not in the table is what the nearest one above it is.
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)
    if status is None or not isinstance(error, CandorError):
        return grpc.StatusCode.INTERNAL, WITHHELD, CandorError.code
    return status, error.message + _SEPARATOR + error.remedy, error.code


def from_status(
    status: grpc.StatusCode, details: str | None, trailing: Iterable[tuple[str, str | bytes]] | None
) -> CandorError:
    """The typed error that the other side raised; Unreachable for transport failures."""
    code = next((str(value) for key, value in trailing or () if key == ERROR_METADATA_KEY), "")
    message, _, remedy = (details or "").partition(_SEPARATOR)
    kind = _BY_CODE.get(code)
    if kind is not None:
        return kind(message, remedy=remedy)
    # A server of ours names its code on every failure; without one it was gRPC that gave up, and a connection
    # that breaks off in the middle of a call is UNKNOWN or INTERNAL to it as often as UNAVAILABLE.
    if status in _TRANSPORT or (not code and status in _BROKEN_OFF):
        return errors.Unreachable(f"The other side could not be reached ({status.name.lower()}).")
    return CandorError(f"The other side failed ({status.name.lower()}): {message or 'no details'}")


def to_refusal(error: BaseException) -> tuple[str, str, str]:
    """Code, message and remedy for any exception, where an error is told inside a message."""
    _, details, code = to_status(error)
    message, _, remedy = details.partition(_SEPARATOR)
    return code, message, remedy


def from_refusal(code: str, message: str, remedy: str) -> CandorError:
    """The typed error behind what `to_refusal` said."""
    kind = _BY_CODE.get(code)
    if kind is None:
        return CandorError(f"The other side failed: {message or 'no details'}")
    return kind(message, remedy=remedy)
