"""What summaries are worth: facts that they keep, whether they end, how near they are to a reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.estimand import Judge, MeanScore, Share
from pytest_llmperf.gates.mean import Scores
from pytest_llmperf.measure.conversations import LongItem, answer_proper
from pytest_llmperf.measure.long_answers import GrowingLong, LongAnswers, facts_kept, unfinished
from pytest_llmperf.measure.long_prompts import LongPrompts


@dataclass(frozen=True)
class Summaries:
    """Of generated reports with three or four facts that matter each, or of articles."""

    prompts: LongPrompts
    unfinished: Share
    """Share of the summaries that were cut, or never came."""
    facts: Callable[[], Share] = field(repr=False)
    scores: Callable[[str], MeanScore] = field(repr=False)

    @property
    def facts_kept(self) -> Share:
        """Share of the facts that the summary holds, word for word; clustered by report.

        Raises :class:`UsageError` for articles, of which nobody knows the facts.
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
        return self.scores(metric_of(self.prompts, "ROUGE-L of", "summaries"))

    @classmethod
    def of(
        cls,
        model: Model,
        prompts: LongPrompts,
        replies: LongAnswers,
        share: Callable[[str, GrowingLong, str], Share],
        judge: Judge,
    ) -> Summaries:
        """Of the replies, with what makes a share of them (as far as its gates need it) and what judges a score."""
        return cls(
            prompts,
            share(metric_of(prompts, "unfinished", "summaries"), unfinished(model, replies), "report"),
            lambda: share("key facts kept in summaries", facts_kept(model, replies), "report"),
            lambda metric: MeanScore(metric, rouge_scores(model, replies), judge=judge),
        )


def metric_of(prompts: LongPrompts, before: str, after: str) -> str:
    """``before`` and ``after`` with the articles' name between them, if there are articles."""
    name = "" if prompts.articles is None else prompts.articles.name
    return " ".join(filter(None, (before, name, after)))


def rouge_scores(model: Model, replies: LongAnswers) -> Scores:
    """By prompt, over all of them; None for an infrastructure error. Raises :class:`NotMeasured` if not one came.

    Raises :class:`UsageError` before anything is asked where ROUGE-L can't be computed here.
    """
    from pytest_llmperf.tasks.rouge import rouge_l, scorer

    scorer()
    every = GrowingLong(replies, lambda *_: True)
    every.first(every.planned)

    def score(item: LongItem, answer: Answer) -> float | None:
        return (
            rouge_l(answer_proper(model, answer, replies.begins_inside), item.reference)
            if answer.ok
            else None
        )

    return {item.id: score(item, answer) for item, answer in replies.first(every.planned)}
