"""Which files of a folder belong together, and how they are joined to a database.

Rules of this file:
- the newest state that is there whole is taken. If a newer one is there in part, that is said: it was lost;
- a base counts when it has the SHA-256 that its changes name, changes when their HMAC is theirs and the one
  before is there; what is joined has, page by page, the tags that its account adds up to.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from candor_backup import changes, folders
from candor_backup.changes import Account, Keys
from candor_backup.pages import PAGE_OCTETS, TAG_OCTETS
from candor_proto.errors import CandorError, InputInvalid, StoreUnusable

_CHUNK_OCTETS = 1 << 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Link:
    """One file of changes, with what names it."""

    path: Path
    account: Account
    mac: bytes


@dataclass(frozen=True)
class Chain:
    """A base and all changes up to one state. `lost` says which newer states are there in part only."""

    base: Path
    links: tuple[Link, ...]
    lost: tuple[str, ...] = ()

    @property
    def account(self) -> Account:
        return self.links[-1].account

    @property
    def octets(self) -> int:
        return self.base.stat().st_size + sum(link.path.stat().st_size for link in self.links)


def read_links(folder: Path, sort: str, key: bytes) -> tuple[list[Link], list[tuple[Path, CandorError]]]:
    """The files of changes in a folder, oldest first, and those that cannot be read, with why.

    Their ends are read, not the whole. Raises InputInvalid.
    """
    keys, links, damaged = Keys.of(key), list[Link](), list[tuple[Path, CandorError]]()
    for path in folders.parts(folder, sort, folders.CHANGES):
        try:
            account, mac = changes.read_account(path, keys)
        except CandorError as error:
            damaged.append((path, error))
            continue
        links.append(Link(path, account, mac))
    return links, damaged


def newest(folder: Path, sort: str, key: bytes, until: datetime | None = None) -> Chain:
    """The newest state of a folder that is there whole, up to a moment if one is named.

    Raises InputInvalid when there is none, StoreUnusable or SealedDataInvalid when none of them can be used.
    """
    links, damaged = read_links(folder, sort, key)
    if not links:
        if damaged:
            raise damaged[-1][1]
        raise InputInvalid(
            f"{folder} holds no {sort} of a backup.", remedy="Name the folder that the backup was written to."
        )
    by_mac, keys = {link.mac: link for link in links}, Keys.of(key)
    lost = [f"{path.name}: {error.message}" for path, error in damaged]
    whole: set[Path] = set()
    wanted = [link for link in links if until is None or link.account.written_at <= until]
    # By their names, which are in the order in which they were made: a clock may have been wrong.
    for link in reversed(wanted):
        try:
            found = _to(link, by_mac, folder)
            for each in found:
                if each.path not in whole:
                    changes.check(each.path, keys)
                    whole.add(each.path)
            return Chain(folder / link.account.base_name, found, tuple(lost))
        except StoreUnusable as error:
            lost.append(f"the state of {link.account.written_at:%Y-%m-%d %H:%M:%S} UTC: {error.message}")
    raise StoreUnusable(
        f"Nothing in {folder} can be put together. " + " ".join(lost), remedy="Use another backup."
    )


def _to(link: Link, by_mac: dict[bytes, Link], folder: Path) -> tuple[Link, ...]:
    """The changes up to this link, the first one first; raises StoreUnusable for one that is missing."""
    found = [link]
    while found[0].account.number:
        before = by_mac.get(found[0].account.previous)
        if before is None or before.account.generation != link.account.generation:
            raise StoreUnusable(f"the changes before {found[0].path.name} are missing.")
        found.insert(0, before)
    if not (folder / link.account.base_name).is_file():
        raise StoreUnusable(f"its base {link.account.base_name} is missing.")
    return tuple(found)


def join(chain: Chain, to: Path, progress: Progress = lambda done, of: None) -> None:
    """Put the database together in the file `to`, which is overwritten; it is synced at the end.

    `chain` comes from `newest`, which has read its changes. Raises StoreUnusable, SealedDataInvalid or
    OSError, and then `to` is of no use.
    """
    total = chain.octets
    os.close(os.open(to, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
    done = 0
    with to.open("r+b") as out:
        done = _check_base(chain, lambda chunk: _write(out.fileno(), chunk))
        progress(done, total)
        for link in chain.links:
            for number, page in changes.read_pages(link.path, link.account):
                os.pwrite(out.fileno(), page, (number - 1) * PAGE_OCTETS)
            out.truncate(link.account.pages * PAGE_OCTETS)
            done += link.path.stat().st_size
            progress(done, total)
        os.fsync(out.fileno())
    if changes.digest_of_tags(_tags(to)) != chain.account.digest:
        raise StoreUnusable(
            f"What was put together from {chain.base.parent} is not what was backed up.",
            remedy="Use another backup, and check the disk.",
        )


def _check_base(chain: Chain, write: Callable[[bytes], None] | None) -> int:
    digest, octets = sha256(), 0
    with chain.base.open("rb") as file:
        while chunk := file.read(_CHUNK_OCTETS):
            digest.update(chunk)
            octets += len(chunk)
            if write is not None:
                write(chunk)
    if digest.digest() != chain.account.base:
        raise StoreUnusable(
            f"{chain.base} is damaged: it is not the file that was written.",
            remedy="Use another backup, and check the disk.",
        )
    return octets


def _write(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def _tags(path: Path) -> bytes:
    found = bytearray()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_OCTETS):
            found += b"".join(
                [chunk[end - TAG_OCTETS : end] for end in range(PAGE_OCTETS, len(chunk) + 1, PAGE_OCTETS)]
            )
    return bytes(found)


def prune(folder: Path, sort: str, key: bytes, oldest: datetime) -> int:
    """Delete generations whose last state is older than `oldest`, but never the newest one; how many.

    Files that cannot be read are left for a person to look at. Raises InputInvalid or StoreUnusable.
    """
    links, _ = read_links(folder, sort, key)
    generations: dict[bytes, list[Link]] = {}
    for link in links:
        generations.setdefault(link.account.generation, []).append(link)
    last = {one: max(link.account.written_at for link in each) for one, each in generations.items()}
    newest_one = links[-1].account.generation if links else None
    gone = [one for one in generations if one != newest_one and last[one] < oldest]
    try:
        for one in gone:
            _delete(folder, generations[one])
        if gone:
            folders.sync(folder)
    except OSError as error:
        raise folders.unusable(folder, error) from None
    return len(gone)


def _delete(folder: Path, links: Sequence[Link]) -> None:
    for link in sorted(links, key=lambda one: one.account.number, reverse=True):
        link.path.unlink(missing_ok=True)
    (folder / links[0].account.base_name).unlink(missing_ok=True)


def free_octets(folder: Path) -> int:
    """How much room there is; raises OSError."""
    return shutil.disk_usage(folder).free
