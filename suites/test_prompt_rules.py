"""The rules that the model's makers give for prompting it, as behaviour.

First what needs no model: every prompt that this run sends keeps the rules. Then how often the answers keep them,
and what it costs to leave them.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

# What we send


@given(question=st.text(min_size=1, max_size=400).filter(str.strip))
@settings(max_examples=50, deadline=None)
def test_no_prompt_breaks_a_rule_whatever_the_question(prompts, question):
    assert prompts.findings(question) == []


def test_no_system_prompt_is_sent_or_hidden_in_the_template(prompts):
    assert prompts.system_text() == prompts.promised_system_text()


def test_the_user_turn_holds_question_and_instruction(prompts):
    rendered = prompts.render("How many legs have 3 cats?")
    assert "How many legs have 3 cats?" in rendered
    assert prompts.instruction in rendered


def test_the_temperature_is_the_recommended_one(candidate):
    low, high = candidate.rules.temperature
    assert low <= candidate.sampling.temperature <= high


def test_answers_to_maths_may_be_long_enough(candidate):
    assert candidate.sampling.max_tokens >= 1024


# How the answers keep them


def test_the_answer_is_boxed(candidate, answers, budget):
    assert answers(candidate).boxed >= budget.rules.boxed


def test_the_answer_is_boxed_when_asked_in_chinese(candidate, answers, rules, budget):
    assert answers(candidate, rules.chinese).boxed >= budget.rules.boxed


def test_the_reply_opens_with_thinking_and_does_not_skip_it(candidate, answers, budget):
    assert answers(candidate).thinking_skipped <= budget.rules.thinking_skipped


def test_answers_come_to_an_end(candidate, answers, budget):
    assert answers(candidate).unfinished <= budget.rules.unfinished


def test_no_answer_runs_in_circles(candidate, answers, budget):
    assert answers(candidate).loops <= budget.rules.loops


def test_answers_stay_in_the_script_of_the_question(candidate, answers, budget):
    assert answers(candidate).language_switches <= budget.rules.language_switch


@pytest.mark.parametrize("temperature", [0.5, 0.7])
def test_any_recommended_temperature_does(candidate, accuracy, rules, budget, temperature):
    assert accuracy(candidate, rules.at_temperature(temperature)) >= budget.rules.temperature_floor


# What leaves them


def test_a_hotter_temperature_than_recommended_is_noticed(prompts):
    _, high = prompts.model.rules.temperature
    assert prompts.findings("How many legs have 3 cats?", temperature=high + 0.3) != []


def test_answers_run_in_circles_no_more_often_when_sampled_hotter(candidate, answers, rules, budget):
    assert answers(candidate, rules.at_temperature(1.0)).loops <= budget.rules.loops
