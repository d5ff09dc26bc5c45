"""What parties hold, as values: nothing here knows a database (`tests.history.read` does)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Elements of any class, and of each, in 30 days; a `day_share`-th of each in a day."""

    total: int
    weak: int
    match: int
    code: int
    day_share: int


@dataclass(frozen=True)
class Use:
    """Elements charged to `asker` in the hour that begins at `hour` (milliseconds since 1970)."""

    asker: str
    hour: int
    weak: int
    match: int
    code: int

    @property
    def total(self) -> int:
        return self.weak + self.match + self.code


@dataclass(frozen=True)
class Search:
    """`overall` as people are shown it now, empty before; `answered` of `asked` as its coverage says.

    `due` is how many nodes have answered by what the database holds of their answers.
    """

    search_id: str
    case: str
    overall: str = ""
    answered: int = 0
    asked: int = 0
    due: int = 0
    closed: bool = False


@dataclass(frozen=True)
class Target:
    """One node asked by one lookup; `status` and `digest` are those of the answer held, if one is."""

    node: str
    state: str
    status: int = 0
    digest: str = ""


@dataclass(frozen=True)
class SentLookup:
    lookup_id: str
    search_id: str
    state: str
    elements: int
    expires_at: int
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class Decided:
    """A row of the replay cache."""

    asker: str
    lookup_id: str
    status: int
    answered: bool


@dataclass(frozen=True)
class Entry:
    """An entry of a node's ledger, as far as it speaks of messages."""

    at: int
    event: str
    refs: Mapping[str, str]
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Mail:
    """A row of an inbox (`party` sent it) or outbox (`party` is to get it; empty for a lookup)."""

    party: str
    kind: int
    envelope_id: str
    state: str
    expires_at: int = 0
    note: str = ""


@dataclass(frozen=True)
class Request:
    """A disclosure request, sent (`party` is the owner) or received (`party` is the requester)."""

    request_id: str
    party: str
    state: str
    expires_at: int
    search_id: str = ""
    hit: int = 0


@dataclass(frozen=True)
class Recall:
    """A recall, sent (`party` is the recipient) or applied (`party` is the owner)."""

    recall_id: str
    party: str
    request_id: str
    destroys: bool
    state: str = ""


@dataclass(frozen=True)
class NodeHolding:
    """What a node's database holds. `damage` and `ledger_fault` are empty when all is well."""

    node: str
    limits: Limits
    damage: str = ""
    ledger_fault: str = ""
    searches: tuple[Search, ...] = ()
    lookups: tuple[SentLookup, ...] = ()
    decided: tuple[Decided, ...] = ()
    entries: tuple[Entry, ...] = ()
    uses: tuple[Use, ...] = ()
    inbox: tuple[Mail, ...] = ()
    outbox: tuple[Mail, ...] = ()
    sent_requests: tuple[Request, ...] = ()
    received_requests: tuple[Request, ...] = ()
    recalls: tuple[Recall, ...] = ()
    received_recalls: tuple[Recall, ...] = ()
    # Requests under which something of a record is held, or its key.
    copies: frozenset[str] = frozenset()
    # By agency_record_id: how many versions, and how many of them are current.
    records: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    head_sequence: int = 0
    head_confirmed: bool = True
    # By batch and row: how many lookups carried the row, those that asked moved targets again left out.
    rows_asked: Mapping[tuple[str, int], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Envelope:
    """What the hub accepted; `waiting` are those of `recipients` whose delivery is not acknowledged."""

    sender: str
    kind: int
    envelope_id: str
    digest: str
    accepted_at: int
    expires_at: int
    recipients: tuple[str, ...]
    waiting: tuple[str, ...]


@dataclass(frozen=True)
class HubHolding:
    limits: Limits
    damage: str = ""
    envelopes: tuple[Envelope, ...] = ()
    uses: tuple[Use, ...] = ()
    # How many commitments to lookups, and to other envelopes, the log holds, or will when what waits is
    # appended; what whoever reads the log would refuse it for.
    logged_lookups: int = 0
    logged_others: int = 0
    log_fault: str = ""
    heads: Mapping[str, int] = field(default_factory=dict)
