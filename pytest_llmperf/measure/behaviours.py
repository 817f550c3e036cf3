"""Behaviours of the answers to a task, and costs of the correct ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.gates.base import Judge
from pytest_llmperf.gates.mean_ratio import Costs, Length, PerCorrect
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.measure.answers import (
    GradedAnswer,
    behaviour_of,
    by_unit,
    output_tokens,
    per_item,
    uncounted,
)
from pytest_llmperf.measure.sample_list import SampleList, all_failed
from pytest_llmperf.prompts.behaviour import Behaviour
from pytest_llmperf.tasks.task import Item

MakeShare = Callable[[str, Callable[[Sequence[GradedAnswer]], Outcomes]], Share]
"""Metric, outcomes of answers → the share, measured as far as its gates need it."""


@dataclass(frozen=True)
class Behaviours:
    """Shares of the answers that show a behaviour, and costs of the correct ones."""

    boxed: Share
    thinking_skipped: Share
    unfinished: Share
    loops: Share
    language_switches: Share
    """Answers with a part in a script that the question is not written in (Chinese thinking on an English question)."""
    empty: Share
    """Answers that came to their end and show a user nothing: no text at all, or none after the thinking."""
    leaked: Share
    """Answers that show a user special tokens, tags of a thinking or labels of turns (``<|im_end|>``, ``User:``)."""
    refused: Share
    """Answers that say that the model will not answer, and those that a filter ended."""
    lengths: Callable[[], Length] = field(repr=False)
    costs: Callable[[str, str], PerCorrect] = field(repr=False)

    @property
    def length(self) -> Length:
        """Output tokens by answer, thinking included."""
        return self.lengths()

    @property
    def tokens_per_correct(self) -> PerCorrect:
        """Output tokens by correct answer, those of wrong answers included."""
        return self.costs("tokens", "tokens")

    @property
    def seconds_per_correct(self) -> PerCorrect:
        """Seconds in the server's hands by correct answer, at the load that the answers were collected at."""
        return self.costs("seconds", "s")


def behaviours(
    answers: SampleList[Item, GradedAnswer],
    named: Callable[[str], str],
    task: str,
    thinking: bool,
    cost_items: int,
    share: MakeShare,
    judge: Judge,
) -> Behaviours:
    """The behaviours of ``answers`` to ``task``; costs are those of the first ``cost_items`` items.

    ``named``: the metric's name with the way of asking. ``thinking``: whether the row promises to think.
    """
    seen: dict[tuple[str, int], Behaviour] = {}

    def examine(answer: GradedAnswer) -> Behaviour:
        at = (answer.item, answer.sample)
        if at not in seen:
            seen[at] = behaviour_of(answer, thinking=thinking)
        return seen[at]

    def empty(answers: Sequence[GradedAnswer]) -> Outcomes:
        return by_unit(
            answers,
            lambda answer: answer.blank or examine(answer).empty,
            lambda answer: answer.usable or answer.blank,
        )

    def length() -> Length:
        count = answers.plan(cost_items)
        return Length(
            named(f"tokens per {task} answer"),
            "tokens",
            answers.read(count, lambda answers: costs_of(answers, tokens=True, every=True)),
            judge=judge,
            unusable=answers.why_unusable(count, lambda answers: _no_costs(answers, tokens=True)),
            first_error=answers.first_error,
        )

    def of(metric: str, shown: Callable[[Behaviour], bool]) -> Share:
        return share(named(metric), lambda answers: by_unit(answers, lambda answer: shown(examine(answer))))

    def costs(what: str, unit: str) -> PerCorrect:
        count = answers.plan(cost_items)
        tokens = unit == "tokens"
        return PerCorrect(
            named(f"{what} per correct {task} answer"),
            unit,
            answers.read(count, lambda answers: costs_of(answers, tokens=tokens)),
            judge=judge,
            unusable=answers.why_unusable(count, lambda answers: _no_costs(answers, tokens=tokens)),
            first_error=answers.first_error,
        )

    return Behaviours(
        boxed=of("boxed answers", lambda b: b.boxed),
        thinking_skipped=of("skipped thinking", lambda b: b.thinking_skipped),
        unfinished=of("unfinished answers", lambda b: b.unfinished),
        loops=of("endless loops", lambda b: b.loops),
        language_switches=of("switched languages", lambda b: b.language_switch),
        empty=share(named("empty answers"), empty),
        leaked=of("leaked tags", lambda b: b.leaked),
        refused=of("refused answers", lambda b: b.refused),
        lengths=length,
        costs=costs,
    )


def costs_of(answers: Sequence[GradedAnswer], *, tokens: bool, every: bool = False) -> Costs:
    """By unit of sampling the tokens (or seconds) of its answers that came, and how many are correct (``every``: how
    many came); None where none came, or where the server did not count the tokens of one."""

    def cost(answer: GradedAnswer) -> float:
        return output_tokens(answer) if tokens else answer.answer.seconds

    found: dict[str, Sequence[float] | None] = {answer.unit or answer.item: None for answer in answers}
    unknown = {
        answer.unit or answer.item for answer in answers if tokens and answer.answer.completion_tokens is None
    }
    return found | per_item(
        [answer for answer in answers if answer.usable and (answer.unit or answer.item) not in unknown],
        cost,
        (lambda _: True) if every else (lambda answer: answer.correct),
    )


def _no_costs(answers: Sequence[GradedAnswer], *, tokens: bool) -> str:
    """Why these costs must not be judged; empty if they may."""
    return all_failed(answers) or (
        uncounted([answer for answer in answers if answer.usable]) if tokens else ""
    )
