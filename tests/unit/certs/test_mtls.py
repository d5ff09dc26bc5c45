"""gRPC credentials and options; their effect: tests/integration/test_refused_certificates.py."""

from __future__ import annotations

import pytest

from candor_certs.mtls import (
    CLIENT_OPTIONS,
    NEVER_MS,
    channel_credentials,
    client_options,
    enrolment_channel_credentials,
    enrolment_options,
    rotating_server_credentials,
    server_credentials,
    server_options,
)
from candor_certs.requests import new_tls_key
from candor_certs.store import TlsIdentity
from candor_hub.guard.budget import SILENT_SECONDS
from candor_hub.guard.relay import IDLE_SECONDS
from candor_proto.errors import ConfigInvalid, InputInvalid
from candor_wire.limits import HEARTBEAT_SECONDS, RARE_HEARTBEAT_SECONDS, SILENCE_SECONDS
from tests.certificates import FEDERATION, FlawedCertificates, federation_authority

AUTHORITY = federation_authority()
GOOD = FlawedCertificates(AUTHORITY).good()


def test_without_a_root_there_are_no_credentials() -> None:
    """gRPC would fall back on the operating system's authorities."""
    with pytest.raises(ConfigInvalid):
        channel_credentials(GOOD.key, GOOD.chain, [])
    with pytest.raises(ConfigInvalid):
        enrolment_channel_credentials([])
    with pytest.raises(ConfigInvalid):
        server_credentials(GOOD.key, GOOD.chain, [])
    with pytest.raises(ConfigInvalid):
        rotating_server_credentials(lambda: TlsIdentity(GOOD.key, GOOD.chain), [])


def test_a_key_of_another_certificate_is_refused_before_grpc_sees_it() -> None:
    with pytest.raises(InputInvalid):
        channel_credentials(new_tls_key(), GOOD.chain, [AUTHORITY.root])
    with pytest.raises(InputInvalid):
        server_credentials(new_tls_key(), GOOD.chain, [AUTHORITY.root])


def test_the_client_compares_the_hubs_name_whatever_address_it_dials() -> None:
    assert ("grpc.ssl_target_name_override", f"hub.{FEDERATION}") in client_options(FEDERATION)


@pytest.mark.parametrize(
    "setting",
    [
        ("grpc.max_concurrent_streams", 4),
        ("grpc.max_receive_message_length", 1 << 20),
        ("grpc.server_handshake_timeout_ms", 5_000),
        ("grpc.max_allowed_incoming_connections", 2_512),
        ("grpc.http2.max_ping_strikes", 0),
        ("grpc.http.tarpit", 0),
        ("grpc.http.overload_protection", 0),
        ("grpc.http2.ping_timeout_ms", 7_000),
        ("grpc.so_reuseport", 0),
    ],
)
def test_what_protects_the_hub_is_set(setting: tuple[str, int]) -> None:
    assert setting in server_options(nodes=1_000)


def test_the_client_pings_less_often_than_the_server_allows() -> None:
    server, client = dict(server_options(1)), dict(CLIENT_OPTIONS)
    allowed = server["grpc.http2.min_ping_interval_without_data_ms"]
    pings = client["grpc.keepalive_time_ms"]
    assert isinstance(allowed, int)
    assert isinstance(pings, int)
    assert pings >= 2 * allowed


def test_one_end_pings_and_not_both() -> None:
    """Pings of both would cost a hub with a thousand streams twice as much: behind the guard it pings nobody.

    A node that hears nothing pings; one that hears something answers it, by the ping with which gRPC measures
    the line. Either comes at the guard, with as much time to spare as a ping has to be answered.
    """
    client = dict(CLIENT_OPTIONS)
    assert "grpc.http2.bdp_probe" not in client
    assert dict(server_options(1, guarded=True))["grpc.keepalive_time_ms"] == NEVER_MS
    pings = int(client["grpc.keepalive_time_ms"]) / 1_000
    assert pings + int(client["grpc.http2.ping_timeout_ms"]) / 1_000 <= SILENT_SECONDS
    assert int(dict(server_options(1))["grpc.keepalive_time_ms"]) / 1_000 < pings


def test_a_dead_line_is_noticed_within_thirty_seconds_with_the_guard_and_without_it() -> None:
    assert SILENT_SECONDS + IDLE_SECONDS <= 28
    server = dict(server_options(1))
    pings, waits = server["grpc.keepalive_time_ms"], server["grpc.http2.ping_timeout_ms"]
    assert (int(pings) + int(waits)) / 1_000 <= 28


def test_heartbeats_come_before_a_node_takes_its_stream_for_dead() -> None:
    """The first release does so after 60 s, and does not say it."""
    assert 2 * HEARTBEAT_SECONDS <= 60
    assert 2 * RARE_HEARTBEAT_SECONDS < SILENCE_SECONDS


def test_no_option_is_given_twice() -> None:
    for options in (server_options(1), client_options(FEDERATION)):
        assert len(dict(options)) == len(options)


def test_the_port_that_anybody_may_reach_has_tighter_limits_than_the_members() -> None:
    members, anybody = dict(server_options(1_000)), dict(enrolment_options())
    assert set(members) == set(anybody)
    for name in (
        "grpc.max_concurrent_streams",
        "grpc.max_receive_message_length",
        "grpc.max_allowed_incoming_connections",
        "grpc.max_connection_idle_ms",
        "grpc.max_connection_age_ms",
    ):
        assert int(anybody[name]) < int(members[name])
