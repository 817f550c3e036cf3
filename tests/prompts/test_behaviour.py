"""Behaviour in answers: found where it is, and not where it is not."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.prompts.behaviour import (
    LOOP_REPEATS,
    LOOP_TOKENS,
    boxed,
    examine,
    find_leak,
    find_loop,
    language_switch,
    thinking_skipped,
    unfinished,
)

GSM8K = Path(__file__).parents[2] / ".." / "shared" / "data" / "gsm8k"
GOOD = "Okay, let me think.\nMade: 3 * 4 = 12.\n</think>\n\nThe answer is \\boxed{12}."
ASKED = "How many legs do 3 cats have?\nPlease reason step by step."


def test_a_good_answer_has_no_vice() -> None:
    seen = examine(GOOD, finish_reason="stop", thinking=True, asked=ASKED)
    assert seen.boxed
    assert not any((seen.thinking_skipped, seen.unfinished, seen.loops, seen.language_switch, seen.empty))


@pytest.mark.parametrize(
    ("text", "thinking", "expected"),
    [
        (GOOD, True, True),
        ("So \\boxed{12}.", False, True),
        ("So \\boxed{12}.", True, False),
        ("It is \\boxed{12}.\n</think>\n\nIt is 12.", True, False),
        ("a</think>\\boxed{}", True, False),
        ("a</think>\\boxed{12", True, False),
        ("The answer is 12.", False, False),
        ("", False, False),
    ],
)
def test_an_answer_is_boxed_if_what_follows_the_thinking_has_a_box(
    text: str, thinking: bool, expected: bool
) -> None:
    assert boxed(text, thinking=thinking) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, False),
        ("\n</think>\n\nThe answer is \\boxed{12}.", True),
        ("</think>12", True),
        ("<think>\n\n</think>\n\n12", True),
        ("\n\n", True),
        ("", True),
        ("<think>", True),
        ("Hm.", False),
        ("Hm.</think>", False),
    ],
)
def test_thinking_is_skipped_if_nothing_stands_before_its_end(text: str, expected: bool) -> None:
    assert thinking_skipped(text) is expected


def test_a_row_that_promises_no_thinking_cannot_skip_it() -> None:
    assert not examine("\\boxed{12}", finish_reason="stop", thinking=False).thinking_skipped


@pytest.mark.parametrize(
    ("text", "reason", "thinking", "expected"),
    [
        (GOOD, "stop", True, False),
        (GOOD, "length", True, True),
        (GOOD, None, True, True),
        ("Let me think", "stop", True, True),
        ("Let me think", "stop", False, False),
        ("<think>Let me think", "stop", False, True),
    ],
)
def test_an_answer_is_unfinished_if_the_model_did_not_end_it(
    text: str, reason: str | None, thinking: bool, expected: bool
) -> None:
    assert unfinished(text, finish_reason=reason, thinking=thinking) is expected


def test_a_reply_of_thinking_alone_is_empty() -> None:
    assert examine("Hm.</think> \n", finish_reason="stop", thinking=True).empty
    assert examine("Hm.", finish_reason="stop", thinking=True).empty
    assert not examine("12", finish_reason="stop", thinking=False).empty


@pytest.mark.parametrize("shown", ["\u200b", "\ufeff\n", "\u3164", "\ufffd"])
def test_a_thinking_before_characters_that_nobody_sees_is_empty(shown: str) -> None:
    assert examine(f"Hm.</think>{shown}", finish_reason="stop", thinking=True).empty
    assert examine(shown, finish_reason="stop", thinking=False).empty


units = st.lists(st.sampled_from(["wait", "so", "12", "is", "right", ".", "的"]), min_size=1, max_size=20)


@given(units, st.integers(0, 19))
def test_a_unit_that_fills_the_end_is_a_loop_wherever_it_is_cut(unit: list[str], cut: int) -> None:
    text = "Let me think about it first. " + " ".join(unit * (LOOP_TOKENS + LOOP_REPEATS) + unit[:cut])
    loop = find_loop(text)
    assert loop is not None
    assert loop.repeats >= LOOP_REPEATS


@given(st.lists(st.integers(0, 10**6), min_size=0, max_size=200, unique=True))
def test_different_sentences_are_no_loop(numbers: list[int]) -> None:
    assert find_loop(" ".join(f"item {i} costs {n}." for i, n in enumerate(numbers))) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12",
        "12, 12, 12, 12, 12",
        "ha ha ha ha ha ha ha ha",
        "| - | - | - | - | - |",
        "wait, let me check: 3 * 4 = 12. " * 30 + "Now I am sure, and the answer is \\boxed{12}.",
    ],
)
def test_short_repetition_and_one_that_was_left_again_is_no_loop(text: str) -> None:
    assert find_loop(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "\nWait, let me check: 3 * 4 = 12.\nLet me check again: 3 * 4 = 12." * 5,
        "0." + "3" * 200,
        "让我再检查一遍。" * 10,
        "!" * 500,
        "Yes. " * 500,
    ],
)
def test_known_loops_are_found(text: str) -> None:
    assert find_loop("First I look at the numbers." + text) is not None


def test_a_loop_with_small_variations_is_found() -> None:
    sentence = "I should check the sum again because the number of legs may be wrong and so on."
    fillers = ["Hm.", "Wait.", "No.", "Well.", "But.", "So."]
    text = " ".join(f"{sentence} {fillers[(i * i) % 5]}" for i in range(80))
    assert find_loop(text) is not None


needs_gsm8k = pytest.mark.skipif(
    not (GSM8K / "example_model_solutions.jsonl").is_file(),
    reason="../shared/data/gsm8k is not beside the repository",
)


@needs_gsm8k
def test_no_worked_solution_of_gsm8k_is_called_a_loop_or_a_switch_of_language() -> None:
    for line in (GSM8K / "test.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        assert find_loop(row["answer"]) is None
        assert language_switch(row["question"], row["answer"]) is None


@pytest.mark.parametrize(
    ("asked", "answer", "script"),
    [
        (ASKED, GOOD, None),
        (ASKED, "Each cat has 4 legs. 所以一共有十二条腿在这里。", "Chinese"),
        (ASKED, "Each cat (猫) has 4 legs, so it is 12.", None),
        (ASKED, "Ответ: двенадцать лап.", "Cyrillic"),
        (ASKED, "π r² and α, β, γ, δ, ε, ζ, η, θ", None),
        ("三只猫有几条腿？请逐步推理。", "三只猫有十二条腿。\\boxed{12}", None),
        ("三只猫有几条腿？请逐步推理。", "Three cats have twelve legs in all.", "Latin"),
        ("三只猫有几条腿？请逐步推理。", "\\begin{aligned}\\frac{1}{2}\\text{条}\\end{aligned} 十二", None),
        ("José has 3 cats", "José has 12 legs", None),
    ],
)
def test_a_switch_of_script_is_found(asked: str, answer: str, script: str | None) -> None:
    assert language_switch(asked, answer) == script


def test_examining_a_long_answer_is_cheap() -> None:
    text = " ".join(str(i * 7919 % 1009) for i in range(30_000))
    start = time.process_time()
    examine(text, finish_reason="length", thinking=True, asked=ASKED)
    examine("a " * 100_000, finish_reason="length", thinking=True, asked=ASKED)
    assert time.process_time() - start < 0.5


@given(st.text(max_size=400), st.sampled_from(["stop", "length", None]), st.booleans())
def test_no_text_makes_the_detectors_raise(text: str, reason: str | None, thinking: bool) -> None:
    examine(text, finish_reason=reason, thinking=thinking, asked=text[:50])


@pytest.mark.parametrize(
    ("content", "leak"),
    [
        ("The answer is \\boxed{4}.", None),
        ("4<|im_end|>", "<|im_end|>"),
        ("4<|endoftext|>Human", "<|endoftext|>"),
        ("4\n</think>\n4", "</think>"),
        ("4 <｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        ("4</s>", "</s>"),
        ("4\nUser: and 3 + 3?", "User:"),
        ("4\n\nassistant\n\n4", "assistant"),
        ("The user: asks for 4", None),
        ("if a <| b and c |> d", None),
        ("x < s > t", None),
        ("The assistant helps.", None),
    ],
)
def test_a_leak_is_what_no_user_should_read(content: str, leak: str | None) -> None:
    assert find_leak(content) == leak
    assert examine(content, finish_reason="stop", thinking=False).leaked is (leak is not None)


def test_the_end_of_a_promised_thinking_is_no_leak_and_a_second_one_is() -> None:
    def leaks(text: str, **how: Any) -> bool:
        return examine(text, finish_reason="stop", **how).leaked

    assert not leaks("2 + 2\n</think>\n4", thinking=True)
    assert leaks("2 + 2\n</think>\n4</think>4", thinking=True)
    assert leaks("2 + 2\n</think>\n4", thinking=False)
    assert not leaks("2 <|x|> 2</think>4", thinking=True)
    # The server has split the thinking off: only what it calls the answer is shown.
    assert not leaks("2 + 2</think>4", thinking=False, content="4")
    assert leaks("2 + 2</think>4</think>4", thinking=True, content="4</think>4")


@pytest.mark.parametrize(
    ("text", "finish_reason", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", "stop", True),
        ("I cannot provide this, so \\boxed{4}", "stop", False),
        ("", "content_filter", True),
        ("4", "stop", False),
        ("I can't help</think>4", "stop", False),
    ],
)
def test_a_refusal_is_an_answer_that_gives_none(text: str, finish_reason: str, refuses: bool) -> None:
    thinking = "</think>" in text
    assert examine(text, finish_reason=finish_reason, thinking=thinking).refused is refuses


def test_a_call_of_a_tool_and_a_thinking_that_was_cut_are_not_empty() -> None:
    assert not examine("", finish_reason="tool_calls", thinking=False).empty
    assert not examine("hm", finish_reason="length", thinking=True).empty
    assert examine("", finish_reason="stop", thinking=False).empty
    assert examine("hm</think>\n", finish_reason="stop", thinking=True).empty
