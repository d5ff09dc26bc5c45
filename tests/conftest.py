"""Set-up that every test shares."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

# Before gRPC is there: its handlers of a fork start its threads anew in the child, where they can crash
# before the program that a test starts has even begun (seen: pg_ctl, ended by a segmentation fault).
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc.aio
import pytest
from hypothesis import settings

from tests import beside
from tests.postgres import each_database, postgresql_url
from tests.statements import share_compiled
from tests.thorough import examples

__all__ = ["each_database", "postgresql_url", "pytest_terminal_summary"]

# Databases sync with each commit, and what a sync costs on a disk is for `make bench`, not for ten thousand
# tests: where memory has room for them, folders of tests are there. Processes that tests start inherit it.
MEMORY = Path("/dev/shm")
ROOM_OCTETS = 2 << 30
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_OCTETS:
    os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None

# As a hub collects garbage (candor_hub.running): federations come and go by the hundred thousand objects.
COLLECT_AFTER = (20_000, 20, 20)

# How long an example takes says more about the machine than about the code: pytest's own limit is enough.
settings.register_profile("candor", deadline=None, max_examples=examples(60, thorough=400))
settings.load_profile("candor")

# gRPC's asyncio stack starts with its first object and shuts down with its last, which joins the poller
# thread. Tests run one event loop after another, and that join was seen to hang when an object of an
# earlier loop was collected late. One reference for the whole process, as a hub or a node has it.
grpc.aio.init_grpc_aio()

share_compiled()

# What ran beside the tests, and where the time went, is told before pytest's closing line.
pytest_terminal_summary = beside.pytest_terminal_summary
pytest_runtest_setup, pytest_runtest_makereport = (
    beside.pytest_runtest_setup,
    beside.pytest_runtest_makereport,
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first, and most of that is waiting: no worker is to wait alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays to the end: no collection is to go through half a million objects, nor through
    fewer again and again while they become so many, which takes a third of the time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.set_threshold(*COLLECT_AFTER)
        gc.enable()
