"""The one writer of the log: appends what waits, signs anew, rotates (docs/protocol.md §14.6, §14.7).

Rules of this file:
- of all replicas one at a time is the sequencer, and each of its writing transactions says in which term: one
  that goes on after another has begun stores nothing, and forgets what it holds in memory;
- nothing is signed in a term before witnesses have said that they know nothing newer (`confirmed`);
- a checkpoint is signed anew at least every ten minutes;
- what was signed and stored wants witnesses, whatever fails behind it (`made`).

One thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from candor_hub.config import Config
from candor_hub.places import log_files
from candor_hub.store import Store, Transaction, Transactions
from candor_hub.tlog import confirmed, due, start
from candor_hub.tlog.appender import Appended, Appender, present_shard
from candor_hub.tlog.fenced import Fenced
from candor_hub.tlog.head import Head
from candor_hub.tlog.pages import Pages
from candor_hub.tlog.ring import KeyRing
from candor_hub.tlog.rotation import Rotation
from candor_proto.budget import Quota
from candor_proto.ids import FederationName
from candor_proto.statements import CLOCK_TOLERANCE, LOOKUP_LIFE
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.policy import parse_policy

log = structlog.get_logger(__name__)

SIGNED_ANEW_AFTER = timedelta(minutes=9, seconds=30)

Publish = Callable[[Transaction, datetime], int]


class Sequencer:
    """Owns the log for one term.

    The event loop sets `signed_by`, the witnesses that signed `first` in this term, and `settled`, once who
    is to be reached was; everything else belongs to the thread of the log.
    """

    def __init__(self, config: Config, store: Store, ring: KeyRing, pages: Pages, publish: Publish) -> None:
        """Begin a term: from here on no other replica appends. Blocks.

        A federation that has no log yet gets one; `publish` makes a directory version. Raises StoreUnusable,
        also when the files are not the database's.
        """
        self.store = Fenced(store)
        self._files = log_files(config, store, write=self.store.write)
        self._pages = pages
        self._config = config
        self._ring = ring
        self._publish = publish
        appender = Appender(self.store, self._files, ring, config.federation)
        self._appender = appender
        self._rotation = Rotation(self.store, ring, appender, config.federation)
        self._signed_at: datetime | None = None
        # The newest head that was made and that nobody was told of yet.
        self._made: Head | None = None
        # Up to which size narrower files than needed are gone, by shard.
        self._pruned: dict[int, int] = {}
        self._said = False
        # The head that witnesses have to sign before the log goes on; None when nothing was signed yet.
        self.first: Head | None = None
        self.confirmed = False
        self.signed_by: frozenset[str] = frozenset()
        self.settled = False

    def begin(self, now: datetime) -> None:
        """Look after everything that the one before may have left; then `work`. Raises StoreUnusable."""
        open_log(self.store, self._ring, self._config.federation, now, self._publish)
        with self.store.read() as tx:
            shards = tx.log.shards()
        start.check_start(self._files, shards)
        for shard in shards:
            start.tidy(self._files, shard)
            self._pruned[shard.shard] = shard.witnessed_size
            if not shard.ended:
                self._ring.of(shard)
        newest = [shard for shard in shards if shard.signed]
        with self.store.write() as tx:
            due.log_rules(tx, rules(self._config.quota, self._config.new_member_wait), now)
            present = present_shard(tx)
            self.confirmed = present is None or not present.size
            if not self.confirmed:
                confirmed.begin(tx, now)
        if newest:
            self._signed_at = newest[-1].signed_at
            self._made = Head(newest[-1].shard, parse_checkpoint(newest[-1].signed))
            self.first = self._made

    def take_made(self) -> Head | None:
        """The newest head that wants witnesses, once."""
        made, self._made = self._made, None
        return made

    def is_due(self, now: datetime) -> bool:
        """Whether the newest checkpoint has to be signed anew."""
        return self._signed_at is not None and not (
            self._signed_at - CLOCK_TOLERANCE <= now < self._signed_at + SIGNED_ANEW_AFTER
        )

    def work(self, now: datetime) -> None:
        """Append what is due, take a step of a rotation, sign anew if nothing was.

        Raises StoreUnusable, Deposed when this term is over, or LogInconsistent.
        """
        if not self.confirmed and not self._confirm():
            return
        while (appended := self._appender.append(now)) is not None:
            self._show(appended)
        closed = self._rotation.step(now)
        if closed is not None:
            self._show(closed)
        if self._made is None and self.is_due(now):
            signed = self._appender.sign_again(now)
            if signed is not None:
                self._show(signed)

    def _confirm(self) -> bool:
        """Whether the log may go on in this term: nobody knows here what it may have signed besides."""
        with self.store.read() as tx:
            claims, said_so = confirmed.standing(tx).claims, confirmed.operator_said_so(tx)
            policy = tx.log.policy_in_force()
        assert policy is not None  # the first one is in force as soon as there is a log
        parsed = parse_policy(policy.text)
        if not said_so and not confirmed.is_confirmed(
            parsed, self.signed_by, set(claims), settled=self.settled
        ):
            if claims and not self._said:
                for name in sorted(claims):
                    log.error("the log waits: a witness says that it knows more of it", witness=name)
                self._said = True
            return False
        with self.store.write() as tx:
            confirmed.confirm(tx)
        self.confirmed = True
        return True

    def _show(self, appended: Appended) -> None:
        self._made = Head(appended.shard, appended.signed)
        with self.store.read() as tx:
            shards = tx.log.shards()
        shard = next(each for each in shards if each.shard == appended.shard)
        self._signed_at = shard.signed_at
        self._pages.show(shards)
        # Here alone, where the size is that of the last append: what a newer one needs must not go.
        before = min(self._pruned.get(shard.shard, 0), shard.size - appended.entries)
        start.prune(self._files, shard, before, shard.size)
        self._pruned[shard.shard] = shard.witnessed_size


def open_log(
    store: Transactions, ring: KeyRing, federation: FederationName, now: datetime, publish: Publish
) -> None:
    """Begin the log of a federation that has none; a directory that it has already is logged anew.

    Raises StoreUnusable.
    """
    with store.read() as tx:
        if tx.log.newest_shard() is not None:
            return
    keys = ring.make(1)
    with store.write() as tx:
        if tx.log.newest_shard() is None:
            due.open_first(tx, federation, keys.verifier_keys, now)
            if tx.directories.latest_version():
                publish(tx, now)


def rules(quota: Quota, new_member_wait: timedelta) -> dict[str, int]:
    """The federation's limits as the log states them, in elements and seconds."""
    return {
        "quota_total": quota.total,
        "quota_weak": quota.weak,
        "quota_match": quota.match,
        "quota_code": quota.code,
        "quota_day_share": quota.day_share,
        "new_member_wait_seconds": int(new_member_wait.total_seconds()),
        "lookup_life_seconds": int(LOOKUP_LIFE.total_seconds()),
        "clock_tolerance_seconds": int(CLOCK_TOLERANCE.total_seconds()),
    }
