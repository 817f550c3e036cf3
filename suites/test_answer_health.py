"""Answers reach a user as answers: there is something in them, no tags, no refusals, and they are as long as before.

Accuracy sees none of this where the grader still finds the number.
"""

from __future__ import annotations

import pytest


def test_answers_are_not_empty(candidate, answers, budget):
    assert answers(candidate).empty <= budget.rules.empty


def test_answers_leak_no_tags(candidate, answers, budget):
    assert answers(candidate).leaked <= budget.rules.leaked


def test_answers_are_not_refused(candidate, answers, budget):
    assert answers(candidate).refused <= budget.rules.refused


@pytest.mark.llmperf_same_model
def test_answers_are_as_long_as_the_baselines(candidate, baseline, answers, budget):
    assert answers(candidate).length <= answers(baseline).length * budget.rules.longest
    assert answers(candidate).length >= answers(baseline).length * budget.rules.shortest
