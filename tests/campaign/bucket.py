"""Segments in a real S3-compatible object store, which also fails, is away, and refuses what is not signed.

    python -m tests.campaign.bucket

Needs the Debian packages that tests/object_store.py names (OpenStack Swift with its S3 interface); says so
where they are missing. About 90 s, most of it for the store to take 1,100 objects.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from candor_hub import segment_bucket
from candor_hub.segment_bucket import SegmentBucket
from candor_proto.errors import CandorError, StoreUnusable, UnknownObject, Unreachable
from candor_proto.ids import Digest
from tests.hubs import MemberClient, RunningHub, enrol, running_hub
from tests.object_store import BUCKET, PACKAGES, SECRET, ObjectStore, is_installed, object_store

URL = f"s3://{BUCKET}/county/index"
OBJECTS = 1_100
LARGE = 40 * 1024 * 1024


def parts_of_it(store: ObjectStore) -> None:
    """The bucket by itself: sizes, more objects than a page of a listing, and each fault by its name."""
    with patch.dict(os.environ, store.environment()):
        bucket = SegmentBucket.open(URL, _now)
        bucket.probe()
        for size in (0, 1, 65_537, LARGE):
            octets = os.urandom(size)
            name = bucket.put(Digest(bytes(32)), octets)
            pieces = list(bucket.read(name, 65_536))
            assert b"".join(pieces) == octets
            assert all(len(piece) <= 65_536 for piece in pieces)
            bucket.remove(name)
            bucket.remove(name)
            _fails(lambda name=name: list(bucket.read(name, 65_536)), UnknownObject, "no such segment")
        names = {bucket.put(Digest(bytes(32)), b"") for _ in range(OBJECTS)}
        assert set(bucket.names()) == names
        other = SegmentBucket.open(f"s3://{BUCKET}/elsewhere", _now)
        assert not list(other.names())
        for name in names:
            bucket.remove(name)
        assert not list(bucket.names())
        nowhere = SegmentBucket.open("s3://another/prefix", _now)
        for act in (
            lambda: nowhere.put(Digest(bytes(32)), b"1"),
            lambda: list(nowhere.read("a", 1)),
            lambda: nowhere.remove("a"),
            lambda: list(nowhere.names()),
        ):
            _fails(act, StoreUnusable, "NoSuchBucket", "Candor makes none")
    for changed, told, remedy in (
        ({"AWS_SECRET_ACCESS_KEY": "not-this"}, "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "candor:nobody"}, "SignatureDoesNotMatch", "AWS_ACCESS_KEY_ID"),
        ({"AWS_ALLOW_HTTP": ""}, "BadScheme", "https://"),
    ):
        with patch.dict(os.environ, store.environment() | changed):
            _fails(SegmentBucket.open(URL, _now).probe, StoreUnusable, told, remedy)


async def within_a_hub(store: ObjectStore, folder: Path) -> None:
    """A real hub: an index goes through the bucket, the store dies and comes back, and nothing is lost."""
    with patch.dict(os.environ, store.environment()):
        async with running_hub(folder / "hub", segments_url=URL) as hub:
            alpha, bravo = await enrol(hub, "alpha"), await enrol(hub, "bravo")
            octets = alpha.segment()
            await _publish(alpha, octets)
            await _fetched(bravo, octets)
            assert store.objects() == [octets], "the segment is not, or not only, in the object store"
            assert not list(hub.config.segments.glob("*")), "and it is on the hub's disk as well"
            await _while_it_is_away(store, hub, alpha, bravo, octets)
            for member in (alpha, bravo):
                await member.close()
        async with running_hub(folder / "hub", config=hub.config) as again:
            bravo.connect(again)
            await _fetched(bravo, octets)
            await bravo.close()


async def _while_it_is_away(
    store: ObjectStore, hub: RunningHub, alpha: MemberClient, bravo: MemberClient, octets: bytes
) -> None:
    more = alpha.segment()
    store.stop()
    for act in (
        lambda: alpha.put_segment(more),
        lambda: bravo.get_segment(alpha.head([octets]).segments[0].address),
    ):
        try:
            await act()
        except (StoreUnusable, Unreachable) as error:
            assert SECRET not in repr(error) + error.message
        else:
            raise AssertionError("an object store that is gone was not missed")
    # Everything else goes on meanwhile.
    await bravo.submit(bravo.lookup([alpha, bravo]))
    async with alpha.attached() as stream:
        await stream.acknowledge((await stream.delivery()).delivery_id)
    store.start()
    await alpha.put_segment(more)
    await _fetched(bravo, octets)


async def _publish(member: MemberClient, octets: bytes) -> None:
    await member.put_segment(octets)
    await member.put_head(member.head([octets]))


async def _fetched(member: MemberClient, octets: bytes) -> None:
    directory = await member.directory()
    refs = [ref for node in directory.nodes() if (head := directory.head(node)) for ref in head.segments]
    assert [await member.get_segment(ref.address) for ref in refs] == [octets]


def _now() -> datetime:
    return datetime.now(UTC)


def _fails(act, kind: type[CandorError], *told: str) -> None:  # type: ignore[no-untyped-def]  # any call
    try:
        act()
    except kind as error:
        said = f"{error.message} {error.remedy}"
        assert all(words in said for words in told), said
        assert SECRET not in said + repr(error)
    else:
        raise AssertionError(f"{told[0]}: nothing was refused")


def main() -> int:
    if not is_installed():
        print(f"bucket: needs OpenStack Swift: apt-get install --no-install-recommends {' '.join(PACKAGES)}")
        return 1
    began = time.monotonic()
    with (
        object_store() as store,
        tempfile.TemporaryDirectory(prefix="candor-bucket-") as folder,
        patch.object(segment_bucket, "RETRY_SECONDS", 2),
    ):
        parts_of_it(store)
        print(f"  bucket: {OBJECTS} objects listed, {LARGE:,} octets there and back, 7 faults by their names")
        asyncio.run(within_a_hub(store, Path(folder)))
        print("  hub: published and fetched through it, refused while it was away, whole after both restarts")
    print(f"  {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
