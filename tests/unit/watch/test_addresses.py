"""Where metrics may be read, and where traces may go."""

from __future__ import annotations

import pytest

from candor_proto.errors import ConfigInvalid, MalformedMessage
from candor_watch.addresses import check_metrics_address, check_traces_endpoint


@pytest.mark.parametrize("address", ["127.0.0.1:7446", "127.9.9.9:0", "[::1]:7446", "localhost:7446"])
def test_this_machine_may_always_read(address: str) -> None:
    check_metrics_address(address, allow_remote=False)


@pytest.mark.parametrize(
    "address", ["0.0.0.0:7446", "[::]:7446", "10.1.2.3:7446", "hub.example.org:7446", "localhost.example:1"]
)
def test_an_address_that_other_machines_reach_wants_a_setting(address: str) -> None:
    with pytest.raises(ConfigInvalid, match="nobody signs in"):
        check_metrics_address(address, allow_remote=False)
    check_metrics_address(address, allow_remote=True)


@pytest.mark.parametrize("address", ["7446", "127.0.0.1", "127.0.0.1:70000", "a b:1", ":7446"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(MalformedMessage):
        check_metrics_address(address, allow_remote=True)


@pytest.mark.parametrize(
    "endpoint", ["http://collector.example:4317", "http://10.0.0.1:4317", "http://[2001:db8::1]:4317"]
)
def test_traces_leave_this_machine_encrypted_only(endpoint: str) -> None:
    with pytest.raises(ConfigInvalid, match="not encrypted"):
        check_traces_endpoint(endpoint)
    check_traces_endpoint(endpoint.replace("http:", "https:"))


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4317", "http://[::1]:4317", "http://localhost:4317/"])
def test_a_collector_on_this_machine_needs_no_encryption(endpoint: str) -> None:
    check_traces_endpoint(endpoint)


@pytest.mark.parametrize(
    "endpoint",
    ["collector:4317", "grpc://127.0.0.1:4317", "http://", "https://a:b@c:1", "https://c:1/x", "http://c:x"],
)
def test_what_is_no_collector_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigInvalid, match="no address of a collector"):
        check_traces_endpoint(endpoint)
