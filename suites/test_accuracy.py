"""The candidate solves enough problems, and no fewer than the baseline on the same ones."""

from __future__ import annotations

import pytest


def test_enough_answers_are_right(candidate, accuracy, budget):
    assert accuracy(candidate) >= budget.accuracy.floor


def test_the_candidate_is_not_worse_than_the_baseline(candidate, baseline, accuracy, budget):
    assert accuracy(candidate) >= accuracy(baseline) - budget.accuracy.margin


@pytest.mark.llmperf_profile("gpu")
def test_enough_competition_problems_are_solved(candidate, accuracy, budget):
    assert accuracy(candidate, "math500") >= budget.accuracy.math500


@pytest.mark.llmperf_profile("gpu")
def test_enough_word_problems_are_solved(candidate, accuracy, budget):
    assert accuracy(candidate, "svamp") >= budget.accuracy.svamp


@pytest.mark.llmperf_profile("gpu")
def test_enough_medical_questions_are_answered(candidate, accuracy, budget):
    assert accuracy(candidate, "medqa") >= budget.accuracy.medqa


@pytest.mark.llmperf_profile("gpu")
def test_medical_answers_are_right_whatever_their_letter(candidate, macro_f1, budget):
    assert macro_f1(candidate, "medqa") >= budget.accuracy.medqa_macro_f1


@pytest.mark.llmperf_profile("gpu")
def test_as_many_competition_problems_are_solved_as_by_the_baseline(candidate, baseline, accuracy, budget):
    assert accuracy(candidate, "math500") >= accuracy(baseline, "math500") - budget.accuracy.math500_margin


@pytest.mark.llmperf_profile("gpu")
def test_as_many_word_problems_are_solved_as_by_the_baseline(candidate, baseline, accuracy, budget):
    assert accuracy(candidate, "svamp") >= accuracy(baseline, "svamp") - budget.accuracy.margin_elsewhere


@pytest.mark.llmperf_profile("gpu")
def test_as_many_medical_questions_are_answered_as_by_the_baseline(candidate, baseline, accuracy, budget):
    assert accuracy(candidate, "medqa") >= accuracy(baseline, "medqa") - budget.accuracy.margin_elsewhere
