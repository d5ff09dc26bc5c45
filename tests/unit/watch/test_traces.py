"""Traces: off by default, and on only names and durations."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from candor_hub.metrics import HubMetrics
from candor_proto.errors import ConfigInvalid
from candor_watch import traces as traces_module
from candor_watch.traces import Traces

PERSON = "Quillon Abernathy-Zhu"


def test_spans_have_a_name_of_ours_and_nothing_else() -> None:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    traces = Traces("candor-hub", frozenset({"/candor.v1.HubService/Submit", "accept"}), kept)
    counters = HubMetrics(traces.span)
    for name in ("/candor.v1.HubService/Submit", "accept", f"lookup of {PERSON}"):
        counters.span(name)()
    traces.close()
    spans = kept.get_finished_spans()
    assert [span.name for span in spans] == ["/candor.v1.HubService/Submit", "accept", "other"]
    for span in spans:
        assert dict(span.attributes or {}) == {}
        assert not span.events
        assert not span.links
        assert span.parent is None
        assert dict(span.resource.attributes) == {"service.name": "candor-hub"}
        assert "Quillon" not in span.to_json()


def test_nothing_of_opentelemetry_is_imported_while_it_is_off() -> None:
    program = (
        "import sys, candor_hub.app, candor_node.metrics\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_the_extra_the_setting_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigInvalid, match="not installed"):
        Traces("candor-hub", frozenset(), endpoint="http://127.0.0.1:4317")


def test_a_collector_that_is_away_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces_module, "EXPORT_SECONDS", 1.0)
    before = set(threading.enumerate())
    traces = Traces("candor-hub", frozenset({"accept"}), endpoint="http://127.0.0.1:9")
    try:
        began = time.monotonic()
        for _ in range(5_000):
            traces.span("accept")()
        assert time.monotonic() - began < 2
    finally:
        began = time.monotonic()
        traces.close()
    # A hub that stops waits for no collector, and nothing goes on trying behind it.
    assert time.monotonic() - began < 10
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []
