"""Octets of segments in a folder, in rows, in a bucket: whole or absent, and never another's (ADR 0032)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError
from obstore.store import MemoryStore

from candor_hub.index import GRACE
from candor_hub.segment_bucket import SegmentBucket
from candor_hub.segment_files import SegmentFiles, SegmentFolder, SegmentRows, given_at
from candor_hub.store import Store
from candor_hub.store.objects import PIECE_OCTETS, SEGMENTS
from candor_proto.errors import ConfigInvalid, StoreUnusable, UnknownObject
from candor_proto.ids import Digest
from candor_proto.segment import address
from tests.unit.hub.offices import Office, office, opened

KEY = bytes(range(32))
NOW = datetime(2026, 11, 27, tzinfo=UTC)
ADDRESS = Digest(bytes(range(32)))


@pytest.fixture(params=["folder", "rows", "bucket"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SegmentFiles]:
    if request.param == "folder":
        yield SegmentFolder(tmp_path / "segments")
    elif request.param == "bucket":
        yield SegmentBucket(MemoryStore(), lambda: NOW)
    else:
        store = Store.create(f"sqlite:///{tmp_path / 'hub.db'}", KEY, "demo.example")
        yield SegmentRows(store, lambda: NOW)
        store.close()


@pytest.mark.parametrize("size", [0, 1, 65_536, 2 * PIECE_OCTETS + 3])
def test_octets_come_back_in_pieces(files: SegmentFiles, size: int) -> None:
    octets = random.Random(size).randbytes(size)
    name = files.put(ADDRESS, octets)
    pieces = list(files.read(name, 65_536))
    assert b"".join(pieces) == octets
    assert all(len(piece) <= 65_536 for piece in pieces)
    assert list(files.names()) == [name]
    files.remove(name)
    files.remove(name)
    assert list(files.names()) == []
    with pytest.raises(UnknownObject):
        list(files.read(name, 65_536))


def test_two_replicas_never_write_the_same_name(tmp_path: Path) -> None:
    bucket = MemoryStore()
    first, second = SegmentBucket(bucket, lambda: NOW), SegmentBucket(bucket, lambda: NOW)
    names = {first.put(ADDRESS, b"1"), second.put(ADDRESS, b"2")}
    assert len(names) == 2
    assert {given_at(name) for name in names} == {int(NOW.timestamp() * 1000)}
    assert given_at(ADDRESS.hex()) is None


def test_a_segment_that_has_lost_a_piece_ends_in_an_error(tmp_path: Path) -> None:
    store = Store.create(f"sqlite:///{tmp_path / 'hub.db'}", KEY, "demo.example")
    rows = SegmentRows(store, lambda: NOW)
    name = rows.put(ADDRESS, bytes(2 * PIECE_OCTETS))
    with store.write() as tx:
        connection = tx.objects._connection
        connection.exec_driver_sql("DELETE FROM objects WHERE piece = 1")
    with pytest.raises(UnknownObject):
        list(rows.read(name, 65_536))
    store.close()


def test_a_bucket_that_does_not_answer_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("candor_hub.segment_bucket.RETRY_SECONDS", 0)
    for name, value in (
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "sentinel"),
    ):
        monkeypatch.setenv(name, value)
    bucket = SegmentBucket.open("s3://bucket/prefix", lambda: NOW)
    with pytest.raises(StoreUnusable, match=r"bucket of segments cannot be used \(GenericError") as caught:
        bucket.put(ADDRESS, b"1")
    assert "sentinel" not in repr(caught.value) + caught.value.message
    with pytest.raises(ConfigInvalid):
        SegmentBucket.open("s3://", lambda: NOW)
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(StoreUnusable, match=r"BadScheme.*AWS_ALLOW_HTTP"):
        SegmentBucket.open("s3://bucket/prefix", lambda: NOW).put(ADDRESS, b"1")


ANSWER = "<Error><Code>{}</Code><Message>...</Message><StringToSign>sentinel</StringToSign></Error>"


class Refusing:
    """A bucket whose service answers everything with one fault, as obstore tells it."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Callable[..., object]:
        def refuse(*_: object, **__: object) -> object:
            raise self._error

        return refuse


@pytest.mark.parametrize("act", ["put", "read", "remove", "names", "probe"])
@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (FileNotFoundError(ANSWER.format("NoSuchBucket")), "NoSuchBucket.*Make the bucket"),
        (PermissionDeniedError(ANSWER.format("AccessDenied")), "AccessDenied.*put, get, list and delete"),
        (PermissionDeniedError(ANSWER.format("RequestTimeTooSkewed")), "RequestTimeTooSkewed.*clock"),
        (GenericError("a text that names no code"), "GenericError.*Check segments_url"),
    ],
    ids=["no bucket", "denied", "clock", "else"],
)
def test_a_fault_of_the_bucket_is_never_taken_for_a_segment_that_is_gone(
    act: str, error: Exception, remedy: str
) -> None:
    """A missing bucket reads as a missing object: members would be sent away to fetch the directory again."""
    bucket = SegmentBucket(Refusing(error), lambda: NOW)  # type: ignore[arg-type]  # as far as it is used
    acts: dict[str, Callable[[], object]] = {
        "put": lambda: bucket.put(ADDRESS, b"1"),
        "read": lambda: list(bucket.read("a", 1)),
        "remove": lambda: bucket.remove("a"),
        "names": lambda: list(bucket.names()),
        "probe": bucket.probe,
    }
    with pytest.raises(StoreUnusable, match=remedy) as caught:
        acts[act]()
    assert "sentinel" not in str(caught.value)


class Noted(MemoryStore):
    """A bucket that notes how objects were put."""

    def put(self, *given: object, **how: object) -> object:  # type: ignore[override]  # all of it is passed on
        self.how = how
        return super().put(*given, **how)  # type: ignore[arg-type]


def test_a_segment_is_put_in_one_request(tmp_path: Path) -> None:
    """Parts of an upload that was cut off are in no listing, so that nothing would ever drop them."""
    bucket = Noted()
    SegmentBucket(bucket, lambda: NOW).put(ADDRESS, bytes(PIECE_OCTETS))
    assert bucket.how == {"use_multipart": False}


def test_a_bucket_is_tried_and_left_as_it_was() -> None:
    bucket = MemoryStore()
    SegmentBucket(bucket, lambda: NOW).probe()
    assert not list(SegmentBucket(bucket, lambda: NOW).names())


# --- in the index ---------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, each_database: str) -> Iterator[Office]:
    assert each_database
    with office(tmp_path) as made:
        yield made


def test_a_segment_is_stored_read_and_dropped(hub: Office) -> None:
    alpha = hub.join("alpha")
    octets = alpha.segment()
    for _ in range(2):  # a repetition changes nothing
        hub.index.put_segment(address(octets), octets, alpha.node, hub.clock.now())
    assert b"".join(hub.index.get_segment(address(octets))) == octets
    assert len(list(hub.index._files.names())) == 1
    hub.clock.advance(hours=49)
    assert hub.index.collect_garbage(hub.clock.now()) == 1
    assert list(hub.index._files.names()) == []


def test_another_replica_reads_what_one_has_stored(
    tmp_path: Path, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.unit.hub.offices.chosen_url", lambda: postgresql_url)
    with office(tmp_path) as hub, opened(hub.config, hub.clock) as other:
        alpha = hub.join("alpha")
        octets = alpha.segment()
        hub.index.put_segment(address(octets), octets, alpha.node, hub.clock.now())
        # Put again there while it goes here: each has an object of its own, and one row says which it is.
        other.index.put_segment(address(octets), octets, alpha.node, hub.clock.now())
        assert b"".join(other.index.get_segment(address(octets))) == octets
        assert len(list(other.index._files.names())) == 1
        # The server keeps them as they are: sealed octets do not get smaller.
        storage = (
            "SELECT attstorage::text FROM pg_attribute"
            " WHERE attrelid = 'objects'::regclass AND attname = 'octets'"
        )
        with hub.store.read() as tx:
            assert tx.objects._connection.exec_driver_sql(storage).scalar() == "e"


def test_what_a_crash_left_is_swept_and_what_is_on_its_way_is_not(hub: Office) -> None:
    alpha = hub.join("alpha")
    octets = alpha.segment()
    old = int((hub.clock.now() - GRACE - timedelta(hours=1)).timestamp() * 1000)
    fresh = int((hub.clock.now() - timedelta(hours=1)).timestamp() * 1000)
    rows = SegmentRows(hub.store, hub.clock.now)
    hub.index._files = rows
    hub.index.put_segment(address(octets), octets, alpha.node, hub.clock.now())
    with hub.store.write() as tx:
        tx.objects.put(SEGMENTS, f"{'ab' * 32}-{old}-00", b"left by a crash")
        tx.objects.put(SEGMENTS, f"{'cd' * 32}-{fresh}-00", b"on its way")
    hub.clock.advance(hours=1)
    assert hub.index.sweep(hub.clock.now()) == 1
    assert sorted(name[:2] for name in rows.names()) == sorted(["cd", address(octets).hex()[:2]])
    hub.clock.advance(hours=60)
    assert hub.index.sweep(hub.clock.now()) == 1
    assert b"".join(hub.index.get_segment(address(octets))) == octets
