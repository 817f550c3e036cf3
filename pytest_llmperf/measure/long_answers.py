"""Replies to generated long prompts: asked for as far as somebody needs them, and no prompt twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import InfrastructureError, NotMeasured
from pytest_llmperf.gates.outcomes import Outcome, Outcomes
from pytest_llmperf.measure.conversations import LongItem, answer_proper

Ask = Callable[[Sequence[LongItem], int], tuple[Sequence[Answer], float]]
"""Prompts, and how many were asked before → their answers, in the order of the prompts, and the seconds they took."""


@dataclass
class LongAnswers:
    """The replies of one row to prompts of one kind: to the first n of them, which are drawn at random.

    A failure to ask is remembered, and raised again.
    """

    items: Sequence[LongItem] = field(repr=False)
    ask: Ask = field(repr=False)
    answers: list[Answer] = field(default_factory=list, repr=False)
    failure: InfrastructureError | NotMeasured | None = None
    seconds: float = 0.0
    begins_inside: bool | None = None
    """Whether the prompts end inside a thinking (True) or after one (False); None: they do not say."""

    def first(self, count: int) -> list[tuple[LongItem, Answer]]:
        """The first ``count`` prompts (all, if there are fewer) with their replies; missing ones are asked now."""
        if self.failure is not None:
            raise self.failure
        if missing := self.items[len(self.answers) : count]:
            try:
                answers, seconds = self.ask(missing, len(self.answers))
            except (InfrastructureError, NotMeasured) as error:
                self.failure = error
                raise
            self.answers += answers
            self.seconds += seconds
        return list(zip(self.items[:count], self.answers, strict=False))

    def facts(self) -> dict[str, Any]:
        """For the record: how many were asked, of how many, and what came."""
        came = [one for one in self.answers if one.ok]
        tokens = [one.completion_tokens for one in came]
        prompts = [one.prompt_tokens for one in came if one.prompt_tokens is not None]
        return {
            "prompts": len(self.items),
            "asked": len(self.answers),
            "errors": len(self.answers) - len(came),
            "longest_prompt": max(prompts, default=None),
            "completion_tokens": None if None in tokens else sum(count or 0 for count in tokens),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class GrowingLong:
    """What a gate watches of long replies. See ``gates.proportion.Growing``."""

    replies: LongAnswers
    shown: Callable[[LongItem, Answer], Outcome | list[Outcome]] = field(repr=False)
    """Of one reply that came."""

    @property
    def planned(self) -> int:
        return len(self.replies.items)

    def first(self, n: int) -> Outcomes:
        """By prompt; None for an infrastructure error. ``NotMeasured`` with the first error if not one came."""
        found = self.replies.first(n)
        if found and not any(answer.ok for _, answer in found):
            raise NotMeasured(
                f"nothing was measured, all {len(found)} requests failed; the first: {found[0][1].error}"
            )
        return {item.id: self.shown(item, answer) if answer.ok else None for item, answer in found}


def facts_kept(model: Model, replies: LongAnswers) -> GrowingLong:
    """Of each reply, which of the facts that matter it holds."""
    return GrowingLong(
        replies, lambda item, answer: [*item.facts(answer_proper(model, answer, replies.begins_inside))]
    )


def recalled(model: Model, replies: LongAnswers) -> GrowingLong:
    """Whether a reply holds everything that it was asked for."""
    return GrowingLong(
        replies, lambda item, answer: all(item.facts(answer_proper(model, answer, replies.begins_inside)))
    )


def unfinished(model: Model, replies: LongAnswers) -> GrowingLong:
    """Whether a reply was cut, or never came to its answer."""
    return GrowingLong(
        replies,
        lambda _, answer: (
            answer.finish_reason != "stop" or not answer_proper(model, answer, replies.begins_inside)
        ),
    )
