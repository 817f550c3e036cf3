"""Which long prompts a question is about: generated ones, or articles that others wrote and summed up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_llmperf.client.tokenizer import cut
from pytest_llmperf.config.models import Model
from pytest_llmperf.measure import conversations
from pytest_llmperf.measure.conversations import LongItem
from pytest_llmperf.measure.served import Served
from pytest_llmperf.rules.messages import Message
from pytest_llmperf.tasks.articles import ARTICLE_TOKENS, Articles, find_articles
from pytest_llmperf.tasks.task import Item, items_sha256


@dataclass(frozen=True)
class Shortened:
    """Articles as they are asked about. ``counted`` False: how many tokens they have is estimated."""

    items: Sequence[Item]
    counted: bool


Shorten = Callable[[Articles, int], Shortened]
"""So many of the articles, each short enough; the same ones for every row."""


@dataclass(frozen=True)
class LongPrompts:
    """Prompts of one kind. ``tokens``: length of generated conversations; ``articles``: None where they are made."""

    tokens: int = 0
    articles: Articles | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """What tells them from others, in words."""
        if self.articles is not None:
            return ("summaries", self.articles.name)
        return ("conversations", f"{self.tokens} tokens") if self.tokens else ("summaries",)

    @property
    def what(self) -> str:
        return " ".join(self.key)

    def items(self, model: Model, count: int, shorten: Shorten) -> list[LongItem]:
        """As ``model`` is asked them."""
        if self.articles is None:
            made = (
                conversations.recalls(model, count, self.tokens)
                if self.tokens
                else conversations.summaries(model, count)
            )
            return list(made)
        instruction = self.articles.instruction
        return [_asked(model, item, instruction) for item in shorten(self.articles, count).items]

    def facts(self, count: int, shorten: Shorten) -> dict[str, Any]:
        """For the record: where they are from."""
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
    return LongItem(item.id, conversations.body(model, messages), lambda _: (), item.answer)
