"""The keys of the log, a file for each shard: `keys/log-<n>.key`, an Ed25519 and an ML-DSA-44 seed.

Whoever has this file can sign another history of the shard; the witnesses would not. Without it the shard can
neither go on nor be closed: it belongs into the backup like the directory key.
"""

from __future__ import annotations

from pathlib import Path

from candor_certs.store import read_private, write_new_private
from candor_hub.store.log import ShardRecord
from candor_proto.errors import AlreadyExists, InputInvalid, StoreUnusable
from candor_proto.ids import FederationName
from candor_proto.tlog.entries import log_origin
from candor_proto.tlog.signatures import SEED_OCTETS, LogKeys


class KeyRing:
    """The keys of every shard in one folder."""

    def __init__(self, folder: Path, federation: FederationName) -> None:
        self._folder = folder
        self._federation = federation
        self._known: dict[int, LogKeys] = {}

    def path(self, shard: int) -> Path:
        return self._folder / f"log-{shard}.key"

    def make(self, shard: int) -> LogKeys:
        """The keys of a shard that has none yet; those of an interrupted step are taken up again.

        Raises StoreUnusable.
        """
        keys = LogKeys.generate(log_origin(self._federation, shard))
        try:
            write_new_private(self.path(shard), keys.ed25519_seed + keys.ml_dsa_seed)
        except AlreadyExists:
            return self._read(shard)
        return keys

    def of(self, shard: ShardRecord) -> LogKeys:
        """The keys of this shard; raises StoreUnusable or InputInvalid, for they are those of its row."""
        keys = self._known.get(shard.shard)
        if keys is None:
            keys = self._read(shard.shard)
            if keys.verifier_keys != shard.verifier_keys:
                raise InputInvalid(
                    f"{self.path(shard.shard)} does not hold the keys of the log {shard.origin}.",
                    remedy="Restore keys and database from the same backup.",
                )
            self._known[shard.shard] = keys
        return keys

    def _read(self, shard: int) -> LogKeys:
        seeds = read_private(self.path(shard))
        if len(seeds) != 2 * SEED_OCTETS:
            raise StoreUnusable(
                f"{self.path(shard)} is damaged: it has {len(seeds)} octets.",
                remedy="Restore it from the backup; without it this shard of the log cannot go on.",
            )
        return LogKeys(log_origin(self._federation, shard), seeds[:SEED_OCTETS], seeds[SEED_OCTETS:])
