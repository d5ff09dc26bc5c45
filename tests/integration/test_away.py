"""Who was off for weeks, hub or node, and an authority that ended or was denied: one command heals it (§8.7).

TLS keeps to the machine's clock. So what ended was made in the past, with the real rules: the hub is founded
and the node enrolled on a clock that is weeks behind, and both run on the real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from candor_certs.authority import create_issuing
from candor_certs.folders import load_root
from candor_certs.store import read_identity
from candor_hub.app import Hub
from candor_hub.authorities import adopt, check_adoptable
from candor_hub.config import Config
from candor_hub.enrolment import EnrolmentRequest
from candor_hub.findings.look import Look
from candor_hub.findings.members import Members
from candor_hub.founding import open_store
from candor_hub.places import vault
from candor_node import hub_client, joining
from candor_node import renewal as renewal_module
from candor_node.app import Node
from candor_node.config import NodeConfig, load_config
from candor_node.joining import found, join
from candor_proto.canonical import from_milliseconds
from candor_proto.errors import CertificateRevoked, ClockWrong, Expired
from candor_proto.ids import NodeId, Ori
from candor_proto.signing import VerifyingKey
from candor_wire.v1 import enrolment_pb2
from tests.federation import federation, until
from tests.hubs import FEDERATION, RunningHub, ShiftedClock, founded, running_hub
from tests.unit.hub.offices import Office, opened
from tools.demo import free_ports

SOON_SECONDS = 25.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again after seconds and minutes is tried again at once."""
    monkeypatch.setattr(hub_client, "FIRST_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(hub_client, "LAST_RETRY_SECONDS", 0.3)
    monkeypatch.setattr(renewal_module, "REFUSED_WITHIN_SECONDS", 0.1)
    monkeypatch.setattr(renewal_module, "retry_seconds", lambda failures, rng: 0.1)


def make(folder: Path, monkeypatch: pytest.MonkeyPatch, ago: timedelta) -> tuple[Config, NodeConfig]:
    """A hub and a node that joined it, both so long ago; neither has run since."""
    clock = ShiftedClock(datetime.now(UTC) - ago)
    hub_port, enrolment_port = free_ports(2)
    settings = {
        "address": f"127.0.0.1:{hub_port}",
        "enrolment_address": f"127.0.0.1:{enrolment_port}",
        "public_address": f"127.0.0.1:{hub_port}",
        "public_enrolment_address": f"127.0.0.1:{enrolment_port}",
    }
    made = founded(folder / "hub", clock.now())
    config = Config(**{**made.__dict__, **settings})
    path = found(folder / "alpha", NodeId("alpha"))
    with opened(config, clock) as office, monkeypatch.context() as patched:
        patched.setattr(joining, "enrol", through(office, config))
        invitation = office.enrolment.invite(Ori("ZZ0000010"), NodeId("alpha"), "alpha agency", clock.now())
        asyncio.run(join(path, invitation, clock))
    return config, load_config(path)


def through(office: Office, config: Config) -> Any:
    """The enrolment service as it was then: the real rules, without the TLS of today."""

    async def enrol(door: Any, message: enrolment_pb2.EnrolRequest, clock: Any) -> Any:
        request = EnrolmentRequest(
            token=message.token,
            ori=Ori(message.ori),
            node=NodeId(message.node),
            certificate_request=message.certificate_request,
            signing_key=VerifyingKey(message.signing_key),
            disclosure_key=message.disclosure_key,
            node_time=from_milliseconds(message.node_time_milliseconds),
            signature=message.signature,
        )
        chain = office.enrolment.enrol(request, clock.now())
        return enrolment_pb2.EnrolResponse(
            certificate_chain=chain, federation=str(FEDERATION), hub_address=config.public_address
        )

    return enrol


@asynccontextmanager
async def running(config: NodeConfig, clock: ShiftedClock) -> AsyncIterator[Node]:
    node = Node(config, clock)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


def look_often(node: Node) -> None:
    node.renewal.look_seconds = 0.1


def serial(config: NodeConfig) -> int:
    return read_identity(config.tls_identity_file).chain[0].serial_number


async def heals(hub: RunningHub, config: NodeConfig) -> None:
    """The node says what is wrong and what to do; that one command is given, and it is back by itself."""
    before = serial(config)
    async with running(config, hub.clock) as node:
        await until(lambda: node.renewal.trouble is not None and node.connection.trouble is not None)
        assert "not let alpha back in" in str(node.renewal.trouble)
        assert "candor-hub readmit alpha" in str(node.renewal.trouble)
        assert "candor-hub readmit" in str(node.connection.trouble)
        # The hub's own doctor names the command as well.
        hub_look = Look(hub.config.data / "hub.toml", hub.config, hub.clock.now())
        assert "`candor-hub readmit alpha`" in (await Members(hub_look).members()).remedy
        assert not node.connection.attached
        await asyncio.to_thread(hub.hub.enrolment.readmit, None, hub.clock.now())
        await until(lambda: node.connection.attached, SOON_SECONDS)
        assert serial(config) != before
        assert node.renewal.trouble is None
    async with running(config, hub.clock) as node:  # and stays so
        await until(lambda: node.connection.attached, SOON_SECONDS)


def test_hub_and_node_were_off_for_three_weeks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's certificates have ended with everybody's: it makes new ones at its start, by itself."""
    config, alpha = make(tmp_path, monkeypatch, timedelta(days=21))

    async def scene() -> None:
        async with running_hub(tmp_path / "hub", config=config) as hub:
            await heals(hub, alpha)

    asyncio.run(scene())


def test_the_directory_keys_certificate_ended_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, alpha = make(tmp_path, monkeypatch, timedelta(days=120))

    async def scene() -> None:
        async with running_hub(tmp_path / "hub", config=config) as hub:
            await heals(hub, alpha)

    asyncio.run(scene())


def test_the_issuing_authority_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub does not start, and says why; a new authority is adopted, and everybody comes back."""
    config, alpha = make(tmp_path, monkeypatch, timedelta(days=400))

    async def scene() -> None:
        refused = Hub(config)
        with pytest.raises(Expired, match="authority's own certificate ended") as caught:
            await refused.start()
        await refused.stop()
        assert "candor-hub issuing adopt" in caught.value.remedy
        give_another(config)
        async with running_hub(tmp_path / "hub", config=config) as hub:
            await heals(hub, alpha)

    asyncio.run(scene())


def give_another(config: Config) -> int:
    """`candor-certs issuing create`, `candor-hub issuing adopt`; the serial of the one before."""
    now = datetime.now(UTC)
    new = create_issuing(load_root(config.data / "authority/root"), FEDERATION, now)
    store = open_store(config)
    try:
        with store.write() as tx:
            before = tx.authorities.newest()
            check_adoptable(tx, new, FEDERATION, now)
            adopt(tx, vault(config, store), new, now)
    finally:
        store.close()
    assert before is not None
    return before.serial


def gone_over(hub: RunningHub, before: int) -> bool:
    """Whether the hub shows itself, and signs its directory, under another authority than that."""
    chain = [x509.load_der_x509_certificate(der) for der in hub.hub.directory.latest().stored.chain]
    shown = [*chain, *hub.hub.tls().chain, hub.hub.keys().authority.certificate]
    return before not in {each.serial_number for each in shown}


def test_a_stolen_issuing_key_is_denied_at_once_and_its_members_come_back(tmp_path: Path) -> None:
    """Everybody is cut off, on purpose; each comes back with its signing key, without a file."""

    async def scene() -> None:
        async with federation(tmp_path, 2, wrap=look_often) as fed:
            hub = fed.hub
            await asyncio.sleep(1.1)  # an authority is newer by whole seconds
            stolen = await asyncio.to_thread(give_another, hub.config)
            await until(lambda: gone_over(hub, stolen))
            deny = hub.hub.directory.deny
            await asyncio.to_thread(deny, stolen, hub.clock.now(), authority=True, cut_off=True)
            await until(lambda: not any(node.connection.attached for node in fed.nodes))
            await until(lambda: all(node.renewal.trouble is not None for node in fed.nodes))
            for node in fed.nodes:
                said = str(node.renewal.trouble)
                assert "candor-hub readmit" in said or isinstance(node.renewal.trouble, CertificateRevoked)
            await asyncio.to_thread(hub.hub.enrolment.readmit, None, hub.clock.now())
            await until(lambda: all(node.connection.attached for node in fed.nodes), SOON_SECONDS)
            await fed.settled()

    asyncio.run(scene())


# --- clocks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("jump", "word"),
    [(timedelta(days=-3652), "behind"), (timedelta(days=-1), "behind"), (timedelta(hours=2), "ahead of")],
    ids=["ten-years-back", "a-day-back", "two-hours-ahead"],
)
def test_a_nodes_clock_jumps_and_nothing_is_destroyed(tmp_path: Path, jump: timedelta, word: str) -> None:
    async def scene() -> None:
        async with federation(tmp_path, 1) as fed:
            config = fed.nodes[0].config
            await fed.stop(fed.nodes[0])
            clock, before = ShiftedClock(), serial(config)
            async with running(config, clock) as node:
                await until(lambda: node.connection.attached, SOON_SECONDS)
                clock.shift += jump
                await until(lambda: isinstance(node.connection.trouble, ClockWrong), SOON_SECONDS)
                said = str(node.connection.trouble)
                assert f"{word} the hub's" in said or "one clock is wrong" in said, said
                assert "timedatectl" in said
                with pytest.raises(ClockWrong):
                    node.check_ready()
                clock.shift = timedelta(0)
                await until(lambda: node.connection.attached, SOON_SECONDS)
                node.check_ready()
            assert serial(config) == before

    asyncio.run(scene())


def test_the_hubs_clock_is_ten_years_back_and_it_says_so_and_keeps_everything(tmp_path: Path) -> None:
    async def scene() -> None:
        async with federation(tmp_path, 1) as fed:
            hub, node = fed.hub, fed.nodes[0]
            node.clock = node.hub._clock = ShiftedClock()  # its own clock goes right
            kept = contents(hub)
            hub.clock.shift -= timedelta(days=3652)
            await asyncio.to_thread(hub.hub.maintain)
            standing = hub.hub.key_keeper.standings(hub.clock.now())["hub"]
            assert "this machine's clock has not reached" in standing.sentence
            await until(lambda: node.connection.trouble is not None, SOON_SECONDS)
            assert not node.connection.attached
            hub.clock.shift = timedelta(0)
            await until(lambda: node.connection.attached, SOON_SECONDS)
            assert contents(hub) == kept

    asyncio.run(scene())


def contents(hub: RunningHub) -> dict[str, object]:
    """What a wrong clock must not take away."""
    with hub.hub._store.read() as tx:
        return {
            "certificates": [each.serial for each in tx.certificates.of(NodeId("alpha"))],
            "authorities": [each.serial for each in tx.authorities.all()],
            "known": [each.member.node for each in tx.members.all()],
            "tls": hub.hub.tls().chain[0].serial_number,
        }
