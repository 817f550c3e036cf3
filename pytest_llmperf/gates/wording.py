"""Counts in a sentence, and the table of numbers under the sentence of a verdict."""

from __future__ import annotations

from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.units import format_bound, format_interval, format_value


def plural(count: int, noun: str) -> str:
    """``1 item``, ``400 items``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def about(count: int) -> str:
    """A planned number without digits that it does not have: 21144 → ``22,000``; never rounded down."""
    step = 10 ** max(0, len(str(count)) - 2)
    return f"{-(-count // step) * step:,}"


def status_words(verdict: Verdict) -> str:
    """``FAIL``, ``FAIL (waived)``, ``PASS (advisory)``."""
    kind = " (waived)" if verdict.waived else " (advisory)" if verdict.advisory else ""
    return f"{verdict.status.value}{kind}"


def excuse(verdict: Verdict) -> str:
    """Why the verdict does not count: ``advisory: …``, ``waived until 2026-12-31: …``; empty for one that counts."""
    return (
        f"advisory: {verdict.advisory}" if verdict.advisory else verdict.waived and f"waived {verdict.waived}"
    )


def table(verdict: Verdict) -> str:
    """The numbers behind a verdict, one a line, those that are unknown left out."""
    unit = verdict.unit
    level = "share" if unit == "points" else unit
    rows: list[tuple[str, str]] = [("metric", verdict.metric)]
    for name, value in (("candidate", verdict.candidate), ("baseline", verdict.baseline)):
        if value is not None:
            rows.append((name, format_value(value, verdict.level_unit or level)))
    if verdict.observed is not None:
        rows.append(("observed", format_value(verdict.observed, unit)))
    if verdict.interval is not None:
        rows.append(("interval", format_interval(verdict.interval, unit)))
    if verdict.bound is not None:
        rows.append(("bound", format_bound(verdict.bound, unit)))
    rows.append(("n", str(verdict.n)))
    if verdict.n_needed is not None:
        rows.append(("n needed", str(verdict.n_needed)))
    rows.append(("method", verdict.method))
    if verdict.origin:
        rows.append(("bound from", verdict.origin))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)
