"""A run as metrics for Prometheus: the text file that node_exporter's textfile collector picks up.

That collector reads the older text format and refuses time stamps; other scrapers read OpenMetrics. The file is valid
as both, which leaves gauges without time stamps and a last line ``# EOF``. (prometheus_client's own writer emits the
one or the other.)
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.exporters.base import FileExporter, LocatedVerdict, RunResults

_GREEN = "1 if the run was green, else 0."
_RUN = "1 for the verdict of the run, 0 for the others."
_INFO = "What was judged, on what."
_Sample = tuple[Mapping[str, str], float | None]
_Family = tuple[str, str, Sequence[_Sample]]
"""Name, help text and samples."""


class PrometheusExporter(FileExporter):
    """Writes the file of ``--llmperf-metrics``."""

    def unfinished(self, about: Mapping[str, str]) -> str:
        """Return a run that is not green."""
        return _file(
            [
                ("llmperf_run_info", _INFO, [(about, 1.0)]),
                ("llmperf_run_green", _GREEN, [({}, 0.0)]),
                ("llmperf_run_verdict", _RUN, [*_each_status(Status.INVALID)]),
            ]
        )

    def text(self, results: RunResults) -> str:
        return metrics(results)


def metrics(results: RunResults) -> str:
    """Return the whole file.

    A gate is labelled by its metric and its test, and by its number (``nth``) where a test asks for the same twice.
    Values are in the unit that the label ``unit`` names, as in ``Verdict.unit``; a value that is not known has no
    sample.
    """
    whole = results.verdict
    gates = [
        (labels, gate.verdict) for labels, gate in zip(_labels(results.gates), results.gates, strict=True)
    ]
    families: list[_Family] = [
        ("llmperf_run_info", _INFO, [(results.about, 1.0)]),
        (
            "llmperf_run_finished_timestamp_seconds",
            "When the run ended.",
            [({}, results.finished_s)],
        ),
        ("llmperf_run_green", _GREEN, [({}, float(whole.green))]),
        ("llmperf_run_verdict", _RUN, [*_each_status(whole.status)]),
        (
            "llmperf_run_gates",
            "Gates by their verdicts.",
            [({"verdict": status.value}, float(whole.counts[status])) for status in Status],
        ),
        ("llmperf_run_waived", "Gates that a waiver lets through.", [({}, float(whole.waived))]),
        (
            "llmperf_run_advisory_failed",
            "Advisory gates that did not pass.",
            [({}, float(whole.advisory_failed))],
        ),
        (
            "llmperf_gate_excused",
            "1 for a gate that is advisory or waived, which does not count.",
            [
                (labels | {"by": "advisory" if gate.advisory else "waiver"}, 1.0)
                for labels, gate in gates
                if gate.excused
            ],
        ),
        (
            "llmperf_gate_verdict",
            "1 for the verdict of a gate, 0 for the others.",
            [(labels | more, value) for labels, gate in gates for more, value in _each_status(gate.status)],
        ),
    ]
    for name, text, value_of in _VALUES:
        samples: list[_Sample] = [(labels | {"unit": gate.unit}, value_of(gate)) for labels, gate in gates]
        families.append((f"llmperf_gate_{name}", text, samples))
    families += [
        (
            "llmperf_gate_side",
            "What a gate saw of the candidate and of the baseline.",
            [
                (labels | {"unit": gate.level_unit or gate.unit, "side": side}, value)
                for labels, gate in gates
                for side, value in (("candidate", gate.candidate), ("baseline", gate.baseline))
            ],
        ),
        (
            "llmperf_gate_samples",
            "How many data a gate had.",
            [(labels, float(gate.n)) for labels, gate in gates],
        ),
    ]
    return _file(families)


_VALUES: tuple[tuple[str, str, Callable[[Verdict], float | None]], ...] = (
    ("observed", "What a gate compares with its bound.", lambda gate: gate.observed),
    ("interval_low", "Lower end of a gate's interval.", lambda gate: gate.interval and gate.interval[0]),
    ("interval_high", "Upper end of a gate's interval.", lambda gate: gate.interval and gate.interval[1]),
    ("bound", "A gate's bound.", lambda gate: gate.bound),
)


def _labels(gates: Sequence[LocatedVerdict]) -> Iterator[dict[str, str]]:
    seen: Counter[tuple[str, str]] = Counter()
    for gate in gates:
        key = (gate.verdict.metric, gate.test)
        seen[key] += 1
        labels = {"metric": gate.verdict.metric, "test": gate.test}
        yield labels if seen[key] == 1 else {**labels, "nth": f"{seen[key]}"}


def _each_status(status: Status) -> list[tuple[dict[str, str], float]]:
    return [({"verdict": other.value}, float(other is status)) for other in Status]


def _file(families: Iterable[_Family]) -> str:
    lines = [line for family in families for line in _lines(*family)]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _lines(name: str, help_text: str, samples: Sequence[_Sample]) -> Iterator[str]:
    known = [(labels, value) for labels, value in samples if value is not None and not math.isnan(value)]
    if not known:
        return
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} gauge"
    for labels, value in known:
        given = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        yield f"{name}{{{given}}} {_number(value)}" if given else f"{name} {_number(value)}"


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _escaped(text: str) -> str:
    # Half a surrogate pair cannot be written as UTF-8, and a label has nothing else to say it with.
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
