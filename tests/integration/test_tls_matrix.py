"""Who gets how far at each port, and whom a node takes for the hub (docs/protocol.md §8.1, §8.2, §14.6).

One hub runs; each cell is a connection of its own, and differs from one that is answered in one thing. The
table is docs/tls.md's as well: `python -m tests.integration.test_tls_matrix` writes it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from candor_certs import mtls
from candor_certs.names import enrolment_dns_name, hub_dns_name
from candor_hub.renewal import record_certificate
from candor_proto.directory import MemberStatus
from candor_proto.ids import FederationName, NodeId
from tests.certificates import FlawedCertificates, Presented, federation_authority
from tests.hubs import FEDERATION, RunningHub, enrol, running_hub
from tests.patience import PATIENCE_SECONDS
from tests.tls import PREFACE, Door, Listener, Offer, Result, call, client_context

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tls.md"
HUB_NAME = hub_dns_name(FEDERATION)
NODE, EXPELLED, SUSPENDED = NodeId("alpha"), NodeId("bravo"), NodeId("charlie")
V10, V11, V12 = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2
CUT, REFUSED, OPEN = Door.CONNECTION, Door.CALL, Door.OPEN
USUAL = Offer()
REFUSED_CERTIFICATE = "certificate_refused"


class Seen(grpc.aio.ServerInterceptor):
    """Counts the calls that get as far as the hub, and keeps what gRPC says of the last connection."""

    def __init__(self) -> None:
        self.calls = 0
        self.group = b""

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        self.calls += 1
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler

        async def seen(request: Any, context: Any) -> Any:
            (self.group,) = context.auth_context()["ssl_negotiated_key_exchange_group"]
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            seen, handler.request_deserializer, handler.response_serializer
        )


@dataclass
class Made:
    """The running hub and what callers are made of."""

    hub: RunningHub
    seen: Seen
    member: Presented
    denied: Presented
    expelled: Presented
    suspended: Presented
    flawed: FlawedCertificates
    folder: Path

    def record(self, shown: Presented, node: NodeId = NODE) -> Presented:
        """The hub remembers having issued it: then that is not why it is refused."""
        now = self.hub.clock.now()
        with self.hub.hub._store.write() as tx:
            record_certificate(tx, node, shown.leaf, self.flawed.authority, now)
        return shown

    def deny(self, shown: Presented) -> None:
        self.hub.hub.directory.deny(shown.leaf.serial_number, self.hub.clock.now())

    def call(self, port: Port, offer: Offer, *, session: Result | None = None) -> Result:
        context = self._context if session else client_context(offer, self.hub.root, self.folder)
        self._context = context
        number = getattr(self.hub.hub.ports, port.attribute)
        return call(number, offer, context, port.method, HUB_NAME, session.session if session else None)

    _context: ssl.SSLContext = field(init=False, repr=False)


@dataclass(frozen=True)
class Port:
    title: str
    attribute: str
    method: str
    # With what a call is answered that got as far as it can get.
    answer: str = "0"


MEMBERS = Port("The port of the members", "hub", "/candor.v1.HubService/GetQuota")
# An empty request names no ORI: the hub has read it.
ENROLMENT = Port(
    "The port of enrolment", "enrolment", "/candor.v1.EnrolmentService/Enrol", "malformed_message"
)
LOG = Port("The port of the log", "log", "log/shards", "200")
ALPN = {MEMBERS: ("h2",), ENROLMENT: ("h2",), LOG: ("http/1.1",)}


@dataclass(frozen=True)
class Cell:
    """What a caller brings, how far it gets, and why.

    `brings` makes the certificate, `offer` says the rest; `code` and `says` are what the refusal has to say.
    """

    port: Port
    name: str
    what: str
    door: Door
    why: str
    brings: Callable[[Made], Presented | None] | None = None
    offer: Offer = USUAL
    code: str = ""
    says: str = ""
    how: Callable[[Made, Cell, Offer], Result] | None = None

    @property
    def gets(self) -> str:
        """What the page says of it."""
        if self.how is early and self.door is CUT:
            return "not offered"
        if self.door is OPEN or self.code == self.port.answer:
            return OPEN.value
        return f"{self.door.value} (`{self.code}`)" if self.door is REFUSED else self.door.value

    def made(self, made: Made) -> Offer:
        shown = self.brings(made) if self.brings else made.member if self.port is MEMBERS else None
        alpn = ALPN[self.port] if self.offer.alpn == ("h2",) else self.offer.alpn
        return replace(self.offer, shown=shown, alpn=alpn)


def flawed(name: str, *more: Any) -> Callable[[Made], Presented]:
    """A certificate with this flaw, which the hub remembers having issued."""
    return lambda made: made.record(getattr(made.flawed, name)(*more))


def resumed(made: Made, cell: Cell, offer: Offer) -> Result:
    first = made.call(cell.port, offer)
    assert first.door is OPEN or first.code == cell.port.answer
    again = made.call(cell.port, offer, session=first)
    assert again.resumed
    return again


def resumed_after_denial(made: Made, cell: Cell, offer: Offer) -> Result:
    assert offer.shown is not None
    first = made.call(cell.port, offer)
    assert first.door is OPEN
    made.deny(offer.shown)
    again = made.call(cell.port, offer, session=first)
    assert again.resumed
    return again


def _openssl(made: Made, cell: Cell, offer: Offer, *words: str) -> list[str]:
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{getattr(made.hub.hub.ports, cell.port.attribute)}",
    ]
    if offer.shown is not None:
        (made.folder / "shown.pem").write_bytes(offer.shown.key_pem + offer.shown.chain_pem)
        file = str(made.folder / "shown.pem")
        command += ["-cert", file, "-cert_chain", file, "-key", file]
    return [*command, "-servername", HUB_NAME, "-alpn", offer.alpn[0], *words]


def renegotiating(made: Made, cell: Cell, offer: Offer) -> Result:
    """`R` is s_client's word for a new handshake within the connection."""
    done = subprocess.run(
        _openssl(made, cell, offer, "-tls1_2"),
        input="R\n",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PATIENCE_SECONDS,
    )
    assert "New, TLSv1.2, Cipher is ECDHE" in done.stdout
    assert "RENEGOTIATING" in done.stderr
    return Result(CUT if "unexpected eof while reading" in done.stderr else OPEN)


def early(made: Made, cell: Cell, offer: Offer) -> Result:
    """Whether a session may be resumed with data in its first flight, which anybody could send again."""
    path = made.folder / "session.pem"
    path.unlink(missing_ok=True)
    client = subprocess.Popen(
        _openssl(made, cell, offer, "-tls1_3", "-sess_out", str(path)),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert client.stdin is not None
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (path.exists() and path.read_text().endswith("-----END SSL SESSION PARAMETERS-----\n")):
        assert time.monotonic() < deadline, "no session was offered"
        time.sleep(0.01)
    client.stdin.close()
    client.wait()
    text = subprocess.run(
        ["openssl", "sess_id", "-in", str(path), "-noout", "-text"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    octets = re.search(r"Max Early Data: (\d+)", text)
    assert octets is not None
    return Result(CUT if octets[1] == "0" else OPEN)


def _members(name: str, what: str, door: Door, why: str, **more: Any) -> Cell:
    return Cell(MEMBERS, name, what, door, why, **more)


def _enrolment(name: str, what: str, door: Door, why: str, **more: Any) -> Cell:
    if door is OPEN:
        door, more["code"] = REFUSED, ENROLMENT.answer
    return Cell(ENROLMENT, name, what, door, why, **more)


def _log(name: str, what: str, door: Door, why: str, **more: Any) -> Cell:
    return Cell(LOG, name, what, door, why, **more)


def _refused(says: str, code: str = REFUSED_CERTIFICATE) -> dict[str, str]:
    return {"code": code, "says": says}


CELLS = [
    # --- members: who they say they are ---
    _members("good", "a member's certificate (P-256)", OPEN, "issued by this hub, to an active member"),
    _members("good-p384", "the same with a key on P-384", OPEN, "as good", brings=flawed("good_p384")),
    _members(
        "good-rsa-2048", "the same with an RSA key of 2048 bits", OPEN, "as good", brings=flawed("good_rsa")
    ),
    _members("no-certificate", "no certificate", CUT, "there is one for every member", brings=lambda _: None),
    _members(
        "self-signed",
        "the right name, signed by its own key",
        CUT,
        "no path to the federation's root",
        brings=flawed("self_signed"),
    ),
    _members(
        "other-federation",
        "of a federation of the same name with another root",
        CUT,
        "no path to this federation's root",
        brings=flawed("other_authority"),
    ),
    _members(
        "issued-by-a-member",
        "issued with a member's key",
        CUT,
        "a member's certificate is no authority's",
        brings=flawed("issued_by_a_member"),
    ),
    _members(
        "intermediate-missing",
        "without the issuing authority's certificate",
        CUT,
        "only the root is known here: who issued it has to be shown, and can be denied by that",
        brings=lambda made: replace(made.member, chain=made.member.chain[:1]),
    ),
    _members(
        "chain-too-long",
        "with five authorities' certificates above it",
        REFUSED,
        "a chain has four at most",
        brings=lambda made: replace(made.member, chain=made.member.chain[:1] + made.member.chain[1:] * 5),
        **_refused("too many"),
    ),
    _members(
        "expired", "expired a day ago", CUT, "TLS compares it with the hub's clock", brings=flawed("expired")
    ),
    _members(
        "not-yet-valid",
        "valid from tomorrow on",
        CUT,
        "TLS compares it with the hub's clock",
        brings=flawed("not_yet_valid"),
    ),
    _members(
        "not-issued-here",
        "by the right authority, but unknown to the hub",
        REFUSED,
        "an authority's stolen key makes no member",
        brings=lambda made: made.flawed.good(),
        **_refused("not issued by this hub"),
    ),
    _members(
        "denied",
        "denied by its serial number",
        REFUSED,
        "the deny list is asked at each call",
        brings=lambda made: made.denied,
        **_refused("", "certificate_revoked"),
    ),
    _members(
        "expelled",
        "of a member that was revoked",
        REFUSED,
        "all its certificates are denied",
        brings=lambda made: made.expelled,
        **_refused("", "certificate_revoked"),
    ),
    _members(
        "suspended",
        "of a member that is suspended",
        REFUSED,
        "the directory is asked at each call",
        brings=lambda made: made.suspended,
        **_refused("", "member_suspended"),
    ),
    # --- members: purposes, names, keys ---
    _members(
        "server-certificate",
        "the hub's own certificate (serverAuth)",
        CUT,
        "made for a server",
        brings=lambda made: made.flawed.good_hub(),
    ),
    _members(
        "server-purpose",
        "a node's name, made for serverAuth",
        CUT,
        "made for a server",
        brings=flawed("wrong_purpose"),
    ),
    _members(
        "both-purposes",
        "made for clientAuth and serverAuth",
        REFUSED,
        "exactly the purposes of the role",
        brings=flawed("both_purposes"),
        **_refused("purposes of its role"),
    ),
    _members(
        "no-purpose",
        "says no purpose (any)",
        REFUSED,
        "exactly the purposes of the role",
        brings=flawed("no_purpose"),
        **_refused("does not state its key's usage"),
    ),
    _members(
        "directory-purpose",
        "made for signing documents, as the directory's",
        CUT,
        "not made for TLS",
        brings=flawed("directory_key_for_tls"),
    ),
    _members(
        "claims-authority",
        "says that it is an authority's",
        REFUSED,
        "a member certifies nobody",
        brings=flawed("claims_to_be_an_authority"),
        **_refused("claims to be an authority"),
    ),
    _members(
        "no-name",
        "no name",
        REFUSED,
        "one URI name, no more and no less",
        brings=flawed("no_name"),
        **_refused("0 URI names"),
    ),
    _members(
        "two-names",
        "the names of two members",
        REFUSED,
        "one URI name, no more and no less",
        brings=flawed("two_names"),
        **_refused("2 URI names"),
    ),
    _members(
        "host-name",
        "a node's name and the hub's host name",
        REFUSED,
        "it could pose as the hub",
        brings=flawed("node_with_the_hubs_host_name"),
        **_refused("names besides its URI"),
    ),
    _members(
        "foreign-name",
        "this root, the name of a member of another federation",
        REFUSED,
        "what a name constraint would say, which the library cannot check for URIs",
        brings=flawed("foreign_federation"),
        **_refused("is not one of"),
    ),
    _members(
        "unknown-role",
        "a role that there is not",
        REFUSED,
        "not a name of ours",
        brings=flawed("unknown_role"),
        **_refused("not one of this kind of federation"),
    ),
    _members(
        "auditor",
        "an auditor's",
        REFUSED,
        "each method has its roles",
        brings=flawed("wrong_role"),
        **_refused("may not call this method", "wrong_role"),
    ),
    _members(
        "rsa-1024",
        "an RSA key of 1024 bits",
        REFUSED,
        "2048 at least",
        brings=flawed("weak_rsa"),
        **_refused("an RSA key of 1024 bits"),
    ),
    _members("p-192", "a key on P-192", CUT, "TLS 1.3 has no signature for it", brings=flawed("weak_curve")),
    _members(
        "p-521", "a key on P-521", CUT, "gRPC offers no signature for it", brings=flawed("unusual_curve")
    ),
    _members(
        "sha-224",
        "signed by the authority with SHA-224",
        REFUSED,
        "SHA-256 or SHA-384",
        brings=flawed("weak_signature"),
        **_refused("algorithm that is not accepted"),
    ),
    # --- members: the connection ---
    _members(
        "tls-1.2",
        "TLS 1.2",
        REFUSED,
        "gRPC cannot be told to end it earlier",
        offer=Offer(version=V12, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"),
        **_refused("does not use TLS 1.3"),
    ),
    _members(
        "tls-1.2-cbc",
        "TLS 1.2 with a CBC cipher",
        CUT,
        "not among the hub's",
        offer=Offer(version=V12, ciphers="ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0"),
    ),
    _members(
        "tls-1.2-rsa-exchange",
        "TLS 1.2 without forward secrecy",
        CUT,
        "not among the hub's",
        offer=Offer(version=V12, ciphers="AES128-SHA:@SECLEVEL=0"),
    ),
    _members(
        "tls-1.2-null",
        "TLS 1.2 without encryption",
        CUT,
        "not among the hub's",
        offer=Offer(version=V12, ciphers="NULL-SHA256:@SECLEVEL=0"),
    ),
    _members(
        "tls-1.2-anonymous",
        "TLS 1.2 without a server's certificate",
        CUT,
        "not among the hub's",
        offer=Offer(version=V12, ciphers="ADH-AES128-SHA:@SECLEVEL=0"),
    ),
    _members(
        "renegotiation",
        "TLS 1.2, and a new handshake within the connection",
        CUT,
        "never allowed; TLS 1.3 has none",
        how=renegotiating,
    ),
    _members("tls-1.1", "TLS 1.1", CUT, "too old", offer=Offer(version=V11)),
    _members("tls-1.0", "TLS 1.0", CUT, "too old", offer=Offer(version=V10)),
    _members("plain", "no TLS at all", CUT, "nothing is read without it", offer=Offer(plain=True)),
    _members(
        "group-p256",
        "key agreement on P-256 only",
        OPEN,
        "what every TLS 1.3 has",
        offer=Offer(group="prime256v1"),
    ),
    _members("group-p384", "key agreement on P-384 only", OPEN, "as good", offer=Offer(group="secp384r1")),
    _members("group-x25519", "key agreement on X25519 only", OPEN, "as good", offer=Offer(group="X25519")),
    _members(
        "group-x448", "key agreement on X448 only", CUT, "not among the hub's", offer=Offer(group="X448")
    ),
    _members(
        "group-ffdhe2048",
        "finite-field key agreement, 2048 bits",
        CUT,
        "not among the hub's",
        offer=Offer(group="ffdhe2048"),
    ),
    _members(
        "group-ffdhe8192",
        "finite-field key agreement, 8192 bits",
        CUT,
        "it would cost the hub a hundred times as much",
        offer=Offer(group="ffdhe8192"),
    ),
    _members("no-alpn", "no ALPN", CUT, "HTTP/2 is agreed on, never guessed", offer=Offer(alpn=())),
    _members("alpn-http-1.1", "ALPN http/1.1 only", CUT, "HTTP/2 only", offer=Offer(alpn=("http/1.1",))),
    _members(
        "alpn-both",
        "ALPN http/1.1, then h2",
        OPEN,
        "the hub chooses h2",
        offer=Offer(alpn=("http/1.1", "h2")),
    ),
    _members(
        "no-server-name",
        "no server name (SNI)",
        OPEN,
        "who calls is in the caller's certificate",
        offer=Offer(server_name=None),
    ),
    _members(
        "other-server-name",
        "the name of another hub (SNI)",
        OPEN,
        "a name leads to a hub behind a balancer, and proves nothing to it; it shows its own certificate",
        offer=Offer(server_name="hub.other.example"),
    ),
    _members("resumed", "a session resumed", OPEN, "the certificate of its beginning is in it", how=resumed),
    _members(
        "resumed-after-denial",
        "a session resumed after its certificate was denied",
        REFUSED,
        "the deny list is asked at each call, however the connection began",
        brings=flawed("good"),
        how=resumed_after_denial,
        **_refused("", "certificate_revoked"),
    ),
    _members(
        "early-data",
        "data in the first flight of a resumed session",
        CUT,
        "never allowed: it could be sent again by anybody",
        how=early,
    ),
    # --- enrolment ---
    _enrolment("good", "no certificate", OPEN, "who joins has none; the invitation's token is what counts"),
    _enrolment(
        "certificate",
        "a member's certificate",
        OPEN,
        "not asked for, and gives no identity",
        brings=lambda made: made.member,
    ),
    _enrolment(
        "self-signed",
        "a certificate of nobody's",
        OPEN,
        "not asked for, and gives no identity",
        brings=lambda made: made.flawed.self_signed(),
    ),
    _enrolment(
        "own-server-name",
        "the server name of enrolment (SNI)",
        OPEN,
        "for a balancer",
        offer=Offer(server_name=enrolment_dns_name(FEDERATION)),
    ),
    _enrolment(
        "tls-1.2",
        "TLS 1.2",
        REFUSED,
        "gRPC cannot be told to end it earlier",
        offer=Offer(version=V12, ciphers="ECDHE-ECDSA-AES256-GCM-SHA384"),
        **_refused("does not use TLS 1.3"),
    ),
    _enrolment("tls-1.1", "TLS 1.1", CUT, "too old", offer=Offer(version=V11)),
    _enrolment("plain", "no TLS at all", CUT, "nothing is read without it", offer=Offer(plain=True)),
    _enrolment(
        "group-ffdhe8192",
        "finite-field key agreement, 8192 bits",
        CUT,
        "anybody could keep the hub busy with it",
        offer=Offer(group="ffdhe8192"),
    ),
    _enrolment("no-alpn", "no ALPN", CUT, "HTTP/2 is agreed on, never guessed", offer=Offer(alpn=())),
    _enrolment("alpn-http-1.1", "ALPN http/1.1 only", CUT, "HTTP/2 only", offer=Offer(alpn=("http/1.1",))),
    _enrolment(
        "early-data",
        "data in the first flight of a resumed session",
        CUT,
        "never allowed: a token could be sent again by anybody",
        how=early,
    ),
    # --- log ---
    _log("good", "no certificate", OPEN, "the log is public"),
    _log("certificate", "a member's certificate", OPEN, "not asked for", brings=lambda made: made.member),
    _log("tls-1.2", "TLS 1.2", CUT, "too old", offer=Offer(version=V12)),
    _log("tls-1.1", "TLS 1.1", CUT, "too old", offer=Offer(version=V11)),
    _log("plain", "no TLS at all", CUT, "nothing is read without it", offer=Offer(plain=True)),
    _log(
        "group-p256",
        "key agreement on P-256 only",
        OPEN,
        "what every TLS 1.3 has",
        offer=Offer(group="prime256v1"),
    ),
    _log(
        "group-x448",
        "key agreement on X448 only",
        CUT,
        "one group is enough for what is public",
        offer=Offer(group="X448"),
    ),
    _log(
        "group-ffdhe2048",
        "finite-field key agreement, 2048 bits",
        CUT,
        "it costs too much",
        offer=Offer(group="ffdhe2048"),
    ),
    _log(
        "group-ffdhe8192",
        "finite-field key agreement, 8192 bits",
        CUT,
        "anybody could keep the hub busy with it",
        offer=Offer(group="ffdhe8192"),
    ),
    _log("no-alpn", "no ALPN", OPEN, "HTTP/1.1 needs none", offer=Offer(alpn=())),
    _log(
        "other-server-name",
        "the name of another hub (SNI)",
        OPEN,
        "whose log it is stands in its signed heads",
        offer=Offer(server_name="hub.other.example"),
    ),
    _log("resumed", "a session resumed", OPEN, "there is no identity in it", how=resumed),
    _log("early-data", "data in the first flight of a resumed session", CUT, "never allowed", how=early),
]


@dataclass(frozen=True)
class Shown:
    """What a node that dials the hub finds, and whether it takes it for the hub."""

    name: str
    what: str
    taken: bool
    why: str
    shows: Callable[[FlawedCertificates], Presented] = lambda flawed: flawed.good_hub()
    offer: Offer = USUAL
    # Roots that the node trusts besides its own; None of these is ever configured by the product.
    trusted: tuple[x509.Certificate, ...] = ()
    asks_for: str = HUB_NAME


OTHER = FlawedCertificates(federation_authority(federation=FederationName("elsewhere.example")))
SHOWN = [
    Shown("good", "the hub's certificate", True, "under the federation's root, with the hub's name"),
    Shown(
        "other-root",
        "the same names under another root",
        False,
        "the root was pinned when the node joined",
        lambda flawed: FlawedCertificates(federation_authority(federation=flawed.federation)).good_hub(),
    ),
    Shown(
        "self-signed",
        "the hub's names, signed by its own key",
        False,
        "no path to the federation's root",
        lambda flawed: flawed.self_signed_hub(),
    ),
    Shown(
        "expired",
        "expired a day ago",
        False,
        "TLS compares it with the node's clock",
        lambda flawed: flawed.expired_hub(),
    ),
    Shown(
        "not-yet-valid",
        "valid from tomorrow on",
        False,
        "TLS compares it with the node's clock",
        lambda flawed: flawed.hub_not_yet_valid(),
    ),
    Shown(
        "intermediate-missing",
        "without the issuing authority's certificate",
        False,
        "only the root is known",
        lambda flawed: replace(hub := flawed.good_hub(), chain=hub.chain[:1]),
    ),
    Shown(
        "node",
        "a member's certificate",
        False,
        "not the hub's name, not made for a server",
        lambda flawed: flawed.good(),
    ),
    Shown(
        "node-with-host-name",
        "a member's certificate with the hub's host name",
        False,
        "not made for a server",
        lambda flawed: flawed.node_with_the_hubs_host_name(),
    ),
    Shown(
        "no-host-name",
        "the hub's URI, no host name",
        False,
        "the host name is what a node compares",
        lambda flawed: flawed.hub_without_a_host_name(),
    ),
    Shown(
        "other-hub",
        "the hub of another federation, even if its root were trusted",
        False,
        "another name",
        lambda _: OTHER.good_hub(),
        trusted=(OTHER.authority.root,),
    ),
    Shown(
        "no-enrolment-name",
        "at an address for both: a certificate without the name of enrolment",
        False,
        "another name",
        lambda flawed: flawed.hub_of_before(),
        asks_for=enrolment_dns_name(FEDERATION),
    ),
    Shown("tls-1.1", "TLS 1.1 only", False, "too old", offer=Offer(version=V11)),
    Shown(
        "group-ffdhe2048",
        "finite-field key agreement only",
        False,
        "not among gRPC's",
        offer=Offer(group="ffdhe2048"),
    ),
    Shown("no-alpn", "no ALPN", False, "HTTP/2 is agreed on, never guessed", offer=Offer(alpn=())),
    Shown("alpn-http-1.1", "ALPN http/1.1 only", False, "HTTP/2 only", offer=Offer(alpn=("http/1.1",))),
    Shown(
        "tls-1.2",
        "TLS 1.2 only",
        True,
        "**a limit**: gRPC cannot be told otherwise. Only who has a hub's key can show its certificate, "
        "a hub refuses such calls itself, and nobody in between can make one seem older",
        offer=Offer(version=V12),
    ),
    Shown(
        "rsa-1024",
        "the hub's names for an RSA key of 1024 bits",
        True,
        "**a limit**: gRPC cannot be told otherwise. The authority never certifies such a key",
        lambda flawed: flawed.weak_rsa_hub(),
    ),
]


# --- one hub ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def making(folder: Path) -> AsyncIterator[Made]:
    """The hub, two members of it, and what is denied."""
    seen = Seen()
    async with running_hub(folder / "hub", interceptors=[seen]) as hub:
        members = []
        for node in (NODE, EXPELLED, SUSPENDED):
            member = await enrol(hub, node.value)
            members.append(Presented(member.tls_key, tuple(member.chain)))
            await member.close()
        flawed = FlawedCertificates(hub.hub.keys().authority)
        asking, expelled, suspended = members
        made = Made(hub, seen, asking, flawed.good(), expelled, suspended, flawed, folder)
        made.record(made.denied)
        made.deny(made.denied)
        hub.hub.directory.revoke(EXPELLED, hub.clock.now())
        hub.hub.directory.set_status(SUSPENDED, MemberStatus.SUSPENDED, hub.clock.now())
        yield made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """For all cells, in a loop and a thread of its own: callers block."""
    loop, folder = asyncio.new_event_loop(), tmp_path_factory.mktemp("tls")
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def done(work: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), loop).result(PATIENCE_SECONDS)

    context = making(folder)
    try:
        yield done(context.__aenter__())
        done(context.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.port.attribute}-{cell.name}")
def test_a_caller_gets_so_far(made: Made, cell: Cell) -> None:
    offer, before = cell.made(made), made.seen.calls
    result = cell.how(made, cell, offer) if cell.how else made.call(cell.port, offer)
    assert (result.door, result.says) == (cell.door, result.says)
    if cell.door is CUT:
        assert made.seen.calls == before
    if cell.code:
        assert result.code == cell.code
        assert cell.says in result.says


def ask(channel: grpc.Channel) -> bytes:
    quota: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(MEMBERS.method)
    return quota(b"", timeout=PATIENCE_SECONDS)


def test_a_node_and_its_hub_agree_on_a_key_that_outlasts_quantum_computers(made: Made) -> None:
    """By themselves: nobody sets it, and nobody may lose it unnoticed."""
    credentials = made.member.channel_credentials(made.hub.root)
    with grpc.secure_channel(
        made.hub.address, credentials, options=mtls.client_options(FEDERATION)
    ) as channel:
        ask(channel)
    assert made.seen.group == b"X25519MLKEM768"


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.name)
def test_a_node_takes_for_the_hub(shown: Shown, tmp_path: Path) -> None:
    """What it says then is the first thing that anybody would hear."""
    authority = federation_authority(federation=FEDERATION)
    flawed = FlawedCertificates(authority)
    member = flawed.good()
    listener = Listener(replace(shown.offer, shown=shown.shows(flawed)), tmp_path)
    credentials = member.channel_credentials(authority.root, *shown.trusted)
    if not shown.trusted:
        credentials = mtls.channel_credentials(member.key, member.chain, [authority.root])
    options = mtls.client_options(FEDERATION)
    if shown.asks_for != HUB_NAME:
        options = mtls.named_options(shown.asks_for)
    with (
        listener.listening() as port,
        grpc.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel,
        pytest.raises(grpc.RpcError) as failed,
    ):
        ask(channel)
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    assert listener.heard[: len(PREFACE)] == (PREFACE if shown.taken else b"")


# --- the page --------------------------------------------------------------------------------------------


def tables() -> str:
    """The cells as the page shows them."""
    parts = []
    for port in (MEMBERS, ENROLMENT, LOG):
        parts += [f"## {port.title}", "", "| a caller with | gets | why |", "|---|---|---|"]
        for cell in CELLS:
            if cell.port is port:
                parts.append(f"| {cell.what} | {cell.gets} | {cell.why} |")
        parts.append("")
    parts += [
        "## A node that dials its hub",
        "",
        "| it finds | takes it for the hub | why |",
        "|---|---|---|",
    ]
    parts += [f"| {each.what} | {'yes' if each.taken else 'no'} | {each.why} |" for each in SHOWN]
    return "\n".join(parts) + "\n"


def _head_and_tables(page: str) -> tuple[str, str]:
    head, mark, rest = page.partition(f"## {MEMBERS.title}")
    return head, mark + rest


def test_the_page_has_these_cells() -> None:
    assert len(CELLS) + len(SHOWN) >= 40
    assert _head_and_tables(PAGE.read_text())[1] == tables(), (
        "run python -m tests.integration.test_tls_matrix"
    )


if __name__ == "__main__":
    PAGE.write_text(_head_and_tables(PAGE.read_text())[0] + tables())
