"""Looking after every item, and stopping as soon as it is clear."""

from __future__ import annotations

import math
from itertools import islice

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
    both_errors,
    decisions,
    row,
)
from pytest_llmperf.gates import early_stopping
from pytest_llmperf.gates.decision import ALPHA
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.stats import betting, paired, paired_exact

ITEMS = 1319
CHECKED = 4
SOURCE = "e-process, with replacement"
THESE = "e-process, without replacement"
NAIVE = "a look every 50 items, no correction"
_NAMES = {Status.PASS: PASS, Status.FAIL: FAIL, Status.INCONCLUSIVE: INCONCLUSIVE, None: INCONCLUSIVE}
SAYS = """\
1,319 items in random order. At the boundary PASS and FAIL count as wrong, each promised to be at most 5 %; elsewhere
the wrong one. **pytest-llmperf** is what a run does: Tango's exact test at the looks of `early_stopping`, each at its
group-sequential level. The e-processes look after every item with all of the 5 %: with replacement they speak of the
source of the items, without of these very answers, and the truth is then theirs."""


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
    question = "continuous peeking, truth on the boundary (so that either decision can be called wrong)"
    return Table(
        "early",
        "Stopping early",
        SAYS,
        rows,
        [
            *both_errors(question, wrong, 0.05),
            *(_median_items(clear, rule, most) for rule in (OURS, THESE) for most in (0.1, 0.2)),
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
    drawn = inputs.rng.choice(items, size=(inputs.runs, len(items)))
    said, taken = shipped(drawn, bound)
    mine = row(settings, OURS, said, **_items_taken(taken))
    source, needed = race(drawn, bound, None)
    _check(drawn, bound, source, needed, None)
    permuted = inputs.rng.permuted(np.tile(items, (inputs.runs, 1)), axis=1)
    of_these, seen = race(permuted, bound, len(items))
    _check(permuted, bound, of_these, seen, len(items))
    these = row(settings, THESE, of_these, **_items_taken(seen))
    if clear is not None:
        clear += [mine, these]
    elif abs(float(items.mean()) - bound) < 1e-9:
        wrong += [mine, these]
    naive, looked = _naive(drawn, bound)
    return [
        mine,
        row(settings, SOURCE, source, **_items_taken(needed)),
        these,
        row(settings, NAIVE, naive, **_items_taken(looked)),
    ]


def shipped(values: NDArray[np.int8], bound: float) -> tuple[Decisions, NDArray[np.int64]]:
    """Decisions of a run: the test of each look at its level, until one decides.

    The margin is −``bound``. Some runs go through the gate itself, and must end alike.
    """
    runs, n = values.shape
    said, taken = np.full(runs, INCONCLUSIVE, dtype=np.int8), np.full(runs, n)
    sizes = tuple(early_stopping.looks(n))
    for size, level in zip(sizes, early_stopping.margin_levels(sizes, ALPHA), strict=True):
        open_ = np.flatnonzero(said == INCONCLUSIVE)
        if not len(open_):
            break
        seen = values[open_, :size]
        gained, lost = np.count_nonzero(seen > 0, axis=1), np.count_nonzero(seen < 0, axis=1)
        above, below = (
            _critical(size, gained + lost, bound, level),
            _critical(size, gained + lost, -bound, level),
        )
        z = np.array([paired.tango_z(int(g), int(w), size, bound) for g, w in zip(gained, lost, strict=True)])
        said[open_] = now = decisions(z > above, z < -below)
        taken[open_[now != INCONCLUSIVE]] = size
    for index in range(min(CHECKED, len(values))):
        status, needed = _as_a_case(values[index], bound)
        if _NAMES[status] != said[index] or needed != taken[index]:
            raise AssertionError(
                f"the case says {status} after {needed}, not {said[index]} after {taken[index]}"
            )
    return said, taken


def _critical(n: int, discordant: NDArray[np.int64], bound: float, level: float) -> NDArray[np.float64]:
    """Critical values by the number of discordant items, interpolated between nine of them."""
    at = np.unique(np.linspace(discordant.min(), discordant.max(), 9).round().astype(int))
    known = [paired_exact.critical_z(n, int(count), bound, level) for count in at]
    return np.asarray(np.interp(discordant, at, known), dtype=np.float64)


def _as_a_case(values: NDArray[np.int8], bound: float) -> tuple[Status, int]:
    # Where both sides agree they are right: a baseline that is always wrong could not be told from guessing.
    ours = {f"i{index}": value >= 0 for index, value in enumerate(values.tolist())}
    theirs = {f"i{index}": value <= 0 for index, value in enumerate(values.tolist())}

    def first(n: int) -> tuple[Outcomes, Outcomes]:
        return dict(islice(ours.items(), n)), dict(islice(theirs.items(), n))

    case = PairedGate(
        metric="accuracy",
        bound=-bound,
        candidate={},
        baseline={},
        at_least=True,
        planned=len(values),
        more=first,
    ).settled()
    return case.judge().status, case.size


def _median_items(clear: list[Row], rule: str, most: float) -> Target:
    mine = [one for one in clear if one.rule == rule and float(one.settings["discordance"]) <= most]
    slowest = max(mine, key=lambda one: float(one.more["median items"]))
    items = float(slowest.more["median items"])
    where = ", ".join(f"{name} {value}" for name, value in slowest.settings.items())
    return Target(
        f"median items, truth 5 points off, discordance ≤ {most:g}; {rule}",
        f"≤ 35 % of {ITEMS}",
        f"{items:.0f} items, {100 * items / ITEMS:.1f} % ({where})",
        items <= 0.35 * ITEMS,
    )


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


def _check(
    values: NDArray[np.int8], bound: float, said: Decisions, taken: NDArray[np.int64], population: int | None
) -> None:
    """Some runs go through ``betting.decide`` itself, and must end alike."""
    names = {True: PASS, False: FAIL, None: INCONCLUSIVE}
    for index in range(min(CHECKED, len(values))):
        decision = betting.decide(values[index].tolist(), bound, population=population)
        if names[decision.above] != said[index] or decision.n != taken[index]:
            raise AssertionError(
                f"betting says {names[decision.above]} after {decision.n}, not {said[index]}"
            )


def _items(psi: float, truth: float) -> NDArray[np.int8]:
    lost, gained = round(ITEMS * (psi - truth) / 2), round(ITEMS * (psi + truth) / 2)
    return np.array([1] * gained + [-1] * lost + [0] * (ITEMS - gained - lost), dtype=np.int8)


def _items_taken(taken: NDArray[np.int64]) -> dict[str, Setting]:
    return {
        "median items": math.ceil(float(np.median(taken))),
        "90 % by": math.ceil(float(np.quantile(taken, 0.9))),
    }
