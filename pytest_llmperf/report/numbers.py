"""Numbers as people write them: a value and its unit in as few characters as carry the meaning."""

from __future__ import annotations

import math

from pytest_llmperf.gates.wording import target

_SCALES = {
    "s": [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")],
    "bytes": [(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B")],
}


def show(value: float | None, unit: str = "") -> str:
    """``value`` in ``unit`` (as in ``Verdict.unit``) for a table; an em dash for None, "not finite" for NaN.

    >>> show(0.0123, "s"), show(0.783, "share"), show(-0.02, "points"), show(1.034, "ratio")
    ('12.3 ms', '78.3 %', '-2.0 pts', '×1.034')
    """
    if value is None:
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if math.isnan(value):
        return "not finite"
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit == "points":
        return f"{100 * value:+.1f} pts" if value > 0 else f"{100 * value:.1f} pts"
    if unit == "ratio":
        return f"×{value:.3f}"
    for scale, name in _SCALES.get(unit, []):
        if abs(value) >= scale:
            return f"{_three_digits(value / scale)} {name}"
    return f"{_three_digits(value)} {unit}".rstrip()


def show_interval(interval: tuple[float, float] | None, unit: str = "") -> str:
    """``low … high``, or an em dash."""
    if interval is None:
        return "—"
    return f"{show(interval[0], unit)} … {show(interval[1], unit)}"


def show_bound(bound: float | None, unit: str = "") -> str:
    """A bound in the form of :func:`show`, with the digits that the engineer wrote and no others.

    >>> show_bound(0.745, "share"), show_bound(-0.03, "points"), show_bound(0.07, "s")
    ('74.5 %', '-3 pts', '70 ms')
    """
    if bound is None:
        return "—"
    if unit in {"share", "points"}:
        return f"{100 * bound:.6g} %" if unit == "share" else f"{100 * bound:+.6g} pts"
    return f"×{bound:.6g}" if unit == "ratio" else target(bound, unit)


def _three_digits(value: float) -> str:
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"
