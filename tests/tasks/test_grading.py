"""Outcomes of answers: what is right, what is never right, and what hostile answers cost."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.config.models import Protocol
from pytest_llmperf.tasks.boxes import last_box, with_thinking
from pytest_llmperf.tasks.grading import Outcome
from pytest_llmperf.tasks.grading.exact_number import read_number
from pytest_llmperf.tasks.grading.number import gold_number, grade

GSM8K = Path(__file__).parents[2] / ".." / "shared" / "data" / "gsm8k"
needs_gsm8k = pytest.mark.skipif(
    not (GSM8K / "test.jsonl").is_file(), reason="../shared/data/gsm8k is not beside the repository"
)


def graded(
    text: str,
    gold: str = "18",
    *,
    thinking: bool = False,
    protocol: Protocol = "chat",
    end: str | None = "stop",
) -> Outcome:
    return grade(text, gold, finish_reason=end, thinking=thinking, protocol=protocol).outcome


@pytest.mark.parametrize(
    ("written", "gold"),
    [
        ("18", "18"),
        ("18.0", "18"),
        ("18.00", "18"),
        ("18.", "18"),
        ("+18", "18"),
        ("05", "5"),
        ("-5", "-5"),
        ("−5", "-5"),
        ("$-5", "-5"),
        ("-\\$5", "-5"),
        ("1,234", "1234"),
        ("1{,}234", "1234"),
        ("1,234.50", "1234.5"),
        ("70\\,000", "70000"),
        ("70 000", "70000"),
        ("70\u202f000", "70000"),
        ("1'234'567", "1234567"),
        ("\\$18", "18"),
        ("$18$", "18"),
        ("\\(18\\)", "18"),
        ("€18.50", "18.5"),
        ("18 USD", "18"),
        ("18 dollars", "18"),
        ("18\\text{ dollars}", "18"),
        ("\\text{18}", "18"),
        ("\\textbf{18 eggs}", "18"),
        ("18\\,\\mathrm{km/h}", "18"),
        ("18 \\text{ft}^2", "18"),
        ("18 m²", "18"),
        ("18^\\circ", "18"),
        ("18 元", "18"),
        ("１８", "18"),
        ("x = 18", "18"),
        ("3 \\cdot 6 = 18", "18"),
        ("\\text{Total: }18", "18"),
        ("\\left(18\\right)", "18"),
        ("{18}", "18"),
        ("\\frac{3}{4}", "0.75"),
        ("\\dfrac{3}{4}", "3/4"),
        ("\\frac12", "0.5"),
        ("-\\frac{3}{4}", "-0.75"),
        ("\\frac{-3}{4}", "-0.75"),
        ("36/2", "18"),
        ("2\\frac{1}{2}", "2.5"),
        ("2 1/2", "2.5"),
        ("2½", "2.5"),
        (".5", "0.5"),
        ("50\\%", "50"),
        ("50%", "0.5"),
        ("50 percent", "50"),
        ("0.5", "50%"),
        ("3\\times10^5", "300000"),
        ("3 \\times 10^{-2}", "0.03"),
        ("1.8e1", "18"),
        ("5 million", "5000000"),
        ("**18**", "18"),
    ],
)
def test_the_same_number_in_another_notation_is_right(written: str, gold: str) -> None:
    assert graded(f"So we get \\boxed{{{written}}}.", gold) is Outcome.CORRECT


@pytest.mark.parametrize(
    ("written", "gold"),
    [
        ("19", "18"),
        ("-18", "18"),
        ("18.5", "18"),
        ("1800", "18"),
        ("0.18", "18"),
        ("33.33", "33"),
        ("1.234", "1234"),
        ("12,34", "1234"),
        ("1.234.567", "1234567"),
        ("0,500", "500"),
        ("18^2", "18"),
        ("18²", "18"),
        ("5²", "52"),
        ("18!", "18"),
        ("18\\pi", "18"),
        ("18 pi", "18"),
        ("3x", "3"),
        ("18 or 20", "18"),
        ("18, 20", "18"),
        ("x = 3, y = 18", "18"),
        ("x \\neq 18", "18"),
        ("x != 18", "18"),
        ("x \\ge 18", "18"),
        ("16-18", "18"),
        ("16–18", "18"),
        ("--18", "18"),
        ("18 hours 30 minutes", "18"),
        ("7:18", "18"),
        ("3:18", "18"),
        ("3*6", "36"),
        ("3*4", "34"),
        ("\\sqrt{18}", "18"),
        ("18\\overline{3}", "18"),
        ("1 234/5", "1"),
        ("0.18%", "0.18"),
        ("0.05%", "5%"),
        ("18/0", "18"),
        ("9^9^9^9", "9"),
        ("\\text{none}", "18"),
        ("eighteen", "18"),
        ("٣", "3"),
    ],
)
def test_another_number_or_no_number_is_never_right(written: str, gold: str) -> None:
    assert graded(f"So we get \\boxed{{{written}}}.", gold) in (Outcome.WRONG, Outcome.UNGRADED)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("\\boxed{12} no, wait: \\boxed{18}", Outcome.CORRECT),
        ("\\boxed{18} no, wait: \\boxed{12}", Outcome.WRONG),
        ("\\boxed{12} and \\boxed{18}", Outcome.CORRECT),
        ("\\boxed{\\boxed{18}}", Outcome.CORRECT),
        ("\\boxed{18}, put within \\boxed{}", Outcome.CORRECT),
        ("\\boxed 18", Outcome.CORRECT),
        ("\\fbox{18}", Outcome.CORRECT),
        ("\\boxed{18", Outcome.WRONG),
        ("\\boxed{18} or rather \\boxed{12", Outcome.WRONG),
        ("The answer is 18.", Outcome.CORRECT),
        ("boxed{18}", Outcome.WRONG),
        ("", Outcome.WRONG),
        (" \n\n ", Outcome.WRONG),
        ("\\boxed{18}" + " and so on" * 500, Outcome.WRONG),
    ],
)
def test_the_last_box_is_the_answer(text: str, outcome: Outcome) -> None:
    assert graded(text) is outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("6 + 12 = 18\n</think>\n\n\\boxed{18}", Outcome.CORRECT),
        ("It is \\boxed{12}.\n</think>\n\n\\boxed{18}", Outcome.CORRECT),
        ("\n</think>\n\n\\boxed{18}", Outcome.CORRECT),
        ("a </think> b </think> \\boxed{18}", Outcome.CORRECT),
        ("It must be \\boxed{18}.", Outcome.INCOMPLETE),
        ("It must be \\boxed{18}. </think>", Outcome.WRONG),
        ("It must be \\boxed{18}. </think> It is eighteen.", Outcome.WRONG),
    ],
)
def test_only_what_follows_the_thinking_counts(text: str, outcome: Outcome) -> None:
    assert graded(text, thinking=True) is outcome


def test_an_open_thinking_of_a_row_that_promises_none_is_incomplete_too() -> None:
    assert graded("<think>It must be \\boxed{18}.") is Outcome.INCOMPLETE
    assert graded("<think>So.</think>\\boxed{18}") is Outcome.CORRECT


@pytest.mark.parametrize("thinking", [False, True])
@pytest.mark.parametrize("protocol", ["chat", "few-shot"])
def test_an_answer_that_was_cut_off_is_incomplete_however_right(thinking: bool, protocol: Protocol) -> None:
    text = "So </think> \\boxed{18}\nThe answer is 18."
    assert graded(text, thinking=thinking, protocol=protocol, end="length") is Outcome.INCOMPLETE
    assert graded(text, thinking=thinking, protocol=protocol, end="stop") is Outcome.CORRECT


def test_what_is_not_the_models_fault_says_nothing_about_it() -> None:
    assert grade(None, "18", finish_reason=None).outcome is Outcome.INFRA
    assert graded("\\boxed{18}", end=None) is Outcome.INFRA
    assert graded("\\boxed{18}", end="abort") is Outcome.INFRA
    assert graded("\\boxed{18}", end="content_filter") is Outcome.INCOMPLETE


def test_every_outcome_says_why() -> None:
    assert grade("", "18", finish_reason="stop").detail == "empty"
    assert grade("18", "18", finish_reason="stop").detail == "unboxed"
    assert grade("\\boxed{x}", "18", finish_reason="stop").detail == "unreadable"
    assert grade("\\boxed{17}", "18", finish_reason="stop").detail == "other"
    assert grade("\\boxed{17}", "18", finish_reason="stop").answer == "17"
    assert grade("17", "18", finish_reason="stop", thinking=True).detail == "thinking"
    assert grade("17", "18", finish_reason="length").detail == "length"


def test_reasoning_that_the_server_split_off_is_put_back() -> None:
    assert graded(with_thinking("So 18.", "\\boxed{18}"), thinking=True) is Outcome.CORRECT
    assert graded(with_thinking("So \\boxed{18}.", ""), thinking=True) is Outcome.INCOMPLETE


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("6 and 12 make 18.\nThe answer is 18.", Outcome.CORRECT),
        ("The answer is: $18", Outcome.CORRECT),
        ("The final answer is 18 dollars per day. That is much.", Outcome.CORRECT),
        ("The answer is\n18", Outcome.CORRECT),
        ("The answer is **18**.", Outcome.CORRECT),
        ("The answer is \\boxed{18}.", Outcome.CORRECT),
        ("#### 18", Outcome.CORRECT),
        ("#### $18.00 because she sells nine eggs", Outcome.CORRECT),
        ("The answer is 12. Wait. The answer is 18.", Outcome.CORRECT),
        ("The answer is 18.\n\nQuestion: And 3 + 4?\nAnswer: The answer is 7.", Outcome.CORRECT),
        ("\\boxed{18}", Outcome.CORRECT),
        ("The answer is 18 or 20.", Outcome.UNGRADED),
        ("The answer is 18^2.", Outcome.UNGRADED),
        ("The answer is 18 hours and 30 minutes.", Outcome.UNGRADED),
        ("6 and 12 make 18.", Outcome.WRONG),
        ("The answer is", Outcome.WRONG),
        ("Question: 3 + 15? Answer: 18", Outcome.WRONG),
    ],
)
def test_a_base_model_says_its_answer_in_words(text: str, outcome: Outcome) -> None:
    assert graded(text, protocol="few-shot") is outcome


def test_a_gold_that_is_no_number_is_an_error_and_no_wrong_answer() -> None:
    with pytest.raises(ValueError, match="the expected answer is not a number: 'many'"):
        grade("\\boxed{18}", "many", finish_reason="stop")


@pytest.fixture(scope="module")
def golds() -> list[str]:
    lines = (GSM8K / "test.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["answer"] for line in lines]


@needs_gsm8k
@pytest.mark.parametrize("form", ["\\boxed{%s}", "\\boxed{\\$%s}", "\\boxed{%s\\text{ dollars}}"])
def test_all_golds_of_gsm8k_are_right_in_a_box(golds: list[str], form: str) -> None:
    finals = [answer.rpartition("#### ")[2] for answer in golds]
    assert len(finals) == 1319
    assert sum(graded(form % f, f) is Outcome.CORRECT for f in finals) == 1319


@needs_gsm8k
def test_all_worked_solutions_of_gsm8k_are_right_as_few_shot_answers(golds: list[str]) -> None:
    outcomes = [graded(a, a.rpartition("#### ")[2], protocol="few-shot") for a in golds]
    assert outcomes.count(Outcome.CORRECT) == 1319


@needs_gsm8k
@pytest.mark.parametrize("protocol", ["chat", "few-shot"])
def test_solutions_cut_before_their_answer_line_are_never_right(golds: list[str], protocol: Protocol) -> None:
    for answer in golds:
        body, _, final = answer.rpartition("####")
        assert graded(body, final, protocol=protocol) is Outcome.WRONG


@needs_gsm8k
def test_grading_costs_less_than_eight_scans_of_the_words(golds: list[str]) -> None:
    # About 4 on an idle machine (45 and 12 microseconds an answer, AMD EPYC, 2026-11-30). A ratio, because neighbours
    # slow the processor itself down; the best of several, in turn, because they come and go.
    texts = [f"{a} So the answer is \\boxed{{{a.rpartition('#### ')[2]}}}." for a in golds]
    rights = [gold.rpartition("#### ")[2] for gold in golds]
    for right in rights:
        gold_number(right)
    words = re.compile(r"\w+")
    grading, scanning = [], []
    for _ in range(7):
        grading.append(
            _seconds(lambda: [grade(*each, finish_reason="stop") for each in zip(texts, rights, strict=True)])
        )
        scanning.append(_seconds(lambda: [words.findall(text) for text in texts]))
    assert min(grading) / min(scanning) < 8


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


HOSTILE = {
    "open boxes": "\\boxed{" * 10_000,
    "nested boxes": "\\boxed{" * 10_000 + "1" + "}" * 10_000,
    "nested braces": "\\boxed{" + "{" * 10_000 + "1" + "}" * 10_001,
    "many boxes": "\\boxed{18}" * 50_000,
    "a megabyte of digits": "9" * 1_000_000,
    "a megabyte of digits in a box": "\\boxed{" + "9" * 1_000_000 + "}",
    "factorials": "\\boxed{((9!)!)!}",
    "a tower of powers": "\\boxed{9^9^9^9}",
    "a large exponent": "\\boxed{1e999999999}",
    "a power of ten of ten": "\\boxed{10^{10^{10}}}",
    "spaces": "\\boxed{-" + " " * 190 + "x}",
    "groups of digits": "\\boxed{1" + " 000" * 45 + "x}",
    "nested styles": "\\boxed{" + "\\text{" * 30 + "}" * 31,
    "equations": "\\boxed{" + "= " * 90 + "}",
    "many answers": "The answer is " * 50_000,
    "many marks": "#### " * 100_000,
    "backslashes": "\\" * 100_000,
    "control characters": "\x00\x1b[31m\\boxed{\x00}" * 1000,
    "half a surrogate pair": "\ud800\\boxed{\ud800}",
    "ends of thinking": "</think>" * 100_000,
    "questions": "\nQuestion" * 100_000 + "\n" * 100_000,
    "lines": " \n" * 200_000 + "18",
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("protocol", ["chat", "few-shot"])
def test_hostile_answers_cost_nothing_and_are_not_right(kind: str, protocol: Protocol) -> None:
    start = time.process_time()
    assert graded(HOSTILE[kind], "7", protocol=protocol) is not Outcome.CORRECT
    assert time.process_time() - start < 0.1


@given(st.text(max_size=300))
def test_no_text_makes_the_grader_raise(text: str) -> None:
    for protocol in ("chat", "few-shot"):
        graded(text, protocol="chat" if protocol == "chat" else "few-shot")
        graded(f"\\boxed{{{text}}}", protocol="chat" if protocol == "chat" else "few-shot")


@given(st.fractions(min_value=-(10**9), max_value=10**9, max_denominator=1000))
def test_every_fraction_is_read_back_exactly(value: Fraction) -> None:
    for text in (str(value), f"\\frac{{{value.numerator}}}{{{value.denominator}}}"):
        number = read_number(text)
        assert number is not None
        assert number.value == value


@given(st.integers(-(10**12), 10**12), st.sampled_from([",", "{,}", "\\,"]), st.integers(0, 2))
def test_every_integer_is_read_back_in_any_notation(value: int, separator: str, decimals: int) -> None:
    text = f"{value:,}".replace(",", separator) + (f".{'0' * decimals}" if decimals else "")
    number = read_number(f"\\${text}")
    assert number is not None
    assert number.value == value


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_two_different_numbers_are_never_equal(a: int, b: int) -> None:
    assert (graded(f"\\boxed{{{a}}}", str(b)) is Outcome.CORRECT) == (a == b)


@given(st.text("\\boxed{}123 fbox", max_size=80))
def test_a_box_is_always_balanced(text: str) -> None:
    box = last_box(text)
    if box is not None:
        plain = box.replace("\\{", "").replace("\\}", "")
        assert plain.count("{") == plain.count("}")
