"""Damage planted into data that were already recorded, to see whether a gate that claims to catch it turns red.

Mutation testing for thresholds. Everything is drawn from a seed, so that a proof can be repeated.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pytest_llmperf.gates.outcomes import Outcome, Outcomes
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.stats import arguments


def turned_wrong(outcomes: Outcomes, share: float, seed: int = 0) -> dict[str, Outcome | list[Outcome]]:
    """The same outcomes with ``share`` of *all* that count turned from True to False: the share falls by that much.

    Where fewer are True, all of them. For accuracy (right answers) and wanted behaviours (boxes).
    """
    return _turned(outcomes, share, seed, was=True)


def turned_true(outcomes: Outcomes, share: float, seed: int = 0) -> dict[str, Outcome | list[Outcome]]:
    """The same outcomes with ``share`` of all that count turned from False to True: for unwanted behaviours."""
    return _turned(outcomes, share, seed, was=False)


def slower(samples: Iterable[float | None], by: float) -> list[float | None]:
    """Every latency longer by the share ``by`` (0.08: 8 %); for throughputs give a negative one."""
    factor = 1.0 + _above_minus_one(by)
    return [None if value is None else value * factor for value in samples]


def slower_rounds(
    rounds: Iterable[tuple[float | None, float | None]], by: float
) -> list[tuple[float | None, float | None]]:
    """The same rounds with the candidate's values longer by the share ``by``."""
    factor = 1.0 + _above_minus_one(by)
    return [(None if ours is None else ours * factor, theirs) for ours, theirs in rounds]


@dataclass(frozen=True)
class Proof:
    """``smallest``: the least damage of those tried from which on every planting turned the gate red, or None.

    ``red``: damage → share of plantings that were FAIL, of the damages that had to be tried: from the greatest down to
    the first that did not always turn the gate red, and all that it claims to catch. ``missed``: those of the claimed
    ones that stayed without FAIL.
    """

    smallest: float | None
    red: dict[float, float]
    missed: tuple[float, ...]


def prove(
    judge: Callable[[float, int], Verdict],
    damages: Sequence[float],
    *,
    claims: float | None = None,
    plantings: int = 20,
) -> Proof:
    """Plant each of ``damages`` ``plantings`` times: ``judge(damage, seed)`` judges the damaged data.

    ``claims``: the damage that the gate says it catches; that one and every greater must be red in each planting.
    A gate without claim misses nothing. ``ValueError`` without damages.
    """
    seeds = range(max(1, plantings))
    red: dict[float, float] = {}
    missed: list[float] = []
    smallest, held = None, True
    for level in sorted(arguments.samples_of(damages), reverse=True):
        claimed = claims is not None and level >= claims
        if not (held or claimed):
            break
        red[level] = sum(judge(level, seed).status is Status.FAIL for seed in seeds) / len(seeds)
        held = held and red[level] == 1.0
        if held:
            smallest = level
        elif claimed and red[level] < 1.0:
            missed.append(level)
    return Proof(smallest, red, tuple(sorted(missed)))


def _turned(outcomes: Outcomes, share: float, seed: int, *, was: bool) -> dict[str, Outcome | list[Outcome]]:
    wanted = arguments.share("share", share)
    several: dict[str, list[Outcome]] = {
        item: list(given) if isinstance(given, Sequence) else [given] for item, given in outcomes.items()
    }
    counting = sum(1 for given in several.values() for outcome in given if outcome is not None)
    places = [
        (item, index)
        for item, given in several.items()
        for index, outcome in enumerate(given)
        if outcome is not None and bool(outcome) is was
    ]
    chosen = random.Random(seed).sample(places, min(len(places), round(wanted * counting)))
    for item, index in chosen:
        several[item][index] = not was
    return {
        item: several[item] if isinstance(given, Sequence) else several[item][0]
        for item, given in outcomes.items()
    }


def _above_minus_one(by: float) -> float:
    if arguments.finite("by", by) <= -1.0:
        raise ValueError(f"by is {by:g}, a share above -1 is needed (0.08 for 8 % longer)")
    return by
