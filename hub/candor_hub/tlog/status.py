"""How far the log is, who witnesses it, and what waits (`candor-hub log status`)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from candor_hub.store import Transaction
from candor_hub.store.log import ShardRecord
from candor_hub.tlog.confirmed import Standing, standing
from candor_hub.tlog.files import SIGNED, LogFiles
from candor_hub.tlog.rotation import is_under_way
from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import CandorError
from candor_proto.tlog.age import MAX_CURRENT, MAX_LATE
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.policy import Policy, parse_policy

# What waits for longer than this does so because something is wrong (§14.6).
MERGE_DELAY = timedelta(seconds=60)
SIGNED_WITHIN = timedelta(minutes=10)
RESTORED = (
    "This hub was restored from a backup. It signs nothing until its witnesses have signed the head that it "
    "has once more; if they know a larger one, that state is lost here: restore a newer backup, or see "
    "docs/succession.md."
)


WENT_BACK_REMEDY = (
    "Stop every candor-hub on this database; restore the newest database there is (docs/backup.md, section "
    "6; docs/postgresql.md, section 4), or found a successor from the log (docs/succession.md)."
)


@dataclass(frozen=True)
class ShardStatus:
    """One shard."""

    shard: int
    origin: str
    size: int
    witnessed_size: int
    signed_at: datetime | None
    time_of_witness: datetime | None
    closed: bool
    verifier_keys: tuple[str, ...]


@dataclass(frozen=True)
class LogStatus:
    """The log as the database has it."""

    shards: tuple[ShardStatus, ...]
    waiting: int
    waiting_since: datetime | None
    policy_version: int
    policy: Policy | None
    coming_version: int | None
    witnessed_by: tuple[str, ...]
    directory_version: int
    witnessed_directory: int
    rotating: bool
    # By whom the newest head is signed that waits for its quorum; None: none waits.
    waits_signed_by: tuple[str, ...] | None = None
    # Whether witnesses have said in this term that they know nothing newer.
    standing: Standing = field(default_factory=Standing)

    @property
    def last(self) -> ShardStatus | None:
        """The newest shard that has a head."""
        signed = [shard for shard in self.shards if shard.signed_at is not None]
        return signed[-1] if signed else None

    @property
    def went_back(self) -> str:
        """Why nothing is signed any more: witnesses know more than this database; empty when they do not."""
        if not self.standing.went_back(self.policy):
            return ""
        claims, last = self.standing.claims, self.last
        return (
            f"{len(claims)} of {len(self.policy.witnesses) if self.policy else 0} witnesses know up to "
            f"{max(claims.values()):,} entries of a log that has {last.size if last else 0:,} here: this "
            "database is older than what this hub has signed. It signs nothing, for that would fork the log."
        )

    def troubles(self, now: datetime) -> list[str]:
        """What is wrong, a sentence each; nothing while the hub is starting for the first time."""
        found = [RESTORED] if self.standing.restored else []
        waits_since = self.standing.waits_since
        if self.went_back:
            found.append(f"{self.went_back} {WENT_BACK_REMEDY}")
        elif waits_since is not None and now - waits_since > MERGE_DELAY:
            found.append(
                f"The log waits since {waits_since:%Y-%m-%d %H:%M} UTC for its witnesses to sign once more "
                "the head that this hub began with."
            )
        last = self.last
        if self.waiting_since is not None and now - self.waiting_since > MERGE_DELAY:
            found.append(f"{self.waiting} entries wait since {self.waiting_since:%Y-%m-%d %H:%M} UTC.")
        if last is None:
            return found
        if last.signed_at is not None and now - last.signed_at > SIGNED_WITHIN:
            found.append(f"The last checkpoint was signed at {last.signed_at:%Y-%m-%d %H:%M} UTC.")
        if last.signed_at is not None and last.signed_at > now + timedelta(minutes=5):
            found.append("Checkpoints carry a time that has not come: this machine's clock was set back.")
        behind = None if last.time_of_witness is None else now - last.time_of_witness
        if behind is None or behind > MAX_CURRENT:
            since = f"since {last.time_of_witness:%Y-%m-%d %H:%M} UTC" if last.time_of_witness else "yet"
            end = " Members ask and answer nothing any more." if behind and behind > MAX_LATE else ""
            found.append(f"No head of {last.origin} has its quorum of witnesses {since}.{end}")
        return found

    def as_json(self) -> dict[str, Any]:
        return {
            "shards": [
                {
                    "shard": one.shard,
                    "origin": one.origin,
                    "size": one.size,
                    "witnessed_size": one.witnessed_size,
                    "signed_at": _time(one.signed_at),
                    "time_of_witness": _time(one.time_of_witness),
                    "closed": one.closed,
                    "verifier_keys": list(one.verifier_keys),
                }
                for one in self.shards
            ],
            "waiting": self.waiting,
            "waiting_since": _time(self.waiting_since),
            "policy_version": self.policy_version,
            "policy_coming": self.coming_version,
            "witnesses": len(self.policy.witnesses) if self.policy else 0,
            "witnessed_by": list(self.witnessed_by),
            "waits_signed_by": None if self.waits_signed_by is None else list(self.waits_signed_by),
            "directory_version": self.directory_version,
            "witnessed_directory": self.witnessed_directory,
            "rotating": self.rotating,
            "unconfirmed_since": _time(self.standing.waits_since),
            "claims": dict(self.standing.claims),
        }


def log_status(tx: Transaction, now: datetime) -> LogStatus:
    """As of this transaction."""
    in_force, newest = tx.log.policy_in_force(), tx.log.newest_policy()
    policy = parse_policy(in_force.text) if in_force else None
    shards = tx.log.shards()
    statuses = tuple(_shard(shard, policy, now) for shard in shards)
    witnessed = [shard.witnessed for shard in shards if shard.witnessed]
    names: tuple[str, ...] = ()
    if policy and witnessed:
        names = tuple(sorted(policy.cosignatures(parse_checkpoint(witnessed[-1]))))
    return LogStatus(
        shards=statuses,
        waiting=tx.log.waiting_count(),
        waiting_since=tx.log.waiting_since(),
        policy_version=in_force.version if in_force else 0,
        policy=policy,
        coming_version=None if newest is None or newest.in_force else newest.version,
        witnessed_by=names,
        directory_version=tx.directories.latest_version(),
        witnessed_directory=tx.log.witnessed_directory(),
        rotating=is_under_way(tx),
        standing=standing(tx),
    )


def with_waiting_head(found: LogStatus, files: LogFiles) -> LogStatus:
    """Also who has signed the head that waits: its file alone holds that (§14.6)."""
    last = found.last
    if last is None or last.size <= last.witnessed_size or found.policy is None:
        return found
    try:
        names = sorted(found.policy.cosignatures(parse_checkpoint(files.read(f"{last.shard}/{SIGNED}"))))
    except CandorError:  # `fsck` says what is wrong with the file
        names = []
    return replace(found, waits_signed_by=tuple(names))


def _shard(shard: ShardRecord, policy: Policy | None, now: datetime) -> ShardStatus:
    moment = None
    if policy is not None and shard.witnessed:
        try:
            moment = policy.time_of_witness(parse_checkpoint(shard.witnessed), now)
        except CandorError:
            # By a policy before this one: when it was taken up is as near.
            moment = shard.witnessed_at
    return ShardStatus(
        shard.shard,
        shard.origin,
        shard.size,
        shard.witnessed_size,
        shard.signed_at if shard.signed else None,
        moment,
        shard.closed,
        tuple(key.encode() for key in shard.verifier_keys),
    )


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else f"{from_milliseconds(to_milliseconds(moment)):%Y-%m-%dT%H:%M:%SZ}"
