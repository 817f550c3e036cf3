"""Needles in a haystack: codes of things, stated once among sentences about something else, and asked for at the end.

Kinds of RULER (Hsieh et al. 2024, arXiv 2404.06654), with texts of our own.
"""

from __future__ import annotations

import random

from pytest_llmperf.embedded.problems.words import COLOURS, THINGS
from pytest_llmperf.tasks.long_context.text import (
    POOL,
    Fact,
    LongKind,
    LongText,
    TokenSizes,
    depth_of,
    fill,
    placed,
)

_ASKED, _STATED = 4, 8
_CODES = range(10_000, 100_000)
_HEAD = "Read the following text. It states the codes of some things; you will be asked for them at the end."


def _things(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """``count`` different things, each with a code of five digits that no other has."""
    names = rng.sample([f"{colour} {thing}" for colour in COLOURS for thing in THINGS], count)
    codes = rng.sample(_CODES, count)
    return [(name, str(code)) for name, code in zip(names, codes, strict=True)]


def _said(name: str, code: str) -> str:
    return f"The code of the {name} is {code}."


def _text(
    rng: random.Random,
    stated: list[tuple[float, tuple[str, str]]],
    asked: list[tuple[float, tuple[str, str]]],
    question: str,
    tokens: int,
    size: TokenSizes,
    instruction: str,
) -> LongText:
    end = f"{question}\n{instruction}" if instruction else question
    sentences = [(depth, _said(*thing)) for depth, thing in stated]
    room = size.room(tokens, _HEAD, end, *(sentence for _, sentence in sentences))
    body = placed(fill(rng, POOL, room, size), sentences)
    facts = [Fact(code, depth) for depth, (_, code) in asked]
    others = frozenset(code for _, (_, code) in stated) - {fact.answer for fact in facts}
    return LongText([{"role": "user", "content": f"{_HEAD}\n\n{body}\n\n{end}"}], facts, others, _CODES)


def _write_one(seed: int, tokens: int, size: TokenSizes, instruction: str) -> LongText:
    rng = random.Random(f"needle/{tokens}/{seed}")
    [thing] = _things(rng, 1)
    at = [(depth_of(seed), thing)]
    return _text(rng, at, at, f"What is the code of the {thing[0]}?", tokens, size, instruction)


def _write_several(seed: int, tokens: int, size: TokenSizes, instruction: str) -> LongText:
    rng = random.Random(f"needles/{tokens}/{seed}")
    # One in each eighth of the text, so that every depth is asked for equally often.
    stated = [((n + rng.random()) / _STATED, thing) for n, thing in enumerate(_things(rng, _STATED))]
    asked = rng.sample(stated, _ASKED)
    *most, last = (f"the {name}" for _, (name, _) in asked)
    question = (
        f"What are the codes of {', '.join(most)} and {last}? Give the {_ASKED} numbers, separated by commas."
    )
    return _text(rng, stated, asked, question, tokens, size, instruction)


NEEDLE = LongKind("needle", "a needle", _write_one, POOL)
NEEDLES = LongKind("needles", "needles", _write_several, POOL)
