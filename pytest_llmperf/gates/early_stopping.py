"""Stopping as soon as a gate is decided, and several looks at one gate, without more wrong decisions than promised.

While answers come in, a betting e-process (``stats.betting``) looks at the *source* of the items: with replacement,
items in random order. It may end the questions early; if it never does, the fixed gate judges all planned items. The
promised 5 % are divided between the two, so that a wrong decision keeps its probability whichever of them makes it
(union bound). Betting without replacement would stop sooner and say less: that *these* answers keep the bound. A model
that is exactly at the bound passes that on half of the nights, and fails on the others.

A re-run that adds its data to an earlier run is a further look with a part of the error of its own, and a wrong
decision of any look has at most the probability of all parts together (alpha spending after Lan and DeMets 1983,
Biometrika 70, with fixed parts). The bound holds whatever the sizes of the looks and the methods of the gates, and
although a look holds the data of those before it; the true probability is smaller for that reason (Armitage, McPherson
and Rowe 1969).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_llmperf.gates.decision import ALPHA, MAX_LOST_SHARE, Estimate, invalid, too_many_lost, verdict_of
from pytest_llmperf.gates.outcomes import Outcome, Outcomes, tally
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.stats import betting, sample_size
from pytest_llmperf.units import percent

EARLY_SHARE = 5
"""One part in five of the first look's error is spent on stopping early: little, so that the fixed gate keeps nearly
all of its power for the close cases."""
FIRST_LOOK = 150
GROWTH = 1.25

# The error of each look


def spending(look: int, declared: int | None = None) -> tuple[float, ...]:
    """Return the error that each look up to number ``look`` (from 1) may spend, in order.

    ``declared``: looks that were announced before the first one; they share 5 % equally, and there are no more of them.
    None: nothing was announced, so that the first look has spent the 5 %; each further one adds half of what the look
    before it had, and all of them together stay below 10 %. ``ValueError`` for a look that does not exist.
    """
    if look < 1 or (declared is not None and look > declared):
        raise ValueError(f"look {look} of {declared or 'any number'}: there is no such look")
    if declared is not None:
        return (ALPHA / declared,) * look
    return tuple(ALPHA / 2**number for number in range(look))


def early(spent: Sequence[float]) -> float:
    """Return the error for betting while answers come in: a part of the first look's, for all looks together."""
    return spent[0] / EARLY_SHARE


def final(spent: Sequence[float]) -> float:
    """Return the error for the gate on all answers of the last look, where betting could have stopped before."""
    return spent[0] - early(spent) if len(spent) == 1 else spent[-1]


def describe_looks(spent: Sequence[float]) -> str:
    """Return the line below a verdict of a second or later look; empty for the first."""
    if len(spent) == 1:
        return ""
    return (
        f"look {len(spent)}, with the data of the looks before: decides at {percent(spent[-1])}, "
        f"all looks together err in at most {percent(sum(spent))}"
    )


# Stopping while answers come in


def looks(planned: int) -> Iterator[int]:
    """Yield the numbers of items after which to look: 150, then a quarter more each time, last ``planned``.

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


@dataclass(frozen=True)
class Question:
    """``paired`` False: is the candidate's share at least (``at_least`` False: at most) ``bound``?

    ``paired`` True: is candidate − baseline at least (at most) ``bound``, a signed difference of shares (−0.03 for
    a margin of three points)?
    """

    metric: str
    bound: float
    paired: bool = False
    at_least: bool = True

    @property
    def low(self) -> float:
        """The lowest value that one item can have."""
        return -1.0 if self.paired else 0.0


class Watch:
    """One question, answered item by item.

    A bound that is not strictly inside the range of the values raises ``ValueError``: no data could show it.
    """

    def __init__(self, question: Question, *, alpha: float = ALPHA) -> None:
        self.question, self.alpha = question, alpha
        self.status: Status | None = None
        """PASS or FAIL once decided; it stays, whatever comes after."""
        self.decided_at: int | None = None
        """Items it took."""
        self.items: list[str] = []
        """Ids of the items, where :func:`watch` took them."""
        self._values: list[float] = []
        self._ends: list[tuple[float, float]] = []
        """The lowest and the highest value that every item, lost ones too, can have had."""
        self._shares: list[tuple[float, float]] = []
        self._lost = 0
        low = question.low
        self._stakes = betting.STAKES if question.paired else betting.SHARE_STAKES
        self._above = betting.Evidence(question.bound, low=low, high=1.0, stakes=self._stakes)
        self._below = betting.Evidence(-question.bound, low=-1.0, high=-low, stakes=self._stakes)

    def observe(
        self, candidate: Outcome | Sequence[Outcome], baseline: Outcome | Sequence[Outcome] = None
    ) -> Status | None:
        """Take the next item's outcomes (one, or those of K samples) and return the status so far.

        An item lost to infrastructure on a side that is needed counts as lost; the evidence for a value above the
        bound takes it for the lowest that it can have been, the evidence below for the highest, so that neither is
        wrong more often whatever made it be lost. ``NotMeasured`` for something that is no outcome.
        """
        ours, low, high = _scores(candidate)
        theirs, least, most = _scores(baseline) if self.question.paired else (0.0, 0.0, 0.0)
        if ours is None or theirs is None:
            self._lost += 1
        else:
            self._values.append(ours - theirs)
            self._shares.append((ours, theirs))
        low, high = low - most, high - least
        self._ends.append((low, high))
        above, below = self._above.observe(low), self._below.observe(-high)
        if self.status is None and max(above, below) >= 1.0 / self.alpha:
            met = (above >= below) == self.question.at_least
            self.status, self.decided_at = (Status.PASS if met else Status.FAIL), len(self._values)
        return self.status

    @property
    def lost_share(self) -> float:
        """Share of the items so far that were lost to infrastructure."""
        return self._lost / max(1, self._lost + len(self._values))

    def verdict(self, *, max_lost_share: float = MAX_LOST_SHARE, aside: str = "") -> Verdict:
        """Judge the items so far; ``aside`` stands before their number in the sentence.

        INCONCLUSIVE while undecided, INVALID without items or with too many lost.
        """
        q, n = self.question, len(self._values)
        unit = "points" if q.paired else "share"
        trouble = too_many_lost(self._lost, self._lost + n, max_lost_share, "item")
        if not n:
            trouble = f"nothing was measured, {self._lost} items were lost and none answered"
        if trouble:
            return invalid(q.metric, trouble, bound=q.bound, n=n, unit=unit)
        low, high = self._bounds()
        ours, theirs = (sum(side) / n for side in zip(*self._shares, strict=True))
        method = "betting e-process, with replacement"
        verdict = verdict_of(
            Estimate(q.metric, unit, ours - theirs, low, high, n, "item", method),
            q.bound,
            at_least=q.at_least,
            bound_name="floor" if q.at_least else "limit",
            alpha=self.alpha,
            p_value=min(1.0, 1.0 / max(1.0, self._against())),
            n_needed=self._n_needed(ours - theirs),
            candidate=ours if q.paired else None,
            baseline=theirs if q.paired else None,
            level_unit="share" if q.paired else "",
            detail=f"{self._lost} items were lost to infrastructure errors" if self._lost else "",
            aside=aside,
        )
        discordance = sum(value != 0.0 for value in self._values) / n if q.paired else None
        return replace(verdict, status=self.status or Status.INCONCLUSIVE, discordance=discordance)

    def _bounds(self) -> tuple[float, float]:
        """Return the interval, on the side of the bound on which the decision fell."""
        q = self.question
        lows, highs = zip(*self._ends, strict=True)
        low, high = self._interval(lows)
        if lows != highs:
            high = max(high, self._interval(highs)[1])
        if self.status is None:
            return min(low, q.bound - 1e-9), max(high, q.bound + 1e-9)
        is_above = (self.status is Status.PASS) == q.at_least
        if is_above:
            return max(low, q.bound + (0.0 if q.at_least else 1e-9)), max(high, q.bound)
        return min(low, q.bound), min(high, q.bound - (1e-9 if q.at_least else 0.0))

    def _interval(self, values: Sequence[float]) -> tuple[float, float]:
        return betting.interval(
            values, low=self.question.low, high=1.0, alpha=self.alpha, stakes=self._stakes
        )

    def _against(self) -> float:
        """Return the evidence against the bound being met."""
        return (self._below if self.question.at_least else self._above).e_value

    def _n_needed(self, observed: float) -> int | None:
        q = self.question
        if not q.paired:
            return sample_size.items_for_floor(min(1.0, max(0.0, observed)), q.bound, alpha=self.alpha)
        squared = sum(value * value for value in self._values) / len(self._values)
        difference = min(0.999, max(-0.999, observed))
        return sample_size.items_for_margin(difference, -q.bound, min(1.0, squared), alpha=self.alpha)


def watch(
    question: Question,
    candidate: Outcomes,
    baseline: Outcomes,
    *,
    alpha: float,
    earlier: Watch | None = None,
) -> Watch:
    """Watch ``question`` over the items in their order. ``ValueError`` for a bound that no data can show.

    ``earlier`` has watched the same question at the look before, and goes on where the items begin with those it saw.
    """
    items = list(candidate) if not question.paired else [*candidate, *(baseline.keys() - candidate.keys())]
    goes_on = earlier is not None and items[: len(earlier.items)] == earlier.items
    watched = earlier if earlier is not None and goes_on else Watch(question, alpha=alpha)
    for item in items[len(watched.items) :]:
        watched.observe(candidate.get(item), baseline.get(item))
        watched.items.append(item)
    return watched


def _scores(given: Outcome | Sequence[Outcome]) -> tuple[float | None, float, float]:
    """Return the mean of an item's answers that came (None if none did), and its lowest and highest with the lost."""
    if isinstance(given, bool):
        return float(given), float(given), float(given)
    came, low, high = (_mean(given, lost_as) for lost_as in (None, False, True))
    return came, 0.0 if low is None else low, 1.0 if high is None else high


def _mean(given: Outcome | Sequence[Outcome], lost_as: bool | None) -> float | None:
    scores = tally({"item": given}, lost_as=lost_as).scores.get("item")
    return sum(scores) / len(scores) if scores else None
