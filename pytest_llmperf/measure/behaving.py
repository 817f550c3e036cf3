"""How the answers to a task behave, and what a right one of them costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.gates.estimand import Judge, PerCorrect, Share
from pytest_llmperf.gates.mean_ratio import Costs
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.measure.asking import Answers, Asked
from pytest_llmperf.measure.collecting import Collection
from pytest_llmperf.measure.yields import behaviour_of, output_tokens, per_item, uncounted
from pytest_llmperf.rules import detect
from pytest_llmperf.rules.messages import Variant

MakeShare = Callable[[str, Callable[[Answers], Outcomes]], Share]
"""A metric and what of the answers counts → the share, as much of it measured as its gates need."""


@dataclass(frozen=True)
class Behaviours:
    """Shares of the answers that show a behaviour, and costs of the right ones."""

    boxed: Share
    thinking_skipped: Share
    unfinished: Share
    loops: Share
    language_switches: Share
    """A share of the reply in a script that the question is not written in (a Chinese thought on an English one)."""
    costs: Callable[[str, str], PerCorrect] = field(repr=False)

    @property
    def tokens_per_correct(self) -> PerCorrect:
        """Output tokens by right answer, those of wrong answers included."""
        return self.costs("tokens", "tokens")

    @property
    def seconds_per_correct(self) -> PerCorrect:
        """Seconds in the server's hands by right answer, at whatever load the answers were collected."""
        return self.costs("seconds", "s")


def behaviours(
    collection: Collection, variant: Variant, planned: int, cost_items: int, share: MakeShare, judge: Judge
) -> Behaviours:
    """Of the answers of ``collection``, of which up to ``planned`` items may be asked; costs are those of the
    first ``cost_items``."""
    seen: dict[tuple[str, int], detect.Behaviour] = {}

    def examine(one: Asked) -> detect.Behaviour:
        at = (one.item, one.sample)
        if at not in seen:
            seen[at] = behaviour_of(one, thinking=collection.thinking)
        return seen[at]

    def of(name: str, shown: Callable[[detect.Behaviour], bool]) -> Share:
        return share(variant.named(name), lambda answers: answers.share(lambda one: shown(examine(one))))

    def costs(what: str, unit: str) -> PerCorrect:
        count = collection.plan(min(planned, cost_items))
        answers = collection.first(count)
        metric = cost_named(collection.task, variant, what)
        came = [one for one in answers.asked if one.usable]
        unusable = answers.unusable or (uncounted(came) if unit == "tokens" else "")
        found = costs_of(answers.asked, tokens=unit == "tokens")
        return PerCorrect(metric, unit, found, judge=judge, unusable=unusable)

    return Behaviours(
        boxed=of("boxed answers", lambda b: b.boxed),
        thinking_skipped=of("skipped thinking", lambda b: b.thinking_skipped),
        unfinished=of("unfinished answers", lambda b: b.unfinished),
        loops=of("endless loops", lambda b: b.loops),
        language_switches=of("switched languages", lambda b: b.language_switch),
        costs=costs,
    )


def cost_named(task: str, variant: Variant, what: str) -> str:
    """The metric's name."""
    return variant.named(f"{what} per correct {task} answer")


def costs_of(asked: Sequence[Asked], *, tokens: bool) -> Costs:
    """By item the tokens (or seconds) of its answers that came, and how many are right; None where none came, or where
    the tokens of one were not counted."""

    def cost(one: Asked) -> float:
        return output_tokens(one) if tokens else one.answer.seconds

    found: dict[str, Sequence[float] | None] = {one.item: None for one in asked}
    unknown = {one.item for one in asked if tokens and one.answer.completion_tokens is None}
    return found | per_item([one for one in asked if one.usable and one.item not in unknown], cost)
