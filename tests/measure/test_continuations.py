"""Items that are answered by log probabilities: all texts of an item or none of it, and what a server cannot score."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_llmperf.client.continuations import ContinuationScore, ScoreReply
from pytest_llmperf.client.tokenizer import Tokenized
from pytest_llmperf.errors import NotMeasured, UsageError
from pytest_llmperf.measure import continuations
from pytest_llmperf.measure.answers import answer_stats, by_unit
from pytest_llmperf.measure.continuations import _portion, _Reader, check_variant, needs_replies
from pytest_llmperf.prompts.variants import at_temperature, model_default
from pytest_llmperf.tasks.continuations import Continuation
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.task import Item, Task

ITEMS = [
    Item(f"i{n}", f"Q{n}", "yes", continuations=[Continuation(f"Q{n}", " yes"), Continuation(f"Q{n}", " no")])
    for n in range(3)
]


def first_wins(scores: Sequence[ContinuationScore], item: Item) -> tuple[Grade, str]:
    right = scores[0].log_probability >= scores[1].log_probability
    return Grade(Outcome.CORRECT if right else Outcome.WRONG), "shown"


TASK = Task("t", cast(Any, None), continuation_grader=first_wins)


def reader(
    monkeypatch: pytest.MonkeyPatch, replies: Sequence[ScoreReply], limit: int | None = None
) -> _Reader:
    """A server that tokenises words, and gives ``replies`` to the texts in their order."""
    served = SimpleNamespace(name="m", server=None, model=SimpleNamespace(in_flight=None))
    monkeypatch.setattr(
        continuations,
        "tokenize",
        lambda _, asked: [Tokenized(tuple(range(len(each["prompt"].split()))), limit) for each in asked],
    )
    monkeypatch.setattr(continuations, "score_continuations", lambda *_, **__: list(replies))
    monkeypatch.setattr(continuations, "raise_if_dead", lambda _: None)
    source = SimpleNamespace(directory=None, why="the row names no weights", limit=None)
    return _Reader(cast(Any, served), cast(Any, source), way="prompt_logprobs")


def told(value: float) -> ScoreReply:
    return ScoreReply(ContinuationScore(value, is_greedy=False))


def test_an_item_of_which_one_score_is_missing_is_an_error_and_the_others_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost = ScoreReply(None, "token 1 of 1 of the text has no log probability")
    found = _portion(
        reader(monkeypatch, [told(-1.0), told(-2.0), told(-9.0), lost, told(-2.0), told(-1.0)]), TASK, ITEMS
    )
    assert [answer.grade.outcome for answer in found] == [Outcome.CORRECT, Outcome.INFRA, Outcome.WRONG]
    assert by_unit(found) == {"i0": True, "i1": None, "i2": False}
    assert found[1].error == "token 1 of 1 of the text has no log probability"
    # Nothing that replies do is told of them, and no cost.
    stats = answer_stats(found, thinking=False, temperature=0.0)
    assert (
        stats["refused"],
        stats["unboxed"],
        stats["tokens_per_correct"],
        stats["seconds_per_correct"],
    ) == (None,) * 4


def test_a_text_that_is_too_long_refuses_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        NotMeasured, match=r"item 'i0' has 2 tokens .* the server takes 1: raise max_model_len"
    ):
        _portion(reader(monkeypatch, [], limit=2), TASK, ITEMS)


def test_a_server_that_does_not_tokenise_needs_weights_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent = reader(monkeypatch, [])
    monkeypatch.setattr(continuations, "tokenize", lambda _, asked: [None] * len(asked))
    with pytest.raises(NotMeasured, match="its server has no /tokenize, and the row names no weights"):
        _portion(silent, TASK, ITEMS)


def test_a_text_without_a_context_needs_the_first_token(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [Item("i", "Q", "yes", continuations=[Continuation("", "yes")])]
    [found] = _portion(reader(monkeypatch, []), TASK, alone)
    assert "takes the tokenizer's first token, and that is not known" in found.error
    assert not found.usable


def test_a_variant_and_a_question_about_replies_have_no_place() -> None:
    check_variant(TASK, ITEMS, model_default)
    with pytest.raises(UsageError, match=r"at T = 0\.5 has no place in them"):
        check_variant(TASK, ITEMS, at_temperature(0.5))
    with pytest.raises(UsageError, match="answers looks at replies; t asks for log probabilities"):
        needs_replies(TASK, ITEMS, "answers")
    check_variant(TASK, [Item("i", "Q", "1")], at_temperature(0.5))
