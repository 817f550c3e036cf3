"""Gate model, quantisation and engine upgrades with pytest.

What a suite imports from here::

    from pytest_llmperf import Slo, points

Everything else arrives through fixtures; ``docs/`` lists them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Exporter",
    "FileExporter",
    "Metric",
    "RunResults",
    "Slo",
    "Status",
    "Verdict",
    "points",
    "register_metric",
]

if TYPE_CHECKING:
    from pytest_llmperf.gates.estimand import points
    from pytest_llmperf.gates.verdict import Status, Verdict
    from pytest_llmperf.load.goodput import Slo
    from pytest_llmperf.load.metrics import Metric
    from pytest_llmperf.load.metrics import register as register_metric
    from pytest_llmperf.report.exporters.base import Exporter, FileExporter, RunResults


def __getattr__(name: str) -> Any:
    # Lazy, because a plugin that is installed but idle must cost nothing (PEP 562).
    if name == "points":
        from pytest_llmperf.gates.estimand import points

        return points
    if name == "Slo":
        from pytest_llmperf.load.goodput import Slo

        return Slo
    if name in {"Metric", "register_metric"}:
        from pytest_llmperf.load import metrics

        return metrics.Metric if name == "Metric" else metrics.register
    if name in {"Status", "Verdict"}:
        from pytest_llmperf.gates import verdict

        return getattr(verdict, name)
    if name in {"Exporter", "FileExporter", "RunResults"}:
        from pytest_llmperf.report.exporters import base

        return getattr(base, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
