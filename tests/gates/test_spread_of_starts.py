"""One or two starts of each server: the interval carries how starts differ."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_llmperf.gates.base import gate_from_json
from pytest_llmperf.gates.early_stopping import spending
from pytest_llmperf.gates.ratio import RatioGate
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.stats.start_to_start import Centre

Remembered = Sequence[Sequence[Centre]]


def start(centre: float, draw: random.Random, rounds: int = 64) -> list[tuple[float, float]]:
    return [(0.02 * centre * math.exp(draw.gauss(0.0, 0.0424)), 0.02) for _ in range(rounds)]


def gate(
    *centres: float, bound: float = 1.05, seed: int = 1, remembered: Remembered = (), rounds: int = 64
) -> RatioGate:
    draw = random.Random(seed)
    return RatioGate(
        metric="TPOT",
        bound=bound,
        starts=[start(centre, draw, rounds) for centre in centres],
        unit="s",
        at_least=False,
        started=True,
        remembered=remembered,
    )


def earlier(deviation: float, count: int, seed: int = 3) -> Remembered:
    draw = random.Random(seed)
    return [[(draw.gauss(0.0, deviation), 0.005) for _ in range(count)]]


def test_one_start_does_not_decide_what_starts_alone_can_make() -> None:
    for ratio in (1.0, 1.12):
        verdict = gate(ratio).judge()
        assert verdict.status is Status.INCONCLUSIVE
        assert (verdict.n, verdict.starts) == (1, 1)
        assert verdict.n_needed is not None
        assert f"about {verdict.n_needed} starts would decide it" in verdict.why
        assert replace(gate(ratio), started=False).judge().status is not Status.INCONCLUSIVE


def test_a_wide_budget_and_a_large_regression_are_decided_by_one_start() -> None:
    assert gate(1.0, bound=1.25).judge().status is Status.PASS
    slow = gate(1.5, bound=1.25).judge()
    assert slow.status is Status.FAIL
    assert slow.p_value is not None
    assert slow.p_value <= 0.05


def test_the_verdict_says_where_the_spread_is_known_from() -> None:
    assert "64 rounds; starts are assumed to differ by 3 % a side" in gate(1.0).judge().detail
    remembered = gate(1.0, remembered=earlier(0.01, 12)).judge()
    assert "remembered from 12 earlier ones here" in remembered.detail
    assert "remembered" in remembered.method
    measured = gate(1.0, 1.01, 0.99).judge()
    assert "starts differ by" in measured.detail
    assert "assumed" not in measured.detail


def test_what_earlier_starts_showed_replaces_what_is_assumed() -> None:
    quiet, wild = (gate(1.0, remembered=earlier(deviation, 30)).judge() for deviation in (0.007, 0.10))
    plain = gate(1.0).judge()

    def width(verdict: Verdict) -> float:
        assert verdict.interval is not None
        return math.log(verdict.interval[1] / verdict.interval[0])

    assert width(quiet) < width(plain) < width(wild)
    assert quiet.status is Status.PASS


def test_p_value_and_verdict_agree() -> None:
    for seed in range(12):
        verdict = gate(1.2, seed=seed, bound=1.10, remembered=earlier(0.03, 6, seed)).judge()
        assert verdict.p_value is not None
        assert (verdict.status is Status.FAIL) == (verdict.p_value <= 0.05)


def test_too_few_rounds_or_no_start_is_invalid() -> None:
    assert gate(1.0, rounds=4).judge().status is Status.INVALID
    assert gate().judge().status is Status.INVALID
    assert "start 2: " in replace(gate(1.0), starts=[*gate(1.0).starts, []]).judge().why


def test_a_further_look_is_a_further_start() -> None:
    first, second = gate(1.04), gate(0.96, seed=2)
    both = second.add_to(first, Status.INCONCLUSIVE, spending(2)).judge()
    assert (both.n, both.starts) == (2, 2)
    third = gate(1.0, seed=4)
    three = third.add_to(
        second.add_to(first, Status.INCONCLUSIVE, spending(2)), Status.INCONCLUSIVE, spending(3)
    )
    assert three.judge().n == 3
    assert "Student's t" in three.judge().method


def test_rounds_of_running_servers_cannot_be_added_to_starts() -> None:
    running = replace(gate(1.0, seed=2), started=False)
    joined = running.add_to(gate(1.0), Status.INCONCLUSIVE, spending(2))
    assert "did not start" in joined.judge().why
    rounds = running.add_to(replace(gate(1.0), started=False), Status.INCONCLUSIVE, spending(2))
    assert rounds.judge().n == 128


def test_a_recorded_gate_says_the_same_again() -> None:
    made = gate(1.1, remembered=earlier(0.02, 5))
    assert gate_from_json(made.to_json()).judge() == made.judge()


@pytest.mark.parametrize("deviation", [0.03, 0.05])
def test_a_regression_at_the_budget_seldom_passes_with_one_start(deviation: float) -> None:
    """With 3 % a side in 1 % of runs, with 5 % in 8 %."""
    draw, passed, runs = random.Random(5), 0, 300
    for seed in range(runs):
        truth = 1.05 * math.exp(draw.gauss(0.0, deviation * math.sqrt(2.0)))
        passed += gate(truth, seed=seed, rounds=16).judge().status is Status.PASS
    assert passed / runs <= (0.03 if deviation == 0.03 else 0.12)


def test_a_plan_with_one_start_says_before_how_many_would_decide() -> None:
    planned = gate(1.0).forecast()
    assert (planned.n, planned.noun) == (1, "start")
    assert planned.chances is not None
    assert planned.chances.passes < 0.3
    assert "starts would give 95 %" in planned.warning
    assert "3 % from start to start" in planned.assumed
    assert not gate(1.0, bound=1.25).forecast().warning
    quiet = gate(1.0, remembered=earlier(0.007, 30)).forecast()
    assert "(remembered) from start to start" in quiet.assumed
    assert quiet.chances is not None
    assert quiet.chances.passes > 0.9
    assert "at least 5 are needed" in gate(1.0, rounds=4).forecast().warning


def test_the_plan_of_one_start_comes_true() -> None:
    draw, runs = random.Random(6), 300
    planned = gate(1.0, bound=1.15).forecast()
    said = [
        gate(math.exp(draw.gauss(0.0, 0.0424)), bound=1.15, seed=seed).judge().status for seed in range(runs)
    ]
    assert planned.chances is not None
    assert said.count(Status.PASS) / runs == pytest.approx(planned.chances.passes, abs=0.09)


def test_a_recorded_run_of_one_start_is_planned_with_its_ratio() -> None:
    """And with the noise of its rounds: what the spread of starts leaves of the interval."""
    recorded = gate(1.02, bound=1.25).judge()
    planned = gate(1.0, bound=1.25).forecast(recorded)
    assert re.fullmatch(
        r"×1\.0\d+, 3 % from start to start, \d\.\d+ % noise a round, as recorded", planned.assumed
    )
