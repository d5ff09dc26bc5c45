"""gRPC credentials and settings for both ends of a connection.

How a node knows the hub (docs/protocol.md §8.1). A Python gRPC client cannot look at the server's URI name:
the only name it compares is a host name. So the hub's certificate carries the DNS name `hub.<federation>`,
and every client compares with that (`grpc.ssl_target_name_override`), whatever address it dials: the hub may
move, sit behind any TCP balancer, or be reached by IP. This is as good as comparing the URI because
- only a certificate under the federation's root is accepted (`roots`, never the system's store);
- only `Authority.issue_hub` writes a host name: a node's profile has none, `requests` honours none, and
  `chain` refuses a node's certificate that carries one;
- a node's certificate is not made for serverAuth, which gRPC's client requires of a server.

What gRPC does *not* check, and `peer` therefore does on each call: TLS 1.3, role, key strength, revocation,
and validity after the handshake.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc
from cryptography import x509

from candor_certs.authority import certificates_pem
from candor_certs.names import enrolment_dns_name, hub_dns_name
from candor_certs.profiles import TlsPrivateKey
from candor_certs.store import TlsIdentity, key_pem
from candor_proto.errors import ConfigInvalid
from candor_proto.ids import FederationName

Options = list[tuple[str, int | str]]

MAX_MESSAGE_OCTETS = 1 << 20  # docs/protocol.md §13
# gRPC's largest number of milliseconds: no timer at all.
NEVER_MS = (1 << 31) - 1
CONNECTIONS = "grpc.max_allowed_incoming_connections"

# Each value was measured before it was chosen.
CLIENT_OPTIONS: Options = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_OCTETS),
    ("grpc.max_send_message_length", MAX_MESSAGE_OCTETS),
    # The node asks whether the line is alive, and the hub, which hears that, does not. What gRPC pings of
    # itself to measure the line ("grpc.http2.bdp_probe") stays on: it is a node's answer to whatever it
    # hears, without which a hub that speaks and hears nothing would take it for dead.
    ("grpc.keepalive_time_ms", 18_000),
    ("grpc.keepalive_timeout_ms", 7_000),
    ("grpc.http2.ping_timeout_ms", 7_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # In gRPC's core how long a connection may take to be made, TLS and all, and no pause: at a second, a node
    # behind a slow line would begin again for ever. The hub ends a handshake after five; whoever takes a
    # connection and says nothing, a replica that was stopped, should not hold a node for longer.
    ("grpc.min_reconnect_backoff_ms", 6_000),
    ("grpc.initial_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 60_000),  # plus full jitter in the node: all members come back at once
    ("grpc.use_local_subchannel_pool", 1),  # default 0: a new channel waits out the old one's backoff
]


def enrolment_options() -> Options:
    """Settings of the port that anybody may reach: small messages, few streams, short connections."""
    tighter: dict[str, int] = {
        "grpc.max_concurrent_streams": 2,
        "grpc.max_receive_message_length": 32 * 1024,
        "grpc.max_send_message_length": 64 * 1024,
        CONNECTIONS: 256,
        "grpc.max_connection_idle_ms": 10_000,
        "grpc.max_connection_age_ms": 60_000,
        "grpc.max_connection_age_grace_ms": 10_000,
    }
    return [(name, tighter.get(name, value)) for name, value in server_options(1)]


def server_options(nodes: int, *, guarded: bool = False) -> Options:
    """Settings of a hub for at most `nodes` members.

    `guarded`: the process in front notices dead lines (`candor_hub.guard`), and the hub pings nobody.
    """
    return [
        # A node has its stream and three more; what it wants besides waits at its end. All calls of a
        # method are taken up in the order they came, whoever made them: what one member may have open
        # delays all others.
        ("grpc.max_concurrent_streams", 4),
        ("grpc.max_receive_message_length", MAX_MESSAGE_OCTETS),
        ("grpc.max_send_message_length", MAX_MESSAGE_OCTETS),
        ("grpc.max_metadata_size", 8_192),  # above it gRPC refuses at random,
        ("grpc.absolute_max_metadata_size", 16_384),  # above this always
        ("grpc.server_handshake_timeout_ms", 5_000),  # default 120 s: half-open handshakes pile up
        # A node re-dials before its old stream is gone; the rest is for who turns out to be none
        # (doorkeeper).
        (CONNECTIONS, 2 * nodes + 512),
        ("grpc.max_connection_idle_ms", 3_600_000),  # CJIS SC-10: at most 1 h
        ("grpc.max_connection_age_ms", 12 * 3_600_000),  # a new handshake after each certificate renewal
        ("grpc.max_connection_age_grace_ms", 30_000),
        # Before the node would: one ping for both.
        ("grpc.keepalive_time_ms", NEVER_MS if guarded else 17_000),
        ("grpc.keepalive_timeout_ms", 7_000),
        ("grpc.http2.ping_timeout_ms", 7_000),  # undocumented; without it a dead peer is noticed 60 s later
        # Must stay below half of what clients have: 15 s in the first release.
        ("grpc.http2.min_ping_interval_without_data_ms", 7_000),
        # 0: no cut. gRPC's own costs the square of the pings in a read, and a flood of them stalls every
        # connection of the process for seconds; without it a ping is answered, which is cheap.
        ("grpc.http2.max_ping_strikes", 0),
        # Above the first number gRPC refuses anybody's calls at random. Streams are bounded anyway.
        ("grpc.server.max_pending_requests", 65_536),
        ("grpc.server.max_pending_requests_hard_limit", 65_536),
        # What gRPC does against floods by itself: it holds what it refuses in memory for a while, and refuses
        # honest calls while ended ones are not cleared away yet. The guard does better.
        ("grpc.http.tarpit", 0),
        ("grpc.http.overload_protection", 0),
        # Of a TLS record: what a connection sends goes through buffers of this size, which it keeps. With the
        # default of 16 KiB a thousand nodes hold 20 kB more each, once a lookup to all of them went out.
        ("grpc.tsi.max_frame_size", 4_096),
        # What a peer may have sent that was not looked at yet: the kernel takes twice as much.
        ("grpc.tcp_receive_buffer_size", 64 * 1024),
        ("grpc.so_reuseport", 0),  # default 1: another local process could take a share of the port
    ]


def places(options: Options) -> int:
    """How many connections a port with these settings takes."""
    return int(dict(options)[CONNECTIONS])


def client_options(federation: FederationName) -> Options:
    """CLIENT_OPTIONS, and the name by which the hub of `federation` is known."""
    return named_options(hub_dns_name(federation))


def named_options(server_name: str) -> Options:
    """CLIENT_OPTIONS, and the name that is asked for in the handshake and compared with the certificate."""
    return [*CLIENT_OPTIONS, ("grpc.ssl_target_name_override", server_name)]


def enrolment_server_name(federation: FederationName, *, shares_address: bool) -> str:
    """The name for a call to the enrolment service.

    `shares_address` says that it is dialled at the very address of the hub: then the name in the handshake
    (SNI) is what leads there (docs/firewalls.md). On a port of its own the hub's name will do, and does with
    hubs whose certificate has no other.
    """
    return enrolment_dns_name(federation) if shares_address else hub_dns_name(federation)


def server_credentials(
    key: TlsPrivateKey,
    chain: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    require_client: bool = True,
) -> grpc.ServerCredentials:
    """For a hub's port; `require_client=False` only for enrolment, whose callers have no certificate yet."""
    identity = TlsIdentity(key, tuple(chain))
    return grpc.ssl_server_credentials(
        [(key_pem(identity.key), certificates_pem(identity.chain))],
        root_certificates=_roots_pem(roots) if require_client else None,
        require_client_auth=require_client,
    )


def rotating_server_credentials(
    current: Callable[[], TlsIdentity], roots: Sequence[x509.Certificate], require_client: bool = True
) -> grpc.ServerCredentials:
    """As `server_credentials`, but `current` is asked at each new connection: renewal needs no restart.

    `current` runs on a thread of gRPC's, must be quick and must not raise; while it returns the same object
    nothing changes. Open streams keep the certificate they began with.
    """
    roots_pem = _roots_pem(roots) if require_client else None
    used = current()

    def configuration(identity: TlsIdentity) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(key_pem(identity.key), certificates_pem(identity.chain))], root_certificates=roots_pem
        )

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        latest = current()
        if latest is used:
            return None
        used = latest
        return configuration(latest)

    return grpc.dynamic_ssl_server_credentials(
        configuration(used),
        fetch,  # type: ignore[arg-type]  # the stub forgets that None means "no change"
        require_client,
    )


def channel_credentials(
    key: TlsPrivateKey, chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]
) -> grpc.ChannelCredentials:
    """For a node's connection to the hub; use with `client_options`."""
    identity = TlsIdentity(key, tuple(chain))
    return grpc.ssl_channel_credentials(
        _roots_pem(roots), key_pem(identity.key), certificates_pem(identity.chain)
    )


def enrolment_channel_credentials(roots: Sequence[x509.Certificate]) -> grpc.ChannelCredentials:
    """For a first call to the hub's enrolment port, without a certificate; use with `client_options`."""
    return grpc.ssl_channel_credentials(_roots_pem(roots))


def _roots_pem(roots: Sequence[x509.Certificate]) -> bytes:
    # With none, gRPC would silently trust every authority of the operating system.
    if not roots:
        raise ConfigInvalid(
            "There is no root certificate to trust.", remedy="Name the federation's root.crt in the settings."
        )
    return certificates_pem(roots)
