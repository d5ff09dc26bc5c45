"""The witness protocol as a function (C2SP tlog-witness `add-checkpoint`; docs/protocol.md §15.3).

`add_checkpoint` only judges. Whoever calls it stores `accepted` as the newest checkpoint in the very
transaction that `latest` was read in, and cosigns and answers after that: otherwise two requests at a
time could roll the witness back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from candor_proto import merkle
from candor_proto.errors import (
    LimitExceeded,
    LogInconsistent,
    MalformedMessage,
    NotCanonical,
    ProofInvalid,
    SignatureInvalid,
    UnknownObject,
    Unreachable,
)
from candor_proto.merkle import EMPTY_ROOT, HASH_OCTETS
from candor_proto.tlog.base64lines import MAX_COUNT, decode_count, decode_hash, encode_octets
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.note import (
    MAX_NOTE_OCTETS,
    NoteSignature,
    VerifierKey,
    check_signatures,
    parse_signature_lines,
)
from candor_proto.tlog.signatures import verify_in_order

MAX_HASHES = 63
MAX_REQUEST_OCTETS = MAX_NOTE_OCTETS + 64 * 45 + 256
TEXT = "text/plain; charset=utf-8"
SIZE = "text/x.tlog.size"

OK, BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICT, UNPROCESSABLE = 200, 400, 403, 404, 409, 422


@dataclass(frozen=True)
class WitnessRequest:
    """What a log asks a witness: its new head, and that it continues the one of `old_size`."""

    old_size: int
    hashes: tuple[bytes, ...]
    signed: SignedCheckpoint

    def __post_init__(self) -> None:
        if not 0 <= self.old_size <= MAX_COUNT:
            raise MalformedMessage("The old size is below 2^63.")
        if len(self.hashes) > MAX_HASHES:
            raise LimitExceeded(f"A request holds at most {MAX_HASHES} hashes.")
        if any(len(piece) != HASH_OCTETS for piece in self.hashes):
            raise MalformedMessage(f"A hash is {HASH_OCTETS} octets.")

    def encode(self) -> bytes:
        lines = [f"old {self.old_size}", *(encode_octets(piece) for piece in self.hashes), "", ""]
        return "\n".join(lines).encode("ascii") + self.signed.encode()


def request_octets(old_size: int, proof: Sequence[bytes], signed: SignedCheckpoint) -> bytes:
    """The body of an `add-checkpoint` request."""
    return WitnessRequest(old_size, tuple(proof), signed).encode()


def parse_request(octets: bytes) -> WitnessRequest:
    """Raises MalformedMessage, NotCanonical or LimitExceeded."""
    if len(octets) > MAX_REQUEST_OCTETS:
        raise LimitExceeded(f"A witness request is at most {MAX_REQUEST_OCTETS} octets.")
    head, separator, rest = octets.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise MalformedMessage("A witness request is not ASCII before its checkpoint.") from None
    if not separator or not lines[0].startswith("old "):
        raise MalformedMessage("Not a witness request.")
    if len(lines) > 1 + MAX_HASHES:
        raise LimitExceeded(f"A request holds at most {MAX_HASHES} hashes.")
    old_size = decode_count(lines[0].removeprefix("old "))
    request = WitnessRequest(old_size, tuple(decode_hash(line) for line in lines[1:]), parse_checkpoint(rest))
    if request.encode() != octets:
        raise NotCanonical("A witness request that does not re-encode to itself.")
    return request


@dataclass(frozen=True)
class Verdict:
    """HTTP status, body and content type; `accepted` is to be stored, then cosigned, for status 200 only.

    The body of a status 200 is made by `cosignature_lines` once that is done.
    """

    status: int
    body: bytes = b""
    content_type: str = TEXT
    accepted: SignedCheckpoint | None = None


def _refused(status: int, reason: str) -> Verdict:
    return Verdict(status, f"{reason}\n".encode())


def add_checkpoint(
    request: bytes,
    keys_of: Callable[[str], Sequence[VerifierKey]],
    latest: Callable[[str], SignedCheckpoint | None],
) -> Verdict:
    """Judge a request as tlog-witness says, in this order: 400, 404, 403, 400, 409, 422, 200.

    `keys_of` gives the keys trusted for an origin, none for an unknown one; all of them must have signed,
    in this order, before anybody else (§14.2). `latest` gives the newest checkpoint cosigned for it.
    Raises nothing.
    """
    try:
        asked = parse_request(request)
    except (MalformedMessage, LimitExceeded) as error:
        return _refused(BAD_REQUEST, error.message)
    checkpoint = asked.signed.checkpoint
    keys = keys_of(checkpoint.origin)
    if not keys:
        return _refused(NOT_FOUND, "This witness does not know the log.")
    try:
        verify_in_order(asked.signed, keys)
    except SignatureInvalid as error:
        return _refused(FORBIDDEN, error.message)
    if asked.old_size > checkpoint.size:
        return _refused(BAD_REQUEST, "The old size is above that of the checkpoint.")
    newest = latest(checkpoint.origin)
    known_size, known_root = (newest.checkpoint.size, newest.checkpoint.root) if newest else (0, EMPTY_ROOT)
    if asked.old_size != known_size:
        return Verdict(CONFLICT, f"{known_size}\n".encode(), SIZE)
    try:
        merkle.verify_consistency(known_size, checkpoint.size, asked.hashes, known_root, checkpoint.root)
    except ProofInvalid as error:
        return _refused(UNPROCESSABLE, error.message)
    return Verdict(OK, accepted=asked.signed)


def cosignature_lines(signatures: Iterable[NoteSignature]) -> bytes:
    """The body of a 200: the lines of the witness alone."""
    lines = tuple(signatures)
    check_signatures(lines)
    return "".join(line.line() for line in lines).encode("utf-8")


@dataclass(frozen=True)
class WitnessResponse:
    """Signatures, unverified; or the size that the witness holds, and the request is to be made anew."""

    signatures: tuple[NoteSignature, ...] = ()
    size: int | None = None


def parse_response(status: int, body: bytes) -> WitnessResponse:
    """What a witness answered.

    Raises what its refusal means: UnknownObject (404), SignatureInvalid (403), MalformedMessage (400),
    LogInconsistent (422), Unreachable (anything else); MalformedMessage too for a body that is none.
    """
    if status == OK:
        try:
            text = body.decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedMessage("A witness answered with something else than signatures.") from None
        return WitnessResponse(signatures=parse_signature_lines(text))
    if status == CONFLICT:
        if len(body) > 32 or not body.isascii() or not body.endswith(b"\n"):
            raise MalformedMessage("A witness named no size.")
        return WitnessResponse(size=decode_count(body[:-1].decode("ascii")))
    if status == NOT_FOUND:
        raise UnknownObject("The witness does not know the log.")
    if status == FORBIDDEN:
        raise SignatureInvalid("The witness refuses the log's signatures.")
    if status == BAD_REQUEST:
        raise MalformedMessage("The witness cannot read the request.")
    if status == UNPROCESSABLE:
        raise LogInconsistent("The witness holds another history of the log.")
    raise Unreachable(f"The witness answered with status {status}.")
