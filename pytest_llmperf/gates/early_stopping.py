"""Stopping as soon as a gate is decided, and several looks at one gate, without more wrong decisions than promised.

A gate looks while answers come in, and ends the questions once it is decided. Both ways of looking speak of the
*source* of the items (with replacement, items in random order). To bet without replacement would stop sooner and say
less: that *these* answers keep the bound. A model that is exactly at the bound passes that on half of the nights, and
fails on the others.

A margin is judged at each look by its own test, at the level that :func:`margin_levels` leaves to that look.

A share is watched by a betting e-process (``stats.betting``), which holds after any item. It is asked after each
portion what all items so far say, so that a verdict never stands beside a share on the other side of its bound. If it
never decides, the fixed gate judges all planned items. The promised 5 % are divided between the two, so that a wrong
decision keeps its probability whichever of them makes it (union bound).

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
from pytest_llmperf.stats import betting, group_sequential, sample_size
from pytest_llmperf.units import percent

EARLY_SHARE = 5
"""One part in five of the first look's error is spent on stopping early: little, so that the fixed gate keeps nearly
all of its power for the close cases."""
FIRST_LOOK = 150
GROWTH = 1.25
MARGIN_RHO = 2.0
"""A margin's looks spend the error with the square of the share of the items: half of the planned items have spent a
quarter. With 1.5, clear cases take 5 to 8 % fewer items and close ones lose up to 1.4 points of power."""
MARGIN_POWER = 0.8
"""All looks at a margin together decide as often as a single test with this share of the error: within half a point, or
up to 1.2 points more often (all outcomes of 1,319 items added up, discordances of .05 to .20)."""

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
    """Return the error for betting on a share: a part of the first look's, for all looks together."""
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


def margin_levels(sizes: Sequence[int], alpha: float) -> tuple[float, ...]:
    """Return the level of a margin's test after each of ``sizes`` items, all looks together erring in ``alpha``.

    The levels follow from the normal law, and the test of each look is exact (``stats.paired_exact``). The sum over all
    outcomes of all looks is 4.7 to 4.9 % at the margin, on either side (``tests/stats/test_margin_looks.py``).
    """
    return group_sequential.levels(tuple(sizes), alpha, MARGIN_RHO)


@dataclass(frozen=True)
class Question:
    """Is the candidate's share at least (``at_least`` False: at most) ``bound``?"""

    metric: str
    bound: float
    at_least: bool = True


class Watch:
    """The question of a share against a bound, answered item by item.

    A bound that is not strictly between 0 and 1 raises ``ValueError``: no data could show it.
    """

    def __init__(self, question: Question, *, alpha: float = ALPHA) -> None:
        self.question, self.alpha = question, alpha
        self.items: list[str] = []
        """Ids of the items, where :func:`watch` took them."""
        self._values: list[float] = []
        self._ends: list[tuple[float, float]] = []
        """The lowest and the highest value that every item, lost ones too, can have had."""
        self._lost = 0
        self._above = betting.Evidence(question.bound, low=0.0, high=1.0, stakes=betting.SHARE_STAKES)
        self._below = betting.Evidence(-question.bound, low=-1.0, high=0.0, stakes=betting.SHARE_STAKES)

    def observe(self, outcomes: Outcome | Sequence[Outcome]) -> None:
        """Take the next item's outcomes: one, or those of K samples.

        The evidence for a value above the bound takes an item that was lost to infrastructure for the lowest that it
        can have been, the evidence below for the highest, so that neither is wrong more often whatever made it be lost.
        ``NotMeasured`` for something that is no outcome.
        """
        share, low, high = _scores(outcomes)
        if share is None:
            self._lost += 1
        else:
            self._values.append(share)
        self._ends.append((low, high))
        self._above.observe(low)
        self._below.observe(-high)

    @property
    def status(self) -> Status | None:
        """PASS or FAIL if the items so far decide and their share lies on that side of the bound; else None."""
        q, above, below = self.question, self._above.e_value, self._below.e_value
        if not self._values or max(above, below) < 1.0 / self.alpha:
            return None
        observed, is_above = sum(self._values) / len(self._values), above >= below
        if observed == q.bound or (observed > q.bound) != is_above:
            return None
        return Status.PASS if is_above == q.at_least else Status.FAIL

    @property
    def lost_share(self) -> float:
        """Share of the items so far that were lost to infrastructure."""
        return self._lost / max(1, self._lost + len(self._values))

    def verdict(self, *, max_lost_share: float = MAX_LOST_SHARE, planned: int | None = None) -> Verdict:
        """Judge the items so far; ``planned``: how many would have been asked, if fewer were enough.

        INCONCLUSIVE while undecided, INVALID without items or with too many lost.
        """
        q, n = self.question, len(self._values)
        trouble = too_many_lost(self._lost, self._lost + n, max_lost_share, "item")
        if not n:
            trouble = f"nothing was measured, {self._lost} items were lost and none answered"
        if trouble:
            return invalid(q.metric, trouble, bound=q.bound, n=n, unit="share")
        low, high = self._bounds()
        observed, method = sum(self._values) / n, "betting e-process, with replacement"
        verdict = verdict_of(
            Estimate(q.metric, "share", observed, low, high, n, "item", method),
            q.bound,
            at_least=q.at_least,
            bound_name="floor" if q.at_least else "limit",
            alpha=self.alpha,
            p_value=min(1.0, 1.0 / max(1.0, self._against())),
            n_needed=sample_size.items_for_floor(observed, q.bound, alpha=self.alpha),
            detail=f"{self._lost} items were lost to infrastructure errors" if self._lost else "",
            planned=planned,
        )
        return replace(verdict, status=self.status or Status.INCONCLUSIVE)

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
        return betting.interval(values, low=0.0, high=1.0, alpha=self.alpha, stakes=betting.SHARE_STAKES)

    def _against(self) -> float:
        """Return the evidence against the bound being met."""
        return (self._below if self.question.at_least else self._above).e_value


def watch(question: Question, outcomes: Outcomes, *, alpha: float, earlier: Watch | None = None) -> Watch:
    """Watch ``question`` over the items in their order. ``ValueError`` for a bound that no data can show.

    ``earlier`` has watched the same question at the look before, and goes on where the items begin with those it saw.
    """
    items = list(outcomes)
    goes_on = earlier is not None and items[: len(earlier.items)] == earlier.items
    watched = earlier if earlier is not None and goes_on else Watch(question, alpha=alpha)
    for item in items[len(watched.items) :]:
        watched.observe(outcomes[item])
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
