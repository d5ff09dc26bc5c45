"""Identifiers and names in certificates (docs/protocol.md §2)."""

from __future__ import annotations

from typing import Any

from candor_certs.names import Role, parse_spiffe, spiffe_uri
from candor_proto.ids import FederationName, NodeId, Ori
from tools.vectors.book import Book, Given, operation
from tools.vectors.shapes import TEXT, fields, maybe, one_of

_KINDS = {"federation": FederationName, "node": NodeId, "ori": Ori}
_ROLES = {role.value: role for role in Role}


@operation(
    "identifier",
    "2.1",
    "whether `text` is an identifier of this kind (2.1, 2.2, 2.3)",
    {"kind": one_of(*_KINDS), "text": TEXT},
    {},
)
def _identifier(given: Given) -> dict[str, Any]:
    _KINDS[given["kind"]](given["text"])
    return {}


@operation(
    "certificate-name",
    "2.6",
    "the URI of a role; `id` is null where the role has none. Two-way: reading the URI gives the fields",
    {"federation": TEXT, "role": one_of(*_ROLES), "id": maybe(TEXT)},
    {"uri": TEXT},
)
def _certificate_name(given: Given) -> dict[str, Any]:
    node = NodeId(given["id"]) if given["id"] is not None else None
    uri = spiffe_uri(FederationName(given["federation"]), _ROLES[given["role"]], node)
    assert parse_spiffe(uri).uri == uri
    return {"uri": uri}


@operation(
    "read-certificate-name",
    "2.6",
    "who a URI of a certificate names",
    {"uri": TEXT},
    {"name": fields(federation=TEXT, role=one_of(*_ROLES), id=maybe(TEXT))},
)
def _read_certificate_name(given: Given) -> dict[str, Any]:
    name = parse_spiffe(given["uri"])
    return {
        "name": {
            "federation": str(name.federation),
            "role": name.role.value,
            "id": None if name.node is None else str(name.node),
        }
    }


def book() -> Book:
    found = Book(
        "identifiers",
        "Identifiers of federations, nodes and agencies, and the URIs in certificates: accepted and refused.",
        ("2.1", "2.2", "2.3", "2.6"),
        "Written by hand from §2; accepted or refused as candor_proto.ids and candor_certs.names do.",
    )
    accepted = {
        "federation": {
            "shortest": "a.b",
            "one_part": "abc",
            "digits": "1.2",
            "hyphens_inside": "my-exchange.candor--test.example",
            "longest": "a" * 31 + "." + "b" * 31,
        },
        "node": {"shortest": "a", "digit": "7", "hyphens": "a-b--c", "longest": "a" * 40},
        "ori": {
            "letters": "ZZABCDEFG",
            "digits": "ZZ0123456",
            "type_zero": "ZZ0000000",
            "type_j": "ZZ000000J",
        },
    }
    refused = {
        "federation": {
            "empty": "",
            "two_characters": "ab",
            "sixty_four": "a" * 32 + "." + "b" * 31,
            "capital": "Candor.example",
            "empty_part": "a..b",
            "leading_stop": ".ab",
            "trailing_stop": "ab.",
            "part_begins_with_hyphen": "a.-b",
            "part_ends_with_hyphen": "a-.b",
            "underscore": "a_b.c",
            "newline_behind": "abc\n",
            "not_ascii": "b\u00fcro.example",
            "digit_of_another_script": "abc\u0661",
        },
        "node": {
            "empty": "",
            "forty_one": "a" * 41,
            "capital": "Alder-pd",
            "leading_hyphen": "-alder",
            "trailing_hyphen": "alder-",
            "stop": "alder.pd",
            "newline_behind": "alder-pd\n",
            "space": "alder pd",
        },
        "ori": {
            "eight": "ZZ000000",
            "ten": "ZZ00000000",
            "digit_first": "0Z0000000",
            "lower_case": "zz0000000",
            "agency_type_d": "ZZ000000D",
            "agency_type_h": "ZZ000000H",
            "hyphen": "ZZ-000000",
            "newline_behind": "ZZ0000000\n",
        },
    }
    section = {"federation": "2.1", "node": "2.2", "ori": "2.3"}
    for kind, texts in accepted.items():
        for name, text in texts.items():
            found.case(f"{kind}_{name}", "identifier", {"kind": kind, "text": text}, section=section[kind])
    for kind, texts in refused.items():
        for name, text in texts.items():
            found.case(
                f"{kind}_refused_{name}",
                "identifier",
                {"kind": kind, "text": text},
                section=section[kind],
                refuse="malformed_message",
            )
    for role in Role:
        given = {
            "federation": "vectors.candor.example",
            "role": role.value,
            "id": "alder-pd" if role.named else None,
        }
        found.case(f"name_of_{role.name.lower()}", "certificate-name", given)
    for flaw, uri in {
        "another_scheme": "https://vectors.candor.example/node/alder-pd",
        "no_id": "spiffe://vectors.candor.example/node/",
        "id_where_there_is_none": "spiffe://vectors.candor.example/hub/alder-pd",
        "unknown_role": "spiffe://vectors.candor.example/operator",
        "path_behind_the_id": "spiffe://vectors.candor.example/node/alder-pd/x",
        "trailing_slash": "spiffe://vectors.candor.example/hub/",
        "capital_scheme": "SPIFFE://vectors.candor.example/hub",
        "authority": "spiffe://vectors.candor.example",
    }.items():
        found.case(f"name_refused_{flaw}", "read-certificate-name", {"uri": uri}, refuse="malformed_message")
    return found
