"""Long prompts are asked as far as a gate needs them, none of them twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.client.trace import RequestOutcome
from pytest_llmperf.config.models import Model, PromptRules, Sampling
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.measure.book import UNBOOKED
from pytest_llmperf.measure.long_answers import LongAnswers, LongReply
from pytest_llmperf.measure.long_prompts import LongItem, recall_item
from pytest_llmperf.measure.sample_list import OutcomesOnDemand, outcomes
from pytest_llmperf.prompts.variants import Ask
from pytest_llmperf.tasks.long_context.conversation import CONVERSATION
from pytest_llmperf.tasks.long_context.text import UNKNOWN


class Asked:
    """A server that replies ``right`` or not, and remembers what it was asked."""

    def __init__(self, right: bool = True, ok: bool = True) -> None:
        self.right, self.ok = right, ok
        self.asked: list[str] = []

    def __call__(self, items: Sequence[LongItem], before: int, planned: int) -> tuple[list[LongReply], float]:
        assert before == len(self.asked)
        self.asked += [item.id for item in items]
        return [
            LongReply(item, self._answer(i), "42" if self.right else "41") for i, item in enumerate(items)
        ], 0.5

    def _answer(self, index: int) -> Answer:
        outcome = RequestOutcome.OK if self.ok else RequestOutcome.HTTP_ERROR
        text = "42" if self.right else "41"
        return Answer(index, text, "", "stop", 512, 3, 0, outcome, "" if self.ok else "HTTP 500: no", 1, 0.1)


def _items(count: int) -> list[LongItem]:
    return [
        LongItem(f"recall-512-{n}", Ask("m", Sampling()), lambda text: (text == "42",)) for n in range(count)
    ]


def _recalled(replies: Sequence[LongReply]) -> Outcomes:
    return outcomes(replies, lambda reply: all(reply.facts))


def _share(asked: Asked, count: int = 240) -> Share:
    growing = OutcomesOnDemand(LongAnswers(items=_items(count), ask=asked), count, _recalled, UNBOOKED)
    return Share("recall", {}, noun="conversation", growing=growing)


def _decided(share: Share, bound: float) -> Status:
    seen: list[Status] = []

    def judge(case: Gate) -> Judgement:
        verdict = case.settled().judge()
        seen.append(verdict.status)
        return Judgement(verdict)

    _ = dataclasses.replace(share, judge=judge) >= bound
    return seen[0]


def test_a_clear_case_needs_few_of_the_prompts() -> None:
    asked = Asked(right=True)
    assert _decided(_share(asked), 0.75) is Status.PASS
    assert 0 < len(asked.asked) <= 150


def test_a_model_that_forgets_everything_fails_after_few_of_the_prompts() -> None:
    asked = Asked(right=False)
    assert _decided(_share(asked), 0.75) is Status.FAIL
    assert 0 < len(asked.asked) <= 150


def test_no_prompt_is_asked_twice() -> None:
    asked = Asked()
    replies = LongAnswers(items=_items(30), ask=asked)
    replies.first(10)
    replies.first(30)
    assert [reply.item for reply in replies.first(20)] == asked.asked[:20]
    assert asked.asked == [f"recall-512-{n}" for n in range(30)]


def test_a_server_that_only_fails_measures_nothing() -> None:
    replies = LongAnswers(items=_items(10), ask=Asked(ok=False))
    with pytest.raises(NotMeasured, match="all 10 requests failed; the first: HTTP 500"):
        OutcomesOnDemand(replies, 10, _recalled, UNBOOKED).first(10)


def test_a_failure_to_ask_is_remembered() -> None:
    calls = 0

    def ask(items: Sequence[LongItem], before: int, planned: int) -> tuple[list[LongReply], float]:
        nonlocal calls
        calls += 1
        raise NotMeasured("the server is gone")

    replies = LongAnswers(items=_items(3), ask=ask)
    for _ in range(2):
        with pytest.raises(NotMeasured, match="gone"):
            replies.first(3)
    assert calls == 1


@pytest.mark.parametrize(
    ("tokens", "context", "room"),
    [(512, 2048, 1024), (1600, 2048, 224), (2048, 4096, 1024), (2048, 2048, 1), (1600, None, 1024)],
)
def test_a_reply_to_a_long_conversation_gets_what_the_context_leaves(
    tokens: int, context: int | None, room: int
) -> None:
    model = Model(
        name="m",
        profile="p",
        weights="w",
        max_model_len=context,
        rules=PromptRules(thinking=True),
        sampling=Sampling(),
    )
    item = recall_item(model, CONVERSATION, 0, tokens, UNKNOWN)
    assert item.ask.sampling.max_tokens == room
