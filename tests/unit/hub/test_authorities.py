"""The issuing authority is replaced once a year, and nobody notices, in any order of steps (ADR 0034)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.authority import Authority, create_issuing, create_root
from candor_certs.chain import PeerIdentity, verify_peer
from candor_certs.folders import load_root, save_issuing
from candor_certs.profiles import CLOCK_TOLERANCE
from candor_certs.requests import certificate_request, new_tls_key
from candor_hub.authorities import adopt, check_adoptable, overview, secret_name
from candor_hub.driver import sa
from candor_hub.founding import open_keys
from candor_hub.issued import Issued
from candor_hub.keys import TLS
from candor_hub.places import vault
from candor_hub.tables import authorities, certificates
from candor_proto.errors import (
    CandorError,
    CertificateRevoked,
    Expired,
    InputInvalid,
    NotYetValid,
    StoreUnusable,
    WrongStanding,
)
from candor_proto.ids import FederationName
from candor_proto.possession import sign_certificate_request
from tests.hub_members import FEDERATION, Member
from tests.unit.hub.offices import Office, office, opened

on_both = pytest.mark.usefixtures("each_database")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        made.clock.advance(days=1)
        yield made


def root(hub: Office) -> Authority:
    return load_root(hub.config.data / "authority/root")


def another(hub: Office) -> Authority:
    """The next authority, made now."""
    hub.clock.advance(seconds=1)
    return create_issuing(root(hub), FEDERATION, hub.clock.now())


def command(hub: Office, authority: Authority) -> bool:
    """`candor-hub issuing adopt`, in a process of its own."""
    with hub.store.write() as tx:
        check_adoptable(tx, authority, FEDERATION, hub.clock.now())
        return adopt(tx, vault(hub.config, hub.store), authority, hub.clock.now())


def serial_of(authority: Authority) -> int:
    return authority.certificate.serial_number


@dataclass
class Node:
    """A member's node: what it shows, and the request that is under way."""

    member: Member
    chain: tuple[bytes, ...]
    pending: bytes = b""

    def identity(self, hub: Office) -> PeerIdentity:
        return verify_peer(self.chain, [hub.keys.root], hub.clock.now())

    def call(self, hub: Office) -> PeerIdentity:
        """Any call at all, as the gate judges it; raises what the gate refuses it with."""
        shown = self.identity(hub)
        hub.directory.latest().deny_list(hub.clock.now()).check(shown, hub.clock.now())
        Issued(hub.store, hub.clock).look_up(shown)
        return shown

    def renew(self, hub: Office, *, reply_lost: bool = False) -> None:
        shown = self.call(hub)
        if not self.pending:
            self.pending = certificate_request(new_tls_key(), FEDERATION, self.member.node)
        signature = sign_certificate_request(
            self.member.signing_key, FEDERATION, self.member.node, self.pending
        )
        member = hub.directory.latest().view.member(self.member.node)
        chain = hub.renewal.renew(self.pending, signature, member, shown, hub.clock.now())
        verify_peer(chain, [hub.keys.root], hub.clock.now())
        if not reply_lost:
            self.chain, self.pending = chain, b""


def join(hub: Office, name: str) -> Node:
    member = hub.newcomer(name)
    request = hub.request(member, hub.invite(member))
    node = Node(member, hub.enrolment.enrol(request, hub.clock.now()))
    node.call(hub)
    return node


def standing(hub: Office) -> list[tuple[str, int]]:
    """State of each authority, and how many members go by it: what `issuing list` says."""
    with hub.store.read() as tx:
        return [(each.state, len(each.members)) for each in overview(tx, hub.clock.now())]


# --- the whole way -----------------------------------------------------------------------------------------


@on_both
def test_a_rollover_from_one_authority_to_the_next(hub: Office) -> None:
    alpha, bravo = join(hub, "alpha"), join(hub, "bravo")
    old, version = hub.keys.authority, hub.directory.latest().version
    assert standing(hub) == [("in use", 2)]
    new = another(hub)
    assert command(hub, new)
    assert standing(hub) == [("replaced", 2), ("in use", 0)]
    # The hub takes it up without a restart: what it shows, and the directory by which members hear of it.
    hub.tick()
    assert hub.keys.authority.certificate == new.certificate
    assert hub.keys.tls.chain[1] == new.certificate
    latest = hub.directory.latest()
    assert latest.version == version + 1
    assert latest.stored.chain[1] == new.certificate.public_bytes(Encoding.DER)
    # Old and new overlap.
    alpha.call(hub)
    alpha.renew(hub)
    assert serial_of(new) in alpha.identity(hub).authorities
    assert standing(hub) == [("replaced", 2), ("in use", 0)]  # it was issued, and not shown yet
    alpha.call(hub)
    assert standing(hub) == [("replaced", 1), ("in use", 1)]
    with pytest.raises(
        WrongStanding, match="1 member goes by certificates of it, and would be cut off: bravo"
    ):
        hub.directory.deny(serial_of(old), hub.clock.now(), authority=True)
    bravo.call(hub)
    bravo.renew(hub)
    bravo.call(hub)
    hub.directory.deny(serial_of(old), hub.clock.now(), authority=True)
    assert standing(hub) == [("denied", 0), ("in use", 2)]
    for node in (alpha, bravo):
        node.call(hub)
        node.renew(hub)
        node.call(hub)
    join(hub, "charlie")


def test_the_stolen_key_case_cuts_off_at_once_and_says_whom(hub: Office) -> None:
    alpha, old = join(hub, "alpha"), hub.keys.authority
    command(hub, another(hub))
    hub.tick()
    hub.directory.deny(serial_of(old), hub.clock.now(), authority=True, cut_off=True)
    with pytest.raises(CertificateRevoked):
        alpha.call(hub)
    # And the operator's word lets the member back, with the keys it always had.
    assert hub.enrolment.readmit(None, hub.clock.now()) == (alpha.member.node,)


def test_a_restart_changes_nothing(hub: Office) -> None:
    new = another(hub)
    command(hub, new)
    with opened(hub.config, hub.clock) as after:
        assert after.keys.authority.certificate == new.certificate
        after.keeper.take_up_folder()  # the folder of the settings still holds the first one
        assert after.keys.authority.certificate == new.certificate
        after.tick()
        join(after, "alpha")


def test_the_folder_in_the_settings_is_taken_up_when_it_is_a_new_one(hub: Office, tmp_path: Path) -> None:
    """The way it was done before there was a command: another folder in `issuing`, and a restart."""
    new = another(hub)
    save_issuing(new, tmp_path / "next")
    with opened(replace(hub.config, issuing=tmp_path / "next"), hub.clock) as after:
        after.keeper.take_up_folder()
        assert after.keys.authority.certificate == new.certificate
        after.tick()
    # Somebody puts the old folder back: what was replaced does not come back.
    with opened(hub.config, hub.clock) as after:
        after.keeper.take_up_folder()
        assert after.keys.authority.certificate == new.certificate
        assert standing(after) == [("replaced", 0), ("in use", 0)]


# --- what may not be adopted -------------------------------------------------------------------------------


def test_what_would_cut_off_the_members_is_not_adopted(hub: Office) -> None:
    present, now = hub.keys.authority, hub.clock.now()
    begins = present.certificate.not_valid_before_utc + CLOCK_TOLERANCE
    older = create_issuing(root(hub), FEDERATION, begins)  # as old as the present one
    elsewhere = FederationName("other.example")
    foreign_root = create_root(FEDERATION, now)
    later = create_issuing(root(hub), FEDERATION, now + timedelta(days=2))
    cases: list[tuple[Authority, type[CandorError], str]] = [
        (older, InputInvalid, "made before"),
        (create_issuing(create_root(elsewhere, now), elsewhere, now), InputInvalid, "other.example"),
        (create_issuing(foreign_root, FEDERATION, now), InputInvalid, "another root"),
        (later, NotYetValid, "clock"),
    ]
    for authority, error, words in cases:
        with pytest.raises(error) as caught:
            command(hub, authority)
        assert words in str(caught.value)
    assert standing(hub) == [("in use", 0)]
    first = another(hub)
    command(hub, first)
    with pytest.raises(InputInvalid, match="was replaced by"):
        command(hub, present)
    hub.directory.deny(4711, hub.clock.now(), authority=True)
    denied = create_issuing(root(hub), FEDERATION, hub.clock.now() + timedelta(seconds=2))
    hub.clock.advance(seconds=3)
    hub.directory.deny(serial_of(denied), hub.clock.now(), authority=True)
    with pytest.raises(CertificateRevoked):
        command(hub, denied)
    hub.clock.advance(days=400)
    with pytest.raises(Expired):
        command(hub, first)


def test_the_authority_in_use_is_not_denied_whatever_is_said(hub: Office) -> None:
    join(hub, "alpha")
    for cut_off in (False, True):
        with pytest.raises(WrongStanding, match="in use"):
            hub.directory.deny(
                serial_of(hub.keys.authority), hub.clock.now(), authority=True, cut_off=cut_off
            )


def test_an_authority_from_before_the_books_is_kept_while_somebody_may_hang_from_it(hub: Office) -> None:
    """A hub of the release before was in the middle of a rollover, and wrote no authorities down."""
    alpha, old = join(hub, "alpha"), hub.keys.authority
    command(hub, another(hub))
    hub.tick()
    with hub.store._engine.begin() as connection:
        connection.execute(sa.delete(authorities).where(authorities.c.serial == f"{serial_of(old):x}"))
        connection.execute(sa.update(certificates).values(issuer=""))
    with pytest.raises(WrongStanding, match="cut off: alpha"):
        hub.directory.deny(serial_of(old), hub.clock.now(), authority=True)
    alpha.renew(hub)
    alpha.call(hub)
    hub.directory.deny(serial_of(old), hub.clock.now(), authority=True)


def test_nothing_is_denied_before_the_hub_itself_has_gone_over(hub: Office) -> None:
    """Else the running hub would go on certifying under an authority that is denied."""
    old = hub.keys.authority
    command(hub, another(hub))
    with pytest.raises(WrongStanding, match="has not gone over"):
        hub.directory.deny(serial_of(old), hub.clock.now(), authority=True, cut_off=True)
    hub.tick()
    hub.directory.deny(serial_of(old), hub.clock.now(), authority=True)


# --- bad moments -------------------------------------------------------------------------------------------


@on_both
def test_a_reply_that_was_lost_across_a_rollover_is_given_again_as_it_was(hub: Office) -> None:
    """The same request, the same certificate, and the chain that it hangs from: not the new one's."""
    alpha = join(hub, "alpha")
    alpha.renew(hub, reply_lost=True)
    newcomer = hub.newcomer("bravo")
    request = hub.request(newcomer, hub.invite(newcomer))
    lost = hub.enrolment.enrol(request, hub.clock.now())
    old = hub.keys.authority
    command(hub, another(hub))
    hub.tick()
    assert hub.enrolment.enrol(request, hub.clock.now()) == lost
    alpha.renew(hub)
    assert serial_of(old) in alpha.identity(hub).authorities
    alpha.call(hub)
    # A member whose reply is still lost keeps the old authority from being denied.
    with pytest.raises(WrongStanding, match="alpha"):
        hub.directory.deny(serial_of(old), hub.clock.now(), authority=True)


def test_a_running_hub_issues_under_what_was_adopted_from_the_next_transaction_on(hub: Office) -> None:
    """Before it has taken anything up: the database decides, in the transaction that issues."""
    alpha, new = join(hub, "alpha"), another(hub)
    command(hub, new)
    assert hub.keys.authority.certificate != new.certificate
    alpha.renew(hub)
    assert serial_of(new) in alpha.identity(hub).authorities
    alpha.call(hub)


@on_both
def test_an_adoption_that_was_cut_short_is_repeated(hub: Office) -> None:
    """Killed between key and row, and after the row."""
    alpha, new = join(hub, "alpha"), another(hub)

    class Killed(BaseException):
        pass

    def killed() -> None:
        with hub.store.write() as tx:
            adopt(tx, vault(hub.config, hub.store), new, hub.clock.now())
            raise Killed

    with pytest.raises(Killed):
        killed()
    assert standing(hub) == [("in use", 1)]
    hub.tick()
    alpha.renew(hub)
    assert command(hub, new)
    assert not command(hub, new)
    hub.tick()
    alpha.renew(hub)
    alpha.call(hub)
    assert standing(hub) == [("replaced", 0), ("in use", 1)]


@on_both
def test_the_key_of_a_replaced_authority_is_destroyed_and_a_lost_key_is_made_up_for(hub: Office) -> None:
    first, second = another(hub), another(hub)
    place = vault(hub.config, hub.store)
    command(hub, first)
    hub.tick()
    command(hub, second)
    assert place.get(secret_name(serial_of(first))) is not None
    hub.tick()
    assert place.get(secret_name(serial_of(first))) is None
    # The disk lost the key of the one in use: nothing is issued, all else goes on, and one command heals.
    with hub.store.write() as tx:
        place.remove(secret_name(serial_of(second)), tx)
    with pytest.raises(StoreUnusable, match="neither") as caught:
        open_keys(hub.config, hub.store)
    assert "issuing adopt" in caught.value.remedy
    command(hub, another(hub))
    hub.tick()
    with opened(hub.config, hub.clock) as after:
        join(after, "alpha")


@on_both
def test_a_process_without_a_tls_identity_makes_one(hub: Office) -> None:
    """A replica's data folder holds one file, and hub.pem is not it."""
    (hub.config.keys / TLS).unlink()
    with opened(hub.config, hub.clock) as after:
        with pytest.raises(StoreUnusable):
            _ = after.keys.tls
        after.tick()
        assert after.keys.tls.chain[1] == after.keys.authority.certificate
        assert len(dns_names(after.keys.tls.chain[0])) == 2


def dns_names(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return list(names.get_values_for_type(x509.DNSName))


@on_both
@pytest.mark.parametrize("seed", range(2))
def test_in_whatever_order_the_steps_come_no_member_is_cut_off(hub: Office, seed: int) -> None:
    """Adoptions, the hub's rounds, renewals, lost replies, denials and days, drawn at random."""
    draw = random.Random(seed)
    nodes = [join(hub, name) for name in ("alpha", "bravo", "charlie")]
    denied = 0
    for _ in range(60):
        match draw.randrange(6):
            case 0:
                command(hub, another(hub))
            case 1:
                hub.tick()
            case 2:
                draw.choice(nodes).renew(hub, reply_lost=draw.random() < 0.3)
            case 3:
                draw.choice(nodes).call(hub)
            case 4:
                with hub.store.read() as tx:
                    known = tx.authorities.all()
                try:
                    hub.directory.deny(draw.choice(known).serial, hub.clock.now(), authority=True)
                    denied += 1
                except WrongStanding:
                    pass
            case 5:
                hub.clock.advance(hours=draw.randrange(1, 12))
                for node in nodes:  # who runs renews in time
                    if (node.identity(hub).not_after - hub.clock.now()) < timedelta(days=3):
                        node.renew(hub)
        for node in nodes:
            node.call(hub)
    assert denied
