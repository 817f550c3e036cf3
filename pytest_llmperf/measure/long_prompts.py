"""Long prompts: reports or articles to sum up, and conversations in which something said early is asked for late."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_llmperf.client.tokenizer import cut
from pytest_llmperf.config.models import Model
from pytest_llmperf.embedded.recall import recall_conversation
from pytest_llmperf.embedded.summary import summary_item
from pytest_llmperf.json_values import Json
from pytest_llmperf.measure.served import Served
from pytest_llmperf.prompts.variants import Ask, Message
from pytest_llmperf.tasks.articles import ARTICLE_TOKENS, Articles, find_articles
from pytest_llmperf.tasks.boxes import last_box
from pytest_llmperf.tasks.task import Item, items_sha256

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
    ask: Ask
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


def _summary(model: Model, seed: int) -> LongItem:
    item = summary_item(seed, SUMMARY_TOKENS)

    def facts(text: str) -> tuple[bool, ...]:
        flat = " ".join(text.split()).casefold()
        return tuple(fact.casefold() in flat for fact in item.key_facts)

    messages: list[Message] = [{"role": "user", "content": item.prompt}]
    return LongItem(f"summary-{seed}", _ask(model, messages), facts, item.reference)


def _recall(model: Model, seed: int, tokens: int) -> LongItem:
    item = recall_conversation(seed, tokens, instruction=model.rules.instruction)

    def facts(text: str) -> tuple[bool, ...]:
        found = last_box(text) or next(iter(reversed(re.findall(r"\d+", text))), "")
        return (found.strip() == str(item.answer),)

    messages: list[Message] = [{"role": m["role"], "content": m["content"]} for m in item.messages]
    return LongItem(f"recall-{tokens}-{seed}", _ask(model, messages, tokens), facts)


def _ask(model: Model, messages: list[Message], tokens: int = 0) -> Ask:
    """Return the messages, or a transcript of them that a base model is to continue.

    ``tokens``: about how many there are, where the reply may have to do with what the row's context leaves it.
    """
    room = _THINKING_TOKENS if model.rules.thinking else _REPLY_TOKENS
    if tokens and model.max_model_len is not None:
        room = max(1, min(room, model.max_model_len - math.ceil(_LONGER * tokens)))
    sampling = replace(model.sampling, max_tokens=room)
    if model.rules.system is not None:
        messages = [{"role": "system", "content": model.rules.system}, *messages]
    if model.rules.protocol == "chat":
        return Ask(model.served, sampling, tuple(messages))
    # A base model continues a text: the conversation as a transcript, with the reply's beginning written for it.
    lines = [f"{m['role'].capitalize()}: {m['content']}" for m in messages]
    prompt = "\n".join([*lines, "Assistant:"])
    return Ask(model.served, sampling, prompt=prompt, stop=("\nUser:", "\nAssistant:"))


@dataclass(frozen=True)
class Shortened:
    """Articles as they are asked about. ``counted`` False: how many tokens they have is estimated."""

    items: Sequence[Item]
    counted: bool


Shorten = Callable[[Articles, int], Shortened]
"""Articles, count → so many of them, each short enough; the same ones for every row."""


@dataclass(frozen=True)
class LongPrompts:
    """Prompts of one kind. ``tokens``: length of generated conversations; ``articles``: None where they are made."""

    tokens: int = 0
    articles: Articles | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Their kind in words, for reports and plans."""
        if self.articles is not None:
            return ("summaries", self.articles.name)
        return ("conversations", f"{self.tokens} tokens") if self.tokens else ("summaries",)

    @property
    def what(self) -> str:
        return " ".join(self.key)

    def items(self, model: Model, count: int, shorten: Shorten) -> list[LongItem]:
        """The first ``count`` prompts as ``model`` is asked them."""
        if self.articles is None:
            return recalls(model, count, self.tokens) if self.tokens else summaries(model, count)
        instruction = self.articles.instruction
        return [_asked(model, item, instruction) for item in shorten(self.articles, count).items]

    def facts(self, count: int, shorten: Shorten) -> dict[str, Json]:
        """For the record: the source of the prompts."""
        if self.articles is None:
            return {"data": "generated"}
        asked = shorten(self.articles, count)
        return {
            "data": self.articles.source.describe(),
            "items_sha256": items_sha256(asked.items),
            "counted": asked.counted,
        }


def summaries_of(texts: str | None) -> LongPrompts:
    """Generated reports, or the articles of that name. Raises :class:`UsageError` for an unknown one."""
    return LongPrompts(articles=None if texts is None else find_articles(texts))


def shortened(served: Served, articles: Articles, data_dir: Path | None, count: int) -> Shortened:
    """``count`` of the articles, each cut to :data:`ARTICLE_TOKENS` of the row's own tokenizer.

    Raises :class:`DataError` before the server is started, and what :func:`client.tokenizer.cut` raises.
    """
    items = articles.drawn(data_dir, count)
    found = cut(served.server, [item.prompt for item in items], ARTICLE_TOKENS)
    texts = zip(items, found.texts, strict=True)
    return Shortened([replace(item, prompt=text) for item, text in texts], found.counted)


def _asked(model: Model, item: Item, instruction: str) -> LongItem:
    messages: list[Message] = [{"role": "user", "content": f"{item.prompt}\n\n{instruction}"}]
    return LongItem(item.id, _ask(model, messages), lambda _: (), item.answer)
