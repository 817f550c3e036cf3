"""Shares against a fixed bound, and items that were each answered several times."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.characteristics.table import (
    CODES,
    OURS,
    Decisions,
    Inputs,
    Row,
    Setting,
    Table,
    both_errors,
    decisions,
    row,
)
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.stats import binomial, operating_characteristics


def floors(inputs: Inputs) -> Table:
    """A model exactly at its floor, and one five points below it."""
    rows: list[Row] = []
    for floor, truth in ((0.74, 0.74), (0.95, 0.95), (0.74, 0.69)):
        for n in (50, 100, 200, 400, 1319):
            right = inputs.rng.binomial(n, truth, size=inputs.runs)
            settings: dict[str, Setting] = {"floor": floor, "truth": truth, "n": n}
            rows.append(row(settings, OURS, _exact(right, n, floor)))
            rows.append(row(settings, "Wilson", _wilson(right, n, floor)))
            rows.append(row(settings, "fixed: share ≥ floor", decisions(right / n >= floor)))
            rows.append(row(settings, "vLLM gsm8k (floor − 0.08)", decisions(right / n >= floor - 0.08)))
    mine = [one for one in rows if one.rule == OURS and one.settings["floor"] == one.settings["truth"]]
    question = "share exactly at its floor, n 50 to 1319"
    return Table(
        "floors",
        "A share against a floor",
        "Over every n from 50 to 1319 and floors of 0.50 to 0.95, by enumeration, FAIL at the floor in up to: "
        + _worst_sizes(),
        rows,
        both_errors(question, mine, 0.05),
    )


def sampled(inputs: Inputs) -> Table:
    """Four answers an item, as sampling needs: the items are the sample, not the answers."""
    rows: list[Row] = []
    runs, k = min(inputs.runs, 4000), 4
    for n in (50, 200, 500):
        for alike in (0.3, 0.7):
            ability = _abilities(inputs.rng, (runs, n), 0.74, alike)
            right = inputs.rng.binomial(k, ability)
            settings: dict[str, Setting] = {"question": "at the floor 0.74", "items": n, "likeness": alike}
            rows.append(row(settings, OURS, np.array([_floor_gate(one, k) for one in right], dtype=np.int8)))
            naive = _exact(right.sum(axis=1), n * k, 0.74)
            rows.append(row(settings, "every answer counted as independent", naive))
            theirs = inputs.rng.binomial(k, ability)
            # a loss of 3 points on every item that has them to lose, made up on the others: 3 in the mean
            lowered = _lowered(ability, 0.03)
            mine = inputs.rng.binomial(k, lowered)
            settings = {"question": "3 points worse, margin 3", "items": n, "likeness": alike}
            said = [_paired_gate(a, b, k) for a, b in zip(mine, theirs, strict=True)]
            rows.append(row(settings, OURS, np.array(said, dtype=np.int8)))
    mine_rows = [one for one in rows if one.rule == OURS]
    question = "four answers an item, truth on the bound"
    return Table(
        "sampled",
        "Four answers an item",
        "Likeness is the correlation of two answers to one item.",
        rows,
        both_errors(question, mine_rows, 0.05),
    )


def _exact(right: NDArray[np.int64], n: int, floor: float) -> Decisions:
    fewest, most = operating_characteristics.floor_counts(n, floor)
    passes = right >= (n + 1 if fewest is None else fewest)
    return decisions(passes, right <= (-1 if most is None else most))


def _wilson(right: NDArray[np.int64], n: int, floor: float) -> Decisions:
    low = np.array([binomial.wilson_lower(k, n) for k in range(n + 1)])
    high = np.array([binomial.wilson_upper(k, n) for k in range(n + 1)])
    return decisions(low[right] >= floor, high[right] < floor)


def _worst_sizes() -> str:
    """Worst chance of FAIL at the floor, for three intervals."""
    names = ("exact", "Wilson", "Wilson, but exact below ten successes or failures")
    worst = dict.fromkeys(names, (0.0, 0, 0.0))
    for n in (*range(50, 400), *range(400, 1320, 7), 1319):
        for floor in (0.5, 0.6, 0.7, 0.74, 0.8, 0.85, 0.9, 0.95):
            most = operating_characteristics.floor_counts(n, floor)[1] or -1
            wilson = _first(n, lambda k, n=n, floor=floor: binomial.wilson_upper(k, n) >= floor) - 1  # type: ignore[misc]
            # where either holds fewer than ten, the exact bound is used
            mixed = max(k for k in (min(wilson, n - 10), most) if k <= wilson)
            for name, count in zip(names, (most, wilson, mixed), strict=True):
                size = binomial.p_at_most(count, n, floor) if count >= 0 else 0.0
                worst[name] = max(worst[name], (size, n, floor))
    said = "; ".join(
        f"{name} {100 * size:.2f} % (n = {n}, floor {at:g})" for name, (size, n, at) in worst.items()
    )
    return f"{said}. So the gates use the exact (Clopper–Pearson) bound, at the price of about half an item."


def _first(n: int, holds: Callable[[int], bool]) -> int:
    """The smallest k in 0…n at which a condition that stays true once it is true holds."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _abilities(
    rng: np.random.Generator, shape: tuple[int, int], mean: float, alike: float
) -> NDArray[np.float64]:
    """Chances of a right answer, by item: beta distributed, so that two answers correlate by ``alike``."""
    total = 1.0 / alike - 1.0
    return rng.beta(mean * total, (1.0 - mean) * total, size=shape)


def _lowered(ability: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    """Every ability multiplied, so that the expected loss is exactly ``by``: the mean of the beta is 0.74."""
    return ability * (1.0 - by / 0.74)


def _floor_gate(right: NDArray[np.int64], k: int) -> int:
    gate = ProportionGate(metric="accuracy", candidate=_outcomes(right, k), bound=0.74, at_least=True)
    return CODES[gate.judge().status]


def _paired_gate(ours: NDArray[np.int64], theirs: NDArray[np.int64], k: int) -> int:
    candidate, baseline = _outcomes(ours, k), _outcomes(theirs, k)
    gate = PairedGate(metric="accuracy", candidate=candidate, baseline=baseline, bound=0.03, at_least=True)
    return CODES[gate.judge().status]


def _outcomes(right: NDArray[np.int64], k: int) -> dict[str, list[bool]]:
    return {str(item): [answer < count for answer in range(k)] for item, count in enumerate(right.tolist())}
