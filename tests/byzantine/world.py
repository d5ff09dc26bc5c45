"""The federation of a case: who is in it, what they do, and what can be seen of them.

alpha asks; bravo holds a record of the officer asked about; charlie holds one of somebody else. What people
see is what the node's own commands read (candor_node.service), what parties hold is their databases.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from candor_hub.app import Hub
from candor_hub.config import Config
from candor_node import doors, ledger, request_store
from candor_node.accountability import reviewing
from candor_node.accountability.reviewing import Reviewed
from candor_node.app import Node
from candor_node.cases import SearchView
from candor_node.config import NodeConfig
from candor_node.doors import Entered
from candor_node.request_store import SentRequest
from candor_node.service import LocalServicer
from candor_node.service_accountability import AccountabilityServicer
from candor_node.service_recalls import RecallServicer
from candor_node.store import Database
from candor_node.tlog.view import LogView
from candor_proto.accountability.draw import Month
from candor_proto.disclosure import RequesterState
from candor_proto.errors import CandorError
from candor_proto.ids import LookupId, RequestId
from candor_records.roles import ALL_ROLES, Actor
from candor_wire.codec import Envelope
from candor_wire.v1 import accountability_pb2, recall_local_pb2
from candor_wire.v1 import local_pb2 as pb
from tests.byzantine.hub import LyingNetwork
from tests.records import make_row
from tests.simulator.faults import Plan
from tests.simulator.federation import Federation, Party
from tests.simulator.template import copied_from, founded
from tests.simulator.virtual_time import VirtualLoop

# Tables that account for messages, whatever became of them, and such as time alone changes.
ACCOUNTS = frozenset(
    {
        *("inbox", "ledger", "ledger_head", "approvals", "search_traces"),
        *("tlog_received", "tlog_contradictions", "witness_cosigned", "evidence", "evidence_octets"),
        *("held_heads", "logged_heads", "logged_members", "seen_lookups"),
    }
)
# What follows the log while it goes on, whatever else happens.
LOG = frozenset(
    {
        *("tlog_shards", "tlog_state", "tlog_requests", "tlog_directories", "tlog_witnessed"),
        *("tlog_commitments", "tlog_policies", "tlog_watched", "tlog_answered"),
    }
)
_VOLATILE = {"directory_state": ("received_at",)}


class ByzantineFederation(Federation):
    """The simulator's, with a hub that may lie; `template` is where it begins, if not at its founding."""

    network: LyingNetwork
    # A few hours before a month ends: what waits for the calendar has not long to wait.
    begins_at = datetime(2026, 3, 31, 18, 0, tzinfo=UTC)

    def __init__(
        self,
        folder: Path,
        loop: VirtualLoop,
        agencies: int,
        plan: Plan,
        changes: dict[str, Any],
        template: Path | None,
    ) -> None:
        self.template = template
        super().__init__(folder, loop, agencies, plan, changes)

    def founded(self, folder: Path, agencies: int) -> tuple[Config, list[NodeConfig]]:
        template = self.template or Path(founded(agencies, self.begins_at).name)
        return copied_from(template, folder, agencies)

    def network_of(self, plan: Plan) -> LyingNetwork:
        return LyingNetwork(plan, self.hub_dies, now=self._loop.time)


@dataclass
class World:
    """What a case plays in. `refusals` are (party, code) of all that honest parties refused."""

    fed: ByzantineFederation
    logs: list[Any]
    # Whose tables are compared: of whom the case says that it refuses.
    watched: str = ""
    refusals: list[tuple[str, str]] = field(default_factory=list)
    searches: list[LookupId] = field(default_factory=list)
    requests: list[RequestId] = field(default_factory=list)
    # The last entry of alpha's ledger before the case, and by party how much evidence there was.
    entries: int = 0
    evidence: Mapping[str, int] = field(default_factory=dict)
    before: Mapping[str, str] = field(default_factory=dict)
    noted: Counter[str] = field(default_factory=Counter)
    view: LogView | None = None
    began: float = 0.0

    # --- who ---------------------------------------------------------------------------------------------

    @property
    def alpha(self) -> Party:
        return self.fed.parties[0]

    @property
    def bravo(self) -> Party:
        return self.fed.parties[1]

    @property
    def charlie(self) -> Party:
        return self.fed.parties[2]

    def party(self, name: str) -> Party:
        return next(party for party in self.fed.parties if party.name == name)

    @property
    def lies(self) -> LyingNetwork:
        """The hub, as a liar."""
        return self.fed.network

    @property
    def hub(self) -> Hub:
        """The hub's honest half, keys and all."""
        assert self.fed.hub is not None
        return self.fed.hub

    # --- what they do ------------------------------------------------------------------------------------

    async def settle(self, seconds: float = 1.0) -> None:
        """Let what is under way arrive."""
        await asyncio.sleep(seconds)

    async def ask(self, case: str = "REQ-1", *, wait_seconds: float = 4.0, **person: str) -> SearchView:
        """alpha asks about the officer of whom bravo holds a record, or whoever `person` makes of her."""
        about: dict[str, Any] = dict(person)
        view = await self.fed.ask(self.alpha, case=case, wait_seconds=wait_seconds, **about)
        self.searches.append(view.row.search_id)
        return view

    async def request(self, view: SearchView) -> RequestId:
        """alpha asks for the record behind the first hit."""
        request_id = await self.fed.disclose(self.alpha, view.row.search_id, 1)
        self.requests.append(request_id)
        return request_id

    async def requested(
        self, request_id: RequestId, *states: RequesterState, seconds: float = 600.0
    ) -> SentRequest:
        """The request, once it is in one of these states."""
        known = await self.fed.eventually(
            lambda: self.alpha.node.store.run(lambda db: request_store.sent(db, request_id)),
            lambda known: known is not None and known.state in states,
            seconds,
        )
        assert known is not None
        return known

    async def opened(self) -> RequestId:
        """alpha has asked, requested and opened bravo's record."""
        request_id = await self.request(await self.ask())
        await self.requested(request_id, RequesterState.OPENED)
        return request_id

    async def refresh(self, party: Party | None = None) -> CandorError | None:
        """Fetch directory and indexes now; what it was refused with, if it was."""
        who = party or self.alpha
        try:
            await who.node.indexes.refresh()
        except CandorError as error:
            # The calendar's own refresh keeps it for `status` in the same way.
            who.node.indexes.last_error = error
            self.refusals.append((who.name, error.code))
            return error
        return None

    async def follow(self, party: Party | None = None) -> CandorError | None:
        """Fetch and take up the newest head now; what it was refused with, if it was."""
        who = party or self.alpha
        return await self.attempt(who.name, who.node.follower.follow())

    async def submit(self, party: Party, envelope: Envelope) -> CandorError | None:
        """Hand something in that was made by hand; what the hub says."""
        try:
            await party.node.hub.submit(envelope)
        except CandorError as error:
            self.refusals.append(("hub", error.code))
            return error
        return None

    async def attempt(self, by: str, what: Any) -> CandorError | None:
        """Await something that `by` is to refuse."""
        try:
            await what
        except CandorError as error:
            self.refusals.append((by, error.code))
            return error
        return None

    async def begin(self) -> None:
        """What the watched party holds from here on is compared with what it holds in the end."""
        await self.settle(3.0)
        self.began = asyncio.get_running_loop().time()
        self.entries = (await self.alpha.node.store.run(ledger.head))[0]
        if self.watched:
            self.before = self.holds(self.party(self.watched))
            self.noted = self.notes(self.watched)
            self.view = self.party(self.watched).node.follower.view

    async def month_ends(self) -> None:
        """The calendar digest is made, as every month; nobody has opened it."""
        self.fed.clock.advance(hours=7)
        await self.settle(65.0)

    async def review(self, party: Party) -> Reviewed:
        """A person reads the digest of the month that is over, and signs."""
        node = party.node
        return await reviewing.review(
            node.store,
            node.accountant.kept,
            node.config.federation_name,
            Month.of(self.fed.begins_at),
            self.fed.clock.now(),
            "chief-1",
            "",
        )

    # --- what they hold ----------------------------------------------------------------------------------

    def holds(self, party: Party) -> dict[str, str]:
        """A digest of each table of a node."""
        return party.node.store.run_sync(_digests)

    def changed(self) -> set[str]:
        """Tables of the watched node that are not as they were at `begin`."""
        now, then = self.holds(self.party(self.watched)), self.before
        return {name for name in now.keys() | then.keys() if now.get(name) != then.get(name)}

    def notes(self, party: str) -> Counter[str]:
        """What a node wrote down of what it refused: why it dropped, and how it answered instead."""

        def work(db: Database) -> Counter[str]:
            return Counter((*_inbox_notes(db), *_refusals_signed(db), *_declined(db)))

        return self.party(party).node.store.run_sync(work)

    def refused(self, party: str) -> set[str]:
        """Codes by which `party` refused something, as far as anybody can know."""
        codes = {code for who, code in self.refusals if who == party}
        if party in ("hub", "auditor"):
            return codes
        node = self.party(party).node
        codes |= (self.notes(party) - self.noted).keys()
        directory = node.indexes.directory
        if directory is not None:
            codes |= {error.code for error in directory.key_troubles.values()}
            codes |= {error.code for error in directory.head_troubles.values()}
        return codes

    # --- what people see ---------------------------------------------------------------------------------

    async def shown(self, where: str, at: str = "alpha") -> str:
        """What a command says, as text."""
        return await shown(self.party(at).node, where, self.searches, self.requests)

    def results(self) -> list[str]:
        """Every result that alpha was shown since the case began, whatever it was amended to since."""
        return [
            overall for _, overall in self.alpha.node.store.run_sync(partial(_results, after=self.entries))
        ]

    def overall(self) -> str:
        """What alpha is shown of the lookup that the case made last, or of the last one there is."""
        shown = self.alpha.node.store.run_sync(partial(_results, after=self.entries))
        own = [
            overall
            for search_id, overall in shown
            if not self.searches or search_id == str(self.searches[-1])
        ]
        return own[-1] if own else ""


async def shown(
    node: Node, where: str, searches: Sequence[LookupId] = (), requests: Sequence[RequestId] = ()
) -> str:
    """What a command of a node says; of `searches` and `requests` alone, if any are given."""
    service, context, named = LocalServicer(node), None, {str(one) for one in searches}
    doors._entered.set(Entered(Actor("roe", ALL_ROLES), signed_in=False))
    match where:
        case "status":
            message: Any = await service.Status(pb.StatusRequest(), context)  # type: ignore[arg-type]  # never asked
        case "lookups show":
            found = await service.ListLookups(pb.ListLookupsRequest(), context)  # type: ignore[arg-type]
            message = pb.ListLookupsResponse()
            for each in (each for each in found.lookups if not named or each.lookup_id in named):
                one = pb.GetLookupRequest(lookup_id=each.lookup_id, in_passing=True)
                message.lookups.append((await service.GetLookup(one, context)).lookup)  # type: ignore[arg-type]
        case "requests list":
            listed = await service.ListRequests(pb.ListRequestsRequest(), context)  # type: ignore[arg-type]
            message = pb.ListRequestsResponse(received=listed.received)
            asked = {str(one) for one in requests}
            message.sent.extend(each for each in listed.sent if not asked or each.request_id in asked)
        case "recalls list":
            recalls = RecallServicer(node)
            message = await recalls.ListRecalls(recall_local_pb2.ListRecallsRequest(), context)  # type: ignore[arg-type]
        case "audit status":
            audit = AccountabilityServicer(node)
            message = await audit.AuditStatus(accountability_pb2.AuditStatusRequest(), context)  # type: ignore[arg-type]
        case "ledger":
            message = await service.ListLedger(pb.ListLedgerRequest(), context)  # type: ignore[arg-type]
        case _:
            raise AssertionError(f"nobody can run {where}")
    return text_format.MessageToString(message, as_utf8=True)


def _digests(db: Database) -> dict[str, str]:
    names = [
        row[0]
        for row in db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        )
    ]
    return {name: _digest(db, name) for name in names}


def _digest(db: Database, table: str) -> str:
    columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
    kept = [column for column in columns if column not in _VOLATILE.get(table, ())]
    rows = db.execute(f"SELECT {', '.join(kept)} FROM {table}").fetchall()
    return hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()


def _inbox_notes(db: Database) -> list[str]:
    return [row[0] for row in db.execute("SELECT note FROM inbox WHERE note <> ''")]


def _refusals_signed(db: Database) -> list[str]:
    rows = db.execute("SELECT details ->> '$.status' FROM ledger WHERE event = 'lookup.answered'")
    return [row[0] for row in rows if row[0] != "EVALUATED"]


def _declined(db: Database) -> list[str]:
    """Whether the node declined requests: on the wire, why does not show."""
    rows = db.execute("SELECT refs ->> '$.requester' FROM ledger WHERE event = 'disclosure.declined'")
    return ["DECLINED" for (requester,) in rows if requester]


def _results(db: Database, after: int) -> list[tuple[str, str]]:
    rows = db.execute(
        "SELECT refs ->> '$.search_id', details ->> '$.overall' FROM ledger"
        " WHERE event IN ('lookup.shown', 'lookup.amended') AND number > ? ORDER BY number",
        [after],
    )
    return rows.fetchall()


ROW = make_row(sharing="GREEN")
SOMEBODY_ELSE = make_row(
    agency_record_id="IA-2020-0099",
    first="Fenella",
    middle="",
    last="Greywickstead",
    birth_date="1971-02-03",
    ssn4="1199",
    post_id="B-900001",
    sharing="GREEN",
)
# Somebody of bravo's in whose place nobody is looked for.
NOT_ASKED = make_row(
    first="Corwin", middle="", last="Elderbrookman", ssn4="7001", post_id="B-1", sharing="GREEN"
)
