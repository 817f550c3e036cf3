"""The parts of a generated long prompt: the turns, the facts to be given back, and the sizes that make its length."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pytest_llmperf.embedded import filler
from pytest_llmperf.embedded.recall import Turn

_POOL = 256
_POOL_SEED = "haystack"
_DEPTHS = 11
_STEP = 4


@dataclass(frozen=True)
class Fact:
    """A word or number that the reply must give; ``depth``: where the prompt states it, 0 (start) to 1 (end).

    ``depth`` is None for what is spread over the whole prompt.
    """

    answer: str
    depth: float | None


@dataclass(frozen=True)
class LongText:
    """A prompt with its facts.

    ``confusable``: answers of the same kind that are wrong here. ``numbers``: those that an answer may be; empty where
    words are asked for.
    """

    turns: Sequence[Turn]
    facts: Sequence[Fact]
    confusable: frozenset[str] = frozenset()
    numbers: range = range(0)


@dataclass(frozen=True)
class TokenSizes:
    """Tokens of texts: those of ``counted`` as the tokenizer counts them, others by their characters.

    ``overhead``: tokens of a prompt beside its text (the chat template).
    """

    per_character: float
    counted: Mapping[str, float] = field(default_factory=dict, repr=False)
    overhead: float = 0.0

    def __call__(self, text: str) -> float:
        found = self.counted.get(text)
        # A space comes before each.
        return (len(text) + 1) * self.per_character if found is None else found

    def corrected(self, found: int, wanted: float) -> TokenSizes:
        """Sizes after a prompt of ``wanted`` tokens by these had ``found``: the rest is overhead, or the estimate."""
        if self.counted:
            return replace(self, overhead=self.overhead + found - wanted)
        return replace(self, per_character=self.per_character * found / wanted)

    def room(self, tokens: int, *texts: str) -> float:
        """Tokens that are left of ``tokens`` beside these texts and the overhead."""
        return tokens - self.overhead - sum(map(self, texts))


UNKNOWN = TokenSizes(0.25)
"""Four characters a token, as English prose has them."""


@dataclass(frozen=True)
class LongKind:
    """A kind of generated long prompt.

    ``what`` stands in the metric: ``recall of {what} over 32768 tokens``, empty for plain ``recall``. ``units``: the
    texts that fill it, whose tokens are counted once. ``write(seed, tokens, size, instruction)`` gives the prompt, the
    same for the same arguments. ``exact``: it has as many tokens as asked for, within :data:`TOLERANCE`.
    """

    name: str
    what: str
    write: Callable[[int, int, TokenSizes, str], LongText] = field(repr=False)
    units: Sequence[str] = field(default=(), repr=False)
    exact: bool = True
    noun: str = "prompt"


TOLERANCE = 0.02
"""Share by which the length of a prompt may miss what was asked for."""
TOLERATED_TOKENS = 24
"""Tokens by which it may miss it in any case: names and numbers are counted by their characters."""
LEAST_TOKENS = 512
"""Below this, question and instruction are too much of a prompt."""


def haystack_pool() -> tuple[str, ...]:
    """Distinct sentences that state nothing of importance: the same on every machine."""
    rng = random.Random(_POOL_SEED)
    return tuple(dict.fromkeys(filler.sentence(rng) for _ in range(2 * _POOL)))[:_POOL]


POOL = haystack_pool()


def fill(rng: random.Random, units: Sequence[str], room: float, size: TokenSizes) -> list[str]:
    """Units drawn with replacement, as many as fill ``room`` tokens; the last one is that which fits best."""
    drawn: list[str] = []
    while room > 0:
        unit = units[rng.randrange(len(units))]
        if size(unit) >= room:
            unit = min(units, key=lambda each: abs(size(each) - room))
            return [*drawn, unit] if abs(size(unit) - room) < room else drawn
        drawn.append(unit)
        room -= size(unit)
    return drawn


def depth_of(seed: int) -> float:
    """0, 0.1, … 1: each once in eleven consecutive seeds, and neighbours far apart."""
    return (seed * _STEP % _DEPTHS) / (_DEPTHS - 1)


def placed(hay: Sequence[str], needles: Sequence[tuple[float, str]]) -> str:
    """The text with each needle behind its share (0 to 1) of the haystack; equal depths keep their order."""
    slots: dict[int, list[str]] = {}
    for depth, needle in needles:
        slots.setdefault(round(depth * len(hay)), []).append(needle)
    every: list[str] = []
    for at in range(len(hay) + 1):
        every += slots.get(at, ())
        every += hay[at : at + 1]
    return " ".join(every)
