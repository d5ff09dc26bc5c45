"""Names in certificates: SPIFFE URIs and the hub's DNS name (docs/protocol.md §2.6, §8.1).

Rules of this file:
- a name has exactly one spelling; `parse_spiffe` refuses every other;
- a name says role and member, never an address: a hub may move, its certificate stays good.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from candor_proto.errors import MalformedMessage
from candor_proto.ids import FederationName, NodeId

_SCHEME = "spiffe://"
# RFC 1034 §3.5 with RFC 1123 §2.1. A FederationName may hold "a..b", which is no host name to a TLS library.


class Role(Enum):
    """What the holder of a certificate is to the federation; the value is its path in the URI."""

    NODE = "node"
    HUB = "hub"
    DIRECTORY = "hub/directory"
    CREDENTIALING_BODY = "credentialing-body"
    AUDITOR = "auditor"

    @property
    def named(self) -> bool:
        """Whether there can be several holders, so that the URI ends in an id."""
        return self in (Role.NODE, Role.CREDENTIALING_BODY, Role.AUDITOR)


@dataclass(frozen=True)
class PeerName:
    """Who a certificate speaks for; `node` is the id of a node, credentialing body or auditor, else None."""

    federation: FederationName
    role: Role
    node: NodeId | None = None

    def __post_init__(self) -> None:
        if self.role.named != (self.node is not None):
            raise MalformedMessage(
                f"A name of the role {self.role.value} {'needs' if self.role.named else 'takes no'} id."
            )

    @property
    def uri(self) -> str:
        ending = f"/{self.node}" if self.node is not None else ""
        return f"{trust_domain_uri(self.federation)}/{self.role.value}{ending}"

    def __str__(self) -> str:
        return self.uri


def spiffe_uri(federation: FederationName, role: Role, node: NodeId | None = None) -> str:
    """The URI of a name; raises MalformedMessage unless `node` is given exactly where the role has one."""
    return PeerName(federation, role, node).uri


def trust_domain_uri(federation: FederationName) -> str:
    """`spiffe://<federation>`, the name that only authorities carry (SPIFFE X.509-SVID §2)."""
    return f"{_SCHEME}{federation}"


def parse_spiffe(uri: str) -> PeerName:
    """Read a name; raises MalformedMessage for whatever `spiffe_uri` would not have written."""
    if not uri.startswith(_SCHEME):
        raise MalformedMessage("A certificate name is a spiffe:// URI.")
    domain, _, path = uri.removeprefix(_SCHEME).partition("/")
    federation = FederationName(domain)
    for role in Role:
        if role.named:
            head, slash, tail = path.partition("/")
            if head == role.value and slash:
                return PeerName(federation, role, NodeId(tail))
        elif path == role.value:
            return PeerName(federation, role)
    raise MalformedMessage("A certificate name holds no role that this federation knows.")


def parse_trust_domain(uri: str) -> FederationName:
    """The federation of an authority's URI; raises MalformedMessage."""
    if not uri.startswith(_SCHEME):
        raise MalformedMessage("An authority's name is a spiffe:// URI.")
    return FederationName(uri.removeprefix(_SCHEME))


def hub_dns_name(federation: FederationName) -> str:
    """`hub.<federation>`, the host name clients verify whatever the hub's address is."""
    return f"hub.{federation}"


def enrolment_dns_name(federation: FederationName) -> str:
    """`enrolment.<federation>`, by which a balancer tells enrolment apart where it shares the hub's address.

    It stands in the hub's certificate beside the other name, and in no other certificate.
    """
    return f"enrolment.{federation}"
