"""The figures of `/metrics`, in Prometheus' text form: requests of this process, and the hub's own from the database.

Labels are bounded: a request counts under its route's pattern, never under its address.
"""

from collections.abc import Iterator

from django.http import HttpRequest
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from hub.queries import figures

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

registry = CollectorRegistry()
ProcessCollector(registry=registry)
PlatformCollector(registry=registry)
REQUESTS = Counter("hub_requests", "Requests answered.", ("method", "route", "status"), registry=registry)
SECONDS = Histogram(
    "hub_request_seconds", "Seconds until the answer began.", ("route",), buckets=BUCKETS, registry=registry
)


def count(request: HttpRequest, status: int, seconds: float) -> None:
    """Note one answer."""
    match = getattr(request, "resolver_match", None)
    route = match.route if match else "unknown"
    REQUESTS.labels(request.method if request.method in METHODS else "other", route, status).inc()
    SECONDS.labels(route).observe(seconds)


def page() -> bytes:
    """Everything, as Prometheus reads it."""
    return generate_latest(registry)


class HubCollector(Collector):
    """The hub's figures at the time they are asked for."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for figure in figures.figures():
            family = GaugeMetricFamily(figure.name, figure.help, labels=figure.labels)
            for labels, value in figure.rows:
                family.add_metric(labels, value)
            yield family

    def describe(self) -> list:
        """Nothing beforehand: the database is asked for them when the page is."""
        return []


registry.register(HubCollector())
