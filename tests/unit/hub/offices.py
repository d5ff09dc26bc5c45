"""The hub's rules over a real database, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from candor_certs.requests import certificate_request
from candor_hub.config import Config
from candor_hub.directory import DirectoryKeeper
from candor_hub.enrolment import Enrolment, EnrolmentRequest
from candor_hub.founding import Wishes, found, open_keys, open_store
from candor_hub.index import Index
from candor_hub.key_keeper import KeyKeeper
from candor_hub.keys import HubKeys
from candor_hub.mailbox import MailboxKeeper
from candor_hub.places import segment_files
from candor_hub.relay import Receipt, Relay
from candor_hub.renewal import Renewal
from candor_hub.store import Store
from candor_proto.budget import Quota
from candor_proto.ids import NodeId, Ori
from candor_wire.codec import Delivery, Envelope
from tests.hub_members import FEDERATION, Member, ShiftedClock, ori_for
from tests.postgres import chosen_url


@dataclass
class Office:
    """Everything that decides; `clock` moves as the test wants."""

    config: Config
    clock: ShiftedClock
    store: Store
    keeper: KeyKeeper
    directory: DirectoryKeeper
    enrolment: Enrolment
    relay: Relay
    mailbox: MailboxKeeper
    index: Index
    renewal: Renewal

    @property
    def keys(self) -> HubKeys:
        return self.keeper.held()

    def tick(self) -> None:
        """What the running hub does now and then: renew, and take up what was adopted."""
        self.keeper.renew()
        self.directory.publish_if_certified_anew(self.clock.now())

    def newcomer(self, node: str, ori: str | None = None) -> Member:
        return Member(NodeId(node), Ori(ori or ori_for(node)), self.clock)

    def join(self, node: str, ori: str | None = None) -> Member:
        """A member, admitted with an invitation of its own."""
        member = self.newcomer(node, ori)
        self.enrolment.enrol(self.request(member, self.invite(member)), self.clock.now())
        return member

    def invite(self, member: Member, life: timedelta = timedelta(days=14)) -> bytes:
        """The token of an invitation."""
        return self.enrolment.invite(member.ori, member.node, "an agency", self.clock.now(), life).token

    def request(self, member: Member, token: bytes) -> EnrolmentRequest:
        return EnrolmentRequest(
            token=token,
            ori=member.ori,
            node=member.node,
            certificate_request=certificate_request(member.tls_key, FEDERATION, member.node),
            signing_key=member.signing_key.public,
            disclosure_key=member.disclosure_key.public,
            node_time=self.clock.now(),
        )

    def submit(self, envelope: Envelope, caller: Member) -> Receipt:
        view = self.directory.latest().view
        return self.relay.submit(envelope, caller.node, view, self.clock.now())

    def waiting(self, member: Member) -> tuple[Delivery, ...]:
        return self.mailbox.waiting(member.node, (), 100, self.clock.now())

    def used(self, member: Member) -> int:
        """Elements of quota that `member` has used."""
        with self.store.read() as tx:
            uses = tx.quotas.uses(member.node, self.clock.now() - timedelta(days=40))
        return sum(use.of(None) for use in uses)


@contextmanager
def opened(config: Config, clock: ShiftedClock, quota: Quota | None = None) -> Iterator[Office]:
    """The rules over the database of `config`."""
    store = open_store(config)
    keeper = KeyKeeper(store, open_keys(config, store), clock, 1.0)
    directory = DirectoryKeeper(store, keeper.held)
    directory.publish_if_certified_anew(clock.now())
    try:
        yield Office(
            config,
            clock,
            store,
            keeper,
            directory,
            Enrolment(config, store, keeper.held, directory),
            Relay(store, quota or config.quota),
            MailboxKeeper(store),
            Index(store, segment_files(config, store), directory, config.federation),
            Renewal(store, keeper.held),
        )
    finally:
        store.close()


@contextmanager
def office(folder: Path, quota: Quota | None = None, wait_hours: float = 0) -> Iterator[Office]:
    """A new hub in `folder`."""
    clock = ShiftedClock()
    wishes = Wishes(
        FEDERATION,
        "127.0.0.1:7443",
        "127.0.0.1:7444",
        new_member_wait_hours=wait_hours,
        database_url=chosen_url(),
    )
    config = found(folder / "hub", wishes, clock.now())
    with opened(config, clock, quota) as made:
        yield made
