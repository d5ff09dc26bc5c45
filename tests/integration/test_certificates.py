"""Certificates come and go while everything runs: gate, renewal on both ends, one certificate denied
(docs/protocol.md §8.2, §8.6)."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from candor_certs import profiles
from candor_certs.authority import create_issuing
from candor_certs.folders import load_root
from candor_certs.names import Role
from candor_certs.profiles import TlsPrivateKey
from candor_hub.authorities import adopt, check_adoptable, overview
from candor_hub.founding import open_directory, open_store
from candor_hub.places import vault
from candor_hub.streams import Timing
from candor_node.app import Node
from candor_node.diagnosis import probe
from candor_proto.errors import CertificateRefused, CertificateRevoked, SignatureInvalid
from candor_proto.result import Overall
from candor_proto.signing import SigningKey
from candor_wire import codec
from tests.certificates import FlawedCertificates
from tests.federation import Federation, federation, question, until
from tests.hubs import FEDERATION, RunningHub, enrol, running_hub
from tests.patience import PATIENCE_SECONDS
from tests.records import make_row
from tests.thorough import examples

ROTATIONS = examples(6, thorough=20)
# Short enough that all of them fit into the five minutes by which a certificate begins early: TLS keeps to
# the machine's real clock, and everything else to the one that the test moves.
LIFE = timedelta(seconds=420 / ROTATIONS)


def shown_by(hub: RunningHub) -> x509.Certificate:
    """The certificate that a new connection to the hub gets to see."""
    return probe(hub.address).certificate


def deny_by_the_command_line(hub: RunningHub, serial: int) -> None:
    """As another process does it; the running hub is told nothing."""
    store = open_store(hub.config)
    try:
        _, directory = open_directory(hub.config, store, hub.clock.now())
        directory.deny(serial, hub.clock.now())
    finally:
        store.close()


def test_a_members_certificate_from_elsewhere_is_refused(tmp_path: Path) -> None:
    """The issuing key was stolen, and certified a member's name: TLS is content, the hub is not."""

    async def run() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            forged = FlawedCertificates(hub.hub.keys().authority).good(alpha.node)
            assert isinstance(forged.key, TlsPrivateKey)
            thief = replace(alpha, tls_key=forged.key, chain=forged.chain)
            for _ in range(2):  # it is not remembered as known
                with pytest.raises(CertificateRefused, match="not issued by this hub"):
                    await thief.directory()
            with pytest.raises(CertificateRefused):
                await thief.renew()
            await alpha.directory()
            await thief.close()
            await alpha.close()

    asyncio.run(run())


def test_a_member_renews_over_its_own_connection(tmp_path: Path) -> None:
    async def run() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            with pytest.raises(SignatureInvalid):
                await alpha.renew(signing_key=SigningKey.generate())
            renewed = await alpha.renew()
            assert renewed.chain[0].serial_number != alpha.chain[0].serial_number
            await alpha.close()
            await renewed.submit(renewed.lookup([renewed]))
            await renewed.close()

    asyncio.run(run())


def test_a_denied_certificates_stream_is_cut_and_the_members_other_certificate_goes_on(
    tmp_path: Path,
) -> None:
    """With the hub's real timing: within 5 seconds."""

    async def run() -> None:
        async with running_hub(tmp_path / "hub", timing=Timing()) as hub:
            old, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            new = await old.renew()
            async with old.attached() as stream:
                await new.directory()
                passed = hub.stopwatch()
                await asyncio.to_thread(deny_by_the_command_line, hub, old.chain[0].serial_number)
                assert type(await stream.end()) is CertificateRevoked
                cut_after = passed()
                assert cut_after < 5, cut_after
            with pytest.raises(CertificateRevoked):
                await old.directory()
            with pytest.raises(CertificateRevoked):
                await old.renew()
            async with new.attached() as stream:
                await bravo.submit(bravo.lookup([new]))
                assert (await stream.delivery()).envelope.sender == bravo.node
            for member in (old, new, bravo):
                await member.close()
            print(f"cut after {cut_after:.0f} s")

    asyncio.run(run())


def test_the_hubs_renewed_certificate_is_shown_without_a_restart_and_streams_go_on(tmp_path: Path) -> None:
    async def run() -> None:
        # Founded six days ago: what is issued in five days would not be valid yet by TLS's own clock.
        async with running_hub(tmp_path / "hub", now=datetime.now(UTC) - timedelta(days=6)) as hub:
            hub.clock.advance(days=6)
            alpha = await enrol(hub, "alpha")
            before, version = await asyncio.to_thread(shown_by, hub), hub.hub.directory.latest().version
            async with alpha.attached() as stream:
                await asyncio.to_thread(hub.hub.maintain)
                after = await asyncio.to_thread(shown_by, hub)
                assert after.serial_number != before.serial_number
                assert after.public_key() != before.public_key()
                assert hub.hub.directory.latest().version == version  # the directory's own is not due
                await alpha.submit(alpha.lookup([alpha]))
                assert isinstance(await stream.delivery(), codec.Delivery)
            await alpha.close()

    asyncio.run(run())


# --- a live federation -------------------------------------------------------------------------------------


async def rotate(fed: Federation) -> None:
    """Move the clock to where every node's renewal and the hub's are due, and wait until they are done."""
    before = [node.identity for node in fed.nodes]
    shown = fed.hub.hub.tls()
    hubs_due = profiles.renewal_time(shown.chain[0].not_valid_before_utc, shown.chain[0].not_valid_after_utc)
    due = max(hubs_due, *(node.renewal.due for node in fed.nodes))
    fed.hub.clock.advance(seconds=max(0.0, (due - fed.hub.clock.now()).total_seconds()))
    await asyncio.to_thread(fed.hub.hub.maintain)
    await until(lambda: all(a.identity is not b for a, b in zip(fed.nodes, before, strict=True)))
    assert fed.hub.hub.tls() is not shown


async def ask_on(node: Node, asked: list[Overall], failed: list[BaseException]) -> None:
    for number in itertools.count():
        try:
            view = await node.searcher.ask(question(case=f"REQ-{number}"), PATIENCE_SECONDS)
            assert view.result is not None
            asked.append(view.result.overall)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            failed.append(error)
            return  # whoever fails without a pause would leave nobody else a turn


def test_rotations_in_a_row_fail_no_lookup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every certificate of three nodes and of the hub, time and again, while lookups run."""
    monkeypatch.setattr(profiles, "JITTER", 0.02)  # as much time as can be for a slow machine to renew in
    for role in (Role.NODE, Role.HUB):
        monkeypatch.setitem(profiles.PROFILES, role, replace(profiles.PROFILES[role], lifetime=LIFE))

    def look_often(node: Node) -> None:
        node.renewal.look_seconds = 0.05

    async def run() -> None:
        # Fresh: what was founded before has certificates of a week.
        async with federation(tmp_path, 3, wrap=look_often, fresh=True) as fed:
            await fed.file(fed.nodes[1], [make_row()])
            asked, failed, serials = list[Overall](), list[BaseException](), set[int]()
            asking = [asyncio.create_task(ask_on(node, asked, failed)) for node in fed.nodes]
            for _ in range(ROTATIONS):
                await rotate(fed)
                serials |= {node.identity.chain[0].serial_number for node in fed.nodes}
                count = len(asked)
                await until(lambda count=count: bool(failed) or len(asked) > count + 2)  # type: ignore[misc]
                assert failed == []
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            assert failed == []
            assert set(asked) == {Overall.MATCH}, asked
            assert len(serials) == 3 * ROTATIONS
            assert all(node.renewal.trouble is None for node in fed.nodes)
            await until(lambda: set(fed.hub.hub.streams.nodes) == {n.config.node_id for n in fed.nodes})
            await until(lambda: not any(node.hub.line._closing for node in fed.nodes))
            print(f"{len(asked)} lookups over {len(serials)} rotations")

    asyncio.run(run())


def test_another_issuing_authority_takes_over_under_load_and_fails_no_lookup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adopted, followed by every node on its own, and the old one denied: while lookups run (ADR 0034)."""
    monkeypatch.setattr(profiles, "REPLACED_WITHIN", 2e-6)  # of seven days, a second

    def look_often(node: Node) -> None:
        node.renewal.look_seconds = 0.05

    def adopt_another(hub: RunningHub) -> None:
        now = hub.clock.now()
        new = create_issuing(load_root(hub.config.data / "authority/root"), FEDERATION, now)
        store = open_store(hub.config)
        try:
            with store.write() as tx:
                check_adoptable(tx, new, FEDERATION, now)
                adopt(tx, vault(hub.config, store), new, now)
        finally:
            store.close()

    def going_by(hub: RunningHub) -> list[int]:
        with hub.hub._store.read() as tx:
            return [len(each.members) for each in overview(tx, hub.clock.now())]

    async def run() -> None:
        async with federation(tmp_path, 2, wrap=look_often) as fed:
            await fed.file(fed.nodes[1], [make_row()])
            asked, failed = list[Overall](), list[BaseException]()
            asking = [asyncio.create_task(ask_on(node, asked, failed)) for node in fed.nodes]
            old = fed.hub.hub.keys().authority.certificate.serial_number
            fed.hub.clock.advance(seconds=1)  # an authority is newer by whole seconds
            await asyncio.to_thread(adopt_another, fed.hub)
            await until(lambda: going_by(fed.hub) == [0, 2])
            await asyncio.to_thread(fed.hub.hub.directory.deny, old, fed.hub.clock.now(), authority=True)
            count = len(asked)
            await until(lambda: bool(failed) or len(asked) > count + 2)
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            assert failed == []
            assert set(asked) == {Overall.MATCH}, asked
            assert all(node.renewal.trouble is None for node in fed.nodes)
            assert all(node.connection.attached for node in fed.nodes)

    asyncio.run(run())
