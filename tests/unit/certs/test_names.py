"""Names in certificates (docs/protocol.md §2.6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_certs.names import (
    PeerName,
    Role,
    hub_dns_name,
    parse_spiffe,
    parse_trust_domain,
    spiffe_uri,
    trust_domain_uri,
)
from candor_proto.errors import MalformedMessage
from candor_proto.ids import FederationName, NodeId

federations = st.from_regex(r"[a-z0-9][a-z0-9-]{1,9}[a-z0-9](\.[a-z0-9]{1,9})?", fullmatch=True).map(
    FederationName
)
nodes = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True).map(NodeId)


@st.composite
def names(draw: st.DrawFn) -> PeerName:
    role = draw(st.sampled_from(Role))
    return PeerName(draw(federations), role, draw(nodes) if role.named else None)


@given(names())
def test_parse_undoes_format(name: PeerName) -> None:
    assert parse_spiffe(name.uri) == name


@given(st.one_of(st.text(), st.text(alphabet="spife:/nodhubarcty-.0%AZ \n").map("spiffe://".__add__)))
def test_parse_refuses_whatever_it_would_not_have_written(uri: str) -> None:
    try:
        name = parse_spiffe(uri)
    except MalformedMessage:
        return
    assert name.uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://",
        "spiffe://demo.example",
        "spiffe://demo.example/",
        "spiffe://demo.example/node",
        "spiffe://demo.example/node/",
        "spiffe://demo.example/node/alpha/",
        "spiffe://demo.example/node/alpha/beta",
        "spiffe://demo.example/node/Alpha",
        "spiffe://demo.example/node/alpha?x=1",
        "spiffe://demo.example/node/alpha#x",
        "spiffe://demo.example/node/al%70ha",
        "spiffe://demo.example/node/alpha\n",
        "spiffe://demo.example//node/alpha",
        "spiffe://demo.example/hub/",
        "spiffe://demo.example/hub/alpha",
        "spiffe://demo.example/hub/directory/alpha",
        "spiffe://demo.example/janitor/alpha",
        "spiffe://demo.example:443/node/alpha",
        "spiffe://user@demo.example/node/alpha",
        "SPIFFE://demo.example/node/alpha",
        "https://demo.example/node/alpha",
        "spiffe://DEMO.example/node/alpha",
        "spiffe://demo.example/node/älpha",
        "spiffe://demo.example/node/" + "a" * 300,
    ],
)
def test_a_name_in_another_spelling_is_refused(uri: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_spiffe(uri)


def test_the_five_roles_are_written_as_the_protocol_says() -> None:
    federation, node = FederationName("demo.example"), NodeId("alpha")
    assert spiffe_uri(federation, Role.NODE, node) == "spiffe://demo.example/node/alpha"
    assert spiffe_uri(federation, Role.HUB, None) == "spiffe://demo.example/hub"
    assert spiffe_uri(federation, Role.DIRECTORY, None) == "spiffe://demo.example/hub/directory"
    body = spiffe_uri(federation, Role.CREDENTIALING_BODY, node)
    assert body == "spiffe://demo.example/credentialing-body/alpha"
    assert spiffe_uri(federation, Role.AUDITOR, node) == "spiffe://demo.example/auditor/alpha"


@pytest.mark.parametrize("role", Role)
def test_an_id_stands_exactly_where_the_role_has_one(role: Role) -> None:
    with pytest.raises(MalformedMessage):
        PeerName(FederationName("demo.example"), role, None if role.named else NodeId("alpha"))


@given(federations)
def test_an_authoritys_name_is_read_back(federation: FederationName) -> None:
    assert parse_trust_domain(trust_domain_uri(federation)) == federation
    with pytest.raises(MalformedMessage):
        parse_trust_domain(trust_domain_uri(federation) + "/node/alpha")


def test_the_hubs_host_name() -> None:
    assert hub_dns_name(FederationName("demo.example")) == "hub.demo.example"
    assert hub_dns_name(FederationName("demo")) == "hub.demo"
