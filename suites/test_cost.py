"""What a right answer costs is not much more than with the baseline, wrong answers included."""

from __future__ import annotations


def test_a_right_answer_costs_little_more_tokens_than_the_baselines(candidate, baseline, answers, budget):
    ours, theirs = answers(candidate).tokens_per_correct, answers(baseline).tokens_per_correct
    assert ours <= theirs * budget.accuracy.tokens_ratio


def test_a_right_answer_takes_little_longer_than_the_baselines(candidate, baseline, answers, budget):
    ours, theirs = answers(candidate).seconds_per_correct, answers(baseline).seconds_per_correct
    assert ours <= theirs * budget.accuracy.seconds_ratio
