"""/metrics: our catalogue through opentelemetry-sdk in Prometheus' text format."""

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from core.telemetry import Telemetry


class Metrics:
    """The catalogue of one process, readable as Prometheus text; a registry of its own, nothing global."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, *, telemetry: Telemetry, version: str) -> None:
        self._registry = CollectorRegistry()
        resource = Resource.create({"service.name": "clearwatch", "service.version": version})
        reader = PrometheusMetricReader(registry=self._registry)
        self._provider = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
        telemetry.bind(self._provider.get_meter("clearwatch", version))

    def text(self) -> bytes:
        """Return every metric now."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """Stop reading."""
        self._provider.shutdown()
