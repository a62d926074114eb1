"""What monitoring reads: requests, their time, and which version answers (Prometheus)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

if TYPE_CHECKING:
    from pinsage.serving.opened import Opened

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The counters of one server, in a registry of their own.

    A label is a route, never a path, so that no request makes a new series.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "pinsage_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "pinsage_request_seconds",
            "From the request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "pinsage_requests_in_flight", "Requests not answered yet.", registry=registry
        )
        self.switches = Counter("pinsage_switches", "Versions switched to.", registry=registry)
        self.failed_loads = Counter(
            "pinsage_failed_loads", "Versions that could not be opened.", registry=registry
        )
        self.num_items = Gauge(
            "pinsage_items", "Items of the version that answers.", registry=registry
        )
        self._version = Gauge(
            "pinsage_version_info",
            "1 for the version that answers.",
            ["name", "version", "index"],
            registry=registry,
        )

    def serve(self, name: str, opened: Opened) -> None:
        """Say which version answers from now on."""
        self._version.clear()
        self._version.labels(name, opened.version, opened.index_kind).set(1)
        self.num_items.set(len(opened.ids))

    def page(self) -> bytes:
        """The text that is scraped."""
        return generate_latest(self._registry)

    def total(self, counter: Counter) -> int:
        """The value of a counter without labels."""
        return int(next(iter(counter.collect())).samples[0].value)
