"""Sentences that carry nothing worth keeping: what recall and summaries have to see past."""

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
    VEHICLES,
)

# Characters per token of this corpus under the pair's tokenizer; good to about a tenth (a test says so).
CHARS_PER_TOKEN = 2.8


def estimate_tokens(text: str) -> int:
    """About how many tokens ``text`` has, for code that should not need a tokenizer."""
    return round(len(text) / CHARS_PER_TOKEN)


def sentence(rng: random.Random) -> str:
    """One harmless sentence, in about a quarter of the cases with a number in it."""

    def pick(options: tuple[str, ...]) -> str:
        return options[rng.randrange(len(options))]

    name, place, good = pick(NAMES), pick(PLACES), pick(GOODS)
    colour, vehicle, field = pick(COLOURS), pick(VEHICLES), pick(FIELDS)
    which = rng.randrange(16)
    if which < 4:
        n = rng.randint(2, 99)
        return (
            f"{name} counted {n} {good} near the {place}.",
            f"The {vehicle} came after {n} minutes.",
            f"About {n} people walked through the {field}.",
            f"{name} sold {n} {good} last week.",
        )[which]
    return (
        f"The weather near the {place} was mild and dry.",
        f"{name} walked to the {place} in the morning.",
        f"There was fresh {pick(GRAINS)} and some {pick(LIQUIDS)} on the table.",
        f"The {colour} {vehicle} was late again, but nobody minded.",
        f"Some old {good} lay in the {field}.",
        f"{name} talked with {pick(NAMES)} about the {place}.",
        f"The {field} behind the {place} looked nice in the evening.",
        f"People like the {colour} {good} in the {place}.",
        f"Later {name} cleaned the {field} and went home.",
        f"It rained a little, so the {vehicle} was full.",
        f"{name} told a long story about {good} and {pick(GRAINS)}.",
        f"The {place} opened late and closed early.",
    )[which - 4]
