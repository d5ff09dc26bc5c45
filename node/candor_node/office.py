"""What the office does once a second person has agreed, and lookups that were allowed being sent.

Rules of this file:
- an executor runs in the transaction that decides (`approvals.decide`) and checks again what may have
  changed;
- nobody is given a role by their own decision;
- an allowed lookup is sent by the running node, once; a node that dies before sends it with its next run.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial

from candor_node import approvals, batch_guard, permits, users
from candor_node.approvals import Approval, ApprovalId, Executors
from candor_node.clock import Clock
from candor_node.logs import log
from candor_node.permits import Permit
from candor_node.search import Searcher
from candor_node.store import Database, Store
from candor_proto.errors import (
    CandorError,
    ClockWrong,
    InputInvalid,
    PurposeRefused,
    StoreUnusable,
    WrongRole,
)
from candor_records.roles import Actor, Operation, Role, same_user

LOOK_SECONDS = 60.0
# What asking again would not change.
FINAL = (InputInvalid, PurposeRefused, WrongRole)


def propose_roles(
    db: Database, now: datetime, actor: Actor, user_id: str, roles: frozenset[Role], reason: str
) -> ApprovalId | None:
    """Put roles that take two people before a second one; None when there are none."""
    if not roles:
        return None
    arguments = {"roles": " ".join(role.value for role in Role if role in roles)}
    return approvals.propose(db, now, Operation.GRANT_ROLE, actor, user_id, arguments, reason)


def grant(db: Database, approval: Approval, now: datetime) -> None:
    """The executor of GRANT_ROLE. Raises WrongRole when who decides is who would get the role."""
    if same_user(approval.about, approval.decided_by):
        raise WrongRole("Nobody decides about their own role.", remedy="Ask somebody else to decide.")
    roles = frozenset(Role(role) for role in approval.arguments["roles"].split())
    users.grant(db, now, approval.decided_by, approval.about, roles)


EXECUTORS: Executors = {
    Operation.GRANT_ROLE: grant,
    Operation.LOOK_UP_SENSITIVE: batch_guard.execute,
}


class AllowedLookups:
    """Sends what a second person has allowed. Belongs to the event loop."""

    def __init__(self, store: Store, searcher: Searcher, clock: Clock, wait_seconds: float) -> None:
        self._store = store
        self._searcher = searcher
        self._clock = clock
        self._wait_seconds = wait_seconds
        self.decided = asyncio.Event()

    async def run(self) -> None:
        """For ever: at once after a decision, and now and then for what could not be sent before."""
        while True:
            self.decided.clear()
            await self.send()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self.decided.wait()
            except TimeoutError:
                continue

    async def send(self) -> None:
        """Send every allowed lookup that was not sent yet."""
        for permit in await self._store.run(partial(permits.unsent, now=self._clock.now())):
            await self._send(permit)

    async def _send(self, permit: Permit) -> None:
        try:
            await self._searcher.ask(permit.question, self._wait_seconds, permit=permit.approval_id)
        except (StoreUnusable, ClockWrong):
            raise
        except FINAL as error:
            trouble = str(error)
            await self._store.run(lambda db: permits.note_trouble(db, permit.approval_id, trouble))
        except CandorError as error:
            log.warning("an allowed lookup was not sent yet", code=error.code)
