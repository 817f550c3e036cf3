"""Multiple choice: which letter an answer names, and when it names none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.config.models import Protocol
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.grading.choice import check_choice, grade_choice


def graded(text: str, gold: str = "C", protocol: Protocol = "chat") -> Grade:
    return grade_choice(text, gold, finish_reason="stop", protocol=protocol)


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{C}",
        "\\boxed{c}",
        "\\boxed{\\text{C}}",
        "\\boxed{\\textbf{(C)}}",
        "$\\boxed{\\mathbf{C}}$",
        "\\boxed{C. Report it}",
        "\\boxed{\\text{C) Report it to A}}",
        "\\boxed{A} no, rather \\boxed{C}",
        "The answer is (C).",
        "The answer is C: report it.",
        "**Answer: C**",
        "Answer: **C**",
        "the correct option is C",
        "The answer is A. Wait, the answer is therefore C",
        "A and B are wrong.\nC",
        "A and B are wrong.\n**(C)**",
    ],
)
@pytest.mark.parametrize("protocol", ["chat", "few-shot"])
def test_a_letter_is_found_however_it_is_said(text: str, protocol: Protocol) -> None:
    assert graded(text, protocol=protocol) == Grade(Outcome.CORRECT, "", "C")
    assert graded(text, "D", protocol) == Grade(Outcome.WRONG, "other", "C")


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("\\boxed{A, C}", Outcome.UNGRADED),
        ("\\boxed{A and C}", Outcome.UNGRADED),
        ("\\boxed{Report it}", Outcome.UNGRADED),
        ("\\boxed{Cold}", Outcome.UNGRADED),
        ("\\boxed{C", Outcome.WRONG),
        ("The answer is C or D.", Outcome.WRONG),
        ("The answer is Cold.", Outcome.WRONG),
        ("C is a good choice, because A is not.", Outcome.WRONG),
        ("", Outcome.WRONG),
    ],
)
def test_no_letter_or_two_are_never_right(text: str, outcome: Outcome) -> None:
    assert graded(text).outcome is outcome


def test_an_answer_that_did_not_come_to_its_end_is_never_right() -> None:
    assert grade_choice("\\boxed{C}", "C", finish_reason="length").outcome is Outcome.INCOMPLETE
    text = "The answer is C."
    assert grade_choice(text, "C", finish_reason="stop", thinking=True).outcome is Outcome.INCOMPLETE
    told = f"It may be A. The answer is A.</think>{text}"
    assert grade_choice(told, "C", finish_reason="stop", thinking=True).outcome is Outcome.CORRECT


def test_a_refusal_is_told_apart() -> None:
    assert graded("I'm sorry, but I can't give medical advice.").detail == "refused"
    assert graded("I cannot answer this question.").detail == "refused"
    assert graded("It depends.").detail == "unboxed"


@pytest.mark.parametrize("gold", ["", "c", "AB", "K", "1"])
def test_an_expected_answer_that_is_no_letter_is_an_error(gold: str) -> None:
    with pytest.raises(ValueError, match="not a letter of A to J"):
        check_choice(gold)


@given(st.text("ABCD answer is()*.\\boxed{}\n", max_size=60))
def test_an_answer_is_right_for_one_letter_at_most(text: str) -> None:
    assert sum(graded(text, gold).outcome is Outcome.CORRECT for gold in "ABCD") <= 1


MARKED = [
    "The correct answer is C. Option A is incorrect because it is not.",
    "**Answer: C**\n\n- Option A: no\n- Option D: no",
    "The option I would choose is C.",
    "\\boxed{Option C}",
    "\\boxed{[C]}",
    "\\boxed{(C)}",
    "The answer is **C**.",
    "The answer is [C].",
    "The answer is option C.",
    "答案是C",
    "答案：C。",
    "The answer is A. Actually, the answer is C.",
    "The answer is (c).",
    "C",
    "(C)",
    "C.",
    "C. Report it",
    "Answer: C. Report it",
    "Answer: C\nA is wrong because B is better.",
    "I would choose C.",
    "I would go with option C because it fits.",
    "Option C is correct. Option A is wrong.",
    "C is the correct answer. A is not.",
    "The correct option is C, not A.",
    "The answer is C because A is wrong.",
    "The answer is C (Report it), while option D is wrong.",
    "The best answer is C) Report it.",
    "\\boxed{\\text{C}}",
    "The answer is $C$.",
    "The answer is \\boxed{C}. Option A is incorrect.",
    "Let me think. A is wrong. B is wrong. D is wrong. So the answer must be C.",
    "The answer is C.\n\nQ: Next?\nA: The answer is D.",
    "\\boxed{C}\n\nOption A is wrong. Option D: no.",
    "Final answer: C",
    "### Answer\nC",
    "The most likely answer is C.",
    "The answer would be C",
    "Correct answer: **C) Report it**",
    "My choice is C.",
    "Actually, C is correct.",
    "If the answer is A, it fails. The answer is C.",
    "\\boxed{\\text{C: Report it}}",
    "因此，正确选项为C。",
    "<answer>C</answer>",
    "The answer is “C”.",
    "The answer is probably C.",
]
MENTIONED = [
    "\\boxed{C. difficile}",
    "The answer is not A.",
    "A and C are both right.",
    "The answer is both A and C.",
    "The answer is A/C.",
    "\\boxed{E. coli}",
    "The answer is E. coli.",
    "The answer is C. difficile.",
    "The answer is C, or maybe D.",
    "The wrong answer is C.",
    "The incorrect answer is C.",
    "The answer is A good idea.",
    "I think it is C",
    "The answer isn't A; it's C",
]
SEVERAL = [
    "\\boxed{A, and C}",
    "\\boxed{C and D}",
]


@pytest.mark.parametrize("text", MARKED)
@pytest.mark.parametrize("protocol", ["chat", "few-shot"])
def test_the_marked_letter_is_the_answer_and_not_the_last_one(text: str, protocol: Protocol) -> None:
    assert graded(text, protocol=protocol) == Grade(Outcome.CORRECT, "", "C")


@pytest.mark.parametrize("text", MENTIONED)
@pytest.mark.parametrize("protocol", ["chat", "few-shot"])
def test_a_letter_that_is_only_mentioned_is_no_answer(text: str, protocol: Protocol) -> None:
    for gold in "ABCDE":
        assert graded(text, gold, protocol).outcome in (Outcome.WRONG, Outcome.UNGRADED)
    assert graded(text, protocol=protocol).answer not in ("A", "B", "C", "D", "E")


@pytest.mark.parametrize("text", SEVERAL)
def test_several_letters_in_a_box_are_ungraded(text: str) -> None:
    assert graded(text).outcome is Outcome.UNGRADED
