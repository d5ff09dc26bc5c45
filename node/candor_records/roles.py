"""Who may do what, and what takes two (RECORDS.md §5, §7.3).

Rules of this file:
- what is done at a node is an `Operation`; each has one rule; what has none is refused (`RULES` is whole, a
  test holds it);
- dual control is a second person with a role of their own, never the first under another spelling of the
  name;
- who runs the machine (ADMINISTRATOR) sees no record, no lookup and no request; who looks people up
  (INVESTIGATOR) files and releases nothing. A small agency gives one person several roles: dual control
  still needs two people, whatever roles they hold.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from candor_proto.errors import InputInvalid, WrongRole


class Role(Enum):
    """What a person is here for."""

    CLERK = "CLERK"
    INVESTIGATOR = "INVESTIGATOR"
    APPROVER = "APPROVER"
    AUDITOR = "AUDITOR"
    ADMINISTRATOR = "ADMINISTRATOR"

    @classmethod
    def parse(cls, text: str) -> Role:
        """Raises InputInvalid."""
        try:
            return cls(text.strip().upper())
        except ValueError:
            raise InputInvalid(
                "There is no such role.", remedy=f"The roles are {', '.join(role.value for role in cls)}."
            ) from None


class Operation(Enum):
    """What somebody does at a node."""

    VIEW_STATUS = "VIEW_STATUS"
    VIEW_RECORDS = "VIEW_RECORDS"
    FILE_RECORDS = "FILE_RECORDS"
    REVIEW_RECORDS = "REVIEW_RECORDS"
    ACT_ON_RECORDS = "ACT_ON_RECORDS"
    VOID_RECORD = "VOID_RECORD"
    EXPUNGE_RECORD = "EXPUNGE_RECORD"
    CHANGE_SHARING = "CHANGE_SHARING"
    OPEN_SHARING = "OPEN_SHARING"
    IMPORT_RECORDS = "IMPORT_RECORDS"
    EXPORT_RECORDS = "EXPORT_RECORDS"
    PUBLISH = "PUBLISH"
    LOOK_UP = "LOOK_UP"
    LOOK_UP_SENSITIVE = "LOOK_UP_SENSITIVE"
    VIEW_LOOKUPS = "VIEW_LOOKUPS"
    ACKNOWLEDGE_MATCH = "ACKNOWLEDGE_MATCH"
    REQUEST_RECORDS = "REQUEST_RECORDS"
    DECIDE_REQUESTS = "DECIDE_REQUESTS"
    RELEASE_SENSITIVE = "RELEASE_SENSITIVE"
    VIEW_REQUESTS = "VIEW_REQUESTS"
    ACKNOWLEDGE_RECALL = "ACKNOWLEDGE_RECALL"
    VIEW_RECALLS = "VIEW_RECALLS"
    VIEW_PACKS = "VIEW_PACKS"
    ADOPT_PACK = "ADOPT_PACK"
    SERVE_SUBJECT = "SERVE_SUBJECT"
    VIEW_SUBJECT_REPORT = "VIEW_SUBJECT_REPORT"
    RESOLVE_DISPUTE = "RESOLVE_DISPUTE"
    DEFER_VISIBILITY = "DEFER_VISIBILITY"
    VIEW_RETENTION = "VIEW_RETENTION"
    DESTROY_RECORDS = "DESTROY_RECORDS"
    VIEW_LEDGER = "VIEW_LEDGER"
    REVIEW_USE = "REVIEW_USE"
    TAKE_RECEIPTS = "TAKE_RECEIPTS"
    HANDLE_EVIDENCE = "HANDLE_EVIDENCE"
    REVIEW_FAILURES = "REVIEW_FAILURES"
    OPEN_LOOKUPS = "OPEN_LOOKUPS"
    MARK_SENSITIVE = "MARK_SENSITIVE"
    MANAGE_USERS = "MANAGE_USERS"
    GRANT_ROLE = "GRANT_ROLE"
    VIEW_APPROVALS = "VIEW_APPROVALS"
    DECIDE_APPROVALS = "DECIDE_APPROVALS"
    BACK_UP = "BACK_UP"
    VIEW_ROLLBACK = "VIEW_ROLLBACK"
    CONFIRM_ROLLBACK = "CONFIRM_ROLLBACK"


@dataclass(frozen=True)
class Actor:
    """Who acts: the id of a user, never a person's name, and the roles that user holds now."""

    user: str
    roles: frozenset[Role]


@dataclass(frozen=True)
class OperationRule:
    """Who may begin an operation, and who may be its second person; None: it takes only one."""

    roles: frozenset[Role]
    second: frozenset[Role] | None = None


ALL_ROLES = frozenset(Role)
# Roles that make somebody the second person, or let them name one: giving them takes two people itself. An
# auditor decides about roles: whoever could appoint one alone would have a second person of their own.
PRIVILEGED_ROLES = frozenset({Role.APPROVER, Role.AUDITOR, Role.ADMINISTRATOR})

_CLERK = frozenset({Role.CLERK})
_INVESTIGATOR = frozenset({Role.INVESTIGATOR})
_APPROVER = frozenset({Role.APPROVER})
_AUDITOR = frozenset({Role.AUDITOR})
_ADMINISTRATOR = frozenset({Role.ADMINISTRATOR})

RULES: Mapping[Operation, OperationRule] = {
    Operation.VIEW_STATUS: OperationRule(ALL_ROLES),
    Operation.VIEW_RECORDS: OperationRule(_CLERK | _APPROVER | _AUDITOR),
    Operation.FILE_RECORDS: OperationRule(_CLERK),
    Operation.REVIEW_RECORDS: OperationRule(_CLERK | _APPROVER),
    Operation.ACT_ON_RECORDS: OperationRule(_CLERK),
    Operation.VOID_RECORD: OperationRule(_CLERK, _APPROVER),
    Operation.EXPUNGE_RECORD: OperationRule(_CLERK, _APPROVER),
    Operation.CHANGE_SHARING: OperationRule(_CLERK),
    Operation.OPEN_SHARING: OperationRule(_CLERK, _APPROVER),
    Operation.IMPORT_RECORDS: OperationRule(_CLERK),
    Operation.EXPORT_RECORDS: OperationRule(_CLERK | _AUDITOR),
    Operation.PUBLISH: OperationRule(_CLERK | _ADMINISTRATOR),
    Operation.LOOK_UP: OperationRule(_INVESTIGATOR),
    Operation.LOOK_UP_SENSITIVE: OperationRule(_INVESTIGATOR, _APPROVER),
    Operation.VIEW_LOOKUPS: OperationRule(_INVESTIGATOR | _AUDITOR),
    Operation.ACKNOWLEDGE_MATCH: OperationRule(_INVESTIGATOR),
    Operation.REQUEST_RECORDS: OperationRule(_INVESTIGATOR),
    Operation.DECIDE_REQUESTS: OperationRule(_APPROVER),
    Operation.RELEASE_SENSITIVE: OperationRule(_APPROVER, _APPROVER),
    Operation.VIEW_REQUESTS: OperationRule(_CLERK | _INVESTIGATOR | _APPROVER | _AUDITOR),
    Operation.ACKNOWLEDGE_RECALL: OperationRule(_CLERK | _INVESTIGATOR),
    Operation.VIEW_RECALLS: OperationRule(_CLERK | _INVESTIGATOR | _APPROVER | _AUDITOR),
    Operation.VIEW_PACKS: OperationRule(ALL_ROLES),
    Operation.ADOPT_PACK: OperationRule(_CLERK | _ADMINISTRATOR, _APPROVER),
    Operation.SERVE_SUBJECT: OperationRule(_CLERK),
    Operation.VIEW_SUBJECT_REPORT: OperationRule(_CLERK | _APPROVER | _AUDITOR),
    Operation.RESOLVE_DISPUTE: OperationRule(_APPROVER),
    Operation.DEFER_VISIBILITY: OperationRule(_CLERK | _INVESTIGATOR, _APPROVER),
    Operation.VIEW_RETENTION: OperationRule(_CLERK | _APPROVER | _AUDITOR),
    Operation.DESTROY_RECORDS: OperationRule(_CLERK, _APPROVER),
    Operation.VIEW_LEDGER: OperationRule(_AUDITOR | _ADMINISTRATOR),
    Operation.REVIEW_USE: OperationRule(_AUDITOR),
    Operation.TAKE_RECEIPTS: OperationRule(_INVESTIGATOR | _APPROVER | _AUDITOR),
    Operation.HANDLE_EVIDENCE: OperationRule(_AUDITOR),
    Operation.REVIEW_FAILURES: OperationRule(_AUDITOR),
    Operation.OPEN_LOOKUPS: OperationRule(_AUDITOR),
    Operation.MARK_SENSITIVE: OperationRule(_APPROVER),
    Operation.MANAGE_USERS: OperationRule(_ADMINISTRATOR),
    Operation.GRANT_ROLE: OperationRule(_ADMINISTRATOR, _ADMINISTRATOR | _APPROVER | _AUDITOR),
    Operation.VIEW_APPROVALS: OperationRule(ALL_ROLES),
    Operation.DECIDE_APPROVALS: OperationRule(_ADMINISTRATOR | _APPROVER | _AUDITOR),
    Operation.BACK_UP: OperationRule(_ADMINISTRATOR),
    Operation.VIEW_ROLLBACK: OperationRule(ALL_ROLES),
    # Whoever runs the machine restores; whether records are shared again is for who answers for them.
    Operation.CONFIRM_ROLLBACK: OperationRule(_APPROVER | _AUDITOR),
}


def check_allowed(actor: Actor, operation: Operation) -> None:
    """Raises WrongRole when none of the roles of `actor` may begin `operation`."""
    needed = RULES[operation].roles
    if not actor.roles & needed:
        raise WrongRole(
            f"{operation.value} needs the role {_named(needed)}.",
            remedy="Ask somebody who holds it, or an administrator: `candor-node users list`.",
        )


def check_second(first: str, second: Actor, operation: Operation) -> None:
    """Whether `second` may be the second person for what the user `first` began; raises WrongRole."""
    needed = RULES[operation].second
    if needed is None:
        raise WrongRole(f"{operation.value} takes one person only: there is nothing to decide.")
    if same_user(first, second.user):
        raise WrongRole(
            f"{operation.value} takes two people: nobody approves what they proposed themselves.",
            remedy="Ask somebody else to look at it and decide.",
        )
    if not second.roles & needed:
        raise WrongRole(
            f"To decide {operation.value} needs the role {_named(needed)}.",
            remedy="Ask somebody who holds it: `candor-node users list`.",
        )


def needs_second(operation: Operation) -> bool:
    """Whether `operation` takes two people."""
    return RULES[operation].second is not None


def same_user(one: str, other: str) -> bool:
    """Whether two user ids are one login, however they are typed."""
    return _plain(one) == _plain(other)


def _plain(user: str) -> str:
    """Without what does not show: blanks, accents that stand alone, and characters of no width."""
    folded = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", user).casefold())
    return "".join(one for one in folded if unicodedata.category(one)[0] not in "CMZ")


def _named(roles: frozenset[Role]) -> str:
    return " or ".join(role.value for role in Role if role in roles)
