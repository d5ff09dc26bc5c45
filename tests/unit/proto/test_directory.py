"""Directory, members and index heads (docs/protocol.md §6.7, §10; attacks A6, A7, A18)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.directory import (
    MAX_HEAD_AGE,
    Directory,
    IndexHead,
    MemberKeys,
    MemberStatus,
    Seen,
    SeenHead,
    SegmentRef,
    VerifiedDirectory,
    check_standing,
    statement_digest,
    verify_directory,
)
from candor_proto.errors import (
    CandorError,
    IdentityMismatch,
    KeyMismatch,
    MalformedMessage,
    MemberSuspended,
    NotAMember,
    NotCanonical,
    NotYetValid,
    Rollback,
    SignatureInvalid,
)
from candor_proto.ids import Digest, FederationName, NodeId
from candor_proto.signing import SigningKey
from tests.parties import CHAIN_DIGEST, FEDERATION, NOW, Parties, Party

PARTIES = Parties("alpha", "beta", "gamma")
SEGMENTS = (SegmentRef(0, Digest(bytes(32)), 100), SegmentRef(2, Digest(b"\x01" * 32), 200))


def test_a_directory_decodes_to_itself() -> None:
    directory = replace(PARTIES.directory(), denied_serials=(0, 5, 1 << 158))
    assert Directory.decode(directory.encode()) == directory


def test_a_verified_directory_names_members_keys_and_heads() -> None:
    view = PARTIES.verified()
    assert view.nodes() == (NodeId("alpha"), NodeId("beta"), NodeId("gamma"))
    assert view.member(NodeId("beta")).signing_key == PARTIES["beta"].signing.public
    assert view.head(NodeId("beta")) == PARTIES["beta"].head()
    with pytest.raises(NotAMember):
        view.member(NodeId("nobody"))


def test_a_directory_signed_by_anybody_else_is_refused() -> None:
    forged = SigningKey.generate().sign("directory", PARTIES.directory().encode())
    with pytest.raises(SignatureInvalid):
        verify_directory(forged, PARTIES.directory_key.public, CHAIN_DIGEST, FEDERATION, NOW)


def test_a_rolled_back_directory_is_refused() -> None:
    with pytest.raises(Rollback):
        PARTIES.verified(seen=Seen(version=2))


def test_another_directory_of_the_same_version_is_refused() -> None:
    first, again = PARTIES.signed(), PARTIES.signed()
    seen = Seen(version=1, body=statement_digest(first))
    verify_directory(again, PARTIES.directory_key.public, CHAIN_DIGEST, FEDERATION, NOW, seen)
    other = replace(PARTIES.directory(), denied_serials=(7,))
    with pytest.raises(Rollback, match="two directories"):
        PARTIES.verified(other, seen=seen)
    PARTIES.verified(replace(other, version=2), seen=seen)


BETA = NodeId("beta")


def check_only_beta_is_in_trouble(view: VerifiedDirectory, error: type[Exception]) -> None:
    """Its head counts as none; nobody else suffers."""
    assert {node: type(trouble) for node, trouble in view.head_troubles.items()} == {BETA: error}
    assert view.head(BETA) is None
    assert view.head(NodeId("alpha")) == PARTIES["alpha"].head()
    assert BETA in view.nodes()


def test_a_rolled_back_index_head_counts_as_none() -> None:
    check_only_beta_is_in_trouble(PARTIES.verified(seen=Seen(heads={BETA: SeenHead(2)})), Rollback)


def test_another_index_head_of_the_same_sequence_counts_as_none() -> None:
    honest = PARTIES["beta"].member().head
    assert honest is not None
    seen = Seen(heads={BETA: SeenHead(1, statement_digest(honest))})
    assert PARTIES.verified(seen=seen).head_troubles == {}
    other = replace(PARTIES["beta"].head(), issued_at=NOW - timedelta(hours=1))
    signed = PARTIES["beta"].signing.sign("index-head", other.encode())
    shown = PARTIES.directory(beta=PARTIES["beta"].member(head=signed))
    check_only_beta_is_in_trouble(PARTIES.verified(shown, seen=seen), Rollback)


def test_keys_other_than_those_seen_first_are_not_taken_up() -> None:
    """A hub that puts keys of its own in a member's place could read what is sealed to it."""
    honest = PARTIES["beta"].member()
    seen = Seen(keys={BETA: MemberKeys.of(honest)})
    assert PARTIES.verified(seen=seen).key_troubles == {}
    false = Party(BETA)
    for member in (
        replace(honest, signing_key=false.signing.public),
        replace(honest, disclosure_key=false.disclosure.public),
    ):
        view = PARTIES.verified(PARTIES.directory(beta=member), seen=seen)
        assert {node: type(trouble) for node, trouble in view.key_troubles.items()} == {BETA: KeyMismatch}
        assert view.member(BETA) == honest
    # What the false key signed does not verify: no index, which the coverage says.
    view = PARTIES.verified(PARTIES.directory(beta=false.member()), seen=seen)
    check_only_beta_is_in_trouble(view, SignatureInvalid)


def test_the_directory_of_another_federation_is_refused() -> None:
    # Without heads: theirs would be refused for naming another federation as well.
    bare = PARTIES.directory(**{name: PARTIES[name].member(head=None) for name in ("alpha", "beta", "gamma")})
    with pytest.raises(IdentityMismatch):
        verify_directory(
            PARTIES.signed(bare),
            PARTIES.directory_key.public,
            CHAIN_DIGEST,
            FederationName("other.example"),
            NOW,
        )


def test_a_directory_under_another_certificate_chain_is_refused() -> None:
    with pytest.raises(IdentityMismatch):
        verify_directory(
            PARTIES.signed(), PARTIES.directory_key.public, Digest(b"\x01" * 32), FEDERATION, NOW
        )


def test_a_directory_from_the_future_is_refused() -> None:
    with pytest.raises(NotYetValid):
        PARTIES.verified(now=NOW - timedelta(minutes=6))


def test_an_index_head_that_the_hub_made_up_counts_as_none() -> None:
    forged = SigningKey.generate().sign("index-head", PARTIES["beta"].head().encode())
    view = PARTIES.verified(PARTIES.directory(beta=PARTIES["beta"].member(head=forged)))
    check_only_beta_is_in_trouble(view, SignatureInvalid)


def test_an_index_head_of_another_member_counts_as_none() -> None:
    foreign = PARTIES["beta"].signing.sign("index-head", PARTIES["gamma"].head().encode())
    view = PARTIES.verified(PARTIES.directory(beta=PARTIES["beta"].member(head=foreign)))
    check_only_beta_is_in_trouble(view, IdentityMismatch)


def test_an_index_head_that_cannot_be_read_does_not_freeze_the_directory() -> None:
    unreadable = PARTIES["beta"].signing.sign("index-head", b"written by a newer version")
    view = PARTIES.verified(PARTIES.directory(beta=PARTIES["beta"].member(head=unreadable)))
    check_only_beta_is_in_trouble(view, MalformedMessage)


def test_members_must_be_sorted_and_unique() -> None:
    directory = PARTIES.directory()
    for members in (directory.members[::-1], directory.members[:1] * 2):
        with pytest.raises(NotCanonical):
            Directory.decode(replace(directory, members=members).encode())


def test_an_index_head_decodes_to_itself_and_states_the_root_of_its_segments() -> None:
    head = replace(PARTIES["alpha"].head(), segments=SEGMENTS)
    assert IndexHead.decode(head.encode()) == head
    spoilt = head.encode().replace(head.root(), bytes(32))
    with pytest.raises(NotCanonical):
        IndexHead.decode(spoilt)


@pytest.mark.parametrize("threshold", [0, 2, 9])
def test_a_threshold_outside_its_bounds_is_refused(threshold: int) -> None:
    with pytest.raises(MalformedMessage):
        IndexHead.decode(replace(PARTIES["alpha"].head(), threshold=threshold).encode())


def test_s6_7_a_head_may_name_any_scheme_version_but_none() -> None:
    """Members of two versions live side by side: who does not know one says so, and refuses no directory."""
    for version in (1, 2, 99, 255):
        head = replace(PARTIES["alpha"].head(), scheme_version=version)
        assert IndexHead.decode(head.encode()) == head
    with pytest.raises(MalformedMessage, match="no match-key scheme"):
        IndexHead.decode(replace(PARTIES["alpha"].head(), scheme_version=0).encode())


def test_segments_out_of_order_are_refused() -> None:
    with pytest.raises(NotCanonical):
        IndexHead.decode(replace(PARTIES["alpha"].head(), segments=SEGMENTS[::-1]).encode())


def test_a_head_is_stale_once_older_than_its_maximum_age() -> None:
    head = PARTIES["alpha"].head()
    assert not head.is_stale(NOW + MAX_HEAD_AGE)
    assert head.is_stale(NOW + MAX_HEAD_AGE + timedelta(seconds=1))


def test_a_suspended_member_has_no_standing_and_is_no_target() -> None:
    member = PARTIES["beta"].member(status=MemberStatus.SUSPENDED)
    with pytest.raises(MemberSuspended):
        check_standing(member, NOW)
    view = PARTIES.verified(PARTIES.directory(beta=member))
    assert NodeId("beta") not in view.nodes()


def test_a_new_members_lookups_are_not_answered_before_its_cooling_off_time_ends() -> None:
    member = PARTIES["beta"].member(answered_from=NOW + timedelta(hours=1))
    with pytest.raises(NotYetValid):
        check_standing(member, NOW)
    check_standing(member, NOW + timedelta(hours=1))


@given(st.data())
def test_a_changed_directory_is_refused_or_is_another_directory(data: st.DataObject) -> None:
    body = bytearray(PARTIES.directory().encode())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = Directory.decode(bytes(body))
    except CandorError:
        return
    assert decoded.encode() == bytes(body)


def test_a_sequence_or_version_that_no_database_holds_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        IndexHead.decode(replace(PARTIES["alpha"].head(), sequence=1 << 63).encode())
    with pytest.raises(MalformedMessage):
        Directory.decode(replace(PARTIES.directory(), version=1 << 63).encode())
