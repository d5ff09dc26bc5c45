"""Which issuing authority certifies, and what becomes of the one before it (ADR 0034).

Rules of this file:
- the database says which one is in use: the one adopted last. Its key is found by its serial, in the vault or
  in the folder that `issuing` names; whoever issues or publishes looks in the transaction that does so;
- only a newer one takes the place of the one in use, so that members can tell which way to go, and what was
  replaced does not come back;
- one is denied only when nothing hangs from it that would be missed, or when a person says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.authority import Authority
from candor_certs.chain import verify_issuing
from candor_certs.lifetime import Standing, judge
from candor_hub.store import Transaction
from candor_hub.store.authorities import AuthorityRecord
from candor_hub.store.certificates import CertificateRecord
from candor_hub.vault import Vault
from candor_proto.errors import (
    CertificateRefused,
    CertificateRevoked,
    ConfigInvalid,
    Expired,
    InputInvalid,
    NotYetValid,
    StoreUnusable,
    WrongStanding,
)
from candor_proto.ids import FederationName, NodeId

_START, _END = "issuing-", ".pem"
_NAMED = 10


def secret_name(serial: int) -> str:
    """What the vault calls an authority."""
    return f"{_START}{serial:x}{_END}"


def load_authority(
    vault: Vault,
    issuing: Path,
    federation: FederationName,
    record: AuthorityRecord | None,
    tx: Transaction | None = None,
) -> Authority:
    """The authority that `record` names, with its key; None: the one in the folder `issuing`.

    Raises StoreUnusable, InputInvalid, CertificateRefused or ConfigInvalid.
    """
    # Here, because `folders` is one of the slower imports and only `run`, `invite` and their like need it.
    from candor_certs.folders import load_issuing, parse_issuing

    if record is None:
        authority = load_issuing(issuing)
    else:
        name = secret_name(record.serial)
        octets = vault.get(name, tx)
        if octets is not None:
            authority = parse_issuing(octets, vault.place(name))
        elif (issuing / "issuing.key").exists() and load_issuing(issuing).certificate == _certificate(record):
            authority = load_issuing(issuing)
        else:
            raise StoreUnusable(
                f"The key of the issuing authority in use (serial {record.serial:x}) is neither "
                f"{vault.place(name)} nor in {issuing}.",
                remedy="Restore it from the backup of the hub's keys; or make a new one and give it to the "
                "hub: `candor-certs issuing create`, `candor-hub issuing adopt`.",
            )
    if authority.federation != federation:
        raise ConfigInvalid(
            f"The issuing authority in {issuing} is that of {authority.federation}, not of {federation}.",
            remedy="Correct `issuing` or `federation` in the configuration.",
        )
    return authority


def guess_in_use(vault: Vault) -> AuthorityRecord | None:
    """The newest authority with a key in the vault, for when the database cannot be asked; None for none."""
    from candor_certs.folders import parse_issuing

    found = [parse_issuing(vault.get(name) or b"", vault.place(name)) for name in vault.names(_START)]
    newest = max((each.certificate for each in found), key=lambda one: one.not_valid_before_utc, default=None)
    if newest is None:
        return None
    return AuthorityRecord(
        newest.serial_number, newest.public_bytes(Encoding.DER), newest.not_valid_before_utc
    )


def _certificate(record: AuthorityRecord) -> x509.Certificate:
    return x509.load_der_x509_certificate(record.der)


# --- taking one into use ----------------------------------------------------------------------------------


def check_adoptable(tx: Transaction, authority: Authority, federation: FederationName, now: datetime) -> None:
    """Raises InputInvalid, CertificateRefused, CertificateRevoked, Expired or NotYetValid, and says why."""
    certificate, present = authority.certificate, tx.authorities.newest()
    serial, remedy = certificate.serial_number, "Make a new one with `candor-certs issuing create`."
    if authority.federation != federation:
        raise InputInvalid(f"This is an authority of {authority.federation}, not of {federation}.")
    if now > certificate.not_valid_after_utc:
        raise Expired(f"It ended on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC.", remedy=remedy)
    if now < certificate.not_valid_before_utc:
        raise NotYetValid(
            f"It begins on {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC.",
            remedy="Check this machine's clock, and the one of the machine that made it.",
        )
    if tx.certificates.any_denied({serial}):
        raise CertificateRevoked(f"The authority {serial:x} was denied, and that is for good.", remedy=remedy)
    if present is None or present.serial == serial:
        return
    before = _certificate(present)
    if tx.authorities.find(serial) is not None:
        raise InputInvalid(
            f"The authority {serial:x} was replaced by {present.serial:x}, and does not come back.",
            remedy=remedy,
        )
    try:
        verify_issuing(before, authority.root)
    except CertificateRefused:
        raise InputInvalid(
            "It was certified by another root than the authority in use: no member would trust it.",
            remedy="Use the root of this federation. A new root means a successor: docs/succession.md.",
        ) from None
    if certificate.not_valid_before_utc <= before.not_valid_before_utc:
        raise InputInvalid(
            "It was made before the one in use, and members follow only to a newer one.", remedy=remedy
        )


def adopt(tx: Transaction, vault: Vault, authority: Authority, now: datetime) -> bool:
    """Take a checked authority into use; False when it is in use already. Idempotent after a crash.

    Its key is stored before the row that names it: a row without its key could certify nothing, a key without
    its row is tried again.
    """
    from candor_certs.folders import issuing_pem

    serial = authority.certificate.serial_number
    vault.put(secret_name(serial), issuing_pem(authority), tx)
    present = tx.authorities.newest()
    if present is not None and present.serial == serial:
        return False
    tx.authorities.add(serial, authority.certificate.public_bytes(Encoding.DER), now)
    tx.notices.directory()
    return True


def forget_replaced(tx: Transaction, vault: Vault) -> None:
    """Destroy the keys of authorities that are not in use any more; their certificates stay."""
    *replaced, _ = tx.authorities.all() or (None,)
    for record in filter(None, replaced):
        vault.remove(secret_name(record.serial), tx)


# --- what hangs from which --------------------------------------------------------------------------------


@dataclass(frozen=True)
class AuthorityStanding:
    """An authority, and the members that go by a certificate of it."""

    serial: int
    certificate: x509.Certificate
    adopted_at: datetime
    in_use: bool
    denied: bool
    standing: Standing
    members: tuple[NodeId, ...]

    @property
    def state(self) -> str:
        return "denied" if self.denied else "in use" if self.in_use else "replaced"


def overview(tx: Transaction, now: datetime) -> list[AuthorityStanding]:
    """Every authority that this hub ever used, the oldest first."""
    records = tx.authorities.all()
    certificates = {record.serial: _certificate(record) for record in records}
    hanging: dict[int, list[NodeId]] = {}
    for node, shown in tx.certificates.shown(now).items():
        serial = issuer_of(shown, certificates)
        if serial is not None:
            hanging.setdefault(serial, []).append(node)
    found = []
    for record in records:
        own = certificates[record.serial]
        found.append(
            AuthorityStanding(
                serial=record.serial,
                certificate=own,
                adopted_at=record.adopted_at,
                in_use=record is records[-1],
                denied=tx.certificates.any_denied({record.serial}),
                standing=judge(own.not_valid_before_utc, own.not_valid_after_utc, now, by_hand=True),
                members=tuple(sorted(hanging.get(record.serial, ()))),
            )
        )
    return found


def issuer_of(record: CertificateRecord, authorities: dict[int, x509.Certificate]) -> int | None:
    """The serial of the authority that issued a certificate; None if it is not one of `authorities`."""
    if record.issuer is not None:
        return record.issuer if record.issuer in authorities else None
    # Issued by a version that did not write it down: the key that signed it says the same.
    leaf = x509.load_der_x509_certificate(record.der)
    wanted = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    for serial, certificate in authorities.items():
        own = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        if own.key_identifier == wanted:
            return serial
    return None


def chain_of(tx: Transaction, record: CertificateRecord) -> tuple[bytes, ...]:
    """The certificate (DER) and what it hangs from, as they were given when it was issued.

    Raises CertificateRefused when that authority is not known any more.
    """
    records = {each.serial: each for each in tx.authorities.all()}
    issuer = issuer_of(record, {serial: _certificate(each) for serial, each in records.items()})
    if issuer is None:
        raise CertificateRefused(
            f"The certificate with the serial {record.serial:x} hangs from an authority that this hub does "
            "not know any more.",
            remedy="Ask with a new key.",
        )
    return record.der, records[issuer].der


def check_deniable(tx: Transaction, serial: int, now: datetime, *, cut_off: bool) -> None:
    """Raises WrongStanding while the authority with this serial would be missed."""
    known = {each.serial: each for each in overview(tx, now)}.get(serial)
    if known is None:
        # Replaced before this hub wrote its authorities down: whatever hangs from none that it knows may be
        # its.
        _check_nobody(_strangers(tx, now), cut_off)
        return
    if known.denied:
        return
    if known.in_use:
        raise WrongStanding(
            f"The authority with the serial {serial:x} is in use: denying it would cut off every member, and "
            "none could renew.",
            remedy="First make another one (`candor-certs issuing create`) and give it to the hub "
            "(`candor-hub issuing adopt`); let the members renew; then deny this one.",
        )
    version = tx.directories.latest_version()
    chain = tx.directories.load(version).chain if version else ()
    if known.certificate.public_bytes(Encoding.DER) in chain:
        raise WrongStanding(
            "The hub itself has not gone over to the new authority yet.",
            remedy="Let candor-hub run for a few seconds; then deny this one.",
        )
    _check_nobody(known.members, cut_off)


def _strangers(tx: Transaction, now: datetime) -> tuple[NodeId, ...]:
    """Members that go by a certificate of an authority that is not written down."""
    known = {record.serial: _certificate(record) for record in tx.authorities.all()}
    shown = tx.certificates.shown(now).items()
    return tuple(sorted(node for node, record in shown if issuer_of(record, known) is None))


def _check_nobody(members: tuple[NodeId, ...], cut_off: bool) -> None:
    if members and not cut_off:
        names = ", ".join(map(str, members[:_NAMED]))
        more = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
        counted = "1 member goes" if len(members) == 1 else f"{len(members)} members go"
        raise WrongStanding(
            f"{counted} by certificates of it, and would be cut off: {names}{more}.",
            remedy="They renew by themselves within two hours of running: `candor-hub issuing list`. If its "
            "key was stolen, deny it with --cut-off, and let them back with `candor-hub readmit --all`.",
        )
