"""Where a log is read from: a folder laid out as it is served, or its https address (§14.6).

Nothing here is trusted. A read returns at most one octet more than what was asked for, so that a file too
long is noticed and never held; a folder's links and devices are not followed; an address is not redirected.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from candor_verify.errors import Unreadable

TIMEOUT_SECONDS = 30.0
MAX_FILES_OF_A_FOLDER = 1_000


class Source(Protocol):
    """Files of a log by their path below `/log/`."""

    where: str
    live: bool

    def read(self, path: str, limit: int) -> bytes | None:
        """Up to limit + 1 octets, None if there is no such file. Raises Unreadable."""

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none where a source cannot tell."""

    def files(self) -> Iterator[str]:
        """Every file's path, in no order; none where a source cannot tell."""


class FolderSource:
    """A log on this machine's disk."""

    live = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.where = str(folder)

    def read(self, path: str, limit: int) -> bytes | None:
        try:
            handle = os.open(self._folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror}") from None
        with os.fdopen(handle, "rb") as file:
            # O_NOFOLLOW speaks of the last part of a path only.
            if any((self._folder / above).is_symlink() for above in Path(path).parents[:-1]):
                raise Unreadable(f"{path}: a link leads there")
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Unreadable(f"{path}: not a plain file")
            try:
                return file.read(limit + 1)
            except OSError as error:
                raise Unreadable(f"{path}: {error.strerror}") from None

    def names(self, folder: str) -> list[str]:
        try:
            with os.scandir(self._folder / folder) as found:
                return sorted(entry.name for entry, _ in zip(found, range(MAX_FILES_OF_A_FOLDER)))  # noqa: B905
        except OSError:
            return []

    def files(self) -> Iterator[str]:
        for folder, _, names in os.walk(self._folder):
            for name in names:
                yield Path(folder, name).relative_to(self._folder).as_posix()


_CERTIFICATE_REMEDY = (
    "(a hub that shows its own certificate: --ca the federation's root, --server-name hub.FEDERATION)"
)


class _Connection(http.client.HTTPSConnection):
    """HTTPS to a server whose certificate may be for another name than its address."""

    def __init__(self, host: str, port: int | None, context: ssl.SSLContext, name: str) -> None:
        super().__init__(host, port, timeout=TIMEOUT_SECONDS, context=context)
        self._tls, self._name = context, name

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), TIMEOUT_SECONDS)
        self.sock = self._tls.wrap_socket(plain, server_hostname=self._name)


class UrlSource:
    """A log where it is served."""

    live = True

    def __init__(self, url: str, authority: Path | None, name: str | None = None) -> None:
        """`authority`: the certificate that the server's hangs from, in PEM; else the system's are good.

        `name`: the one that stands in the server's certificate; else the address's host.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.username:
            raise Unreadable("A log is read from a folder or an https address.")
        try:
            context = ssl.create_default_context(cafile=None if authority is None else str(authority))
            port = parts.port
        except ssl.SSLError:
            raise Unreadable(f"--ca {authority}: no certificate in PEM") from None
        except OSError as error:
            raise Unreadable(f"--ca {authority}: {error.strerror}") from None
        except ValueError as error:
            raise Unreadable(f"{url}: {error}") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.where = url
        self._base = parts.path.rstrip("/")
        self._connection = _Connection(parts.hostname, port, context, name or parts.hostname)

    def read(self, path: str, limit: int) -> bytes | None:
        try:
            return self._get(path, limit)
        except (http.client.HTTPException, OSError):
            self._connection.close()
        # A connection that was kept may have ended meanwhile: once more, on a new one.
        try:
            return self._get(path, limit)
        except ssl.SSLCertVerificationError as error:
            raise Unreadable(f"{path}: {error.verify_message} {_CERTIFICATE_REMEDY}") from None
        except (http.client.HTTPException, OSError) as error:
            raise Unreadable(f"{path}: {error}") from None

    def _get(self, path: str, limit: int) -> bytes | None:
        headers = {"Accept-Encoding": "gzip, identity", "User-Agent": "candor-verify"}
        self._connection.request("GET", f"{self._base}/{path}", headers=headers)
        response = self._connection.getresponse()
        octets = response.read(limit + 1)
        if response.read(1):
            # Longer than it may be: what is left is not read.
            self._connection.close()
        if response.status == http.HTTPStatus.NOT_FOUND:
            return None
        if response.status != http.HTTPStatus.OK:
            raise Unreadable(f"{path}: the server says {response.status}")
        if response.headers.get("Content-Encoding") == "gzip":
            try:
                return zlib.decompressobj(31).decompress(octets, limit + 1)
            except zlib.error:
                raise Unreadable(f"{path}: the server's compression cannot be read") from None
        return octets

    def names(self, folder: str) -> list[str]:
        return []

    def files(self) -> Iterator[str]:
        return iter(())


def open_source(location: str, authority: Path | None = None, name: str | None = None) -> Source:
    """Raises Unreadable."""
    if "://" in location:
        return UrlSource(location, authority, name)
    folder = Path(location)
    if not folder.is_dir():
        raise Unreadable(f"{location}: no such folder")
    return FolderSource(folder)


def read_file(path: Path, limit: int) -> bytes:
    """A file of the reviewer's. Raises Unreadable, also if it is longer than `limit`."""
    try:
        with path.open("rb") as file:
            octets = file.read(limit + 1)
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    if len(octets) > limit:
        raise Unreadable(f"{path}: longer than {limit} octets")
    return octets
