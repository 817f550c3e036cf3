"""How numbers read in a sentence: units, digits, and a table under the sentence."""

from __future__ import annotations

import math

from pytest_llmperf.gates.verdict import Verdict

# decimal, as budgets are written and as hubs and vendors count
_BYTES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def show(value: float, unit: str, extra: int = 0) -> str:
    """``value`` with its unit, as people write it: ``0.712``, ``+1.2 points``, ``68.1 ms``, ``3.55 GB``.

    ``extra`` digits can be asked for where three do not tell two numbers apart.
    """
    if not math.isfinite(value):
        return f"{value} {unit}".strip()
    if unit == "share":
        plain = 0.0005 <= abs(value) <= 0.9995 or value in (0.0, 1.0)
        return f"{value:.{3 + extra}f}" if plain else f"{value:.{4 + extra}g}"
    if unit == "points":
        return f"{100 * value:+.{1 + extra}f} points"
    if unit == "ratio":
        return f"{value:.{3 + extra}f}"
    if unit == "s":
        return f"{_digits(1000 * value, extra)} ms" if abs(value) < 1.0 else f"{_digits(value, extra)} s"
    if unit == "bytes":
        for name, size in _BYTES:
            if abs(value) >= size:
                return f"{_digits(value / size, extra)} {name}"
        return f"{value:.0f} bytes"
    return f"{_digits(value, extra)} {unit}".strip()


def beside(value: float, bound: float, unit: str) -> str:
    """``value`` with as many digits as it takes to see on which side of ``bound`` it lies."""
    for extra in range(6):
        text = show(value, unit, extra)
        if text != show(bound, unit, extra):
            return text
    return show(value, unit)


def target(value: float, unit: str) -> str:
    """A bound as the engineer wrote it: no digits that were not there (``0.74``, ``70 ms``)."""
    if unit in {"share", "ratio"}:
        return f"{value:.6g}"
    if unit == "points":
        return f"{100 * value:+.6g} points"
    if unit == "s" and abs(value) < 1.0:
        return f"{1000 * value:.6g} ms"
    if unit == "bytes":
        for name, size in _BYTES:
            if abs(value) >= size:
                return f"{value / size:.6g} {name}"
    return f"{value:.6g} {unit}".strip()


def span(interval: tuple[float, float], unit: str) -> str:
    """``0.673 to 0.748``."""
    return f"{show(interval[0], unit)} to {show(interval[1], unit)}"


def percent(share: float) -> str:
    """``95 %``, ``97.5 %``, ``0.8 %``."""
    return f"{100 * share:.3g} %"


def plural(count: int, noun: str) -> str:
    """``1 item``, ``400 items``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def about(count: int) -> str:
    """A planned number without digits that it does not have: 21144 → ``22,000``; never rounded down."""
    step = 10 ** max(0, len(str(count)) - 2)
    return f"{-(-count // step) * step:,}"


def table(verdict: Verdict) -> str:
    """The numbers behind a verdict, one a line, those that are unknown left out."""
    unit = verdict.unit
    level = "share" if unit == "points" else unit
    rows: list[tuple[str, str]] = [("metric", verdict.metric)]
    for name, value in (("candidate", verdict.candidate), ("baseline", verdict.baseline)):
        if value is not None:
            rows.append((name, show(value, verdict.level_unit or level)))
    if verdict.observed is not None:
        rows.append(("observed", show(verdict.observed, unit)))
    if verdict.interval is not None:
        rows.append(("interval", span(verdict.interval, unit)))
    if verdict.bound is not None:
        rows.append(("bound", target(verdict.bound, unit)))
    rows.append(("n", str(verdict.n)))
    if verdict.n_needed is not None:
        rows.append(("n needed", str(verdict.n_needed)))
    rows.append(("method", verdict.method))
    if verdict.origin:
        rows.append(("bound from", verdict.origin))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def _digits(value: float, extra: int = 0) -> str:
    """Three significant digits, without an exponent and without cutting whole digits off."""
    if value == 0.0:
        return "0"
    decimals = max(0, 2 + extra - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 9)}f}"
