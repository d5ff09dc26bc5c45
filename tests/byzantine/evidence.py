"""The evidence that parties hold, and what a stranger makes of it.

Rules of this file:
- nobody asks a party to make evidence: what housekeeping, observers and reviews have stored is read;
- a file is judged by `candor_verify` alone, which shares no code with whoever made it, under the policy and
  the root that any member has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from candor_node.accountability import evidence_store
from candor_node.accountability.exporting import evidence_file
from candor_node.store import Database
from candor_node.tlog import log_store
from candor_proto.errors import CandorError
from candor_verify.errors import Refused
from candor_verify.evidence import verify_evidence
from candor_verify.log import check_log, first_policy
from candor_verify.policy import parse_policy
from candor_verify.proof import Judge
from candor_verify.report import Report
from candor_verify.source import FolderSource

if TYPE_CHECKING:
    from tests.byzantine.world import ByzantineFederation, World


@dataclass(frozen=True)
class Kept:
    """One piece of evidence in the store of a party; `accused` is a node, or `hub`."""

    number: int
    kind: str
    accused: str


def evidence_at(world: World, party: str) -> list[Kept]:
    """What came into the evidence store of a party since the case began."""
    before = world.evidence.get(party, 0)
    rows = world.party(party).node.store.run_sync(evidence_store.kept)[before:]
    # A witness is accused under its key name, whose last part is the node.
    return [Kept(row.number, row.kind.value, row.accused.rpartition("/")[2]) for row in rows]


def counted(world: World) -> dict[str, int]:
    """How much evidence each party that runs has."""
    running = [party for party in world.fed.parties if party.life is not None]
    return {party.name: len(party.node.store.run_sync(evidence_store.kept)) for party in running}


async def objections(world: World, party: str, kept: Kept) -> list[str]:
    """What there is against a piece of evidence: that no file can be made, or that it is not accepted."""
    node = world.party(party).node
    try:
        octets, _ = await evidence_file(
            node.store, node.accountant.proofs, node.config.federation_name, kept.number
        )
    except CandorError as error:
        return [f"{party} cannot make a file of its evidence {kept.kind}: {error.code}: {error}"]
    return judged(world, octets, kept)


def judged(world: World, octets: bytes, kept: Kept) -> list[str]:
    """What `candor-verify evidence` has against a file; nothing when it accepts it as what it is."""
    judge = Judge(parse_policy(policy(world)), world.fed.clock.now())
    (root,) = x509.load_pem_x509_certificates(world.alpha.config.root_certificates_file.read_bytes())
    try:
        _, case = verify_evidence(octets, judge, root)
    except Refused as refused:
        return [f"candor-verify refuses the evidence {kept.kind}: {refused}"]
    if (case.kind, case.accused.rpartition("/")[2]) != (kept.kind, kept.accused):
        return [f"candor-verify takes it for {case.kind} against {case.accused}"]
    return []


def log_findings(fed: ByzantineFederation) -> list[str]:
    """What `candor-verify log` finds in the files of the hub's honest half, from its first policy on."""
    source, report = FolderSource(fed.hub_config.log), Report("the log")
    check_log(source, parse_policy(first_policy(source)), fed.clock.now(), report)
    return [f"the log does not verify: {finding}" for finding in report.findings]


def policy(world: World) -> bytes:
    """The witness policy that members have, charlie's: who judges does not take the accuser's."""

    def text(db: Database) -> bytes:
        known = log_store.policy_in_force(db)
        assert known is not None
        return known.text

    return world.charlie.node.store.run_sync(text)
