"""What an operator sees of certificates, and does about them: `status`, `doctor`, `certificates`, `deny`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from candor_certs import profiles
from candor_certs.invitation import parse_invitation
from candor_certs.names import Role
from candor_certs.profiles import overdue_time
from candor_node.app import Node
from candor_node.doctor import examine
from candor_node.local_view import moment
from candor_proto.errors import Unreachable
from candor_watch.findings import State
from candor_wire.v1 import local_pb2
from tests import commands
from tests.federation import Federation, federation, instead, local, until
from tests.hubs import enrol, running_hub


async def hub_command(*arguments: object, status: int = 0) -> str:
    # The test's hub listens where the system lets it; an invitation names a place for good.
    places = {
        "CANDOR_HUB_PUBLIC_ADDRESS": "hub.example:7443",
        "CANDOR_HUB_PUBLIC_ENROLMENT_ADDRESS": "hub.example:7444",
    }
    done = await asyncio.to_thread(commands.run, "candor-hub", *arguments, environment=places)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout or done.stderr


def test_one_certificate_is_found_and_denied_from_the_command_line(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            renewed = await alpha.renew()
            config = ("--config", tmp_path / "hub/hub.toml")
            first, second = json.loads(await hub_command("certificates", "alpha", "--json", *config))
            old, new = (f"{each.chain[0].serial_number:x}" for each in (alpha, renewed))
            assert (first["serial"], first["state"], first["renewed_with"]) == (old, "good", "")
            assert (second["serial"], second["state"], second["renewed_with"]) == (new, "good", old)
            denied = json.loads(await hub_command("deny", old, "--json", *config))
            assert (denied["serial"], denied["node"]) == (old, "alpha")
            listed = (await hub_command("certificates", "alpha", *config)).splitlines()
            assert listed[0].startswith(f"{old}  denied")
            assert listed[1].startswith(f"{new}  good")
            assert listed[1].endswith(f"renewed with {old}")
            await renewed.directory()
            # What cannot be meant is refused in words.
            assert "no certificate with the serial" in await hub_command("deny", "abc123", *config, status=2)
            assert "hexadecimal" in await hub_command("deny", "zz", *config, status=2)
            assert "no member nobody" in await hub_command("certificates", "nobody", *config, status=2)
            issuing = f"{alpha.chain[1].serial_number:x}"
            refused = await hub_command("deny", issuing, "--authority", *config, status=2)
            assert "is in use" in refused
            for member in (alpha, renewed):
                await member.close()

    asyncio.run(scene())


def test_an_invitation_to_join_again_needs_no_name(tmp_path: Path) -> None:
    async def scene() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            alpha = await enrol(hub, "alpha")
            config, out = ("--config", tmp_path / "hub/hub.toml"), tmp_path / "invitation.txt"
            who = (alpha.ori, "--node", "alpha", "--out", out, *config)
            assert "--name" in await hub_command("invite", *who, status=2)
            assert "good until" in await hub_command("invite", *who, "--rejoin")
            assert parse_invitation(out.read_text()).agency_name == "alpha agency"
            await alpha.close()

    asyncio.run(scene())


def test_status_and_doctor_say_when_it_is_renewed_and_why_it_was_not(tmp_path: Path) -> None:
    async def scene(fed: Federation, node: Node) -> None:
        settings = tmp_path / "alpha" / "node.toml"
        own = node.identity.chain[0]

        async def look() -> tuple[local_pb2.StatusResponse, bool, str]:
            async with local(node) as stub:
                status = await stub.Status(local_pb2.StatusRequest())
            found = (await examine(settings, fed.hub.clock)).of("certificate")
            return status, found.state is not State.BAD, found.detail

        status, well, words = await look()
        assert status.certificate_renewal == moment(node.renewal.due)
        assert (status.renewal_trouble, well) == ("", True)
        assert "failed" not in words

        async def down(*_: object) -> None:
            raise Unreachable("The hub is down.")

        instead(node.hub, "renew_certificate", down)
        node.renewal.due = fed.hub.clock.now()
        await until(lambda: node.renewal.trouble is not None)
        status, well, words = await look()
        assert status.renewal_trouble == "The hub is down."
        assert (well, "last attempt to renew it failed: The hub is down." in words) == (True, True)

        # Five sixths of its life are over: that is a person's business now.
        late = overdue_time(own.not_valid_before_utc, own.not_valid_after_utc)
        fed.hub.clock.shift += late - fed.hub.clock.now()
        _, well, words = await look()
        assert (well, "should have been renewed" in words) == (False, True)
        assert "The hub is down." in words

    def look_often(node: Node) -> None:
        node.renewal.look_seconds = 0.02

    async def whole() -> None:
        async with federation(tmp_path, 1, wrap=look_often) as fed:
            await scene(fed, fed.nodes[0])

    asyncio.run(whole())


def test_a_node_that_comes_back_after_its_certificate_ended_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(profiles.PROFILES[Role.NODE], lifetime=timedelta(minutes=5))

    async def whole() -> None:
        async with running_hub(tmp_path / "hub") as hub:
            from tests.federation import new_node

            monkeypatch.setitem(profiles.PROFILES, Role.NODE, short)
            await new_node(hub, tmp_path / "alpha", "alpha", "ZZ0000010")
            hub.clock.advance(minutes=6)
            found = (await examine(tmp_path / "alpha" / "node.toml", hub.clock)).of("certificate")
            assert found.state is State.BAD
            assert "candor-node join --rejoin" in found.remedy

    asyncio.run(whole())
