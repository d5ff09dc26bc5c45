"""Copies a database that holds still: all of its pages, or those that changed since the last time.

    base: records-⟨time⟩.db       every page, secrets blanked: a database that opens under its key
    changes: records-⟨time⟩.delta  the pages that changed, and what the whole adds up to

Rules of this file:
- it runs in a process of its own (`copier`): closing a file in the process that has it open as a database
  would drop the locks by which SQLite keeps that database whole;
- a page is found to have changed by its tag, which costs reading the file and nothing else: no page is
  decrypted but those that lead to the tables of keys;
- every page that is written was checked under the database key, so damage is noticed before it is carried on;
- what was written is synced, dropped from memory where the system allows it, read again and checked again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from candor_backup import changes, folders, trees
from candor_backup.changes import Account, Keys, Writer, digest_of_tags
from candor_backup.known import Known
from candor_backup.pages import PAGE_OCTETS, TAG_OCTETS, PageCipher, tag
from candor_backup.trees import TablePages
from candor_proto.errors import StoreUnusable

CHUNK_PAGES = 256
_CHUNK_OCTETS = CHUNK_PAGES * PAGE_OCTETS


@dataclass(frozen=True)
class Copy:
    """What is to be copied: `roots` are the first pages of the tables of keys, `facts` what the owner adds.

    Without `known` it is a whole copy, and `base_out` is where its pages go.
    """

    database: Path
    key: bytes = field(repr=False)
    roots: tuple[int, ...]
    owner: str
    generation: bytes
    now: datetime
    base_name: str
    base_out: Path | None
    changes_out: Path
    known: Known | None = field(repr=False)
    facts: Mapping[str, Any] = field(default_factory=dict)


def copy_pages(wanted: Copy, alive: Callable[[], None] = lambda: None) -> tuple[Account, Known]:
    """Write the file or files, read them again, and say what they hold; `alive` may raise to end it.

    Raises StoreUnusable or OSError; then what was written is of no use.
    """
    with _Source(wanted.database, wanted.key) as source:
        table = trees.pages_of(source.clear, wanted.roots)
        if wanted.known is None:
            return _whole(wanted, source, table, alive)
        return _changed(wanted, wanted.known, source, table, alive)


def _whole(
    wanted: Copy, source: _Source, table: TablePages, alive: Callable[[], None]
) -> tuple[Account, Known]:
    if wanted.base_out is None:
        raise AssertionError("a whole copy needs a place for its pages")
    tags, blanked, digest = bytearray(), dict[int, bytes](), sha256()
    with folders.open_begun(wanted.base_out) as out:
        for first, chunk in source.chunks(alive):
            tags += _tags(chunk)
            made = bytearray(chunk)
            for place in range(0, len(chunk), PAGE_OCTETS):
                number, page = first + place // PAGE_OCTETS, chunk[place : place + PAGE_OCTETS]
                if number in table.all:
                    page = source.blanked(number, page)
                    blanked[number] = tag(page)
                    made[place : place + PAGE_OCTETS] = page
                else:
                    source.cipher.check(number, page)
            digest.update(made)
            out.write(made)
        _sync(out)
    known = Known(
        wanted.generation,
        0,
        changes.FIRST,
        wanted.base_name,
        digest.digest(),
        wanted.now,
        len(tags) // TAG_OCTETS * PAGE_OCTETS,
        0,
        bytes(tags),
        blanked,
    )
    _check_base(wanted.base_out, known, alive)
    return _account(wanted, known, lambda writer: None)


def _changed(
    wanted: Copy, known: Known, source: _Source, table: TablePages, alive: Callable[[], None]
) -> tuple[Account, Known]:
    tags, blanked = (
        bytearray(),
        {number: known.blanked[number] for number in table.all & known.blanked.keys()},
    )
    # Pages that came to a table of keys or left one are written whatever their tags say.
    moved = table.all ^ known.blanked.keys()

    def write(writer: Writer) -> None:
        for first, chunk in source.chunks(alive):
            found = _tags(chunk)
            tags.extend(found)
            start = (first - 1) * TAG_OCTETS
            before = known.tags[start : start + len(found)]
            count = len(found) // TAG_OCTETS
            if found == before and not any(number in moved for number in range(first, first + count)):
                continue
            for place in range(count):
                number, end = first + place, (place + 1) * TAG_OCTETS
                same = found[end - TAG_OCTETS : end] == before[end - TAG_OCTETS : end]
                if same and number not in moved:
                    continue
                page = chunk[place * PAGE_OCTETS : (place + 1) * PAGE_OCTETS]
                if number in table.all:
                    page = source.blanked(number, page)
                    blanked[number] = tag(page)
                else:
                    source.cipher.check(number, page)
                writer.add(number, page)

    following = replace(known, number=known.number + 1, generation=known.generation)
    account, written = _account(wanted, following, write, lambda: (bytes(tags), blanked))
    return account, written


def _account(
    wanted: Copy,
    known: Known,
    write: Callable[[Writer], None],
    result: Callable[[], tuple[bytes, dict[int, bytes]]] | None = None,
) -> tuple[Account, Known]:
    """Write the file of changes, with the end that says what the whole is now."""
    keys = Keys.of(wanted.key)
    with folders.open_begun(wanted.changes_out) as out:
        writer = Writer(out, keys)
        write(writer)
        tags, blanked = result() if result else (known.tags, known.blanked)
        account = Account(
            wanted.owner,
            wanted.generation,
            known.number,
            known.previous,
            wanted.now,
            len(tags) // TAG_OCTETS,
            writer.changed,
            digest_of_tags(_as_backed_up(tags, blanked)),
            wanted.base_name,
            known.base,
            wanted.facts,
        )
        mac = writer.finish(account)
        octets = out.tell()
        _sync(out)
    _check_changes(wanted, keys, account)
    return account, replace(
        known, previous=mac, change_octets=known.change_octets + octets, tags=tags, blanked=blanked
    )


def _as_backed_up(tags: bytes, blanked: Mapping[int, bytes]) -> bytes:
    """The tags as the backup has them: those of the database, but for pages without their secrets."""
    made = bytearray(tags)
    for number, own in blanked.items():
        made[(number - 1) * TAG_OCTETS : number * TAG_OCTETS] = own
    return bytes(made)


# --- reading -----------------------------------------------------------------------------------------------


class _Source:
    """The database's file, page by page."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._file = path.open("rb", buffering=0)
        try:
            self.pages, rest = divmod(os.fstat(self._file.fileno()).st_size, PAGE_OCTETS)
            if rest or not self.pages:
                raise StoreUnusable(
                    f"{path} is not made of whole pages.", remedy="Check the disk; restore the last backup."
                )
            self.cipher = PageCipher(key, os.pread(self._file.fileno(), 16, 0))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def clear(self, number: int) -> bytes:
        page = os.pread(self._file.fileno(), PAGE_OCTETS, (number - 1) * PAGE_OCTETS)
        return self.cipher.open(number, page)

    def blanked(self, number: int, page: bytes) -> bytes:
        """The page without its secrets, sealed again."""
        return self.cipher.seal(number, trees.without_secrets(self.cipher.open(number, page), number))

    def chunks(self, alive: Callable[[], None]) -> Iterator[tuple[int, bytes]]:
        """The number of the first page of each piece, and the piece."""
        for first in range(1, self.pages + 1, CHUNK_PAGES):
            alive()
            count = min(CHUNK_PAGES, self.pages + 1 - first)
            chunk = os.pread(self._file.fileno(), count * PAGE_OCTETS, (first - 1) * PAGE_OCTETS)
            if len(chunk) != count * PAGE_OCTETS:
                raise StoreUnusable("The database became shorter while it was read.", remedy="Try again.")
            yield first, chunk


def _tags(chunk: bytes) -> bytes:
    return b"".join(
        [chunk[end - TAG_OCTETS : end] for end in range(PAGE_OCTETS, len(chunk) + 1, PAGE_OCTETS)]
    )


# --- reading again -----------------------------------------------------------------------------------------


def _sync(out: BinaryIO) -> None:
    out.flush()
    os.fsync(out.fileno())
    # What is read again comes from the disk then, not from memory.
    os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _check_base(path: Path, known: Known, alive: Callable[[], None]) -> None:
    """Whether the disk holds what was written; each page's HMAC is SQLCipher's to check, when it opens it."""
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_OCTETS):
            alive()
            digest.update(chunk)
    if digest.digest() != known.base:
        raise _not_whole(path)


def _check_changes(wanted: Copy, keys: Keys, account: Account) -> None:
    if changes.check(wanted.changes_out, keys) != account:
        raise _not_whole(wanted.changes_out)
    with wanted.database.open("rb") as file:
        cipher = PageCipher(wanted.key, file.read(16))
    for number, page in changes.read_pages(wanted.changes_out, account):
        cipher.check(number, page)


def _not_whole(path: Path) -> StoreUnusable:
    return StoreUnusable(
        f"{path} does not hold what was written to it.", remedy="Check that disk; back up to another one."
    )
