"""How a question becomes a request, for any question."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.config.models import Model, PromptRules, Sampling
from pytest_llmperf.errors import UsageError
from pytest_llmperf.json_values import list_of
from pytest_llmperf.prompts import variants
from pytest_llmperf.prompts.asking import ask
from pytest_llmperf.prompts.variants import Message
from pytest_llmperf.tasks.task import Shot

DISTILL = Model(
    name="distill",
    profile="p",
    weights="w",
    sampling=Sampling(temperature=0.6, top_p=0.95, max_tokens=2048, seed=7),
    rules=PromptRules(thinking=True, temperature=(0.5, 0.7)),
)
MATH = Model(name="math", profile="p", weights="w", rules=PromptRules(protocol="few-shot"))
SHOTS = (Shot("1 + 1?", "One and one.\nThe answer is 2."), Shot("2 + 2?", "Two and two.\nThe answer is 4."))

questions = st.text(min_size=1, max_size=300)


@given(questions)
def test_a_chat_row_gets_one_user_turn_with_question_and_instruction_and_nothing_else(question: str) -> None:
    asked = ask(DISTILL, question)
    assert asked.messages == ({"role": "user", "content": f"{question}\n{DISTILL.rules.instruction}"},)
    assert asked.path == "/v1/chat/completions"
    assert asked.user_turn.startswith(question)


@given(questions)
def test_the_body_holds_the_rows_sampling_and_every_field_is_plain(question: str) -> None:
    body = ask(DISTILL, question).body(stream=True)
    assert body == {
        "model": "distill",
        "messages": [{"role": "user", "content": f"{question}\n{DISTILL.rules.instruction}"}],
        "temperature": 0.6,
        "top_p": 0.95,
        "max_tokens": 2048,
        "seed": 7,
        "stream": True,
    }


@given(questions)
def test_a_few_shot_row_continues_a_text_that_ends_in_the_unanswered_question(question: str) -> None:
    asked = ask(MATH, question, shots=SHOTS)
    assert asked.path == "/v1/completions"
    body = asked.body()
    assert "messages" not in body
    assert isinstance(body["prompt"], str)
    assert body["prompt"].startswith(
        "Question: 1 + 1?\nAnswer: One and one.\nThe answer is 2.\n\n\nQuestion: "
    )
    assert body["prompt"].endswith(f"\n\n\nQuestion: {question}\nAnswer:")
    assert "\n\nQuestion:" in list_of(body["stop"])


def test_several_samples_of_one_question_differ_in_their_seed_alone() -> None:
    first, second = (ask(DISTILL, "1 + 1?", sample=k).body() for k in (0, 1))
    assert (first.pop("seed"), second.pop("seed")) == (7, 8)
    assert first == second


def test_variants_change_what_their_name_says_and_nothing_else() -> None:
    plain = ask(DISTILL, "1 + 1?")
    hot = ask(DISTILL, "1 + 1?", variants.at_temperature(1.5))
    assert dataclasses.replace(hot, sampling=plain.sampling) == plain
    assert hot.sampling.temperature == 1.5
    assert ask(DISTILL, "1 + 1?", variants.chinese).user_turn == f"1 + 1?\n{DISTILL.rules.instruction_zh}"
    assert ask(DISTILL, "1 + 1?", variants.without_instruction).user_turn == "1 + 1?"
    system = ask(DISTILL, "1 + 1?", variants.with_system("Be brief.")).messages
    assert system == ({"role": "system", "content": "Be brief."}, *plain.messages)


def test_without_system_leaves_out_the_system_message_that_a_row_promises() -> None:
    model = dataclasses.replace(DISTILL, rules=dataclasses.replace(DISTILL.rules, system="Be exact."))
    assert [m["role"] for m in ask(model, "1 + 1?").messages] == ["system", "user"]
    assert [m["role"] for m in ask(model, "1 + 1?", variants.without_system).messages] == ["user"]


def test_earlier_turns_stand_between_system_message_and_question() -> None:
    earlier: list[Message] = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    asked = ask(DISTILL, "c?", variants.with_system("s"), earlier=earlier)
    assert [m["role"] for m in asked.messages] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("model", "arguments", "expected"),
    [
        (MATH, {"variant": variants.with_system("s")}, "has no place for it"),
        (MATH, {"variant": variants.chinese}, "has no place for it"),
        (MATH, {"earlier": [{"role": "user", "content": "a"}]}, "earlier turns"),
        (DISTILL, {"shots": SHOTS}, 'worked examples need protocol = "few-shot"'),
    ],
)
def test_what_a_protocol_has_no_place_for_is_an_error(
    model: Model, arguments: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        ask(model, "1 + 1?", **arguments)


def test_a_few_shot_row_has_a_temperature_and_no_system_prompt_anyway() -> None:
    assert ask(MATH, "q", variants.at_temperature(0.3)).sampling.temperature == 0.3
    assert ask(MATH, "q", variants.without_system) == ask(MATH, "q")


@pytest.mark.parametrize("temperature", [-0.1, 2.1, float("nan")])
def test_a_temperature_that_no_server_takes_is_refused(temperature: float) -> None:
    with pytest.raises(UsageError, match="must be between 0 and 2"):
        variants.at_temperature(temperature)


def test_variants_are_values_that_say_their_name() -> None:
    assert variants.at_temperature(0.5) == variants.at_temperature(0.5)
    assert str(variants.at_temperature(0.5)) == "at T = 0.5"
    assert (
        len({variants.chinese, variants.without_system, variants.with_system("a"), variants.with_system("b")})
        == 4
    )
