"""Folders and https addresses: strangers' files, read with limits."""

from __future__ import annotations

import gzip
import os
import ssl
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from candor_verify import cli
from candor_verify.errors import Unreadable
from candor_verify.source import FolderSource, UrlSource, open_source, read_file
from tests.unit.verify.served import ServedLog, small


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.endswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/log/shards")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.endswith("/zipped"):
            body = gzip.compress(b"\0" * 10_000_000)
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> ServedLog:
    return small(tmp_path_factory.mktemp("www") / "log")


@pytest.fixture(scope="module")
def served(log: ServedLog, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of the log, and the authority's certificate."""
    authority = trustme.CA()
    pem = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=log.folder.parent))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}/log", pem
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_log_is_verified_where_it_is_served(
    log: ServedLog, served: tuple[str, Path], tmp_path: Path
) -> None:
    url, authority = served
    (tmp_path / "policy").write_bytes(log.first_policy)
    said: list[str] = []
    arguments = ["log", url, "--policy", str(tmp_path / "policy"), "--ca", str(authority)]
    assert cli.run(arguments, log.now, said.append) == 0, said
    assert cli.run(arguments[:-2], log.now, said.append) == 2


def test_a_server_that_nobody_certified_is_not_read(served: tuple[str, Path]) -> None:
    url, _ = served
    with pytest.raises(Unreadable):
        UrlSource(url, None).read("shards", 100)


def test_a_certificate_may_be_for_another_name_than_the_address(served: tuple[str, Path]) -> None:
    url, authority = served
    address = url.replace("localhost", "127.0.0.1")
    with pytest.raises(Unreadable, match=r"127\.0\.0\.1.*--server-name"):
        UrlSource(address, authority).read("shards", 100)
    assert UrlSource(address, authority, "localhost").read("shards", 10_000)
    with pytest.raises(Unreadable, match="--server-name"):
        UrlSource(url, authority, "elsewhere.example").read("shards", 100)


def test_an_authority_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no certificate")
    for name, sentence in (("missing", "missing: No such file"), ("text", "text: no certificate")):
        with pytest.raises(Unreadable, match=sentence):
            UrlSource("https://localhost/log", tmp_path / name)


def test_an_address_is_not_redirected(served: tuple[str, Path]) -> None:
    url, authority = served
    with pytest.raises(Unreadable, match="302"):
        UrlSource(url, authority).read("moved", 100)


def test_a_compressed_file_is_no_longer_than_asked_for(served: tuple[str, Path]) -> None:
    url, authority = served
    source = UrlSource(url, authority)
    assert source.read("zipped", 1_000_000) == b"\0" * 1_000_001
    assert source.read("1/checkpoint", 10) is not None
    assert source.read("nothing", 10) is None
    assert source.read("shards", 10_000) is not None


@pytest.mark.parametrize(
    "location",
    ["http://a.example/log", "ftp://a.example", "https://", "https://u@a.example/", "https://a/?x"],
)
def test_other_addresses_are_refused(location: str) -> None:
    with pytest.raises(Unreadable):
        open_source(location)


def test_links_and_pipes_of_a_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    folder = tmp_path / "log"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "zeros").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    source = FolderSource(folder)
    for name in ("link", "zeros", "pipe"):
        with pytest.raises(Unreadable):
            source.read(name, 10)
    assert source.read("missing", 10) is None
    assert source.read("link/below", 10) is None
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_bytes(b"x")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unreadable):
        source.read("linked/file", 10)


def test_a_file_too_long_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_file(tmp_path / "x", 5) == b"12345"
    with pytest.raises(Unreadable):
        read_file(tmp_path / "x", 4)
    with pytest.raises(Unreadable):
        read_file(tmp_path / "y", 4)
