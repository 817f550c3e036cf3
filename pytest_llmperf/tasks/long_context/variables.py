"""Variable tracking: chains of assignments in a haystack; which variables have the value that the first was given?

A kind of RULER (Hsieh et al. 2024, arXiv 2404.06654), with texts of our own.
"""

from __future__ import annotations

import random

from pytest_llmperf.tasks.long_context.text import POOL, Fact, LongKind, LongText, TokenSizes, fill, placed

_CHAINS, _LENGTH = 4, 5
_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""Without vowels: no name is a word."""
_HEAD = (
    "Read the following text. Some of its sentences set variables; remember the value that each of them has, also "
    "where it is set to another variable."
)


def _write(seed: int, tokens: int, size: TokenSizes, instruction: str) -> LongText:
    rng = random.Random(f"variables/{tokens}/{seed}")
    names: list[str] = []
    while len(names) < _CHAINS * _LENGTH:
        name = "".join(rng.choice(_LETTERS) for _ in range(4))
        if name not in names:
            names.append(name)
    values = [str(value) for value in rng.sample(range(10_000, 100_000), _CHAINS)]
    needles: list[tuple[float, str]] = []
    facts: list[Fact] = []
    for number, value in enumerate(values):
        chain = names[number * _LENGTH : (number + 1) * _LENGTH]
        for at, name in enumerate(chain):
            # Each fifth of the text has one assignment of each chain, in the order of the chain.
            depth = (at + rng.random()) / _LENGTH
            needles.append((depth, f"Set {name} = {chain[at - 1] if at else value}."))
            if number == 0:
                facts.append(Fact(name, depth))
    needles.sort(key=lambda needle: needle[0])
    question = f"Which {_LENGTH} variables have the value {values[0]}? Give their names, separated by commas."
    end = f"{question}\n{instruction}" if instruction else question
    room = size.room(tokens, _HEAD, end, *(sentence for _, sentence in needles))
    body = placed(fill(rng, POOL, room, size), needles)
    others = frozenset(names) - {fact.answer for fact in facts}
    return LongText([{"role": "user", "content": f"{_HEAD}\n\n{body}\n\n{end}"}], facts, others)


VARIABLES = LongKind("variables", "variables", _write, POOL)
