"""A witness of its own, for whoever is no member: a board, a court, a newsroom (docs/witness.md).

    make(folder, "witness.court.example/1", policy)
    witness = StandingWitness.open(folder, clock)

Rules of this file:
- the keys are made here and leave this folder never; nothing that exists is overwritten;
- `log-policy.txt` says of which logs: a C2SP tlog-policy, of which only the `log` lines count here.
"""

from __future__ import annotations

import secrets
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from candor_certs.store import make_private_folder, read_private, refuse_existing, write_new_private
from candor_node.clock import Clock
from candor_node.driver import KEY_OCTETS, DatabaseError, explain, open_database
from candor_node.store import Store
from candor_node.tlog import witness_store
from candor_node.tlog.migrations import witness_migrations
from candor_node.tlog.witness import PolicyRules, Witness
from candor_proto.errors import CandorError, ConfigInvalid, InputInvalid, StoreUnusable
from candor_proto.tlog.checkpoint import SignedCheckpoint
from candor_proto.tlog.note import check_name
from candor_proto.tlog.policy import Policy, parse_policy
from candor_proto.tlog.signatures import WitnessKeys

POLICY_FILE, DATABASE_FILE, KEY_FILE = "log-policy.txt", "witness.db", "witness.key"


def make(folder: Path, name: str, policy: bytes, now: datetime) -> WitnessKeys:
    """A new witness under this key name in `folder`, with fresh keys.

    Raises InputInvalid, AlreadyExists or StoreUnusable, and then leaves nothing behind.
    """
    try:
        check_name(name)
        read_policy(policy)
    except CandorError as error:
        raise InputInvalid(error.message, remedy=error.remedy or "docs/witness.md shows both.") from None
    folder = folder.resolve()
    made = [folder / each for each in (POLICY_FILE, DATABASE_FILE, KEY_FILE)]
    refuse_existing(*made)
    was_there = folder.exists()
    try:
        make_private_folder(folder)
        key = secrets.token_bytes(KEY_OCTETS)
        write_new_private(folder / KEY_FILE, key)
        write_new_private(folder / POLICY_FILE, policy)
        with Store.create(folder / DATABASE_FILE, key, (witness_migrations,)) as store:
            return store.run_sync(lambda db: witness_store.make_keys(db, name, now))
    except BaseException:
        for path in (*made, *(Path(f"{folder / DATABASE_FILE}{end}") for end in ("-wal", "-shm", ".lock"))):
            path.unlink(missing_ok=True)
        if not was_there and folder.exists():
            folder.rmdir()
        raise


def read_policy(octets: bytes) -> Policy:
    """A policy that names at least one log with both of its keys; raises ConfigInvalid."""
    try:
        policy = parse_policy(octets)
    except CandorError as error:
        raise ConfigInvalid(
            f"This is no policy of a log: {error.message}", remedy="docs/witness.md says what stands in it."
        ) from None
    if not policy.logs:
        raise ConfigInvalid(
            "The policy names no log, so there is nothing to witness.",
            remedy="Put the `log` lines of the federation's policy into it.",
        )
    return policy


@dataclass(frozen=True)
class Shown:
    """What a witness is: its keys, its logs, and the newest head of each that it cosigned, and when."""

    keys: WitnessKeys
    policy: Policy
    cosigned: tuple[tuple[SignedCheckpoint, datetime], ...]


def look(folder: Path) -> Shown:
    """Also while it runs. Raises ConfigInvalid or StoreUnusable."""
    policy = _policy_of(folder)
    path = folder / DATABASE_FILE
    db = open_database(path, read_private(folder / KEY_FILE))
    with closing(db.conn):
        try:
            keys, cosigned = witness_store.keys(db), witness_store.all_cosigned(db)
        except DatabaseError as error:
            raise explain(error, path) from None
    return Shown(_present(keys, folder), policy, tuple(cosigned))


def _policy_of(folder: Path) -> Policy:
    try:
        return read_policy((folder / POLICY_FILE).read_bytes())
    except OSError as error:
        raise ConfigInvalid(
            f"{folder / POLICY_FILE} cannot be read: {error.strerror}.",
            remedy="Make a witness with `candor-node witness init`, or name its folder with --dir.",
        ) from None


def _present(keys: WitnessKeys | None, folder: Path) -> WitnessKeys:
    if keys is None:
        raise StoreUnusable(f"{folder} holds no keys of a witness.", remedy="Make a new one.")
    return keys


@dataclass
class StandingWitness:
    """An opened folder. `close` it."""

    store: Store
    policy: Policy
    keys: WitnessKeys
    witness: Witness

    @classmethod
    def open(cls, folder: Path, clock: Clock) -> StandingWitness:
        """Raises ConfigInvalid or StoreUnusable."""
        policy = _policy_of(folder)
        store = Store.open(folder / DATABASE_FILE, read_private(folder / KEY_FILE), (witness_migrations,))
        try:
            keys = _present(store.run_sync(witness_store.keys), folder)
        except BaseException:
            store.close()
            raise
        return cls(store, policy, keys, Witness(store, PolicyRules(policy), clock))

    def close(self) -> None:
        self.store.close()
