"""Long contexts, generated: reports to sum up, and conversations in which something said early is asked for late."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.config.models import Model
from pytest_llmperf.embedded.recall import recall_conversation
from pytest_llmperf.embedded.summary import summary_item
from pytest_llmperf.rules.messages import Message
from pytest_llmperf.tasks.boxes import last_box
from pytest_llmperf.tasks.thinking import after_thinking, never_ends

SUMMARY_TOKENS = 480
"""Length of a report in the embedded pair's tokens; with the instruction that makes the 512 of the suite."""
# A short reply is all that is asked for: a model that goes on beyond this has not ended.
_REPLY_TOKENS = 256
_THINKING_TOKENS = 1024
_LONGER = 1.14
"""By which a generated conversation may be longer, in a row's own tokens, than it was asked to be (in ChatML)."""


@dataclass(frozen=True)
class LongItem:
    """A long prompt and what a reply to it must hold."""

    id: str
    body: dict[str, Any]
    facts: Callable[[str], tuple[bool, ...]]
    """Which of the facts that matter the answer proper (thinking cut off) holds."""
    reference: str = ""
    """A summary that somebody else has written; empty where none is asked for."""


def summaries(model: Model, count: int) -> list[LongItem]:
    """Reports of about 512 tokens with the instruction; a summary should hold every key fact."""
    return [_summary(model, seed) for seed in range(count)]


def recalls(model: Model, count: int, tokens: int) -> list[LongItem]:
    """Conversations of about ``tokens`` tokens, at most; the reply must give the number that was stated."""
    return [_recall(model, seed, tokens) for seed in range(count)]


def answer_proper(model: Model, answer: Answer, begins_inside: bool | None = None) -> str:
    """The reply without its thinking; empty if the thinking never ended.

    ``begins_inside``: the prompt ends inside a thinking or after one; None: as the row promises.
    """
    said = after_thinking(answer.text)
    if said is None:
        inside = model.rules.thinking if begins_inside is None else begins_inside
        thinking = inside and not answer.reasoning
        said = "" if never_ends(answer.text, thinking=thinking) else answer.text
    return said.strip()


def _summary(model: Model, seed: int) -> LongItem:
    item = summary_item(seed, SUMMARY_TOKENS)

    def facts(text: str) -> tuple[bool, ...]:
        flat = " ".join(text.split()).casefold()
        return tuple(fact.casefold() in flat for fact in item.key_facts)

    messages: list[Message] = [{"role": "user", "content": item.prompt}]
    return LongItem(f"summary-{seed}", body(model, messages), facts, item.reference)


def _recall(model: Model, seed: int, tokens: int) -> LongItem:
    item = recall_conversation(seed, tokens, instruction=model.rules.instruction)

    def facts(text: str) -> tuple[bool, ...]:
        found = last_box(text) or next(iter(reversed(re.findall(r"\d+", text))), "")
        return (found.strip() == str(item.answer),)

    messages: list[Message] = [{"role": m["role"], "content": m["content"]} for m in item.messages]
    return LongItem(f"recall-{tokens}-{seed}", body(model, messages, tokens), facts)


def body(model: Model, messages: list[Message], tokens: int = 0) -> dict[str, Any]:
    """The request: the messages, or a transcript of them that a base model is to continue.

    ``tokens``: about how many there are, where the reply may have to do with what the row's context leaves it.
    """
    room = _THINKING_TOKENS if model.rules.thinking else _REPLY_TOKENS
    if tokens and model.max_model_len is not None:
        room = max(1, min(room, model.max_model_len - math.ceil(_LONGER * tokens)))
    sampling = model.sampling.body() | {"max_tokens": room}
    if model.rules.system is not None:
        messages = [{"role": "system", "content": model.rules.system}, *messages]
    if model.rules.protocol == "chat":
        return {"messages": messages, **sampling}
    # A base model continues a text: the conversation as a transcript, with the reply's beginning written for it.
    lines = [f"{m['role'].capitalize()}: {m['content']}" for m in messages]
    return {"prompt": "\n".join([*lines, "Assistant:"]), "stop": ["\nUser:", "\nAssistant:"], **sampling}
