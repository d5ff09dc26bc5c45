"""Which certificates are this hub's: what its own store issued, octet for octet (docs/protocol.md §8.2).

A chain to the root proves that somebody with an issuing key certified the caller. Whoever steals that key can
do so in any member's name; what he cannot do is to have been here when it was issued.

Rules of this file:
- an issued certificate stays issued, so a known one is known for ever and costs a call no database access;
- an unknown one is looked for each time: another process or replica may have issued it a moment ago.
"""

from __future__ import annotations

import structlog
from cryptography import x509

from candor_certs.chain import PeerIdentity, certificate_fingerprint
from candor_hub.clock import Clock
from candor_hub.store import Store
from candor_proto.errors import CertificateRefused, StoreUnusable
from candor_proto.ids import Digest

log = structlog.get_logger(__name__)

# Twice the certificates that the largest federation has at once; past it everything is looked up afresh.
MAX_KNOWN = 8_192


class Issued:
    """The gate's memory of certificates. `knows` and `remember` belong to the event loop."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: set[Digest] = set()

    def knows(self, identity: PeerIdentity) -> bool:
        """Whether this very certificate was seen to be ours."""
        return identity.fingerprint in self._known

    def look_up(self, identity: PeerIdentity) -> None:
        """Raises CertificateRefused unless the store issued this very certificate to this node; blocks."""
        with self._store.read() as tx:
            found = tx.certificates.find(identity.serial)
        if found is not None and found.node == identity.name.node:
            issued = certificate_fingerprint(x509.load_der_x509_certificate(found.der))
            if issued == identity.fingerprint:
                if found.used_at is None:
                    self._note(found.serial)
                return
        raise CertificateRefused(
            f"The certificate of {identity.name} (serial {identity.serial:x}) was not issued by this hub.",
            remedy="Call the hub's operator: either the hub lost its latest certificates, or somebody else "
            "certifies members.",
        )

    def _note(self, serial: int) -> None:
        """Its member has it, and shows it: whoever denies an authority wants to know that."""
        try:
            with self._store.write() as tx:
                tx.certificates.set_used(serial, self._clock.now())
        except StoreUnusable as error:
            # The call is not about this, and the next process that sees the certificate notes it.
            log.warning("a certificate's first use was not noted", code=error.code, message=error.message)

    def remember(self, identity: PeerIdentity) -> None:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known.add(identity.fingerprint)
