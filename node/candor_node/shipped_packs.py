"""The policy packs that come with Candor, and the key they were signed with.

Rules of this file:
- a shipped pack is checked like any other before it is used: tools/sign_packs.py signs them all with a key
  that is forgotten afterwards, so that nothing else can be signed with it;
- that signature speaks for a file that was carried somewhere. Whoever can change this installation can change
  key and packs together: what protects the installation is how it was obtained.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from candor_proto.errors import ConfigInvalid, MalformedMessage, UnknownObject
from candor_proto.signing import VerifyingKey
from candor_records.pack import PackPolicy
from candor_records.pack_reader import read_pack
from candor_records.pack_rules import DEFAULT_PACK, Pack
from candor_records.pack_signature import SUFFIX, PackSignature, check_signature

_FOLDER = resources.files("candor_records").joinpath("packs")
KEY_FILE = "release.pub"


@dataclass(frozen=True)
class SignedPack:
    """A pack and the signature that was checked."""

    pack: Pack
    signature: PackSignature


def names() -> list[str]:
    """The shipped packs, the default first."""
    files = [each.name for each in _FOLDER.iterdir()]
    found = [name.removesuffix(".toml") for name in files if name.endswith(".toml")]
    return sorted(found, key=lambda name: (name != DEFAULT_PACK, name))


@lru_cache(maxsize=1)
def release_key() -> VerifyingKey:
    """The key with which the shipped packs were signed."""
    return VerifyingKey(bytes.fromhex(_FOLDER.joinpath(KEY_FILE).read_text("ascii").strip()))


def trusted_keys(further: Iterable[str] = ()) -> frozenset[VerifyingKey]:
    """The release key and those of node.toml, in hexadecimal; raises ConfigInvalid."""
    try:
        return frozenset({release_key(), *(VerifyingKey(bytes.fromhex(text)) for text in further)})
    except (ValueError, MalformedMessage):
        raise ConfigInvalid(
            "pack_issuers names something that is not an Ed25519 public key.",
            remedy="Each key is 64 hexadecimal digits, as the issuer's NAME.toml.sig shows it.",
        ) from None


@lru_cache(maxsize=16)
def shipped(name: str) -> SignedPack:
    """A shipped pack by name, its signature checked. Raises UnknownObject, SignatureInvalid, PackInvalid."""
    if name not in names():
        raise UnknownObject(
            "No pack of that name comes with Candor.", remedy=f"These do: {', '.join(names())}."
        )
    octets = _FOLDER.joinpath(f"{name}.toml").read_bytes()
    signature = PackSignature.parse(_FOLDER.joinpath(f"{name}.toml{SUFFIX}").read_text("ascii"))
    check_signature(octets, signature, {release_key()})
    return SignedPack(read_pack(octets), signature)


@lru_cache(maxsize=1)
def default_policy() -> PackPolicy:
    """The policy of a fresh node: the shipped default pack alone."""
    return PackPolicy((shipped(DEFAULT_PACK).pack,))
