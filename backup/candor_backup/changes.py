"""A file of changed pages: what makes one state of a database of the state before.

    magic[16] ‖ (u32 page number ‖ page[4096]) × n, ascending ‖ sealed account ‖ u32 its length ‖
    HMAC-SHA-256[32]

The HMAC covers all before it, the account is sealed with AES-256-GCM, both under keys derived from the
database key. Pages lie there as they lie in the database: encrypted, each with its own HMAC.

Rules of this file:
- a file is read as a whole or refused: the HMAC is checked before anything of it is used;
- the account names the file before it by its HMAC, so that files make a chain that nobody can thin out
  unseen.
"""

from __future__ import annotations

import hmac
import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from candor_backup.pages import PAGE_OCTETS, TAG_OCTETS
from candor_backup.sealing import derive, open_sealed, seal
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import CandorError, StoreUnusable

MAGIC = b"candor-changes/1"
MAC_OCTETS, DIGEST_OCTETS, GENERATION_OCTETS = 32, 32, 16
FIRST = bytes(MAC_OCTETS)  # what the first file of a chain names as the one before
_ENTRY_OCTETS = 4 + PAGE_OCTETS
_CHUNK_ENTRIES = 256
_LENGTH = struct.Struct(">I")
_MAX_ACCOUNT_OCTETS = 1 << 20


@dataclass(frozen=True)
class Account:
    """What a file of changes says of the state that it leads to.

    `number` counts from 0 in a generation, whose base has the SHA-256 `base` and the name `base_name`.
    `pages` is how many the database has, `digest` is over the tags of all of them. `facts` are the owner's
    own.
    """

    owner: str
    generation: bytes
    number: int
    previous: bytes
    written_at: datetime
    pages: int
    changed: int
    digest: bytes
    base_name: str
    base: bytes
    facts: Mapping[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        values = {
            "owner": self.owner,
            "generation": self.generation.hex(),
            "number": self.number,
            "previous": self.previous.hex(),
            "written_at": to_milliseconds(self.written_at),
            "pages": self.pages,
            "changed": self.changed,
            "digest": self.digest.hex(),
            "base_name": self.base_name,
            "base": self.base.hex(),
            "facts": dict(self.facts),
        }
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, octets: bytes) -> Account:
        """What this program has sealed: it opens under the key, so it is well formed."""
        values = json.loads(octets)
        return cls(
            values["owner"],
            bytes.fromhex(values["generation"]),
            values["number"],
            bytes.fromhex(values["previous"]),
            from_milliseconds(values["written_at"]),
            values["pages"],
            values["changed"],
            bytes.fromhex(values["digest"]),
            values["base_name"],
            bytes.fromhex(values["base"]),
            values["facts"],
        )


@dataclass(frozen=True)
class Keys:
    """The keys of files of changes, derived from a database key."""

    account: bytes = field(repr=False)
    mac: bytes = field(repr=False)

    @classmethod
    def of(cls, key: bytes) -> Keys:
        return cls(derive(key, "account"), derive(key, "changes"))


class Writer:
    """Writes one file, page by page, and its end."""

    def __init__(self, file: BinaryIO, keys: Keys) -> None:
        self._file = file
        self._keys = keys
        self._mac = hmac.new(keys.mac, digestmod="sha256")
        self.changed = 0
        self._put(MAGIC)

    def add(self, number: int, page: bytes) -> None:
        """Pages come in the order of their numbers."""
        self._put(number.to_bytes(4, "big") + page)
        self.changed += 1

    def finish(self, account: Account) -> bytes:
        """Write the end; the HMAC, which names this file. It is not on the disk yet: the caller syncs."""
        sealed = seal(self._keys.account, account.encode(), MAGIC)
        self._put(sealed + _LENGTH.pack(len(sealed)))
        mac = self._mac.digest()
        self._file.write(mac)
        return mac

    def _put(self, octets: bytes) -> None:
        self._file.write(octets)
        self._mac.update(octets)


def read_account(path: Path, keys: Keys) -> tuple[Account, bytes]:
    """What the end of a file says, and its HMAC, which is not checked: `check` or `read_pages` do that.

    Raises StoreUnusable or SealedDataInvalid.
    """
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            size = file.tell()
            end = _LENGTH.size + MAC_OCTETS
            if size < len(MAGIC) + end:
                raise _damaged(path)
            file.seek(size - end)
            tail = file.read(end)
            length = _LENGTH.unpack(tail[: _LENGTH.size])[0]
            if length > min(_MAX_ACCOUNT_OCTETS, size - end - len(MAGIC)):
                raise _damaged(path)
            file.seek(size - end - length)
            sealed = file.read(length)
    except OSError as error:
        raise StoreUnusable(
            f"{path} cannot be read: {error.strerror}.", remedy="Check the disk and the path."
        ) from None
    account = Account.decode(open_sealed(keys.account, sealed, MAGIC, str(path)))
    if size != len(MAGIC) + account.changed * _ENTRY_OCTETS + length + end:
        raise _damaged(path)
    return account, tail[_LENGTH.size :]


def check(path: Path, keys: Keys) -> Account:
    """Read the whole file and check its HMAC; raises StoreUnusable or SealedDataInvalid."""
    account, stated = read_account(path, keys)
    mac = hmac.new(keys.mac, digestmod="sha256")
    try:
        left = path.stat().st_size - MAC_OCTETS
        with path.open("rb") as file:
            while left > 0 and (chunk := file.read(min(left, 1 << 20))):
                mac.update(chunk)
                left -= len(chunk)
    except OSError as error:
        raise StoreUnusable(
            f"{path} cannot be read: {error.strerror}.", remedy="Check the disk and the path."
        ) from None
    if left or not hmac.compare_digest(mac.digest(), stated):
        raise _damaged(path)
    return account


def read_pages(path: Path, account: Account) -> Iterator[tuple[int, bytes]]:
    """Number and octets of each page of a file that was checked; raises StoreUnusable."""
    with path.open("rb") as file:
        file.seek(len(MAGIC))
        left, before = account.changed, 0
        while left:
            count = min(left, _CHUNK_ENTRIES)
            chunk = file.read(count * _ENTRY_OCTETS)
            if len(chunk) != count * _ENTRY_OCTETS:
                raise _damaged(path)
            for at in range(0, len(chunk), _ENTRY_OCTETS):
                number = int.from_bytes(chunk[at : at + 4], "big")
                if not before < number <= account.pages:
                    raise _damaged(path)
                before = number
                yield number, chunk[at + 4 : at + _ENTRY_OCTETS]
            left -= count


def digest_of_tags(tags: bytes) -> bytes:
    """What `Account.digest` is: SHA-256 over the tags of all pages, in order."""
    if len(tags) % TAG_OCTETS:
        raise AssertionError("tags are whole")
    return sha256(b"candor-tags\0" + tags).digest()


def _damaged(path: Path) -> CandorError:
    return StoreUnusable(
        f"{path} is damaged, or was not written whole.", remedy="Use another backup, and check the disk."
    )
