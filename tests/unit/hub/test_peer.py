"""Admission where a real connection cannot show it (tests/integration/test_hub_peer.py has the rest)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from candor_hub.peer import admit_anybody
from candor_proto.errors import CertificateRefused


class Connection:
    def __init__(self, **auth_context: list[bytes]) -> None:
        self._auth_context = auth_context

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._auth_context


@pytest.mark.parametrize("connection", [Connection(ssl_tls_version=[b"TLSv1.2"]), Connection()])
def test_enrolment_over_an_older_tls_is_refused(connection: Any) -> None:
    with pytest.raises(CertificateRefused):
        asyncio.run(admit_anybody("Enrol", connection))


def test_enrolment_over_tls_1_3_is_open_to_anybody() -> None:
    connection: Any = Connection(ssl_tls_version=[b"TLSv1.3"])
    asyncio.run(admit_anybody("Enrol", connection))
