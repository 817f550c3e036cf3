"""Prompts that are given instead of made up: a user's own, a shared beginning, conversations.

What prompts have in common decides what a prefix cache is worth. Prompts of a user's file or of a task are kept apart
from each other and from earlier runs unless the workload wants a warm cache; a shared prefix and conversations want it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import DataError
from pytest_llmperf.load.words import WORDS

_NEED = 'need {"messages": [{"role": "user", "content": "…"}]} or {"prompt": "…"}, perhaps "max_tokens", in each line'


class Given:
    """Prompts in their order, used again from the first where a load needs more of them.

    ``repr`` and equality are by name and number: a record keeps those, and no text.
    """

    def __init__(self, name: str, prompts: Sequence[Mapping[str, Any]]) -> None:
        """``prompts`` have ``messages`` or ``prompt``, and may have ``max_tokens``. Raises ``ValueError`` if there is
        none."""
        if not prompts:
            raise ValueError(f"{name} has no prompts; need at least 1")
        self.name = name
        self._prompts = tuple(prompts)

    def __len__(self) -> int:
        return len(self._prompts)

    def __repr__(self) -> str:
        return f"{self.name}, {len(self)} prompts"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Given) and self._prompts == other._prompts

    def __hash__(self) -> int:
        return hash((self.name, len(self)))

    def fields(self, index: int, mark: str = "") -> dict[str, Any]:
        """What a body says of prompt ``index``; ``mark`` is put before its first words, to tell it from its like."""
        fields = dict(self._prompts[index % len(self)])
        if mark and "prompt" in fields:
            fields["prompt"] = f"{mark} {fields['prompt']}"
        elif mark:
            first, *rest = fields["messages"]
            fields["messages"] = [{**first, "content": f"{mark} {first['content']}"}, *rest]
        return fields


def read_prompts(path: Path) -> Given:
    """A user's prompts, one JSON object a line. Raises ``DataError`` with file, line and what was expected."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the prompts {path} cannot be read: {error}") from error
    prompts = [_prompt(line, f"{path}, line {at}") for at, line in enumerate(lines, start=1) if line.strip()]
    if not prompts:
        raise DataError(f"{path} has no prompts; {_NEED}")
    return Given(path.name, prompts)


def _prompt(line: str, where: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where}: {line[:80]!r} is not JSON ({error}); {_NEED}") from error
    messages = fields.get("messages") if isinstance(fields, dict) else None
    told = (
        isinstance(messages, list)
        and bool(messages)
        and all(
            isinstance(one, dict) and isinstance(one.get("content"), str) and "role" in one
            for one in messages
        )
    )
    if not told and not (
        isinstance(fields, dict) and isinstance(fields.get("prompt"), str) and "messages" not in fields
    ):
        raise DataError(f"{where}: {line[:80]!r} is no prompt; {_NEED}")
    limit = fields.get("max_tokens", 1)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise DataError(f"{where}: max_tokens is {limit!r}; need a whole number from 1 on")
    return {name: fields[name] for name in ("messages", "prompt", "max_tokens") if name in fields}


def shared_prefix(words: int, own_words: int, count: int, *, prefixes: int = 1, seed: int = 0) -> Given:
    """``count`` prompts that begin with one of ``prefixes`` texts of ``words`` words, like a system prompt of all
    users, and end with ``own_words`` of their own. Neighbours have different prefixes. Raises ``ValueError`` for
    numbers below 1."""
    _at_least_one(words=words, own_words=own_words, count=count, prefixes=prefixes)
    begins = [_text(words, f"prefix {seed} {number}") for number in range(prefixes)]
    prompts = [
        {
            "messages": [
                {"role": "system", "content": begins[index % prefixes]},
                {"role": "user", "content": _text(own_words, f"own {seed} {index}")},
            ]
        }
        for index in range(count)
    ]
    return Given(
        f"{prefixes} shared prefix of {words} words" if prefixes == 1 else f"{prefixes} prefixes", prompts
    )


def conversations(count: int, turns: int, words: int, *, seed: int = 0) -> Given:
    """``count`` conversations of ``turns`` turns, a question and an answer of ``words`` words each: every turn is a
    request that holds all turns before it. First the first turn of all, then the second of all: what a server sees
    of many users who read before they write. Raises ``ValueError`` for numbers below 1."""
    _at_least_one(count=count, turns=turns, words=words)
    said = [list(_turns(turns, words, f"{seed} {number}")) for number in range(count)]
    prompts = [{"messages": said[number][: 2 * turn + 1]} for turn in range(turns) for number in range(count)]
    return Given(f"{count} conversations of {turns} turns", prompts)


def _turns(turns: int, words: int, seed: str) -> Iterator[dict[str, str]]:
    for turn in range(turns):
        yield {"role": "user", "content": _text(words, f"question {seed} {turn}")}
        yield {"role": "assistant", "content": _text(words, f"answer {seed} {turn}")}


def _text(words: int, seed: str) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def _at_least_one(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; need at least 1")
