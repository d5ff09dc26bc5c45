"""The hub's metrics: counters of its work, and what memory and database say when somebody asks.

Rules of this file (docs/observability.md lists the metrics, a test compares):
- a member's name labels whether it is there, how old its index is and how full its mailbox: what `agencies`
  shows. What it asked, answered or was sent is counted over all members only;
- how full a mailbox is stands in sixteenths: a single envelope does not show;
- codes, methods and versions are fixed sets; an unknown one is `other`.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from prometheus_client import Counter, Histogram

from candor_certs.lifetime import Standing as CertificateStanding
from candor_certs.lifetime import judge
from candor_hub.guard.budget import REASONS
from candor_hub.keys import HubKeys
from candor_hub.peer import ROLES
from candor_hub.store import Store
from candor_hub.store.standing import LogStanding, MailboxStanding, MemberStanding
from candor_proto import errors
from candor_proto.directory import MAX_HEAD_AGE
from candor_proto.errors import CandorError
from candor_proto.ids import NodeId
from candor_watch import metrics
from candor_watch.backups import Backups, read_backups
from candor_watch.listener import Readiness
from candor_watch.metrics import MAX_LABELS, Gauge, Read
from candor_watch.traces import Span, nothing
from candor_wire.limits import MAX_MAILBOX_ROWS_PER_RECIPIENT

PREFIX = "candor_hub"
OTHER = "other"
ENROL = "/candor.v1.EnrolmentService/Enrol"
# Seconds; an envelope is accepted within a commit or two.
ACCEPT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
CALL_BUCKETS = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0)
SIXTEENTHS = 16
_CODES = frozenset(
    kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, CandorError)
)
# What is traced: calls by their method, and the transactions that accept envelopes.
SPANS = frozenset({*ROLES, ENROL, "accept"})
_METHODS = {method: method.rpartition("/")[2] for method in (*ROLES, ENROL)}


@dataclass(frozen=True)
class Stored:
    """What the database says, as of one transaction."""

    members: tuple[MemberStanding, ...]
    mailbox: MailboxStanding
    log: LogStanding
    log_lag: int
    sequencer_term: int
    replicas: int
    # Attached to any replica.
    online: frozenset[NodeId]


@dataclass(frozen=True)
class Readings:
    """All that gauges are made of, as of about one moment; `stored` is None when the database is silent."""

    now: datetime
    database: str
    # The version that each attached node says.
    attached: Mapping[NodeId, str]
    sequencer_held: bool
    deny_list_age_seconds: float
    loop_lag_seconds: float
    ready: Readiness
    certificates: Mapping[str, CertificateStanding]
    backup: Backups | None
    disk_free: int
    disk_total: int
    stored: Stored | None


class HubMetrics:
    """An `Observer` that counts, and a registry. Counters are safe to use from several threads."""

    def __init__(self, span: Span = nothing) -> None:
        """`span` begins what is traced (`candor_watch.traces`)."""
        self._span = span
        self.registry = metrics.registry(PREFIX, quiet=False)
        self._read = Read()
        self.registry.register(self._read)
        given: dict[str, Any] = {"registry": self.registry, "namespace": PREFIX}
        self._accept = Histogram(
            "accept_seconds", "From handing in to durably stored.", buckets=ACCEPT_BUCKETS, **given
        )
        self._calls = Counter(
            "calls", "Calls of members, by method and code; empty: well.", ["method", "code"], **given
        )
        self._call = Histogram(
            "call_seconds", "How long calls took, streams aside.", ["method"], buckets=CALL_BUCKETS, **given
        )
        self._refusals = Counter("refusals", "Envelopes that were refused, by code.", ["code"], **given)
        self._quota = Counter(
            "quota_refusals", "Lookups that were refused because a quota was spent.", **given
        )
        # Shown from the start: an alert on what was never seen would never fire.
        for code in (errors.QuotaSpent.code, errors.StoreUnusable.code, errors.LimitExceeded.code):
            self._refusals.labels(code)
        self._database_errors = Counter("database_errors", "Steps that the database refused.", **given)
        self._cut = Counter(
            "connections_cut", "Connections that the guard ended, by reason.", ["reason"], **given
        )
        for reason in REASONS:
            self._cut.labels(reason)
        self._held_off = Counter(
            "members_held_off", "How often a member that was refused too often was held off.", **given
        )

    # --- as an observer ------------------------------------------------------------------------------------

    def called(self, method: str, code: str, seconds: float) -> None:
        name = _METHODS.get(method, OTHER)
        self._calls.labels(name, _code(code)).inc()
        if name != "Attach":
            self._call.labels(name).observe(seconds)
        if code == errors.StoreUnusable.code:
            self._database_errors.inc()

    def accepted(self, seconds: float) -> None:
        self._accept.observe(seconds)

    def refused(self, code: str) -> None:
        self._refusals.labels(_code(code)).inc()
        if code == errors.QuotaSpent.code:
            self._quota.inc()
        if code == errors.StoreUnusable.code:
            self._database_errors.inc()

    def cut(self, reason: str, count: int) -> None:
        """The guard ended so many connections."""
        self._cut.labels(reason if reason in REASONS else OTHER).inc(count)

    def held_off(self) -> None:
        self._held_off.inc()

    def span(self, name: str) -> Callable[[], None]:
        """Something begins that may be traced."""
        return self._span(name)

    # --- what is read --------------------------------------------------------------------------------------

    def render(self, readings: Readings) -> bytes:
        """The exposition of everything; one thread at a time."""
        self._read.gauges = tuple(gauges(readings))
        return metrics.render(self.registry)


def _code(code: str) -> str:
    return code if not code or code in _CODES else OTHER


def read_database(store: Store, now: datetime) -> Stored:
    """Blocks; raises StoreUnusable."""
    with store.read() as tx:
        return Stored(
            members=tx.standing.members(),
            mailbox=tx.standing.mailbox(),
            log=tx.standing.log(),
            log_lag=tx.directories.latest_version() - tx.log.witnessed_directory(),
            sequencer_term=tx.standing.term(),
            replicas=sum(replica.here for replica in tx.replicas.all(now)),
            online=frozenset(tx.replicas.attached(now)),
        )


def read_backup(folder: Path) -> Backups | None:
    """None for none, and for what cannot be read: `doctor` says which. Blocks."""
    try:
        return read_backups(folder)
    except (OSError, ValueError):
        return None


def lives(keys: HubKeys, now: datetime) -> dict[str, CertificateStanding]:
    """The certificates that something ends with, by name."""
    by_hand = {"issuing": keys.authority.certificate, "root": keys.root}
    renewed = {"hub": keys.tls.chain[0], "directory": keys.directory_chain[0]}
    return {
        name: judge(found.not_valid_before_utc, found.not_valid_after_utc, now, by_hand=name in by_hand)
        for name, found in {**renewed, **by_hand}.items()
    }


def state_of(member: MemberStanding, online: frozenset[NodeId]) -> str:
    """Of a member, for people: what can be said of it without having asked it."""
    if member.revoked:
        return "revoked"
    if not member.counts:
        return "suspended"
    if member.node in online:
        return "online"
    return "never_seen" if member.last_seen_at is None else "stale"


STATES = ("online", "stale", "never_seen", "suspended", "revoked")


def gauges(read: Readings) -> list[Gauge]:
    """Every gauge, in the order of docs/observability.md."""
    return [
        metrics.info(PREFIX, database=read.database),
        Gauge.one(f"{PREFIX}_ready", "1 if this replica may be given work.", float(read.ready.ready)),
        Gauge(
            f"{PREFIX}_not_ready",
            "1 for each reason why it may not.",
            {(reason,): 1.0 for reason in read.ready.reasons},
            ("reason",),
        ),
        Gauge(
            f"{PREFIX}_concern",
            "1 for each thing that is wrong for the whole federation.",
            {(concern,): 1.0 for concern in read.ready.facts.get("concerns", {})},
            ("concern",),
        ),
        Gauge.one(
            f"{PREFIX}_loop_lag_seconds",
            "Longest delay of the event loop since asked last.",
            read.loop_lag_seconds,
        ),
        Gauge.one(f"{PREFIX}_attached_nodes", "Nodes attached to this replica.", len(read.attached)),
        _versions(read),
        *(_members(read, read.stored) if read.stored else ()),
        *(_mail(read, read.stored) if read.stored else ()),
        *(_log(read, read.stored) if read.stored else ()),
        *metrics.certificates(PREFIX, read.certificates),
        Gauge.one(
            f"{PREFIX}_deny_list_age_seconds",
            "Since the deny list was looked up.",
            read.deny_list_age_seconds,
        ),
        *metrics.backups(PREFIX, read.backup, read.now.timestamp()),
        Gauge.one(f"{PREFIX}_disk_free_bytes", "Free on the disk of the data folder.", read.disk_free),
        Gauge.one(f"{PREFIX}_disk_bytes", "Size of that disk.", read.disk_total),
    ]


def _versions(read: Readings) -> Gauge:
    versions = Tally(version or "unknown" for version in read.attached.values())
    shown = dict(versions.most_common(MAX_LABELS - 1))
    if len(versions) > len(shown):
        shown[OTHER] = sum(versions.values()) - sum(shown.values())
    return Gauge(
        f"{PREFIX}_attached_versions",
        "Nodes attached to this replica, by the version that they say.",
        {(version,): float(count) for version, count in shown.items()},
        ("version",),
    )


def _members(read: Readings, stored: Stored) -> list[Gauge]:
    states = Tally(state_of(member, stored.online) for member in stored.members)
    active = [member for member in stored.members if member.counts]
    ages = {
        member.node: (read.now - member.index_issued_at).total_seconds()
        for member in active
        if member.index_issued_at is not None
    }
    node = ("node",)
    return [
        Gauge(
            f"{PREFIX}_members",
            "Members by state; stale: seen before, and not attached now.",
            {(state,): float(states[state]) for state in STATES},
            ("state",),
        ),
        Gauge(
            f"{PREFIX}_node_online",
            "1 if the member is attached.",
            {(str(member.node),): float(member.node in stored.online) for member in active},
            node,
        ),
        Gauge(
            f"{PREFIX}_node_last_seen_seconds",
            "Since an unattached member was seen last.",
            {
                (str(member.node),): (read.now - member.last_seen_at).total_seconds()
                for member in active
                if member.last_seen_at is not None and member.node not in stored.online
            },
            node,
        ),
        Gauge(
            f"{PREFIX}_node_index_age_seconds",
            "Since the member signed its index head.",
            {(str(name),): age for name, age in ages.items()},
            node,
        ),
        Gauge.one(
            f"{PREFIX}_stale_indexes",
            "Active members without an index, or with one older than 36 hours.",
            len(active) - sum(age <= MAX_HEAD_AGE.total_seconds() for age in ages.values()),
        ),
    ]


def _mail(read: Readings, stored: Stored) -> list[Gauge]:
    waiting, limit = stored.mailbox, MAX_MAILBOX_ROWS_PER_RECIPIENT
    return [
        Gauge.one(
            f"{PREFIX}_mailbox_deliveries", "Deliveries that wait, of all members.", waiting.deliveries
        ),
        Gauge.one(
            f"{PREFIX}_mailbox_oldest_seconds",
            "How long the oldest of them waits; 0: none does.",
            (read.now - waiting.oldest_at).total_seconds() if waiting.oldest_at else 0.0,
        ),
        Gauge(
            f"{PREFIX}_node_mailbox_ratio",
            "How full the member's mailbox is, in sixteenths.",
            {
                (str(node),): (count * SIXTEENTHS // limit) / SIXTEENTHS
                for node, count in waiting.by_recipient.items()
                if count * SIXTEENTHS >= limit
            },
            ("node",),
        ),
    ]


def _log(read: Readings, stored: Stored) -> list[Gauge]:
    found = stored.log

    def age(moment: datetime | None) -> float | None:
        return None if moment is None else (read.now - moment).total_seconds()

    heads: dict[tuple[str, ...], float] = {
        ("signed",): float(found.entries),
        ("witnessed",): float(found.witnessed_entries),
    }
    return [
        Gauge(
            f"{PREFIX}_log_entries",
            "Entries of the present shard, signed and witnessed.",
            heads if found.signed_at else {},
            ("head",),
        ),
        Gauge.one(f"{PREFIX}_log_signed_age_seconds", "Since a head was signed.", age(found.signed_at)),
        Gauge.one(
            f"{PREFIX}_log_witnessed_age_seconds",
            "Since a head had its quorum of witnesses.",
            age(found.witnessed_at),
        ),
        Gauge.one(f"{PREFIX}_log_waiting", "Entries and commitments that wait for the log.", found.waiting),
        Gauge.one(
            f"{PREFIX}_log_waiting_oldest_seconds",
            "How long the oldest of them waits; 0: none does.",
            age(found.waiting_since) or 0.0,
        ),
        Gauge.one(
            f"{PREFIX}_log_directory_lag",
            "Directory versions that no witnessed head holds yet.",
            stored.log_lag,
        ),
        Gauge.one(
            f"{PREFIX}_sequencer_held", "1 if this replica appends to the log.", float(read.sequencer_held)
        ),
        Gauge.one(f"{PREFIX}_sequencer_term", "How often the log was taken over.", stored.sequencer_term),
        Gauge.one(f"{PREFIX}_replicas", "Replicas that were there a moment ago.", stored.replicas),
    ]
