"""Checks of what a node has: settings, keys, certificates, database, disks, backups, machine."""

from __future__ import annotations

import stat
import time
from collections.abc import Mapping
from contextlib import closing

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from candor_certs import lifetime
from candor_certs.chain import verify_peer
from candor_certs.store import read_certificates
from candor_node import backup, driver
from candor_node.driver import Database, DatabaseError, explain, open_database
from candor_node.findings.look import Look, not_joined
from candor_node.findings.readings import OwnEntry, Readings
from candor_proto.errors import CandorError, Expired, NotYetValid, StoreUnusable
from candor_watch import disks, permissions, processes, time_service
from candor_watch.backups import backup_age
from candor_watch.findings import Check, Finding, bad, good, in_thread, warning
from candor_watch.sizes import size

REJOIN = (
    "ask the hub's operator to run `candor-hub readmit` with this node's id, and let the node run: it comes "
    "back by itself. A hub of the release before knows `candor-hub invite --rejoin` only; then `candor-node "
    "join --rejoin`."
)
MEMORY_OCTETS = 512 * 1024 * 1024
OPEN_FILES = 256
# Larger ones are checked whole only with --deep: at some 100 MB a second nobody would wait for it.
QUICK_OCTETS = 512 * 1024 * 1024
QUICK_SECONDS = 8.0


class Own:
    """Checks that need nobody else."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._config = look.config

    def checks(self) -> Mapping[str, Check]:
        return {
            "settings": self.settings,
            "keys": self.keys,
            "own_entry": self.own_entry,
            "certificate": self.certificate,
            "authority": self.authority,
            "permissions": self.permissions,
            "socket": self.socket,
            "sqlite": self.sqlite,
            "database": self.database,
            "disk_space": self.disk_space,
            "disk_write": self.disk_write,
            "backups": self.backups,
            "backup_keys": self.backup_keys,
            "time_sync": self.time_sync,
            "memory": self.memory,
            "open_files": self.open_files,
            "core_dumps": self.core_dumps,
        }

    # --- settings and keys ---------------------------------------------------------------------------------

    async def settings(self) -> Finding:
        config = self._config
        if not self._look.joined:
            told = f"{self._look.path} holds the settings of {config.node}, which has not joined yet."
            return warning("settings", told, "Run: candor-node join INVITATION")
        return good(
            "settings", f"{self._look.path} holds the settings of {config.node} in {config.federation}."
        )

    async def keys(self) -> Finding:
        def work() -> Finding:
            self._look.keys()
            octets = len(self._config.database_key())
            if octets != driver.KEY_OCTETS:
                told = f"The database key has {octets} octets and must have {driver.KEY_OCTETS}."
                return bad("keys", told, "Use the key that the database was made with.")
            return good("keys", "Signing key, disclosure key and database key can be read and used.")

        return await in_thread(work)

    async def own_entry(self) -> Finding:
        if not self._look.joined:
            return not_joined("own_entry")
        found: Readings = await self._look.readings()
        entry, version = found.own_entry, found.directory_version
        figures = {"directory_version": version}
        if entry is OwnEntry.GOOD:
            told = f"Directory version {version} names this node with the keys that are here."
            return good("own_entry", told, **figures)
        if entry is OwnEntry.NO_DIRECTORY:
            return warning(
                "own_entry", "No directory is held yet.", "Let the node run and reach the hub.", **figures
            )
        remedy = {
            OwnEntry.MISSING: "Ask the hub's operator whether this node was revoked.",
            OwnEntry.SUSPENDED: "Ask the hub's operator why, and to lift it (`candor-hub suspend --lift`).",
        }.get(
            entry,
            "Put back the keys that this node joined with (they are in the backup of its keys); with others "
            "nobody accepts what it signs.",
        )
        told = entry.value[0].upper() + entry.value[1:]
        return bad("own_entry", f"{told} (directory version {version}).", remedy, **figures)

    async def certificate(self) -> Finding:
        if not self._look.joined:
            return not_joined("certificate")
        identity, now = await in_thread(self._look.identity), self._look.now
        own = identity.chain[0]
        if _public(identity.key.public_key()) != _public(own.public_key()):
            told = "The private key in the file is not that of the certificate beside it."
            return bad("certificate", told, "Then: " + REJOIN)
        status = await self._look.status()
        trouble = status.renewal_trouble if status is not None else ""
        standing = lifetime.judge(own.not_valid_before_utc, own.not_valid_after_utc, now)
        figures = _figures(standing)
        told = f"This node's certificate: {standing.sentence}."
        if standing.level is lifetime.Level.NOT_YET:
            return bad("certificate", told, "Set this machine's clock.", **figures)
        if standing.level is lifetime.Level.ENDED:
            return bad("certificate", told, REJOIN[0].upper() + REJOIN[1:], **figures)
        if standing.severity == "bad":
            why = trouble or ("the node does not run" if status is None else "nothing is known of a reason")
            told = f"{told} It should have been renewed: {why.rstrip('.')}."
            return bad(
                "certificate",
                told,
                "Let the node run and reach the hub before then. Afterwards: " + REJOIN,
                **figures,
            )
        if trouble:
            return warning(
                "certificate", f"{told} The last attempt to renew it failed: {trouble}", _LET_RUN, **figures
            )
        roots = await in_thread(lambda: read_certificates(self._config.root_certificates_file))
        try:
            verify_peer([each.public_bytes(Encoding.DER) for each in identity.chain], roots, now)
        except (Expired, NotYetValid):
            pass  # `authority` says it
        except CandorError as error:
            return bad("certificate", error.message, "Then: " + REJOIN, **figures)
        return good("certificate", told, **figures)

    async def authority(self) -> Finding:
        """The shortest-lived of what stands above this node's certificate."""
        if not self._look.joined:
            return not_joined("authority")

        def work() -> list[tuple[str, x509.Certificate]]:
            chain = self._look.identity().chain[1:]
            roots = read_certificates(self._config.root_certificates_file)
            return [("issuing authority", each) for each in chain] + [("root", each) for each in roots]

        above, now = await in_thread(work), self._look.now
        judged = [
            (name, lifetime.judge(each.not_valid_before_utc, each.not_valid_after_utc, now, by_hand=True))
            for name, each in above
        ]
        # Of several roots one that ended is a former one; of an issuing authority there is one.
        name, standing = min(judged, key=lambda pair: pair[1].share_left)
        told, figures = f"The {name}: {standing.sentence}.", _figures(standing)
        remedy = "Tell the hub's operator now: a new one takes a ceremony, and every member's next renewal."
        if standing.severity == "good":
            return good("authority", told, **figures)
        make = warning if standing.severity == "warning" else bad
        return make("authority", told, remedy, **figures)

    async def permissions(self) -> Finding:
        config = self._config
        private = (
            config.signing_key_file,
            config.disclosure_key_file,
            config.tls_identity_file,
            config.database_file,
            *([] if config.database_key_command else [config.database_key_file]),
        )
        folders = dict.fromkeys((config.data_folder, *(each.parent for each in private[:3])))
        return await in_thread(lambda: permissions.permissions("permissions", private, list(folders)))

    async def socket(self) -> Finding:
        config, status = self._config, await self._look.status()
        if status is None and not config.socket.exists():
            told = f"The node does not run; its commands will find it at {config.socket}."
            return warning("socket", told, "Start it: candor-node run, or its service.")
        if status is None:
            told = f"Nothing answers at {config.socket}: the node was killed, or is busy or starting."
            return warning("socket", told, "Look at its log, and start it again.")
        mode = stat.S_IMODE(config.socket.stat().st_mode)
        if mode != 0o600 or config.socket.parent.stat().st_mode & 0o077:
            told = f"{config.socket} may be opened by other users of this machine."
            return bad("socket", told, f"Run: chmod 700 {config.socket.parent}; then restart the node.")
        return good("socket", f"{config.socket} answers, and only this user may open it.")

    # --- data ----------------------------------------------------------------------------------------------

    async def sqlite(self) -> Finding:
        version = driver.sqlite_version()
        oldest = ".".join(map(str, driver.OLDEST_SQLITE))
        if driver.is_old():
            told = f"SQLCipher carries SQLite {version}; before {oldest} it can corrupt a database silently."
            return bad("sqlite", told, "Install sqlcipher3 0.6.4 or newer.", version=version)
        return good(
            "sqlite",
            f"SQLite {version}, which is past the fault of versions before {oldest}.",
            version=version,
        )

    async def database(self) -> Finding:
        """Opens it, and reads every page as far as there is time for it."""
        config, deep = self._config, self._look.deep

        def work() -> Finding:
            path, key = config.database_file, config.database_key()
            octets = path.stat().st_size if path.exists() else 0
            figures = {"octets": octets}
            db = open_database(path, key)
            with closing(db.conn):
                try:
                    schema = _newest_migration(db)
                    whole = _whole(db, octets, deep)
                except DatabaseError as error:
                    raise explain(error, path) from None
            remedy = "Stop candor-node, keep the damaged file, and restore the last backup (docs/backup.md)."
            if whole:
                return bad("database", f"{path} is damaged: {whole}.", remedy, **figures)
            told = f"{path} opens with its key ({size(octets)}, schema {schema})"
            if whole is None:
                told += "; checking all of it takes longer than doctor may."
                return warning("database", told, "Run: candor-node doctor --deep", **figures)
            return good("database", f"{told}; every page is whole.", **figures)

        return await in_thread(work)

    async def disk_space(self) -> Finding:
        config, now = self._config, self._look.now
        folders = [config.data_folder, config.signing_key_file.parent]
        made = config.root_certificates_file if config.root_certificates_file.exists() else self._look.path
        return await in_thread(lambda: disks.disk_space("disk_space", folders, made, now.timestamp()))

    async def disk_write(self) -> Finding:
        return await in_thread(lambda: disks.disk_write("disk_write", [self._config.data_folder]))

    async def backups(self) -> Finding:
        return await in_thread(
            lambda: backup_age("backups", self._config.data_folder, self._look.now, "candor-node")
        )

    async def backup_keys(self) -> Finding:
        """Looked up in the database itself, beside the running node or without it."""

        def work() -> list[str]:
            db = open_database(self._config.database_file, self._config.database_key())
            with closing(db.conn):
                try:
                    return backup.unreachable(db)
                except DatabaseError as error:
                    raise explain(error, self._config.database_file) from None

        if behind := await in_thread(work):
            raise StoreUnusable(
                f"Backups in {', '.join(behind)} still hold keys of what was destroyed here since.",
                remedy="Connect their disks while the node runs: it writes the keys anew within a minute.",
            )
        return good("backup_keys", "No known backup holds a key of what was destroyed here since.")

    # --- the machine ---------------------------------------------------------------------------------------

    async def time_sync(self) -> Finding:
        return await in_thread(lambda: time_service.time_sync("time_sync"))

    async def memory(self) -> Finding:
        return await in_thread(lambda: processes.memory("memory", self._look.pid(), MEMORY_OCTETS))

    async def open_files(self) -> Finding:
        return await in_thread(lambda: processes.open_files("open_files", self._look.pid(), OPEN_FILES))

    async def core_dumps(self) -> Finding:
        return await in_thread(lambda: processes.core_dumps("core_dumps", self._look.pid()))


_LET_RUN = "Nothing yet, if the hub can be reached: it is tried again."


def _public(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]  # every kind of key has it


def _figures(standing: lifetime.Standing) -> dict[str, int | float | str]:
    return {
        "seconds_left": round(standing.left.total_seconds()),
        "share_left": round(standing.share_left, 4),
        "ends": f"{standing.ends:%Y-%m-%dT%H:%M:%SZ}",
        "level": standing.level.word,
    }


def _newest_migration(db: Database) -> int:
    """How many migrations were made; raises DatabaseError for a file that is no node's database."""
    return int(db.execute("SELECT count(*) FROM _sqlite_migrations").fetchone()[0])


def _whole(db: Database, octets: int, deep: bool) -> str | None:
    """Empty if every page is whole, what is not, or None if there was no time to see.

    A page that is wrong in the file, and right in the write-ahead log, is whole: a power cut in the middle of
    a checkpoint leaves such. SQLCipher's own check reads the file alone.
    """
    if octets > QUICK_OCTETS and not deep:
        return None
    until = time.monotonic() + QUICK_SECONDS
    if not deep:
        db.conn.set_progress_handler(lambda: int(time.monotonic() > until), 10_000)
    pages: list[str] = []
    try:
        pages = [str(row[0]) for row in db.execute("PRAGMA cipher_integrity_check").fetchmany(3)]
        if pages:
            # What is in memory would hide what the file has become.
            db.execute("PRAGMA shrink_memory")
        rows = db.execute(f"PRAGMA {'integrity' if deep else 'quick'}_check(3)").fetchall()
        found = [str(row[0]) for row in rows if row[0] != "ok"]
        found = found and (pages or found)
    except DatabaseError as error:
        if "interrupted" in str(error):
            return None
        if not pages:
            raise
        found = pages
    finally:
        db.conn.set_progress_handler(None, 0)
    # What the library says names pages and indexes, and no value.
    return "; ".join(" ".join(each.split()) for each in found)
