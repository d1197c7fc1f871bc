"""A Prometheus endpoint that shows a program's figures."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from audio_avif.edge import console
from audio_avif.errors import ConnectionFailed
from audio_avif.optional import import_optional
from audio_avif_stream.telemetry.figures import FigureTable

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

LOOPBACK = "127.0.0.1"

Figures = Callable[[], dict[str, Any] | None]
"""Called in another thread, at any time: returns a dict that nobody changes any more, or None while there are none."""


class _Collector:
    """Reads the figures when they are asked for, and names them as Prometheus does."""

    def __init__(self, figures: Figures, table: FigureTable) -> None:
        self._figures = figures
        self._table = table

    def collect(self) -> Iterable[Metric]:
        """The figures there are now; one that is None is left out."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        values = {key: value for key, value in (self._figures() or {}).items() if value is not None}
        for key, figure in self._table.items():
            if key not in values or figure.kind == "info":
                continue
            family = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
            yield family(self._table.metric(key), figure.help, values[key] * figure.per_base_unit)
        labels = {
            key: str(values[key]) for key, figure in self._table.items() if figure.kind == "info" and key in values
        }
        if labels:
            yield InfoMetricFamily(self._table.prefix, "What is running.", labels)


def serve_metrics(
    port: int, figures: Figures, table: FigureTable, *others: tuple[Figures, FigureTable], address: str = LOOPBACK
) -> Callable[[], None]:
    """Serve the figures on ``http://address:port/metrics``, 0 for any free port; return what ends it.

    ``others`` are served beside them. Raises MissingPackage without prometheus_client, ConnectionFailed where the port
    cannot be had.
    """
    prometheus_client = import_optional("prometheus_client", "--metrics", "metrics")
    registry = prometheus_client.CollectorRegistry()
    for each, its_table in ((figures, table), *others):
        registry.register(_Collector(each, its_table))
    try:
        server, thread = prometheus_client.start_http_server(port, address, registry)
    except OSError as error:
        raise ConnectionFailed(_bind_failure(error, address, port)) from error
    console.tell(f"metrics on http://{address}:{server.server_port}/metrics")

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close


def _bind_failure(error: OSError, address: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; choose another for --metrics"
    return f"cannot serve metrics on {address}:{port} ({error.strerror or error})"
