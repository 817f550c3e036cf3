"""Verdicts as plain JSON values, for the ledger's events, the record and JUnit properties. The only codec."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.json_values import Json


def _finite(value: Any) -> Any:
    # JSON has no NaN; the verdict's own sentence explains the null.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def verdict_to_json(verdict: Verdict) -> dict[str, Json]:
    """A dictionary of strings, finite numbers, lists and None."""
    fields = {f.name: _finite(getattr(verdict, f.name)) for f in dataclasses.fields(verdict)}
    fields["status"] = verdict.status.value
    if verdict.interval is not None:
        fields["interval"] = [_finite(end) for end in verdict.interval]
    return fields


def verdict_from_json(fields: Mapping[str, object]) -> Verdict:
    """The inverse of :func:`verdict_to_json`, but for NaN, which returns as None.

    Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything that is not a verdict.
    """
    # A record also names the test.
    values: Any = {name: value for name, value in fields.items() if name != "test"}
    values["status"] = Status(values["status"])
    if values.get("interval") is not None:
        low, high = values["interval"]
        values["interval"] = (
            -math.inf if low is None else float(low),
            math.inf if high is None else float(high),
        )
    if values.get("flips_interval") is not None:
        values["flips_interval"] = tuple(map(float, values["flips_interval"]))
    return Verdict(**values)
