"""Common words: a long list in which five words stand ten times as often as all others; which are they?

The aggregation of RULER (Hsieh et al. 2024, arXiv 2404.06654), with words of our own. The whole text matters, so there
is no depth.
"""

from __future__ import annotations

import random

from pytest_llmperf.embedded.problems.words import (
    COLOURS,
    FIELDS,
    GOODS,
    GRAINS,
    LIQUIDS,
    NAMES,
    PLACES,
    THINGS,
    VEHICLES,
)
from pytest_llmperf.errors import UsageError
from pytest_llmperf.tasks.long_context.text import Fact, LongKind, LongText, TokenSizes

_WORDS = tuple(
    word.lower()
    for words in (NAMES, GOODS, PLACES, VEHICLES, LIQUIDS, GRAINS, FIELDS, COLOURS, THINGS)
    for word in words
)
_UNITS = tuple(f"{word}," for word in _WORDS)
_FREQUENT, _TIMES = 5, 10
_HEAD = "Below is a list of words, in which some stand much more often than the others. Memorise how often each stands."
_QUESTION = (
    f"Which {_FREQUENT} words stand most often in the list above? Give the {_FREQUENT}, separated by commas."
)


def _write(seed: int, tokens: int, size: TokenSizes, instruction: str) -> LongText:
    rng = random.Random(f"words/{tokens}/{seed}")
    frequent = rng.sample(_UNITS, _FREQUENT)
    rare = [unit for unit in _UNITS if unit not in frequent]
    end = f"{_QUESTION}\n{instruction}" if instruction else _QUESTION
    room = size.room(tokens, _HEAD, end)
    turn = _TIMES * sum(map(size, frequent)) + sum(map(size, rare))
    rounds = int(room / turn)
    if rounds < 1:
        raise UsageError(
            f"recall of words over {tokens:,} tokens: the shortest list has {round(turn + tokens - room):,} tokens"
        )
    listed = [unit for unit in frequent for _ in range(_TIMES * rounds)] + rare * rounds
    # The rest, each word once more, those that are asked for ten times as often.
    room -= rounds * turn
    more = [*rare, *(unit for unit in frequent for _ in range(_TIMES))]
    rng.shuffle(more)
    for unit in more:
        if room < size(unit) / 2:
            break
        listed.append(unit)
        room -= size(unit)
    rng.shuffle(listed)
    content = f"{_HEAD}\n\n{' '.join(listed).rstrip(',')}\n\n{end}"
    facts = [Fact(unit.rstrip(","), None) for unit in frequent]
    others = frozenset(unit.rstrip(",") for unit in rare)
    return LongText([{"role": "user", "content": content}], facts, others)


WORDS = LongKind("words", "frequent words", _write, _UNITS)
