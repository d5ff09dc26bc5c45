"""The node renews its certificate by itself, whatever happens on the way (docs/protocol.md §8.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs import mtls, pending
from candor_certs.names import PeerName, Role
from candor_certs.profiles import REPLACED_WITHIN
from candor_certs.requests import certificate_request
from candor_certs.store import read_certificates, read_identity, replace_identity
from candor_node import renewal as renewal_module
from candor_node.config import NodeConfig
from candor_node.founding import Keys
from candor_node.hub_client import HubClient
from candor_node.joining import join
from candor_node.renewal import Renewal, pending_file, retry_seconds
from candor_proto.errors import (
    AlreadyExists,
    CandorError,
    CertificateRefused,
    Expired,
    IdentityMismatch,
    InputInvalid,
    LimitExceeded,
    StoreUnusable,
    Unreachable,
)
from candor_proto.ids import NodeId, Ori
from tests.certificates import FEDERATION, NODE, FlawedCertificates, federation_authority
from tests.federation import new_node, until
from tests.hubs import RunningHub, running_hub
from tests.patience import PATIENCE_SECONDS


class Killed(BaseException):
    """Stands for kill -9: nothing after this line ran."""


@dataclass
class Place:
    """A hub, a node's folder, and what runs over it."""

    hub: RunningHub
    config: NodeConfig
    client: HubClient
    renewal: Renewal

    async def restart(self) -> None:
        """As a new process sees the folder."""
        await self.client.close()
        self.client, self.renewal = over(self.hub, self.config)

    def serials(self) -> list[int]:
        """What the hub has issued to this node."""
        with self.hub.hub._store.read() as tx:
            return [certificate.serial for certificate in tx.certificates.of(self.config.node_id)]

    @property
    def stored(self) -> int:
        return read_identity(self.config.tls_identity_file).chain[0].serial_number


def over(hub: RunningHub, config: NodeConfig) -> tuple[HubClient, Renewal]:
    identity, roots = (
        read_identity(config.tls_identity_file),
        read_certificates(config.root_certificates_file),
    )
    client = HubClient(config.hub_address, config.federation_name, identity, roots, hub.clock)
    signing = Keys.load(config).signing
    return client, Renewal(client, config, signing, roots, hub.clock, Random(1), look_seconds=0.01)


def play(folder: Path, scene: Callable[[Place], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with running_hub(folder / "hub") as hub:
            config = await new_node(hub, folder / "alpha", "alpha", "ZZ0000010")
            place = Place(hub, config, *over(hub, config))
            try:
                await scene(place)
            finally:
                await place.client.close()

    asyncio.run(whole())


def test_a_fresh_key_is_stored_and_shown(tmp_path: Path) -> None:
    async def scene(place: Place) -> None:
        before, due = place.client.line.identity, place.renewal.due
        await place.renewal.renew()
        after = read_identity(place.config.tls_identity_file)
        assert after.key.public_key() != before.key.public_key()
        assert place.client.line.identity.chain == after.chain
        assert place.serials() == [before.chain[0].serial_number, after.chain[0].serial_number]
        assert place.config.tls_identity_file.stat().st_mode & 0o777 == 0o600
        assert not pending_file(place.config).exists()
        assert place.renewal.due != due  # drawn anew, for the new certificate
        await place.client.get_directory()

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("moment", "issued"),
    [("before it is sent", 2), ("before the reply", 2), ("before it is stored", 2), ("before tidying up", 3)],
)
def test_killed_at_any_moment_the_node_goes_on_from_what_the_disk_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, issued: int
) -> None:
    """Nothing is certified twice, and no key is used twice."""

    def killed(*_: Any) -> Any:
        raise Killed

    async def scene(place: Place) -> None:
        first = place.stored
        ask = place.client.renew_certificate

        async def lose(*arguments: Any) -> Any:
            await ask(*arguments)
            raise Killed

        with monkeypatch.context() as patched:
            match moment:
                case "before it is sent":
                    patched.setattr(place.client, "renew_certificate", killed)
                case "before the reply":
                    patched.setattr(place.client, "renew_certificate", lose)
                case "before it is stored":
                    patched.setattr(renewal_module, "replace_identity", killed)
                case _:
                    patched.setattr(pending, "forget", lambda path: killed() if path.exists() else None)
            with pytest.raises(Killed):
                await place.renewal.renew()
        assert pending_file(place.config).stat().st_mode & 0o777 == 0o600
        await place.restart()
        await place.client.get_directory()  # whatever is on the disk is good
        await place.renewal.renew()
        await place.client.get_directory()
        assert place.stored not in (first, 0)
        assert len(place.serials()) == issued
        assert place.serials()[-1] == place.stored
        assert not pending_file(place.config).exists()

    play(tmp_path, scene)


def test_the_same_request_goes_out_again_when_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(place: Place) -> None:
        sent, ask = list[bytes](), place.client.renew_certificate

        async def answer(der: bytes, signature: bytes) -> Any:
            sent.append(der)
            chain = await ask(der, signature)
            if len(sent) == 1:
                raise Unreachable("The reply was lost.")
            return chain

        monkeypatch.setattr(place.client, "renew_certificate", answer)
        with pytest.raises(Unreachable):
            await place.renewal.renew()
        await place.renewal.renew()
        assert sent[0] == sent[1]
        assert len(place.serials()) == 2

    play(tmp_path, scene)


@pytest.mark.parametrize("error", [LimitExceeded, CertificateRefused])
def test_a_request_that_was_refused_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[CandorError]
) -> None:
    async def scene(place: Place) -> None:
        sent, ask = list[bytes](), place.client.renew_certificate

        async def answer(der: bytes, signature: bytes) -> Any:
            sent.append(der)
            if len(sent) == 1:
                raise error("No.")
            return await ask(der, signature)

        monkeypatch.setattr(place.client, "renew_certificate", answer)
        with pytest.raises(error):
            await place.renewal.renew()
        await place.renewal.renew()
        assert sent[0] != sent[1]

    play(tmp_path, scene)


@pytest.mark.parametrize("flaw", ["another key", "another node", "another root", "ended"])
def test_a_bad_answer_does_not_take_the_place_of_a_good_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flaw: str
) -> None:
    async def scene(place: Place) -> None:
        authority, now = place.hub.hub.keys().authority, place.hub.clock.now()
        before = place.stored

        async def answer(der: bytes, signature: bytes) -> Any:
            match flaw:
                case "another key":
                    return tuple(FlawedCertificates(authority).good(place.config.node_id).chain_der)
                case "another node":
                    key = place.renewal._request().key
                    request = certificate_request(key, FEDERATION, NodeId("bravo"))
                    return chain_of(authority, authority.issue_node(request, NodeId("bravo"), now))
                case "another root":
                    elsewhere = federation_authority()
                    return chain_of(elsewhere, elsewhere.issue_node(der, place.config.node_id, now))
            leaf = authority.issue_node(der, place.config.node_id, now)
            place.hub.clock.advance(days=8)
            return chain_of(authority, leaf)

        def chain_of(issuer: Any, leaf: Any) -> tuple[bytes, ...]:
            return tuple(each.public_bytes(Encoding.DER) for each in issuer.chain(leaf))

        monkeypatch.setattr(place.client, "renew_certificate", answer)
        with pytest.raises((IdentityMismatch, CertificateRefused, Expired)):
            await place.renewal.renew()
        assert place.stored == place.client.line.identity.chain[0].serial_number == before
        assert not pending_file(place.config).exists()

    play(tmp_path, scene)


def test_what_is_kept_is_taken_up_only_whole_and_for_this_name(tmp_path: Path) -> None:
    name, path = PeerName(FEDERATION, Role.NODE, NODE), tmp_path / "renewal.pem"
    assert pending.take_up(path, name) is None
    made = pending.begin(path, name)
    found = pending.take_up(path, name)
    assert found is not None
    assert (found.der, found.key.private_numbers()) == (made.der, made.key.private_numbers())
    assert pending.take_up(path, PeerName(FEDERATION, Role.NODE, NodeId("bravo"))) is None
    whole = path.read_bytes()
    for cut in (0, 100, len(whole) - 40):
        path.write_bytes(whole[:cut])
        assert pending.take_up(path, name) is None
    other = pending.begin(path, name)
    path.write_bytes(path.read_bytes()[:241] + whole[241:])
    assert pending.take_up(path, name) is None
    assert other.der != made.der


# --- when ------------------------------------------------------------------------------------------------


def test_it_renews_when_it_is_due_and_not_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(place: Place) -> None:
        renewed = asyncio.Event()

        async def renew() -> None:
            renewed.set()
            place.renewal.due += timedelta(days=4)

        monkeypatch.setattr(place.renewal, "renew", renew)
        left = place.renewal.due - place.hub.clock.now()
        assert timedelta(days=7) * (2 / 3 - 0.11) < left < timedelta(days=7) * (2 / 3 + 0.11)
        running = asyncio.create_task(place.renewal.run())
        place.hub.clock.shift += left - timedelta(minutes=1)
        await asyncio.sleep(0.1)
        assert not renewed.is_set()
        place.hub.clock.advance(minutes=1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await renewed.wait()
        running.cancel()

    play(tmp_path, scene)


def test_an_old_line_is_laid_anew_before_the_hub_ends_it(tmp_path: Path) -> None:
    async def scene(place: Place) -> None:
        line, identity = place.client.line, place.client.line.identity
        old, hours = line._current, 3600
        age = dict(mtls.server_options(1))["grpc.max_connection_age_ms"]
        assert isinstance(age, int)
        # gRPC draws the end of a connection within a tenth of its greatest age.
        assert 4 * hours < place.renewal.redial_seconds <= 6 * hours < age / 1000 * 0.9
        running = asyncio.create_task(place.renewal.run())
        await asyncio.sleep(0.05)
        assert line._current is old
        line._since_seconds -= 6 * hours
        await until(lambda: line._current is not old)
        assert line.identity is identity
        await asyncio.sleep(0.05)
        assert old.channel is not line._current.channel
        assert len(line._closing) <= 1
        await place.client.get_directory()
        running.cancel()

    play(tmp_path, scene)


def test_a_failure_is_shown_and_tried_again_until_it_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(place: Place) -> None:
        waited, troubles, ask = list[int](), list[str](), place.client.renew_certificate

        def wait(failures: int, rng: Random) -> float:
            waited.append(failures)
            troubles.append(str(place.renewal.trouble))
            return 0.01

        async def answer(der: bytes, signature: bytes) -> Any:
            if len(waited) < 3:
                raise Unreachable("The hub is down.")
            return await ask(der, signature)

        monkeypatch.setattr(renewal_module, "retry_seconds", wait)
        monkeypatch.setattr(place.client, "renew_certificate", answer)
        before = place.stored
        place.renewal.due = place.hub.clock.now()
        running = asyncio.create_task(place.renewal.run())
        await until(lambda: place.stored != before and place.renewal.trouble is None)
        running.cancel()
        assert waited == [0, 1, 2]
        assert troubles == ["The hub is down."] * 3

    play(tmp_path, scene)


def test_a_full_disk_costs_nothing_at_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(place: Place) -> None:
        before = place.stored

        def full(*_: Any) -> None:
            raise StoreUnusable("The disk is full.")

        monkeypatch.setattr(renewal_module, "replace_identity", full)
        for _ in range(12):  # more often than a member may have certificates
            with pytest.raises(StoreUnusable):
                await place.renewal.renew()
        assert place.stored == place.client.line.identity.chain[0].serial_number == before
        assert len(place.serials()) == 2
        monkeypatch.setattr(renewal_module, "replace_identity", replace_identity)
        await place.renewal.renew()
        assert place.serials() == [before, place.stored]

    play(tmp_path, scene)


def test_waits_grow_to_a_quarter_of_an_hour_with_full_jitter() -> None:
    for failures in range(30):
        ceiling = min(900.0, 10.0 * 2**failures)
        drawn = [retry_seconds(failures, Random(seed)) for seed in range(50)]
        assert all(1.0 <= seconds <= ceiling for seconds in drawn)
        assert max(drawn) > ceiling * 0.8
    assert retry_seconds(3, Random(5)) == retry_seconds(3, Random(5))


def test_what_hangs_from_a_replaced_authority_is_due_soon_and_not_for_all_at_once(tmp_path: Path) -> None:
    async def scene(place: Place) -> None:
        present = place.hub.hub.keys().authority
        now, life = place.hub.clock.now(), timedelta(days=7)
        newer = federation_authority(now + timedelta(seconds=1)).certificate
        older = federation_authority(now - timedelta(days=1)).certificate
        known: list[Any] = [None]

        def renewal(seed: int) -> Renewal:
            config, roots = place.config, read_certificates(place.config.root_certificates_file)
            signing = Keys.load(config).signing
            clock, look = place.hub.clock, lambda: known[0]
            return Renewal(place.client, config, signing, roots, clock, Random(seed), authority=look)

        one = renewal(1)
        before = one.due
        for unremarkable in (None, older, present.certificate):
            known[0] = unremarkable
            one._heed_authority()
            assert one.due == before
        known[0] = newer
        drawn = []
        for seed in range(200):
            member = renewal(seed)
            member._heed_authority()
            drawn.append((member.due - place.hub.clock.now()) / (life * REPLACED_WITHIN))
            first = member.due
            member._heed_authority()
            assert member.due == first  # drawn once, else everybody would come at the first look
        assert all(-0.01 <= share <= 1 for share in drawn)
        # Of 200 members no tenth of the time sees more than twice its share.
        assert max(sum(at <= share < at + 0.1 for share in drawn) for at in [n / 10 for n in range(10)]) <= 40

    play(tmp_path, scene)


def test_each_level_of_an_alarm_is_logged_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(place: Place) -> None:
        said: list[tuple[str, str]] = []

        def warning(event: str, **values: Any) -> None:
            if "kind" in values:
                said.append((values["task"], values["kind"]))

        monkeypatch.setattr(renewal_module, "log", SimpleNamespace(warning=warning, info=warning))
        for _ in range(8 * 24):
            place.renewal._remind()
            place.renewal._remind()
            place.hub.clock.advance(hours=1)
        assert said == [("own", level) for level in ("NOTICE", "WARNING", "URGENT", "LAST", "ENDED")]
        # The authority's year is a person's business, and its alarms begin thirty days before.
        place.hub.clock.advance(days=365 - 8 - 29)
        place.renewal._remind()
        assert said[5:] == [("issuing", "NOTICE")]

    play(tmp_path, scene)


# --- too late --------------------------------------------------------------------------------------------


def test_a_node_whose_certificate_ended_joins_again_and_keeps_its_keys(tmp_path: Path) -> None:
    async def scene(place: Place) -> None:
        settings = place.config.tls_identity_file.parent.parent / "node.toml"
        text, keys, before = settings.read_text(), Keys.load(place.config), place.stored
        with pytest.raises(AlreadyExists, match="has joined") as refused:
            await join(settings, await asyncio.to_thread(again, place.hub), place.hub.clock)
        assert "--rejoin" in refused.value.remedy
        await join(settings, await asyncio.to_thread(again, place.hub), place.hub.clock, rejoin=True)
        assert place.stored != before
        assert settings.read_text() == text
        assert Keys.load(place.config).signing.public == keys.signing.public
        await place.restart()
        await place.client.get_directory()

    def again(hub: RunningHub, node: str = "alpha", ori: str = "ZZ0000010") -> Any:
        return hub.hub.enrolment.invite(Ori(ori), NodeId(node), "", hub.clock.now(), rejoin=True)

    play(tmp_path, scene)


def test_a_node_joins_again_only_where_it_belongs(tmp_path: Path) -> None:
    async def scene(place: Place) -> None:
        settings, before = place.config.tls_identity_file.parent.parent / "node.toml", place.stored
        other = await asyncio.to_thread(place.hub.invite, "bravo", "ZZ0000020")
        with pytest.raises(InputInvalid):
            await join(settings, other, place.hub.clock, rejoin=True)
        # Another federation of the same name: its root is not the one that was compared when joining.
        async with running_hub(tmp_path / "false") as false:
            invitation = await asyncio.to_thread(false.invite, "alpha", "ZZ0000010")
            with pytest.raises(IdentityMismatch, match="another root"):
                await join(settings, invitation, false.clock, rejoin=True)
        assert place.stored == before

    play(tmp_path, scene)
