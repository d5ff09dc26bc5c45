"""Checks of the transparency log: what waits, files against database, keys, witnesses."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import timedelta

from candor_certs.lifetime import span
from candor_hub.findings.look import Look, Stored
from candor_hub.founding import open_store
from candor_hub.places import log_files, log_lock, vault
from candor_hub.tlog.ring import KeyRing
from candor_hub.tlog.start import check_start
from candor_hub.tlog.status import WENT_BACK_REMEDY
from candor_proto.errors import StoreUnusable
from candor_watch.findings import Check, Figure, Finding, bad, good, in_thread, warning

WITNESSED_WITHIN = timedelta(minutes=10)
MAX_SHOWN = 8


class Log:
    """Checks of the log; `candor-hub log fsck` reads all of it."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._config = look.config

    def checks(self) -> Mapping[str, Check]:
        return {
            "log": self.log,
            "log_files": self.log_files,
            "log_keys": self.log_keys,
            "witnesses": self.witnesses,
        }

    async def log(self) -> Finding:
        stored: Stored = await self._look.stored()
        last, now = stored.log.last, self._look.now
        if last is None or last.signed_at is None:
            return good("log", "The log begins when the hub runs.")
        behind = now - last.time_of_witness if last.time_of_witness else None
        figures: dict[str, Figure] = {
            "entries": last.size,
            "witnessed_entries": last.witnessed_size,
            "signed_age_seconds": round((now - last.signed_at).total_seconds()),
            "witnessed_age_seconds": None if behind is None else round(behind.total_seconds()),
            "waiting": stored.log.waiting,
        }
        if stored.log.went_back:
            return bad("log", stored.log.went_back, WENT_BACK_REMEDY, **figures)
        troubles = stored.log.troubles(now)
        if troubles and await self._look.running() is None:
            told = f"{' '.join(troubles)} No hub runs here."
            return warning("log", told, "Start it; what waits is appended and witnessed then.", **figures)
        if troubles:
            return bad("log", " ".join(troubles), "See `candor-hub log status` and docs/log.md.", **figures)
        when = f"witnessed {span(behind)} ago" if behind is not None else "not witnessed yet"
        return good("log", f"{last.origin}: {last.size:,} entries, {when}.", **figures)

    async def log_files(self) -> Finding:
        """Not while a hub runs: it compared them when it began, and appends meanwhile."""
        stored: Stored = await self._look.stored()
        began = "The hub that runs compared files and database when it began."

        def work() -> Finding:
            with closing(open_store(self._config)) as store:
                lock = log_lock(self._config, store)
                try:
                    lock.take()
                except StoreUnusable:
                    return good("log_files", began)
                try:
                    check_start(log_files(self._config, store), stored.shards)
                finally:
                    lock.give_back()
            return good("log_files", "The files of the log end where the database says.")

        if self._config.database_url and stored.replicas:
            return good("log_files", began)

        return await in_thread(work)

    async def log_keys(self) -> Finding:
        stored: Stored = await self._look.stored()

        def work() -> int:
            with closing(open_store(self._config)) as store:
                ring = KeyRing(vault(self._config, store), self._config.federation)
                going = [shard for shard in stored.shards if not shard.ended]
                for shard in going:
                    ring.of(shard)
                return len(going)

        shards = await in_thread(work)
        return good(
            "log_keys", f"The keys of {shards} shards that go on are here, and are theirs.", shards=shards
        )

    async def witnesses(self) -> Finding:
        stored: Stored = await self._look.stored()
        found, now = stored.log, self._look.now
        last, policy = found.last, found.policy
        names = [witness.name for witness in policy.witnesses] if policy else []
        signed = found.waits_signed_by if found.waits_signed_by is not None else found.witnessed_by
        missing = sorted(set(names) - set(signed))
        figures: dict[str, Figure] = {"witnesses": len(names), "signed": len(signed)}
        waits = (
            found.waits_signed_by is not None
            and last is not None
            and last.signed_at is not None
            and now - last.signed_at > WITNESSED_WITHIN
        )
        claims = found.standing.claims
        if claims:
            some = ", ".join(f"{name} ({size:,})" for name, size in sorted(claims.items())[:MAX_SHOWN])
            told = f"Some claim to know more of the log than is signed here: {some}."
            return warning(
                "witnesses", told, "One alone may be wrong; see docs/log.md, section 7.", **figures
            )
        if waits:
            some = ", ".join(missing[:MAX_SHOWN]) + (" and others" if len(missing) > MAX_SHOWN else "")
            told = f"The newest head waits for its quorum; not signed by {some or 'nobody in particular'}."
            return warning("witnesses", told, "Call those agencies: their nodes have to run.", **figures)
        return good(
            "witnesses", f"Of {len(names)} witnesses {len(signed)} signed the newest head.", **figures
        )
