"""Repeated runs are counted by what they said, and only those of the same code."""

from __future__ import annotations

from typing import Any

from benchmarks import repeats

ITSELF, DAMAGED, SLOW = repeats.QUESTIONS


def line(question: repeats.Question, code: int, *not_pass: str, version: str = "a") -> dict[str, Any]:
    return {
        "question": question.name,
        "code": version,
        "date": "2026-11-24 10:00",
        "machine": "m",
        "exit": code,
        "seconds": 100,
        "not_pass": list(not_pass),
    }


def test_a_planted_regression_must_be_red_and_named() -> None:
    assert repeats.is_right(DAMAGED, line(DAMAGED, 1, "FAIL embedded accuracy"))
    assert not repeats.is_right(DAMAGED, line(DAMAGED, 1, "INCONCLUSIVE embedded accuracy"))
    assert not repeats.is_right(DAMAGED, line(DAMAGED, 0))
    assert not repeats.is_right(SLOW, line(SLOW, 1, "FAIL embedded accuracy"))


def test_against_itself_anything_but_green_is_wrong() -> None:
    assert repeats.is_right(ITSELF, line(ITSELF, 0))
    assert not repeats.is_right(ITSELF, line(ITSELF, 1, "INCONCLUSIVE TPOT at 8 ratio"))


def test_the_page_counts_the_runs_of_each_version_of_the_code_and_the_last_comes_first() -> None:
    old = [line(ITSELF, 0), line(ITSELF, 1, "INVALID x")]
    new = [{**line(ITSELF, 1, version="b"), "date": "2099-01-01 00:00"}]
    first, second = repeats.page([*old, *new]).split("## Code ")[1:]
    assert first.startswith("b, 2099-01-01 00:00 to")
    assert "| distill against itself | green | 1 | 0 |" in first
    assert "| distill against itself | green | 2 | 1 | 100 to 100 | INVALID x (1) |" in second
    assert "distill-slow" not in first + second


def test_the_version_of_the_code_is_that_of_the_working_tree() -> None:
    assert repeats.code_version() == repeats.code_version()
    assert len(repeats.code_version()) == 12
