"""Macro-F1 of a classification, alone or as a difference on the same items, with the jackknife's standard error.

F1 of a class is 2 TP / (those that are of it + those that were said to be), and the macro-F1 their plain mean over the
classes (Opitz and Burst, arXiv 1911.03347, "averaged F1"). Leaving one item out at a time (Efron and Stein 1981) takes
no more than the counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.stats import arguments

Said = tuple[str, str | None]
"""The class of an item, and the one that was said; None: none was, which is right for no class."""


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
        if self.rarest < 2:
            raise ValueError(f"the rarest class has {self.rarest} item; need two or more")
        width = float(stdtrit(self.rarest - 1, level)) * self.error
        return self.estimate - width, self.estimate + width


def macro_f1(items: Sequence[Said], classes: Sequence[str]) -> Jackknifed:
    """Macro-F1 of all items; ``ValueError`` for fewer than two, or an item of a class that is not among ``classes``."""
    return _jackknifed([_Counts.of(items, classes)])


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
