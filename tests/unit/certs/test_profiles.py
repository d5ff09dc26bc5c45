"""Certificate profiles and key strength."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from candor_certs.names import Role
from candor_certs.profiles import (
    CLOCK_TOLERANCE,
    HUB,
    JITTER,
    PROFILES,
    check_tls_key,
    overdue_time,
    renewal_time,
)
from candor_proto.errors import CertificateRefused

NOW = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: ec.generate_private_key(ec.SECP256R1()), id="p256"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP384R1()), id="p384"),
        pytest.param(lambda: rsa.generate_private_key(65537, 2048), id="rsa2048"),
    ],
)
def test_a_key_of_the_profile_is_accepted(key: object) -> None:
    public = key().public_key()  # type: ignore[operator]  # a factory, so that collecting makes no keys
    assert check_tls_key(public) is public


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: rsa.generate_private_key(65537, 1024), id="rsa1024"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP192R1()), id="p192"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP521R1()), id="p521"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP256K1()), id="secp256k1"),
        pytest.param(ed25519.Ed25519PrivateKey.generate, id="ed25519"),
    ],
)
def test_any_other_key_is_refused(key: object) -> None:
    with pytest.raises(CertificateRefused) as refused:
        check_tls_key(key().public_key())  # type: ignore[operator]  # as above
    assert "2048" in refused.value.remedy


def test_an_rsa_key_that_only_makes_the_verifier_work_is_refused() -> None:
    public = rsa.RSAPublicNumbers(65537, (1 << 16383) | 1).public_key()
    with pytest.raises(CertificateRefused):
        check_tls_key(public)


def test_only_the_hub_may_carry_host_names() -> None:
    assert [profile for profile in PROFILES.values() if profile.host_names] == [HUB]
    assert set(PROFILES) == set(Role)


def test_validity_begins_a_clock_tolerance_early_and_in_whole_seconds() -> None:
    start, end = HUB.validity(NOW)
    assert start == NOW.replace(microsecond=0) - CLOCK_TOLERANCE
    assert end == NOW.replace(microsecond=0) + timedelta(days=7)


def test_renewal_is_due_at_two_thirds_of_life_and_overdue_at_five_sixths() -> None:
    start = NOW - CLOCK_TOLERANCE  # a certificate of that moment begins so early
    assert renewal_time(start, NOW + timedelta(days=9)) == NOW + timedelta(days=6)
    assert overdue_time(start, NOW + timedelta(days=9)) == NOW + timedelta(days=7.5)


def test_a_short_life_is_not_all_tolerance() -> None:
    assert renewal_time(NOW - CLOCK_TOLERANCE, NOW + timedelta(seconds=30)) == NOW + timedelta(seconds=20)
    assert renewal_time(NOW, NOW + timedelta(seconds=30)) == NOW + timedelta(seconds=30)


def test_members_certified_together_do_not_renew_together() -> None:
    start, end = NOW - CLOCK_TOLERANCE, NOW + timedelta(days=10)
    drawn = [renewal_time(start, end, Random(seed)) for seed in range(300)]
    early, late = NOW + timedelta(days=10) * (2 / 3 - JITTER), NOW + timedelta(days=10) * (2 / 3 + JITTER)
    assert all(early <= moment <= late for moment in drawn)
    assert min(drawn) < early + timedelta(hours=2) < late - timedelta(hours=2) < max(drawn)
    assert renewal_time(start, end, Random(7)) == drawn[7]
    assert late < overdue_time(start, end)
