"""The people of this node: user ids, roles, tokens (RECORDS.md §7.3, CJIS AC-2 and AC-7).

Rules of this file:
- while no user was ever registered the node is *open*: whoever may use the socket acts under any name with
  all roles. The first user is an administrator, and from then on nobody acts without signing in;
- a user id is a pseudonym and never reused: rows are disabled, not deleted. Names are kept as traces only;
- of a token only the SHA-256 is stored, and it is compared in constant time. Five failures in fifteen minutes
  lock the user until an administrator releases it; the lock on the last active administrator ends by itself
  after half an hour, for nobody else could;
- disabling ends access with the next command. The last active administrator cannot be disabled;
- giving APPROVER, AUDITOR or ADMINISTRATOR takes two people, unless nobody else is there yet who could be the
  second. So does a new token for somebody who has them: whoever holds the token is the second person.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from candor_node import ledger
from candor_node.store import Database
from candor_node.subjects import trace_key
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import (
    AlreadyExists,
    CandorError,
    InputInvalid,
    NotAuthenticated,
    UnknownObject,
    WrongRole,
    WrongStanding,
)
from candor_proto.evidence import NameRarity, Rarity
from candor_proto.normalise import Particulars, normalise
from candor_records.roles import (
    ALL_ROLES,
    PRIVILEGED_ROLES,
    RULES,
    Actor,
    Operation,
    Role,
    check_allowed,
    same_user,
)

FAILURES_ALLOWED = 5
FAILURE_WINDOW = timedelta(minutes=15)
LAST_ADMINISTRATOR_LOCK = timedelta(minutes=30)
# Who acts at an open node without saying a name.
NOBODY = "local"
_USER_ID = re.compile(r"[a-z][a-z0-9._-]{1,31}\Z")
_UNKNOWN_DIGEST = hashlib.sha256(b"nobody").digest()
REFUSED = "This user and token do not fit together, or the user may not sign in."
_REMEDY = "Set CANDOR_USER and CANDOR_TOKEN_FILE, or ask an administrator for a new token."


@dataclass(frozen=True)
class User:
    """One user; `full_name` and `surname` are traces."""

    user_id: str
    roles: frozenset[Role]
    active_from: datetime
    active_until: datetime | None
    disabled_at: datetime | None
    locked_at: datetime | None
    created_by: str
    created_at: datetime
    full_name: bytes | None = field(repr=False, default=None)
    surname: bytes | None = field(repr=False, default=None)
    rarity: Rarity = Rarity.UNKNOWN

    def active(self, now: datetime) -> bool:
        """Whether this user may sign in now, the lock aside."""
        ended = self.active_until is not None and now >= self.active_until
        return self.disabled_at is None and self.active_from <= now and not ended

    def state(self, now: datetime) -> str:
        """In one word: active, not yet, ended, disabled or locked."""
        if self.disabled_at is not None:
            return "disabled"
        if now < self.active_from:
            return "not yet"
        if self.active_until is not None and now >= self.active_until:
            return "ended"
        return "locked" if self.locked_at is not None else "active"

    def ended_at(self) -> datetime | None:
        """When this user's access ended or is going to end."""
        ends = [at for at in (self.disabled_at, self.active_until) if at is not None]
        return min(ends, default=None)


@dataclass(frozen=True)
class NewUser:
    """What is registered; names serve the detectors and are kept as traces."""

    user_id: str
    roles: frozenset[Role]
    first: str = field(repr=False, default="")
    last: str = field(repr=False, default="")
    active_from: datetime | None = None
    active_until: datetime | None = None


def registered(db: Database) -> bool:
    """Whether a user was ever registered: until then the node is open."""
    return db.execute("SELECT 1 FROM users LIMIT 1").fetchone() is not None


# --- signing in ----------------------------------------------------------------------------------------


def sign_in(
    db: Database, now: datetime, user_id: str, token: str, operation: Operation
) -> Actor | CandorError:
    """Who acts, or why nobody does; the failure is counted and accounted for in this very transaction.

    Nothing of what was typed as an unknown user goes into the ledger: it may be a token or a name.
    """
    if not registered(db):
        return Actor(user_id.strip() or NOBODY, ALL_ROLES)
    if not user_id.strip():
        return NotAuthenticated("This node has users: it must be known who you are.", remedy=_REMEDY)
    known = _row(db, user_id)
    expected = known[1] if known else _UNKNOWN_DIGEST
    fits = hmac.compare_digest(hashlib.sha256(token.encode()).digest(), expected)
    if known is None:
        ledger.append(db, now, "user.refused", {}, {"why": "unknown"})
        return NotAuthenticated(REFUSED, remedy=_REMEDY)
    user = known[0]
    if _locked(db, user, now):
        return _refuse(db, now, user, "locked")
    if not fits:
        return _failed(db, now, user)
    if not user.active(now):
        return _refuse(db, now, user, "ended")
    actor = Actor(user.user_id, user.roles)
    refs = {"user": user.user_id, "operation": operation.value}
    try:
        check_allowed(actor, operation)
    except WrongRole as error:
        ledger.append(db, now, "user.denied", refs)
        return error
    # Administrators run the machine; what they look at is accounted for.
    if Role.ADMINISTRATOR in user.roles and operation.value.startswith("VIEW_"):
        ledger.append(db, now, "user.administrator_viewed", refs)
    return actor


def _locked(db: Database, user: User, now: datetime) -> bool:
    if user.locked_at is None:
        return False
    alone = Role.ADMINISTRATOR in user.roles and not _others(db, user.user_id, now, {Role.ADMINISTRATOR})
    return not (alone and now >= user.locked_at + LAST_ADMINISTRATOR_LOCK)


def _refuse(db: Database, now: datetime, user: User, why: str) -> NotAuthenticated:
    ledger.append(db, now, "user.refused", {"user": user.user_id}, {"why": why})
    return NotAuthenticated(REFUSED, remedy=_REMEDY)


def _failed(db: Database, now: datetime, user: User) -> NotAuthenticated:
    since = to_milliseconds(now - FAILURE_WINDOW)
    db.execute("DELETE FROM sign_in_failures WHERE user_id = ? AND at <= ?", [user.user_id, since])
    db.execute("INSERT INTO sign_in_failures VALUES (?, ?)", [user.user_id, to_milliseconds(now)])
    sql = "SELECT count(*) FROM sign_in_failures WHERE user_id = ?"
    if db.execute(sql, [user.user_id]).fetchone()[0] >= FAILURES_ALLOWED:
        db.execute("UPDATE users SET locked_at = ? WHERE user_id = ?", [to_milliseconds(now), user.user_id])
        ledger.append(db, now, "user.locked", {"user": user.user_id})
    return _refuse(db, now, user, "token")


# --- changing ------------------------------------------------------------------------------------------


def add(db: Database, now: datetime, actor: Actor, new: NewUser) -> tuple[str, frozenset[Role]]:
    """Register a user: the token, shown once, and the roles that wait for a second person.

    Raises InputInvalid or AlreadyExists.
    """
    if not _USER_ID.match(new.user_id):
        raise InputInvalid(
            "A user id is 2 to 32 of a-z, 0-9, dot, hyphen and underscore, and begins with a letter.",
            remedy="Use a pseudonym, for example clerk-7: ids stand in every account of what was done.",
        )
    if _row(db, new.user_id) is not None:
        raise AlreadyExists(
            "There is a user of this id already; ids are not reused.", remedy="Choose another."
        )
    first_of_all = not registered(db)
    if first_of_all and Role.ADMINISTRATOR not in new.roles:
        raise InputInvalid(
            "The first user must be an administrator: nobody could register the others.",
            remedy="Begin with --role ADMINISTRATOR.",
        )
    starts = new.active_from or now
    if new.active_until is not None and new.active_until <= starts:
        raise InputInvalid("This user's last day lies before the first.", remedy="Check --until.")
    held_back = frozenset() if first_of_all or _alone(db, actor) else new.roles & PRIVILEGED_ROLES
    token, digest = _new_token()
    key, named = trace_key(db), bool(new.first.strip() and new.last.strip())
    at = to_milliseconds(now)
    db.execute(
        "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, ?, ?, ?, ?)",
        [
            new.user_id,
            _write(new.roles - held_back),
            digest,
            key.full_name(new.first, new.last) if named else None,
            key.surname(new.last) if new.last.strip() else None,
            NameRarity.of(normalise(Particulars(last=new.last))).surname.value,
            to_milliseconds(starts),
            None if new.active_until is None else to_milliseconds(new.active_until),
            actor.user,
            at,
            actor.user,
            at,
        ],
    )
    _account(db, now, "user.added", new.user_id, actor, roles=_write(new.roles - held_back))
    return token, held_back


def change_roles(
    db: Database,
    now: datetime,
    actor: Actor,
    user_id: str,
    give: frozenset[Role],
    take: frozenset[Role],
) -> frozenset[Role]:
    """Give and take roles; those that wait for a second person. Raises UnknownObject or InputInvalid."""
    user = find(db, user_id)
    held_back = frozenset() if _alone(db, actor, user_id) else (give - user.roles) & PRIVILEGED_ROLES
    roles = (user.roles - take) | (give - held_back)
    if Role.ADMINISTRATOR in user.roles and Role.ADMINISTRATOR not in roles:
        _check_not_last(db, now, user)
    _set_roles(db, now, actor.user, user, roles)
    return held_back


def grant(db: Database, now: datetime, by: str, user_id: str, roles: frozenset[Role]) -> None:
    """Give roles that a second person has agreed to. Raises UnknownObject or InputInvalid."""
    user = find(db, user_id)
    if user.disabled_at is not None:
        raise InputInvalid("This user is disabled by now.", remedy="Reject the proposal.")
    _set_roles(db, now, by, user, user.roles | roles)


def _set_roles(db: Database, now: datetime, by: str, user: User, roles: frozenset[Role]) -> None:
    db.execute(
        "UPDATE users SET roles = ?, changed_by = ?, changed_at = ? WHERE user_id = ?",
        [_write(roles), by, to_milliseconds(now), user.user_id],
    )
    _account(db, now, "user.changed", user.user_id, Actor(by, ALL_ROLES), roles=_write(roles))


def disable(db: Database, now: datetime, actor: Actor, user_id: str) -> None:
    """End a user's access with the next command. Raises UnknownObject or InputInvalid."""
    user = find(db, user_id)
    if user.disabled_at is not None:
        return
    if Role.ADMINISTRATOR in user.roles:
        _check_not_last(db, now, user)
    db.execute(
        "UPDATE users SET disabled_at = ?, changed_by = ?, changed_at = ? WHERE user_id = ?",
        [to_milliseconds(now), actor.user, to_milliseconds(now), user_id],
    )
    _account(db, now, "user.disabled", user_id, actor)


def renew_token(db: Database, now: datetime, actor: Actor, user_id: str) -> tuple[str, frozenset[Role]]:
    """A new token, shown once, and the roles that wait for a second person; the old token ends.

    An administrator who hands out a token could use it: another one's privileged roles rest until somebody
    else has agreed. Raises UnknownObject; WrongStanding for who was disabled.
    """
    user = find(db, user_id)
    _check_not_ended(user)
    rest = user.roles & PRIVILEGED_ROLES
    if same_user(actor.user, user_id) or _alone(db, actor, user_id):
        rest = frozenset()
    token, digest = _new_token()
    db.execute(
        "UPDATE users SET token_digest = ?, roles = ?, changed_by = ?, changed_at = ? WHERE user_id = ?",
        [digest, _write(user.roles - rest), actor.user, to_milliseconds(now), user_id],
    )
    _account(db, now, "user.token_renewed", user_id, actor, roles=_write(user.roles - rest))
    return token, rest


def release(db: Database, now: datetime, actor: Actor, user_id: str) -> None:
    """Take the lock off after failures. Raises UnknownObject, WrongStanding; WrongRole for one's own."""
    _check_not_ended(find(db, user_id))
    if same_user(actor.user, user_id):
        raise WrongRole("Nobody takes the lock off themselves.", remedy="Ask another administrator.")
    db.execute("UPDATE users SET locked_at = NULL WHERE user_id = ?", [user_id])
    db.execute("DELETE FROM sign_in_failures WHERE user_id = ?", [user_id])
    _account(db, now, "user.released", user_id, actor)


def _check_not_ended(user: User) -> None:
    """Disabling is for good: nothing may look as if it gave the access back."""
    if user.disabled_at is not None:
        raise WrongStanding(
            "The access of this user was ended.", remedy="Register the person anew, under another id."
        )


# --- reading -------------------------------------------------------------------------------------------

_COLUMNS = (
    "user_id, roles, active_from, active_until, disabled_at, locked_at, created_by, created_at, full_name,"
    " surname, rarity, token_digest"
)


def list_users(db: Database) -> list[User]:
    """Every user there ever was, by id."""
    rows = db.execute(f"SELECT {_COLUMNS} FROM users ORDER BY user_id").fetchall()  # noqa: S608
    return [_read(row) for row in rows]


def find(db: Database, user_id: str) -> User:
    """Raises UnknownObject."""
    known = _row(db, user_id)
    if known is None:
        raise UnknownObject("There is no such user.", remedy="`candor-node users list` shows them.")
    return known[0]


def acting_now(db: Database, now: datetime, user_id: str) -> Actor | None:
    """A user with the roles held at this moment; None for one who may not act any more."""
    if not registered(db):
        return Actor(user_id, ALL_ROLES)
    known = _row(db, user_id)
    if known is None or not known[0].active(now):
        return None
    return Actor(known[0].user_id, known[0].roles)


def _row(db: Database, user_id: str) -> tuple[User, bytes] | None:
    row = db.execute(f"SELECT {_COLUMNS} FROM users WHERE user_id = ?", [user_id]).fetchone()  # noqa: S608
    return None if row is None else (_read(row), bytes(row[-1]))


def _read(row: tuple[object, ...]) -> User:
    user_id, roles, starts, until, disabled, locked, by, at, full_name, surname, rarity, _ = row
    return User(
        str(user_id),
        frozenset(Role(role) for role in str(roles).split()),
        _moment(starts) or from_milliseconds(0),
        _moment(until),
        _moment(disabled),
        _moment(locked),
        str(by),
        _moment(at) or from_milliseconds(0),
        full_name if isinstance(full_name, bytes) else None,
        surname if isinstance(surname, bytes) else None,
        Rarity(rarity),
    )


def _moment(value: object) -> datetime | None:
    return from_milliseconds(value) if isinstance(value, int) else None


def _write(roles: frozenset[Role]) -> str:
    return " ".join(role.value for role in Role if role in roles)


def _new_token() -> tuple[str, bytes]:
    token = urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
    return token, hashlib.sha256(token.encode()).digest()


def _others(db: Database, user_id: str, now: datetime, roles: set[Role]) -> list[User]:
    """Other active users that hold one of `roles`."""
    return [
        user for user in list_users(db) if user.user_id != user_id and user.roles & roles and user.active(now)
    ]


def _alone(db: Database, actor: Actor, target: str = "") -> bool:
    """Whether nobody else was ever registered who could be the second person.

    Whether they are active does not count: an administrator could disable them all first.
    """
    second = RULES[Operation.GRANT_ROLE].second or frozenset()
    others = [user for user in list_users(db) if user.user_id not in (actor.user, target)]
    return not any(user.roles & second for user in others)


def _check_not_last(db: Database, now: datetime, user: User) -> None:
    if not _others(db, user.user_id, now, {Role.ADMINISTRATOR}):
        raise InputInvalid(
            "This is the last active administrator.", remedy="Register another administrator first."
        )


def _account(db: Database, now: datetime, event: str, user_id: str, actor: Actor, **details: str) -> None:
    stored: Mapping[str, str] = {"by": actor.user, **details}
    ledger.append(db, now, event, {"user": user_id}, stored)
