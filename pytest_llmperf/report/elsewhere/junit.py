"""Properties for a JUnit report, which CI servers list beside a test: names and values that people can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmperf.gates.run_verdict import RunVerdict
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.elsewhere.told import Told
from pytest_llmperf.report.html.text import visible
from pytest_llmperf.report.numbers import show, show_bound, show_interval

Properties = Iterator[tuple[str, str]]


def of_gate(verdict: Verdict) -> Properties:
    """``embedded accuracy: verdict`` → ``PASS``, and so on; what the verdict does not have is left out."""
    unit = verdict.unit
    level = verdict.level_unit or unit
    values = {
        "verdict": verdict.status.value,
        "observed": None if verdict.observed is None else show(verdict.observed, unit),
        "interval": None if verdict.interval is None else show_interval(verdict.interval, unit),
        "bound": None if verdict.bound is None else show_bound(verdict.bound, unit),
        "candidate": None if verdict.candidate is None else show(verdict.candidate, level),
        "baseline": None if verdict.baseline is None else show(verdict.baseline, level),
        "n": f"{verdict.n}",
        "n needed": None if verdict.n_needed is None else f"{verdict.n_needed}",
        "says": verdict.why,
    }
    for name, value in values.items():
        if value is not None:
            yield visible(f"{verdict.metric}: {name}"), visible(value)


def of_run(told: Sequence[Told], whole: RunVerdict, about: Mapping[str, Any]) -> Properties:
    """For the whole suite: the run's verdict, every gate that is not PASS with its test, and ``about`` (what was judged
    on what).
    """
    yield "llmperf: verdict", whole.status.value
    yield "llmperf: green", "yes" if whole.green else "no"
    yield "llmperf: gates", visible(whole.why)
    for one in told:
        if one.verdict.status is not Status.PASS:
            said = f"{one.verdict.status}: {one.verdict.why}"
            yield visible(f"llmperf: {one.test}: {one.verdict.metric}"), visible(said)
    for name, value in about.items():
        yield f"llmperf: {name}", visible(str(value))
