"""The keys of the log, a secret of the vault for each shard: `log-<n>.key`, an Ed25519 and an ML-DSA-44 seed.

Whoever has it can sign another history of the shard; the witnesses would not. Without it the shard can
neither go on nor be closed: it belongs into the backup like the directory key.
"""

from __future__ import annotations

from candor_hub.store.log import ShardRecord
from candor_hub.vault import Vault
from candor_proto.errors import AlreadyExists, InputInvalid, StoreUnusable
from candor_proto.ids import FederationName
from candor_proto.tlog.entries import log_origin
from candor_proto.tlog.signatures import SEED_OCTETS, LogKeys


class KeyRing:
    """The keys of every shard in one vault."""

    def __init__(self, vault: Vault, federation: FederationName) -> None:
        self._vault = vault
        self._federation = federation
        self._known: dict[int, LogKeys] = {}

    def place(self, shard: int) -> str:
        """What messages call the keys of this shard."""
        return self._vault.place(_name(shard))

    def make(self, shard: int) -> LogKeys:
        """The keys of a shard that has none yet; those of an interrupted step are taken up again.

        Raises StoreUnusable.
        """
        keys = LogKeys.generate(log_origin(self._federation, shard))
        try:
            self._vault.add(_name(shard), keys.ed25519_seed + keys.ml_dsa_seed)
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
                    f"{self.place(shard.shard)} does not hold the keys of the log {shard.origin}.",
                    remedy="Restore keys and database from the same backup.",
                )
            self._known[shard.shard] = keys
        return keys

    def _read(self, shard: int) -> LogKeys:
        seeds = self._vault.get(_name(shard))
        if seeds is None:
            raise StoreUnusable(
                f"There is no {self.place(shard)}: without it this shard of the log cannot go on.",
                remedy="Restore it from the backup of the hub's keys.",
            )
        if len(seeds) != 2 * SEED_OCTETS:
            raise StoreUnusable(
                f"{self.place(shard)} is damaged: it has {len(seeds)} octets.",
                remedy="Restore it from the backup; without it this shard of the log cannot go on.",
            )
        return LogKeys(log_origin(self._federation, shard), seeds[:SEED_OCTETS], seeds[SEED_OCTETS:])


def _name(shard: int) -> str:
    return f"log-{shard}.key"
