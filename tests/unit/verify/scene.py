"""What the verifier's tests share: a court with a real certificate chain, and its policy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from candor_proto.ids import NodeId
from candor_proto.signing import SigningKey
from candor_proto.tlog.policy import members_policy
from candor_verify.policy import parse_policy
from candor_verify.proof import Judge
from tests import accountable, misdeeds, parties
from tests.accountable import Court
from tests.parties import FEDERATION, NOW
from tests.unit.proto.accountability import test_framing

DAY = timedelta(days=1)


def usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs, key_cert_sign=not signs, crl_sign=not signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


class Chain:
    """A root, an authority below it, and the hub's directory key; whatever is to be odd is a parameter."""

    def __init__(
        self,
        *,
        name: str = f"spiffe://{FEDERATION}/hub/directory",
        not_after: datetime = NOW + 90 * DAY,
        not_before: datetime = NOW - DAY,
        authority: x509.BasicConstraints | None = None,
        permitted: str | None = str(FEDERATION),
        leaf_signs: bool = True,
    ) -> None:
        self.key = Ed25519PrivateKey.generate()
        root_key, authority_key = (
            ec.generate_private_key(ec.SECP256R1()),
            ec.generate_private_key(ec.SECP256R1()),
        )
        root_name, authority_name, leaf_name = (
            self._name(each) for each in ("root", "authority", "directory")
        )
        basic = authority or x509.BasicConstraints(ca=True, path_length=0)
        root = (
            self._builder(root_name, root_name, root_key.public_key(), NOW - DAY, NOW + 900 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(usage(signs=False), critical=True)
        )
        if permitted is not None:
            tree = [x509.UniformResourceIdentifier(permitted)]
            root = root.add_extension(x509.NameConstraints(tree, None), critical=True)
        self.root = root.sign(root_key, hashes.SHA256())
        between = (
            self._builder(authority_name, root_name, authority_key.public_key(), NOW - DAY, NOW + 300 * DAY)
            .add_extension(basic, critical=True)
            .add_extension(usage(signs=False), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        leaf = (
            self._builder(leaf_name, authority_name, self.key.public_key(), not_before, not_after)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)]), critical=False
            )
            .add_extension(usage(signs=leaf_signs), critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        self.der = tuple(each.public_bytes(Encoding.DER) for each in (leaf, between))

    @staticmethod
    def _name(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    @staticmethod
    def _builder(
        subject: x509.Name, issuer: x509.Name, key: object, not_before: datetime, not_after: datetime
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)  # type: ignore[arg-type]  # a public key of either kind
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
        )


def court_of(chain: Chain) -> Court:
    """A court whose hub's directory key hangs from this chain."""
    original = parties.Parties.__init__

    def with_key(self: parties.Parties, *names: str) -> None:
        original(self, *names)
        self.directory_key = SigningKey(chain.key.private_bytes_raw())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parties.Parties, "__init__", with_key)
        return Court()


@contextmanager
def chained(chain: Chain) -> Iterator[None]:
    """Within, the helpers that name a chain name this one."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (accountable, misdeeds, test_framing):
            patch.setattr(module, "CHAIN", chain.der)
        yield


def policy_of(court: Court) -> bytes:
    """The policy's text."""
    log = court.log
    members = [
        (NodeId(name), keys.verifier_keys[1]) for name, keys in zip(log.names, log.witnesses, strict=True)
    ]
    return members_policy(log.keys.verifier_keys, members)


def judge_of(court: Court, now: datetime = NOW) -> Judge:
    return Judge(parse_policy(policy_of(court)), now)
