"""JUnit: properties in the report that pytest writes, which CI servers list beside a test and the suite."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.gates.wording import status_words
from pytest_llmperf.record.redaction import redact_values
from pytest_llmperf.record.verdict_json import verdict_to_json
from pytest_llmperf.report.exporters.base import Exporter, RunResults
from pytest_llmperf.units import format_bound, format_interval, format_value
from pytest_llmperf.visible_text import printable

if TYPE_CHECKING:
    import pytest

_OURS = "llmperf: "
"""Every property of the suite begins with it."""


class JunitExporter(Exporter):
    """Adds properties to the file of ``--junitxml``; without that option nobody reads them."""

    name = "JUnit"

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def test_ended(self, report: pytest.TestReport, verdicts: Sequence[Verdict]) -> None:
        """Add each verdict whole, as JSON, and in words."""
        for verdict in verdicts:
            whole = json.dumps(redact_values(verdict_to_json(verdict)))
            report.user_properties += [("llmperf_verdict", whole), *gate_properties(verdict)]

    def finish(self, results: RunResults) -> str:
        # pytest's public way is a fixture, which does not know the end of a run, nor the controller of xdist.
        for plugin in self._config.pluginmanager.get_plugins():
            add: Any = getattr(plugin, "add_global_property", None)
            if add is not None and results.relevant:
                added: list[tuple[str, str]] = getattr(plugin, "global_properties", [])
                added[:] = [entry for entry in added if not entry[0].startswith(_OURS)]
                for name, value in run_properties(results):
                    add(name, value)
        return ""


def gate_properties(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Yield ``embedded accuracy: verdict`` and ``PASS``, and so on; what the verdict does not have is left out."""
    unit = verdict.unit
    level = verdict.level_unit or unit
    values = {
        "verdict": status_words(verdict),
        "observed": None if verdict.observed is None else format_value(verdict.observed, unit),
        "interval": None if verdict.interval is None else format_interval(verdict.interval, unit),
        "bound": None if verdict.bound is None else format_bound(verdict.bound, unit),
        "candidate": None if verdict.candidate is None else format_value(verdict.candidate, level),
        "baseline": None if verdict.baseline is None else format_value(verdict.baseline, level),
        "n": f"{verdict.n}",
        "n needed": None if verdict.n_needed is None else f"{verdict.n_needed}",
        "says": verdict.why,
        "advisory": verdict.advisory or None,
        "waived": verdict.waived or None,
    }
    for name, value in values.items():
        if value is not None:
            yield printable(f"{verdict.metric}: {name}"), printable(value)


def run_properties(results: RunResults) -> Iterator[tuple[str, str]]:
    """Yield the run's verdict, every gate that is not PASS with its test, and what was compared on what device."""
    yield f"{_OURS}verdict", results.verdict.status.value
    yield f"{_OURS}green", "yes" if results.verdict.green else "no"
    yield f"{_OURS}gates", printable(results.verdict.why)
    for gate in results.gates:
        verdict = gate.verdict
        if verdict.status is not Status.PASS:
            yield (
                printable(f"{_OURS}{gate.test}: {verdict.metric}"),
                printable(f"{status_words(verdict)}: {verdict.why}"),
            )
    for number, line in enumerate([*results.verdict.let_through, *results.notes], 1):
        yield f"{_OURS}let through {number}", printable(line)
    for name, value in {**results.about, **results.files}.items():
        yield f"{_OURS}{name}", printable(value)
