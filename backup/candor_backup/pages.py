"""A page of an encrypted database as it lies on the disk.

SQLCipher 4 with a raw key (https://www.zetetic.net/sqlcipher/design/): pages of 4,096 octets, of which the
last 80 are an IV (16) and an HMAC-SHA512 (64) over ciphertext, IV and the page's number; AES-256-CBC without
padding. The first page begins with the salt in place of SQLite's magic. The key of the HMAC is
PBKDF2-HMAC-SHA512 of the raw key over the salt xor 0x3a, two rounds.

Rules of this file:
- every write of a page draws a new IV, so the end of its HMAC (`tag`) names its content: two pages of one
  number and one tag are the same octets, but for one chance in 2^128;
- a page of zeros is one that was never written: SQLite has taken it up and not used it yet.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from candor_proto.errors import StoreUnusable

PAGE_OCTETS = 4096
SALT_OCTETS, IV_OCTETS, MAC_OCTETS, TAG_OCTETS = 16, 16, 64, 16
RESERVE_OCTETS = IV_OCTETS + MAC_OCTETS
USABLE_OCTETS = PAGE_OCTETS - RESERVE_OCTETS
MAGIC = b"SQLite format 3\0"
UNWRITTEN = bytes(PAGE_OCTETS)
_SALT_MASK, _ROUNDS, _KEY_OCTETS = 0x3A, 2, 32


def tag(page: bytes) -> bytes:
    """The octets by which a page's content is known; zeros of one that was never written."""
    return page[-TAG_OCTETS:]


class PageCipher:
    """Checks, opens and seals the pages of one database."""

    def __init__(self, key: bytes, salt: bytes) -> None:
        """`salt` is the beginning of the database's first page."""
        masked = bytes(octet ^ _SALT_MASK for octet in salt)
        self._key = key
        self._salt = salt
        self._mac_key = hashlib.pbkdf2_hmac("sha512", key, masked, _ROUNDS, _KEY_OCTETS)

    def __repr__(self) -> str:
        return "PageCipher()"

    def check(self, number: int, page: bytes) -> None:
        """Raises StoreUnusable unless this is page `number`, as it was written under this key."""
        if page == UNWRITTEN:
            return
        start = SALT_OCTETS if number == 1 else 0
        if not hmac.compare_digest(self._mac(number, page[start:-MAC_OCTETS]), page[-MAC_OCTETS:]):
            raise StoreUnusable(
                f"Page {number} is not what was written.",
                remedy="Check the disk. A database that is damaged is restored from a backup.",
            )

    def open(self, number: int, page: bytes) -> bytes:
        """The page in clear, with its last 80 octets as they are; raises StoreUnusable."""
        self.check(number, page)
        if page == UNWRITTEN:
            return page
        start = SALT_OCTETS if number == 1 else 0
        iv = page[USABLE_OCTETS : USABLE_OCTETS + IV_OCTETS]
        decryptor = Cipher(algorithms.AES(self._key), modes.CBC(iv)).decryptor()
        clear = decryptor.update(page[start:USABLE_OCTETS]) + decryptor.finalize()
        return (MAGIC if number == 1 else b"") + clear + page[USABLE_OCTETS:]

    def seal(self, number: int, clear: bytes, iv: bytes | None = None) -> bytes:
        """The opposite of `open`, under a new IV."""
        iv = iv or secrets.token_bytes(IV_OCTETS)
        start = SALT_OCTETS if number == 1 else 0
        encryptor = Cipher(algorithms.AES(self._key), modes.CBC(iv)).encryptor()
        sealed = encryptor.update(clear[start:USABLE_OCTETS]) + encryptor.finalize()
        mac = self._mac(number, sealed + iv)
        return (self._salt if number == 1 else b"") + sealed + iv + mac

    def _mac(self, number: int, covered: bytes) -> bytes:
        return hmac.digest(self._mac_key, covered + number.to_bytes(4, "little"), "sha512")
