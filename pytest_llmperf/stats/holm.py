"""Holm's step-down correction: which of several failures can be named without blaming one by chance."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.stats import arguments


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values in the order given; reject those at or below the family-wise level.

    Holm (1979), Scandinavian Journal of Statistics 6, 65. Holds under any dependence between the tests.
    """
    values = [arguments.share("p value", value) for value in p_values]
    order = sorted(range(len(values)), key=values.__getitem__)
    result, running = [0.0] * len(values), 0.0
    for position, index in enumerate(order):
        running = max(running, min(1.0, (len(values) - position) * values[index]))
        result[index] = running
    return result


def without_clear(p_values: Sequence[float], clear: float) -> list[float]:
    """Adjusted p-values where those above ``clear`` leave the family, and the others are divided by it; 1 for the rest.

    A test whose null hypothesis is clearly true then costs the others nothing. Zhao, Small and Su (2019), Journal of
    the American Statistical Association 114, 1291: proved for independent tests; for dependent ones by simulation.
    """
    level = arguments.inside("clear", clear, 0.0, 1.0)
    kept = [index for index, value in enumerate(p_values) if value <= level]
    result = [1.0] * len(p_values)
    for index, value in zip(kept, adjusted([p_values[index] / level for index in kept]), strict=True):
        result[index] = value
    return result
