"""Puts a node together and runs it: the only place that builds everything.

node = Node(load_config(path))
await node.start()
...
await node.stop()
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from candor_certs.store import TlsIdentity, read_certificates, read_identity
from candor_node import (
    deferrals,
    desk,
    mail_store,
    packs,
    shipped_packs,
)
from candor_node.accountability.accountant import Accountant
from candor_node.aftermath import Aftermath
from candor_node.allowance import Allowances
from candor_node.answerer import Answerer
from candor_node.answers import Answers
from candor_node.approvals import Executors
from candor_node.backups import Backups, Schedule
from candor_node.batches import Batches
from candor_node.cases import Cases
from candor_node.channel import WrapChannel
from candor_node.clock import Clock, SystemClock
from candor_node.coming_back import ComingBack
from candor_node.config import NodeConfig
from candor_node.connection import Connection
from candor_node.coverage import Outlook
from candor_node.disclosures import Requester
from candor_node.founding import Keys, make_folder, open_store
from candor_node.gathering import Gatherer
from candor_node.housekeeping import keep_house
from candor_node.hub_client import HubClient, stay_attached
from candor_node.inbox import Inbox
from candor_node.inboxes import inboxes
from candor_node.index_client import IndexClient
from candor_node.journal import Journals
from candor_node.logs import log
from candor_node.mail_store import OutboxRow
from candor_node.name_search import NameSearch
from candor_node.office import EXECUTORS, AllowedLookups
from candor_node.outbox import Outbox
from candor_node.publisher import Settings
from candor_node.publishing import Publishing
from candor_node.recalled import RecallRecipient
from candor_node.recalling import Recaller
from candor_node.releases import Owner
from candor_node.renewal import Renewal
from candor_node.search import Searcher
from candor_node.sharing import Sharing
from candor_node.store import Database, Work
from candor_node.supervision import Supervisor
from candor_node.tlog import member
from candor_node.tlog.folding import Self
from candor_node.tlog.follower import Follower
from candor_node.tlog.heartbeats import Heartbeats
from candor_node.tlog.kept_log import KeptLog
from candor_node.tlog.own_statements import OwnStatements
from candor_node.tlog.view import LogView
from candor_node.tlog.witness import Witness
from candor_node.workers import Lane, Workers
from candor_proto.errors import CandorError, ClockWrong
from candor_proto.ids import LookupId, NodeId, RequestId
from candor_proto.tlog.witness import NOT_FOUND
from candor_records.policy import Policy
from candor_records.roles import Operation
from candor_wire.codec import Cosign, Cosigned, Envelope, MessageKind, Welcome


class Node:
    """A running node. One event loop owns it; one thread of it owns the database."""

    def __init__(
        self,
        config: NodeConfig,
        clock: Clock | None = None,
        wrap_channel: WrapChannel = lambda channel: channel,
    ) -> None:
        """`wrap_channel` sees every call to the hub. Raises ConfigInvalid, StoreUnusable or InputInvalid."""
        federation, own = config.federation_name, config.node_id
        self.config = config
        own_log_policy = config.own_log_policy()
        self.clock = clock or SystemClock()
        self.keys = Keys.load(config)
        identity = read_identity(config.tls_identity_file)
        self.roots = read_certificates(config.root_certificates_file)
        self.connection = Connection(self.clock.now())
        self._inbox: dict[MessageKind, Inbox] = {}
        self._supervisor = Supervisor()
        for folder in (config.index_folder, config.kept_index_folder, config.socket.parent):
            make_folder(folder)
        self.store = open_store(config)
        try:
            self.hub = HubClient(
                config.hub_address,
                federation,
                identity,
                self.roots,
                self.clock,
                wrap_channel,
                config.proxy_to(config.hub_address),
            )
        except BaseException:
            self.store.close()
            raise
        self.renewal = Renewal(
            self.hub,
            config,
            self.keys.signing,
            self.roots,
            self.clock,
            authority=lambda: self.indexes.authority,
            come_back=ComingBack(config, self.keys, self.roots, self.clock).ask,
        )
        ready = self.check_ready
        key = self.keys.signing
        self.own_log_policy = own_log_policy
        self.follower = Follower(
            self.hub.get_log,
            self.store,
            federation,
            Self(own, key.public.value, self.keys.disclosure.public),
            self.clock,
            own_log_policy,
            KeptLog(config.kept_log_folder),
        )
        self.witness = Witness(self.store, member.MemberRules(), self.clock)
        self.heartbeats = Heartbeats(self.store, self.hub, federation, own, key, self.clock)
        self.own_statements = OwnStatements(
            self.store, self.hub, federation, own, key, self.clock, self.connection.check_ready
        )
        self.indexes = IndexClient(
            self.hub,
            self.store,
            config.index_folder,
            federation,
            self.roots,
            self.clock,
            self.follower,
            config.federation_records,
            # Messages that came since it was announced wait for it.
            self._wake_inbox,
        )
        self.outbox = Outbox(
            self.store,
            self.hub,
            own,
            self.clock,
            self._sent,
            self.follower.check_open,
            lambda: self.sharing.is_open(),
        )
        self.workers = Workers()
        self.answerer = Answerer(
            self.store,
            self.indexes,
            own,
            key,
            config.quota,
            self.clock,
            self.workers,
            self.outbox,
            self.policy,
        )
        self.cases = Cases(self.store, self.outlook)
        self.names = NameSearch(self.store, self.clock)
        self.searcher = Searcher(
            self.store,
            self.indexes,
            self.outbox,
            self.cases,
            federation,
            own,
            key,
            config.quota,
            self.clock,
            config.further_lookup_delay_seconds,
            config.subjects_an_hour,
            ready,
            self.policy,
            lambda seconds: self.connection.wait_for_line(self.clock.now(), seconds),
        )
        self.pack_issuers = shipped_packs.trusted_keys(config.pack_issuers)
        self.allowed_lookups = AllowedLookups(
            self.store, self.searcher, self.clock, config.lookup_wait_seconds
        )
        self.gatherer = Gatherer(
            self.store,
            self.indexes,
            self.cases,
            self.workers,
            federation,
            self.clock,
            self.searcher.ask_again,
        )
        self.batches = Batches(
            self.store,
            self.indexes,
            self.outbox,
            self.workers,
            federation,
            own,
            key,
            self.clock,
            config.subjects_an_hour,
            ready,
            self.outlook,
        )
        self.allowances = Allowances(
            self.store, self.indexes, self.outbox, self.hub, federation, own, key, self.clock
        )
        self.answers = Answers(self.allowances, self.batches.landing, self.gatherer, self.cases)
        self.requester = Requester(self.store, self.indexes, self.outbox, federation, own, key, self.clock)
        self.owner = Owner(
            self.store,
            self.indexes,
            self.outbox,
            federation,
            own,
            key,
            self.keys.disclosure,
            config.green,
            self.policy,
            self.clock,
        )
        self.executors: Executors = {
            **EXECUTORS,
            **desk.executors(own, key, self.policy),
            Operation.ADOPT_PACK: packs.adopter(own, key, self.pack_issuers),
            Operation.DEFER_VISIBILITY: deferrals.execute,
            Operation.RELEASE_SENSITIVE: self.owner.release,
        }
        parts = self.store, self.indexes, self.outbox, federation, own, key, self.keys.disclosure, self.clock
        self.recaller = Recaller(*parts)
        self.recall_recipient = RecallRecipient(*parts)
        self.publishing = Publishing(
            self.store,
            self.hub,
            Settings(
                federation,
                own,
                scheme=config.scheme,
                threshold=config.scheme.threshold,
                policy=self.policy,
            ),
            key,
            self.clock,
            config.publish_interval,
            self.connection.check_ready,
            self.follower.check_followed,
        )
        self.backups = Backups(self.store, own, self.clock, Schedule.of(config))
        journals = [config.data_folder / "journal", *([config.backup_folder] if config.backup_folder else [])]
        self.journals = Journals(self.store, self.clock, journals)
        self.sharing = Sharing(
            self.store, own, self.keys.signing.public, self.clock, self.journals, config.backup_folder
        )
        self.follower.observers.append(self.sharing.observe)
        self.follower.on_own_head(self.sharing.own_head)
        self.accountant = Accountant(
            self.store, self.follower, self.indexes, federation, own, key, self.roots, self.clock
        )
        self.aftermath = Aftermath(self.publishing, self.recaller.wake, self.backups)

    def policy(self, db: Database) -> Policy:
        """What is in force here."""
        return packs.in_force(db)

    def outlook(self, asked: Iterable[NodeId]) -> Outlook:
        """What is known of the federation now, for the coverage of a lookup of `asked`."""
        return Outlook.of(self.indexes.directory, asked, self.follower.seen())

    @property
    def identity(self) -> TlsIdentity:
        """The key and certificate that are shown to the hub now."""
        return self.hub.line.identity

    # --- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take up work; returns at once, `connection.first_attached` says when the hub was reached."""
        from candor_node.local_server import LocalServer

        federation, own, now = self.config.federation_name, self.config.node_id, self.clock.now()
        await self.sharing.start()
        await self.store.run(lambda db: member.own_keys(db, federation, own, now))
        await self.indexes.load()
        self.local = LocalServer(self)
        await self.local.start()
        self._inbox = inboxes(self)
        works: dict[str, Callable[[], Awaitable[None]]] = {
            "attach": self._stay_attached,
            "log": self._follow,
            "heartbeats": self.heartbeats.run,
            "statements": self.own_statements.run,
            "outbox": self.outbox.run,
            "batches": self.batches.run,
            "indexes": lambda: self.indexes.run(self.config.index_refresh_seconds),
            "publication": self.publishing.run,
            "recalls": self.recaller.run,
            "names": self.names.run,
            "housekeeping": partial(keep_house, self),
            "backups": self.backups.run,
            "journal": self.journals.run,
            "allowed lookups": self.allowed_lookups.run,
            **{f"inbox {kind.name.lower()}": box.run for kind, box in self._inbox.items()},
            "certificate": self.renewal.run,
        }
        for name, work in works.items():
            self._supervisor.start(name, work)

    async def stop(self) -> None:
        """End all work and close the database; nothing that was acknowledged is lost."""
        self.backups.end()
        await self._supervisor.stop()
        await self.searcher.close()
        await self.batches.close()
        await self.outbox.close()
        if hasattr(self, "local"):
            await self.local.stop()
        await self.hub.close()
        await asyncio.to_thread(self.workers.close)
        await self.journals.close()
        await asyncio.to_thread(self.store.close)

    async def failure(self) -> None:
        """Wait, mostly for ever; raises what kept a task from working, once it kept failing."""
        await self._supervisor.failure()

    # --- the hub ------------------------------------------------------------------------------------------

    async def _stay_attached(self) -> None:
        await stay_attached(self.hub, self, self._detached)

    def directory_version(self) -> int:
        return self.indexes.version

    def attached(self, welcome: Welcome) -> None:
        log.info("attached", hub=self.config.hub_address, directory_version=welcome.directory_version)
        self.connection.welcomed(welcome.hub_time, self.clock.now())
        self.follower.wake()
        self.own_statements.wake()
        self.indexes.announce(welcome.directory_version)
        self.publishing.wake()
        self.outbox.reconnected()
        self.batches.landing.changed.set()
        self._wake_inbox()

    def _detached(self, error: CandorError) -> None:
        log.warning("not attached", code=error.code, reason=error.message)
        self.connection.lost(error, self.clock.now())
        self.renewal.refused(error)

    async def deliver(self, envelope: Envelope) -> None:
        if envelope.recipient not in (None, self.config.node_id):
            log.warning("a delivery for somebody else", kind=envelope.kind.name)
            return
        arrived, box = mail_store.unstored(envelope), self._inbox[envelope.kind]
        # A single lookup is stored with its answer, in one transaction. An answer must be acknowledged before
        # it is opened (§7.6), and a batch would keep the hub waiting.
        if envelope.kind is MessageKind.LOOKUP and arrived.lane is Lane.SINGLE and await box.take(arrived):
            return
        await box.receive(envelope)

    def look_at_inbox(self) -> None:
        for box in self._inbox.values():
            box.look()

    def _wake_inbox(self) -> None:
        for box in self._inbox.values():
            box.wake()

    def directory_changed(self, version: int) -> None:
        # Taking it up reads the log as far as it is (§10.4).
        self.indexes.announce(version)

    async def cosign(self, request: Cosign) -> Cosigned:
        if not await self.sharing.may_cosign(self.hub.get_log):
            # It does not know the log yet, and is asked again; a status of no witness would end the stream.
            return Cosigned(request.number, NOT_FOUND, b"")
        verdict = await self.witness.add_checkpoint(request.request)
        if verdict.status == NOT_FOUND:
            # Perhaps the next shard, whose keys stand in the last entry of this one.
            self.follower.wake()
        return Cosigned(request.number, verdict.status, verdict.body)

    async def _sent(self, row: OutboxRow, error: CandorError | None, settle: Work[None]) -> None:
        if row.envelope.kind is MessageKind.LOOKUP:
            lookup_id = LookupId(row.envelope.envelope_id)
            known = await self.batches.sent(lookup_id, error, settle) or await self.searcher.sent(
                lookup_id, error, settle
            )
            if known:
                return
        elif row.envelope.kind is MessageKind.DISCLOSURE_REQUEST and error is not None:
            await self.requester.refused(RequestId(row.envelope.envelope_id), error, settle)
            return
        await self.store.run(settle)

    # --- background work ----------------------------------------------------------------------------------

    def may_judge(self) -> bool:
        """Not with a wrong clock (§8.4), nor while the log is closed (§15.6), nor before this run has been
        attached once and holds the directory that was announced: judged by none or an old one, good messages
        would be dropped for good.
        """
        return (
            not isinstance(self.connection.trouble, ClockWrong)
            and self.follower.is_open()
            and self.connection.first_attached.is_set()
            and self.indexes.version >= self.indexes.announced
        )

    def check_ready(self) -> None:
        """Raises when this node must not, or cannot, send lookups now (§8.4, §15.6)."""
        self.connection.check_ready()
        self.follower.check_open()

    async def _follow(self) -> None:
        await self.follower.run(self._followed)

    def _followed(self, view: LogView) -> None:
        """A newer head was taken up, or the one held was found to be the newest."""
        if view.directory is not None:
            # An announcement that was lost is made up for.
            self.indexes.announce(view.directory.version)
        self.publishing.wake()
        self.own_statements.wake()
        self._wake_inbox()
