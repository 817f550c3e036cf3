"""Verdicts as plain JSON values: the form in which they cross process borders and enter the record."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_llmperf.gates.run_verdict import RunVerdict, run_verdict
from pytest_llmperf.gates.verdict import Status, Verdict


def _finite(value: Any) -> Any:
    # JSON has no NaN; "not a number" is said by null, and by the verdict's own sentence.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def verdict_to_json(verdict: Verdict) -> dict[str, Any]:
    """A dictionary of strings, finite numbers, lists and None."""
    fields = {f.name: _finite(getattr(verdict, f.name)) for f in dataclasses.fields(verdict)}
    fields["status"] = verdict.status.value
    if verdict.interval is not None:
        fields["interval"] = [_finite(end) for end in verdict.interval]
    return fields


def verdict_from_json(fields: Mapping[str, Any]) -> Verdict:
    """The inverse of :func:`verdict_to_json`, but for NaN, which returns as None.

    Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything that is not a verdict.
    """
    # A record says as well which test asked; a verdict knows only what was asked.
    values = {name: value for name, value in fields.items() if name != "test"}
    values["status"] = Status(values["status"])
    if values.get("interval") is not None:
        low, high = values["interval"]
        values["interval"] = (
            -math.inf if low is None else float(low),
            math.inf if high is None else float(high),
        )
    return Verdict(**values)


def whole_run(record: Mapping[str, Any], verdicts: Sequence[Verdict]) -> RunVerdict:
    """What came of the run of ``record``, whose gates are ``verdicts``; of a partial one nothing good.

    A record that is older than the key ``run`` is judged by its verdicts alone.
    """
    about = record.get("run") or {}
    problems = list(about.get("problems", ()))
    if partial := record.get("partial"):
        problems.append(f"the run is partial: {partial}")
    whole = run_verdict(
        verdicts,
        inconclusive=about.get("inconclusive", "fail"),
        problems=problems,
        failures=about.get("failures", ()),
        checks=int(about.get("checks", 0)),
    )
    return whole if about.get("green", whole.green) == whole.green else replace(whole, green=False)


def whole_run_of(record: Mapping[str, Any]) -> RunVerdict:
    """The same, for those who need no more of the verdicts than their status."""
    verdicts = [
        Verdict(
            Status(one["status"]), str(one["metric"]), None, None, None, 0, None, "", str(one.get("why", ""))
        )
        for one in record.get("verdicts", ())
    ]
    return whole_run(record, verdicts)
