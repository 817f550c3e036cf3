"""One reader of final answers for every protocol: the same text is worth the same however it was asked for."""

from __future__ import annotations

import pytest

from pytest_llmperf.config.models import Protocol
from pytest_llmperf.tasks.grading import Outcome
from pytest_llmperf.tasks.grading.number import grade
from pytest_llmperf.tasks.grading.symbolic import grade_symbolic
from pytest_llmperf.tasks.thinking import after_thinking

PROTOCOLS: tuple[Protocol, ...] = ("chat", "few-shot")

NUMBERS = [
    ("18", "\\boxed 18"),
    ("9", "The answer is $9$, which is what we wanted."),
    ("18", "The answer is 18, which is right."),
    ("18", "The answer is $18$ because 9*2 = 18."),
    ("18", "The answer is 18.\n\nQ: 3+4?\nA: The answer is 7."),
    ("18", "#### 18\n\nA baker has 7.\n#### 7"),
    ("18", "#### 18 and so #### 7"),
    ("18", "#### 18\nQuestion: x\n#### 7"),
    ("18", "Answer: 18"),
    ("18", "**Answer:** 18"),
    ("18", "**Final Answer**\n\n18"),
    ("18", "### Final Answer\n18"),
    ("18", "The final answer is: $\\boxed{18}$. I hope it is correct."),
    ("18", "\\boxed{18}. The answer is correct."),
    ("18", "The answer is \\(18\\)."),
    ("18", "The answer is $$18$$."),
    ("18", "The answer is:\n\\[18\\]"),
    ("18", "The answer is 18 dollars, not 20."),
    ("18", "The answer is 18, so she has 2 left."),
    ("18", "The answer to the question is 18."),
    ("18", "The correct answer is 18."),
    ("18", "The answer is $18 because she sells 9 for $2."),
    ("1234", "The answer is 1,234."),
    ("1234", "The answer is 1,234, which is right."),
    ("3.5", "The answer is 3.5."),
    ("18", "The answer is therefore 18."),
    ("18", "答案是18。"),
    ("18", "答案：18"),
    ("18", "#### 1. Count\nwords\n#### Step 2: multiply\nwords\n#### 18"),
    ("18", "#### 12\nWait, that is wrong.\n#### 18"),
    ("18", "The answer is 18 (eighteen)."),
    ("18", "The answer is 18 — as shown."),
    ("18", "The answer is 18\n\nProblem: What is 3?\nSolution: The answer is 3."),
    ("18", "The answer is 18\n\nUser: another\nThe answer is 3."),
    ("18", "The answer is 18.\n\n**Question 2:** 4+4?\nThe answer is 8."),
    ("18", "Question: what?\nThe answer is 18."),
    ("18", "The answer is 18%."),
    ("18", "\\boxed{12}. Wait, the answer is 18."),
    ("18000", "\\boxed{18} thousand"),
    ("18", "\\boxed{18}<|im_end|>\n<|im_start|>user\nNext: \\boxed{3}"),
    ("18", "The answer is 18.<|eot_id|>The answer is 3."),
    ("18", "<think>a</think><answer>18</answer>"),
]
NOT_THE_NUMBER = [
    ("18", "\\boxed{18} thousand"),
    ("18", "$\\boxed{18}$ million"),
    ("18", "\\boxed{17} or \\boxed{18}"),
    ("18", "The wrong answer is 18."),
    ("12", "\\boxed{12}, rather \\boxed\\frac12"),
    ("12", "\\boxed{12} or \\boxed -5"),
    ("18", "18, which is right"),
    ("18", "The answer is 18x."),
    ("18", "The answer is 18 or more."),
    ("18", "The answer is 18 and a half."),
    ("18", "The answer is $18 or $20."),
    ("18", "The answer is $18$ or $20$."),
    ("18", "The answer is $18$ and a half."),
    ("18", "The answer is 18, or 20."),
    ("18", "The answer is not 18."),
    ("18", "The answer is 18 - 3."),
    ("18", "The answer is 18 times 2."),
    ("18", "The answer is about 18."),
    ("18", "so 18 it is"),
    ("18", "The answer is 18 hours and 30 minutes."),
    ("18", "The answer is 18^2."),
    ("18", "The answer is 18 apples and 3 pears."),
]
FORMULAS = [
    ("9", "The answer is $9$, which is what we wanted."),
    ("\\frac{1}{2}", "The answer is $\\frac{1}{2}$ because of symmetry."),
    ("p - q", "The answer is $p-q$, as wanted."),
    ("\\text{Evelyn}", "The answer is Evelyn."),
    ("\\text{Evelyn}", "The answer is $\\text{Evelyn}$, because she is first."),
    ("(3,4]", "The answer is $(3,4]$, which is half-open."),
    ("1,-2", "The answer is $1$ and $-2$."),
    ("1,-2", "The answer is $1, -2$."),
    ("\\pi", "The answer is \\(\\pi\\)."),
    (
        "\\begin{pmatrix} -7 \\\\ 16 \\\\ 5 \\end{pmatrix}",
        "The answer is $\\begin{pmatrix} -7 \\\\ 16 \\\\ 5 \\end{pmatrix}$.",
    ),
    ("x=5", "The answer is $x=5$, which we check."),
    ("(2,12) \\cup (12,102)", "The answer is $(2,12) \\cup (12,102)$.\n\nQ: next?\nA: The answer is $7$."),
    ("\\frac{3}{56}", "Answer: $\\frac{3}{56}$"),
    ("\\sqrt{51}", "Therefore, the final answer is $\\sqrt{51}$ units."),
    (".35625", "The answer is $.35625$."),
    ("1 \\pm \\sqrt{19}", "The answer is $1 \\pm \\sqrt{19}$ since"),
]
NOT_THE_FORMULA = [
    ("x^2", "The answer is $x^2$ or $x^3$."),
    ("18", "The answer is 18x."),
    ("18", "The answer is $18$ and a half."),
]


def numbers(text: str, gold: str) -> set[Outcome]:
    return {grade(text, gold, finish_reason="stop", protocol=protocol).outcome for protocol in PROTOCOLS}


def formulas(text: str, gold: str) -> set[Outcome]:
    return {
        grade_symbolic(text, gold, finish_reason="stop", protocol=protocol).outcome for protocol in PROTOCOLS
    }


@pytest.mark.parametrize(("gold", "text"), NUMBERS)
def test_a_number_is_read_out_of_its_sentence(gold: str, text: str) -> None:
    assert numbers(text, gold) == {Outcome.CORRECT}
    assert numbers(text, "4711") == {Outcome.WRONG}


@pytest.mark.parametrize(("gold", "text"), NOT_THE_NUMBER)
def test_a_sentence_takes_nothing_that_a_box_refuses(gold: str, text: str) -> None:
    (outcome,) = numbers(text, gold)
    assert outcome in (Outcome.WRONG, Outcome.UNGRADED)


@pytest.mark.parametrize(("gold", "text"), FORMULAS)
def test_a_formula_is_read_out_of_its_sentence(gold: str, text: str) -> None:
    assert formulas(text, gold) == {Outcome.CORRECT}


@pytest.mark.parametrize(("gold", "text"), NOT_THE_FORMULA)
def test_a_formula_with_more_behind_it_is_not_right(gold: str, text: str) -> None:
    (outcome,) = formulas(text, gold)
    assert outcome in (Outcome.WRONG, Outcome.UNGRADED)


UNFINISHED = [
    "[THINK]So \\boxed{18}",
    "<thinking>So \\boxed{18}",
    "<|begin_of_thought|>So \\boxed{18}",
    "◁think▷So \\boxed{18}",
    "<seed:think>So \\boxed{18}",
    "<|channel|>analysis<|message|>So \\boxed{18}",
    "<reasoning>\\boxed{18}",
    "<thought>\\boxed{18}",
    "<|START_THINKING|>\\boxed{18}",
    "<longcat_think>\\boxed{18}",
    "<think>a</think>\n<think>\\boxed{18}",
    "analysisWe need \\boxed{18}",
    "<Think>\\boxed{18}",
    "<unused94>thought \\boxed{18}",
]
FINISHED = [
    "[THINK]So 12[/THINK]\\boxed{18}",
    "<thinking>So</thinking>\\boxed{18}",
    "<|begin_of_thought|>So<|end_of_thought|><|begin_of_solution|>\\boxed{18}",
    "◁think▷So◁/think▷\\boxed{18}",
    "<seed:think>So</seed:think>\\boxed{18}",
    "<|channel|>analysis<|message|>So<|end|><|start|>assistant<|channel|>final<|message|>\\boxed{18}",
    "analysisWe need.assistantfinal\\boxed{18}",
    "x < 3 and [1] \\boxed{18}",
]


@pytest.mark.parametrize("text", UNFINISHED)
def test_thinking_that_never_ends_is_incomplete_whatever_its_tags(text: str) -> None:
    assert after_thinking(text) is None
    assert numbers(text, "18") == {Outcome.INCOMPLETE}
    assert formulas(text, "18") == {Outcome.INCOMPLETE}


@pytest.mark.parametrize("text", FINISHED)
def test_what_follows_the_thinking_is_the_answer_whatever_its_tags(text: str) -> None:
    assert numbers(text, "18") == {Outcome.CORRECT}


def test_a_row_that_promises_to_think_may_end_it_with_any_tag() -> None:
    text = "So 12.[/THINK]\\boxed{18}"
    assert grade(text, "18", finish_reason="stop", thinking=True).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    "text",
    ["<think>a</think>\\boxed{18}<think>wait", "<inner_monologue>\\boxed{18}", "<deliberation>\\boxed{18}"],
)
def test_a_thinking_that_begins_anew_or_has_another_name_is_incomplete(text: str) -> None:
    assert grade(text, "18", finish_reason="stop").outcome is Outcome.INCOMPLETE


def test_a_sentence_about_tags_begins_no_thinking() -> None:
    text = "<think>a</think>The tag is written `<think>` here. \\boxed{18}"
    assert grade(text, "18", finish_reason="stop").outcome is Outcome.CORRECT
