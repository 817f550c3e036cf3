"""Beyond single questions: long texts are summarised, what was said some turns ago is not forgotten, and ordinary text
surprises the candidate little more than the baseline."""

from __future__ import annotations

import pytest


def test_summaries_of_long_texts_keep_the_key_facts(candidate, summaries, budget):
    assert summaries(candidate).facts_kept >= budget.quality.summary


def test_summaries_come_to_an_end(candidate, summaries, budget):
    assert summaries(candidate).unfinished <= budget.quality.unfinished


def test_summaries_say_what_a_reference_says(candidate, summaries, budget):
    assert summaries(candidate).rouge_l >= budget.quality.rouge_l


def test_summaries_are_as_near_to_the_reference_as_the_baselines(candidate, baseline, summaries, budget):
    assert summaries(candidate).rouge_l >= summaries(baseline).rouge_l - budget.quality.rouge_margin


@pytest.mark.llmperf_profile("gpu")
def test_news_is_summed_up_much_as_its_editors_did(candidate, summaries, budget):
    assert summaries(candidate, "cnn_dailymail").rouge_l >= budget.quality.news_rouge_l


@pytest.mark.llmperf_profile("gpu")
def test_news_is_summed_up_as_well_as_by_the_baseline(candidate, baseline, summaries, budget):
    ours, theirs = (summaries(model, "cnn_dailymail").rouge_l for model in (candidate, baseline))
    assert ours >= theirs - budget.quality.rouge_margin


@pytest.mark.llmperf_profile("gpu")
def test_summaries_of_news_come_to_an_end(candidate, summaries, budget):
    assert summaries(candidate, "cnn_dailymail").unfinished <= budget.quality.unfinished


def test_what_was_said_turns_ago_is_kept(candidate, recall, budget):
    for tokens, floor in budget.quality.recall.items():
        assert recall(candidate, tokens=tokens) >= floor


def test_the_context_is_kept_as_well_as_by_the_baseline(candidate, baseline, recall, budget):
    longest = max(budget.quality.recall)
    assert recall(candidate, tokens=longest) >= recall(baseline, tokens=longest) - budget.quality.margin


def test_texts_surprise_the_candidate_little_more_than_the_baseline(candidate, baseline, perplexity, budget):
    assert perplexity(candidate) <= perplexity(baseline) * budget.quality.perplexity_ratio
