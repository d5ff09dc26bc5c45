"""Parties, their lives and deaths, what clients ask of them, and the check at the end."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from candor_hub.app import Hub
from candor_hub.config import Config
from candor_node import importer, local_server, workers
from candor_node import store as node_store
from candor_node.app import Node
from candor_node.cases import SearchView
from candor_node.config import NodeConfig
from candor_node.import_outcome import ImportReport
from candor_node.outbox import is_final
from candor_node.publisher import Publication
from candor_proto.canonical import to_milliseconds
from candor_proto.errors import CandorError, StoreUnusable
from candor_proto.ids import LookupId, LookupShape, Ori, RequestId
from tests.federation import instead, question
from tests.history import Fault, History, Name, Operation, check, read_hub, read_node
from tests.records import csv_bytes
from tests.simulator.faults import Plan, Rates, Trouble
from tests.simulator.network import Channel, HubEnd, Network, auth_context
from tests.simulator.template import START, copied, new_folder
from tests.simulator.virtual_time import Inline, VirtualClock, VirtualLoop, run

T = TypeVar("T")
Scene = Callable[["Federation"], Awaitable[None]]
# Between a death and the next life, at most.
RESTART_SECONDS = 10.0
JOURNAL_SECONDS = 3_600.0
# How long everything may take to finish once nothing goes wrong any more.
FINISH_SECONDS = 3_600
LOOK_SECONDS = 20.0


class Killed(BaseException):
    """The process is dead: nothing after this happened. Not an Exception, for nobody may handle it."""


@dataclass
class Life:
    """One run of one node: from its start to its death."""

    party: Party
    node: Node
    dead: bool = False
    clients: set[asyncio.Task[Any]] = field(default_factory=set)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def check(self) -> None:
        if self.dead:
            raise Killed(self.party.name)


@dataclass
class Party:
    """An agency; `life` is None while its node is down."""

    name: str
    config: NodeConfig
    life: Life | None = None
    records: list[str] = field(default_factory=list)

    @property
    def node(self) -> Node:
        """The running node; raises Killed when it is down."""
        if self.life is None:
            raise Killed(self.name)
        return self.life.node


def _leave_untidy(node: Node) -> None:
    """What dies tidies nothing up: the rows of what the hub has stay, and are sent again; the journal of the
    ledger does not say that it ended."""
    node.outbox._accepted = frozenset()

    async def unsaid() -> None:
        """Nothing is written any more."""

    instead(node.journals, "close", unsaid)


class _NoLocalServer:
    """Commands are called directly: a socket would bring real time into the loop."""

    def __init__(self, node: Node) -> None:
        pass

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass


class Federation:
    """A hub and its members in one loop; everything that happens to them is asked of `plan` first."""

    begins_at = START

    def __init__(
        self, folder: Path, loop: VirtualLoop, agencies: int, plan: Plan, changes: dict[str, Any]
    ) -> None:
        self._loop = loop
        self.clock = VirtualClock(loop, self.begins_at)
        self.plan = plan
        self.network = self.network_of(plan)
        self.history = History()
        self.hub: Hub | None = None
        config, configs = self.founded(folder, agencies)
        self.hub_config: Config = config
        settings = {"publish_interval_hours": 0.0, **changes}
        self.parties = [Party(config.node, config.model_copy(update=settings)) for config in configs]
        self._tasks: set[asyncio.Task[Any]] = set()
        self._restarts = True
        self.broken: list[BaseException | None] = []

    def founded(self, folder: Path, agencies: int) -> tuple[Config, list[NodeConfig]]:
        """The parties' databases in `folder`, and their settings."""
        return copied(folder, agencies)

    def network_of(self, plan: Plan) -> Network:
        """What passes calls and frames; another one may do so less honestly."""
        return Network(plan, self.hub_dies)

    # --- lives -------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all, and wait until each holds every index."""
        await self.start_hub()
        for party in self.parties:
            await self.start_node(party)
        await self.settled()

    async def start_hub(self, **changes: Any) -> None:
        """Start the hub on what it stored; `changes` replace settings."""
        self.hub_config = replace(self.hub_config, **changes)
        hub = Hub(self.hub_config, self.clock)
        # How busy this machine is decides nothing in virtual time.
        hub.turns.gauge.used = lambda: 0.0
        self._trouble_hub_store(hub)
        await hub.prepare()
        hub.work()
        self.hub, self.network.hub = hub, HubEnd(hub)

    async def stop_hub(self) -> None:
        """Stop the hub; nobody calls it any more."""
        end, hub = self.network.hub, self.hub
        self.network.hub = self.hub = None
        if end is not None and hub is not None:
            await end.stop()
            await hub.stop(0)

    async def hub_dies(self) -> None:
        """The hub is gone, calls under way with it; it comes back by itself after a while."""
        if self.hub is None:
            return
        # Whoever is told of it may be cancelled meanwhile; the hub comes back all the same.
        gone = asyncio.Event()
        self._background(self._hub_returns(gone))
        await gone.wait()

    async def _hub_returns(self, gone: asyncio.Event) -> None:
        await self.stop_hub()
        gone.set()
        await asyncio.sleep(self.plan.draw.random() * RESTART_SECONDS)
        if self._restarts:
            await self._hub_again()

    async def _hub_again(self) -> None:
        while self.hub is None:
            try:
                await self.start_hub()
            except StoreUnusable:
                await asyncio.sleep(1.0)

    async def start_node(self, party: Party) -> Node:
        life: Life

        def alive() -> None:
            life.check()

        auth = auth_context(party.config)
        channel: Any = Channel(self.network, party.name, auth, alive)
        node = Node(party.config, self.clock, lambda _: channel)
        # A month has millions of seconds, and each of them would be a step here; acts ship by themselves.
        node.journals.ship_seconds = JOURNAL_SECONDS
        life = Life(party, node)
        self._trouble_store(life)
        party.life = life
        await node.start()
        self._background(self._watch(life))
        return node

    async def stop_node(self, party: Party) -> None:
        """As an operator stops it."""
        life, party.life = party.life, None
        if life is not None:
            await life.node.stop()
            life.dead = True
            life.ended.set()

    def kill(self, party: Party, *, restart: bool = True) -> None:
        """The node's process dies now: no transaction after this one, no reply, no farewell."""
        life = party.life
        if life is not None and not life.dead:
            life.dead, party.life = True, None
            self._background(self._bury(life, restart))

    async def _bury(self, life: Life, restart: bool) -> None:
        for task in life.clients:
            task.cancel()
        _leave_untidy(life.node)
        await life.node.stop()
        life.ended.set()
        if restart:
            await asyncio.sleep(self.plan.draw.random() * RESTART_SECONDS)
            if self._restarts and life.party.life is None:
                await self._start_again(life.party)

    async def _start_again(self, party: Party) -> None:
        """Until it starts: what goes wrong may go wrong at a start as well."""
        while party.life is None:
            try:
                await self.start_node(party)
            except (StoreUnusable, Killed):
                await self._stillborn(party)
                await asyncio.sleep(1.0)

    @staticmethod
    async def _stillborn(party: Party) -> None:
        life, party.life = party.life, None
        if life is not None and not life.dead:
            life.dead = True
            _leave_untidy(life.node)
            await life.node.stop()

    async def restart(self, party: Party) -> Node:
        """Kill it and start it again at once, on what it stored."""
        life = party.life
        self.kill(party, restart=False)
        if life is not None:
            await life.ended.wait()
        return await self.start_node(party)

    async def _watch(self, life: Life) -> None:
        """A node that gives up is started again by the machine it runs on."""
        failed = asyncio.ensure_future(life.node.failure())
        ended = asyncio.ensure_future(life.ended.wait())
        await asyncio.wait({failed, ended}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done() and not life.dead:
            failed.exception()
            self.plan.log.append(f"{life.party.name}: gave up")
            self.kill(life.party)
        for each in (failed, ended):
            each.cancel()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        # From a node's thread as well: the loop stands still while it works.
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.plan.log.append(f"the simulator itself failed: {task.exception()!r}")
            self.broken.append(task.exception())

    # --- troubles of databases ---------------------------------------------------------------------------

    def _trouble_store(self, life: Life) -> None:
        """Every transaction of a node passes the plan, under the name of who runs it."""
        store: Any = life.node.store
        run_sync = store.run_sync

        def before(work: Any) -> tuple[Trouble | None, Any]:
            life.check()
            trouble = self.plan.at("transaction", f"transaction {_name(work)}", life.party.name)
            if trouble is Trouble.DIES_BEFORE:
                self.kill(life.party)
                life.check()
            if trouble is Trouble.NOT_STORED:
                return trouble, partial(_undone, work)
            return trouble, work

        def after(trouble: Trouble | None) -> None:
            if trouble is Trouble.DIES_AFTER:
                self.kill(life.party)
            life.check()
            if trouble is Trouble.STORED_UNTOLD:
                raise StoreUnusable("The disk failed. Whether the last step was stored is not known.")

        async def troubled(work: Any) -> Any:
            trouble, given = before(work)
            # Through the executor, which virtual time knows of: one piece of work at a time.
            result = await asyncio.get_running_loop().run_in_executor(None, run_sync, given)
            after(trouble)
            return result

        def troubled_sync(work: Any) -> Any:
            trouble, given = before(work)
            result = run_sync(given)
            after(trouble)
            return result

        store.run, store.run_sync = troubled, troubled_sync

    def _trouble_hub_store(self, hub: Hub) -> None:
        """The same of the hub, whose bodies run inside a transaction that several may share."""
        store: Any = hub._store
        write = store.write

        @contextmanager
        def body(trouble: Trouble | None) -> Iterator[Any]:
            with write() as tx:
                yield tx
                if trouble in (Trouble.NOT_STORED, Trouble.DIES_BEFORE):
                    raise StoreUnusable("The disk is full; nothing of this step was stored.")
            if trouble is not None:
                raise StoreUnusable("The disk failed. Whether the last step was stored is not known.")

        def troubled() -> Any:
            who = sys._getframe(1).f_code.co_qualname
            return body(self.plan.at("transaction", f"hub transaction {who}", "hub"))

        store.write = troubled

    # --- clients -----------------------------------------------------------------------------------------

    async def file(self, party: Party, rows: Iterable[dict[str, str]], *, publish: bool = True) -> None:
        """Import rows and publish them, as `candor-node import` does where publication is at once."""
        listed = list(rows)
        operation = self.history.invoke(
            "import", party.name, records=[row["agency_record_id"] for row in listed]
        )
        party.records += operation.what["records"]
        report = await self._client(party, operation, lambda node: _import(node, listed))
        assert not report.errors, report.errors
        self.history.ok(operation)
        if publish:
            await self.publish(party)

    async def publish(self, party: Party, *, rotate: bool = False) -> Publication:
        operation = self.history.invoke("publish", party.name)
        publication = await self._client(
            party, operation, lambda node: node.publishing.publish(rotate=rotate)
        )
        self.history.ok(operation, sequence=publication.head.sequence)
        return publication

    async def ask(
        self,
        party: Party,
        *,
        case: str,
        wait_seconds: float = 30.0,
        shape: LookupShape = LookupShape.DETAILED,
        expect: str | None = None,
        **person: str,
    ) -> SearchView:
        """Ask about the officer of `make_row`, with `person` in what the applicant wrote."""
        asked = question(case=case, shape=shape, person=person)
        operation = self.history.invoke("lookup", party.name, case=case, expect=expect)
        view = await self._client(party, operation, lambda node: node.searcher.ask(asked, wait_seconds))
        overall = view.result.overall.value if view.result else ""
        self.history.ok(operation, search_id=str(view.row.search_id), overall=overall)
        return view

    async def disclose(self, party: Party, search_id: LookupId, hit: int) -> RequestId:
        operation = self.history.invoke("disclosure", party.name, search_id=str(search_id), hit=hit)
        request_id = await self._client(
            party, operation, lambda node: node.requester.send(search_id, hit, "Inv. Dana Roe")
        )
        self.history.ok(operation, request_id=str(request_id))
        return request_id

    async def _client(
        self, party: Party, operation: Operation, make: Callable[[Node], Coroutine[Any, Any, T]]
    ) -> T:
        """Run one command; the client's connection breaks when its node dies."""
        life = party.life
        if life is None:
            self.history.fail(operation, "not running")
            raise Killed(party.name)
        task = asyncio.get_running_loop().create_task(make(life.node))
        life.clients.add(task)
        try:
            return await task
        except CandorError as error:
            if is_final(error):
                self.history.fail(operation, error.code)
            else:
                self.history.unknown(operation, error.code)
            raise
        except (Killed, asyncio.CancelledError):
            self.history.unknown(operation, "killed")
            if not life.dead:
                raise
            raise Killed(party.name) from None
        finally:
            life.clients.discard(task)

    # --- waiting -----------------------------------------------------------------------------------------

    async def until(
        self, condition: Callable[[], bool], seconds: float = 600.0, step_seconds: float = 0.1
    ) -> None:
        """Wait until `condition` holds; `seconds` are virtual."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(step_seconds)

    async def eventually(
        self, look: Callable[[], Awaitable[T]], condition: Callable[[T], bool], seconds: float = 600.0
    ) -> T:
        async with asyncio.timeout(seconds):
            while not condition(found := await look()):
                await asyncio.sleep(0.1)
        return found

    async def settled(self) -> None:
        """Wait until every running node holds the newest directory and every index in it."""

        def holds(node: Node) -> bool:
            newest = 0 if self.hub is None else self.hub.directory.latest().version
            held = node.indexes
            return held.version == newest and held.complete() and len(held.indexes) == len(self.parties)

        await self.until(lambda: all(party.life is not None and holds(party.node) for party in self.parties))

    def sequence_at_hub(self, party: Party) -> int:
        """Of the index head that the hub shows of a party; 0 when it is down or shows none."""
        head = None if self.hub is None else self.hub.directory.latest().view.head(party.config.node_id)
        return head.sequence if head else 0

    # --- the end -----------------------------------------------------------------------------------------

    async def finish(self) -> None:
        """Nothing goes wrong any more: all come back, and everything has to finish."""
        self.plan.heal()
        self.network.cut.clear()
        await self._hub_again()
        for party in self.parties:
            if party.life is None:
                await self._start_again(party)
        for _ in range(int(FINISH_SECONDS / LOOK_SECONDS)):
            if not any(fault.name in (Name.UNFINISHED, Name.LOST) for fault in self.look(settled=True)):
                break
            await asyncio.sleep(LOOK_SECONDS)

    async def close(self) -> None:
        self._restarts = False
        for party in self.parties:
            await self.stop_node(party)
        await self.stop_hub()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def look(self, *, settled: bool = False) -> list[Fault]:
        """What the history checker says now."""
        nodes = [read_node(party.config, party.records) for party in self.parties]
        now = to_milliseconds(self.clock.now())
        return check(self.history.operations, nodes, read_hub(self.hub_config), now, settled=settled)


class Simulator:
    """Plays scenes; every one ends with a check."""

    def __init__(self) -> None:
        self.played = 0
        self.checked = 0

    def play(
        self,
        scene: Scene,
        *,
        agencies: int = 3,
        seed: int = 7,
        rates: Rates | None = None,
        **changes: Any,
    ) -> Plan:
        """Play `scene` and check; `rates` are of troubles that come by themselves, once all have started.

        `changes` replace settings of the nodes. Prints the plan when anything fails.
        """
        self.played += 1
        plan = Plan(seed)
        state = random.getstate()
        random.seed(f"program {seed}")
        try:
            with (
                new_folder() as folder,
                patch.object(local_server, "LocalServer", _NoLocalServer),
                patch.object(node_store, "ThreadPoolExecutor", Inline),
                patch.object(workers, "ThreadPoolExecutor", Inline),
            ):
                faults = run(
                    seed,
                    lambda loop: _played(
                        Federation(Path(folder), loop, agencies, plan, changes), scene, rates or Rates()
                    ),
                )
            self.checked += 1
            assert not faults, "\n".join(map(str, faults))
        except BaseException:
            print(plan)
            raise
        finally:
            random.setstate(state)
        return plan


async def _played(fed: Federation, scene: Scene, rates: Rates) -> list[Fault]:
    try:
        await fed.start()
        fed.plan.rates = rates
        await scene(fed)
        assert not fed.plan.unfulfilled(), fed.plan.unfulfilled()
        await fed.finish()
    finally:
        await fed.close()
    assert not fed.broken, fed.broken
    return fed.look(settled=True)


async def _import(node: Node, rows: list[dict[str, str]]) -> ImportReport:
    content, now = csv_bytes(rows), node.clock.now()
    return await node.store.run(
        lambda db: importer.import_csv(
            db, content, now, Ori(node.config.oris[0]), node.config.node_id, "clerk-7"
        )
    )


def _name(work: Any) -> str:
    """Who runs a transaction: "Answerer.process", "Outbox.send"."""
    named = work.func if isinstance(work, partial) else work
    return str(getattr(named, "__qualname__", type(named).__name__)).partition(".<locals>")[0]


def _undone(work: Any, db: Any) -> Any:
    work(db)
    raise StoreUnusable("The disk is full; nothing of this step was stored.")


def hours(number: float) -> timedelta:
    return timedelta(hours=number)
