"""Keyed digests, by which records are found again without being opened.

Rules of this file:
- the key is this database's own and never leaves it: a digest says nothing to whoever has not got it, neither
  an agency's case number, nor what a record says, nor whom it is about;
- what is digested of a person goes when the record is destroyed (`filings.bury`). What the agency's own id is
  digested to stays, so that the next export does not bring the record back.
"""

from __future__ import annotations

import hmac
import json
import re

from candor_node.store import Database
from candor_proto.folding import letters
from candor_proto.ids import Ori
from candor_records.content import Content, content_fields, known
from candor_records.records import Standing

_BESIDE_MARKS = re.compile(r" ?([._/#:-]) ?")


def digest_secret(db: Database) -> bytes:
    """The key of this database's digests; it never leaves it."""
    found: bytes = db.execute("SELECT value FROM node_secrets WHERE name = 'agency-key'").fetchone()[0]
    return found


def agency_key(db: Database, ori: Ori, agency_record_id: str) -> bytes:
    """By what a record is found again: a keyed digest, for an agency's case number may name a case."""
    return agency_digest(digest_secret(db), ori, agency_record_id)


def agency_digest(secret: bytes, ori: Ori, agency_record_id: str) -> bytes:
    """`agency_key` for whoever holds the key of the digests already, outside of any transaction.

    An agency's ids do not meet another one's: two may number their cases alike.
    """
    return hmac.digest(secret, f"id\0{ori}\0{folded_id(agency_record_id)}".encode(), "sha256")


def folded_id(agency_record_id: str) -> str:
    """An agency's id as it is compared: capitals and blanks make no other matter of it.

    Otherwise what was voided or destroyed would come back with the next export that writes its id otherwise.
    """
    return _BESIDE_MARKS.sub(r"\1", " ".join(agency_record_id.upper().split()))


def content_mac(db: Database, content: Content) -> bytes:
    """A keyed digest of a content but for its sharing choice: equal digests, equal facts."""
    return content_digest(digest_secret(db), content)


def content_digest(secret: bytes, content: Content) -> bytes:
    """`content_mac` for whoever holds the key of the digests already, outside of any transaction.

    The sharing choice is no fact: that it changed is noticed, and makes no version.
    """
    fields = content_fields(content, given_only=True)
    del fields["sharing"]
    fields["agency_record_id"] = folded_id(content.agency_record_id)
    return hmac.digest(secret, b"content\0" + _text(fields), "sha256")


def person_digest(secret: bytes, content: Content) -> bytes | None:
    """A keyed digest of person, kind and day: two records with the same are likely one, filed twice.

    None when nothing but a name is known of the person. Goes when the record is destroyed.
    """
    who = content.identity
    certificate = f"{known(who.post_state)} {known(who.post_id)}".strip()
    mark = known(who.birth_date) or certificate or known(who.ssn4)
    names = (letters(who.last), letters(who.first))
    parts = (*names, mark, content.record_kind.name, content.effective_on.isoformat())
    return hmac.digest(secret, b"person\0" + "\0".join(parts).encode(), "sha256") if mark else None


def filed_about(db: Database, ori: Ori, person: bytes) -> str:
    """The control number of a living record of the agency with this `person_digest`, or empty."""
    living = (Standing.DRAFT.name, Standing.HELD.name, Standing.ACTIVE.name)
    row = db.execute(
        "SELECT dcn FROM record_heads WHERE person_key = ? AND reporting_agency = ? "
        "AND standing IN (?, ?, ?)",
        [person, str(ori), *living],
    ).fetchone()
    return row[0] if row else ""


def _text(fields: dict[str, str]) -> bytes:
    return json.dumps(fields, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
