"""Keys of a backup's own, derived from the database key: whoever restores needs that key and nothing else."""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from candor_proto.errors import SealedDataInvalid

NONCE_OCTETS, TAG_OCTETS = 12, 16


def derive(key: bytes, use: str) -> bytes:
    """32 octets for one use: HKDF-SHA-256(key, info = "candor/backup/" ‖ use)."""
    return HKDF(SHA256(), 32, salt=None, info=b"candor/backup/" + use.encode("ascii")).derive(key)


def seal(key: bytes, plain: bytes, bound: bytes) -> bytes:
    """nonce[12] ‖ AES-256-GCM(key, nonce, plain, bound)."""
    nonce = secrets.token_bytes(NONCE_OCTETS)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound)


def open_sealed(key: bytes, sealed: bytes, bound: bytes, what: str) -> bytes:
    """The opposite of `seal`; raises SealedDataInvalid, naming `what` does not open."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_OCTETS], sealed[NONCE_OCTETS:], bound)
    except (InvalidTag, ValueError):
        raise SealedDataInvalid(
            f"{what} does not open: it was altered, or belongs to another database key.",
            remedy="Use the database key that it was written under, or another backup.",
        ) from None
