"""A ratio takes no more rounds, and no more starts, than decide it; all looks together err as often as one would."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates.base import gate_from_json
from pytest_llmperf.gates.early_stopping import spending
from pytest_llmperf.gates.mutation import Result, mutation_test
from pytest_llmperf.gates.ratio import EARLY_WIDENING, PairedSamples, RatioGate, Rounds, round_noise
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.measure.speed import schedule_of

ROUNDS = schedule_of(64, 1)


class Source:
    """Rounds of one pair of starts (or all rounds of several), drawn once; notes how many were asked for."""

    def __init__(
        self, ratio: float, noise: float = 0.03, seed: int = 1, starts: int = 1, spread: float = 0.0
    ) -> None:
        draw = random.Random(seed)
        self.schedule = schedule_of(64, starts)
        self.asked: list[int] = []
        each = self.schedule[-1] // starts
        self.starts: list[list[tuple[float, float]]] = []
        for _ in range(starts):
            centre = ratio * math.exp(draw.gauss(0.0, spread))
            sides = [
                (math.exp(draw.gauss(0.0, noise)), math.exp(draw.gauss(0.0, noise))) for _ in range(each)
            ]
            self.starts.append([(0.02 * centre * a, 0.02 * b) for a, b in sides])

    def more(self, n: int) -> PairedSamples:
        self.asked.append(n)
        if len(self.starts) == 1:
            return PairedSamples([self.starts[0][:n]])
        return PairedSamples(self.starts[: n // len(self.starts[0])])

    def gate(self, bound: float = 1.05, *, started: bool = False) -> RatioGate:
        return RatioGate(
            metric="TPOT",
            bound=bound,
            unit="s",
            at_least=False,
            starts=[],
            started=started,
            schedule=self.schedule,
            more=self.more,
        )

    def judged(self, bound: float = 1.05, *, started: bool = False) -> Verdict:
        return self.gate(bound, started=started).settled().judge()


@pytest.mark.parametrize(("ratio", "status"), [(1.0, Status.PASS), (1.3, Status.FAIL)])
def test_a_clear_ratio_is_decided_after_few_rounds(ratio: float, status: Status) -> None:
    source = Source(ratio, noise=0.01)
    gate = source.gate().settled()
    assert source.asked == [8]
    assert (gate.size, gate.unasked) == (8, 56)
    verdict = gate.judge()
    assert verdict.status is status
    assert "with 95 % confidence, decided after 8 of 64 rounds)" in verdict.why


def test_a_close_ratio_takes_all_rounds_and_is_undecided_as_before() -> None:
    source = Source(1.05)
    verdict = source.judged()
    assert source.asked == [*ROUNDS]
    assert (verdict.status, verdict.n) == (Status.INCONCLUSIVE, 64)
    assert "stopped" not in verdict.why


def test_looks_at_the_budget_err_in_five_of_a_hundred_runs() -> None:
    runs = 300
    seen = [Source(1.05, seed=seed) for seed in range(runs)]
    for source in seen:
        source.schedule = (8, 12, 18, 27)
    statuses = [source.judged().status for source in seen]
    for wrong in (Status.PASS, Status.FAIL):
        assert statuses.count(wrong) <= 0.05 * runs + 3 * math.sqrt(0.05 * 0.95 * runs)


def test_what_starts_alone_keep_open_is_not_measured_to_the_end() -> None:
    source = Source(1.0, noise=0.01)
    verdict = source.judged(started=True)
    assert source.asked[-1] < 64
    assert (verdict.status, verdict.starts) == (Status.INCONCLUSIVE, 1)
    assert "starts would decide it" in verdict.why
    assert f"{source.asked[-1]} of 64 rounds; starts are assumed to differ" in verdict.detail


def test_a_wide_budget_of_one_start_is_decided_by_few_rounds_at_the_whole_error_of_its_start() -> None:
    source = Source(1.0, noise=0.01)
    verdict = source.judged(1.3, started=True)
    assert (source.asked, verdict.status) == ([8], Status.PASS)
    whole = replace(source.gate(1.3, started=True), schedule=(), starts=source.starts).judge()
    assert verdict.interval is not None
    assert whole.interval is not None
    assert math.log(verdict.interval[1]) == pytest.approx(math.log(whole.interval[1]), rel=0.1)


def test_no_more_starts_are_made_than_decide_the_gate() -> None:
    source = Source(1.0, starts=15, spread=0.02)
    gate = source.gate(1.2, started=True).settled()
    verdict = gate.judge()
    assert (source.asked[0], verdict.status) == (36, Status.PASS)
    assert len(gate.starts) == verdict.n < 15
    assert f"decided after {verdict.n} of 15 starts" in verdict.why


def test_rounds_that_cannot_be_used_at_first_may_be_few_of_all() -> None:
    source = Source(1.0, noise=0.01)

    def more(n: int) -> PairedSamples:
        return replace(source.more(n), unusable="2 of 8 rounds cannot be used" if n == 8 else "")

    assert replace(source.gate(), more=more).settled().judge().status is Status.PASS
    assert source.asked == [8, 12]
    rounds: Rounds = [(None, None), (None, None), *source.starts[0][2:]]
    verdict = replace(source.gate(), more=lambda n: PairedSamples([rounds[:n]])).settled().judge()
    assert (verdict.status, verdict.n) == (Status.PASS, 10)


def test_a_round_that_cannot_be_measured_is_said() -> None:
    def more(n: int) -> PairedSamples:
        raise NotMeasured(f"round {n} of math: none of 4 requests succeeded")

    verdict = replace(Source(1.0).gate(), more=more).settled().judge()
    assert verdict.status is Status.INVALID
    assert "round 8 of math" in verdict.why


@pytest.mark.parametrize("started", [False, True])
def test_the_record_of_a_gate_that_stopped_gives_the_same_verdict(started: bool) -> None:
    gate = Source(1.0, noise=0.02).gate(1.3, started=started).settled()
    again = gate_from_json(gate.to_json())
    assert again.judge() == gate.judge()
    assert again.unasked == gate.unasked > 0


@pytest.mark.parametrize(("started", "starts"), [(False, 1), (True, 1), (True, 15)])
@pytest.mark.parametrize("at_least", [False, True])
def test_a_fail_has_a_p_value_below_the_error_and_nothing_else_has(
    started: bool, starts: int, at_least: bool
) -> None:
    for seed in range(12):
        source = Source(0.95 if at_least else 1.3, noise=0.05, seed=seed, starts=starts, spread=0.03)
        bound = 0.95 if seed < 6 and at_least else 1.3 if seed < 6 else 1.1
        gate = replace(source.gate(bound, started=started), at_least=at_least).settled()
        verdict = gate.judge()
        assert verdict.p_value is not None
        assert (verdict.status is Status.FAIL) == (verdict.p_value <= 0.05 + 1e-6)


def test_a_further_run_looks_at_its_own_rounds_beside_those_of_the_first() -> None:
    first = Source(1.05).gate().settled()
    source = Source(1.03, seed=2)
    both = source.gate().add_to(first, Status.INCONCLUSIVE, spending(2)).settled()
    assert both.looks == [64]
    assert both.size == 64 + source.asked[-1]
    third = Source(1.03, seed=3).gate().add_to(both, Status.INCONCLUSIVE, spending(3)).settled()
    assert third.looks == [64, source.asked[-1]]


def test_a_plan_tells_how_few_rounds_are_enough() -> None:
    planned = replace(Source(1.0).gate(), starts=[[(1.0, 1.0)] * 64], more=None).forecast()
    assert (planned.n, planned.at_most) == (64, True)
    assert "of 64 rounds decide it" in planned.remark
    many = Source(1.0, starts=15).gate(1.05, started=True)
    planned = replace(many, starts=[[(1.0, 1.0)] * 12] * 15, more=None).forecast()
    assert (planned.n, planned.noun, planned.at_most) == (15, "start", True)
    assert "of 15 starts decide it" in planned.remark


def test_a_plan_reads_the_noise_of_a_run_that_stopped() -> None:
    stopped, whole = Source(1.0, noise=0.05), Source(1.0, noise=0.05)
    early = stopped.judged(1.2)
    assert early.n < 64
    full = replace(whole.gate(1.2), schedule=(), starts=whole.starts).judge()
    assert early.interval is not None
    assert full.interval is not None
    seen = round_noise(early.interval, early.n, early.level or 0.05)
    assert seen / EARLY_WIDENING == pytest.approx(round_noise(full.interval, full.n), rel=0.5)
    planned = replace(stopped.gate(1.2), starts=stopped.starts, more=None).forecast(early)
    assert "as recorded" in planned.assumed


def test_damage_that_the_rounds_at_the_stop_do_not_decide_is_not_held_against_the_gate() -> None:
    gate = Source(1.0, noise=0.03).gate(1.1).settled()
    assert gate.unasked
    assert mutation_test(gate, Status.PASS, claim=0.14).result in (Result.STOPPED_EARLY, Result.CAUGHT)
    assert mutation_test(gate, Status.PASS, claim=0.7).result is Result.CAUGHT


def test_an_early_look_allows_for_noise_that_outlasts_a_round() -> None:
    source = Source(1.0, noise=0.03)
    early = replace(source.gate(), starts=[source.starts[0][:18]], more=None).judge()
    last = replace(source.gate(), starts=[source.starts[0][:18]], schedule=(18,), more=None).judge()
    assert early.interval is not None
    assert last.interval is not None
    assert early.interval[1] - early.interval[0] > 1.7 * (last.interval[1] - last.interval[0])


@pytest.mark.parametrize("started", [True, False])
def test_a_decision_of_an_earlier_run_stands_after_the_first_rounds_of_this_one(started: bool) -> None:
    first = replace(Source(1.0, 0.01, seed=1).gate(1.30, started=started), spent=spending(1)).settled()
    assert first.judge().status is Status.PASS
    again = Source(1.0, 0.01, seed=2)
    gate = again.gate(1.30, started=started).add_to(first, Status.PASS, spending(2)).settled()
    assert again.asked == [8]
    assert gate.judge().status is Status.PASS, gate.judge().why


def test_rounds_that_cannot_be_judged_are_invalid_whatever_an_earlier_run_has_decided() -> None:
    first = replace(Source(1.0, 0.01).gate(), spent=spending(1)).settled()
    starved = replace(
        Source(1.5).gate(),
        more=lambda n: PairedSamples([Source(1.5).more(n).starts[0]], "the client was starved"),
    )
    verdict = starved.add_to(first, Status.PASS, spending(2)).settled().judge()
    assert (verdict.status, "the client was starved" in verdict.why) == (Status.INVALID, True)


def test_runs_of_one_start_each_had_no_further_starts_to_make() -> None:
    gates = [Source(1.0, 0.01, seed=seed).gate(1.2, started=True) for seed in range(3)]
    pooled = replace(gates[0], spent=spending(1)).settled()
    for number, gate in enumerate(gates[1:], 2):
        pooled = gate.add_to(pooled, Status.INCONCLUSIVE, spending(number)).settled()
    verdict = pooled.judge()
    assert verdict.n == 3
    assert "stopped early" not in verdict.why
