"""Beyond single questions: long texts are summarised, what was said some turns ago is not forgotten, and ordinary text
surprises the candidate little more than the baseline."""

from __future__ import annotations


def test_summaries_of_long_texts_keep_the_key_facts(candidate, summaries, budget):
    assert summaries(candidate).facts_kept >= budget.quality.summary


def test_summaries_come_to_an_end(candidate, summaries, budget):
    assert summaries(candidate).unfinished <= budget.quality.unfinished


def test_what_was_said_turns_ago_is_kept(candidate, recall, budget):
    for tokens, floor in budget.quality.recall.items():
        assert recall(candidate, tokens=tokens) >= floor


def test_the_context_is_kept_as_well_as_by_the_baseline(candidate, baseline, recall, budget):
    longest = max(budget.quality.recall)
    assert recall(candidate, tokens=longest) >= recall(baseline, tokens=longest) - budget.quality.margin


def test_texts_surprise_the_candidate_little_more_than_the_baseline(candidate, baseline, perplexity, budget):
    assert perplexity(candidate) <= perplexity(baseline) * budget.quality.perplexity_ratio
