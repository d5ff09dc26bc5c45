"""Which proxy a connection goes out through, and what a proxy's answer means in words (docs/firewalls.md)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_node.proxy import (
    Proxy,
    channel_options,
    check_proxy,
    open_socket,
    proxy_for,
    read_credentials,
)
from candor_proto.errors import ConfigInvalid, StoreUnusable, Unreachable
from tests.connect_proxy import ConnectProxy

HUB = "hub.example:443"
COUNTY = "http://proxy.county.example:3128"


def found(address: str = HUB, setting: str = "", **environment: str) -> str:
    proxy = proxy_for(address, setting, None, environment)
    return "" if proxy is None else proxy.address


def test_the_setting_goes_before_the_environment_and_none_means_none() -> None:
    assert found() == ""
    assert found(https_proxy=COUNTY) == "proxy.county.example:3128"
    assert found(HTTPS_PROXY=COUNTY) == "proxy.county.example:3128"
    assert found(grpc_proxy="http://other.example:1", https_proxy=COUNTY) == "other.example:1"
    assert found(setting="http://[2001:db8::1]:8080", https_proxy=COUNTY) == "[2001:db8::1]:8080"
    assert found(setting="none", https_proxy=COUNTY) == ""
    assert found(https_proxy="") == ""
    assert found(grpc_proxy="", https_proxy=COUNTY) == ""  # set and empty: none, as gRPC reads it


def test_what_the_environment_names_and_cannot_be_used_is_for_others() -> None:
    assert found(https_proxy="socks5://proxy.county.example:1080") == ""


@pytest.mark.parametrize(
    ("address", "listed", "direct"),
    [
        ("hub.example:443", "hub.example", True),
        ("hub.example:443", "other.example, .example", True),
        ("HUB.example:443", "hub.EXAMPLE", True),
        ("hub.example:443", "example.org", False),
        ("192.0.2.7:443", "192.0.2.0/24", True),
        ("192.0.2.7:443", "198.51.100.0/24", False),
        ("[2001:db8::7]:443", "2001:db8::/32", True),
        ("hub.example:443", "*", True),
        ("hub.example:443", "", False),
        ("hub.example:443", "not/anetwork,hub.example", True),
    ],
    ids=str,
)
def test_exceptions_of_the_environment_are_read_as_grpc_reads_them(
    address: str, listed: str, direct: bool
) -> None:
    assert (found(address, https_proxy=COUNTY, no_proxy=listed) == "") is direct
    assert (found(address, setting=COUNTY, no_proxy=listed) == "") is direct


def test_the_environments_proxy_is_not_for_this_very_machine() -> None:
    for address in ("127.0.0.1:443", "[::1]:443", "localhost:443"):
        assert found(address, https_proxy=COUNTY) == ""
        assert found(address, setting=COUNTY) == "proxy.county.example:3128"  # what a person named is


@pytest.mark.parametrize(
    "text",
    [
        "https://proxy.example:443",
        "socks5://proxy.example",
        "http://",
        "http://proxy:port",
        "http://proxy/path",
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_in_the_settings(text: str) -> None:
    with pytest.raises(ConfigInvalid):
        check_proxy(text)


@given(st.text(max_size=40))
def test_no_text_gets_out_of_the_parser_but_as_a_typed_error(text: str) -> None:
    with contextlib.suppress(ConfigInvalid):
        check_proxy(text)


def test_credentials_come_from_a_private_file_and_are_printed_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "proxy.txt"
    file.write_text("county\\clerk:p@ss:w%rd\n")
    file.chmod(0o644)
    with pytest.raises(StoreUnusable, match="other users"):
        proxy_for(HUB, COUNTY, file, {})
    file.chmod(0o600)
    proxy = proxy_for(HUB, COUNTY, file, {})
    assert proxy is not None
    assert (proxy.user, proxy.password) == ("county\\clerk", "p@ss:w%rd")
    assert "ss:w" not in repr(proxy)
    assert "clerk" not in repr(proxy)
    options = dict(channel_options(proxy))
    assert options["grpc.http_proxy"] == "http://county%5Cclerk:p%40ss%3Aw%25rd@proxy.county.example:3128"
    for wrong in ("nobody", ":password", "\x07:x", "u:" + "x" * 2_000):
        file.write_text(wrong)
        with pytest.raises(ConfigInvalid) as caught:
            read_credentials(file)
        assert "password" not in caught.value.message.replace("user and password", "")
    file.write_bytes(b"\xff:\xff")
    with pytest.raises(ConfigInvalid):
        read_credentials(file)


def test_without_a_proxy_grpc_is_told_not_to_look_into_the_environment() -> None:
    assert channel_options(None) == [("grpc.enable_http_proxy", 0)]


# --- what a proxy answers --------------------------------------------------------------------------------


def refused(change: Callable[[ConnectProxy], None], target: str = "127.0.0.1:1", user: str = "") -> str:
    """The sentence for a tunnel to `target` through a proxy that was changed."""

    async def scene() -> str:
        async with ConnectProxy({1}) as strict:
            change(strict)
            proxy = Proxy("127.0.0.1", strict.port, user, "x" if user else "", "the setting proxy")
            with pytest.raises(Unreachable) as caught:
                await asyncio.to_thread(open_socket, target, proxy, 0.5)
            assert caught.value.remedy
            return caught.value.message

    return asyncio.run(scene())


def test_each_refusal_of_a_proxy_has_its_sentence() -> None:
    def asks(proxy: ConnectProxy) -> None:
        proxy.credentials = "county:secret"

    def says_nothing(proxy: ConnectProxy) -> None:
        proxy.silent = True

    assert "asks for a user and a password (407)" in refused(asks)
    assert "does not accept the user and password" in refused(asks, user="county")
    assert "refuses connections to 127.0.0.1:22 (403)" in refused(lambda proxy: None, "127.0.0.1:22")
    assert "cannot reach the hub at 127.0.0.1:1 (502)" in refused(lambda proxy: None)
    assert "gave no answer that an HTTP proxy gives" in refused(says_nothing)


def test_a_server_that_is_no_proxy_and_one_that_trickles_are_found_out_in_time() -> None:
    async def scene() -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")

        async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                writer.write(b"H")
                await asyncio.sleep(0.05)

        for behave in (greet, trickle):
            server = await asyncio.start_server(behave, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(Unreachable, match="no answer that an HTTP proxy gives"):
                async with asyncio.timeout(2):
                    await asyncio.to_thread(open_socket, HUB, Proxy("127.0.0.1", port), 0.3)
            server.close()

    asyncio.run(scene())


def test_names_that_cannot_be_looked_up_and_closed_ports_are_told_apart() -> None:
    with pytest.raises(Unreachable, match=r"the name hub\.invalid cannot be looked up \(DNS"):
        open_socket("hub.invalid:443", None, 1.0)
    with pytest.raises(Unreachable, match=r"Cannot reach the proxy proxy\.invalid:3128: the name proxy"):
        open_socket(HUB, Proxy("proxy.invalid", 3128), 1.0)
    with pytest.raises(Unreachable, match="connection refused") as caught:
        open_socket("127.0.0.1:1", None, 1.0)
    assert "name it as `proxy`" in caught.value.remedy
