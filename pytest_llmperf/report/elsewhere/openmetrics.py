"""A run as metrics for Prometheus: the text file that node_exporter's textfile collector picks up.

That collector reads the older text format and refuses time stamps, other scrapers read OpenMetrics; the file is valid
as both, which leaves gauges without time stamps and a last line ``# EOF``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from pytest_llmperf.gates.run_verdict import RunVerdict
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.elsewhere.told import Told

_GREEN = "1 if the run was green, else 0."
_RUN = "1 for the verdict of the run, 0 for the others."
_Sample = tuple[Mapping[str, str], float | None]


def unfinished(about: Mapping[str, str]) -> str:
    """What stands in the place of the file until the run has come to its end: a run that is not green."""
    families: list[tuple[str, str, list[_Sample]]] = [
        ("llmperf_run_info", "What was judged, on what.", [(about, 1.0)]),
        ("llmperf_run_green", _GREEN, [({}, 0.0)]),
        ("llmperf_run_verdict", _RUN, [*_of_each(Status.INVALID)]),
    ]
    lines = [line for family in families for line in _family(*family)]
    return "\n".join([*lines, "# EOF"]) + "\n"


def metrics(told: Sequence[Told], whole: RunVerdict, about: Mapping[str, str], finished_s: float) -> str:
    """The whole file. ``about`` become labels of ``llmperf_run_info``; ``finished_s`` is in seconds since the epoch.

    A gate is labelled by its metric and its test, and by its number (``nth``) where a test asks for the same twice.
    Values are in the unit that the label ``unit`` names, as in ``Verdict.unit``; a value that is not known has no
    sample.
    """
    verdicts = [one.verdict for one in told]
    labelled = list(zip(_labels(told), verdicts, strict=True))
    families: list[tuple[str, str, list[_Sample]]] = [
        ("llmperf_run_info", "What was judged, on what.", [(about, 1.0)]),
        ("llmperf_run_finished_timestamp_seconds", "When the run ended.", [({}, finished_s)]),
        ("llmperf_run_green", _GREEN, [({}, float(whole.green))]),
        ("llmperf_run_verdict", _RUN, [*_of_each(whole.status)]),
        (
            "llmperf_run_gates",
            "Gates by their verdicts.",
            [({"verdict": status.value}, float(whole.counts[status])) for status in Status],
        ),
        (
            "llmperf_gate_verdict",
            "1 for the verdict of a gate, 0 for the others.",
            [(labels | more, value) for labels, one in labelled for more, value in _of_each(one.status)],
        ),
    ]
    samples: list[_Sample]
    for name, text, read in _VALUES:
        samples = [(labels | {"unit": one.unit}, read(one)) for labels, one in labelled]
        families.append((f"llmperf_gate_{name}", text, samples))
    samples = [
        (labels | {"unit": one.level_unit or one.unit, "side": side}, value)
        for labels, one in labelled
        for side, value in (("candidate", one.candidate), ("baseline", one.baseline))
    ]
    families.append(("llmperf_gate_side", "What a gate saw of the candidate and of the baseline.", samples))
    families.append(
        (
            "llmperf_gate_samples",
            "How many data a gate had.",
            [(labels, float(v.n)) for labels, v in labelled],
        )
    )
    lines = [line for family in families for line in _family(*family)]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _low(verdict: Verdict) -> float | None:
    return verdict.interval[0] if verdict.interval else None


def _high(verdict: Verdict) -> float | None:
    return verdict.interval[1] if verdict.interval else None


_VALUES = (
    ("observed", "What a gate compares with its bound.", lambda verdict: verdict.observed),
    ("interval_low", "Lower end of a gate's interval.", _low),
    ("interval_high", "Upper end of a gate's interval.", _high),
    ("bound", "A gate's bound.", lambda verdict: verdict.bound),
)


def _labels(told: Sequence[Told]) -> Iterator[dict[str, str]]:
    seen: dict[tuple[str, str], int] = {}
    for one in told:
        key = (one.verdict.metric, one.test)
        seen[key] = nth = seen.get(key, 0) + 1
        labels = {"metric": one.verdict.metric, "test": one.test}
        yield labels if nth == 1 else {**labels, "nth": f"{nth}"}


def _of_each(status: Status) -> list[tuple[dict[str, str], float]]:
    return [({"verdict": one.value}, float(one is status)) for one in Status]


def _family(name: str, text: str, samples: Sequence[_Sample]) -> Iterator[str]:
    known = [(labels, value) for labels, value in samples if value is not None and not math.isnan(value)]
    if not known:
        return
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} gauge"
    for labels, value in known:
        given = ",".join(f'{label}="{_escaped(said)}"' for label, said in labels.items())
        yield f"{name}{{{given}}} {_number(value)}" if given else f"{name} {_number(value)}"


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def _escaped(text: str) -> str:
    # Half a surrogate pair cannot be written as UTF-8, and a label has nothing else to say it with.
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return whole.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
