"""The certificates of the story: a root, an issuing authority, the directory key's. Made once, then kept."""

from __future__ import annotations

import json
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from candor_certs.authority import create_issuing, create_root
from candor_certs.chain import load_certificate, verify_directory_certificate
from candor_proto.canonical import digest
from candor_proto.errors import CandorError
from candor_proto.ids import Digest
from tools.vectors.book import FOLDER
from tools.vectors.parties import DAY, DIRECTORY_KEY, FEDERATION, NOW

NAMES = ("directory certificate", "issuing certificate", "root certificate")


def directory_key(chain: list[bytes], root: x509.Certificate) -> bytes:
    """The key that a chain certifies; raises CandorError."""
    key = verify_directory_certificate(chain, [root], FEDERATION, NOW)
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


@lru_cache(maxsize=1)
def certificates() -> tuple[bytes, bytes, bytes]:
    """The directory key's certificate, the one above it, the root; DER."""
    return _kept() or _made()


def _kept() -> tuple[bytes, bytes, bytes] | None:
    path = FOLDER / "evidence.json"
    if not path.exists():
        return None
    material = json.loads(path.read_text("ascii")).get("material", {})
    try:
        own, issuing, root = (bytes.fromhex(material[name]) for name in NAMES)
        holds = directory_key([own, issuing], load_certificate(root)) == DIRECTORY_KEY.public.value
    except (KeyError, CandorError):
        return None
    return (own, issuing, root) if holds else None


def _made() -> tuple[bytes, bytes, bytes]:
    root = create_root(FEDERATION, NOW - 10 * DAY)
    issuing = create_issuing(root, FEDERATION, NOW - 9 * DAY)
    public = Ed25519PrivateKey.from_private_bytes(DIRECTORY_KEY.seed()).public_key()
    own = issuing.issue_directory(public, NOW - 8 * DAY)
    made = (own, issuing.certificate, root.certificate)
    first, second, third = (one.public_bytes(Encoding.DER) for one in made)
    return first, second, third


def chain() -> list[bytes]:
    return list(certificates()[:2])


def chain_digest() -> Digest:
    return Digest(digest("certificate-chain", *chain()))
