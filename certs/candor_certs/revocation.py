"""The deny list: certificates withdrawn before their time.

gRPC and `cryptography` check no revocation, so every call is checked against this list, and a list that is
too old refuses everybody: an attacker who keeps the list from being refreshed must not gain by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from candor_certs.chain import PeerIdentity
from candor_certs.profiles import CLOCK_TOLERANCE
from candor_proto.errors import CertificateRevoked, DenyListStale
from candor_proto.ids import Digest

# With the second after which streams are looked at, the longest that a revoked member is served by a process
# that cannot ask anybody any more: under a minute (RELIABILITY 7.9).
DEFAULT_MAX_AGE = timedelta(seconds=50)


@dataclass(frozen=True)
class DenyList:
    """Serials and fingerprints that are refused, as known at `issued_at`; good for `max_age`.

    An issuing authority's serial denies everything it certified.
    """

    serials: frozenset[int]
    issued_at: datetime
    max_age: timedelta = DEFAULT_MAX_AGE
    fingerprints: frozenset[Digest] = frozenset()

    def check(self, identity: PeerIdentity, now: datetime) -> None:
        """Raises CertificateRevoked, or DenyListStale if the list cannot say."""
        self.check_fresh(now)
        if (
            identity.serial in self.serials
            or identity.fingerprint in self.fingerprints
            or not identity.authorities.isdisjoint(self.serials)
        ):
            raise CertificateRevoked(
                f"The certificate of {identity.name} (serial {identity.serial:x}) has been revoked.",
                remedy="Call the hub's operator: after `candor-hub readmit` with this node's id it comes "
                "back by itself. A member that was revoked does not.",
            )

    def check_fresh(self, now: datetime) -> None:
        """Raises DenyListStale."""
        if now - self.issued_at > self.max_age:
            raise DenyListStale(
                f"The deny list is from {self.issued_at:%Y-%m-%d %H:%M:%S} UTC, older than "
                f"{int(self.max_age.total_seconds())} seconds.",
                remedy="See why it is not refreshed; until then every peer is refused.",
            )
        # A clock set back would make an old list fresh for as long as it was set back.
        if self.issued_at - now > CLOCK_TOLERANCE:
            raise DenyListStale(
                f"The deny list is from {self.issued_at:%Y-%m-%d %H:%M:%S} UTC, which is in the future.",
                remedy="Check this machine's clock; until then every peer is refused.",
            )
