"""Set-up that every test shares."""

from __future__ import annotations

import grpc.aio
from hypothesis import settings

from tests.postgres import each_database, postgresql_url

__all__ = ["each_database", "postgresql_url"]

# How long an example takes says more about the machine than about the code: pytest's own limit is enough.
settings.register_profile("candor", deadline=None)
settings.load_profile("candor")

# gRPC's asyncio stack starts with its first object and shuts down with its last, which joins the poller
# thread. Tests run one event loop after another, and that join was seen to hang when an object of an
# earlier loop was collected late. One reference for the whole process, as a hub or a node has it.
grpc.aio.init_grpc_aio()
