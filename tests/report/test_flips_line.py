"""The line of flips below the table names every gate that pairs items."""

from __future__ import annotations

from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.gate_cells import flips_line


def verdict(flips: float | None) -> Verdict:
    return Verdict(
        status=Status.PASS,
        metric="gsm8k accuracy",
        observed=0.5,
        interval=(0.4, 0.6),
        bound=0.4,
        n=100,
        n_needed=None,
        method="",
        why="",
        flips=flips,
        flips_interval=None if flips is None else (flips - 0.1, flips + 0.1),
    )


def test_two_gates_of_one_name_are_two() -> None:
    line = flips_line([verdict(0.435), verdict(None), verdict(0.58)])
    assert line == (
        "flips (one side right, the other not): gsm8k accuracy 43.5 % (33.5 % … 53.5 %); "
        "gsm8k accuracy 58.0 % (48.0 % … 68.0 %)"
    )


def test_without_pairs_there_is_no_line() -> None:
    assert flips_line([verdict(None)]) == ""
