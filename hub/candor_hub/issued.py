"""Which certificates are this hub's: what its own store issued, octet for octet (docs/protocol.md §8.2).

A chain to the root proves that somebody with an issuing key certified the caller. Whoever steals that key can
do so in any member's name; what he cannot do is to have been here when it was issued.

Rules of this file:
- an issued certificate stays issued, so a known one is known for ever and costs a call no database access;
- an unknown one is looked for each time: another process or replica may have issued it a moment ago.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog
from cryptography import x509

from candor_certs.chain import PeerIdentity, certificate_fingerprint
from candor_hub.clock import Clock
from candor_hub.store import Store
from candor_hub.turns import Turns
from candor_proto.errors import CertificateRefused, StoreUnusable
from candor_proto.ids import Digest

log = structlog.get_logger(__name__)

# Twice the certificates that the largest federation has at once; past it everything is looked up afresh.
MAX_KNOWN = 8_192


class Issued:
    """The gate's memory of certificates. `check`, `knows` and `remember` belong to the event loop."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: set[Digest] = set()
        # The look that runs, and the one that begins when it has ended, with what it will be about.
        self._under_way: asyncio.Task[frozenset[PeerIdentity]] | None = None
        self._next: tuple[list[PeerIdentity], asyncio.Task[frozenset[PeerIdentity]]] | None = None

    def knows(self, identity: PeerIdentity) -> bool:
        """Whether this very certificate was seen to be ours."""
        return identity.fingerprint in self._known

    async def check(self, identity: PeerIdentity, turns: Turns) -> None:
        """As `look_up`, in a thread of `turns`. Those who come while a look is under way share the next one.

        When a replica dies, all its nodes come to the others at once.
        """
        if self._next is None:
            asked: list[PeerIdentity] = []
            self._next = asked, asyncio.create_task(self._look(asked, self._under_way, turns))
        asked, looking = self._next
        asked.append(identity)
        # One caller's going away must not end the look of the others.
        if identity not in await asyncio.shield(looking):
            raise _not_ours(identity)

    async def _look(
        self,
        asked: list[PeerIdentity],
        before: asyncio.Task[frozenset[PeerIdentity]] | None,
        turns: Turns,
    ) -> frozenset[PeerIdentity]:
        if before is not None:
            await asyncio.wait({before})
        assert self._next is not None
        (_, self._under_way), self._next = self._next, None
        return await turns.run(self, partial(self.ours, asked))

    def look_up(self, identity: PeerIdentity) -> None:
        """Raises CertificateRefused unless the store issued this very certificate to this node; blocks."""
        if identity not in self.ours([identity]):
            raise _not_ours(identity)

    def ours(self, identities: Sequence[PeerIdentity]) -> frozenset[PeerIdentity]:
        """Those that the store issued to their very nodes; blocks, raises StoreUnusable."""
        ours, unused = set[PeerIdentity](), list[int]()
        with self._store.read() as tx:
            records = tx.certificates.find_all(identity.serial for identity in identities)
        for identity in identities:
            found = records.get(identity.serial)
            if found is not None and found.node == identity.name.node:
                issued = certificate_fingerprint(x509.load_der_x509_certificate(found.der))
                if issued == identity.fingerprint:
                    ours.add(identity)
                    if found.used_at is None:
                        unused.append(found.serial)
        if unused:
            self._note(unused)
        return frozenset(ours)

    def _note(self, serials: Sequence[int]) -> None:
        """Their members have them, and show them: whoever denies an authority wants to know that."""
        try:
            with self._store.write() as tx:
                tx.certificates.set_used(serials, self._clock.now())
        except StoreUnusable as error:
            # The call is not about this, and the next process that sees the certificate notes it.
            log.warning("a certificate's first use was not noted", code=error.code, message=error.message)

    def remember(self, identity: PeerIdentity) -> None:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known.add(identity.fingerprint)


def _not_ours(identity: PeerIdentity) -> CertificateRefused:
    return CertificateRefused(
        f"The certificate of {identity.name} (serial {identity.serial:x}) was not issued by this hub.",
        remedy="Call the hub's operator: either the hub lost its latest certificates, or somebody else "
        "certifies members.",
    )
