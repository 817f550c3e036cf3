"""Reading the ``arguments`` of a catalogue entry the way vLLM's own parser reads them.

vLLM takes ``--max-model-len 512``, ``--max_model_len=512`` and any beginning that is unique (``--max-model 512``);
short options take ``-tp 2`` and ``-tp=2``. The last occurrence wins. Only the name is normalised: the text
after the first ``.`` of ``--hf-overrides.rope_scaling`` is a key of a dictionary and keeps its underscores.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.errors import CatalogError
from pytest_llmperf.json_values import Json

SHORT = {
    "-q": "--quantization",
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-dp": "--data-parallel-size",
    "-dcp": "--decode-context-parallel-size",
    "-pcp": "--prefill-context-parallel-size",
    "-sc": "--speculative-config",
    "-cc": "--compilation-config",
    "-ac": "--attention-config",
    "-ep": "--enable-expert-parallel",
    "-n": "--nnodes",
}
"""vLLM's short options (0.32) and what they stand for."""

# Options of vLLM that are themselves the beginning of another one: written so, they are never an abbreviation.
_WHOLE = frozenset(
    {
        "--model",
        "--tokenizer",
        "--quantization",
        "--reasoning-parser",
        "--numa-bind",
        "--data-parallel-size",
        "--kv-cache-dtype",
        "--kv-cache-metrics",
        "--long-prefill-token-threshold",
        "--watermark",
        "--chat-template",
        "--config",
        "--host",
        "--port",
    }
)
_LEAST_ABBREVIATION = len("--dt")


@dataclass(frozen=True)
class Option:
    """One option of a command line."""

    name: str
    """Long and with hyphens: ``--tensor-parallel-size`` for ``-tp``, ``--dtype`` for ``--dtype=half``."""
    value: str | None
    """None for a switch; of an option with several words behind it, the first."""
    words: tuple[int, ...]
    """Places of its words in the arguments: the name, and the value if that is a word of its own."""

    def is_called(self, name: str) -> bool:
        """True if vLLM would take this option for ``name`` (long, with hyphens): spelt out, or abbreviated."""
        if self.name == name:
            return True
        return (
            len(self.name) >= _LEAST_ABBREVIATION and self.name not in _WHOLE and name.startswith(self.name)
        )


def options(arguments: Sequence[str]) -> Iterator[Option]:
    """The options of a command line in their order. Words that belong to none (positional ones) are left out."""
    for place, word in enumerate(arguments):
        if not _is_option(word):
            continue
        name, joined, value = word.partition("=")
        behind = arguments[place + 1] if place + 1 < len(arguments) else None
        if joined:
            yield Option(canonical(name), value, (place,))
        elif behind is not None and not _is_option(behind):
            yield Option(canonical(name), behind, (place, place + 1))
        else:
            yield Option(canonical(name), None, (place,))


def option(arguments: Sequence[str], *names: str) -> Option | None:
    """The last option that vLLM would take for one of ``names``, which is the one that counts; None without any."""
    matches = [each for each in options(arguments) if any(each.is_called(name) for name in names)]
    return matches[-1] if matches else None


def value_of(arguments: Sequence[str], *names: str) -> str | None:
    """The value that counts for one of ``names``; None where it is not given, or given as a switch."""
    last = option(arguments, *names)
    return None if last is None else last.value


def table_of(arguments: Sequence[str], name: str) -> dict[str, Json]:
    """The JSON object that counts for ``name``, written whole or by parts (``--name.key value``); empty without any.

    Combined as vLLM does it: the parts form one object, which overrides a value written whole. Raises
    :class:`CatalogError` for a value that is not a JSON object.
    """
    parts: dict[str, Json] = {}
    for option in options(arguments):
        head, dot, keys = option.name.partition(".")
        if dot and Option(head, None, option.words).is_called(name):
            _put(parts, keys, option.value or "")
    text = value_of(arguments, name)
    if parts or text is None:
        return parts
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"{name} {text[:80]!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise CatalogError(f"{name} {text[:80]!r} must be a JSON object, {{…}}")
    return value


def texts_of(arguments: Sequence[str]) -> Iterator[str]:
    """Every text that may name a file or a model: values, the path in ``NAME=PATH``, the texts within JSON."""
    for word in arguments:
        name, joined, value = word.partition("=")
        yield from _texts_in(value if joined and name.startswith("-") else word)


def _put(table: dict[str, Json], keys: str, text: str) -> None:
    *path, last = keys.removesuffix("+").split(".")
    for key in path:
        inner = table.get(key)
        table[key] = table = inner if isinstance(inner, dict) else {}
    if keys.endswith("+"):
        already = table.get(last)
        table[last] = [*(already if isinstance(already, list) else []), *text.split(",")]
        return
    try:
        table[last] = json.loads(text)
    except (ValueError, RecursionError):
        table[last] = text


def _texts_in(value: str) -> Iterator[str]:
    if value.lstrip()[:1] in ("{", "["):
        try:
            yield from _strings(json.loads(value))
            return
        except (ValueError, RecursionError):
            pass
    yield value
    name, joined, path = value.partition("=")
    if joined and name and path:
        yield path


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def canonical(name: str) -> str:
    """An option's name, long and with hyphens; keys of a dictionary behind a ``.`` are left as they are."""
    if name in SHORT:
        return SHORT[name]
    if not name.startswith("--"):
        return name
    head, dot, keys = name.partition(".")
    return head.replace("_", "-") + dot + keys


def _is_option(word: str) -> bool:
    # A negative number is a value: argparse takes it for one unless an option looks like a number, and none does.
    return word.startswith("-") and len(word) > 1 and not word[1].isdigit() and word[1] != "."
