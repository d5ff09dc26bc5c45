"""Certificates of destruction: one form, signed, and made up by nobody."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.errors import MalformedMessage, SignatureInvalid
from candor_proto.ids import NodeId
from candor_proto.record import RecordKind
from candor_proto.signing import SigningKey
from candor_records.records import Dcn, Standing
from candor_records.retention import Certificate, Destroyed, file_of, sign, verify_file

KEY, OTHER = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))

_TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)
_DCNS = st.binary(min_size=10, max_size=10).map(lambda octets: Dcn.draw(lambda _: octets))
_DESTROYED = st.builds(
    Destroyed,
    st.lists(_DCNS, min_size=1, max_size=3).map(tuple),
    st.sampled_from(RecordKind),
    st.sampled_from((Standing.EXPIRED, Standing.VOID)),
    st.dates(date(2000, 1, 1)),
    _TEXTS,
)
_CERTIFICATES = st.builds(
    Certificate,
    st.integers(1, 1 << 40),
    st.just(NodeId("springfield-pd")),
    st.integers(1_600_000_000, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
    _TEXTS,
    _TEXTS,
    st.lists(_DESTROYED, max_size=3).map(tuple),
    st.lists(_DCNS, max_size=2).map(tuple),
    st.integers(1, 1 << 40),
    st.binary(min_size=32, max_size=32),
)


def _example() -> Certificate:
    dcn = Dcn.draw(lambda count: bytes(range(count)))
    one = Destroyed(
        (dcn,), RecordKind.DECERTIFICATION, Standing.EXPIRED, date(2026, 2, 28), "5 years after the decision"
    )
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    return Certificate(1, NodeId("springfield-pd"), at, "clerk-7", "chief-2", (one,), (), 17, bytes(32))


@given(_CERTIFICATES)
def test_a_certificate_parses_to_itself(certificate: Certificate) -> None:
    assert Certificate.parse(certificate.format()) == certificate
    assert verify_file(file_of(sign(certificate, KEY), KEY.public), KEY.public) == certificate


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | _TEXTS, lambda inner: st.lists(inner, max_size=3)).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_what_is_no_certificate_is_refused_with_a_sentence(octets: bytes) -> None:
    for read in (Certificate.parse, lambda found: verify_file(found, KEY.public)):
        with pytest.raises(MalformedMessage):
            read(octets)


@given(st.data())
def test_every_changed_octet_of_a_certificate_is_noticed(data: st.DataObject) -> None:
    octets = bytearray(file_of(sign(_example(), KEY), KEY.public))
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] ^= data.draw(st.integers(1, 255))
    try:
        found = verify_file(bytes(octets), KEY.public)
    except (MalformedMessage, SignatureInvalid):
        return
    assert found == _example()  # in the layout of the file, or in the key that it claims


def test_a_certificate_of_another_node_is_refused_although_the_file_names_its_key() -> None:
    octets = file_of(sign(_example(), OTHER), OTHER.public)
    with pytest.raises(SignatureInvalid):
        verify_file(octets, KEY.public)


def test_a_certificate_in_another_form_is_refused_even_when_it_is_signed() -> None:
    body = _example().format().replace(b'"number":1,', b'"number": 1,')
    with pytest.raises(MalformedMessage):
        Certificate.parse(body)


@pytest.mark.parametrize("field", ["by", "second", "node", "kept_by_legal_hold", "ledger", "form", "at"])
def test_a_certificate_without_one_of_its_fields_is_refused(field: str) -> None:
    read = json.loads(_example().format())
    del read[field]
    octets = json.dumps(read, separators=(",", ":")).encode()
    with pytest.raises(MalformedMessage):
        Certificate.parse(octets)


def test_the_printed_certificate_says_who_when_and_under_which_rule() -> None:
    text = _example().text()
    for part in ("No. 1", "springfield-pd", "2026-03-02 12:00:00 UTC", "clerk-7", "chief-2", "entry 17"):
        assert part in text
    assert str(_example().destroyed[0].control_numbers[0]) in text
    assert "5 years after the decision" in text
