"""Stopping as soon as it is clear, without weakening what the gate says.

Evidence about the *source* of the items (betting with replacement, ``gates.early``) may end the questions early; if it
never does, the fixed gate judges all planned items. The promised 5 % are divided between the two, so that a wrong
decision keeps its probability whichever of them makes it (union bound). Betting without replacement would stop
sooner, and says less: that *these* answers keep the bound. A model that is exactly at the bound passes it on half of
the nights, and fails on the others.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_llmperf.gates.early import Question, Watch
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.spending import early, final, spending

EARLY_ALPHA = early(spending(1))
"""Spent on looking: little, so that the fixed gate keeps nearly all of its power for the close cases."""
FINAL_ALPHA = final(spending(1))
FIRST_LOOK = 150
GROWTH = 1.25


def looks(planned: int) -> Iterator[int]:
    """Numbers of items after which to look: 150, then a quarter more each time, last ``planned``.

    Not after every item, because a server that answers many at a time is idle towards the end of each batch.
    ``ValueError`` for fewer than one item.
    """
    if planned < 1:
        raise ValueError(f"planned is {planned}, at least one item is needed")
    n = FIRST_LOOK
    while n < planned:
        yield n
        n = round(n * GROWTH)
    yield planned


def watch(
    question: Question, candidate: Outcomes, baseline: Outcomes, *, alpha: float = EARLY_ALPHA
) -> Watch:
    """``question``, watched over the items in their order. ``ValueError`` for a bound that no data can show."""
    watched = Watch(question, alpha=alpha)
    items = list(candidate) if not question.paired else [*candidate, *(baseline.keys() - candidate.keys())]
    for item in items:
        watched.observe(candidate.get(item), baseline.get(item))
    return watched
