"""Traces for a collector that speaks OTLP: calls and transactions, by name and duration, nothing else.

Rules of this file:
- off unless `traces_endpoint` names a collector; until then nothing of OpenTelemetry is imported;
- a span has a name of a fixed set and no attributes: no member, no id, no text, no exception;
- nothing is taken over from a caller: what a peer says of its own traces would be a channel into ours;
- a collector that is away costs nothing: spans are dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from candor_proto.errors import ConfigInvalid

QUEUE, BATCH, EXPORT_SECONDS = 2_048, 256, 5.0
Span = Callable[[str], Callable[[], None]]


def nothing(_name: str) -> Callable[[], None]:
    """No traces are made."""
    return _done


def _done() -> None:
    return None


class Traces:
    """Spans to a collector; `span` may be called from every thread, `close` once."""

    def __init__(self, service: str, names: frozenset[str], exporter: Any = None, endpoint: str = "") -> None:
        """`names` are the spans there may be. `exporter` stands in place of one to `endpoint` in tests.

        Raises ConfigInvalid when the extra is not installed.
        """
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

                insecure = endpoint.startswith("http://")
                exporter = OTLPSpanExporter(endpoint, insecure=insecure, timeout=EXPORT_SECONDS)
        except ImportError:
            raise ConfigInvalid(
                "traces_endpoint is set, and OpenTelemetry is not installed.",
                remedy="Install candor-exchange[otel], or leave the setting out.",
            ) from None
        # Not Resource.create: that adds what the environment says, the host and the command line.
        self._exporter = exporter
        self._provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=QUEUE, max_export_batch_size=BATCH)
        )
        self._tracer = self._provider.get_tracer("candor")
        self._names = names

    def span(self, name: str) -> Callable[[], None]:
        """Begin a span, a root of its own; what is returned ends it."""
        from opentelemetry.context import Context

        known = name if name in self._names else "other"
        return self._tracer.start_span(known, context=Context()).end

    def close(self) -> None:
        """Send what there is, for a few seconds at most. Blocks."""
        # The library's flush knows no end: a collector that is away is tried again for every batch.
        timer = threading.Timer(EXPORT_SECONDS, self._exporter.shutdown)
        timer.daemon = True
        timer.start()
        try:
            self._provider.shutdown()
        finally:
            timer.cancel()
            timer.join()
