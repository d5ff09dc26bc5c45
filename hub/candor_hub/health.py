"""`candor-hub doctor`: what an operator would look at first, each with what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from candor_certs.profiles import overdue_time
from candor_hub.config import Config, load_config
from candor_hub.driver import sqlite_version
from candor_hub.founding import open_store
from candor_hub.keys import HubKeys, load_keys
from candor_hub.places import log_files
from candor_hub.store import Store
from candor_hub.store.log import ShardRecord
from candor_hub.tlog.files import Lock
from candor_hub.tlog.ring import KeyRing
from candor_hub.tlog.start import check_start
from candor_hub.tlog.status import log_status
from candor_proto.errors import CandorError, StoreUnusable


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    good: bool
    detail: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine(path: Path, now: datetime) -> list[Finding]:
    """Every check that can be made; one that fails leaves out what depends on it."""
    try:
        config = load_config(path)
    except CandorError as error:
        return [_bad("configuration", error)]
    findings = [Finding("configuration", True, f"{path}, federation {config.federation}")]
    database = _database(config)
    findings.append(database)
    try:
        keys = load_keys(config.keys, config.issuing, config.federation)
    except CandorError as error:
        return [*findings, _bad("keys", error)]
    findings.append(Finding("keys", True, f"{config.keys}, readable by this user alone"))
    if database.good:
        findings.append(_log(config, now))
    return [*findings, *_certificates(keys, now)]


def _log(config: Config, now: datetime) -> Finding:
    """Whether the log goes on; `candor-hub log fsck` reads all of it."""
    try:
        store = open_store(config)
    except CandorError as error:
        return _bad("log", error)
    try:
        with store.read() as tx:
            found, shards = log_status(tx, now), tx.log.shards()
        _compare(config, store, shards)
        ring = KeyRing(config.keys, config.federation)
        for shard in shards:
            if not shard.ended:
                ring.of(shard)
    except CandorError as error:
        return _bad("log", error)
    finally:
        store.close()
    last = found.last
    if last is None:
        return Finding("log", True, "begins when the hub runs")
    troubles = found.troubles(now)
    if troubles:
        return Finding("log", False, " ".join(troubles), "See `candor-hub log status` and docs/log.md.")
    return Finding(
        "log", True, f"{last.origin}: {last.size:,} entries, witnessed as of {last.time_of_witness:%H:%M} UTC"
    )


def _compare(config: Config, store: Store, shards: tuple[ShardRecord, ...]) -> None:
    """Files against database, unless a hub runs: it compared them when it began, and appends meanwhile."""
    lock = Lock(config.log)
    try:
        lock.take()
    except StoreUnusable:
        return
    try:
        check_start(log_files(config, store), shards)
    finally:
        lock.give_back()


def _database(config: Config) -> Finding:
    try:
        store = open_store(config)
    except CandorError as error:
        return _bad("database", error)
    try:
        store.check()
        with store.read() as tx:
            members, version = tx.members.count(), tx.directories.latest_version()
    except CandorError as error:
        return _bad("database", error)
    finally:
        store.close()
    return Finding(
        "database", True, f"sound, SQLite {sqlite_version()}, {members} members, directory version {version}"
    )


def _certificates(keys: HubKeys, now: datetime) -> list[Finding]:
    restart = "Start candor-hub, or restart it: it renews what is due."
    return [
        _certificate("hub certificate", keys.tls.chain[0], now, restart),
        _certificate("directory certificate", keys.directory_chain[0], now, restart),
        _certificate(
            "issuing authority",
            keys.authority.certificate,
            now,
            "Make a new one with `candor-certs issuing create` and name its folder in `issuing`.",
        ),
        _certificate("root", keys.root, now, "A new root means a new federation: plan the move."),
    ]


def _certificate(what: str, certificate: x509.Certificate, now: datetime, remedy: str) -> Finding:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    days = (end - now).total_seconds() / 86_400
    detail = f"until {end:%Y-%m-%d %H:%M} UTC, {days:.1f} days left"
    if now < start:
        return Finding(what, False, f"begins on {start:%Y-%m-%d %H:%M} UTC", "Check this machine's clock.")
    if now >= end:
        return Finding(what, False, f"ended on {end:%Y-%m-%d %H:%M} UTC", remedy)
    # Renewal is due at two thirds; half of what is left after that is for noticing that it failed.
    late = now >= overdue_time(start, end)
    return Finding(what, not late, detail, remedy if late else "")


def _bad(what: str, error: CandorError) -> Finding:
    return Finding(what, False, error.message, error.remedy)
