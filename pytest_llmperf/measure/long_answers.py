"""Replies to long prompts; for summaries the facts that they keep, whether they end, and ROUGE-L."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.base import Judge
from pytest_llmperf.gates.mean import MeanScore, Scores
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.json_values import Json
from pytest_llmperf.measure.long_prompts import LongItem, LongPrompts
from pytest_llmperf.measure.sample_list import SampleList, outcomes
from pytest_llmperf.tasks.thinking import after_thinking, never_ends

DEPTHS = 5
"""Parts of a prompt by which the record tells what was given back."""


@dataclass(frozen=True)
class LongReply:
    """The reply to one long prompt."""

    prompt: LongItem
    answer: Answer
    text: str
    """The reply without its thinking; empty if the thinking never ended."""

    @classmethod
    def of(
        cls, model: Model, prompt: LongItem, answer: Answer, begins_inside: bool | None = None
    ) -> LongReply:
        """``begins_inside``: the prompt ends inside a thinking or after one; None: as the row promises."""
        text = after_thinking(answer.text)
        if text is None:
            inside = model.rules.thinking if begins_inside is None else begins_inside
            unended = never_ends(answer.text, thinking=inside and not answer.reasoning)
            text = "" if unended else answer.text
        return cls(prompt, answer, text.strip())

    @property
    def item(self) -> str:
        return self.prompt.id

    @property
    def usable(self) -> bool:
        return self.answer.ok

    @property
    def error(self) -> str:
        return self.answer.error

    @property
    def facts(self) -> list[bool]:
        """For each fact that matters, whether the reply holds it."""
        return [*self.prompt.facts(self.text)]

    @property
    def unfinished(self) -> bool:
        """True if the reply was cut off, or never came to its answer."""
        return self.answer.finish_reason != "stop" or not self.text


class LongAnswers(SampleList[LongItem, LongReply]):
    """The replies of one row to long prompts of one kind."""

    def facts(self) -> dict[str, Json]:
        """For the record: how many were asked, of how many, and what came."""
        came = [reply.answer for reply in self.samples if reply.usable]
        tokens = [answer.completion_tokens for answer in came]
        prompts = [answer.prompt_tokens for answer in came if answer.prompt_tokens is not None]
        return {
            "prompts": min(len(self.items), self.planned),
            "asked": len(self.samples),
            "errors": len(self.samples) - len(came),
            "longest_prompt": max(prompts, default=None),
            "completion_tokens": None if None in tokens else sum(count or 0 for count in tokens),
            "seconds": round(self.seconds, 3),
            "depths": by_depth(self.samples),
        }


def by_depth(replies: Sequence[LongReply]) -> list[Json]:
    """For each fifth of the prompt, from its start: the facts that it states, and how many were given back."""
    stated, right = [0] * DEPTHS, [0] * DEPTHS
    for reply in replies:
        for depth, given in zip(reply.prompt.depths, reply.facts, strict=False) if reply.usable else ():
            if depth is not None:
                at = min(DEPTHS - 1, int(depth * DEPTHS))
                stated[at] += 1
                right[at] += given
    return [{"facts": n, "right": k} for n, k in zip(stated, right, strict=True)] if any(stated) else []


@dataclass(frozen=True)
class Summaries:
    """Summaries of generated reports with three or four facts that matter each, or of articles."""

    prompts: LongPrompts
    unfinished: Share
    """Share of the summaries that were cut, or never came."""
    facts: Callable[[], Share] = field(repr=False)
    scores: Callable[[str], MeanScore] = field(repr=False)

    @property
    def facts_kept(self) -> Share:
        """Share of the facts that the summary holds, word for word; clustered by report.

        Raises :class:`UsageError` for articles, whose facts nobody has listed.
        """
        if self.prompts.articles is not None:
            raise UsageError(
                f"summaries of {self.prompts.articles.name}: nobody has said which facts matter in them; "
                "ask for rouge_l, or for facts_kept of the generated reports: summaries(model)"
            )
        return self.facts()

    @property
    def rouge_l(self) -> MeanScore:
        """Mean ROUGE-L (F1, 0 to 1) of all summaries with their references; thinking is left out."""
        return self.scores(_named(self.prompts, "ROUGE-L of", "summaries"))

    @classmethod
    def of(
        cls,
        prompts: LongPrompts,
        replies: SampleList[LongItem, LongReply],
        share: Callable[[str, Callable[[Sequence[LongReply]], Outcomes], str], Share],
        judge: Judge,
    ) -> Summaries:
        """``share`` takes metric, outcomes and noun, and measures as far as its gates need it."""

        def scores(metric: str) -> MeanScore:
            from pytest_llmperf.tasks.rouge import scorer

            scorer()  # Raises UsageError before anything is asked where ROUGE-L can't be computed here.
            count = replies.plan(len(replies.items))
            return MeanScore(
                metric,
                replies.read(count, rouge_scores),
                judge=judge,
                unusable=replies.why_unusable(count),
                first_error=replies.first_error,
            )

        def unfinished(found: Sequence[LongReply]) -> Outcomes:
            return outcomes(found, lambda reply: reply.unfinished)

        def facts(found: Sequence[LongReply]) -> Outcomes:
            return outcomes(found, lambda reply: reply.facts)

        return cls(
            prompts,
            share(_named(prompts, "unfinished", "summaries"), unfinished, "report"),
            lambda: share("key facts kept in summaries", facts, "report"),
            scores,
        )


def _named(prompts: LongPrompts, before: str, after: str) -> str:
    """``before`` and ``after`` with the articles' name between them, if there are articles."""
    name = "" if prompts.articles is None else prompts.articles.name
    return " ".join(filter(None, (before, name, after)))


def rouge_scores(replies: Sequence[LongReply]) -> Scores:
    """ROUGE-L (F1) by prompt; None for an infrastructure error."""
    from pytest_llmperf.tasks.rouge import rouge_l

    return {
        reply.item: rouge_l(reply.text, reply.prompt.reference) if reply.usable else None for reply in replies
    }
