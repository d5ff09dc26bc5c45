"""Every page of an encrypted database, decrypted by hand: proof that something is nowhere in it.

SQLCipher 4 with a raw key (https://www.zetetic.net/sqlcipher/design/): pages of 4,096 octets, of which the
last 80 are an IV (16) and an HMAC-SHA512 (64) over ciphertext, IV and page number; AES-256-CBC without
padding. The first page begins with the salt instead of SQLite's magic. The key of the HMAC is
PBKDF2-HMAC-SHA512 of the raw key over the salt xor 0x3a, two rounds. A frame of the write-ahead log is a
header of 24 octets and a page.

Nothing here goes through SQLite, so free pages, unallocated space inside pages and frames of the log that
were checkpointed long ago are seen as they lie on the disk.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PAGE_OCTETS = 4096
SALT_OCTETS, IV_OCTETS, MAC_OCTETS = 16, 16, 64
RESERVE_OCTETS = IV_OCTETS + MAC_OCTETS
_WAL_HEADER, _FRAME_HEADER = 32, 24
_MAGIC = b"SQLite format 3\0"
_NONCE_OCTETS = 12


@dataclass(frozen=True)
class Page:
    """One page: where it lies, its number in the database, and its octets in clear."""

    file: str
    number: int
    octets: bytes


def pages(database: Path, key: bytes) -> list[Page]:
    """All pages of `database` and of its write-ahead log; AssertionError for one that does not verify."""
    stored = database.read_bytes()
    assert len(stored) % PAGE_OCTETS == 0, f"{database.name} is not made of whole pages"
    cipher = _PageCipher(key, stored[:SALT_OCTETS])
    found = [
        Page(
            database.name,
            at // PAGE_OCTETS + 1,
            cipher.open(at // PAGE_OCTETS + 1, stored[at:][:PAGE_OCTETS]),
        )
        for at in range(0, len(stored), PAGE_OCTETS)
    ]
    log = database.with_name(database.name + "-wal")
    if log.exists():
        found += [Page(log.name, number, cipher.open(number, page)) for number, page in _frames(log)]
    assert found[0].octets.startswith(_MAGIC)
    return found


def found_in(pages: Iterable[Page], needles: Iterable[bytes]) -> list[str]:
    """Where any of `needles` lies in clear, as `file page n`: empty when none does."""
    wanted = [needle for needle in needles if needle]
    return [
        f"{page.file} page {page.number}" for page in pages if any(needle in page.octets for needle in wanted)
    ]


def keys_that_open(pages: Iterable[Page], sealed: bytes, associated: bytes) -> set[bytes]:
    """Every run of 32 octets on any page that opens `sealed` (nonce ‖ AES-256-GCM) with `associated`."""
    nonce, body = sealed[:_NONCE_OCTETS], sealed[_NONCE_OCTETS:]
    return {key for key in _candidates(pages) if _opens(key, nonce, body, associated)}


def _candidates(pages: Iterable[Page]) -> set[bytes]:
    """Runs of 32 octets that may be a random key: with many different octets (a text or padding has few)."""
    found: set[bytes] = set()
    for page in pages:
        content = page.octets[: PAGE_OCTETS - RESERVE_OCTETS]
        for at in range(len(content) - 31):
            run = content[at : at + 32]
            if not run.isascii() and len(set(run)) > 16:
                found.add(run)
    return found


def _opens(key: bytes, nonce: bytes, body: bytes, associated: bytes) -> bool:
    try:
        AESGCM(key).decrypt(nonce, body, associated)
    except InvalidTag:
        return False
    return True


def _frames(log: Path) -> Iterator[tuple[int, bytes]]:
    """(page number, encrypted page) of every frame, those of earlier rounds of the log too."""
    stored = log.read_bytes()
    for at in range(_WAL_HEADER, len(stored) - PAGE_OCTETS - _FRAME_HEADER + 1, _FRAME_HEADER + PAGE_OCTETS):
        page = stored[at + _FRAME_HEADER :][:PAGE_OCTETS]
        number = int.from_bytes(stored[at : at + 4], "big")
        if number:
            yield number, page


class _PageCipher:
    def __init__(self, key: bytes, salt: bytes) -> None:
        self._key = key
        self._mac_key = hashlib.pbkdf2_hmac("sha512", key, bytes(octet ^ 0x3A for octet in salt), 2, 32)

    def open(self, number: int, page: bytes) -> bytes:
        if not any(page):  # a hole: its page is in the log alone
            return page
        start = SALT_OCTETS if number == 1 else 0
        end = PAGE_OCTETS - RESERVE_OCTETS
        iv, mac = page[end : end + IV_OCTETS], page[end + IV_OCTETS :]
        covered = page[start : end + IV_OCTETS] + number.to_bytes(4, "little")
        assert hmac.compare_digest(hmac.digest(self._mac_key, covered, "sha512"), mac), f"page {number}"
        decryptor = Cipher(algorithms.AES(self._key), modes.CBC(iv)).decryptor()
        clear = decryptor.update(page[start:end]) + decryptor.finalize()
        return (_MAGIC if number == 1 else b"") + clear + page[end:]
