"""Looking after every item, and stopping as soon as it is clear."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from benchmarks.characteristics.real_outcomes import differences
from benchmarks.characteristics.rules import Z
from benchmarks.characteristics.table import (
    FAIL,
    INCONCLUSIVE,
    OURS,
    PASS,
    Decisions,
    Inputs,
    Row,
    Setting,
    Table,
    Target,
    at_most,
    decisions,
    row,
)
from pytest_llmperf.gates.early import Question, Watch
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.stats import betting

ITEMS = 1319
CHECKED = 4
WITH_REPLACEMENT = "pytest-llmperf, source of the items"
NAIVE = "a look every 50 items, no correction"


def early(inputs: Inputs) -> Table:
    """All items in random order: at the boundary, and five points on either side of it."""
    rows: list[Row] = []
    wrong: list[Row] = []
    clear: list[Row] = []
    for psi in (0.05, 0.10, 0.20):
        for margin, truth in ((0.03, -0.03), (0.05, -0.05), (0.03, 0.02), (0.05, 0.0), (0.02, -0.07)):
            if psi < abs(truth):
                continue
            items = _items(psi, truth)
            exact = float(
                items.mean()
            )  # whole items: the truth is moved onto the nearest, and so is the boundary
            bound = exact if truth == -margin else -margin
            settings: dict[str, Setting] = {
                "margin": f"{-100 * bound:.3g} points", "truth": f"{100 * exact:+.3g} points", "discordance": psi,
            }  # fmt: skip
            rows += _rules(inputs, settings, items, bound, wrong, clear if truth != -margin else None)
    for name, items in (differences(inputs.outcomes) if inputs.outcomes else {}).items():
        truth, psi = float(items.mean()), float((items != 0).mean())
        for off in (0.0, 0.05):
            bound = truth + (off if truth < 0 else -off)
            settings = {
                "margin": f"{-100 * bound:.3g} points", "truth": f"{100 * truth:+.3g} points",
                "discordance": f"{psi:.3f}, {name}",
            }  # fmt: skip
            rows += _rules(inputs, settings, items, bound, wrong, None)
    slowest = max(clear, key=lambda one: float(one.more["median items"]))
    measured = (
        f"{slowest.more['median items']} items, {100 * float(slowest.more['median items']) / ITEMS:.1f} %"
    )
    where = ", ".join(f"{name} {value}" for name, value in slowest.settings.items())
    question = "continuous peeking, truth on the boundary (so that either decision can be called wrong)"
    return Table(
        "early",
        "Stopping early",
        "1,319 items in random order, looked at after each. At the boundary PASS and FAIL count as wrong, each "
        "promised to be at most 5 %; elsewhere the wrong one.",
        rows,
        [
            *(
                at_most(question, wrong, word, 0.05, name, noise=True)
                for word, name in ((PASS, "PASS"), (FAIL, "FAIL"))
            ),
            Target(
                "median items, truth 5 points off, discordance ≤ .2",
                f"≤ 35 % of {ITEMS}",
                f"{measured} ({where})",
                float(slowest.more["median items"]) <= 0.35 * ITEMS,
            ),
        ],
    )


def _rules(
    inputs: Inputs,
    settings: dict[str, Setting],
    items: NDArray[np.int8],
    bound: float,
    wrong: list[Row],
    clear: list[Row] | None,
) -> list[Row]:
    runs = inputs.rng.permuted(np.tile(items, (inputs.runs, 1)), axis=1)
    said, taken = race(runs, bound, len(items))
    _check(runs, bound, said, taken)
    mine = row(settings, OURS, said, **_items_taken(taken))
    if clear is not None:
        clear.append(mine)
    elif abs(float(items.mean()) - bound) < 1e-9:
        wrong.append(mine)
    drawn = inputs.rng.choice(items, size=runs.shape)
    source, needed = race(drawn, bound, None)
    naive, looked = _naive(runs, bound)
    return [
        mine,
        row(settings, WITH_REPLACEMENT, source, **_items_taken(needed)),
        row(settings, NAIVE, naive, **_items_taken(looked)),
    ]


def race(
    values: NDArray[np.int8], bound: float, population: int | None, alpha: float = 0.05
) -> tuple[Decisions, NDArray[np.int64]]:
    """``betting.decide`` for many runs at once, on paired differences: the decisions and the items they took."""
    runs, n = values.shape
    above = _race(values, bound, population, 1.0 / alpha)
    below = _race(-values, -bound, population, 1.0 / alpha)
    first = np.minimum(above, below)
    said = np.where(first > n, INCONCLUSIVE, np.where(above <= below, PASS, FAIL)).astype(np.int8)
    assert said.shape == (runs,)
    return said, np.minimum(first, n)


def _race(values: NDArray[np.int8], null: float, population: int | None, enough: float) -> NDArray[np.int64]:
    """The item at which the wealth first reaches ``enough``; one more than there are where it never does."""
    runs, n = values.shape
    stakes = np.array(betting.STAKES)[:, None]
    logs, total = np.zeros((len(stakes), runs)), np.zeros(runs)
    first, running = np.full(runs, n + 1), np.arange(runs)
    for seen in range(n):
        x = values[running, seen].astype(np.float64)
        if population is None:
            expected = np.full(len(running), null)
        else:
            expected = (population * null - total) / (population - seen)
        playing = (expected >= -1.0 - 1e-9) & (expected < 1.0)
        bet = np.minimum(stakes, (1.0 - betting.RESERVE) / np.maximum(expected + 1.0, 1e-12))
        logs += np.where(playing, np.log1p(np.where(playing, bet * (x - expected), 0.0)), 0.0)
        total += x
        done = np.exp(np.minimum(logs, 700.0)).mean(axis=0) >= enough
        if population is not None:
            done |= total - (population - seen - 1) > population * null + 1e-9
        if done.any():
            first[running[done]] = seen + 1
            running, logs, total = running[~done], logs[:, ~done], total[~done]
            if not len(running):
                break
    return first


def _naive(values: NDArray[np.int8], bound: float) -> tuple[Decisions, NDArray[np.int64]]:
    """An ordinary interval, looked at every 50 items, stopping at the first that decides."""
    runs, n = values.shape
    said, taken = np.zeros(runs, dtype=np.int8), np.full(runs, n)
    sums, squares = np.cumsum(values, axis=1, dtype=np.int64), np.cumsum(values != 0, axis=1)
    for seen in [*range(50, n, 50), n]:
        mean = sums[:, seen - 1] / seen
        error = Z * np.sqrt(np.maximum(1e-12, squares[:, seen - 1] / seen - mean**2) / seen)
        now = decisions(mean - error > bound, mean + error < bound)
        new = (said == INCONCLUSIVE) & (now != INCONCLUSIVE)
        said[new], taken[new] = now[new], seen
    return said, taken


def _check(values: NDArray[np.int8], bound: float, said: Decisions, taken: NDArray[np.int64]) -> None:
    """Some runs go through the gate itself, and must end alike."""
    names = {Status.PASS: PASS, Status.FAIL: FAIL, None: INCONCLUSIVE}
    for index in range(min(CHECKED, len(values))):
        watch = Watch(Question("accuracy", bound, paired=True), population=values.shape[1])
        for value in values[index].tolist():
            if watch.observe(value > 0, value < 0) is not None:
                break
        if names[watch.status] != said[index] or (watch.decided_at or len(values[index])) != taken[index]:
            raise AssertionError(f"the gate says {watch.status} after {watch.decided_at}, not {said[index]}")


def _items(psi: float, truth: float) -> NDArray[np.int8]:
    lost, gained = round(ITEMS * (psi - truth) / 2), round(ITEMS * (psi + truth) / 2)
    return np.array([1] * gained + [-1] * lost + [0] * (ITEMS - gained - lost), dtype=np.int8)


def _items_taken(taken: NDArray[np.int64]) -> dict[str, Setting]:
    return {
        "median items": math.ceil(float(np.median(taken))),
        "90 % by": math.ceil(float(np.quantile(taken, 0.9))),
    }
