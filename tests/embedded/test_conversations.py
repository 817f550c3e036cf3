"""Recall over several turns, and reports with their summaries."""

from __future__ import annotations

import re

import pytest

from pytest_llmperf.embedded import filler
from pytest_llmperf.embedded.recall import ENGLISH, recall_conversation
from pytest_llmperf.embedded.summary import summary_item
from tools.tiny_pair.prompts import CHINESE, chatml


@pytest.mark.parametrize("tokens", [256, 512, 1_024, 1_800])
def test_a_recall_conversation_has_about_the_asked_length(tokens: int) -> None:
    for seed in range(20):
        text = "".join(m["content"] for m in recall_conversation(seed, tokens).messages)
        turns = len(recall_conversation(seed, tokens).messages)
        assert filler.estimate_tokens(text) + 5 * turns == pytest.approx(tokens, rel=0.25)


def test_a_recall_conversation_states_its_fact_exactly_once_before_asking() -> None:
    for seed in range(60):
        item = recall_conversation(seed, 400)
        earlier = [m["content"] for m in item.messages[:-1] if m["role"] == "user"]
        assert sum(item.solution in text for text in earlier) == 1
        assert str(item.answer) in item.solution
        assert item.messages[-1]["content"].endswith(ENGLISH)


def test_a_recall_conversation_alternates_and_ends_with_the_user() -> None:
    roles = [m["role"] for m in recall_conversation(5, 800).messages]
    assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]


def test_recall_facts_lie_at_all_depths() -> None:
    depths = [recall_conversation(seed, 1_024).depth for seed in range(100)]
    assert min(depths) < 0.2
    assert max(depths) > 0.8


def test_recall_can_be_asked_in_chinese_or_without_instruction() -> None:
    assert recall_conversation(1, 300, instruction=CHINESE).messages[-1]["content"].endswith(CHINESE)
    assert recall_conversation(1, 300, instruction="").messages[-1]["content"].endswith("?")


def test_recall_is_the_same_for_the_same_arguments_and_apart_from_training() -> None:
    assert recall_conversation(9, 512) == recall_conversation(9, 512)
    train = {chatml(recall_conversation(s, 200, split="train").messages) for s in range(200)}
    held = {chatml(recall_conversation(s, 200).messages) for s in range(200)}
    assert not train & held


def test_a_reference_summary_holds_every_key_fact() -> None:
    for seed in range(100):
        item = summary_item(seed, 400)
        assert 3 <= len(item.key_facts) <= 4
        assert all(fact in item.reference for fact in item.key_facts)
        assert item.reference.count(".") == 1


def test_every_key_fact_is_in_the_report() -> None:
    for seed in range(50):
        item = summary_item(seed, 400)
        for fact in item.key_facts:
            assert all(word in item.prompt for word in re.findall(r"\w+", fact))


@pytest.mark.parametrize("tokens", [200, 512])
def test_a_report_has_about_the_asked_length(tokens: int) -> None:
    for seed in range(20):
        assert filler.estimate_tokens(summary_item(seed, tokens).prompt) == pytest.approx(tokens, rel=0.15)
