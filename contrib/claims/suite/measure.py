r"""Measurements for published claims that no other suite makes; run by name, and never with the suites:

    pytest contrib/claims/suite/measure.py suites/test_accuracy.py \
        --model distill --llmperf-full --llmperf-record RECORD
    python -m contrib.claims contrib/claims/suite/*.toml --record RECORD

Each test asserts what is claimed, so that red means: this does not hold. `--llmperf-full` asks all items: a claim
that something is *about* a value needs them, where a gate may stop early.
"""

from __future__ import annotations

from pytest_llmperf import points

ITEMS = 1319  # all of GSM8K: a point is not seen in less
SYSTEM = "You are a helpful assistant."


def test_the_baseline_solves_as_much_without_examples(baseline, accuracy, rules):
    assert accuracy(baseline, rules.zero_shot, items=ITEMS) >= 0.765


def test_a_system_prompt_makes_the_answers_worse(candidate, accuracy, rules):
    changed = accuracy(candidate, rules.with_system(SYSTEM), items=ITEMS)
    assert changed <= accuracy(candidate, items=ITEMS) - points(1)


def test_the_answers_are_worse_without_the_instruction(candidate, accuracy, rules):
    changed = accuracy(candidate, rules.without_instruction, items=ITEMS)
    assert changed <= accuracy(candidate, items=ITEMS) - points(1)


def test_top_p_of_0_9_answers_as_well_as_the_recommended(candidate, accuracy, rules):
    recommended = accuracy(candidate, rules.at_temperature(0.6, top_p=0.95), items=ITEMS)
    assert accuracy(candidate, rules.at_temperature(0.6, top_p=0.9), items=ITEMS) >= recommended - points(1)


def test_no_reply_that_opens_with_a_newline_skips_its_thinking(candidate, answers, rules):
    assert answers(candidate, rules.opened_with("\n")).thinking_skipped <= 0.01


def test_output_does_not_end_at_a_temperature_of_1(candidate, answers, rules):
    recommended = answers(candidate, rules.at_temperature(0.6)).unfinished
    assert answers(candidate, rules.at_temperature(1.0)).unfinished >= recommended + points(5)


def test_the_perplexity_is_12_percent_above_the_baselines(candidate, baseline, perplexity):
    assert perplexity(candidate) <= perplexity(baseline) * 1.14


def test_f1_on_medqa_is_far_above_the_baselines(candidate, baseline, macro_f1):
    assert macro_f1(candidate, "medqa") >= macro_f1(baseline, "medqa") - points(-13.7)


def test_as_much_of_math_500_is_solved_as_the_model_card_says(candidate, accuracy):
    assert accuracy(candidate, "math500") >= 0.822
