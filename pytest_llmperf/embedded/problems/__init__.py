"""Word problems with exact integer answers: 18 families, 6 levels, 1 to 5 steps, training and held-out apart.

Whether a problem may be trained on is decided by *what it asks*, its family and its numbers in their order,
and not by the seed that drew it: a held-out problem never has a twin in training with other names or another
phrasing.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from pytest_llmperf.embedded.problems import reason, trade, world
from pytest_llmperf.embedded.problems.sheet import LEVELS, Sheet

__all__ = [
    "EVAL_MIX",
    "FAMILIES",
    "LEVELS",
    "TRAIN_MIX",
    "Problem",
    "Split",
    "draw",
    "eval_problems",
    "generate",
    "side",
    "split_of",
]

Split = Literal["train", "eval"]

FAMILIES: dict[str, Callable[[Sheet], tuple[str, int]]] = {
    "shopping": trade.shopping,
    "change": trade.change,
    "percent": trade.percent,
    "mixture": trade.mixture,
    "saving": trade.saving,
    "stock": trade.stock,
    "travel": world.travel,
    "units": world.units,
    "rates": world.rates,
    "clock": world.clock,
    "area": world.area,
    "seats": world.seats,
    "ratio": reason.ratio,
    "ages": reason.ages,
    "sharing": reason.sharing,
    "sequence": reason.sequence,
    "comparison": reason.comparison,
    "average": reason.average,
}

# Relative weights of the levels. Families are drawn evenly.
TRAIN_MIX: Mapping[int, float] = {1: 0.10, 2: 0.16, 3: 0.20, 4: 0.24, 5: 0.20, 6: 0.10}
EVAL_MIX: Mapping[int, float] = {1: 0.10, 2: 0.20, 3: 0.25, 4: 0.25, 5: 0.15, 6: 0.05}

_HELD_OUT_PERCENT = 10
_ATTEMPTS = 2_000


@dataclass(frozen=True)
class Problem:
    """One word problem.

    ``solution`` holds one line per step, each ``Label: equation.``; ``answer`` is the exact integer asked
    for; ``id`` is the same for the same question on any machine.
    """

    id: str
    family: str
    level: int
    steps: int
    question: str
    solution: str
    answer: int


def side(key: str) -> Split:
    """The side on which everything with this key belongs: one key in ten is held out."""
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
    return "eval" if number % 100 < _HELD_OUT_PERCENT else "train"


def split_of(family: str, question: str) -> Split:
    """The side a question is on, by its family and its numbers (names and phrasing don't count)."""
    return side(family + "|" + ",".join(re.findall(r"\d+", question)))


def draw(split: Split, rng: random.Random, family: str, level: int) -> Problem:
    """One problem of a family and level on the asked side; ``RuntimeError`` if 2,000 draws find none."""
    for _ in range(_ATTEMPTS):
        sheet = Sheet(rng, level)
        question, answer = FAMILIES[family](sheet)
        if split_of(family, question) != split:
            continue
        name = hashlib.sha256(question.encode()).hexdigest()[:10]
        return Problem(
            f"{family}-{level}-{name}",
            family,
            level,
            len(sheet.lines),
            question,
            "\n".join(sheet.lines),
            answer,
        )
    raise RuntimeError(f"no {split} problem of {family} at level {level} in {_ATTEMPTS} draws")


def generate(
    split: Split,
    seed: int,
    n: int,
    *,
    families: Sequence[str] = tuple(FAMILIES),
    mix: Mapping[int, float] | None = None,
    unique: bool = False,
) -> list[Problem]:
    """``n`` problems, the same for the same arguments on any machine and Python.

    Families are drawn evenly, levels by ``mix`` (relative weights; ``TRAIN_MIX`` or ``EVAL_MIX`` by default).
    ``unique`` leaves out questions already drawn.
    """
    rng = random.Random(f"{split}/{seed}")
    weights = (TRAIN_MIX if split == "train" else EVAL_MIX) if mix is None else mix
    levels, shares = list(weights), list(weights.values())
    seen: set[str] = set()
    found: list[Problem] = []
    while len(found) < n:
        problem = draw(split, rng, families[rng.randrange(len(families))], rng.choices(levels, shares)[0])
        if unique and problem.id in seen:
            continue
        seen.add(problem.id)
        found.append(problem)
    return found


@cache
def eval_problems(n: int = 1_000, seed: int = 2026) -> tuple[Problem, ...]:
    """The held-out items of the embedded arithmetic task: ``n`` different questions in the default mix.

    Kept: drawing 2,000 of them takes 0.8 s of a processor.
    """
    return tuple(generate("eval", seed, n, unique=True))
