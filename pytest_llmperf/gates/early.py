"""Gates that are watched while the answers come in, and end the run as soon as all of them are decided.

Evidence is a betting e-process (``stats.betting``), so that looking after every item costs nothing: each wrong
decision keeps its probability of at most alpha. With ``population`` the verdict is about *these* items and
generations, and is certain once all were seen; a model "on questions like these" is what the gates on the full
data judge. Items must come in random order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_llmperf.gates.decision import ALPHA, MAX_LOST_SHARE, Estimate, invalid, too_many_lost, verdict_of
from pytest_llmperf.gates.outcomes import Outcome, tally
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.stats import betting, power


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

    ``population``: items there are in all; None asks about the source of the items. A bound that is not strictly
    inside the range of the values raises ``ValueError``: no data could show it.
    """

    def __init__(self, question: Question, *, population: int | None = None, alpha: float = ALPHA) -> None:
        self.question, self.population, self.alpha = question, population, alpha
        self.status: Status | None = None
        """PASS or FAIL once decided; it stays, whatever comes after."""
        self.decided_at: int | None = None
        """Items it took."""
        self._values: list[float] = []
        self._ends: list[tuple[float, float]] = []
        """Of every item, lost ones too, the lowest and the highest value that it can have had."""
        self._shares: list[tuple[float, float]] = []
        self._lost = 0
        low = question.low
        self._stakes = betting.STAKES if question.paired else betting.SHARE_STAKES
        self._above = betting.Evidence(
            question.bound, low=low, high=1.0, population=population, stakes=self._stakes
        )
        self._below = betting.Evidence(
            -question.bound, low=-1.0, high=-low, population=population, stakes=self._stakes
        )

    def observe(
        self, candidate: Outcome | Sequence[Outcome], baseline: Outcome | Sequence[Outcome] = None
    ) -> Status | None:
        """The next item's outcomes (one, or those of K samples); the status so far.

        An item lost to infrastructure on a side that is needed counts as lost; the evidence for a value above the
        bound takes it for the lowest that it can have been, the evidence below for the highest, so that neither is
        wrong more often whatever made it be lost. ``NotMeasured`` for something that is no outcome.
        """
        ours, theirs = _mean(candidate), _mean(baseline) if self.question.paired else 0.0
        if ours is None or theirs is None:
            self._lost += 1
        else:
            self._values.append(ours - theirs)
            self._shares.append((ours, theirs))
        low, high = _range(candidate)
        if self.question.paired:
            least, most = _range(baseline)
            low, high = low - most, high - least
        self._ends.append((low, high))
        above, below = self._above.observe(low), self._below.observe(-high)
        if self.status is None and max(above, below) >= 1.0 / self.alpha:
            met = (above >= below) == self.question.at_least
            self.status, self.decided_at = (Status.PASS if met else Status.FAIL), len(self._values)
        return self.status

    @property
    def lost_share(self) -> float:
        """Items lost to infrastructure, of all so far."""
        return self._lost / max(1, self._lost + len(self._values))

    def verdict(self, *, max_lost_share: float = MAX_LOST_SHARE, aside: str = "") -> Verdict:
        """What the items so far say, ``aside`` before their number.

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
        source = f"{self.population} items without replacement" if self.population else "with replacement"
        estimate = Estimate(
            q.metric, unit, ours - theirs, low, high, n, "item", f"betting e-process, {source}"
        )
        verdict = verdict_of(
            estimate,
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
        """The interval, on the side of the bound on which the decision fell."""
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
            values,
            low=self.question.low,
            high=1.0,
            population=self.population,
            alpha=self.alpha,
            stakes=self._stakes,
        )

    def _against(self) -> float:
        """Evidence against the bound being met."""
        return (self._below if self.question.at_least else self._above).e_value

    def _n_needed(self, observed: float) -> int | None:
        q = self.question
        if q.paired:
            squared = sum(value * value for value in self._values) / len(self._values)
            needed = power.items_for_margin(
                min(0.999, max(-0.999, observed)), -q.bound, min(1.0, squared), alpha=self.alpha
            )
        else:
            needed = power.items_for_floor(min(1.0, max(0.0, observed)), q.bound, alpha=self.alpha)
        if needed is None or self.population is None:
            return needed
        return min(needed, self.population)


def _mean(given: Outcome | Sequence[Outcome]) -> float | None:
    """Of the answers to one item that came; None if none did."""
    scores = tally({"item": given}).scores.get("item")
    return None if scores is None else sum(scores) / len(scores)


def _range(given: Outcome | Sequence[Outcome]) -> tuple[float, float]:
    """The lowest and the highest mean that the answers to one item can have had, lost ones included."""
    low, high = (tally({"item": given}, lost_as=lost_as).scores.get("item", ()) for lost_as in (False, True))
    return (sum(low) / len(low), sum(high) / len(high)) if low and high else (0.0, 1.0)


def all_decided(watches: Sequence[Watch]) -> bool:
    """Whether the run may stop. ``ValueError`` without watches: nothing watched is nothing decided."""
    if not watches:
        raise ValueError("0 gates are watched, at least 1 is needed")
    return all(watch.status is not None for watch in watches)
