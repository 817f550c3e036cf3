"""Two servers in interleaved rounds, on a machine that drifts, hiccups and remembers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.characteristics.table import (
    CODES,
    FAIL,
    OURS,
    PASS,
    Decisions,
    Inputs,
    Row,
    Setting,
    Table,
    at_least,
    at_most,
    both_errors,
    decisions,
    row,
)
from pytest_llmperf.gates.decision import ALPHA
from pytest_llmperf.gates.ratio import RatioGate, Rounds
from pytest_llmperf.stats import autocorrelation, hodges_lehmann

ROUNDS, REQUESTS = 20, 10
CHECKED = 8


@dataclass(frozen=True)
class Machine:
    """The disturbances of a measurement, all as shares of the true value."""

    name: str
    drift: float = 0.08
    """Linear, over the whole run."""
    heavy: float = 0.03
    """Share of requests with a hiccup, exponential with mean 0.7."""
    noise: float = 0.05
    """From request to request."""
    memory: float = 0.0
    """Standard deviation of what one slot passes to the next (correlation 0.6)."""
    slot: float = 0.0
    """From slot to slot, independent."""


def speed(inputs: Inputs) -> Table:
    """A/A: the same server on both sides, and the same at the budget."""
    machines = (
        Machine("drift 8 %, heavy tail"),
        Machine("the same, and 3 % that lasts for a while", memory=0.03),
        Machine(
            "hardly anything but 3 % that lasts for a while", drift=0.0, heavy=0.0, noise=0.01, memory=0.03
        ),
    )
    rows: list[Row] = []
    for machine in machines:
        for ratio in (1.0, 1.05):
            settings: dict[str, Setting] = {"machine": machine.name, "ratio": ratio}
            abba = _slots(inputs, machine)
            rows.append(
                row(settings, OURS, hodges_lehmann_gate(_paired(abba, ratio, _alternating(abba)), 1.05))
            )
            coin = inputs.rng.random((inputs.runs, ROUNDS)) < 0.5
            rows.append(
                row(settings, f"{OURS}, order by coin", hodges_lehmann_gate(_paired(abba, ratio, coin), 1.05))
            )
            rows += [row(settings, rule, said) for rule, said in _others(abba, ratio).items()]
    named = [one for one in rows if one.settings["machine"] == machines[0].name and one.rule == OURS]
    level, budget = ([one for one in named if one.settings["ratio"] == ratio] for ratio in (1.0, 1.05))
    question = "A/A speed, budget 1.05, drift 8 %, heavy tail, 20 rounds: "
    return Table(
        "speed",
        "The same server twice, budget 1.05",
        "20 rounds of 10 requests a side, the median of each. At the ratio 1.05 each error is promised to be at most "
        "5 %. Where most of the noise outlasts a round, neighbouring rounds of the order ABBA resemble each other and "
        "the promise is exceeded a little; an order drawn by a coin keeps it whatever the noise.",
        rows,
        [
            at_most(question + "at the boundary", budget, FAIL, 0.05, "FAIL", noise=True),
            at_most(question + "at ratio 1", level, FAIL, 0.005, "FAIL"),
            at_least(question + "at ratio 1", level, PASS, 0.95, "PASS"),
        ],
    )


def slowdown(inputs: Inputs) -> Table:
    """Slower by some per cent, against a tight budget."""
    machine = Machine("3 % round noise a side", drift=0.0, heavy=0.0, noise=0.0, slot=0.03)
    rows: list[Row] = []
    for rounds in (10, 20, 40):
        for ratio in (1.0, 1.02, 1.05, 1.08):
            settings: dict[str, Setting] = {"rounds": rounds, "ratio": ratio}
            slots = _slots(inputs, machine, rounds=rounds)
            rows.append(
                row(settings, OURS, hodges_lehmann_gate(_paired(slots, ratio, _alternating(slots)), 1.02))
            )
            rows += [row(settings, rule, said) for rule, said in _others(slots, ratio, 0.02).items()]
    cells = {one.settings["ratio"]: one for one in rows if one.rule == OURS and one.settings["rounds"] == 20}
    question = "TPOT against a budget of 1.02, 20 rounds, 3 % round noise on each side: "
    return Table(
        "slowdown",
        "Slower, against a budget of 1.02",
        "With 3 % noise in each round of each side.",
        rows,
        [
            at_most(question + "+5 %", [cells[1.05]], PASS, 0.01, "PASS"),
            at_least(question + "+8 %", [cells[1.08]], FAIL, 0.95, "FAIL"),
        ],
    )


def lasting(inputs: Inputs) -> Table:
    """Noise of one side that outlasts a round: each round's ratio resembles the one before."""
    rounds, rows = 64, []
    for rho in (0.0, 0.3, 0.5, 0.7):
        logs = autoregression(inputs.rng, inputs.runs, rounds, rho)
        for ratio in (1.0, 1.05):
            settings: dict[str, Setting] = {"correlation": rho, "ratio": ratio}
            drawn = math.log(ratio) + 0.03 * math.sqrt(2.0) * logs
            rows.append(row(settings, OURS, hodges_lehmann_gate(drawn, 1.05)))
            plain = _signed_rank(drawn, 1.05, ALPHA, np.ones(len(drawn)))
            rows.append(row(settings, "Hodges-Lehmann alone", plain))
    half = [one for one in rows if one.rule == OURS and one.settings == {"correlation": 0.5, "ratio": 1.05}]
    return Table(
        "lasting",
        "Noise of one side that outlasts a round, budget 1.05",
        "64 rounds, 3 % noise a side, an autoregression of first order from round to round. Correlations of .20 to .46 "
        "were seen on real machines. The interval is widened by what the rounds themselves show.",
        rows,
        both_errors("noise of a side, correlation .5, truth on the budget", half, 0.06),
    )


def starts(inputs: Inputs) -> Table:
    """Starts of one model that differ: one start of many rounds, or several starts."""
    rows: list[Row] = []
    wide, narrow = 0.03, 0.03 * math.sqrt(2.0)
    for k in (1, 3, 5, 10):
        for ratio in (1.0, 1.10):
            effect = wide * math.sqrt(2.0) * inputs.rng.standard_normal((inputs.runs, k, 1))
            logs = math.log(ratio) + effect + narrow * inputs.rng.standard_normal((inputs.runs, k, 10))
            settings: dict[str, Setting] = {"starts a side": k, "ratio": ratio}
            rows.append(
                row(
                    settings, "rounds as the sample", hodges_lehmann_gate(logs.reshape(inputs.runs, -1), 1.10)
                )
            )
            said = [
                CODES[
                    replace(_gate([[(v, 1.0) for v in one] for one in run], 1.10), started=True)
                    .judge()
                    .status
                ]
                for run in np.exp(logs).tolist()
            ]
            rows.append(row(settings, OURS, np.array(said, dtype=np.int8)))
    mine = [one for one in rows if one.rule == OURS and one.settings["ratio"] == 1.10]
    question = "starts that differ by 3 %, truth on the budget"
    return Table(
        "starts",
        "Starts that differ by 3 %, budget 1.10",
        "Ten rounds a start with 3 % noise a side. Rounds say whether these two processes differ, starts whether the "
        "models do; with one start their spread is assumed.",
        rows,
        both_errors(question, mine, 0.05),
    )


def autoregression(
    rng: np.random.Generator, runs: int, rounds: int, correlation: float
) -> NDArray[np.float64]:
    """(runs, rounds) of standard normal values of which neighbours in a run have this correlation."""
    values = rng.standard_normal((runs, rounds))
    for at in range(1, rounds):
        values[:, at] = correlation * values[:, at - 1] + math.sqrt(1.0 - correlation**2) * values[:, at]
    return values


def _slots(inputs: Inputs, machine: Machine, rounds: int = ROUNDS) -> NDArray[np.float64]:
    """(runs, slots, requests) of log values of a server with the ratio 1, slots in the order of time."""
    rng, shape = inputs.rng, (inputs.runs, 2 * rounds)
    level = np.broadcast_to(machine.drift * np.linspace(0.0, 1.0, shape[1]), shape)
    if machine.memory:
        state, last = rng.standard_normal(shape), rng.standard_normal(inputs.runs)
        for slot in range(shape[1]):
            last = 0.6 * last + 0.8 * state[:, slot]
            state[:, slot] = last
        level = level + machine.memory * state
    if machine.slot:
        level = level + machine.slot * rng.standard_normal(shape)
    requests = REQUESTS if machine.noise else 1
    values = np.repeat(level[:, :, None], requests, axis=2)
    if machine.noise:
        values += machine.noise * rng.standard_normal(values.shape)
    if machine.heavy:
        values += (rng.random(values.shape) < machine.heavy) * rng.exponential(0.7, values.shape)
    return values


def _alternating(slots: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.broadcast_to(np.arange(slots.shape[1] // 2) % 2 == 1, (slots.shape[0], slots.shape[1] // 2))


def _paired(slots: NDArray[np.float64], ratio: float, swapped: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(runs, rounds) of log ratios; where ``swapped`` the baseline went first."""
    medians = np.median(slots, axis=2).reshape(slots.shape[0], -1, 2)
    return np.where(swapped, -1.0, 1.0) * (medians[:, :, 0] - medians[:, :, 1]) + math.log(ratio)


def hodges_lehmann_gate(logs: NDArray[np.float64], budget: float, alpha: float = 0.05) -> Decisions:
    """The gate's decision on (runs, rounds) of log ratios; some runs are put to the gate itself."""
    result = _signed_rank(logs, budget, alpha, _widening(logs))
    for index in range(min(CHECKED, len(logs))):
        verdict = _gate([[(math.exp(value), 1.0) for value in logs[index]]], budget, alpha).judge()
        if CODES[verdict.status] != result[index]:
            raise AssertionError(f"the gate says {verdict.status}, not {result[index]}")
    return result


def _signed_rank(
    logs: NDArray[np.float64], budget: float, alpha: float, widening: NDArray[np.float64]
) -> Decisions:
    rounds, bound = logs.shape[1], math.log(budget)
    rank = hodges_lehmann.critical_rank(rounds, 1.0 - alpha)
    first, second = np.triu_indices(rounds)
    low, centre, high = (np.empty(len(logs)) for _ in range(3))
    for part in range(0, len(logs), 500):
        here = slice(part, part + 500)
        walsh = np.sort((logs[here, first] + logs[here, second]) / 2.0, axis=1)
        low[here], centre[here], high[here] = walsh[:, rank - 1], np.median(walsh, axis=1), walsh[:, -rank]
    return decisions(centre + (high - centre) * widening <= bound, centre - (centre - low) * widening > bound)


def _widening(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """As ``stats.autocorrelation.widening``, for (runs, rounds) at once."""
    gaps = logs - np.median(logs, axis=1)[:, None]
    total = np.maximum((gaps * gaps).sum(axis=1), 1e-300)
    seen = (gaps[:, 1:] * gaps[:, :-1]).sum(axis=1) / total
    rho = np.clip(seen + (1.0 + 4.0 * seen) / logs.shape[1], 0.0, autocorrelation.MOST)
    return np.asarray(np.sqrt((1.0 + rho) / (1.0 - rho)), dtype=np.float64)


def _others(slots: NDArray[np.float64], ratio: float, more: float = 0.05) -> dict[str, Decisions]:
    """A stored baseline run and then the candidate's, as pytest-benchmark compares; and the same interleaved."""
    values = np.exp(slots)
    half = slots.shape[1] // 2
    before, after = (
        values[:, :half].reshape(len(values), -1),
        ratio * values[:, half:].reshape(len(values), -1),
    )
    swapped = _alternating(slots)[:, :, None, None]
    rounds = values.reshape(len(values), half, 2, -1)
    turned = np.where(swapped, rounds[:, :, ::-1], rounds)
    a, b = ratio * turned[:, :, 0].reshape(len(values), -1), turned[:, :, 1].reshape(len(values), -1)
    name = f"pytest-benchmark (mean:{100 * more:g}%)"
    limit = 1.0 + more
    return {
        name: decisions(after.mean(axis=1) <= limit * before.mean(axis=1)),
        f"{name}, interleaved": decisions(a.mean(axis=1) <= limit * b.mean(axis=1)),
        "Welch's t, one after the other": decisions(_welch(after, before) < 1.645),
    }


def _welch(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    error = np.sqrt(a.var(axis=1, ddof=1) / a.shape[1] + b.var(axis=1, ddof=1) / b.shape[1])
    return np.asarray((a.mean(axis=1) - b.mean(axis=1)) / error, dtype=np.float64)


def _gate(starts: Sequence[Rounds], budget: float, alpha: float = ALPHA) -> RatioGate:
    return RatioGate(metric="tpot", starts=starts, bound=budget, unit="s", at_least=False, spent=(alpha,))
