"""local_view: what a lookup command asks is parsed before anything is sent."""

from __future__ import annotations

import pytest

from candor_node.local_view import read_question
from candor_proto.errors import InputInvalid
from candor_wire.v1 import local_pb2 as pb


def asking(**person: str) -> pb.LookupRequest:
    known = {"first": "Mike", "last": "Schmidt", "birth_date": "1980-11-02", "ssn4": "4071", **person}
    return pb.LookupRequest(person=pb.Person(**known), purpose="J_APPLICANT", case_number="REQ-1")


@pytest.mark.parametrize(
    ("field", "filed", "words"),
    [
        ("first", "FNU", "leave it empty"),
        ("last", "LNU", "leave it empty"),
        ("last", "Петров", "not Latin"),
        ("former_last", "N/A", "leave it empty"),
        ("birth_date", "1900-01-01", "leave it empty"),
        ("birth_date", "02.11.1980", "write YYYY-MM-DD"),
        ("ssn4", "0000", "leave it empty"),
        ("ssn4", "123-45-6789", "last four digits alone"),
        ("post_state", "Bavaria", "two letters"),
        ("post_id", "PENDING", "leave it empty"),
    ],
)
def test_a_placeholder_in_a_lookup_is_refused_with_what_to_do(field: str, filed: str, words: str) -> None:
    with pytest.raises(InputInvalid) as caught:
        read_question(asking(**{field: filed}))
    assert caught.value.message.startswith(f"{field}: ")
    assert words in caught.value.message
    assert filed not in caught.value.message


@pytest.mark.parametrize(
    ("field", "filed"),
    [
        ("birth_date", "11/02/1980"),
        ("birth_date", "1980"),
        ("middle", "NMN"),
        ("suffix", "Esq"),
        ("ssn4", ""),
    ],
)
def test_what_matching_reads_or_rightly_ignores_is_asked(field: str, filed: str) -> None:
    assert getattr(read_question(asking(**{field: filed})).particulars, field) == filed
