"""A reply that begins as the asker says: what is sent, and what skipping the thinking means then."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_llmperf.config.models import Model, PromptRules
from pytest_llmperf.errors import UsageError
from pytest_llmperf.prompts import variants
from pytest_llmperf.prompts.asking import ask
from pytest_llmperf.prompts.behaviour import thinking_skipped
from pytest_llmperf.prompts.template import template_of
from pytest_llmperf.tasks.task import Shot

PAIR = Model(name="distill", profile="p", weights="embedded:tiny-distill", rules=PromptRules(thinking=True))
FEW_SHOT = Model(name="math", profile="p", weights="w", rules=PromptRules(protocol="few-shot"))


def test_an_opening_takes_the_place_of_the_templates_own() -> None:
    own = "<think>\n"
    plain = template_of(PAIR).render_ask(ask(PAIR, "2 + 2?")).text
    assert plain.endswith(own)
    assert ask(PAIR, "2 + 2?", variants.opened_with("\n")).prompt == plain.removesuffix(own) + "\n"
    assert ask(PAIR, "2 + 2?", variants.opened_with(own)).prompt == plain


def test_a_rendered_chat_gets_no_special_token_twice_and_keeps_its_user_turn() -> None:
    asked = ask(PAIR, "2 + 2?", variants.opened_with("\n"))
    assert asked.path == "/v1/completions"
    assert asked.body()["add_special_tokens"] is False
    assert "messages" not in asked.body()
    assert asked.user_turn == ask(PAIR, "2 + 2?").user_turn


def test_a_row_that_continues_a_text_cannot_open_a_reply() -> None:
    with pytest.raises(UsageError, match="has no place for it"):
        ask(FEW_SHOT, "2 + 2?", variants.opened_with("\n"))


def test_zero_shot_leaves_out_the_examples_and_nothing_else() -> None:
    shots = (Shot("1 + 1?", "The answer is 2."),)
    bare = ask(FEW_SHOT, "2 + 2?", variants.zero_shot, shots=shots)
    assert bare == ask(FEW_SHOT, "2 + 2?")
    assert bare != ask(FEW_SHOT, "2 + 2?", shots=shots)
    assert ask(PAIR, "2 + 2?", variants.zero_shot) == ask(PAIR, "2 + 2?")


def test_a_rendered_text_has_the_system_message_of_its_variant() -> None:
    both = dataclasses.replace(variants.opened_with("\n"), system="Be brief.")
    assert "Be brief." in str(ask(PAIR, "2 + 2?", both).prompt)


@pytest.mark.parametrize(
    ("reply", "opened", "skipped"),
    [
        ("The answer is 4.", True, False),  # the prompt opened the thinking: this is a thought
        ("The answer is 4.", False, True),  # nobody did
        ("<think>\n2 and 2</think>4", False, False),
        ("2 and 2</think>4", False, False),
        ("<think>\n\n</think>4", False, True),
    ],
)
def test_a_reply_that_nobody_opened_must_open_its_own_thinking(
    reply: str, opened: bool, skipped: bool
) -> None:
    assert thinking_skipped(reply, opened=opened) is skipped
