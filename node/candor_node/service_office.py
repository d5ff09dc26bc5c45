"""What the commands ask of the running node about people and their use of it: a thin servicer.

Rule of this file: no handler holds a try; errors become a status in `local_server`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from candor_node import approvals, office, permits, reviews, subjects, users
from candor_node.approvals import Approval, ApprovalId
from candor_node.doors import Context, acting
from candor_node.local_view import moment
from candor_node.reviews import Review, Week
from candor_node.store import Database
from candor_node.users import NewUser, User
from candor_proto.errors import InputInvalid
from candor_proto.normalise import Particulars
from candor_records.detectors import WEEK
from candor_records.roles import Operation, Role
from candor_wire.v1 import office_pb2 as pb
from candor_wire.v1 import office_pb2_grpc

if TYPE_CHECKING:
    from candor_node.app import Node

OPERATIONS: Mapping[str, Operation] = {
    "AddUser": Operation.MANAGE_USERS,
    "ListUsers": Operation.VIEW_STATUS,
    "ChangeRoles": Operation.MANAGE_USERS,
    "DisableUser": Operation.MANAGE_USERS,
    "RenewToken": Operation.MANAGE_USERS,
    "ReleaseUser": Operation.MANAGE_USERS,
    "ListApprovals": Operation.VIEW_APPROVALS,
    "ShowApproval": Operation.VIEW_APPROVALS,
    "DecideApproval": Operation.DECIDE_APPROVALS,
    "WithdrawApproval": Operation.VIEW_APPROVALS,
    "MarkSensitive": Operation.MARK_SENSITIVE,
    "ListSensitive": Operation.MARK_SENSITIVE,
    "UnmarkSensitive": Operation.MARK_SENSITIVE,
    "WeeklyReview": Operation.REVIEW_USE,
    "SignReview": Operation.REVIEW_USE,
}


class OfficeServicer(office_pb2_grpc.OfficeServiceServicer):
    """One method a command; whatever they do is done elsewhere."""

    def __init__(self, node: Node) -> None:
        self._node = node

    # --- users -------------------------------------------------------------------------------------------

    async def AddUser(self, request: pb.AddUserRequest, context: Context) -> pb.AddUserResponse:
        now, actor = self._node.clock.now(), acting(context)
        new = NewUser(
            request.user_id,
            _roles(request.roles),
            request.first,
            request.last,
            _day(request.active_from),
            _day(request.active_until),
        )

        def work(db: Database) -> pb.AddUserResponse:
            token, waiting = users.add(db, now, actor, new)
            held = office.propose_roles(db, now, actor, new.user_id, waiting, "role of a new user")
            user = _user(users.find(db, new.user_id), now)
            return pb.AddUserResponse(user=user, token=token, approval_id=str(held or ""))

        return await self._node.store.run(work)

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        now = self._node.clock.now()
        found = await self._node.store.run(users.list_users)
        return pb.ListUsersResponse(users=[_user(user, now) for user in found])

    async def ChangeRoles(self, request: pb.ChangeRolesRequest, context: Context) -> pb.ChangeRolesResponse:
        now, actor, user_id = self._node.clock.now(), acting(context), request.user_id
        give, take = _roles(request.give), _roles(request.take)

        def work(db: Database) -> pb.ChangeRolesResponse:
            waiting = users.change_roles(db, now, actor, user_id, give, take)
            held = office.propose_roles(db, now, actor, user_id, waiting, request.reason)
            return pb.ChangeRolesResponse(
                user=_user(users.find(db, user_id), now), approval_id=str(held or "")
            )

        return await self._node.store.run(work)

    async def DisableUser(self, request: pb.DisableUserRequest, context: Context) -> pb.DisableUserResponse:
        now, actor = self._node.clock.now(), acting(context)

        def work(db: Database) -> pb.UserView:
            users.disable(db, now, actor, request.user_id)
            return _user(users.find(db, request.user_id), now)

        return pb.DisableUserResponse(user=await self._node.store.run(work))

    async def RenewToken(self, request: pb.RenewTokenRequest, context: Context) -> pb.RenewTokenResponse:
        now, actor = self._node.clock.now(), acting(context)

        def work(db: Database) -> pb.RenewTokenResponse:
            token, waiting = users.renew_token(db, now, actor, request.user_id)
            held = office.propose_roles(db, now, actor, request.user_id, waiting, "a new token")
            return pb.RenewTokenResponse(token=token, approval_id=str(held or ""))

        return await self._node.store.run(work)

    async def ReleaseUser(self, request: pb.ReleaseUserRequest, context: Context) -> pb.ReleaseUserResponse:
        now, actor = self._node.clock.now(), acting(context)

        def work(db: Database) -> pb.UserView:
            users.release(db, now, actor, request.user_id)
            return _user(users.find(db, request.user_id), now)

        return pb.ReleaseUserResponse(user=await self._node.store.run(work))

    # --- approvals ---------------------------------------------------------------------------------------

    async def ListApprovals(
        self, request: pb.ListApprovalsRequest, context: Context
    ) -> pb.ListApprovalsResponse:
        found = await self._node.store.run(
            lambda db: [_approval(each) for each in approvals.list_approvals(db, pending=not request.all)]
        )
        return pb.ListApprovalsResponse(approvals=found)

    async def ShowApproval(
        self, request: pb.ShowApprovalRequest, context: Context
    ) -> pb.ShowApprovalResponse:
        approval_id = ApprovalId.parse(request.approval_id)
        now, actor = self._node.clock.now(), acting(context)

        def work(db: Database) -> pb.ApprovalView:
            return _whole(db, approvals.look(db, now, approval_id, actor))

        return pb.ShowApprovalResponse(approval=await self._node.store.run(work))

    async def DecideApproval(
        self, request: pb.DecideApprovalRequest, context: Context
    ) -> pb.DecideApprovalResponse:
        approval_id = ApprovalId.parse(request.approval_id)
        now, actor, executors = self._node.clock.now(), acting(context), self._node.executors
        # In a transaction of its own: what is refused is accounted for all the same.
        await self._node.store.run(lambda db: approvals.note_attempt(db, now, approval_id, actor))

        def work(db: Database) -> pb.ApprovalView:
            decided = approvals.decide(
                db, now, approval_id, actor, request.approve, request.reason, executors
            )
            return _approval(decided)

        view = await self._node.store.run(work)
        self._node.allowed_lookups.decided.set()
        self._node.batches.landing.changed.set()
        if request.approve:
            await self._node.aftermath.decided(Operation[view.operation])
        return pb.DecideApprovalResponse(approval=view)

    async def WithdrawApproval(
        self, request: pb.WithdrawApprovalRequest, context: Context
    ) -> pb.WithdrawApprovalResponse:
        approval_id = ApprovalId.parse(request.approval_id)
        now, actor = self._node.clock.now(), acting(context)
        done = await self._node.store.run(lambda db: approvals.withdraw(db, now, approval_id, actor))
        return pb.WithdrawApprovalResponse(approval=_approval(done))

    # --- sensitive subjects ------------------------------------------------------------------------------

    async def MarkSensitive(
        self, request: pb.MarkSensitiveRequest, context: Context
    ) -> pb.MarkSensitiveResponse:
        now, by = self._node.clock.now(), acting(context).user
        about = Particulars(
            first=request.first,
            middle=request.middle,
            last=request.last,
            former_last=request.former_last,
            birth_date=request.birth_date,
            ssn4=request.ssn4,
            post_state=request.post_state,
            post_id=request.post_id,
        )
        mark_id = await self._node.store.run(lambda db: subjects.mark(db, now, about, request.reason, by))
        return pb.MarkSensitiveResponse(mark_id=mark_id)

    async def ListSensitive(
        self, request: pb.ListSensitiveRequest, context: Context
    ) -> pb.ListSensitiveResponse:
        found = await self._node.store.run(subjects.marks)
        return pb.ListSensitiveResponse(
            marks=[
                pb.SensitiveMark(
                    mark_id=each.mark_id,
                    reason=each.reason,
                    marked_by=each.marked_by,
                    marked_at=moment(each.marked_at),
                    removed_by=each.removed_by,
                    removed_at=moment(each.removed_at),
                )
                for each in found
            ]
        )

    async def UnmarkSensitive(
        self, request: pb.UnmarkSensitiveRequest, context: Context
    ) -> pb.UnmarkSensitiveResponse:
        now, by = self._node.clock.now(), acting(context).user
        mark_id = request.mark_id.strip().lower()
        await self._node.store.run(lambda db: subjects.unmark(db, now, mark_id, request.reason, by))
        return pb.UnmarkSensitiveResponse()

    # --- weekly review -----------------------------------------------------------------------------------

    async def WeeklyReview(
        self, request: pb.WeeklyReviewRequest, context: Context
    ) -> pb.WeeklyReviewResponse:
        now, actor = self._node.clock.now(), acting(context)
        week = Week.parse(request.week) if request.week else Week.of(now - WEEK)
        found = await self._node.store.run(lambda db: reviews.open_review(db, week, now, actor))
        return _review(found)

    async def SignReview(self, request: pb.SignReviewRequest, context: Context) -> pb.SignReviewResponse:
        now, actor, week = self._node.clock.now(), acting(context), Week.parse(request.week)
        digest = _digest(request.digest)
        signed = await self._node.store.run(
            lambda db: reviews.sign(db, week, now, actor, digest, request.note)
        )
        return pb.SignReviewResponse(signed_at=moment(signed.signed_at))


# --- as messages -----------------------------------------------------------------------------------------


def _roles(texts: Iterable[str]) -> frozenset[Role]:
    return frozenset(Role.parse(text) for text in texts)


def _day(text: str) -> datetime | None:
    if not text:
        return None
    try:
        return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError:
        raise InputInvalid("A day is written as 2026-11-30.", remedy="Correct the date.") from None


def _digest(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise InputInvalid("This is not the digest of a review.", remedy="Copy it from the review.") from None


def _user(user: User, now: datetime) -> pb.UserView:
    return pb.UserView(
        user_id=user.user_id,
        roles=[role.value for role in Role if role in user.roles],
        state=user.state(now),
        active_from=moment(user.active_from),
        active_until=moment(user.active_until),
        disabled_at=moment(user.disabled_at),
        locked_at=moment(user.locked_at),
        created_by=user.created_by,
        created_at=moment(user.created_at),
        name_known=user.full_name is not None,
    )


def _approval(approval: Approval) -> pb.ApprovalView:
    return pb.ApprovalView(
        approval_id=str(approval.approval_id),
        operation=approval.operation.value,
        about=approval.about,
        state=approval.state.value,
        proposed_by=approval.proposed_by,
        proposed_at=moment(approval.proposed_at),
        expires_at=moment(approval.expires_at),
        decided_by=approval.decided_by,
        decided_at=moment(approval.decided_at),
        readable=approval.readable,
    )


def _whole(db: Database, approval: Approval) -> pb.ApprovalView:
    view = _approval(approval)
    view.reason, view.decision_reason = approval.reason, approval.decision_reason
    view.arguments.update(approval.arguments)
    search_id, trouble = permits.outcome(db, approval.approval_id)
    view.lookup_id, view.trouble = str(search_id or ""), trouble
    return view


def _review(review: Review) -> pb.WeeklyReviewResponse:
    signed = review.signature
    return pb.WeeklyReviewResponse(
        week=str(review.week),
        starts=moment(review.week.start),
        ends=moment(review.week.end),
        sections=[
            pb.ReviewSection(
                title=each.title,
                words=each.words,
                head=each.head,
                rows=[pb.ReviewRow(cells=row) for row in each.rows],
            )
            for each in review.sections
        ],
        digest=review.digest.hex(),
        signed_by=signed.signed_by if signed else "",
        signed_at=moment(signed.signed_at if signed else None),
        notes=review.notes,
    )
