"""What the commands ask of the running node about lookups, and about what late answers changed.

Rule of this file: no handler holds a try; errors become a status in `local_server`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio

from candor_node import amendments, local_view, lookup_store
from candor_node.amendments import Account
from candor_node.cases import SearchView, load_view
from candor_node.doors import acting, officer_of, speaking_as
from candor_node.logs import log
from candor_node.rechecking import recheck_hits
from candor_node.service_batch import BatchMethods
from candor_node.store import Database
from candor_proto.errors import AlreadyExists, CandorError, InputInvalid, UnknownObject
from candor_proto.ids import LookupId
from candor_wire.v1 import local_pb2 as pb

Context = grpc.aio.ServicerContext[Any, Any]
MAX_LISTED = 500


class LookupMethods(BatchMethods):
    """The methods about lookups and batches; mixed into `LocalServicer`."""

    _asking: set[asyncio.Task[SearchView]]

    async def Lookup(self, request: pb.LookupRequest, context: Context) -> AsyncIterator[pb.LookupResponse]:
        steps: asyncio.Queue[tuple[int, int]] = asyncio.Queue()
        wait_seconds = request.wait_seconds or self._node.config.lookup_wait_seconds
        if not 0 < wait_seconds <= 3600:
            raise InputInvalid("A lookup waits between 0 and 3600 seconds.")
        officer, user = officer_of(context, request.officer), acting(context).user
        question = replace(local_view.read_question(request), officer=officer, user=user)
        # A command that goes away does not stop the lookup: it was sent, and its result is kept.
        asking = asyncio.create_task(
            self._node.searcher.ask(
                question,
                wait_seconds,
                lambda settled, asked: steps.put_nowait((settled, asked)),
            )
        )
        self._asking.add(asking)
        asking.add_done_callback(self._asked)
        while not asking.done() or not steps.empty():
            step = asyncio.create_task(steps.get())
            await asyncio.wait({step, asking}, return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                step.cancel()
                continue
            settled, asked = step.result()
            yield pb.LookupResponse(progress=pb.LookupProgress(settled=settled, asked=asked))
        view = await asking
        yield pb.LookupResponse(result=local_view.lookup(view, self._name))
        # A client that has gone away was not shown it, and this is not reached.
        await self._node.store.run(lambda db: self._look(db, view, user))

    def _asked(self, task: asyncio.Task[SearchView]) -> None:
        self._asking.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.info("a lookup was not made", exc_info=task.exception())

    def _look(self, db: Database, view: SearchView, user: str) -> None:
        if view.result is not None:
            amendments.look(db, view.row.search_id, user, view.row.revision, self._node.clock.now())

    async def GetLookup(self, request: pb.GetLookupRequest, context: Context) -> pb.GetLookupResponse:
        search_id = await self.search_id(request.lookup_id, request.row)
        shown = await self._shown(search_id, acting(context).user, looked=not request.in_passing)
        return pb.GetLookupResponse(lookup=shown)

    async def _shown(self, search_id: LookupId, user: str, *, looked: bool = True) -> pb.LookupView:
        """A result as it is now; if `looked`, `user` has seen it from now on."""
        indexes, now = self._node.indexes.vouched(), self._node.clock.now()

        def work(db: Database) -> pb.LookupView:
            view = load_view(db, search_id)
            rechecked = recheck_hits(db, search_id, view.hits, indexes, now)
            told = amendments.account(db, view.row, user)
            if looked:
                self._look(db, view, user)
            return local_view.lookup(view, self._name, rechecked, told)

        return await self._node.store.run(work)

    async def ListLookups(self, request: pb.ListLookupsRequest, context: Context) -> pb.ListLookupsResponse:
        limit, user, case = at_most(request.limit, 100), acting(context).user, request.case_number

        def listed(db: Database) -> list[LookupId]:
            if request.news:
                return amendments.news(db, user, limit)
            return [row.search_id for row in lookup_store.list_searches(db, limit, case=case)]

        def work(db: Database) -> list[tuple[SearchView, Account]]:
            views = [load_view(db, search_id) for search_id in listed(db)]
            return [(view, amendments.account(db, view.row, user)) for view in views]

        found = [
            local_view.lookup(view, self._name, account=told)
            for view, told in await self._node.store.run(work)
        ]
        for one in found:
            # Lists are for finding; what changed when is shown one by one.
            one.ClearField("revisions")
        return pb.ListLookupsResponse(lookups=found)

    async def SeenLookup(self, request: pb.SeenLookupRequest, context: Context) -> pb.SeenLookupResponse:
        search_id, by = await self.search_id(request.lookup_id, request.row), speaking_as(context, request.by)
        now = self._node.clock.now()

        def work(db: Database) -> int:
            load_view(db, search_id).row.check_kept()
            return amendments.acknowledge(db, search_id, by, now)

        acknowledged = await self._node.store.run(work)
        view = await self._shown(search_id, by, looked=False)
        return pb.SeenLookupResponse(lookup=view, acknowledged=acknowledged)

    async def search_id(self, text: str, row: int = 0) -> LookupId:
        """Of a lookup as people name it, or of a row of a batch."""
        if row:
            return await self._row_search(text, row)
        prefix = id_prefix(text, "lookup")
        found = await self._node.store.run(lambda db: lookup_store.searches_named(db, prefix))
        if len(found) != 1:
            raise none_or_many(text, "lookup", len(found))
        return found[0]


def at_most(wanted: int, most: int = MAX_LISTED) -> int:
    return min(wanted, most) if wanted else most


def id_prefix(text: str, what: str) -> str:
    """An id or its beginning, as people type it."""
    prefix = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{4,32}", prefix):
        raise InputInvalid(
            f"{text[:40]!r} is not the id of a {what}.",
            remedy="Give the id, or at least its first four digits.",
        )
    return prefix


def none_or_many(text: str, what: str, found: int) -> CandorError:
    if found:
        return AlreadyExists(f"Several {what}s begin with {text[:40]}.", remedy="Give more of the id.")
    return UnknownObject(f"There is no {what} {text[:40]}.", remedy=f"List the {what}s to see their ids.")
