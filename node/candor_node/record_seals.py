"""One data key a record: what is sealed under it, and its destruction (docs/records.md, "One key a record").

Rules of this file:
- everything that says something of a person is sealed under the record's own key with AES-256-GCM, bound to
  what it is (`aad`), so that no row can be put in another's place;
- to destroy the key is to destroy the record, in old backups too, for keys are backed up apart.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from candor_node.store import Database
from candor_proto.errors import SealedDataInvalid, UnknownObject

KEY_OCTETS = 32
_NONCE_OCTETS = 12


def seal(key: bytes, plain: bytes, aad: bytes) -> bytes:
    """nonce[12] ‖ AES-256-GCM(key, nonce, plain, aad)."""
    nonce = secrets.token_bytes(_NONCE_OCTETS)
    return nonce + AESGCM(key).encrypt(nonce, plain, aad)


def open_sealed(key: bytes, sealed: bytes, aad: bytes, what: str) -> bytes:
    """The opposite of `seal`; raises SealedDataInvalid, naming `what` was altered or moved."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_OCTETS], sealed[_NONCE_OCTETS:], aad)
    except (InvalidTag, ValueError):
        raise SealedDataInvalid(
            f"{what} does not open: its row was altered.", remedy="Restore the last backup."
        ) from None


def draw_key() -> bytes:
    return secrets.token_bytes(KEY_OCTETS)


def keep_key(db: Database, record_id: bytes, key: bytes) -> None:
    """Store the key of a new record, once its head is there."""
    db.execute("INSERT INTO record_keys VALUES (?, ?)", [record_id, key])


def find_key(db: Database, record_id: bytes) -> bytes | None:
    """None once it was destroyed."""
    row = db.execute("SELECT key FROM record_keys WHERE record_id = ?", [record_id]).fetchone()
    return None if row is None else row[0]


def key_of(db: Database, record_id: bytes) -> bytes:
    """Raises UnknownObject once it was destroyed."""
    key = find_key(db, record_id)
    if key is None:
        raise UnknownObject("The record was destroyed: nothing of it can be opened or added.")
    return key


def destroy_key(db: Database, record_id: bytes) -> None:
    """Crypto-shredding: overwrite and delete the record's key. Nobody opens anything of the record again."""
    db.execute("UPDATE record_keys SET key = zeroblob(32) WHERE record_id = ?", [record_id])
    db.execute("DELETE FROM record_keys WHERE record_id = ?", [record_id])
