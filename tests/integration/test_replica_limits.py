"""A member at three replicas is one member; its quota and denial are the primary's (docs/replicas.md §3)."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from candor_proto.budget import Quota
from candor_proto.errors import CandorError, CertificateRevoked
from candor_proto.statements import Lookup
from candor_wire.codec import Envelope
from tests.hubs import MemberClient, enrol
from tests.patience import PATIENCE_SECONDS
from tests.postgres import Cluster, synchronous_cluster, unsafe
from tests.replicas import at, let_time_pass_everywhere, listening, replicas

REPLICAS = 3


def cost(lookup: Envelope) -> int:
    return sum(Lookup.decode(lookup.body).cost.values())


async def spread(clients: list[MemberClient], lookups: list[Envelope]) -> Counter[str]:
    """Hand each lookup in at one of these, all at once, half of them over a stream: what became of them."""

    async def over_streams(client: MemberClient, own: list[Envelope]) -> list[str]:
        async with client.attached() as stream:
            await stream.submit(*enumerate(own))
            receipts = [await stream.receipt() for _ in own]
        return [_said(receipt.outcome) for receipt in receipts]

    async def by_calls(client: MemberClient, own: list[Envelope]) -> list[str]:
        outcomes = await asyncio.gather(*(client.submit(one) for one in own), return_exceptions=True)
        return [_said(outcome) for outcome in outcomes]

    share = [lookups[number :: len(clients)] for number in range(len(clients))]
    # One stream, at the first replica: a member has one over all of them.
    works = [over_streams(clients[0], share[0]), *map(by_calls, clients[1:], share[1:])]
    return Counter(word for words in await asyncio.gather(*works) for word in words)


def _said(outcome: object) -> str:
    if isinstance(outcome, CandorError):
        return outcome.code
    assert isinstance(outcome, int), outcome
    return "accepted"


# A day lets four lookups through and a bit, the month eight and a bit.
QUOTA = Quota(total=140, weak=140, match=140, code=140, day_share=2)
COST = 16


def test_who_asks_at_three_replicas_gets_exactly_its_day_and_its_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_time_pass_everywhere(monkeypatch)

    async def scene() -> None:
        async with replicas(tmp_path, REPLICAS, quota=QUOTA) as hubs:
            await listening(*hubs)
            alpha, bravo = await enrol(hubs[0], "alpha"), await enrol(hubs[1], "bravo")
            clients = [at(alpha, hub) for hub in hubs]
            for day, (accepted, left) in enumerate([(4, 6), (4, 6), (0, 12)]):
                asked = [alpha.lookup([bravo]) for _ in range(4 * REPLICAS)]
                assert {cost(lookup) for lookup in asked} == {COST}
                found = await spread(clients, asked)
                assert found == Counter(accepted=accepted, quota_spent=len(asked) - accepted), f"day {day}"
                # Each replica says the same of what is left of the day, or of the month.
                assert [(await client.quota()).total for client in clients] == [left] * REPLICAS
                for hub in hubs:
                    hub.clock.advance(hours=26)
            await alpha.close()

    asyncio.run(scene())


def test_what_is_judged_is_judged_by_the_primary_however_old_a_standby_is(tmp_path: Path) -> None:
    """The standby, which is named first, answers readers, and has stood still since the members joined."""

    async def scene(cluster: Cluster) -> None:
        async with replicas(tmp_path, REPLICAS, quota=QUOTA, url=cluster.standby_first) as hubs:
            await listening(*hubs)
            alpha, bravo = await enrol(hubs[0], "alpha"), await enrol(hubs[1], "bravo")
            stand_still(cluster)
            clients = [at(alpha, hub) for hub in hubs]

            found = await spread(clients, [alpha.lookup([bravo]) for _ in range(2 * REPLICAS)])
            assert found == Counter(accepted=4, quota_spent=2)

            sealed = bravo.sealed(alpha.node)
            handed = [at(bravo, hub) for hub in hubs]
            assert await asyncio.gather(*(client.submit(sealed) for client in handed)) == [1] * REPLICAS
            other = replace(sealed, body=bravo.sealed(alpha.node).body)
            refused = await asyncio.gather(
                *(client.submit(other) for client in handed), return_exceptions=True
            )
            assert all(isinstance(error, CandorError) for error in refused)

            async with clients[1].attached() as stream:
                await asyncio.to_thread(hubs[0].hub.directory.revoke, alpha.node, hubs[0].clock.now())
                for client in clients:
                    with pytest.raises(CertificateRevoked):
                        await client.quota()
                assert isinstance(await stream.end(), CertificateRevoked)

            def ask(query: str) -> list[int]:
                servers = (cluster.primary, cluster.standby)
                return [int(server.execute(query, "candor")[0][0]) for server in servers]

            # What another answer would have been judged by.
            assert ask("SELECT coalesce(sum(weak + match + code), 0) FROM quota_uses") == [4 * COST, 0]
            assert ask("SELECT count(*) FROM envelopes WHERE kind = 3") == [1, 0]
            assert ask("SELECT count(*) FROM denied") == [1, 0]
            await alpha.close()
            await bravo.close()

    with unsafe(), synchronous_cluster(sync=False) as cluster:
        asyncio.run(scene(cluster))


def stand_still(cluster: Cluster) -> None:
    """The standby takes what is written, and shows nothing of it, once it shows both members."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    members = "SELECT count(*) FROM members"
    while cluster.standby.execute(members, "candor") != cluster.primary.execute(members, "candor"):
        assert time.monotonic() < deadline, "the standby does not follow"
        time.sleep(0.02)
    cluster.standby.execute("SELECT pg_wal_replay_pause()")
    while cluster.standby.execute("SELECT pg_get_wal_replay_pause_state()") != [("paused",)]:
        assert time.monotonic() < deadline, "the standby does not stand still"
        time.sleep(0.02)
