"""The candidate solves enough problems, and no fewer than the baseline on the same ones."""

from __future__ import annotations


def test_enough_answers_are_right(candidate, accuracy, budget):
    assert accuracy(candidate) >= budget.accuracy.floor


def test_the_candidate_is_not_worse_than_the_baseline(candidate, baseline, accuracy, budget):
    assert accuracy(candidate) >= accuracy(baseline) - budget.accuracy.margin
