"""A client's own error decides nothing: where a verdict would be another one without it, it is INVALID."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.gates.base import gate_from_json
from pytest_llmperf.gates.measured import true_ratio
from pytest_llmperf.gates.quantile import QuantileGate, Series
from pytest_llmperf.gates.ratio import Ratio, RatioGate
from pytest_llmperf.gates.verdict import Status, Verdict


def tail(bound: float, error: float, *, at_least: bool = False, unit: str = "s") -> Verdict:
    # 200 samples from 50 to 60 ms: the p95 lies near 59.5 ms.
    samples = [0.050 + 0.010 * i / 199 for i in range(200)]
    return QuantileGate(
        metric="TTFT",
        samples=samples,
        q=0.95,
        unit=unit,
        at_least=at_least,
        bound=bound,
        origin="budgets.toml",
        client_error=error,
    ).judge()


def ratio(level: float, bound: float, share: float, *, at_least: bool = False, unit: str = "s") -> Verdict:
    rounds = [(level * (1 + 0.001 * (i % 3)), 1.0) for i in range(20)]
    return RatioGate(
        metric="TPOT", starts=[rounds], unit=unit, at_least=at_least, bound=bound, client_share=share
    ).judge()


def test_a_miss_that_is_smaller_than_the_clients_error_is_invalid_and_says_so() -> None:
    assert tail(0.055, 0.0).status is Status.FAIL
    verdict = tail(0.055, 0.008)
    assert verdict.status is Status.INVALID
    assert "client-bound" in verdict.why
    assert "8.00 ms" in verdict.why
    assert "55 ms" in verdict.why
    assert verdict.origin == "budgets.toml"


def test_a_miss_that_is_larger_stays_a_miss() -> None:
    assert tail(0.055, 0.002).status is Status.FAIL


def test_what_keeps_its_budget_despite_the_clients_error_keeps_it() -> None:
    assert tail(0.065, 0.030).status is Status.PASS


def test_a_client_that_reports_less_than_the_truth_makes_nothing_green() -> None:
    assert tail(0.065, 0.0).status is Status.PASS
    assert tail(0.065, -0.010).status is Status.INVALID


def test_throughput_that_the_client_has_lost_is_not_held_against_the_server() -> None:
    # 50 to 60: a floor of 60.2 for the p95 is missed by less than the client took.
    assert tail(0.0602, 0.0, at_least=True).status is Status.FAIL
    assert tail(0.0602, -0.001, at_least=True).status is Status.INVALID
    assert tail(0.0602, -0.0001, at_least=True).status is Status.FAIL


def test_what_is_not_decided_stays_undecided() -> None:
    verdict = tail(0.0595, 0.001)
    assert verdict.status is Status.INCONCLUSIVE


def test_a_difference_that_the_client_hides_is_not_green() -> None:
    assert ratio(1.04, 1.05, 0.0).status is Status.PASS
    # Half of the time is the client's: behind 4 % stand 8 %.
    verdict = ratio(1.04, 1.05, 0.5)
    assert verdict.status is Status.INVALID
    assert "50 % of the baseline's time" in verdict.why


def test_equal_sides_pass_whatever_the_client_adds_to_both() -> None:
    assert ratio(1.0, 1.05, 0.3).status is Status.PASS


def test_a_red_ratio_stays_red() -> None:
    assert ratio(1.2, 1.05, 0.3).status is Status.FAIL


def test_a_ratio_of_rates_is_that_of_times_turned_over() -> None:
    assert ratio(0.97, 0.95, 0.0, at_least=True, unit="tok/s").status is Status.PASS
    assert ratio(0.97, 0.95, 0.6, at_least=True, unit="tok/s").status is Status.INVALID


def test_times_that_are_all_the_clients_decide_nothing() -> None:
    assert ratio(1.0, 1.05, 1.0).status is Status.INVALID
    assert ratio(2.0, 1.05, 1.0).status is Status.INVALID


@given(
    a=st.floats(0.001, 10),
    b=st.floats(0.001, 10),
    error=st.floats(0, 1),
)
def test_what_the_client_added_to_both_is_taken_out_of_their_ratio(a: float, b: float, error: float) -> None:
    share = error / (b + error)
    assert true_ratio((a + error) / (b + error), share, rate=False) == pytest.approx(a / b, rel=1e-6)
    reported = (1 / (a + error)) / (1 / (b + error))
    assert true_ratio(reported, share, rate=True) == pytest.approx(b / a, rel=1e-6)


def test_no_error_changes_nothing() -> None:
    assert true_ratio(1.3, 0.0, rate=False) == 1.3
    assert math.isnan(true_ratio(0.5, 0.6, rate=False))


def test_estimands_hand_the_error_of_their_quantile_to_the_gate() -> None:
    samples = [0.05 + 0.0001 * i for i in range(100)]
    series = Series("TTFT", samples, "s", client_error=lambda q: 0.02 if q > 0.9 else 0.0)
    assert (series.p95 <= 0.05).verdict.status is Status.INVALID
    assert (series.p50 <= 0.051).verdict.status is Status.FAIL
    rounds = [[(1.04, 1.0)] * 20]
    assert (Ratio("TPOT", rounds, "s", client_share=0.5) <= 1.05).verdict.status is Status.INVALID


def test_a_recorded_case_knows_the_clients_error() -> None:
    case = QuantileGate(
        metric="TTFT",
        samples=[0.05] * 100,
        q=0.95,
        unit="s",
        at_least=False,
        bound=0.049,
        client_error=0.002,
    )
    assert gate_from_json(case.to_json()).judge() == case.judge()
    assert case.judge().status is Status.INVALID
