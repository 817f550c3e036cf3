"""A comparison over several starts of both servers: what differs between two starts of one model is not the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pytest_llmperf.errors import InfrastructureError, NotMeasured
from pytest_llmperf.load.interleave import Rounds

LEAST_ROUNDS = 12
"""Of one pair of starts. The start is the sample, and its own error only has to be small beside the 1 to 3 % by which
starts differ: twelve rounds with 5 % noise leave 1.5 %."""

Measure = Callable[[int, int, int], Rounds]
"""Concurrency, number of rounds, number of the pair of starts (from 1) → the rounds."""

Failure = InfrastructureError | NotMeasured


def rounds_of_each(rounds: int, starts: int) -> int:
    """Rounds of one pair of starts, when ``rounds`` were asked for in all."""
    return rounds if starts == 1 else max(LEAST_ROUNDS, math.ceil(rounds / starts))


def over_starts(
    measure: Measure, start_anew: Callable[[], None], concurrencies: Sequence[int], rounds: int, starts: int
) -> dict[int, tuple[Rounds, ...] | Failure]:
    """By concurrency, the rounds of each pair of starts, or why they could not be measured.

    Each pair meets every concurrency before the next one is started, because starting is what takes long. What fails at
    one concurrency is left out from then on and says nothing of the others. Raises what ``start_anew`` raises.
    """
    each = rounds_of_each(rounds, starts)
    found: dict[int, list[Rounds]] = {concurrency: [] for concurrency in concurrencies}
    failed: dict[int, Failure] = {}
    for number in range(1, starts + 1):
        if number > 1:
            start_anew()
        for concurrency in [one for one in found if one not in failed]:
            try:
                found[concurrency].append(measure(concurrency, each, number))
            except (InfrastructureError, NotMeasured) as error:
                failed[concurrency] = error
        if len(failed) == len(found):
            break
    return {
        concurrency: failed.get(concurrency) or tuple(measured) for concurrency, measured in found.items()
    }
