"""Renewing the node's certificate, by itself and without a restart (docs/protocol.md §8.6).

Rules of this file:
- key and request are on the disk before the request is sent, key and chain in one file before they are shown;
  between any two steps the node may die and goes on from what the disk says;
- what a certificate says is checked before it takes the old one's place: a bad answer costs nothing;
- a certificate that has ended, or was denied, is renewed at the hub's enrolment service, as soon as the hub's
  operator lets this node back in;
- a failure is tried again, told in `status` and `doctor`, and never ends the node: the old certificate is
  good for another third of its life;
- what hangs from an older authority than the directory's key is due soon: that one was replaced, and is going
  to be denied.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from candor_certs import pending
from candor_certs.chain import load_certificate, verify_peer
from candor_certs.lifetime import Reminder, Standing, judge
from candor_certs.names import PeerName, Role
from candor_certs.pending import PendingRequest
from candor_certs.profiles import renewal_time, replaced_renewal_time
from candor_certs.store import TlsIdentity, replace_identity
from candor_node.clock import Clock
from candor_node.config import NodeConfig
from candor_node.hub_client import HubClient
from candor_node.logs import log
from candor_proto.errors import (
    CandorError,
    CertificateRevoked,
    IdentityMismatch,
    NotYetValid,
    StoreUnusable,
    Unreachable,
)
from candor_proto.possession import sign_certificate_request
from candor_proto.signing import SigningKey

# A clock may be set, and a machine may sleep: so the time is looked at, not slept towards.
LOOK_SECONDS = 30.0
# The hub ends a connection after twelve hours, and for a second this node would be cut off. Whoever lays the
# line anew before sees the hub's renewed certificate sooner, and loses nothing.
REDIAL_SECONDS = 6 * 3_600.0
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 10.0, 900.0
# Whoever is cut off is not alone: an authority was denied.
REFUSED_WITHIN_SECONDS = 60.0
ComeBack = Callable[[bytes, bytes], Awaitable[tuple[bytes, ...]]]


def retry_seconds(failures: int, rng: random.Random) -> float:
    """How long to wait after the failure with this number, from 0: growing, with full jitter."""
    return rng.uniform(1.0, min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures, 10)))


def pending_file(config: NodeConfig) -> Path:
    """Where the request that is under way is kept."""
    return config.tls_identity_file.with_name("renewal.pem")


def check_chain(
    chain_der: Sequence[bytes],
    roots: Sequence[x509.Certificate],
    name: PeerName,
    request: PendingRequest,
    now: datetime,
) -> TlsIdentity:
    """Our key with the chain the hub gave it, once that is known to be ours and to hang from our root.

    Raises CertificateRefused, Expired, NotYetValid or IdentityMismatch.
    """
    identity = verify_peer(chain_der, roots, now)
    if identity.name != name or identity.public_key != request.key.public_key():
        raise IdentityMismatch("The hub certified somebody else.", remedy="Tell the hub's operator.")
    return TlsIdentity(request.key, tuple(load_certificate(der) for der in chain_der))


class Renewal:
    """Keeps the certificate of `hub.line` good. `due` and `trouble` are for `status`."""

    def __init__(
        self,
        hub: HubClient,
        config: NodeConfig,
        signing_key: SigningKey,
        roots: Sequence[x509.Certificate],
        clock: Clock,
        rng: random.Random | None = None,
        look_seconds: float | None = None,
        authority: Callable[[], x509.Certificate | None] = lambda: None,
        come_back: ComeBack | None = None,
    ) -> None:
        """`authority` says which issuing authority the hub uses now, as far as is known; `come_back` asks the
        enrolment service.
        """
        self._hub = hub
        self._file = config.tls_identity_file
        self._pending_file = pending_file(config)
        self._signing_key = signing_key
        self._roots = tuple(roots)
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self.look_seconds = LOOK_SECONDS if look_seconds is None else look_seconds
        self.redial_seconds = REDIAL_SECONDS * self._rng.uniform(0.8, 1.0)
        self._federation, self._own = config.federation_name, config.node_id
        self._name = PeerName(self._federation, Role.NODE, self._own)
        self._authority = authority
        self._come_back = come_back
        # Whether the hub has said that what is shown was revoked.
        self._denied = False
        # The authority that was looked at last, by serial: of each, the moment to renew is drawn once.
        self._heeded: int | None = None
        self._reminder = Reminder()
        self.trouble: CandorError | None = None
        self.due = self._due()

    async def run(self) -> None:
        """Renew whenever it is due, and lay the line anew when it is old, for ever."""
        failures = 0
        while True:
            wait = self.look_seconds
            self._heed_authority()
            self._remind()
            if self._clock.now() >= self.due:
                try:
                    await self.renew()
                    failures = 0
                except CandorError as error:
                    self.trouble = error
                    wait = retry_seconds(failures, self._rng)
                    failures += 1
                    log.warning("the certificate was not renewed", code=error.code, reason=error.message)
            if self._hub.line.age_seconds > self.redial_seconds:
                self._hub.line.replace(self._hub.line.identity)
            await asyncio.sleep(wait)

    async def renew(self) -> None:
        """Get a certificate for a fresh key and show it from now on; raises what prevents that."""
        request = await asyncio.to_thread(self._request)
        signature = sign_certificate_request(self._signing_key, self._federation, self._own, request.der)
        try:
            chain = await self._ask(request.der, signature)
            identity = check_chain(chain, self._roots, self._name, request, self._clock.now())
        except CandorError as error:
            if not _may_be_answered(error):
                await asyncio.to_thread(pending.forget, self._pending_file)
            raise
        await asyncio.to_thread(replace_identity, self._file, identity)
        self._hub.line.replace(identity)
        self.due, self.trouble, self._heeded, self._denied = self._due(), None, None, False
        await asyncio.to_thread(pending.forget, self._pending_file)
        own = identity.chain[0]
        log.info(
            "the certificate was renewed",
            serial=f"{own.serial_number:x}",
            ends=own.not_valid_after_utc.isoformat(),
        )

    async def _ask(self, request_der: bytes, signature: bytes) -> tuple[bytes, ...]:
        ended = self._clock.now() > self._hub.line.identity.chain[0].not_valid_after_utc
        if self._come_back is not None and (ended or self._denied):
            return await self._come_back(request_der, signature)
        try:
            return await self._hub.renew_certificate(request_der, signature)
        except CertificateRevoked:
            self._denied = True
            raise

    def refused(self, error: CandorError) -> None:
        """The hub does not take this node's certificate any more: there is no need to wait until it ends."""
        if isinstance(error, CertificateRevoked) and not self._denied:
            self._denied = True
            spread = timedelta(seconds=self._rng.uniform(0, REFUSED_WITHIN_SECONDS))
            self.due = min(self.due, self._clock.now() + spread)

    def _request(self) -> PendingRequest:
        """The request that is under way, or a new one."""
        known = pending.take_up(self._pending_file, self._name)
        shown = self._hub.line.identity.chain[0].public_key()
        # Its answer was stored, and then the node died: to send it once more would certify nothing new.
        if known is not None and known.key.public_key() != shown:
            return known
        return pending.begin(self._pending_file, self._name)

    def standings(self, now: datetime) -> dict[str, Standing]:
        """Where this node's certificate and what it hangs from stand: for `doctor`, metrics and the log."""
        own, *above = self._hub.line.identity.chain
        found = {"own": judge(own.not_valid_before_utc, own.not_valid_after_utc, now)}
        others = [*(("issuing", issuing) for issuing in above[:1]), *(("root", root) for root in self._roots)]
        for name, other in others:
            found[name] = judge(other.not_valid_before_utc, other.not_valid_after_utc, now, by_hand=True)
        return found

    def _remind(self) -> None:
        """Each level of each certificate is told once."""
        for name, standing in self.standings(self._clock.now()).items():
            if self._reminder.is_news(name, standing):
                log.warning(
                    "a certificate comes to its end",
                    task=name,
                    kind=standing.level.name,
                    ends=standing.ends.isoformat(),
                    seconds=int(standing.left.total_seconds()),
                )

    def _heed_authority(self) -> None:
        present, (own, *above) = self._authority(), self._hub.line.identity.chain
        if present is None or not above or present.serial_number == self._heeded:
            return
        self._heeded = present.serial_number
        # By age, not by difference: a directory that is still held may be older than this certificate.
        if present.not_valid_before_utc > above[0].not_valid_before_utc:
            begins, ends = own.not_valid_before_utc, own.not_valid_after_utc
            self.due = min(self.due, replaced_renewal_time(self._clock.now(), begins, ends, self._rng))
            log.info("the issuing authority was replaced", until=self.due.isoformat())

    def _due(self) -> datetime:
        own = self._hub.line.identity.chain[0]
        return renewal_time(own.not_valid_before_utc, own.not_valid_after_utc, self._rng)


def _may_be_answered(error: CandorError) -> bool:
    """Whether the hub may have certified the key, or may do so yet: then the same request goes out again."""
    return isinstance(error, (Unreachable, NotYetValid, StoreUnusable)) or error.code == CandorError.code
