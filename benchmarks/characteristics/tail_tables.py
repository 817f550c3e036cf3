"""Quantiles: how often the true one lies within the bounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.characteristics.table import (
    FAIL,
    OURS,
    PASS,
    Inputs,
    Row,
    Setting,
    Table,
    Target,
    at_most,
    both_errors,
    decisions,
    row,
)
from pytest_llmperf.gates.quantile import QuantileGate
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.stats import clustered_quantile, order_statistics

Draw = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]
SHAPES: dict[str, tuple[Draw, Callable[[float], float]]] = {
    "exponential": (lambda rng, shape: rng.exponential(size=shape), lambda q: float(-np.log1p(-q))),
    "Pareto, infinite variance": (
        lambda rng, shape: (1.0 - rng.random(shape)) ** (-1.0 / 1.5),
        lambda q: float((1.0 - q) ** (-1.0 / 1.5)),
    ),
    "two humps": (
        lambda rng, shape: np.where(rng.random(shape) < 0.9, 0.0, 10.0) + rng.random(shape),
        lambda q: 10.0 + (q - 0.9) / 0.1 if q > 0.9 else q / 0.9,
    ),
}


def tails(inputs: Inputs) -> Table:
    """The budget is exactly the true quantile."""
    rows: list[Row] = []
    for q, n in ((0.95, 59), (0.95, 299), (0.95, 1000), (0.99, 299), (0.99, 1000)):
        for name, (draw, true) in SHAPES.items():
            ordered = np.sort(draw(inputs.rng, (inputs.runs, n)), axis=1)
            low, high = order_statistics.lower_rank(n, q), order_statistics.upper_rank(n, q)
            assert low is not None
            assert high is not None
            budget = true(q)
            settings: dict[str, Setting] = {"quantile": f"p{100 * q:g}", "n": n, "distribution": name}
            said = decisions(ordered[:, high - 1] <= budget, ordered[:, low - 1] > budget)
            rows.append(row(settings, OURS, said))
            plain = np.quantile(ordered, q, axis=1) <= budget
            rows.append(row(settings, "percentile ≤ budget", decisions(plain)))
    mine = [one for one in rows if one.rule == OURS]
    return Table(
        "tails",
        "A p95 or p99 exactly at its budget",
        "1 − PASS is the coverage of the upper bound, 1 − FAIL that of the lower one. Any distribution will do.",
        rows,
        [
            at_most(
                "p95 and p99 bounds at n 59, 299, 1000: coverage ≥ 95 %",
                mine,
                PASS,
                0.05,
                "not covered",
                noise=True,
            ),
            at_most("the same, lower bound", mine, FAIL, 0.05, "not covered", noise=True),
            _refused(),
        ],
    )


def grouped(inputs: Inputs) -> Table:
    """Token gaps of one round resemble each other."""
    rows: list[Row] = []
    runs, q = min(inputs.runs, 4000), 0.95
    for groups, size in ((10, 40), (20, 40), (40, 40)):
        for alike in (0.0, 0.3):
            mood = alike * inputs.rng.standard_normal((runs, groups, 1))
            values = np.exp(mood + inputs.rng.standard_normal((runs, groups, size)))
            budget = float(np.exp(1.6448536 * np.hypot(1.0, alike)))
            settings: dict[str, Setting] = {
                "groups": groups,
                "samples a group": size,
                "spread of the groups": alike,
            }
            bounds = [clustered_quantile.bounds(run, q)[:2] for run in values.tolist()]
            low = np.array([-np.inf if one is None else one for one, _ in bounds])
            high = np.array([np.inf if one is None else one for _, one in bounds])
            rows.append(row(settings, OURS, decisions(high <= budget, low > budget)))
            ordered = np.sort(values.reshape(runs, -1), axis=1)
            n = ordered.shape[1]
            least, most = order_statistics.lower_rank(n, q), order_statistics.upper_rank(n, q)
            assert least is not None
            assert most is not None
            naive = decisions(ordered[:, most - 1] <= budget, ordered[:, least - 1] > budget)
            rows.append(row(settings, "every sample counted as independent", naive))
    mine = [one for one in rows if one.rule == OURS]
    question = "p95 of samples in groups, truth at the budget"
    return Table(
        "grouped",
        "A p95 of samples that come in groups",
        "The spread of the groups is that of their logarithms, beside 1 inside a group.",
        rows,
        both_errors(question, mine, 0.05),
    )


def _refused() -> Target:
    few = {(0.95, 58), (0.99, 298)}
    enough = {(0.95, 59), (0.99, 299)}
    said = {(q, n): _gate(n, q).judge().status for q, n in few | enough}
    reached = all((said[key] is Status.INVALID) == (key in few) for key in said)
    measured = ", ".join(f"p{100 * q:g} from {n}: {said[q, n].value}" for q, n in sorted(said))
    return Target("p95 and p99 below 59 and 299 samples", "refused", measured, reached)


def _gate(n: int, q: float) -> QuantileGate:
    samples = [float(k + 1) for k in range(n)]
    return QuantileGate(metric="ttft", samples=samples, bound=5.0, q=q, unit="s", at_least=False)
