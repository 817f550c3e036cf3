"""Grades come in the order of the answers, slow ones are made at the same time, and quick ones without any thread."""

from __future__ import annotations

import os
import threading

import pytest

from pytest_llmperf.measure.evaluation import grade_all


def test_quick_grades_are_made_here_and_in_order() -> None:
    where = set()

    def grade(answer: int) -> int:
        where.add(threading.current_thread())
        return answer * 2

    assert grade_all(grade, range(5000)) == [2 * n for n in range(5000)]
    assert where == {threading.current_thread()}


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor: nothing can be done at the same time")
def test_slow_grades_are_made_at_the_same_time_and_stay_in_order() -> None:
    together = threading.Barrier(2)

    def grade(answer: int) -> int:
        together.wait(30)  # nobody passes alone
        return answer * 2

    assert grade_all(grade, range(20), patience_s=0.0) == [2 * n for n in range(20)]


def test_what_a_grader_raises_is_raised() -> None:
    def grade(answer: int) -> int:
        raise ValueError(f"no grade for {answer}")

    for patience_s in (0.0, 1.0):
        with pytest.raises(ValueError, match="no grade for 0"):
            grade_all(grade, range(3), patience_s=patience_s)


def test_no_answer_has_no_grade() -> None:
    assert grade_all(lambda one: one, []) == []
