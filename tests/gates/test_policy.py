"""Advisory and waived gates: told with their reason, counted by none of the rules that make a run green or red."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from pytest_llmperf.config.waivers import Waiver
from pytest_llmperf.gates.judgement import GateFailed, Judgement, is_green
from pytest_llmperf.gates.policy import TolerancePolicy
from pytest_llmperf.gates.run_verdict import RunVerdict, run_verdict
from pytest_llmperf.gates.verdict import Status, Verdict

TODAY = date(2026, 12, 1)
EVERY = tuple(Status)


def gate(status: Status, p_value: float | None = 0.5) -> Verdict:
    p_value = 0.001 if status is Status.FAIL else p_value
    return Verdict(status, "accuracy", 0.7, None, 0.74, 100, None, "m", "accuracy says so", p_value=p_value)


def waived_until(days: int, *, invalid: bool = False) -> TolerancePolicy:
    return TolerancePolicy("", Waiver("t", TODAY + timedelta(days), "a known fault", invalid), TODAY)


ADVISORY = TolerancePolicy("on trial", None, TODAY)
WAIVED = waived_until(10)


def run(*verdicts: Verdict, **how: object) -> RunVerdict:
    return run_verdict(verdicts, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", EVERY)
def test_an_advisory_gate_makes_no_run_red(status: Status) -> None:
    advisory = ADVISORY.applied_to(gate(status))
    found = run(gate(Status.PASS), advisory)
    assert (found.status, found.green) == (Status.PASS, True)
    assert found.advisory_failed == (status is not Status.PASS)
    assert is_green(advisory, "fail")
    assert Judgement(advisory)


@pytest.mark.parametrize("status", [Status.FAIL, Status.INCONCLUSIVE])
def test_a_waiver_lets_a_judged_gate_through_on_its_last_day_and_not_on_the_next(status: Status) -> None:
    let_through = waived_until(0).applied_to(gate(status))
    assert run(gate(Status.PASS), let_through).headline == "PASS, 1 waived"
    assert run(let_through).green
    ended = waived_until(-1).applied_to(gate(status))
    found = run(gate(Status.PASS), ended)
    assert (found.status, found.green, found.waived) == (status, False, 0)
    assert found.look_first == (
        f"{status.value}: accuracy says so; its waiver ended on 2026-11-30 (a known fault)",
    )


def test_a_waiver_lets_nothing_through_that_was_not_measured() -> None:
    invalid = WAIVED.applied_to(gate(Status.INVALID))
    found = run(gate(Status.PASS), invalid)
    assert (found.status, found.green) == (Status.INVALID, False)
    assert "does not cover INVALID, which needs invalid = true" in found.look_first[0]


def test_a_waived_invalid_is_told_and_is_no_evidence() -> None:
    invalid = waived_until(10, invalid=True).applied_to(gate(Status.INVALID))
    found = run(gate(Status.PASS), invalid)
    assert (found.headline, found.green) == ("PASS, 1 waived", True)
    assert found.let_through == ("waived until 2026-12-11: a known fault — INVALID: accuracy says so",)
    assert (run(invalid).status, run(invalid).green) == (Status.INVALID, False)


@pytest.mark.parametrize("status", EVERY)
def test_a_run_of_advisory_gates_alone_requires_nothing_and_is_invalid(status: Status) -> None:
    found = run(ADVISORY.applied_to(gate(status)))
    assert (found.status, found.green) == (Status.INVALID, False)
    assert found.why.startswith("no gate that counts was judged")


def test_the_run_says_what_it_let_through() -> None:
    found = run(
        gate(Status.PASS), WAIVED.applied_to(gate(Status.FAIL)), ADVISORY.applied_to(gate(Status.FAIL))
    )
    assert found.headline == "PASS, 1 waived, 1 advisory failed"
    assert found.why == "3 gates: 1 PASS, 1 FAIL waived, 1 FAIL advisory"
    assert found.let_through == (
        "waived until 2026-12-11: a known fault — FAIL: accuracy says so",
        "advisory: on trial — FAIL: accuracy says so",
    )
    assert (found.culprits, found.look_first) == ((), ())


def test_problems_of_the_run_are_not_waived() -> None:
    found = run(gate(Status.PASS), WAIVED.applied_to(gate(Status.FAIL)), problems=["the run was interrupted"])
    assert (found.status, found.green, found.headline) == (Status.INVALID, False, "INVALID, 1 waived")


def test_a_budget_says_what_an_undecided_gate_does_whatever_the_run_says() -> None:
    warns = replace(gate(Status.INCONCLUSIVE), inconclusive="warn")
    fails = replace(gate(Status.INCONCLUSIVE), inconclusive="fail")
    assert run(gate(Status.PASS), warns, inconclusive="fail").green
    assert not run(gate(Status.PASS), fails, inconclusive="warn").green
    assert not run(warns, fails).green


@pytest.mark.parametrize(
    ("others", "undecided"),
    [
        ([], True),
        ([gate(Status.PASS)], True),
        ([gate(Status.FAIL)], False),
        ([gate(Status.INVALID)], False),
        ([replace(gate(Status.INCONCLUSIVE), inconclusive="fail")], False),
        ([replace(gate(Status.INCONCLUSIVE), inconclusive="warn")], True),
        ([WAIVED.applied_to(gate(Status.FAIL))], True),
        ([ADVISORY.applied_to(gate(Status.INVALID))], True),
    ],
)
def test_only_what_is_undecided_alone_has_the_exit_code_of_its_own(
    others: list[Verdict], undecided: bool
) -> None:
    found = run(gate(Status.INCONCLUSIVE), *others, inconclusive="exit")
    assert (found.undecided, found.green) == (undecided, False)
    assert not run(gate(Status.INCONCLUSIVE), *others, inconclusive="fail").undecided
    with pytest.raises(AssertionError):
        assert Judgement(gate(Status.INCONCLUSIVE), "exit")


def test_a_test_that_goes_on_after_a_waived_gate_still_fails_by_the_next() -> None:
    assert Judgement(WAIVED.applied_to(gate(Status.FAIL)))
    with pytest.raises(GateFailed):
        assert Judgement(waived_until(-1).applied_to(gate(Status.FAIL)))
