"""Who acts on the local socket, and whether they may (RECORDS.md §7.3, CJIS AC-3 and AC-7).

Rules of this file:
- every method of every local service has an `Operation`; one without is refused, whoever calls it;
- the one method that needs no signing in is `Status`: counts and states, for whoever watches the machine;
- who acts is what was signed in with, never what a message says: a message that names somebody else in
  `by`, `officer`, `contributor` or `confirmed_by` is refused (`speaking_as`);
- failures and refusals are accounted for in a transaction of their own, before the caller hears of them.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import grpc
import grpc.aio

from candor_node import users
from candor_node.badge import shown
from candor_node.clock import Clock
from candor_node.store import Database, Store
from candor_proto.errors import CandorError, IdentityMismatch, NotAuthenticated, WrongRole
from candor_records.roles import ALL_ROLES, Actor, Operation, same_user

WITHOUT_SIGNING_IN = frozenset({"/candor.v1.LocalService/Status"})

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Entered:
    """Who has come in; `signed_in` is False at an open node, where a name proves nothing."""

    actor: Actor
    signed_in: bool


_entered: ContextVar[Entered] = ContextVar("candor_entered")


def acting(context: Context) -> Actor:
    """Who calls the method that is running. Raises NotAuthenticated outside of one."""
    return entered(context).actor


def entered(context: Context) -> Entered:
    """`context` says that this belongs into a handler; what came in with the call hangs on its task."""
    found = _entered.get(None)
    if found is None:
        raise NotAuthenticated("Nobody has come in through the doors.")
    return found


def speaking_as(context: Context, named: str) -> str:
    """Whom a message names, who must be who acts; raises IdentityMismatch.

    Left empty it is who acts. At an open node nobody can tell, and what is named holds.
    """
    found = entered(context)
    if not named.strip():
        return found.actor.user
    if found.signed_in and not same_user(named, found.actor.user):
        raise IdentityMismatch(
            "This names somebody else than the user who is signed in.",
            remedy="Leave the name out, or sign in as the user it names.",
        )
    return found.actor.user if found.signed_in else named.strip()


def officer_of(context: Context, named: str) -> str:
    """The officer in charge of what is asked: once users are registered that is who acts.

    At an open node it is whoever is named, and nobody if nobody is: the papers are then refused.
    """
    return speaking_as(context, named) if entered(context).signed_in else named


def methods(operations: Mapping[str, Operation], module: ModuleType, service: str) -> dict[str, Operation]:
    """`operations` by method name, as gRPC names the methods of `service` in a generated module."""
    full_name = module.DESCRIPTOR.services_by_name[service].full_name
    return {f"/{full_name}/{name}": operation for name, operation in operations.items()}


class Doors(grpc.aio.ServerInterceptor):
    """Lets in who may do what they come for. Stands behind what turns errors into a status."""

    def __init__(self, store: Store, clock: Clock, operations: Mapping[str, Operation]) -> None:
        """`operations` by full method name."""
        self._store = store
        self._clock = clock
        self._operations = operations

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method: str = getattr(handler_call_details, "method", "")
        metadata = dict(getattr(handler_call_details, "invocation_metadata", None) or ())

        async def enter() -> None:
            _entered.set(await self._enter(method, metadata))

        parts = handler.request_deserializer, handler.response_serializer
        if handler.request_streaming and handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(_behind_all(enter, handler.stream_stream), *parts)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(_behind_all(enter, handler.unary_stream), *parts)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(_behind(enter, handler.stream_unary), *parts)
        return grpc.unary_unary_rpc_method_handler(_behind(enter, handler.unary_unary), *parts)

    async def _enter(self, method: str, metadata: Mapping[str, str | bytes]) -> Entered:
        """Raises NotAuthenticated or WrongRole."""
        operation = self._operations.get(method)
        if operation is None:
            raise WrongRole("This method has no operation in the table of roles, so nobody may call it.")
        user, token = shown(metadata)
        if method in WITHOUT_SIGNING_IN:
            return Entered(Actor(user.strip() or users.NOBODY, ALL_ROLES), signed_in=False)
        now = self._clock.now()

        def work(db: Database) -> tuple[Actor | CandorError, bool]:
            return users.sign_in(db, now, user, token, operation), users.registered(db)

        found, signed_in = await self._store.run(work)
        if not isinstance(found, Actor):
            raise found
        return Entered(found, signed_in)


def _behind(
    enter: Callable[[], Awaitable[None]], behaviour: Callable[[Any, Context], Awaitable[Any]]
) -> Callable[[Any, Context], Awaitable[Any]]:
    async def entered_first(request: Any, context: Context) -> Any:
        await enter()
        return await behaviour(request, context)

    return entered_first


def _behind_all(
    enter: Callable[[], Awaitable[None]], behaviour: Callable[[Any, Context], AsyncIterator[Any]]
) -> Callable[[Any, Context], AsyncIterator[Any]]:
    async def entered_first(request: Any, context: Context) -> AsyncIterator[Any]:
        await enter()
        responses = behaviour(request, context)
        assert inspect.isasyncgen(responses)
        async for response in responses:
            yield response

    return entered_first
