"""Long prompts: reports or articles to sum up, and texts of which something is asked at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, overload

from pytest_llmperf.client.tokenizer import cut
from pytest_llmperf.config.models import Model
from pytest_llmperf.embedded.summary import summary_item
from pytest_llmperf.errors import UsageError
from pytest_llmperf.json_values import Json
from pytest_llmperf.measure.served import Served
from pytest_llmperf.prompts.variants import Ask, Message
from pytest_llmperf.tasks.articles import ARTICLE_TOKENS, Articles, find_articles
from pytest_llmperf.tasks.long_context.given_back import given_back
from pytest_llmperf.tasks.long_context.text import (
    LEAST_TOKENS,
    TOLERATED_TOKENS,
    UNKNOWN,
    LongKind,
    TokenSizes,
)
from pytest_llmperf.tasks.task import Item, items_sha256

SUMMARY_TOKENS = 480
"""Length of a report in the embedded pair's tokens; with the instruction that makes the 512 of the suite."""
# A short reply is all that is asked for: a model that goes on beyond this has not ended.
_REPLY_TOKENS = 256
_THINKING_TOKENS = 1024
MOST_GENERATED = 10_000
"""Prompts of a kind and length that a test may ask for; runs with different seeds have different ones."""
LONGER = 1.14
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
    depths: tuple[float | None, ...] = ()
    """Place of each fact in the prompt, 0 (start) to 1 (end); None for what is spread over it."""


def summaries(model: Model, numbers: range) -> list[LongItem]:
    """Reports of about 512 tokens with the instruction; a summary should hold every key fact."""
    return [_summary(model, number) for number in numbers]


def _summary(model: Model, seed: int) -> LongItem:
    item = summary_item(seed, SUMMARY_TOKENS)

    def facts(text: str) -> tuple[bool, ...]:
        flat = " ".join(text.split()).casefold()
        return tuple(fact.casefold() in flat for fact in item.key_facts)

    messages: list[Message] = [{"role": "user", "content": item.prompt}]
    return LongItem(f"summary-{seed}", _ask(model, messages, _room(model)), facts, item.reference)


def recall_item(model: Model, kind: LongKind, seed: int, tokens: int, sizes: TokenSizes) -> LongItem:
    """The prompt of that kind and number, as ``model`` is asked it."""
    text = kind.write(seed, tokens, sizes, model.rules.instruction)
    messages: list[Message] = [{"role": turn["role"], "content": turn["content"]} for turn in text.turns]
    return LongItem(
        f"{'recall' if kind.name == 'conversation' else kind.name}-{tokens}-{seed}",
        _ask(model, messages, _most_tokens(model, kind, tokens)),
        lambda reply: given_back(reply, text.facts, text.confusable, text.numbers),
        depths=tuple(fact.depth for fact in text.facts),
    )


def reply_tokens(model: Model, kind: LongKind, tokens: int) -> int:
    """Longest reply, thinking included, that a prompt of that kind leaves room for.

    Of a prompt of exact length a row that thinks may use all that its sampling allows.
    """
    if kind.exact:
        return model.sampling.max_tokens if model.rules.thinking else _REPLY_TOKENS
    room = _room(model)
    if model.max_model_len is None:
        return room
    return max(1, min(room, model.max_model_len - math.ceil(LONGER * tokens)))


def _most_tokens(model: Model, kind: LongKind, tokens: int) -> int:
    """``max_tokens`` of the reply: a prompt that is a little longer than asked for must not be refused."""
    wanted = reply_tokens(model, kind, tokens)
    if not kind.exact or model.max_model_len is None:
        return wanted
    return max(1, min(wanted, model.max_model_len - tokens - TOLERATED_TOKENS))


def check_length(model: Model, kind: LongKind, tokens: object, own: int | None = None) -> None:
    """Raise :class:`UsageError` for a length that is none, or that the row's context has no room for.

    ``own``: the context of the weights, which counts where the row states no ``max_model_len``.
    """
    least = LEAST_TOKENS if kind.exact else 1
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < least:
        raise UsageError(f"recall of {kind.name}: tokens={tokens!r}, need a whole number, {least} or more")
    reply, limit = reply_tokens(model, kind, tokens), model.max_model_len or own
    if limit is not None and tokens + (reply if kind.exact else 0) > limit:
        asked = f"{tokens:,} tokens and {reply:,} for the reply" if kind.exact else f"{tokens:,} tokens"
        left = max(0, limit - reply) if kind.exact else limit
        has = (
            f"its max_model_len is {limit:,}: raise it in models.toml, or"
            if model.max_model_len
            else f"its weights have a context of {limit:,} by config.json:"
        )
        raise UsageError(
            f"recall of {kind.name} asks {model.name} for {asked}, {has} ask for {left:,} tokens at most"
        )


def _room(model: Model) -> int:
    return _THINKING_TOKENS if model.rules.thinking else _REPLY_TOKENS


def _ask(model: Model, messages: list[Message], max_tokens: int) -> Ask:
    """Return the messages, or a transcript of them that a base model is to continue."""
    sampling = replace(model.sampling, max_tokens=max_tokens)
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


class Lengths(Protocol):
    """What a row's tokenizer says of texts; the same for every row."""

    def shortened_articles(self, articles: Articles, count: int) -> Shortened:
        """Articles, each cut to its length."""
        ...

    def token_sizes(self, prompts: LongPrompts) -> TokenSizes:
        """Tokens of what generated prompts of exact length are made of."""
        ...


@dataclass(frozen=True)
class LongPrompts:
    """Prompts of one kind: ``articles`` or generated reports to sum up, or ``tokens`` of a ``kind``."""

    tokens: int = 0
    articles: Articles | None = None
    kind: LongKind | None = None

    @property
    def key(self) -> tuple[str, ...]:
        """Their kind in words, for reports and plans."""
        if self.articles is not None:
            return ("summaries", self.articles.name)
        if self.kind is None:
            return ("summaries",)
        return (self.kind.name if self.kind.exact else "conversations", f"{self.tokens} tokens")

    @property
    def what(self) -> str:
        return " ".join(self.key)

    def items(self, model: Model, count: int, lengths: Lengths, seed: int = 0) -> Sequence[LongItem]:
        """The prompts of a run with this seed, as ``model`` is asked them: ``count`` to sum up, or
        :data:`MOST_GENERATED` of a kind."""
        first = MOST_GENERATED * seed
        if self.kind is not None:
            return GeneratedItems(self, model, lengths, first)
        if self.articles is None:
            return summaries(model, range(first, first + count))
        instruction = self.articles.instruction
        return [
            _asked(model, item, instruction)
            for item in lengths.shortened_articles(self.articles, count).items
        ]

    def facts(self, count: int, lengths: Lengths) -> dict[str, Json]:
        """For the record: the source of the prompts."""
        if self.articles is None:
            return {"data": "generated", "tokens": self.tokens or None}
        asked = lengths.shortened_articles(self.articles, count)
        return {
            "data": self.articles.source.describe(),
            "items_sha256": items_sha256(asked.items),
            "counted": asked.counted,
        }


@dataclass(frozen=True)
class GeneratedItems(Sequence[LongItem]):
    """Prompts that are written when they are asked for: a hundred of 128k tokens are too much to be kept."""

    prompts: LongPrompts
    model: Model
    lengths: Lengths
    first: int = 0
    """Number of the first one."""

    def __len__(self) -> int:
        return MOST_GENERATED

    @overload
    def __getitem__(self, at: int) -> LongItem: ...
    @overload
    def __getitem__(self, at: slice) -> list[LongItem]: ...
    def __getitem__(self, at: int | slice) -> LongItem | list[LongItem]:
        prompts, kind = self.prompts, self.prompts.kind
        assert kind is not None
        sizes = self.lengths.token_sizes(prompts) if kind.exact else UNKNOWN
        every = range(self.first, self.first + MOST_GENERATED)
        seeds = every[at] if isinstance(at, slice) else [every[at]]
        items = [recall_item(self.model, kind, seed, prompts.tokens, sizes) for seed in seeds]
        return items if isinstance(at, slice) else items[0]


def summaries_of(texts: str | None) -> LongPrompts:
    """Generated reports, or the articles of that name. Raises :class:`UsageError` for an unknown one."""
    return LongPrompts(articles=None if texts is None else find_articles(texts))


def shortened(
    served: Served, articles: Articles, data_dir: Path | None, count: int, seed: int = 0
) -> Shortened:
    """``count`` of the articles, in the order of ``seed``, each cut to :data:`ARTICLE_TOKENS` of the row's tokenizer.

    Raises :class:`DataError` before the server is started, and what :func:`client.tokenizer.cut` raises.
    """
    items = articles.drawn(data_dir, count, seed)
    found = cut(served.server, [item.prompt for item in items], ARTICLE_TOKENS)
    texts = zip(items, found.texts, strict=True)
    return Shortened([replace(item, prompt=text) for item, text in texts], found.counted)


def _asked(model: Model, item: Item, instruction: str) -> LongItem:
    messages: list[Message] = [{"role": "user", "content": f"{item.prompt}\n\n{instruction}"}]
    return LongItem(item.id, _ask(model, messages, _room(model)), lambda _: (), item.answer)
