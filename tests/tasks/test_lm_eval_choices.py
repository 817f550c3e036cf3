"""What lm-eval's metrics compare in a multiple choice, and which choice they pick."""

from __future__ import annotations

import pytest

from pytest_llmperf.client.continuations import ContinuationScore
from pytest_llmperf.tasks.lm_eval_choices import compared, picked, shown_choices, shown_text


def scores(*values: float) -> list[ContinuationScore]:
    return [ContinuationScore(value, is_greedy=True) for value in values]


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("acc", [-2.0, -6.0]),
        ("acc_norm", [-1.0, -2.0]),
        ("acc_bytes", [-0.5, -2.0]),
        ("acc_mutual_info", [-1.0, 1.0]),
        ("own", [-2.0, -6.0]),
    ],
)
def test_each_metric_compares_its_own_values(metric: str, values: list[float]) -> None:
    # Two characters in four bytes, and three in three.
    assert compared(metric, scores(-2.0, -6.0, -1.0, -7.0), ["éé", "one"]) == values


def test_the_first_of_equal_choices_is_picked() -> None:
    assert picked([-2.0, -1.0, -1.0]) == 1


def test_several_right_choices_are_marked_and_the_margin_is_that_of_the_best() -> None:
    assert shown_choices([-1.0, -2.0, -4.0], ["a", "b", "c"], [0, 2]).splitlines() == [
        "−1.000  a  (picked, right)",
        "−2.000  b",
        "−4.000  c  (right)",
        "margin of the right answer: 1.000",
    ]
    assert "margin" not in shown_choices([-1.0], ["a"], [0])


def test_a_text_alone_says_whether_it_is_what_the_model_would_have_written() -> None:
    assert shown_text(ContinuationScore(-1.5, is_greedy=False)) == (
        "log probability −1.500; not each of its tokens was the most likely one"
    )
