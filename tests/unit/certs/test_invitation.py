"""The invitation file (docs/protocol.md §8.5)."""

from __future__ import annotations

import hashlib
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from candor_certs.invitation import (
    Invitation,
    check_address,
    check_fingerprint,
    fingerprint,
    format_invitation,
    new_token,
    parse_invitation,
    token_digest,
)
from candor_proto.canonical import digest
from candor_proto.errors import (
    CertificateRefused,
    Expired,
    InputInvalid,
    MalformedMessage,
    NotCanonical,
    UnsupportedVersion,
)
from candor_proto.ids import FederationName, NodeId, Ori
from tests.certificates import FEDERATION, FlawedCertificates, federation_authority

ORI = Ori("CA0340000")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
AUTHORITY = federation_authority(NOW)
ROOT_DER = AUTHORITY.root.public_bytes(Encoding.DER)


def invitation(
    hub_address: str = "hub.example.org:7443",
    ori: Ori = ORI,
    agency_name: str = "Example County Sheriff's Office",
    token: bytes = bytes(range(32)),
    expires_at: datetime = NOW + timedelta(days=14),
    root_certificate_der: bytes = ROOT_DER,
    federation: FederationName = FEDERATION,
    node: NodeId | None = None,
) -> Invitation:
    return Invitation(
        federation,
        hub_address,
        "[2001:db8::1]:7444",
        ori,
        agency_name,
        token,
        expires_at,
        root_certificate_der,
        node,
    )


TEXT = format_invitation(invitation())

hosts = st.one_of(
    st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,40}[a-z0-9])?", fullmatch=True),
    st.ip_addresses(v=6).map(lambda address: f"[{address.compressed}]"),
)
addresses = st.builds("{}:{}".format, hosts, st.integers(1, 65535))
oris = st.from_regex(r"[A-Z]{2}[A-Z0-9]{6}[0-9ABCEGIJ]", fullmatch=True).map(Ori)
moments = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=0))


agency_names = (
    st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"]), min_size=1, max_size=100)
    .map(lambda text: unicodedata.normalize("NFC", text).strip())
    .filter(lambda text: 1 <= len(text) <= 120 and len(text.encode()) <= 256)
)
node_ids = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True).map(NodeId)
invitations = st.builds(
    invitation,
    addresses,
    oris,
    agency_names,
    st.binary(min_size=32, max_size=32),
    moments,
    node=st.none() | node_ids,
)


@given(invitations)
def test_parse_undoes_format(original: Invitation) -> None:
    assert parse_invitation(format_invitation(original)) == original


def rechecked(text: str) -> str:
    """`text` with the check that belongs to it, as a forger would write it."""
    body = text.rpartition("Check: ")[0]
    check = hashlib.sha256(body.encode()).hexdigest()[:16]
    return f"{body}Check: {check}\n-----END CANDOR INVITATION-----\n"


@given(st.integers(0, len(TEXT) - 1), st.characters(exclude_categories=["Cs"]), st.booleans(), st.booleans())
def test_parse_refuses_whatever_does_not_reformat_to_itself(
    position: int, character: str, insert: bool, forged: bool
) -> None:
    changed = TEXT[:position] + character + TEXT[position + (0 if insert else 1) :]
    if forged:
        changed = rechecked(changed)
    try:
        parsed = parse_invitation(changed)
    except MalformedMessage:
        return
    assert format_invitation(parsed) == changed


@given(st.text())
def test_any_text_is_refused_with_a_typed_error(text: str) -> None:
    for candidate in (text, TEXT[:35] + text + TEXT[35:], TEXT.replace("Version: 1", text)):
        try:
            parse_invitation(candidate)
        except MalformedMessage:
            continue
        assert candidate == TEXT


def test_an_accidental_change_is_noticed_and_says_so() -> None:
    with pytest.raises(MalformedMessage, match="changed or cut") as refused:
        parse_invitation(TEXT.replace("Example", "example"))
    assert "attachment" in refused.value.remedy


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("Z\nToken", "+00:00\nToken", id="other_time_form"),
        pytest.param("Token: AAEC", "Token: AAEC\n ", id="folded_token"),
        pytest.param("ORI: ", "ORI:  ", id="space"),
        pytest.param("Agency: ", "Agency: \u00a0", id="leading_blank"),
        pytest.param("Hub: hub", "Hub: HUB", id="upper_case_host"),
        pytest.param(":7443", ":07443", id="leading_zero"),
        pytest.param(":7443", ":70000", id="port_too_large"),
        pytest.param("Hub: hub.example.org:7443\n", "", id="missing_field"),
        pytest.param("Hub: hub", "Hub: x:1\nHub: hub", id="double_field"),
    ],
)
def test_another_spelling_is_refused_even_with_a_right_check(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(MalformedMessage):
        parse_invitation(rechecked(TEXT.replace(old, new)))


def test_stray_base64_bits_are_not_canonical() -> None:
    with pytest.raises(NotCanonical):
        parse_invitation(rechecked(TEXT.replace("wdHh8=", "wdHh9=")))


def test_another_version_is_named_as_such() -> None:
    with pytest.raises(UnsupportedVersion):
        parse_invitation(rechecked(TEXT.replace("Version: 1", "Version: 2")))


def test_windows_line_ends_are_no_difference_to_a_file_read_as_text(tmp_path: object) -> None:
    assert parse_invitation(TEXT.replace("\n", "\r\n").replace("\r\n", "\n")) == invitation()
    with pytest.raises(MalformedMessage):
        parse_invitation(TEXT.replace("\n", "\r\n"))


def test_the_root_must_be_the_federations() -> None:
    with pytest.raises(MalformedMessage):
        invitation(federation=FederationName("other.example"))
    leaf = FlawedCertificates(AUTHORITY, NOW).good().chain_der[0]
    for not_a_root in (leaf, AUTHORITY.certificate.public_bytes(Encoding.DER), b"", ROOT_DER[:-1]):
        with pytest.raises(MalformedMessage):
            invitation(root_certificate_der=not_a_root)


@pytest.mark.parametrize(
    "name", ["", " x", "x\n", "a\nHub: evil:1", "a\u2028b", "a\u202eb", "e\u0301", "x" * 121, "漢" * 86]
)
def test_an_agency_name_is_one_printable_line(name: str) -> None:
    with pytest.raises(MalformedMessage):
        invitation(agency_name=name)


@pytest.mark.parametrize(
    "address",
    ["", "hub", "hub:", ":1", "hub:0", "hub:65536", "http://hub:1", "[::1]", "[zz]:1", "[::::]:1", "h b:1"],
)
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(MalformedMessage):
        check_address(address)


def test_an_invitation_ends() -> None:
    end = NOW + timedelta(days=14)
    invitation().check_unexpired(end - timedelta(seconds=1))
    with pytest.raises(Expired):
        invitation().check_unexpired(end)


def test_an_end_without_a_zone_is_refused() -> None:
    for moment in (datetime(2026, 12, 1), datetime(2026, 12, 1, microsecond=1, tzinfo=UTC)):  # noqa: DTZ001
        with pytest.raises(MalformedMessage):
            invitation(expires_at=moment)


def test_the_fingerprint_is_shown_in_groups() -> None:
    text = fingerprint(ROOT_DER)
    assert text.startswith("SHA256:")
    assert text.removeprefix("SHA256:").replace(" ", "") == hashlib.sha256(ROOT_DER).hexdigest()
    assert {len(group) for group in text.removeprefix("SHA256:").split(" ")} == {4}


def test_a_pinned_fingerprint_is_compared_whatever_way_it_was_typed() -> None:
    text = invitation().fingerprint
    digits = hashlib.sha256(ROOT_DER).hexdigest()
    for typed in (
        text,
        text.upper(),
        digits,
        f"  {digits}\n",
        ":".join(digits[i : i + 2] for i in range(0, 64, 2)),
    ):
        check_fingerprint(invitation(), typed)


def test_another_pinned_fingerprint_is_refused_with_a_sentence() -> None:
    other = federation_authority(NOW).root.public_bytes(Encoding.DER)
    with pytest.raises(CertificateRefused, match="not the one you expect") as refused:
        check_fingerprint(invitation(), fingerprint(other))
    assert "Do not join" in refused.value.remedy
    last = invitation().fingerprint[-1]
    with pytest.raises(CertificateRefused):
        check_fingerprint(invitation(), invitation().fingerprint[:-1] + ("0" if last != "0" else "1"))


@pytest.mark.parametrize("typed", ["", "SHA256:", "ab12 cd34", "SHA256:" + "g" * 64, "0" * 65])
def test_part_of_a_fingerprint_is_none(typed: str) -> None:
    with pytest.raises(InputInvalid):
        check_fingerprint(invitation(), typed)


def test_the_token_is_not_shown() -> None:
    assert "token" not in repr(invitation())
    assert bytes(range(32)).hex() not in repr(invitation())


def test_the_hub_keeps_a_digest_of_the_token() -> None:
    token = new_token()
    assert len(token) == 32
    assert token != new_token()
    assert token_digest(token).value == digest("enrolment-token", token)
    with pytest.raises(MalformedMessage):
        token_digest(token[:-1])
