"""Documents behind a record: they stay at the agency, the record holds their digests (RECORDS.md §3.2).

Rules of this file:
- nothing of a document but its SHA-256 is read into the node; no name of a file, for it may be a person's;
- naming a document is a correction of the record, with its version, history and notice to recipients.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from candor_node import ledger, lifecycle
from candor_node.lifecycle import Doing
from candor_node.store import Database
from candor_proto.errors import InputInvalid
from candor_records.codes import Missing
from candor_records.content import content_fields
from candor_records.field_types import MAX_DIGESTS
from candor_records.record_fields import amended
from candor_records.records import Dcn

FIELD = "document_hashes"
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_BLOCK = 1 << 20


def digest_of(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal, read block by block. Raises InputInvalid."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}.", remedy="Check the path.") from None
    return digest.hexdigest()


def digests(db: Database, dcn: Dcn) -> list[str]:
    """What the current version of a record names. Raises UnknownObject."""
    return _named(content_fields(lifecycle.current(db, dcn).content))


def attach(db: Database, dcn: Dcn, found: Sequence[str], doing: Doing) -> tuple[Dcn | str, int]:
    """Add digests to a record as a correction; its control number and how many were new, or "" and 0.

    Raises InputInvalid for what is no digest, or too many; WrongStanding as every correction does.
    """
    if not found or not all(_DIGEST.match(digest) for digest in found):
        raise InputInvalid("A document is named by its SHA-256, 64 hexadecimal digits.")
    record = lifecycle.current(db, dcn)
    known = _named(content_fields(record.content))
    new = [digest for digest in dict.fromkeys(found) if digest not in known]
    if len(known) + len(new) > MAX_DIGESTS:
        raise InputInvalid(f"A record names at most {MAX_DIGESTS} documents.")
    if not new:
        return "", 0
    content = amended(record.content, {FIELD: ";".join([*known, *new])})
    event = lifecycle.correct(db, record.dcn, content, doing)
    after = record.dcn if event is None else event.after.dcn
    refs = {"dcn": str(after), "user": doing.by}
    ledger.append(db, doing.now, "document.attached", refs, {"added": len(new)})
    return after, len(new)


def _named(fields: dict[str, str]) -> list[str]:
    text = fields.get(FIELD, "")
    return [] if text in Missing.__members__ else [part for part in text.split(";") if part]
