"""What a verifier refuses, and in what class a finding falls: one family, one code each (§12).

Rules of this package:
- a parser raises `Refused` or one of its subclasses and nothing else;
- verification raises; it never returns a bool;
- nothing is believed that was not compared with something signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Refused(Exception):
    """Something does not verify; `code` is one of §12."""

    code = "malformed_message"


class Malformed(Refused):
    """Cannot be read."""

    code = "malformed_message"


class NotCanonical(Malformed):
    """Is not the one encoding of what it says."""

    code = "not_canonical"


class InvalidElement(Malformed):
    """Is not an element of the group, or is its identity."""

    code = "invalid_element"


class InvalidScalar(Malformed):
    """Is not a scalar below the group's order."""

    code = "invalid_scalar"


class UnsupportedVersion(Malformed):
    """Is of a version that this verifier does not know."""

    code = "unsupported_version"


class LimitExceeded(Refused):
    """Is over a limit of §13."""

    code = "limit_exceeded"


class BatchTooLarge(LimitExceeded):
    """Holds more elements than a batch may (§13)."""

    code = "batch_too_large"


class SignatureInvalid(Refused):
    """Is not signed by whom it names."""

    code = "signature_invalid"


class ProofInvalid(Refused):
    """A proof of the curve, of inclusion or of consistency does not verify."""

    code = "proof_invalid"


class KeyMismatch(Refused):
    """Another key stands under a name whose key is known."""

    code = "key_mismatch"


class CommitmentMismatch(Refused):
    """What was opened is not what was committed to."""

    code = "commitment_mismatch"


class SealedDataInvalid(Refused):
    """A sealed box does not open."""

    code = "sealed_data_invalid"


class Rollback(Refused):
    """Is older than what was seen before."""

    code = "rollback"


class Expired(Refused):
    """Ended before the moment of checking."""

    code = "expired"


class NotYetValid(Refused):
    """Begins after the moment of checking."""

    code = "not_yet_valid"


class CertificateRefused(Refused):
    """A certificate does not lead to the root, or does not say what it would have to."""

    code = "certificate_refused"


class IdentityMismatch(Refused):
    """Is not about, or not of, the party that it is said to be."""

    code = "identity_mismatch"


class UnknownObject(Refused):
    """There is no such thing."""

    code = "unknown_object"


class WrongRecipient(Refused):
    """Is for somebody else."""

    code = "wrong_recipient"


class NotAMember(Refused):
    """Is of somebody whom the directory does not know."""

    code = "not_a_member"


class GateClosed(Refused):
    """Too little was hit for a blob to be opened (§6.4)."""

    code = "gate_closed"


class LogUnwitnessed(Refused):
    """The quorum of witnesses is missing, or too old (§15.5, §15.6)."""

    code = "log_unwitnessed"


class LogInconsistent(Refused):
    """The log contradicts itself, or what was seen of it (§14.5)."""

    code = "log_inconsistent"


class NotLogged(Refused):
    """The log does not hold it."""

    code = "not_logged"


class Unreadable(Exception):
    """A file or an address that could not be read at all, or options that do not fit together."""


class FindingClass(Enum):
    """Classes of findings; the value is the exit status of `candor-verify` (docs/verify.md)."""

    UNREADABLE = 2
    SIGNATURE = 3
    INCLUSION = 4
    CONSISTENCY = 5
    RULE = 6
    QUORUM = 7
    RECEIPT = 8
    EVIDENCE = 9
    INDEX = 10
    VECTOR = 11
    REGISTER = 12

    @property
    def words(self) -> str:
        """What is said of such a finding."""
        return _WORDS[self]


_WORDS = {
    FindingClass.UNREADABLE: "cannot be read",
    FindingClass.SIGNATURE: "signature",
    FindingClass.INCLUSION: "inclusion or root",
    FindingClass.CONSISTENCY: "consistency",
    FindingClass.RULE: "rule of the log",
    FindingClass.QUORUM: "quorum of witnesses",
    FindingClass.RECEIPT: "receipt",
    FindingClass.EVIDENCE: "evidence does not hold",
    FindingClass.INDEX: "index",
    FindingClass.VECTOR: "vector",
    FindingClass.REGISTER: "case not in the register",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its class, where, and what."""

    kind: FindingClass
    where: str
    what: str
