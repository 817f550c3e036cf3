"""Many gates, one word for the run."""

from __future__ import annotations

import pytest

from pytest_llmperf.gates.run_verdict import run_verdict
from pytest_llmperf.gates.verdict import Status, Verdict


def gate(status: Status, metric: str = "accuracy", p_value: float | None = 0.5, why: str = "") -> Verdict:
    return Verdict(
        status, metric, 0.7, None, 0.74, 100, None, "m", why or f"{metric} says so", p_value=p_value
    )


PASS, FAIL = gate(Status.PASS), gate(Status.FAIL, p_value=0.001)
UNDECIDED, INVALID = gate(Status.INCONCLUSIVE), gate(Status.INVALID, p_value=None)


@pytest.mark.parametrize(
    ("verdicts", "status", "green_strict", "green_lenient"),
    [
        ([PASS, PASS], Status.PASS, True, True),
        ([PASS, UNDECIDED], Status.INCONCLUSIVE, False, True),
        ([PASS, UNDECIDED, FAIL], Status.FAIL, False, False),
        ([PASS, UNDECIDED, FAIL, INVALID], Status.INVALID, False, False),
        ([INVALID], Status.INVALID, False, False),
        ([], Status.INVALID, False, False),
    ],
)
def test_the_worst_gate_is_the_run(
    verdicts: list[Verdict], status: Status, green_strict: bool, green_lenient: bool
) -> None:
    run = run_verdict(verdicts)
    assert (run.status, run.green) == (status, green_strict)
    assert run_verdict(verdicts, inconclusive="warn").green is green_lenient


def test_a_run_without_gates_says_so() -> None:
    assert run_verdict([]).why == "no gate was judged, so nothing is known about the candidate"


def test_only_failures_that_hold_up_are_named() -> None:
    verdicts = [gate(Status.FAIL, "tpot", 0.04), gate(Status.FAIL, "accuracy", 1e-6)]
    verdicts += [gate(Status.PASS, f"other {k}") for k in range(18)]
    run = run_verdict(verdicts)
    assert [verdict.metric for verdict in run.culprits] == ["accuracy"]
    assert run.why == "20 gates: 2 FAIL, 18 PASS; shown to be out of bounds after Holm's correction: accuracy"
    assert run.status is Status.FAIL


def test_a_loss_that_stopped_early_is_named_beside_many_clear_gates() -> None:
    clear = [gate(Status.PASS, f"clear {k}", 0.97) for k in range(40)]
    run = run_verdict([gate(Status.FAIL, "accuracy", 0.01), gate(Status.FAIL, "boxed", 0.02), *clear])
    assert [verdict.metric for verdict in run.culprits] == ["accuracy", "boxed"]
    close = [gate(Status.INCONCLUSIVE, f"close {k}", 0.5) for k in range(6)]
    assert run_verdict([gate(Status.FAIL, "accuracy", 0.01), *close, *clear]).culprits == ()


def test_a_failure_that_could_be_chance_still_makes_the_run_red() -> None:
    run = run_verdict([gate(Status.FAIL, "tpot", 0.04), gate(Status.PASS)])
    assert (run.status, run.culprits) == (Status.FAIL, ())
    assert "none of them alone" in run.why


def test_a_single_measurement_over_budget_is_always_named() -> None:
    run = run_verdict([gate(Status.FAIL, "peak memory", None), gate(Status.FAIL, "accuracy", 1e-9)])
    assert [verdict.metric for verdict in run.culprits] == ["peak memory", "accuracy"]


def test_at_most_three_lines_to_look_at_first_and_none_twice() -> None:
    dead = [gate(Status.INVALID, "ttft", None, "the server died") for _ in range(5)]
    run = run_verdict([gate(Status.INCONCLUSIVE, "loops"), *dead, FAIL, gate(Status.FAIL, "tpot", 0.04)])
    assert run.look_first == (
        "INVALID: the server died",
        "FAIL: accuracy says so",
        "FAIL: tpot says so",
    )
    assert run_verdict([PASS]).look_first == ()


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="'fail', 'warn' or 'exit', not 'ignore'"):
        run_verdict([PASS], inconclusive="ignore")  # type: ignore[arg-type]
