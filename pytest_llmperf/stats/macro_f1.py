"""Macro-F1 of a classification, alone or as a difference on the same items, with the jackknife's standard error.

F1 of a class is 2 TP / (those that are of it + those that were said to be), and the macro-F1 their plain mean over the
classes (Opitz and Burst, arXiv 1911.03347, "averaged F1"). Leaving one item out at a time (Efron and Stein 1981) takes
no more than the counts.

A macro-F1 by itself has the bounds of Korn and Graubard, which stay skewed near 0 and 1; a difference, which is near
neither, has Student's t.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.stats import arguments, binomial

Said = tuple[str, str | None]
"""The class of an item, and the one that was said; None: none was, which is right for no class."""
_VARIED = 5
"""Items that are right, and as many that are wrong, from which on the spread of a class's F1 speaks for itself. With 3
or 10 instead, the same 867 simulated combinations of classes and errors pass wrongly in at most 5.8 %."""


@dataclass(frozen=True)
class Jackknifed:
    """``estimate`` and its standard error, from ``n`` items, of which the rarest class has ``rarest``."""

    estimate: float
    error: float
    n: int
    rarest: int

    def bounds(self, level: float) -> tuple[float, float]:
        """Two one-sided bounds, each at ``level`` (0.95).

        Student's t with the degrees of freedom of the rarest class, whose F1 is the least certain. ``ValueError`` if
        that class has one item.
        """
        from scipy.special import stdtrit

        arguments.inside("level", level, 0.5, 1.0)
        self._require_a_pair()
        width = float(stdtrit(self.rarest - 1, level)) * self.error
        return self.estimate - width, self.estimate + width

    def _require_a_pair(self) -> None:
        if self.rarest < 2:
            raise ValueError(f"the rarest class has {self.rarest} item; need two or more")


@dataclass(frozen=True)
class JackknifedLevel(Jackknifed):
    """A macro-F1 by itself; it is worth ``most_n`` independent items at most."""

    most_n: float

    def bounds(self, level: float) -> tuple[float, float]:
        """Two one-sided bounds, each at ``level`` (0.95), between 0 and 1.

        Clopper and Pearson's for ``effective_n`` items of which the share ``estimate`` is right (Korn and Graubard
        1998, Survey Methodology 24, 193). ``ValueError`` if the rarest class has one item.
        """
        n = self.effective_n(level)
        right = min(n, self.estimate * n)
        return (
            binomial.clopper_pearson_lower(right, n, level),
            binomial.clopper_pearson_upper(right, n, level),
        )

    def effective_n(self, level: float) -> float:
        """Return how many independent items have a share with this standard error.

        Fewer by the square of Student's quantiles for all items over those for the rarest class, whose F1 is the least
        certain. ``most_n`` if nothing varies, and never more (the US National Center for Health Statistics does so
        with the number of items: 2017, Vital and Health Statistics 2, 175).
        """
        from scipy.special import stdtrit

        arguments.inside("level", level, 0.5, 1.0)
        self._require_a_pair()
        spread = self.estimate * (1.0 - self.estimate)
        if self.error <= 0.0 or spread <= 0.0:
            return self.most_n
        lost = float(stdtrit(self.n - 1, level) / stdtrit(self.rarest - 1, level)) ** 2
        return min(self.most_n, spread / self.error**2 * lost)


def macro_f1(items: Sequence[Said], classes: Sequence[str]) -> JackknifedLevel:
    """Macro-F1 of all items; ``ValueError`` for fewer than two, or an item of a class that is not among ``classes``."""
    counts = _Counts.of(items, classes)
    found = _jackknifed([counts])
    return JackknifedLevel(found.estimate, found.error, found.n, found.rarest, _most_n(counts))


def _most_n(counts: _Counts) -> float:
    """Return the number of items; where a class is all right or all wrong but for a few, what its size allows.

    Such a class shows hardly any spread, which is no proof that it has none. The variance of a mean of the shares of K
    classes, each estimated from its own n_k items, is that of a share of K² / Σ 1/n_k items.
    """
    sizes = Counter(gold for gold, _ in counts.items)
    if all(min(counts.right[name], size - counts.right[name]) >= _VARIED for name, size in sizes.items()):
        return len(counts.items)
    return len(sizes) ** 2 / math.fsum(1.0 / size for size in sizes.values())


def macro_f1_difference(ours: Sequence[Said], theirs: Sequence[Said], classes: Sequence[str]) -> Jackknifed:
    """Macro-F1 of ``ours`` less that of ``theirs``, the same items in the same order."""
    if [gold for gold, _ in ours] != [gold for gold, _ in theirs]:
        raise ValueError("both sides need the same items in the same order")
    return _jackknifed([_Counts.of(ours, classes), _Counts.of(theirs, classes)])


@dataclass(frozen=True)
class _Counts:
    items: Sequence[Said]
    classes: Sequence[str]
    right: dict[str, int]
    total: dict[str, int]
    """For each class, items that belong to it and items that were classified as it, added up."""

    @classmethod
    def of(cls, items: Sequence[Said], classes: Sequence[str]) -> _Counts:
        if len(items) < 2:
            raise ValueError(f"{len(items)} items; need two or more")
        right, total = dict.fromkeys(classes, 0), dict.fromkeys(classes, 0)
        for gold, said in items:
            if gold not in total:
                raise ValueError(f"an item is of class {gold!r}; known: {', '.join(classes)}")
            total[gold] += 1
            if said in total:
                total[said] += 1
                right[gold] += gold == said
        return cls(items, classes, right, total)

    def f1(self, without: Said | None = None) -> float:
        """Macro-F1, of all items or without one. A class that occurs nowhere has none, and does not count."""
        gold, said = without or (None, None)
        found = []
        for name in self.classes:
            total = self.total[name] - (name == gold) - (name == said)
            right = self.right[name] - (name == gold == said)
            if total:
                found.append(2.0 * right / total)
        return math.fsum(found) / len(found)


def _jackknifed(sides: Sequence[_Counts]) -> Jackknifed:
    n = len(sides[0].items)
    signs = (1.0, -1.0)
    # Items that were answered alike leave the same gap: few different ones, however many there are.
    known: dict[tuple[Said, ...], float] = {}
    without = []
    for left_out in zip(*(side.items for side in sides), strict=True):
        if left_out not in known:
            known[left_out] = math.fsum(
                sign * side.f1(one) for sign, side, one in zip(signs, sides, left_out, strict=False)
            )
        without.append(known[left_out])
    mean = math.fsum(without) / n
    variance = (n - 1) / n * math.fsum((one - mean) ** 2 for one in without)
    estimate = math.fsum(sign * side.f1() for sign, side in zip(signs, sides, strict=False))
    rarest = min(Counter(gold for gold, _ in sides[0].items).values())
    return Jackknifed(estimate, math.sqrt(variance), n, rarest)
