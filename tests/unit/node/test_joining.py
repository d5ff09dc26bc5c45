"""Making a node and joining a federation (docs/protocol.md §8.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.invitation import Invitation
from candor_certs.names import PeerName, Role
from candor_certs.store import read_identity
from candor_node import joining
from candor_node.config import load_config
from candor_node.joining import found, join
from candor_proto.errors import AlreadyExists, IdentityMismatch, StoreUnusable, Unreachable
from candor_proto.ids import NodeId
from tests.certificates import FEDERATION, NODE, OTHER_NODE, FlawedCertificates, federation_authority
from tests.hubs import RunningHub, running_hub

Scene = Callable[[RunningHub, Path, Invitation], Awaitable[None]]


def play(folder: Path, scene: Scene) -> None:
    async def whole() -> None:
        async with running_hub(folder / "hub") as hub:
            settings = await asyncio.to_thread(found, folder / "node", NodeId("alpha"))
            invitation = await asyncio.to_thread(hub.invite, "alpha", "ZZ0010000")
            await scene(hub, settings, invitation)

    asyncio.run(whole())


def test_init_makes_private_files(tmp_path: Path) -> None:
    settings = found(tmp_path / "node", NodeId("alpha"))
    for path in settings.parent.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    config = load_config(settings)
    assert len(config.database_key()) == 32


def test_init_leaves_nothing_behind_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise StoreUnusable("The disk is full.")

    monkeypatch.setattr("candor_node.joining.Store.create", full)
    with pytest.raises(StoreUnusable):
        found(tmp_path / "node", NodeId("alpha"))
    assert list(tmp_path.iterdir()) == []


def test_joining_binds_the_certificate_to_the_key_made_here(tmp_path: Path) -> None:
    async def scene(hub: RunningHub, settings: Path, invitation: Invitation) -> None:
        joined = await join(settings, invitation, hub.clock)
        config = load_config(settings)
        assert config.federation_name == joined.federation == hub.config.federation
        assert config.hub_address == hub.address
        assert config.oris == ("ZZ0010000",)
        identity = read_identity(config.tls_identity_file)
        assert identity.chain[0].not_valid_after_utc == joined.certificate_ends
        with pytest.raises(AlreadyExists, match="has joined"):
            await join(settings, invitation, hub.clock)

    play(tmp_path, scene)


def test_a_reply_that_was_lost_is_had_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is used; the very same request gets the very same certificate."""

    async def scene(hub: RunningHub, settings: Path, invitation: Invitation) -> None:
        enrol, lost = joining._enrol, list[Any]()

        async def lose(*arguments: Any) -> Any:
            reply = await enrol(*arguments)
            if not lost:
                lost.append(reply)
                raise Unreachable("The reply was lost.")
            return reply

        monkeypatch.setattr(joining, "_enrol", lose)
        with pytest.raises(Unreachable):
            await join(settings, invitation, hub.clock)
        assert not load_config(settings).federation
        await join(settings, invitation, hub.clock)
        identity = read_identity(load_config(settings).tls_identity_file)
        assert identity.chain[0].public_bytes(Encoding.DER) == lost[0].certificate_chain[0]

    play(tmp_path, scene)


@pytest.mark.parametrize("whose", ["other name", "other key"])
def test_a_certificate_for_somebody_else_is_not_taken(tmp_path: Path, whose: str) -> None:
    authority = federation_authority()
    made = FlawedCertificates(authority)
    presented = made.good(OTHER_NODE if whose == "other name" else NODE)
    key = presented.key if whose == "other name" else made.good(NODE).key
    invitation: Any = type("Invitation", (), {"root_certificate": authority.parents[0]})
    request: Any = type("Request", (), {"key": key})
    with pytest.raises(IdentityMismatch, match="certified somebody else"):
        joining._check(
            presented.chain_der, invitation, PeerName(FEDERATION, Role.NODE, NODE), request, made.now
        )
