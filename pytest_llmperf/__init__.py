"""Gate model, quantisation and engine upgrades with pytest.

The names below are the public interface for suites, ``conftest.py`` files and plugins::

    from pytest_llmperf import Slo, points

Everything else arrives through fixtures (``docs/fixtures.md``) or is private and may move.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from pytest_llmperf.engines.base import Engine as Engine
    from pytest_llmperf.engines.base import Milestones as Milestones
    from pytest_llmperf.engines.base import known_failure as known_failure
    from pytest_llmperf.engines.probe import PORT as PORT
    from pytest_llmperf.engines.probe import Probe as Probe
    from pytest_llmperf.errors import DataError as DataError
    from pytest_llmperf.errors import InfrastructureError as InfrastructureError
    from pytest_llmperf.errors import LlmperfError as LlmperfError
    from pytest_llmperf.errors import NotMeasured as NotMeasured
    from pytest_llmperf.errors import UsageError as UsageError
    from pytest_llmperf.gates.base import Estimand as Estimand
    from pytest_llmperf.gates.base import Gate as Gate
    from pytest_llmperf.gates.bound import points as points
    from pytest_llmperf.gates.decision import invalid as invalid
    from pytest_llmperf.gates.verdict import Status as Status
    from pytest_llmperf.gates.verdict import Verdict as Verdict
    from pytest_llmperf.load.goodput import Slo as Slo
    from pytest_llmperf.load.metrics import Metric as Metric
    from pytest_llmperf.load.metrics import register_metric as register_metric
    from pytest_llmperf.record.model import Record as Record
    from pytest_llmperf.record.store import read_record as read_record
    from pytest_llmperf.report.exporters.base import Exporter as Exporter
    from pytest_llmperf.report.exporters.base import FileExporter as FileExporter
    from pytest_llmperf.report.exporters.base import RunResults as RunResults
    from pytest_llmperf.tasks.grading import Grade as Grade
    from pytest_llmperf.tasks.grading import Outcome as Outcome
    from pytest_llmperf.tasks.grading.choice import grade_choice as grade_choice
    from pytest_llmperf.tasks.grading.structured import grade_structured as grade_structured
    from pytest_llmperf.tasks.grading.symbolic import grade_symbolic as grade_symbolic
    from pytest_llmperf.tasks.grading.tool_calls import grade_tool_calls as grade_tool_calls
    from pytest_llmperf.tasks.request import Generation as Generation
    from pytest_llmperf.tasks.request import ReplyMessage as ReplyMessage
    from pytest_llmperf.tasks.source import DataFile as DataFile
    from pytest_llmperf.tasks.source import HubSplit as HubSplit
    from pytest_llmperf.tasks.task import Item as Item
    from pytest_llmperf.tasks.task import Shot as Shot
    from pytest_llmperf.tasks.task import Task as Task

_NAMES = {
    "engines.base": ("Engine", "Milestones", "known_failure"),
    "engines.probe": ("PORT", "Probe"),
    "errors": ("DataError", "InfrastructureError", "LlmperfError", "NotMeasured", "UsageError"),
    "gates.base": ("Estimand", "Gate"),
    "gates.decision": ("invalid",),
    "gates.bound": ("points",),
    "gates.verdict": ("Status", "Verdict"),
    "load.goodput": ("Slo",),
    "load.metrics": ("Metric", "register_metric"),
    "record.model": ("Record",),
    "record.store": ("read_record",),
    "report.exporters.base": ("Exporter", "FileExporter", "RunResults"),
    "tasks.grading": ("Grade", "Outcome"),
    "tasks.grading.choice": ("grade_choice",),
    "tasks.grading.structured": ("grade_structured",),
    "tasks.grading.symbolic": ("grade_symbolic",),
    "tasks.grading.tool_calls": ("grade_tool_calls",),
    "tasks.request": ("Generation", "ReplyMessage"),
    "tasks.source": ("DataFile", "HubSplit"),
    "tasks.task": ("Item", "Shot", "Task"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    # Imported at first use (PEP 562): a plugin that is installed but idle must cost nothing.
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
