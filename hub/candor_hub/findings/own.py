"""Checks of what a hub has: settings, keys, certificates, database, disks, backups, machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from candor_certs import lifetime
from candor_hub import driver
from candor_hub.findings.look import Look, Stored
from candor_hub.founding import open_store
from candor_hub.keys import HubKeys
from candor_hub.segment_bucket import SegmentBucket
from candor_proto.errors import StoreUnusable
from candor_watch import disks, permissions, processes, time_service
from candor_watch.backups import backup_age
from candor_watch.findings import Check, Figure, Finding, bad, good, in_thread, unknown, warning
from candor_watch.sizes import size

MEMORY_OCTETS, MEMORY_OCTETS_A_MEMBER = 256 * 1024 * 1024, 150 * 1024
OPEN_FILES = 256
MAX_SHOWN = 8
# Members go over to a new authority within two hours of running.
SLOW_AFTER = timedelta(days=1)
RESTART = "Start candor-hub, or restart it: it renews what is due."
_CEREMONY = "Make a new one with `candor-certs issuing create`, then: candor-hub issuing adopt FOLDER."

_Which = Callable[[HubKeys], x509.Certificate]


class Own:
    """Checks that need nobody else."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._config = look.config

    def checks(self) -> Mapping[str, Check]:
        return {
            "settings": self.settings,
            "keys": self.keys,
            "hub_certificate": lambda: self._certificate("hub_certificate", RESTART, False, _tls),
            "directory_certificate": lambda: self._certificate(
                "directory_certificate", RESTART, False, lambda keys: keys.directory_chain[0]
            ),
            "issuing_authority": lambda: self._certificate(
                "issuing_authority", _CEREMONY, True, lambda keys: keys.authority.certificate
            ),
            "replaced_authorities": self.replaced_authorities,
            "root": lambda: self._certificate(
                "root", "A new root means a new federation: plan the move.", True, lambda keys: keys.root
            ),
            "permissions": self.permissions,
            "sqlite": self.sqlite,
            "database": self.database,
            "replication": self.replication,
            "segments": self.segments,
            "disk_space": self.disk_space,
            "disk_write": self.disk_write,
            "backups": self.backups,
            "time_sync": self.time_sync,
            "memory": self.memory,
            "open_files": self.open_files,
            "core_dumps": self.core_dumps,
        }

    # --- settings and keys ---------------------------------------------------------------------------------

    async def settings(self) -> Finding:
        return good("settings", f"{self._look.path}, federation {self._config.federation}.")

    async def keys(self) -> Finding:
        keys: HubKeys = await self._look.keys()
        pairs = (
            ("hub.pem", keys.tls.key.public_key(), keys.tls.chain[0]),
            ("the issuing authority", keys.authority.key.public_key(), keys.authority.certificate),
        )
        for name, key, certificate in pairs:
            if _public(key) != _public(certificate.public_key()):
                told = f"Key and certificate of {name} do not belong together."
                return bad("keys", told, "Restore both from the same backup.")
        if keys.authority.certificate.issuer != keys.root.subject:
            return bad("keys", "The issuing authority hangs from another root.", "Restore its folder.")
        return good(
            "keys", f"{self._config.keys}: all of them fit their certificates, and hang from the root."
        )

    async def _certificate(self, key: str, remedy: str, by_hand: bool, which: _Which) -> Finding:
        keys: HubKeys = await self._look.keys()
        found = which(keys)
        standing = lifetime.judge(
            found.not_valid_before_utc, found.not_valid_after_utc, self._look.now, by_hand=by_hand
        )
        figures: dict[str, Figure] = {
            "seconds_left": round(standing.left.total_seconds()),
            "share_left": round(standing.share_left, 4),
            "ends": f"{standing.ends:%Y-%m-%dT%H:%M:%SZ}",
            "level": standing.level.word,
        }
        told = standing.sentence[0].upper() + standing.sentence[1:] + "."
        if standing.level is lifetime.Level.NOT_YET:
            return bad(key, told, "Check this machine's clock.", **figures)
        if standing.severity == "good":
            return good(key, told, **figures)
        make = warning if standing.severity == "warning" else bad
        return make(key, told, remedy, **figures)

    async def replaced_authorities(self) -> Finding:
        """Members go over within two hours of running; who does not is off, and is cut off by a denial."""
        stored: Stored = await self._look.stored()
        key, (*replaced, present) = "replaced_authorities", stored.authorities or (None,)
        open_ones = [each for each in replaced if each is not None and not each.denied]
        left = sorted({node for each in open_ones for node in each.members})
        figures: dict[str, Figure] = {"replaced": len(open_ones), "members": len(left)}
        if not open_ones or present is None:
            return good(key, "None was replaced and not denied.", **figures)
        if not left:
            serials = ", ".join(f"{each.serial:x}" for each in open_ones)
            told = f"Nobody goes by a replaced authority any more; it may be denied: {serials}."
            return good(key, told, **figures)
        names = ", ".join(map(str, left[:MAX_SHOWN])) + (" and others" if len(left) > MAX_SHOWN else "")
        told = f"{len(left)} members still go by a replaced authority: {names}."
        if self._look.now - present.adopted_at < SLOW_AFTER:
            return good(key, told, **figures)
        return warning(key, told, "See that their nodes run: `candor-hub agencies`.", **figures)

    async def permissions(self) -> Finding:
        config = self._config
        folders = [folder for folder in (config.data, config.keys, config.issuing) if folder.is_dir()]
        return await in_thread(lambda: permissions.permissions("permissions", [], folders))

    # --- data ----------------------------------------------------------------------------------------------

    async def sqlite(self) -> Finding:
        version = driver.sqlite_version()
        if driver.is_old():
            told = f"SQLCipher carries SQLite {version}, which can corrupt a database silently."
            return bad("sqlite", told, "Install sqlcipher3 0.6.4 or newer.", version=version)
        told = f"SQLite {version}, which is past the fault of versions before 3.51.3."
        return good("sqlite", told, version=version)

    async def database(self) -> Finding:
        """Opening it refuses a wrong key, federation or schema, a standby, and a server that forgets."""
        config, deep = self._config, self._look.deep
        stored: Stored = await self._look.stored()
        figures: dict[str, Figure] = {
            "members": len(stored.members),
            "directory_version": stored.directory_version,
        }

        def work() -> Finding:
            with closing(open_store(config)) as store:
                server = store.server
                if server is not None:
                    told = f"{server.name} is the primary, keeps what it accepted, and knows this schema"
                    if how := store.unguarded():
                        told += f"; the connection {how}."
                        return warning("database", told, _GUARD, **figures)
                    return good("database", f"{told}; {len(stored.members)} members.", **figures)
                path = Path(config.database.partition("sqlite:///")[2])
                octets = path.stat().st_size
                found = store.damage(octets, deep=deep)
            if found:
                remedy = "Stop candor-hub, keep the damaged file, restore the last backup (docs/backup.md)."
                return bad("database", f"The database is damaged: {found}.", remedy, **figures)
            told = f"{path} opens with its key ({size(octets)}, {len(stored.members)} members)"
            if found is None:
                told += "; checking all of it takes longer than doctor may."
                return warning("database", told, "Run: candor-hub doctor --deep", octets=octets, **figures)
            return good("database", f"{told}; every page is whole.", octets=octets, **figures)

        return await in_thread(work)

    async def replication(self) -> Finding:
        def work() -> Finding:
            with closing(open_store(self._config)) as store:
                found = store.replication()
                primaries = store.server.primaries() if store.server is not None else None
            if primaries is not None and len(primaries.timelines) > 1:
                return _two_primaries(primaries.timelines)
            if found is None or primaries is None:
                return good("replication", "The database is a file of this machine: backups stand for it.")
            figures: dict[str, Figure] = {
                "server": found.version,
                "standbys": sum(found.states.values()) if found.states is not None else None,
                "behind_octets": found.behind_octets,
                "silent_servers": len(primaries.silent),
            }
            if not found.synchronous_names:
                told = "No synchronous standby is wanted: with the primary's disk its last seconds are lost."
                return warning(
                    "replication", told, "Set synchronous_standby_names (docs/postgresql.md).", **figures
                )
            if found.states is None:
                told = "Standbys are wanted; this database user may not see how they are."
                return unknown("replication", told, "Run: GRANT pg_monitor TO the hub's user", **figures)
            in_sync = found.states.get("sync", 0) + found.states.get("quorum", 0)
            figures["in_sync"] = in_sync
            if not in_sync:
                told = "A synchronous standby is wanted, and none is connected: nothing is accepted."
                return bad(
                    "replication",
                    told,
                    "Start the standby; or name another one (docs/postgresql.md).",
                    **figures,
                )
            if primaries.silent:
                told = f"{in_sync} standbys are in sync; of the named servers there is silence from "
                told += f"{', '.join(primaries.silent)}."
                return warning("replication", told, "Start it as a standby, or take it out.", **figures)
            return good("replication", f"{in_sync} standbys are in sync.", **figures)

        return await in_thread(work)

    async def segments(self) -> Finding:
        url = self._config.segments_url
        if not url:
            return good("segments", "Segments are stored beside the database.")

        def work() -> Finding:
            try:
                SegmentBucket.open(url, lambda: self._look.now).probe()
            except StoreUnusable as error:
                return bad("segments", f"{error.message} Nobody can publish or fetch an index.", error.remedy)
            return good("segments", "A small object was put, read, listed and dropped in the bucket.")

        return await in_thread(work)

    async def disk_space(self) -> Finding:
        config, now = self._config, self._look.now.timestamp()
        folders = [config.data, config.keys, config.segments, config.log]
        made = self._look.path
        return await in_thread(lambda: disks.disk_space("disk_space", folders, made, now))

    async def disk_write(self) -> Finding:
        config = self._config
        folders = [config.data, config.segments, config.log]
        return await in_thread(lambda: disks.disk_write("disk_write", folders))

    async def backups(self) -> Finding:
        now = self._look.now
        if not self._config.embedded:
            told = "What is backed up of the database's server cannot be seen from here."
            return unknown("backups", told, "See that it is, and restored: docs/postgresql.md, section 4.")
        return await in_thread(lambda: backup_age("backups", self._config.data, now, "candor-hub"))

    # --- the machine ---------------------------------------------------------------------------------------

    async def time_sync(self) -> Finding:
        return await in_thread(lambda: time_service.time_sync("time_sync"))

    async def memory(self) -> Finding:
        pid, needed = await self._look.pid(), MEMORY_OCTETS + self._config.nodes * MEMORY_OCTETS_A_MEMBER
        return await in_thread(lambda: processes.memory("memory", pid, needed))

    async def open_files(self) -> Finding:
        # A node dials anew before its old connection is gone.
        pid, needed = await self._look.pid(), OPEN_FILES + 2 * self._config.nodes
        return await in_thread(lambda: processes.open_files("open_files", pid, needed))

    async def core_dumps(self) -> Finding:
        pid = await self._look.pid()
        return await in_thread(lambda: processes.core_dumps("core_dumps", pid))


_GUARD = "Write sslmode=verify-full and sslrootcert=... into `database_url` (docs/postgresql.md, section 1)."


def _two_primaries(timelines: Mapping[str, int]) -> Finding:
    """Each of them accepts what the other does not know: two hubs of one name, two histories of the log."""
    newest = max(timelines.values())
    former = sorted(name for name, timeline in timelines.items() if timeline < newest)
    named = ", ".join(f"{name} (timeline {timeline})" for name, timeline in sorted(timelines.items()))
    stop = f"Stop {' and '.join(former)}" if former else "Find out which one was promoted, stop the other"
    return bad(
        "replication",
        f"{len(timelines)} servers say that they are the primary: {named}.",
        f"{stop} at once, and restart every replica of the hub; then make it a standby anew (pg_rewind or "
        "pg_basebackup; docs/postgresql.md, section 2).",
        primaries=len(timelines),
    )


def _tls(keys: HubKeys) -> x509.Certificate:
    return keys.tls.chain[0]


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]  # every kind of key has it
