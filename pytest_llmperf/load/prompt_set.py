"""Prompt sets instead of made-up prompts: a user's own, a shared prefix, conversations.

What prompts have in common decides what a prefix cache is worth. Prompts of a user's file or of a task are kept apart
from each other and from earlier runs unless the workload wants a warm cache; a shared prefix and conversations want it.
"""

from __future__ import annotations

import codecs
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.client.body import lint
from pytest_llmperf.errors import DataError, UsageError
from pytest_llmperf.json_values import Json, JsonObject, list_of, object_of

_LENGTHS = ("max_tokens", "max_completion_tokens", "output_tokens")
"""Names under which files state the length of an answer."""
_MOST_TOKENS = 10_000_000
_ANNOTATIONS = ("note", "id", "custom_id", "comment", "metadata", "source")
"""Fields meant for people who read the file; they are not sent."""
_SET_BY_THE_LOAD: Mapping[str, str] = {
    "model": "row of the catalogue",
    "stream": "load",
    "stream_options": "load",
    "n": "load",
    "ignore_eos": "load",
    "min_tokens": "load",
    "cache_salt": "load",
    "request_id": "load",
}
_NEED = 'need {"messages": [{"role": "user", "content": "…"}]} or {"prompt": "…"}, perhaps "max_tokens", in each line'

_COMMON = """
    time year people way day man thing woman life child world school state family student group
    country problem hand part place case week company system program question work government
    number night point home water room mother area money story fact month lot right study book
    eye job word business issue side kind head house service friend father power hour game line
    end member law car city community name president team minute idea kid body information back
    parent face others level office door health person art war history party result change
    morning reason research girl guy moment air teacher force education
"""
WORDS = tuple(_COMMON.split())
"""Common words: one token each, with the space before them, for the tokenizers of most large models."""


class PromptSet:
    """Prompts in their order, used again from the first where a load needs more of them.

    ``repr`` and equality are by name and number: a record keeps those, and no text.
    """

    def __init__(self, name: str, prompts: Sequence[JsonObject]) -> None:
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
        return isinstance(other, PromptSet) and self._prompts == other._prompts

    def __hash__(self) -> int:
        return hash((self.name, len(self)))

    def fields(self, index: int, mark: str = "") -> dict[str, Json]:
        """The request fields of prompt ``index``; ``mark`` is put before its first words, which makes it unique."""
        fields = dict(self._prompts[index % len(self)])
        if mark and "prompt" in fields:
            fields["prompt"] = f"{mark} {fields['prompt']}"
        elif mark:
            fields["messages"] = marked([object_of(turn) for turn in list_of(fields["messages"])], mark)
        return fields


def marked(messages: Sequence[JsonObject], mark: str) -> list[JsonObject]:
    """The messages with ``mark`` before their first text, in whichever message it is."""
    found = list(messages)
    for place, message in enumerate(found):
        content = message.get("content")
        if isinstance(content, str):
            found[place] = {**message, "content": f"{mark} {content}"}
            break
        if isinstance(content, list):
            first, *rest = content
            found[place] = {**message, "content": [{**first, "text": f"{mark} {first['text']}"}, *rest]}
            break
    return found


def read_prompts(path: Path) -> PromptSet:
    """A user's prompts, one JSON object a line: ``messages`` or ``prompt``, perhaps the length of the answer
    (``max_tokens``, ``max_completion_tokens`` or ``output_tokens``) and other request fields, which are sent as well.
    The content of a message is a text or a list of text parts, and is sent as it is; other parts (images, sound) are
    refused, because their tokens can't be kept out of a cache by a mark.

    Raises :class:`DataError` with file, line and what was expected, also for a field that the load could not honour.
    """
    try:
        data = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise DataError(f"the prompts {path} cannot be read: {error.strerror}") from error
    # Not splitlines(), which also splits at U+2028 and others inside a JSON string.
    lines = enumerate(data.split(b"\n"), start=1)
    if data.lstrip()[:1] == b"[":
        raise DataError(f"{path} is a JSON array; need JSON lines, one prompt a line: {_NEED}")
    prompts = [_prompt(line, f"{path}, line {at}") for at, line in lines if line.strip()]
    if not prompts:
        raise DataError(f"{path} has no prompts; {_NEED}")
    return PromptSet(path.name, prompts)


def json_line(line: bytes, where: str, need: str) -> Json:
    """The value in a line of JSON, if it can be sent again. Raises :class:`DataError` with ``where`` and ``need``."""
    try:
        text = line.decode("utf-8")
        value: Json = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_each_once)
        # An unpaired surrogate, which JSON can escape, and infinity (1e999) can't be sent.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 at byte {error.start} of the line; {need}") from None
    except UnicodeEncodeError:
        raise DataError(f"{where}: has an unpaired surrogate (\\ud800 to \\udfff); {need}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {text[:80]!r} can't be read as JSON ({error}); {need}") from error
    return value


def _prompt(line: bytes, where: str) -> dict[str, Json]:
    fields = json_line(line, where, _NEED)
    text = line.decode("utf-8")
    messages = fields.get("messages") if isinstance(fields, dict) else None
    is_chat = are_messages(messages)
    for turn in list_of(messages) if is_chat else ():
        if fault := fault_of_content(object_of(turn)):
            raise DataError(f"{where}: {fault}; {_NEED}")
    if not is_chat and not (
        isinstance(fields, dict) and isinstance(fields.get("prompt"), str) and "messages" not in fields
    ):
        raise DataError(f"{where}: {text[:80]!r} is no prompt; {_NEED}")
    fields = object_of(fields)
    if is_chat and "prompt" in fields:
        raise DataError(f"{where}: has both messages and prompt; need one of them")
    return request_fields(fields, where)


def are_messages(value: Json) -> bool:
    """True for a list of at least one object, each with the name of a role."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and isinstance(each.get("role"), str) for each in value)
    )


def request_fields(fields: JsonObject, where: str) -> dict[str, Json]:
    """The fields of a line that are sent; raises :class:`DataError` for a field that would be dropped."""
    lengths = {name: fields[name] for name in _LENGTHS if name in fields}
    for name, value in lengths.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_TOKENS:
            raise DataError(f"{where}: {name} is {value!r}; need a whole number from 1 on")
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} = {value}" for name, value in lengths.items())
        raise DataError(f"{where}: two lengths of one answer: {said}; need one of them")
    kept = {name: value for name, value in fields.items() if name not in {*_LENGTHS, *_ANNOTATIONS}}
    for name in kept:
        if name in _SET_BY_THE_LOAD:
            raise DataError(
                f"{where}: {name} is set by the {_SET_BY_THE_LOAD[name]}; take it out of the line"
            )
    try:
        lint({"model": "", **kept})
    except UsageError as error:
        raise DataError(
            f"{where}: {error}; take it out of the line, or call it {_ANNOTATIONS[0]!r}"
        ) from None
    return kept | ({"max_tokens": next(iter(lengths.values()))} if lengths else {})


def fault_of_content(message: JsonObject) -> str:
    """Why the content of a message can't be sent; empty if it can."""
    content = message.get("content")
    if isinstance(content, str):
        return ""
    if content is None:
        called = message.get("tool_calls") or message.get("function_call")
        return "" if called else f"a message of {message['role']!r} has no content"
    if not isinstance(content, list) or not content:
        return f"the content of a message is {str(content)[:40]!r}, neither a text nor a list of text parts"
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            what = f"of type {kind!r}" if kind != "text" and isinstance(kind, str) else f"{str(part)[:40]!r}"
            return f"a message has a part {what}; only text parts can be sent"
    return ""


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Json]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return fields


def _no_constant(name: str) -> float:
    raise ValueError(f"JSON has no number {name}")


def shared_prefix(words: int, own_words: int, count: int, *, prefixes: int = 1, seed: int = 0) -> PromptSet:
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
    return PromptSet(
        f"{prefixes} shared prefix of {words} words" if prefixes == 1 else f"{prefixes} prefixes", prompts
    )


def conversations(count: int, turns: int, words: int, *, seed: int = 0) -> PromptSet:
    """``count`` conversations of ``turns`` turns, a question and an answer of ``words`` words each: every turn is a
    request that holds all turns before it. First the first turn of all, then the second of all: what a server sees
    of many users who read before they write. Raises ``ValueError`` for numbers below 1."""
    _at_least_one(count=count, turns=turns, words=words)
    said = [list(_turns(turns, words, f"{seed} {number}")) for number in range(count)]
    prompts = [{"messages": said[number][: 2 * turn + 1]} for turn in range(turns) for number in range(count)]
    return PromptSet(f"{count} conversations of {turns} turns", prompts)


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
