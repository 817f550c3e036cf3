"""Contexts and texts as tokens, cut where lm-eval cuts them, and items that have them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pytest_llmperf.client.continuations import ContinuationScore, ContinuationTokens
from pytest_llmperf.errors import DataError
from pytest_llmperf.tasks.continuations import Continuation, in_tokens
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.task import Item, Task, guessing, items_sha256, load_items


def tokens_of(continuation: Continuation) -> Mapping[str, Sequence[int]]:
    """Words with the space before them, numbered by their length."""
    return {text: [len(word) for word in re.findall(r"\s*\S+|\s+$", text)] for text in continuation.parts}


@pytest.mark.parametrize(
    ("context", "text", "first", "found"),
    [
        ("Q: one", " two", None, ([2, 4], [4])),
        # The space at the end belongs to the text, as a part of its first token.
        ("Q: one ", "two", None, ([2, 4], [4])),
        ("Q: one \n", "two three", None, ([2, 4], [5, 6])),
        # Without a context the text stands behind the first token, or begins with it.
        ("", "two three", 99, ([99], [3, 6])),
        ("", "two three", 3, ([3], [6])),
    ],
)
def test_the_whole_is_tokenised_and_cut_where_the_context_ends(
    context: str, text: str, first: int | None, found: tuple[list[int], list[int]]
) -> None:
    asked = Continuation(context, text)
    assert in_tokens(asked, tokens_of(asked), first) == ContinuationTokens(*map(tuple, found))


@pytest.mark.parametrize(
    ("context", "text", "why"),
    [
        ("", "two", "takes the tokenizer's first token, and that is not known"),
        ("  \n", "two", "is white space alone"),
        # The last token of the context swallowed the text.
        ("Q: one", "two", "has no token of its own"),
    ],
)
def test_a_text_that_cannot_be_scored_says_why(context: str, text: str, why: str) -> None:
    asked = Continuation(context, text)
    with pytest.raises(ValueError, match=why):
        in_tokens(asked, tokens_of(asked), None)


class Given:
    sha256 = None

    def __init__(self, *items: Item) -> None:
        self._items = items

    def items(self, data_dir: Path | None) -> Sequence[Item]:
        return self._items

    def describe(self) -> str:
        return "given"


def first_is_right(scores: Sequence[ContinuationScore], item: Item) -> tuple[Grade, str]:
    return Grade(Outcome.CORRECT), ""


TEXTS = (Continuation("Q", " a"), Continuation("Q", " b"))


def test_items_with_texts_need_a_grader_of_scores_and_are_not_mixed_with_others() -> None:
    scored, asked = Item("1", "Q", "a", continuations=TEXTS), Item("2", "Q", "42")
    with pytest.raises(DataError, match="need a task with a continuation_grader"):
        load_items(Task("t", Given(scored)))
    with pytest.raises(DataError, match="are not asked alike"):
        load_items(Task("t", Given(scored, asked), continuation_grader=first_is_right))
    assert load_items(Task("t", Given(scored), continuation_grader=first_is_right)) == (scored,)


def test_other_texts_are_other_items() -> None:
    one, other = Item("1", "Q", "a", continuations=TEXTS), Item("1", "Q", "a", continuations=TEXTS[:1])
    assert items_sha256([one]) != items_sha256([other])


def test_guessing_is_the_mean_of_what_items_say_and_else_the_tasks() -> None:
    task = Task("t", Given(), guess=0.5)
    assert guessing(task, []) == 0.5
    items = [Item("1", "Q", "a", guess=0.25), Item("2", "Q", "a", guess=0.0), Item("3", "Q", "a")]
    assert guessing(task, items) == pytest.approx(0.25)
