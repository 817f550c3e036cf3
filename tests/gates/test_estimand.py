"""What a suite writes: it reads naturally, and cannot be misused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from pytest_llmperf.config.bounds import Bound
from pytest_llmperf.gates.base import Gate, strict
from pytest_llmperf.gates.bound import Points, points
from pytest_llmperf.gates.judgement import GateError, GateFailed, GateInconclusive, GateInvalid, Judgement
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.gates.quantile import Series
from pytest_llmperf.gates.ratio import Ratio
from pytest_llmperf.gates.scalar import Scalar
from pytest_llmperf.gates.verdict import Status


def share(right: int, n: int = 400, **options: Any) -> Share:
    return Share("accuracy", {f"item-{index}": index < right for index in range(n)}, **options)


GOOD, BAD, LOWER = share(320), share(240), share(318)
TTFT = Series("ttft", [0.05 + 0.0001 * k for k in range(400)], "s", noun="request")
TPOT = Ratio("tpot", [[(0.012, 0.012 + 0.0001 * (k % 3)) for k in range(20)]], "s")
RATE = Ratio("throughput", [[(990.0 + k % 3, 1000.0) for k in range(20)]], "tok/s")
PEAK, BASE_PEAK = Scalar("peak memory", 7.2e9, "bytes"), Scalar("peak memory", 7.0e9, "bytes")


def test_it_reads_like_plain_asserts() -> None:
    assert GOOD >= 0.74
    assert Bound(0.74, "share", "budgets.toml [accuracy] floor") <= GOOD
    assert share(1) <= 0.02
    assert GOOD - points(3) <= LOWER
    assert LOWER.not_worse_than(GOOD, margin=points(3))
    assert share(2) <= share(1) + points(2)
    assert share(2).not_higher_than(share(1), margin=points(2))
    assert TTFT.p95 <= 0.1
    assert TTFT.quantile(0.9) <= Bound(0.1, "s")
    assert TPOT <= 1.05
    assert RATE >= 0.95
    assert PEAK <= 8e9
    assert PEAK <= BASE_PEAK * 1.05
    assert BASE_PEAK * Bound(1.05, "ratio") >= PEAK


def test_either_side_may_stand_first() -> None:
    assert 0.74 <= GOOD  # noqa: SIM300
    assert Bound(0.1, "s") >= TTFT.p95
    assert GOOD - points(3) <= LOWER
    assert BASE_PEAK * 1.05 >= PEAK
    assert 1.05 * BASE_PEAK >= PEAK


def test_a_chained_comparison_is_two_gates() -> None:
    seen: list[Gate] = []

    def judge(case: Gate) -> Judgement:
        seen.append(case)
        return strict(case)

    assert 0.7 <= share(320, judge=judge) <= 0.9
    assert [case.bound for case in seen] == [0.7, 0.9]
    with pytest.raises(GateFailed):
        bool(0.1 <= share(320, judge=judge) <= 0.2)


def test_strictly_below_means_the_same_gate() -> None:
    assert (TTFT.p95 < 0.1).verdict == (TTFT.p95 <= 0.1).verdict
    assert (GOOD > 0.74).verdict == (GOOD >= 0.74).verdict


NOT_PASSED: dict[str, tuple[Callable[[], Judgement], type[GateError]]] = {
    "floor missed": (lambda: BAD >= 0.74, GateFailed),
    "floor undecided": (lambda: share(300) >= 0.74, GateInconclusive),
    "no answers": (lambda: share(0, n=0) >= 0.74, GateInvalid),
    "margin missed": (lambda: GOOD - points(3) <= BAD, GateFailed),
    "quantile over budget": (lambda: TTFT.p95 <= 0.01, GateFailed),
    "ratio over budget": (lambda: TPOT <= 0.9, GateFailed),
    "scalar over budget": (lambda: PEAK <= 1e9, GateFailed),
    "scalar ratio over budget": (lambda: PEAK <= BASE_PEAK * 1.01, GateFailed),
}


@pytest.mark.parametrize(("compare", "error"), NOT_PASSED.values(), ids=NOT_PASSED)
def test_what_did_not_pass_raises_its_own_failure(
    compare: Callable[[], Judgement], error: type[GateError]
) -> None:
    with pytest.raises(error) as caught:
        assert compare()
    assert isinstance(caught.value, AssertionError)
    assert caught.value.verdict.why in str(caught.value)


def test_neither_not_nor_or_turns_a_failure_into_something_else() -> None:
    with pytest.raises(GateFailed):
        assert not BAD >= 0.74
    with pytest.raises(GateFailed):
        assert BAD >= 0.74 or GOOD >= 0.74


def test_a_failure_prints_a_sentence_and_a_table() -> None:
    with pytest.raises(GateFailed) as caught:
        assert Bound(0.74, "share", "suites/budgets.toml [accuracy] floor") <= BAD
    assert str(caught.value) == (
        "FAIL: accuracy 60.0 % is below the floor of 74 % (at most 64.1 % with 95 % confidence, n = 400 items)\n"
        "  metric      accuracy\n"
        "  observed    60.0 %\n"
        "  interval    55.8 % … 64.1 %\n"
        "  bound       74 %\n"
        "  n           400\n"
        "  method      Clopper-Pearson\n"
        "  bound from  suites/budgets.toml [accuracy] floor"
    )


def test_a_failure_survives_a_process_border() -> None:
    with pytest.raises(GateFailed) as caught:
        assert BAD >= 0.74
    copy = pickle.loads(pickle.dumps(caught.value))
    assert type(copy) is GateFailed
    assert (copy.verdict, str(copy)) == (caught.value.verdict, str(caught.value))


def test_the_policy_decides_what_inconclusive_does_and_nothing_else() -> None:
    undecided, failed = (share(300) >= 0.74).verdict, (BAD >= 0.74).verdict
    assert Judgement(undecided, inconclusive="warn")
    with pytest.raises(GateInconclusive):
        bool(Judgement(undecided, inconclusive="fail"))
    for status in (Status.FAIL, Status.INVALID):
        assert (share(0, n=0) >= 0.5).verdict.status is Status.INVALID
        with pytest.raises(GateError):
            bool(Judgement(failed if status is Status.FAIL else (share(0, n=0) >= 0.5).verdict, "warn"))
    with pytest.raises(ValueError, match="'fail', 'warn' or 'exit'"):
        Judgement(undecided, inconclusive="pass")  # type: ignore[arg-type]


def test_a_comparison_that_nobody_asserted_can_be_told() -> None:
    judgement = GOOD >= 0.74
    assert judgement.asked is False
    assert judgement
    assert judgement.asked is True


def test_the_injected_judge_sees_every_case_and_its_derived_ones() -> None:
    seen: list[Gate] = []

    def judge(case: Gate) -> Judgement:
        seen.append(case)
        return Judgement(case.judge(), "warn")

    assert Series("ttft", [0.1] * 400, "s", judge=judge).p95 <= 1.0
    assert share(320, judge=judge) >= GOOD - points(3)
    assert share(300, judge=judge) >= 0.74
    assert [case.judge().status for case in seen] == [Status.PASS, Status.PASS, Status.INCONCLUSIVE]


MISUSES: dict[str, tuple[Callable[[], object], str]] = {
    "two shares without a margin": (lambda: GOOD >= LOWER, "without a margin"),
    "the other way round": (lambda: GOOD <= LOWER, "without a margin"),
    "two quantiles": (lambda: TTFT.p95 <= TTFT.p50, "without a margin"),
    "two scalars": (lambda: PEAK <= BASE_PEAK, "without a margin"),
    "truth of a share": (lambda: bool(GOOD), "not true or false"),
    "truth of a series": (lambda: bool(TTFT), "not true or false"),
    "truth of a quantile": (lambda: bool(TTFT.p95), "not true or false"),
    "truth of a ratio": (lambda: bool(TPOT), "not true or false"),
    "truth of a scalar": (lambda: bool(PEAK), "not true or false"),
    "truth of a margin": (lambda: bool(points(3)), "not true or false"),
    "truth of a shifted share": (lambda: bool(GOOD - points(3)), "not true or false"),
    "truth of a scaled scalar": (lambda: bool(PEAK * 1.1), "not true or false"),
    "truth of a verdict": (lambda: bool((GOOD >= 0.74).verdict), "not true or false"),
    "equal to a number": (lambda: GOOD == 0.74, "cannot be equal"),
    "different from a number": (lambda: TTFT.p95 != 0.1, "cannot differ"),
    "a judgement compared": (lambda: (GOOD >= 0.74) == True, "asserted, not compared"),  # noqa: E712
    "a plain number as margin": (lambda: GOOD >= LOWER - 3, "points(3)"),
    "a small number as margin": (lambda: GOOD >= LOWER - 0.03, "points(3)"),
    "points as a floor": (lambda: points(74) <= GOOD, "is a difference"),
    "points as a budget": (lambda: TTFT.p95 <= points(3), "is a difference"),
    "a series without a quantile": (lambda: TTFT <= 0.1, "say which quantile"),
    "a wrong unit": (lambda: TTFT.p95 <= Bound(100.0, "ms", "budgets.toml"), "in 'ms' (budgets.toml)"),
    "a word": (lambda: GOOD >= "0.74", "not with str '0.74'"),
    "nothing": (lambda: GOOD >= None, "not with NoneType None"),
    "a bool": (lambda: GOOD >= True, "not with bool True"),
    "a shifted share against a number": (lambda: GOOD - points(3) >= 0.7, "compared with another share"),
    "a bool in points": (lambda: points(True), "a number of percentage points"),
    "a word as bound": (lambda: Bound("0.74"), "a bound is a number"),  # type: ignore[arg-type]
    "a scaled scalar as a condition": (
        lambda: bool(PEAK * 1.05),
        f"{PEAK.metric} times a factor is not true or false",
    ),
    "a factor that is no number": (lambda: PEAK * "1.05", "not with str '1.05'"),
    "a scaled scalar against a number": (
        lambda: PEAK * 1.05 >= 3.0,
        "a measurement times a factor is compared with",
    ),
    "a scaled scalar of another unit": (lambda: Scalar("ready", 3.0, "s") * 2 >= PEAK, "measured in 'bytes'"),
}


@pytest.mark.parametrize(("misuse", "remedy"), MISUSES.values(), ids=MISUSES)
def test_a_misuse_raises_type_error_and_says_what_to_write(misuse: Callable[[], object], remedy: str) -> None:
    with pytest.raises(TypeError) as caught:
        misuse()
    assert remedy in str(caught.value)


BAD_VALUES: dict[str, Callable[[], object]] = {
    "a NaN floor": lambda: float("nan") <= GOOD,
    "an infinite budget": lambda: TTFT.p95 <= float("inf"),
    "a NaN bound": lambda: Bound(float("nan"), "s"),
    "percent for a share": lambda: GOOD >= 74,
    "more than all points": lambda: points(300),
    "NaN points": lambda: points(float("nan")),
    "a ratio of zero": lambda: TPOT <= 0,
    "a quantile in percent": lambda: TTFT.quantile(95),
}


@pytest.mark.parametrize("make", BAD_VALUES.values(), ids=BAD_VALUES)
def test_a_number_that_cannot_be_meant_raises_value_error(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r".{20,}"):
        make()


def test_points_know_their_size_and_repr() -> None:
    assert points(3) == Points(0.03)
    assert repr(points(3)) == "points(3)"
    assert repr(points(2.5)) == "points(2.5)"
    numbers: list[object] = [3, 0.03]
    assert points(3) not in numbers


def test_estimands_can_be_kept_in_sets_and_printed() -> None:
    assert len({GOOD, BAD, TTFT, TPOT, PEAK}) == 5
    assert "accuracy" in repr(GOOD)
    assert "item-1" not in repr(GOOD)


def test_point_estimates_are_there_for_printing() -> None:
    assert GOOD.value == pytest.approx(0.8)
    assert TTFT.p95.value == pytest.approx(0.0879)
    assert share(0, n=0).value is None
    assert Series("ttft", [None], "s").p95.value is None


def test_where_the_bound_was_written_is_in_the_verdict() -> None:
    origin = "suites/budgets.toml [embedded.cpu.latency] ttft_p95"
    assert (TTFT.p95 <= Bound(0.1, "s", origin)).verdict.origin == origin
    assert (LOWER - points(3, origin=origin) <= GOOD).verdict.origin == origin
    assert (LOWER - Bound(0.03, "points", origin) <= GOOD).verdict.origin == origin
