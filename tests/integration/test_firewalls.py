"""A county's network: one name, one port, a strict proxy, TLS inspection, IPv6 (docs/firewalls.md)."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from candor_certs.names import enrolment_dns_name, hub_dns_name
from candor_hub.founding import Wishes, found
from candor_node import hub_client
from candor_node.app import Node
from candor_node.config import load_config
from candor_node.diagnosis import probe
from candor_node.joining import found as found_node
from candor_node.joining import join
from candor_proto.errors import Unreachable
from candor_proto.ids import NodeId
from tests.certificates import FlawedCertificates, federation_authority
from tests.connect_proxy import ConnectProxy
from tests.federation import Federation, federation, until
from tests.hubs import FEDERATION, RunningHub, ShiftedClock, running_hub
from tests.records import make_row
from tests.sni_router import SniRouter
from tools.demo import free_ports

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
# In no DNS: whoever reaches it, does so through the proxy.
NAME = "hub.county.invalid"
SECRET = "c0unty-p@ss:word"


@asynccontextmanager
async def one_address(folder: Path) -> AsyncIterator[tuple[RunningHub, int]]:
    """A hub of which nothing but one port of a balancer can be reached; that port."""
    hub_port, enrolment_port, log_port, port = free_ports(4)
    public = f"{NAME}:{port}"
    wishes = Wishes(
        FEDERATION,
        f"127.0.0.1:{hub_port}",
        f"127.0.0.1:{enrolment_port}",
        public,
        public,
        new_member_wait_hours=0,
        nodes=50,
        log_address=f"127.0.0.1:{log_port}",
    )
    clock = ShiftedClock()
    config = await asyncio.to_thread(found, folder, wishes, clock.now())
    names = {hub_dns_name(FEDERATION): hub_port, enrolment_dns_name(FEDERATION): enrolment_port}
    async with (
        running_hub(folder, config=config, clock=clock) as hub,
        SniRouter(names, log_port, port),
    ):
        yield hub, port


async def new_settings(folder: Path, name: str, **settings: str) -> Path:
    path = await asyncio.to_thread(found_node, folder, NodeId(name))
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    path.write_text(lines + path.read_text().replace("publish_interval_hours = 168", ""))
    path.write_text("publish_interval_hours = 0\n" + path.read_text())
    return path


def listening(pid: int) -> list[object]:
    """What the process listens on in the network."""
    found = psutil.Process(pid).net_connections("inet")
    return [one.laddr for one in found if one.status == psutil.CONN_LISTEN or not one.raddr]


def test_a_node_needs_one_name_and_one_port_and_listens_on_nothing(tmp_path: Path) -> None:
    """Behind a proxy that wants a password, lets out one port and alone knows the hub's name: it joins,
    attaches and asks. Of the password nothing is found in logs, status and doctor."""

    async def scene() -> None:
        async with (
            one_address(tmp_path / "hub") as (hub, port),
            ConnectProxy({port}, {NAME: "127.0.0.1"}) as proxy,
        ):
            proxy.credentials = f"county:{SECRET}"
            secret = tmp_path / "proxy.txt"
            secret.write_text(f"{proxy.credentials}\n")
            secret.chmod(0o600)
            path = await new_settings(
                tmp_path / "alpha", "alpha", proxy=proxy.url, proxy_credentials_file=str(secret)
            )
            invitation = await asyncio.to_thread(hub.invite, "alpha", "ZZ0000010")
            assert invitation.hub_address == invitation.enrolment_address == f"{NAME}:{port}"
            await join(path, invitation, hub.clock)
            # The other agency's network is an open one.
            bravo_path = await new_settings(tmp_path / "bravo", "bravo")
            direct = f"127.0.0.1:{port}"
            other = await asyncio.to_thread(hub.invite, "bravo", "ZZ0000020")
            await join(bravo_path, replace(other, hub_address=direct, enrolment_address=direct), hub.clock)
            bravo = Node(load_config(bravo_path).model_copy(update={"hub_address": direct}), hub.clock)
            await bravo.start()
            process = await asyncio.create_subprocess_exec(
                BIN / "candor-node",
                *("run", "--json-log", "--config", str(path)),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                assert process.stdout is not None
                async with asyncio.timeout(20):
                    assert b"alpha is attached" in await process.stdout.readline()
                assert listening(process.pid) == []
                peers = {
                    one.raddr.port for one in psutil.Process(process.pid).net_connections("inet") if one.raddr
                }
                assert peers == {proxy.port}
                await Federation(hub, [bravo]).file(bravo, [make_row(sharing="GREEN")])
                said = await command(path, "lookup", *ASKED)
                assert "1 of 1" in said or "bravo" in said, said
                said += await command(path, "status") + await command(path, "doctor")
                assert f"through the proxy {proxy.address} (the setting proxy)" in said
            finally:
                process.terminate()
                out, err = await process.communicate()
                await bravo.stop()
            assert {one.target for one in proxy.asked} == {f"{NAME}:{port}"}
            assert all(one.status == 200 for one in proxy.asked)
            for text in (said.encode(), out, err):
                assert SECRET.encode() not in text
                assert b"c0unty" not in text

    asyncio.run(scene())


ASKED = (
    *("--purpose", "J_APPLICANT", "--case", "REQ-1", "--consent", "C-1", "--officer", "Inv. Roe"),
    *("--first", "Quentin", "--middle", "Zebulon", "--last", "Placeholderson"),
    *("--birth-date", "1984-07-23", "--ssn4", "4821", "--sex", "M", "--wait", "8"),
)


async def command(settings: Path, *words: str) -> str:
    """What a command of the node says; it may find something wrong, but does not fail."""
    process = await asyncio.create_subprocess_exec(
        BIN / "candor-node",
        *words,
        *("--config", str(settings)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(40):
        out, err = await process.communicate()
    assert b"Traceback" not in err
    assert process.returncode in (0, 1), err.decode()
    return out.decode() + err.decode()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes back after about a second comes back at once."""
    monkeypatch.setattr(hub_client, "FIRST_RETRY_SECONDS", 0.1)
    monkeypatch.setattr(hub_client, "LAST_RETRY_SECONDS", 0.2)


@pytest.mark.usefixtures("impatient")
def test_a_proxy_that_opens_tls_is_called_by_its_name(tmp_path: Path) -> None:
    """At the join, and later in the status; nothing that the node knows gets to it."""

    async def scene() -> None:
        filter_authority = federation_authority(federation=FEDERATION)
        forged = FlawedCertificates(filter_authority).self_signed()
        async with (
            federation(tmp_path, 1) as fed,
            ConnectProxy({fed.hub.hub.ports.hub, fed.hub.hub.ports.enrolment}) as proxy,
        ):
            proxy.intercepts = forged
            path = await new_settings(tmp_path / "bravo", "bravo", proxy=proxy.url)
            invitation = await asyncio.to_thread(fed.hub.invite, "bravo", "ZZ0000020")
            with pytest.raises(Unreachable, match=r"TLS is intercepted.*issued by 'flawed'") as caught:
                await join(path, invitation, fed.hub.clock)
            assert "TLS inspection" in caught.value.remedy
            proxy.intercepts = None
            await join(path, invitation, fed.hub.clock)  # the invitation was not used up
            proxy.intercepts = forged
            node = Node(load_config(path), fed.hub.clock)
            await node.start()
            try:
                await until(lambda: node.connection.trouble is not None)
                assert "TLS is intercepted" in str(node.connection.trouble)
                since = node.connection.since
                proxy.intercepts = None
                await until(lambda: node.connection.attached, 20)
                assert node.connection.since > since
            finally:
                await node.stop()

    asyncio.run(scene())


@pytest.mark.usefixtures("impatient")
def test_a_proxy_that_closes_idle_tunnels_is_borne(tmp_path: Path) -> None:
    """What is cut is laid again; and what passes keeps a tunnel open, if it is patient enough for them."""

    async def scene() -> None:
        async with (
            federation(tmp_path, 1) as fed,
            ConnectProxy({fed.hub.hub.ports.hub, fed.hub.hub.ports.enrolment}) as proxy,
        ):
            path = await new_settings(tmp_path / "bravo", "bravo", proxy=proxy.url)
            invitation = await asyncio.to_thread(fed.hub.invite, "bravo", "ZZ0000020")
            await join(path, invitation, fed.hub.clock)
            proxy.idle_seconds = 0.1
            node = Node(load_config(path), fed.hub.clock)
            await node.start()
            try:
                await until(lambda: proxy.idled >= 2 and len(proxy.asked) >= 3, 20)
                proxy.idle_seconds = 1.0  # this hub has two heartbeats in it; in 30 s a node has pinged
                await until(lambda: node.connection.attached, 20)
                idled = proxy.idled
                await asyncio.sleep(2.1)
                assert node.connection.attached
                assert proxy.idled <= idled + 1  # one that was left from before
            finally:
                await node.stop()

    asyncio.run(scene())


# --- programs that others run ------------------------------------------------------------------------------


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def program(name: str) -> str:
    """Its path, as Debian installs it."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert found, f"{name} is missing: make packages"
    return found


def test_tinyproxy_with_a_password_lets_a_node_out(tmp_path: Path) -> None:
    """A proxy that others wrote."""

    async def scene() -> None:
        (port,) = free_ports(1)
        async with federation(tmp_path, 1) as fed:
            ports = fed.hub.hub.ports
            settings = tmp_path / "tinyproxy.conf"
            settings.write_text(
                f"Port {port}\nListen 127.0.0.1\nTimeout 30\nMaxClients 20\nBasicAuth county secret\n"
                f"ConnectPort {ports.hub}\nConnectPort {ports.enrolment}\n"
            )
            secret = tmp_path / "proxy.txt"
            secret.write_text("county:secret")
            secret.chmod(0o600)
            path = await new_settings(tmp_path / "bravo", "bravo", proxy=f"http://127.0.0.1:{port}")
            invitation = await asyncio.to_thread(fed.hub.invite, "bravo", "ZZ0000020")
            with running(program("tinyproxy"), "-d", "-c", str(settings)):
                await until_open(port)
                with pytest.raises(Unreachable, match=r"\(40[17]\)"):
                    await join(path, invitation, fed.hub.clock)
                path.write_text(f"proxy_credentials_file = {json.dumps(str(secret))}\n{path.read_text()}")
                await join(path, invitation, fed.hub.clock)
                node = Node(load_config(path), fed.hub.clock)
                await node.start()
                try:
                    await until(lambda: node.connection.attached, 20)
                finally:
                    await node.stop()

    asyncio.run(scene())


def test_haproxy_as_the_document_has_it_leads_each_name_to_its_port(tmp_path: Path) -> None:
    """The configuration in docs/firewalls.md, word for word but for names and ports."""
    text = (ROOT / "docs/firewalls.md").read_text("utf-8")
    (block,) = re.findall(r"```haproxy\n(.*?)```", text, re.DOTALL)

    async def scene() -> None:
        hub_port, enrolment_port, log_port, port = free_ports(4)
        config = block
        for ours, theirs in (
            ("exchange.example.org", str(FEDERATION)),
            (":::443 v4v6", f"127.0.0.1:{port}"),
            ("127.0.0.1:7443", f"127.0.0.1:{hub_port}"),
            ("127.0.0.1:7444", f"127.0.0.1:{enrolment_port}"),
            ("127.0.0.1:7445", f"127.0.0.1:{log_port}"),
        ):
            assert ours in config
            config = config.replace(ours, theirs)
        (tmp_path / "haproxy.cfg").write_text(config)
        async with running_hub(
            tmp_path / "hub",
            address=f"127.0.0.1:{hub_port}",
            enrolment_address=f"127.0.0.1:{enrolment_port}",
            log_address=f"127.0.0.1:{log_port}",
            public_address=f"127.0.0.1:{port}",
            public_enrolment_address=f"127.0.0.1:{port}",
        ) as hub:
            with running(program("haproxy"), "-db", "-f", str(tmp_path / "haproxy.cfg")):
                await until_open(port)
                path = await new_settings(tmp_path / "alpha", "alpha")
                await join(path, await asyncio.to_thread(hub.invite, "alpha", "ZZ0000010"), hub.clock)
                node = Node(load_config(path), hub.clock)
                await node.start()
                try:
                    await until(lambda: node.connection.attached, 20)
                finally:
                    await node.stop()
                checkpoint = await asyncio.to_thread(read_log, f"https://127.0.0.1:{port}/log/1/checkpoint")
                assert checkpoint.startswith(f"{FEDERATION}/log/1".encode())

    asyncio.run(scene())


def read_log(url: str) -> bytes:
    """As anybody reads the log; whose certificate is shown is not what this is about."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(url, context=context, timeout=10) as answer:
        octets: bytes = answer.read()
    return octets


async def until_open(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return


# --- IPv6 --------------------------------------------------------------------------------------------------


def test_a_federation_over_ipv6(tmp_path: Path) -> None:
    """Listening, invitation, enrolment, stream and proxy over [::1]; the same port serves IPv4 as well."""

    async def scene() -> None:
        hub_port, enrolment_port = free_ports(2)
        async with (
            running_hub(
                tmp_path / "hub",
                address=f"[::]:{hub_port}",
                public_address=f"[::1]:{hub_port}",
                enrolment_address=f"[::1]:{enrolment_port}",
                public_enrolment_address=f"[::1]:{enrolment_port}",
                log_address="[::1]:0",
            ) as hub,
            ConnectProxy({hub_port}, host="::1") as proxy,
        ):
            invitation = await asyncio.to_thread(hub.invite, "alpha", "ZZ0000010")
            assert invitation.enrolment_address == f"[::1]:{enrolment_port}"
            path = await new_settings(tmp_path / "alpha", "alpha")
            await join(path, invitation, hub.clock)
            config = load_config(path)
            for changed in (
                {"hub_address": f"[::1]:{hub_port}"},
                {"hub_address": f"127.0.0.1:{hub_port}"},
                {"hub_address": f"[::1]:{hub_port}", "proxy": proxy.url},
            ):
                node = Node(config.model_copy(update=changed), hub.clock)
                await node.start()
                try:
                    await until(lambda node=node: node.connection.attached, 20)  # type: ignore[misc]
                finally:
                    await node.stop()
            assert proxy.asked[0].target == f"[::1]:{hub_port}"
            shown = await asyncio.to_thread(probe, f"[::1]:{hub.hub.ports.log}")
            assert shown.certificate == hub.hub.tls().chain[0]

    asyncio.run(scene())
