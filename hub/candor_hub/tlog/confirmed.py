"""A log goes on only once its witnesses have said that they know nothing newer (docs/log.md, section 7).

A database that went back does not know it: a restored backup, a machine set back to a snapshot, a standby
that had lagged and became the primary. What the hub has signed since is in nobody's hands here; signed again,
in another way, it would be evidence against this hub for ever. So of every term of the log:

    begun -> its witnesses are asked about the head that it began with -> confirmed -> entries are appended

Rules of this file:
- a quorum that signs that head in this very term holds no larger one, and any quorum shares a witness with
  it: so no witnessed head is larger;
- where no quorum is asked for, every witness has signed it, or those who have not said nothing for
  SETTLE_SECONDS, longer than a node takes to dial again. There one that claims to know more stops the log
  until the operator says that this database is the newest (`candor-hub log confirm`);
- what a witness claims is believed by nobody, and told to the operator: where a quorum is asked for, as many
  have to claim it as keep the others from being one, before anything stands still.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from candor_hub.store import Transaction
from candor_hub.store.log import WITNESS_CLAIMS
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import LogInconsistent, WrongStanding
from candor_proto.tlog.policy import NONE, Policy, parse_policy

# A node dials again within a minute, however long the hub was away.
SETTLE_SECONDS = 90.0
_BEGUN, _RESTORED, _BY_OPERATOR = "term-begun", "restored", "confirmed-by-operator"


class KnowsMore(LogInconsistent):
    """A witness says that it knows `size` entries of a log that has fewer here."""

    def __init__(self, witness: str, size: int, held: int) -> None:
        super().__init__(
            f"The witness {witness} says that it knows {size} entries of a log that has {held}.",
            remedy="If several say so, this hub's database is older than what it signed once: stop it "
            "(docs/log.md, section 7). One alone may be wrong, and is not needed.",
        )
        self.size = size


@dataclass(frozen=True)
class Standing:
    """Since when the term waits to be confirmed (None: it does not); which witnesses claim to know more."""

    waits_since: datetime | None = None
    claims: Mapping[str, int] = field(default_factory=dict)
    restored: bool = False

    def went_back(self, policy: Policy | None) -> bool:
        """Whether so many claim it that the log does not go on."""
        if self.waits_since is None or not self.claims or policy is None:
            return False
        others = {each.name for each in policy.witnesses} - set(self.claims)
        return policy.quorum == NONE or not policy.has_quorum(others)


def begin(tx: Transaction, now: datetime) -> None:
    """A term begins, and waits."""
    tx.log.set_fact(_BEGUN, str(to_milliseconds(now)))
    tx.log.set_fact(WITNESS_CLAIMS, "")


def confirm(tx: Transaction) -> None:
    """The term goes on, and what was restored is as good as what was lost."""
    for name in (_BEGUN, _RESTORED, _BY_OPERATOR):
        tx.log.set_fact(name, "")


def restore(tx: Transaction, now: datetime) -> None:
    """A backup was restored into this database."""
    tx.log.set_fact(_RESTORED, str(to_milliseconds(now)))
    begin(tx, now)


def standing(tx: Transaction) -> Standing:
    """As of this transaction."""
    begun = tx.log.fact(_BEGUN)
    return Standing(
        from_milliseconds(int(begun)) if begun else None,
        json.loads(tx.log.fact(WITNESS_CLAIMS) or "{}"),
        bool(tx.log.fact(_RESTORED)),
    )


def went_back(tx: Transaction) -> bool:
    """Whether this database is older than what witnesses know, as so many say that the log stands still."""
    # For every call that is judged by the directory: one short read where nobody claims anything.
    if not tx.log.is_claimed_against():
        return False
    policy = tx.log.policy_in_force()
    return standing(tx).went_back(parse_policy(policy.text) if policy else None)


def claim(tx: Transaction, witness: str, size: int | None) -> None:
    """What a witness answered last: that it knows so many entries, or (None) that it knows nothing newer."""
    claims = json.loads(tx.log.fact(WITNESS_CLAIMS) or "{}")
    claims.pop(witness, None)
    if size is not None:
        claims[witness] = size
    tx.log.set_fact(WITNESS_CLAIMS, json.dumps(claims, sort_keys=True) if claims else "")


# --- judging ---------------------------------------------------------------------------------------------


def is_confirmed(
    policy: Policy, signed_by: Collection[str], claims: Collection[str], *, settled: bool
) -> bool:
    """Whether the term may go on; `signed_by` are witnesses that signed its first head in this term.

    `settled`: so much time has passed that whoever is to be reached was. Witnesses by their names.
    """
    if policy.quorum != NONE:
        return policy.has_quorum(set(signed_by))
    missing = {witness.name for witness in policy.witnesses} - set(signed_by)
    return not claims and (settled or not missing)


# --- the operator ----------------------------------------------------------------------------------------


def confirm_by_operator(tx: Transaction) -> None:
    """The operator says that this database is the newest; raises WrongStanding where that is of no use."""
    found, policy = standing(tx), tx.log.policy_in_force()
    if found.waits_since is None:
        raise WrongStanding("The log waits for nobody.", remedy="See `candor-hub log status`.")
    if policy is None or parse_policy(policy.text).quorum != NONE:
        raise WrongStanding(
            "This log goes on when a quorum of its witnesses has signed its head: nobody else can say that "
            "nothing newer was signed.",
            remedy="If they know more, restore a newer database or see docs/succession.md; if they are away, "
            "call them.",
        )
    tx.log.set_fact(_BY_OPERATOR, tx.log.fact(_BEGUN))


def operator_said_so(tx: Transaction) -> bool:
    """Whether that was said in this term."""
    begun = tx.log.fact(_BEGUN)
    return bool(begun) and tx.log.fact(_BY_OPERATOR) == begun
