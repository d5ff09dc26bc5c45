"""Where the hub's keys are: files of a folder, or rows of the database, sealed (ADR 0032).

    directory.key   Ed25519, signs the directory; directory.crt is its chain
    log-1.key       the keys of a shard of the log (`tlog.ring`)
    issuing/…       the authorities that certify members

Rules of this file:
- a row is sealed with AES-256-GCM under a key that only `database.key` gives, the name as associated data: a
  row that was put under another name does not open;
- `add` never overwrites: a key that is lost is worse than one that is in the way;
- secrets print nothing, and stand in no message.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from candor_certs.store import (
    make_private_folder,
    read_private,
    read_public,
    replace_private,
    replace_public,
    write_new_private,
)
from candor_hub.store import Store, Transaction
from candor_proto.canonical import Writer
from candor_proto.derive import expand, extract
from candor_proto.errors import AlreadyExists, StoreUnusable

_VERSION = b"\x01"
_NONCE_OCTETS = 12
_LABEL = "hub-secrets"
# Certificates: no secret, though kept with the keys that they belong to.
_PUBLIC = ".crt"


class Vault(Protocol):
    """Secrets by name, such as `log-1.key`. With `tx` a step belongs to that transaction, where it can.

    Every method raises StoreUnusable.
    """

    def get(self, name: str, tx: Transaction | None = None) -> bytes | None:
        """The secret, if it is there."""

    def add(self, name: str, secret: bytes, tx: Transaction | None = None) -> None:
        """Store it durably under a name that is free; raises AlreadyExists."""

    def put(self, name: str, secret: bytes, tx: Transaction | None = None) -> None:
        """Store it durably, in place of what has the name."""

    def remove(self, name: str, tx: Transaction | None = None) -> None:
        """Forget it; one that is not there is gone already."""

    def names(self, start: str = "", tx: Transaction | None = None) -> list[str]:
        """Every name that begins with `start`, in order."""

    def write(self) -> AbstractContextManager[Transaction | None]:
        """In which nobody else changes a secret; None where no transaction can promise that."""

    def place(self, name: str) -> str:
        """What messages call it."""


class FolderVault:
    """Secrets as private files of a folder, which one process writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, tx: Transaction | None = None) -> bytes | None:
        path = self.folder / name
        if not path.exists():
            return None
        return read_public(path) if name.endswith(_PUBLIC) else read_private(path)

    def add(self, name: str, secret: bytes, tx: Transaction | None = None) -> None:
        write_new_private(self._path(name), secret)

    def put(self, name: str, secret: bytes, tx: Transaction | None = None) -> None:
        if name.endswith(_PUBLIC):
            replace_public(self._path(name), secret)
        else:
            replace_private(self._path(name), secret)

    def remove(self, name: str, tx: Transaction | None = None) -> None:
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreUnusable(
                f"{self.place(name)} cannot be removed: {error.strerror}.", remedy="Check the folder."
            ) from None

    def names(self, start: str = "", tx: Transaction | None = None) -> list[str]:
        found = (str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())
        return sorted(name for name in found if name.startswith(start))

    def write(self) -> AbstractContextManager[Transaction | None]:
        return nullcontext(None)

    def place(self, name: str) -> str:
        return str(self.folder / name)

    def _path(self, name: str) -> Path:
        path = self.folder / name
        make_private_folder(path.parent)
        return path


class SealedVault:
    """Secrets as sealed rows, which every replica reads."""

    def __init__(self, store: Store, database_key: bytes, now: Callable[[], datetime]) -> None:
        self._store = store
        self._cipher = AESGCM(expand(extract(database_key, _LABEL), b"aes-256-gcm", 32))
        self._now = now

    def __repr__(self) -> str:
        return "SealedVault(…)"

    def get(self, name: str, tx: Transaction | None = None) -> bytes | None:
        with self._reading(tx) as within:
            sealed = within.secrets.get(name)
        return None if sealed is None else self._open(name, sealed)

    def add(self, name: str, secret: bytes, tx: Transaction | None = None) -> None:
        with self._writing(tx) as within:
            if within.secrets.get(name) is not None:
                raise AlreadyExists(f"There is {self.place(name)} already.", remedy="It is not overwritten.")
            within.secrets.put(name, self._seal(name, secret), self._now())

    def put(self, name: str, secret: bytes, tx: Transaction | None = None) -> None:
        with self._writing(tx) as within:
            within.secrets.put(name, self._seal(name, secret), self._now())

    def remove(self, name: str, tx: Transaction | None = None) -> None:
        with self._writing(tx) as within:
            within.secrets.remove(name)

    def names(self, start: str = "", tx: Transaction | None = None) -> list[str]:
        with self._reading(tx) as within:
            return [name for name in within.secrets.names() if name.startswith(start)]

    @contextmanager
    def write(self) -> Iterator[Transaction | None]:
        with self._store.write() as tx:
            yield tx

    def place(self, name: str) -> str:
        return f"the secret {name} in the database"

    def _reading(self, tx: Transaction | None) -> AbstractContextManager[Transaction]:
        return self._store.read() if tx is None else nullcontext(tx)

    def _writing(self, tx: Transaction | None) -> AbstractContextManager[Transaction]:
        return self._store.write() if tx is None else nullcontext(tx)

    def _seal(self, name: str, secret: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_OCTETS)
        return _VERSION + nonce + self._cipher.encrypt(nonce, secret, _associated(name))

    def _open(self, name: str, sealed: bytes) -> bytes:
        nonce, rest = sealed[1 : 1 + _NONCE_OCTETS], sealed[1 + _NONCE_OCTETS :]
        try:
            if sealed[:1] != _VERSION:
                raise InvalidTag
            return self._cipher.decrypt(nonce, rest, _associated(name))
        except (InvalidTag, ValueError):
            raise StoreUnusable(
                f"{self.place(name)[0].upper()}{self.place(name)[1:]} does not open with this database.key.",
                remedy="Every replica needs the database.key that the hub was made with; if it is that one, "
                "somebody changed the row: restore the database.",
            ) from None


def _associated(name: str) -> bytes:
    return Writer(_LABEL).text(name).finish()
