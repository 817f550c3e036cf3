"""Costs and behaviours of answers, for the record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.client.trace import RequestOutcome as Ending
from pytest_llmperf.measure.answers import GradedAnswer, answer_stats, behaviour_of
from pytest_llmperf.tasks.grading import Grade, Outcome

BODY = {
    "messages": [{"role": "user", "content": "How many apples are left in the basket? Put it in \\boxed{}."}]
}


def asked(
    item: str, outcome: Outcome, tokens: int, reply: str = "It is \\boxed{4}.", seconds: float = 1.0
) -> GradedAnswer:
    ok = outcome is not Outcome.INFRA
    ending = Ending.OK if ok else Ending.CUT
    finish = "length" if outcome is Outcome.INCOMPLETE else "stop"
    answer = Answer(0, reply, "", finish, 10, tokens, None, ending, "", 1, seconds)
    return GradedAnswer(item, BODY, answer, Grade(outcome, ""), reply)


def of(*answers: GradedAnswer) -> dict[str, Any]:
    return answer_stats(answers, thinking=False, temperature=0.6)


def test_a_correct_answer_costs_the_tokens_of_the_wrong_ones_too() -> None:
    found = of(
        asked("a", Outcome.CORRECT, 100, seconds=1.0),
        asked("b", Outcome.WRONG, 300, seconds=5.0),
        asked("c", Outcome.CORRECT, 200, seconds=2.0),
    )
    assert found["tokens_per_answer"] == 200
    assert found["tokens_per_correct"]["value"] == 300
    assert found["seconds_per_correct"]["value"] == 4.0
    assert found["tokens_per_correct"]["low"] < 300 < found["tokens_per_correct"]["high"]


def test_samples_of_one_item_are_one_observation() -> None:
    twice = [
        asked("a", Outcome.CORRECT, 100),
        asked("a", Outcome.WRONG, 300),
        asked("b", Outcome.CORRECT, 50),
    ]
    assert of(*twice)["tokens_per_correct"] | {"low": 0, "high": 0} == {
        "value": 225,
        "low": 0,
        "high": 0,
        "n": 2,
    }


def test_what_never_came_is_no_answer() -> None:
    lost = asked("b", Outcome.INFRA, 0, reply="")
    found = of(asked("a", Outcome.CORRECT, 100), lost)
    assert (found["tokens_per_answer"], found["unboxed"], found["incomplete"]) == (100, 0.0, 0.0)
    assert of(lost)["unboxed"] is None
    assert of(lost)["tokens_per_correct"] is None


@pytest.mark.parametrize(
    ("fact", "reply", "outcome"),
    [
        ("unboxed", "It is four.", Outcome.WRONG),
        ("incomplete", "It is \\boxed{4}", Outcome.INCOMPLETE),
        ("language_switches", "我们先来计算一下篮子里还剩下多少个苹果 \\boxed{4}", Outcome.CORRECT),
    ],
)
def test_how_an_answer_goes_astray_is_a_share(fact: str, reply: str, outcome: Outcome) -> None:
    found = of(asked("a", Outcome.CORRECT, 10), asked("b", outcome, 10, reply=reply))
    assert found[fact] == 0.5


def test_loops_are_told_with_the_temperature_at_which_they_were_seen() -> None:
    loop = asked("b", Outcome.WRONG, 10, reply="Wait, let me check. " * 40)
    assert of(asked("a", Outcome.CORRECT, 10), loop)["loops"] == {"0.6": 0.5}


@pytest.mark.parametrize(
    ("prompt", "skipped"), [("<|assistant|>\n", True), ("<|assistant|><think>\n", False)]
)
def test_whether_a_rendered_prompt_opened_the_thinking_is_read_from_it(prompt: str, skipped: bool) -> None:
    one = replace(asked("a", Outcome.CORRECT, 9), body={"prompt": prompt})
    assert behaviour_of(one, thinking=True).thinking_skipped is skipped
