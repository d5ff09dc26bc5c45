"""The invitation: the one file an agency needs to join (docs/protocol.md §8.5).

A clerk may mail it, so it is text, says in words what it is for, and refuses to be read when a line was lost:

    -----BEGIN CANDOR INVITATION-----
    Version: 1
    Federation: exchange.example.org
    Hub: hub.example.org:7443
    Enrolment: hub.example.org:7444
    ORI: CA0340000
    Node: example-sheriff
    Agency: Example County Sheriff's Office
    Expires: 2026-12-07T12:00:00Z
    Token: <32 octets, base64>
    Root: <the root certificate in DER, base64, at most 64 characters a line>
     <continued behind one space>
    Check: <first 8 octets of the SHA-256 over all lines above, hexadecimal>
    -----END CANDOR INVITATION-----

Rules of this file:
- one spelling: `parse_invitation` refuses whatever `format_invitation` would not have written, byte for byte
  (read the file in text mode: Windows line ends are then no difference);
- `Node` says which node id the hub expects; the line is absent when the agency may choose one;
- `Check` finds accidents, not attacks: whoever can change the file can change it too. The root's fingerprint,
  compared over another channel, is what makes the rest trustworthy;
- the token is a secret: it stands in this file and in memory, never in a command line, a log or a repr; the
  hub keeps only its digest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import re
import secrets
import unicodedata
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hmac import compare_digest

from cryptography import x509

from candor_certs.chain import load_certificate, root_federation
from candor_proto.canonical import digest
from candor_proto.errors import (
    CertificateRefused,
    Expired,
    InputInvalid,
    MalformedMessage,
    NotCanonical,
    UnsupportedVersion,
)
from candor_proto.ids import Digest, FederationName, NodeId, Ori

TOKEN_OCTETS = 32
MAX_INVITATION_CHARACTERS = 16 * 1024
_MAX_AGENCY_CHARACTERS = 120
# What a directory has room for: a longer name would make the directory unreadable for everybody.
_MAX_AGENCY_OCTETS = 256
_BEGIN, _END = "-----BEGIN CANDOR INVITATION-----", "-----END CANDOR INVITATION-----"
_FIELDS = ("Version", "Federation", "Hub", "Enrolment", "ORI", "Node", "Agency", "Expires", "Token", "Root")
_HOST = r"(?:[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[(?P<ipv6>[0-9a-f:]{2,39})\])"
_ADDRESS = re.compile(_HOST + r":(?P<port>[1-9][0-9]{0,4})\Z")
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Invitation:
    """What the operator gives to one agency; raises MalformedMessage for values that cannot be written."""

    federation: FederationName
    hub_address: str
    enrolment_address: str
    ori: Ori
    agency_name: str
    token: bytes = field(repr=False)
    expires_at: datetime
    root_certificate_der: bytes = field(repr=False)
    node: NodeId | None = None

    def __post_init__(self) -> None:
        check_address(self.hub_address)
        check_address(self.enrolment_address)
        _check_agency_name(self.agency_name)
        if len(self.token) != TOKEN_OCTETS:
            raise MalformedMessage(f"An enrolment token is {TOKEN_OCTETS} octets.")
        if self.expires_at.utcoffset() != timedelta(0) or self.expires_at.microsecond:
            raise MalformedMessage("An invitation expires at a whole second, in UTC.")
        try:
            federation = root_federation(self.root_certificate)
        except CertificateRefused as error:
            raise MalformedMessage(
                f"The invitation's root certificate is unusable: {error.message}"
            ) from None
        if federation != self.federation:
            raise MalformedMessage(f"The invitation is for {self.federation}, its root for {federation}.")

    @property
    def root_certificate(self) -> x509.Certificate:
        return load_certificate(self.root_certificate_der)

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.root_certificate_der)

    def check_unexpired(self, now: datetime) -> None:
        """Raises Expired."""
        if now >= self.expires_at:
            raise Expired(
                f"The invitation ended on {self.expires_at:%Y-%m-%d %H:%M} UTC.",
                remedy="Ask the hub's operator for a new one.",
            )


def new_token() -> bytes:
    """32 octets from the operating system's generator."""
    return secrets.token_bytes(TOKEN_OCTETS)


def token_digest(token: bytes) -> Digest:
    """What the hub stores of a token: 256 random bits need neither salt nor a slow hash."""
    if len(token) != TOKEN_OCTETS:
        raise MalformedMessage(f"An enrolment token is {TOKEN_OCTETS} octets.")
    return Digest(digest("enrolment-token", token))


def fingerprint(certificate_der: bytes) -> str:
    """SHA-256 of a certificate, for people: `SHA256:` and sixteen groups of four hexadecimal digits."""
    text = hashlib.sha256(certificate_der).hexdigest()
    return "SHA256:" + " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def check_fingerprint(invitation: Invitation, pinned_text: str) -> None:
    """Raises CertificateRefused unless the root has the fingerprint that the operator gave elsewhere.

    `pinned_text` is typed by a person: case, spaces, colons and the prefix do not matter, every digit does.
    InputInvalid if it is no fingerprint at all.
    """
    digits = re.sub(r"[\s:]", "", pinned_text.strip().casefold().removeprefix("sha256:"))
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise InputInvalid(
            "The fingerprint given is not one: it has 64 hexadecimal digits.",
            remedy="Ask the hub's operator for all sixteen groups, by another way than the invitation came.",
        )
    if not compare_digest(digits, hashlib.sha256(invitation.root_certificate_der).hexdigest()):
        raise CertificateRefused(
            f"The invitation's root certificate is not the one you expect: it has the fingerprint "
            f"{invitation.fingerprint}.",
            remedy="Do not join. Call the hub's operator on a number you know and compare the fingerprints: "
            "the invitation may have been replaced on its way.",
        )


def check_address(address: str) -> None:
    """Raises MalformedMessage unless `address` is host:port, the host a lower-case name, IPv4 or [IPv6]."""
    match = _ADDRESS.match(address)
    if not match or int(match.group("port")) > 65535 or not _is_ipv6(match.group("ipv6")):
        raise MalformedMessage(f"{address[:70]!r} is not an address of the form host:port.")


def _is_ipv6(text: str | None) -> bool:
    try:
        return text is None or bool(ipaddress.IPv6Address(text).packed)
    except ValueError:
        return False


def format_invitation(invitation: Invitation) -> str:
    """The invitation's file."""
    root = base64.b64encode(invitation.root_certificate_der).decode()
    values = (
        "1",
        invitation.federation.value,
        invitation.hub_address,
        invitation.enrolment_address,
        invitation.ori.value,
        None if invitation.node is None else invitation.node.value,
        invitation.agency_name,
        # Not strftime("%Y"): it writes years before 1000 without leading zeros.
        invitation.expires_at.replace(tzinfo=None).isoformat() + "Z",
        base64.b64encode(invitation.token).decode(),
        "\n ".join(root[start : start + 64] for start in range(0, len(root), 64)),
    )
    fields = zip(_FIELDS, values, strict=True)
    lines = [_BEGIN, *(f"{name}: {value}" for name, value in fields if value is not None)]
    body = "\n".join(lines) + "\n"
    return f"{body}Check: {_check(body)}\n{_END}\n"


def parse_invitation(text: str) -> Invitation:
    """Read the file; raises MalformedMessage, NotCanonical or UnsupportedVersion, nothing else."""
    if len(text) > MAX_INVITATION_CHARACTERS:
        raise MalformedMessage("The invitation is too long.")
    if not text.startswith(_BEGIN + "\n") or not text.endswith(f"\n{_END}\n"):
        raise MalformedMessage(
            "This is not an invitation, or part of it is missing.",
            remedy="Save the attachment as it came, without opening it in a word processor.",
        )
    version = text.splitlines()[1]
    if version != "Version: 1":
        if re.fullmatch(r"Version: [0-9]{1,6}", version):
            raise UnsupportedVersion(
                "The invitation is of a version this program does not know.", remedy="Update Candor."
            )
        raise MalformedMessage("The invitation does not state its version.")
    body, found_check, _ = text.rpartition("\nCheck: ")
    if not found_check or text != f"{body}\nCheck: {_check(body + chr(10))}\n{_END}\n":
        raise MalformedMessage(
            "The invitation was changed or cut on its way: its check does not fit.",
            remedy="Ask the operator to send it again, as an attachment.",
        )
    values = _fields(body)
    invitation = Invitation(
        federation=FederationName(values["Federation"]),
        hub_address=values["Hub"],
        enrolment_address=values["Enrolment"],
        ori=Ori(values["ORI"]),
        agency_name=values["Agency"],
        token=_base64("Token", values["Token"]),
        expires_at=_time(values["Expires"]),
        root_certificate_der=_base64("Root", values["Root"].replace("\n ", "")),
        node=NodeId(values["Node"]) if "Node" in values else None,
    )
    if format_invitation(invitation) != text:
        raise NotCanonical("The invitation is not written in its one spelling.")
    return invitation


def _fields(body: str) -> dict[str, str]:
    lines = body.replace("\n ", "\x00").split("\n")[1:]
    names = tuple(line.partition(": ")[0] for line in lines)
    if names not in (_FIELDS, tuple(name for name in _FIELDS if name != "Node")):
        raise MalformedMessage(f"An invitation has the fields {', '.join(_FIELDS)}, in this order.")
    return {
        name: line.partition(": ")[2].replace("\x00", "\n ") for name, line in zip(names, lines, strict=True)
    }


def _check(body: str) -> str:
    try:
        return hashlib.sha256(body.encode()).hexdigest()[:16]
    except UnicodeEncodeError:
        raise MalformedMessage("The invitation is not valid Unicode.") from None


def _base64(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        raise MalformedMessage(f"The field {name} of the invitation is not base64.") from None


def _time(text: str) -> datetime:
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        raise MalformedMessage("The field Expires of the invitation is not a time.") from None


def _check_agency_name(name: str) -> None:
    printable = all(unicodedata.category(character)[0] in "LMNPSZ" for character in name)
    separators = any(unicodedata.category(character) in ("Zl", "Zp") for character in name)
    if not 1 <= len(name) <= _MAX_AGENCY_CHARACTERS or name != name.strip() or not printable or separators:
        raise MalformedMessage(
            f"An agency's name is one line of 1 to {_MAX_AGENCY_CHARACTERS} printable characters."
        )
    if unicodedata.normalize("NFC", name) != name:
        raise MalformedMessage("An agency's name is written in Unicode NFC.")
    if len(name.encode("utf-8")) > _MAX_AGENCY_OCTETS:
        raise MalformedMessage(f"An agency's name is at most {_MAX_AGENCY_OCTETS} octets of UTF-8.")
