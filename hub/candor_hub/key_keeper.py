"""The keys of the running hub: renewed when they are due, and with the authority that the operator adopted.

Rules of this file:
- nothing here ends the hub: what cannot be renewed is tried again, and told once for each level of its alarm;
- another authority is taken up within seconds of its adoption, without a restart: TLS identity and directory
  chain first, so that members hear of it, then the keys of those before it are destroyed;
- the folder that `issuing` names is looked into once, at the start: an authority that the database does not
  know, and that may be adopted, is.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime

import structlog

from candor_certs.folders import load_issuing
from candor_certs.lifetime import Reminder, Standing, judge
from candor_certs.store import TlsIdentity
from candor_hub.authorities import adopt, check_adoptable, forget_replaced
from candor_hub.clock import Clock, loop_seconds, until_next
from candor_hub.keys import HubKeys, renew
from candor_hub.store import Store
from candor_proto.errors import CandorError

log = structlog.get_logger(__name__)

# Of polls: how often it is asked whether another authority was adopted.
LOOKS = 5


class KeyKeeper:
    """Owns the keys of this process. What blocks runs in threads, `renew` in one at a time."""

    def __init__(self, store: Store, keys: HubKeys, clock: Clock, poll_seconds: float) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._seconds = LOOKS * poll_seconds
        self._reminder = Reminder()
        self._renewing = threading.Lock()

    def held(self) -> HubKeys:
        """The keys, with the certificates of this moment."""
        return self._keys

    def tls(self) -> TlsIdentity:
        """What is shown to whoever connects; `renew` comes first."""
        return self._keys.tls

    def take_up_folder(self) -> None:
        """Adopt the authority in the folder of the settings, if it is one that is not known yet.

        Raises StoreUnusable. What may not be adopted is told in the log, and the one in use stays.
        """
        keys, now = self._keys, self._clock.now()
        issuing = keys.issuing
        with self._store.write() as tx:
            present = tx.authorities.newest()
            if present is not None and not (issuing / "issuing.key").exists():
                return  # a replica, or a folder that was carried away
            try:
                found = load_issuing(issuing)
                serial = found.certificate.serial_number
                known = tx.authorities.find(serial)
                if known is None:
                    check_adoptable(tx, found, keys.authority.federation, now)
            except CandorError as error:
                if present is None:
                    raise
                log.warning("the authority in the settings is not taken up", code=error.code)
                return
            if known is None or known == present:
                adopt(tx, keys.vault, found, now)
        with self._store.read() as tx:
            self._keys = keys.as_of(tx)

    def renew(self) -> None:
        """Fresh certificates where they are due, under the authority in use. Blocks.

        Raises StoreUnusable, InputInvalid, CertificateRefused, Expired or NotYetValid.
        """
        with self._renewing:
            now = self._clock.now()
            self._remind(now)
            with self._store.read() as tx:
                present = self._keys.as_of(tx)
            changed = present.authority is not self._keys.authority
            self._keys = renew(present, now)
            if changed:
                serial = self._keys.authority.certificate.serial_number
                log.info("another authority certifies from now on", serial=f"{serial:x}")
                with self._store.write() as tx:
                    forget_replaced(tx, self._keys.vault)

    def standings(self, now: datetime) -> dict[str, Standing]:
        """Where each certificate stands: for `doctor`, metrics and the log."""
        keys = self._keys
        by_program = {"directory": keys.directory_chain[0]}
        if keys.own_tls is not None:
            by_program["hub"] = keys.own_tls.chain[0]
        by_hand = {"issuing": keys.authority.certificate, "root": keys.root}
        return {
            name: judge(each.not_valid_before_utc, each.not_valid_after_utc, now, by_hand=name in by_hand)
            for name, each in (by_program | by_hand).items()
        }

    def _remind(self, now: datetime) -> None:
        for name, standing in self.standings(now).items():
            if self._reminder.is_news(name, standing):
                log.warning(
                    "a certificate comes to its end",
                    task=name,
                    kind=standing.level.name,
                    ends=standing.ends.isoformat(),
                    seconds=int(standing.left.total_seconds()),
                )

    async def run(self, renew: Callable[[], None], renewed: Callable[[], None]) -> None:
        """Look for another authority, for ever; then `renew` runs in a thread, and `renewed` in the loop."""
        while True:
            await asyncio.sleep(until_next(self._seconds, loop_seconds()))
            try:
                if await asyncio.to_thread(self._is_another):
                    await asyncio.to_thread(renew)
                    renewed()
            except CandorError as error:
                log.error("the authority in use cannot be taken up", code=error.code, message=error.message)

    def _is_another(self) -> bool:
        with self._store.read() as tx:
            newest = tx.authorities.newest()
        return newest is not None and newest.serial != self._keys.authority.certificate.serial_number
