"""What is done again, or held, when entries of the ledger say that it had been done (docs/backup.md).

Rules of this file:
- what destroyed, withdrew or took away is done again, or what it was done to is held until a person has
  looked: a record that came back to what it was may be wrong about somebody;
- what gave, opened or added is not done again: it is listed, and a person does it anew;
- nothing here needs what was lost: entries of the ledger name control numbers and codes, and no content.

Every function runs inside the transaction that heals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from candor_node import filings, history, ledger, mail_store, packs, publisher, recalls, request_store, users
from candor_node.ledger import Entry
from candor_node.store import Database
from candor_proto.budget import bucket
from candor_proto.canonical import to_milliseconds
from candor_proto.disclosure import DisclosureRequest, OwnerState, RequesterState
from candor_proto.errors import CandorError
from candor_proto.ids import LookupId, RequestId
from candor_records.gate import gate, gate_day, standing
from candor_records.life import LIVE, Act
from candor_records.records import Dcn, Record, Standing
from candor_records.roles import Role
from candor_wire.codec import MessageKind

BY = "restore"
# Events that say how somebody looked at something, or that are said again by themselves.
_NOTHING_TO_DO = frozenset(
    {
        "record.viewed", "record.searched", "record.history_viewed", "record.exported", "record.opened",
        "record.held", "record.expire", "disclosure.viewed", "lookup.shown", "lookup.seen", "lookup.amended",
        "lookup.rechecked", "lookup.late_match", "lookup.forgotten", "lookup.answered", "index.published",
        "index.refreshed", "epoch.begun", "epoch.destroyed", "store.backed_up", "subject.report",
        "subject.shown", "user.refused", "user.denied", "user.administrator_viewed", "evidence.exported",
        "quota.asked", "recall.sent", "recall.due", "digest.made", "digest.opened", "review.opened",
        "disclosure.received", "disclosure.expired",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Healed:
    """An act that had been done, for people: about what, by whom, and what was done about it now."""

    entry: Entry
    about: str
    by: str
    healed: str


@dataclass
class Healing:
    """What one healing works with. `requests` are bodies of disclosure requests by their id."""

    db: Database
    now: datetime
    requests: Mapping[bytes, bytes]
    # Control numbers that came to be since, and what they followed.
    previous: dict[str, str]

    @classmethod
    def of(
        cls, db: Database, now: datetime, entries: list[Entry], requests: Mapping[bytes, bytes]
    ) -> Healing:
        previous = {
            entry.refs["dcn"]: entry.refs.get("previous_dcn", "")
            for entry in entries
            if entry.event == "record.filed" and "dcn" in entry.refs
        }
        return cls(db, now, requests, previous)

    def record_of(self, dcn: str) -> bytes | None:
        """The record that a control number belongs to, by way of what it followed; None if all of it is
        lost."""
        while dcn:
            row = self.db.execute("SELECT record_id FROM records WHERE dcn = ?", [dcn]).fetchone()
            if row is not None:
                return bytes(row[0])
            dcn = self.previous.get(dcn, "")
        return None


def heal_act(healing: Healing, entry: Entry) -> Healed | None:
    """Do what `entry` asks for; None when nobody has to hear of it."""
    by = entry.refs.get("user", "") or str(entry.details.get("by", ""))
    if entry.event in _NOTHING_TO_DO:
        _remember(healing, entry)
        return None
    known = _KNOWN.get(entry.event)
    if known is None and entry.event.startswith("record."):
        known = _act_on_record
    about, words = known(healing, entry) if known is not None else _only_said(healing, entry)
    return Healed(entry, about, by, words)


def _remember(healing: Healing, entry: Entry) -> None:
    """Lookups that were answered: never again, and what they used stays used."""
    if entry.event != "lookup.answered":
        return
    db, asker, lookup_id = healing.db, entry.refs["asker"], LookupId.parse(entry.refs["lookup_id"])
    db.execute(
        "INSERT INTO answered_lookups (asker, lookup_id, inbox_number, status, answered, expires_at)"
        " VALUES (?, ?, 0, ?, 1, ?) ON CONFLICT DO NOTHING",
        [asker, lookup_id.value, _STATUS_UNKNOWN, to_milliseconds(healing.now + mail_store.KEPT)],
    )
    elements = int(entry.details.get("elements", 0))
    if entry.details.get("status") == "EVALUATED":
        # Of which class they were is not said; the sum counts.
        hour = to_milliseconds(bucket(entry.at))
        db.execute(
            "INSERT INTO quota_uses (asker, hour, weak, match, code) VALUES (?, ?, 0, ?, 0)"
            " ON CONFLICT (asker, hour) DO UPDATE SET match = match + excluded.match",
            [asker, hour, elements],
        )


_STATUS_UNKNOWN = 6  # refused: other


def _only_said(healing: Healing, entry: Entry) -> tuple[str, str]:
    about = next((value for name, value in entry.refs.items() if name not in ("user", "second")), "")
    return about, "Lost. If it still matters, it has to be done again."


# --- records ------------------------------------------------------------------------------------------------


def _act_on_record(healing: Healing, entry: Entry) -> tuple[str, str]:
    dcn = entry.refs.get("dcn", "")
    record_id = healing.record_of(dcn)
    act = str(entry.details.get("act", ""))
    if record_id is None:
        if act == Act.FILE.name:
            return dcn, "This report is lost, and its control number with it. File it again."
        return dcn, "Lost, with the record itself."
    if entry.event in ("record.expunge", "record.destroy"):
        return dcn, _destroyed(healing, record_id)
    return dcn, _held(healing, record_id, act)


def _destroyed(healing: Healing, record_id: bytes) -> str:
    row = healing.db.execute(
        "SELECT dcn, standing FROM record_heads WHERE record_id = ?", [record_id]
    ).fetchone()
    if row[1] == Standing.EXPUNGED.name:
        return "Destroyed: it stays so."
    bury(healing.db, record_id, row[0], Standing[row[1]], healing.now)
    return "Destroyed again; whoever had received it is told again."


def bury(db: Database, record_id: bytes, dcn: str, stood: Standing, now: datetime) -> None:
    """Of a record that was destroyed after the backup: nothing of it comes back, and its holders are told."""
    if stood in LIVE:
        recalls.destroyed_since(db, record_id, dcn, now)
    history.append(db, record_id, Dcn(dcn), Act.DESTROY, now, BY, "", "")
    ledger.append(db, now, "record.destroy", {"dcn": dcn, "user": BY})
    filings.bury(db, record_id)
    publisher.forget_record(db, filings.control_numbers(db, record_id))


def _held(healing: Healing, record_id: bytes, act: str) -> str:
    try:
        before = filings.find_current(healing.db, record_id)
    except CandorError:
        return "The record was destroyed since: nothing has to be done."
    after = replace(before, circumstances=replace(before.circumstances, reviewed=False))
    _store_judged(healing, after)
    # What was released of it before, and has not left yet, was decided when it was another record.
    for release in request_store.released(healing.db, filings.control_numbers(healing.db, record_id)):
        mail_store.take_back(healing.db, MessageKind.DISCLOSURE_RESPONSE, release.request.request_id.value)
    word = Act[act].value if act in Act.__members__ else "changed"
    return (
        f"The record had been {word}, and is as it was before. It is held, matches nobody and is released to "
        "nobody: do it again, then `candor-node records review`."
    )


def _store_judged(healing: Healing, record: Record) -> None:
    policy = packs.in_force(healing.db)
    decision = gate(record, gate_day(healing.now), policy.gate_rules(record.kind))
    if record.circumstances.standing in LIVE:
        now = replace(record.circumstances, standing=standing(record, decision))
        record = replace(record, circumstances=now)
    filings.set_circumstances(healing.db, record, decision.state())
    ledger.append(healing.db, healing.now, "store.record_held", {"dcn": str(record.dcn), "user": BY})


# --- disclosures and recalls --------------------------------------------------------------------------------


def _released(healing: Healing, entry: Entry) -> tuple[str, str]:
    """Whoever received a record is told of every recall: for that the request has to be known."""
    request_id, dcn = RequestId.parse(entry.refs["request_id"]), entry.refs.get("dcn", "")
    body = healing.requests.get(request_id.value)
    db, requester = healing.db, entry.refs.get("requester", "")
    if body is not None:
        request_store.add_received(
            db, DisclosureRequest.decode(body), OwnerState.WAITING, "", dcn, healing.now
        )
    known = db.execute(
        "UPDATE received_requests SET state = ?, settled_at = ?, settled_by = ?, dcn = ?"
        " WHERE request_id = ?",
        [OwnerState.RELEASED.value, to_milliseconds(entry.at), BY, dcn, request_id.value],
    )
    if not known.rowcount:
        return dcn, f"{requester} holds this record, and is not told of recalls: tell that agency by hand."
    record_id = healing.record_of(dcn)
    if record_id is not None and filings.sealed_now(db, record_id) is None:
        recalls.destroyed_since(db, record_id, dcn, healing.now)
    return dcn, f"{requester} holds this record, and is told of every recall."


def _declined(healing: Healing, entry: Entry) -> tuple[str, str]:
    request_id = RequestId.parse(entry.refs["request_id"])
    healing.db.execute(
        "UPDATE received_requests SET state = ?, settled_at = ?, settled_by = ? WHERE request_id = ?"
        " AND state <> ?",
        [
            OwnerState.DECLINED.value,
            to_milliseconds(entry.at),
            BY,
            request_id.value,
            OwnerState.RELEASED.value,
        ],
    )
    return str(request_id), "Declined: it stays so."


def _recall_applied(healing: Healing, entry: Entry) -> tuple[str, str]:
    request_id = RequestId.parse(entry.refs["request_id"])
    owner, action = entry.refs.get("owner", ""), str(entry.details.get("action", ""))
    sent = request_store.sent(healing.db, request_id)
    if sent is None:
        return str(request_id), f"A recall of {owner}; what it was about is lost."
    if action == "ANNOTATE":
        return str(request_id), f"{owner} had added something to this copy that is lost: ask {owner}."
    words = f"{owner} had recalled it, and this node went back to before; its copy was destroyed"
    if sent.state in (RequesterState.OPENED, RequesterState.SENT, RequesterState.INVALID):
        request_store.forget_record(healing.db, request_id, RequesterState.RECALLED, words)
    if action == "REPLACE":
        return str(
            request_id
        ), f"{owner} had corrected this copy. It was destroyed: request the record again."
    return str(request_id), "The copy was destroyed again."


# --- users --------------------------------------------------------------------------------------------------


def _user_disabled(healing: Healing, entry: Entry) -> tuple[str, str]:
    user = entry.refs["user"]
    healing.db.execute(
        "UPDATE users SET disabled_at = coalesce(disabled_at, ?), changed_by = ?, changed_at = ?"
        " WHERE user_id = ?",
        [to_milliseconds(entry.at), BY, to_milliseconds(healing.now), user],
    )
    return user, "Disabled: it stays so."


def _user_token(healing: Healing, entry: Entry) -> tuple[str, str]:
    """The token that was replaced must not open again; the new one is lost."""
    user = entry.refs["user"]
    healing.db.execute(
        "UPDATE users SET locked_at = ?, changed_by = ?, changed_at = ? WHERE user_id = ?",
        [to_milliseconds(healing.now), BY, to_milliseconds(healing.now), user],
    )
    return user, "Locked: the new token is lost and the old one was replaced. Give a new one."


def _user_changed(healing: Healing, entry: Entry) -> tuple[str, str]:
    """Roles that were taken stay taken; those that were given have to be given again."""
    user = entry.refs["user"]
    try:
        known = users.find(healing.db, user)
    except CandorError:
        return user, "The user is lost: add it again."
    given = str(entry.details.get("roles", "")).split()
    left = " ".join(role.value for role in Role if role in known.roles and role.value in given)
    healing.db.execute(
        "UPDATE users SET roles = ?, changed_by = ?, changed_at = ? WHERE user_id = ?",
        [left, BY, to_milliseconds(healing.now), user],
    )
    return user, "Roles that were taken stay taken; give again what was given."


_KNOWN: Mapping[str, Callable[[Healing, Entry], tuple[str, str]]] = {
    "disclosure.released": _released,
    "disclosure.declined": _declined,
    "recall.applied": _recall_applied,
    "user.disabled": _user_disabled,
    "user.token_renewed": _user_token,
    "user.changed": _user_changed,
}
