"""The deny list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from candor_certs.chain import verify_peer
from candor_certs.revocation import DenyList
from candor_proto.errors import CertificateRevoked, DenyListStale
from tests.certificates import FlawedCertificates, federation_authority

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
AUTHORITY = federation_authority(NOW)
IDENTITY = verify_peer(FlawedCertificates(AUTHORITY, NOW).good().chain_der, [AUTHORITY.root], NOW)


def test_who_is_not_on_the_list_passes() -> None:
    DenyList(frozenset({1, 2, 3}), issued_at=NOW).check(IDENTITY, NOW)


def test_a_denied_serial_is_refused() -> None:
    with pytest.raises(CertificateRevoked):
        DenyList(frozenset({IDENTITY.serial}), issued_at=NOW).check(IDENTITY, NOW)


def test_a_denied_fingerprint_is_refused() -> None:
    with pytest.raises(CertificateRevoked):
        DenyList(frozenset(), issued_at=NOW, fingerprints=frozenset({IDENTITY.fingerprint})).check(
            IDENTITY, NOW
        )


def test_a_denied_authority_takes_everything_below_it_along() -> None:
    with pytest.raises(CertificateRevoked):
        DenyList(frozenset({AUTHORITY.certificate.serial_number}), issued_at=NOW).check(IDENTITY, NOW)


def test_a_stale_list_refuses_everybody() -> None:
    deny_list = DenyList(frozenset(), issued_at=NOW, max_age=timedelta(seconds=60))
    deny_list.check(IDENTITY, NOW + timedelta(seconds=60))
    with pytest.raises(DenyListStale):
        deny_list.check(IDENTITY, NOW + timedelta(seconds=61))


def test_a_list_from_the_future_refuses_everybody() -> None:
    """Else a clock set back would keep an old list alive."""
    deny_list = DenyList(frozenset(), issued_at=NOW)
    deny_list.check(IDENTITY, NOW - timedelta(minutes=5))
    with pytest.raises(DenyListStale):
        deny_list.check(IDENTITY, NOW - timedelta(minutes=6))
