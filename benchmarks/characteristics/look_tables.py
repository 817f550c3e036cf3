"""Several looks at one gate: a run that was not decided is run again, and adds its data or does not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.characteristics import rules
from benchmarks.characteristics.speed_tables import hodges_lehmann_gate
from benchmarks.characteristics.table import (
    CODES,
    INCONCLUSIVE,
    OURS,
    PASS,
    Decisions,
    Inputs,
    Row,
    Setting,
    Table,
    both_errors,
    decisions,
    row,
)
from pytest_llmperf.gates.early_stopping import spending
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.stats import operating_characteristics

LOOKS, CHECKED = 3, 8
ANNOUNCED = f"{OURS}, {LOOKS} looks announced"
EVERY = "data added, 5 % at every look"
AGAIN = "run again until it passes"
FLOOR, ITEMS, MARGIN, BUDGET, ROUNDS = 0.74, 200, 0.03, 1.05, 20

SAYS = f"""\
Up to {LOOKS} looks of equal size at one gate, each only where the ones before did not decide (`--llmperf-add`). At the
boundary PASS and FAIL count as wrong: promised are at most 8.75 % for three looks that were not announced, and 5 % for
three that were. **{AGAIN}** judges each run by its own data at 5 %, and stops at PASS."""

Judge = Callable[[int, int, float], Decisions]
"""First look, one past the last, alpha → the decisions on the data of these looks together."""


@dataclass(frozen=True)
class _Drawn:
    """Data of :data:`LOOKS` looks of equal size, and how a gate judges any of them together."""

    question: str
    truth: str
    at_bound: bool
    judge: Judge


def looks(inputs: Inputs) -> Table:
    """Up to three looks, each only where those before did not decide."""
    rows: list[Row] = []
    at_bound: dict[str, list[Row]] = {OURS: [], ANNOUNCED: []}
    for drawn in (*_floors(inputs), *_margins(inputs), *_ratios(inputs)):
        settings: dict[str, Setting] = {"gate": drawn.question, "truth": drawn.truth}
        for rule, spent in (
            (OURS, spending(LOOKS)),
            (ANNOUNCED, spending(LOOKS, LOOKS)),
            (EVERY, (0.05,) * LOOKS),
        ):
            said, first = _added(drawn.judge, spent)
            one = row(settings, rule, said, **{"decided at look 1, %": round(100 * first, 1)})
            rows.append(one)
            if drawn.at_bound and rule in at_bound:
                at_bound[rule].append(one)
        rows.append(row(settings, AGAIN, _again(drawn.judge), **{"decided at look 1, %": "—"}))
    question = "three looks, truth on the boundary"
    limits = {OURS: sum(spending(LOOKS)), ANNOUNCED: sum(spending(LOOKS, LOOKS))}
    return Table(
        "looks",
        "Looking again",
        SAYS,
        rows,
        [
            target
            for rule in (OURS, ANNOUNCED)
            for target in both_errors(f"{question}; {rule}", at_bound[rule], limits[rule])
        ],
    )


def _added(judge: Judge, spent: Sequence[float]) -> tuple[Decisions, float]:
    """Decisions of all looks together, and the share that the first one decided."""
    said = judge(0, 1, spent[0])
    first = float(np.mean(said != INCONCLUSIVE))
    for look in range(2, LOOKS + 1):
        said = np.where(said == INCONCLUSIVE, judge(0, look, spent[look - 1]), said).astype(np.int8)
    return said, first


def _again(judge: Judge) -> Decisions:
    """Decisions of the usual practice: a red run is run again, and the last one counts."""
    said = judge(0, 1, 0.05)
    for look in range(1, LOOKS):
        said = np.where(said != PASS, judge(look, look + 1, 0.05), said).astype(np.int8)
    return said


def _floors(inputs: Inputs) -> list[_Drawn]:
    found = []
    for truth in (FLOOR, 0.80):
        right = inputs.rng.binomial(ITEMS, truth, size=(inputs.runs, LOOKS))

        def judge(first: int, end: int, alpha: float, right: NDArray[Any] = right) -> Decisions:
            k, n = right[:, first:end].sum(axis=1), ITEMS * (end - first)
            fewest, most = operating_characteristics.floor_counts(n, FLOOR, alpha=alpha)
            assert fewest is not None
            assert most is not None
            return decisions(k >= fewest, k <= most)

        _check(right, judge)
        question = f"floor {100 * FLOOR:g} %, {ITEMS} items a look"
        found.append(_Drawn(question, f"{100 * truth:g} %", truth == FLOOR, judge))
    return found


def _check(right: NDArray[Any], judge: Judge) -> None:
    """Some runs go through the gate itself, joined look by look, and must end alike."""
    spent = spending(LOOKS)
    said, _ = _added(judge, spent)
    for index in range(min(CHECKED, len(right))):
        case: ProportionGate | None = None
        status = Status.INCONCLUSIVE
        for look in range(1, LOOKS + 1):
            outcomes = {f"{look}-{item}": item < right[index, look - 1] for item in range(ITEMS)}
            now = ProportionGate(metric="accuracy", bound=FLOOR, candidate=outcomes, at_least=True)
            case = now if case is None else now.add_to(case, status, spent[:look])
            status = case.judge().status
        if CODES[status] != said[index]:
            raise AssertionError(f"the joined gate says {status}, not {said[index]}")


def _margins(inputs: Inputs) -> list[_Drawn]:
    n, found = 500, []
    for truth in (-MARGIN, 0.0):
        parts = [rules.drawn(inputs.rng, inputs.runs, n, truth, 0.10) for _ in range(LOOKS)]

        def judge(first: int, end: int, alpha: float, parts: list[rules.Counts] = parts) -> Decisions:
            some = parts[first:end]
            counts = rules.Counts(
                n * len(some),
                np.sum([one.gained for one in some], axis=0),
                np.sum([one.lost for one in some], axis=0),
                np.sum([one.both for one in some], axis=0),
            )
            return rules.ours(counts, MARGIN, alpha)

        question = f"margin {100 * MARGIN:g} points, {n} items a look, discordance .10"
        found.append(_Drawn(question, f"{100 * truth:+g} points", truth == -MARGIN, judge))
    return found


def _ratios(inputs: Inputs) -> list[_Drawn]:
    found = []
    for truth in (BUDGET, 1.02):
        noise = 0.03 * math.sqrt(2.0) * inputs.rng.standard_normal((inputs.runs, LOOKS * ROUNDS))
        logs = math.log(truth) + noise

        def judge(first: int, end: int, alpha: float, logs: NDArray[Any] = logs) -> Decisions:
            return hodges_lehmann_gate(logs[:, first * ROUNDS : end * ROUNDS], BUDGET, alpha)

        question = f"ratio {BUDGET:g}, {ROUNDS} rounds a look, 3 % noise a side"
        found.append(_Drawn(question, f"×{truth:g}", truth == BUDGET, judge))
    return found
