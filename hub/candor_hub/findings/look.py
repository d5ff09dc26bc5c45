"""What the checks of a hub share: settings, the time, and facts that several of them want."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from candor_hub.authorities import AuthorityStanding, guess_in_use, overview
from candor_hub.config import Config
from candor_hub.founding import open_keys, open_store
from candor_hub.keys import HubKeys, load_keys
from candor_hub.places import log_files
from candor_hub.store.log import ShardRecord
from candor_hub.store.standing import MailboxStanding, MemberStanding
from candor_hub.tlog.status import LogStatus, log_status, with_waiting_head
from candor_hub.vault import FolderVault
from candor_proto.budget import BUCKET, MONTH
from candor_proto.errors import StoreUnusable
from candor_proto.ids import NodeId
from candor_watch.addresses import split_address
from candor_watch.findings import Once, in_thread

ASK_SECONDS = 3.0
MAX_ANSWER_OCTETS = 1 << 20


@dataclass(frozen=True)
class Stored:
    """What the database says, as of one transaction."""

    directory_version: int
    directory_issued_at: datetime | None
    members: tuple[MemberStanding, ...]
    mailbox: MailboxStanding
    quota_used: dict[NodeId, int] = field(repr=False)
    log: LogStatus
    shards: tuple[ShardRecord, ...] = field(repr=False)
    replicas: dict[str, str]
    authorities: tuple[AuthorityStanding, ...]
    online: frozenset[NodeId]
    # Who holds a certificate that is good now.
    certified: frozenset[NodeId]
    # By how much this machine's clock is ahead of the database's; zero beside a database without one.
    clock_ahead: timedelta = timedelta(0)


@dataclass
class Look:
    """One look at a hub. Facts are made once, by whoever wants them first; their errors are shared."""

    path: Path
    config: Config
    now: datetime
    deep: bool = False
    keys: Once = field(init=False, repr=False)
    stored: Once = field(init=False, repr=False)
    running: Once = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.keys = Once(lambda: in_thread(self._keys))
        self.stored = Once(lambda: in_thread(self._stored))
        self.running = Once(lambda: in_thread(self._running))

    def _keys(self) -> HubKeys:
        try:
            with closing(open_store(self.config)) as store:
                return open_keys(self.config, store)
        except StoreUnusable:
            if not self.config.embedded:
                raise
        # They can be looked at when the database cannot.
        folder = self.config.keys
        held = FolderVault(folder)
        return load_keys(folder, held, self.config.issuing, self.config.federation, guess_in_use(held))

    def _stored(self) -> Stored:
        with closing(open_store(self.config)) as store, store.read() as tx:
            looked_at = self.now
            ahead = looked_at - tx.replicas.now(looked_at)
            members = tx.standing.members()
            return Stored(
                directory_version=tx.directories.latest_version(),
                directory_issued_at=tx.standing.directory_issued_at(),
                members=members,
                mailbox=tx.standing.mailbox(),
                quota_used=tx.standing.quota_used(self.now - MONTH - BUCKET),
                log=with_waiting_head(log_status(tx, self.now), log_files(self.config, store)),
                shards=tx.log.shards(),
                authorities=tuple(overview(tx, self.now)),
                replicas={each.replica: each.version for each in tx.replicas.all(self.now) if each.here},
                online=frozenset(tx.replicas.attached(self.now)),
                certified=frozenset(tx.certificates.shown(self.now)),
                clock_ahead=ahead,
            )

    def _running(self) -> dict[str, Any] | None:
        """What the hub on this machine says of itself (`/readyz`); None when none answers."""
        if not self.config.metrics_address:
            return None
        host, port = split_address(self.config.metrics_address)
        if not port:
            return None
        # An address that means all of them is asked here.
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
        connection = http.client.HTTPConnection(here, port, timeout=ASK_SECONDS)
        try:
            connection.request("GET", "/readyz")
            told = json.loads(connection.getresponse().read(MAX_ANSWER_OCTETS))
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()
        return told if isinstance(told, dict) and told.get("program") == "candor-hub" else None

    async def pid(self) -> int | None:
        """Of the hub that runs here."""
        told = await self.running()
        number = told.get("pid") if told else None
        return number if isinstance(number, int) and number > 0 else None
