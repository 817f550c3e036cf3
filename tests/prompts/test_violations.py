"""What refuses a task: faults that nobody means, and not the ways of asking that a suite may want to try."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_llmperf.config.models import PROMPT_FINDINGS, Model
from pytest_llmperf.prompts import variants
from pytest_llmperf.prompts.asking import ask, with_reply_prefill
from pytest_llmperf.prompts.lint import Finding, injected_text
from pytest_llmperf.prompts.template import ChatTemplate, Rendered
from pytest_llmperf.prompts.variants import Ask, Message, Variant
from pytest_llmperf.prompts.violations import (
    REMEDIES,
    as_chat,
    other_text,
    prompt_violations,
    token_at_the_beginning,
    too_long,
)

QUESTION = "How many legs do 3 cats have?"


def names(findings: list[Finding]) -> list[str]:
    return [one.rule for one in findings]


@pytest.mark.parametrize(
    "variant",
    [
        variants.without_instruction,
        variants.with_system("Be brief, please."),
        variants.at_temperature(1.5),
        variants.chinese,
    ],
)
def test_a_way_of_asking_that_a_suite_wants_refuses_nothing(
    r1_like: ChatTemplate, thinker: Model, variant: Variant
) -> None:
    asked = ask(thinker, QUESTION, variant)
    assert prompt_violations(asked, r1_like.render_ask(asked), thinker) == []


def test_a_hidden_system_prompt_and_a_doubled_think_refuse(
    qwen_like: ChatTemplate, r1_like: ChatTemplate, thinker: Model
) -> None:
    asked = ask(thinker, QUESTION)
    assert names(prompt_violations(asked, qwen_like.render_ask(asked), thinker)) == ["hidden-system"]
    doubling = dataclasses.replace(
        r1_like, source=r1_like.source.replace("<think>\\n", "<think>\\n<think>\\n")
    )
    assert names(prompt_violations(asked, doubling.render_ask(asked), thinker)) == ["doubled-think"]


def test_a_chat_that_was_rendered_here_begins_once(r1_like: ChatTemplate, thinker: Model) -> None:
    asked = with_reply_prefill(ask(thinker, QUESTION), r1_like, "<think>\nFirst of all,")
    assert prompt_violations(asked, r1_like.render_ask(asked), thinker) == []
    assert as_chat(asked) == ask(thinker, QUESTION)


def test_an_earlier_reply_whose_thinking_the_template_leaves_out_hides_nothing(
    r1_like: ChatTemplate, thinker: Model
) -> None:
    turns: tuple[Message, ...] = (
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "<think>\nLet me add them up.\n</think>\nIt makes four in all."},
        {"role": "user", "content": "And 2 + 1?"},
        {"role": "assistant", "content": "Thank you for telling me."},
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "Thank you for telling me."},
        {"role": "user", "content": QUESTION},
    )
    asked = Ask("m", thinker.sampling, turns)
    rendered = r1_like.render_ask(asked)
    assert "add them up" not in rendered.text
    assert injected_text(rendered, turns) == ""
    assert prompt_violations(asked, rendered, thinker) == []


def test_a_prompt_must_leave_room_for_its_answer(plain: Model) -> None:
    asked = ask(plain, QUESTION)
    most = asked.sampling.max_tokens
    assert too_long(76, asked, most + 76) == []
    (found,) = too_long(77, asked, most + 76)
    assert found.rule == "too-long"
    assert "77 tokens" in found.says
    assert "76 are left" in found.says


@pytest.mark.parametrize(
    ("tokens", "wrong"), [((1, 5, 6), False), ((5, 6), True), ((1, 1, 5), True), ((), True)]
)
def test_a_chat_begins_with_the_tokenizers_own_token_once(tokens: tuple[int, ...], wrong: bool) -> None:
    assert names(token_at_the_beginning(tokens, 1, "<s>")) == (["bos"] if wrong else [])


def test_where_two_texts_part_is_shown() -> None:
    (found,) = other_text("<user>How many?<reply>", "<user>Be brief. How many?<reply>", 4, 7)
    assert "'<user>Be brief. How many?<reply>'" in found.says
    (found,) = other_text("<user>How many?", None, 4, 7)
    assert "7 tokens" in found.says
    assert "4 of the text" in found.says


def test_every_finding_has_a_remedy_and_can_be_accepted() -> None:
    assert set(REMEDIES) == set(PROMPT_FINDINGS)
    assert names([*too_long(9, ask(_row(), QUESTION), 9), *other_text("a", "b", 1, 1)]) == [
        "too-long",
        "other-template",
    ]
    unknown = Rendered("Only this.")
    assert names(prompt_violations(ask(_row(), QUESTION), unknown, _row())) == ["question-altered"]


def _row() -> Model:
    return Model(name="m", profile="p", weights="w")
