"""A check of every prompt of a task, as the model will read it, before the first of them is sent.

With the chat template of the row's weights, and with what the server makes of it: the tokens, where it has
``/tokenize``, else how many it counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmperf.client.answers import complete_all
from pytest_llmperf.client.tokenizer import Tokenized, can_count_locally, count_locally, detokenize, tokenize
from pytest_llmperf.errors import DataError, NotMeasured, StartError, UsageError
from pytest_llmperf.json_values import Json
from pytest_llmperf.measure.served import Served
from pytest_llmperf.prompts import violations
from pytest_llmperf.prompts.lint import Finding, opening_of
from pytest_llmperf.prompts.template import ChatTemplate, Rendered, template_of, tokenizer_directory
from pytest_llmperf.prompts.variants import Ask, Variant
from pytest_llmperf.prompts.violations import as_chat
from pytest_llmperf.serving import weights as weights_of
from pytest_llmperf.tasks.thinking import begins_inside

_COUNTED = 8
"""Number of the longest prompts whose tokens are counted; of the others, those that may be too long by these."""
_UNEVEN = 1.25
"""Factor by which a text may have more tokens to a character than the densest one counted."""
_ANY = "x"
_SHOWN = 10_000
"""Characters of a prompt that the record shows from each of its ends."""


@dataclass(frozen=True)
class TemplateSource:
    """The directory of a row's tokenizer, and the chat template that is used with it; ``why`` there is none."""

    directory: Path | None
    template: ChatTemplate | None
    why: str = ""
    limit: int | None = None
    """Longest prompt and answer together by the row or the weights, in tokens."""

    @classmethod
    def of(cls, served: Served) -> TemplateSource:
        """Nothing is fetched for it: an engine that serves a model from the hub has put it here."""
        model = served.model
        try:
            if not model.weights:
                return cls(None, None, "the row names no weights", model.max_model_len)
            found = served.weights
            if found.directory is None:  # when the run began; an engine has fetched them since
                found = weights_of.resolve(model)
        except StartError as error:
            return cls(None, None, error.cause, model.max_model_len)
        limit = model.max_model_len or found.max_model_len
        if found.directory is None:
            return cls(None, None, f"{model.weights} is not on this machine", limit)
        try:
            directory = tokenizer_directory(model, found.directory)
        except UsageError as error:
            return cls(None, None, str(error), limit)
        try:
            return cls(directory, template_of(model, found.directory), limit=limit)
        except UsageError as error:
            return cls(directory, None, str(error), limit)

    def rendered(self, ask: Ask) -> Rendered | None:
        """The prompt that the model reads; None where no template is known. :class:`DataError` if that refuses it."""
        if self.template is not None:
            return self.template.render_ask(ask)
        return None if ask.prompt is None else Rendered(ask.prompt)


@dataclass
class _Found:
    """A rule that prompts break: the first of them, and how many."""

    rule: str
    says: str
    item: str
    items: int = 0


@dataclass
class Findings:
    """Findings about the prompts of one task to one row, asked in one way."""

    row: str
    task: str
    variant: str
    rendered_by: str | None = None
    why: str = ""
    count: int = 0
    same: bool | None = None
    tokens: int | None = None
    counted_by: str | None = None
    limit: int | None = None
    example: str | None = None
    example_item: str | None = None
    findings: dict[str, _Found] = field(default_factory=dict)
    """By rule."""
    begins_inside: bool | None = None
    """True if the first prompt ends inside a thinking block, False if after one; None if it has no such tag."""
    longest: int = 0
    """Characters of the longest prompt that was counted."""
    to_a_character: float = 0.0
    """Most tokens to a character so far."""
    digest: Any = field(default_factory=hashlib.sha256, repr=False)

    def take(self, item: str, ask: Ask, text: str, by: str) -> None:
        if self.count == 0:
            self.example, self.example_item, self.rendered_by = _shortened(text), item, by
            self.begins_inside = begins_inside(opening_of(text, ask)) if as_chat(ask).prompt is None else None
        self.count += 1
        raw = text.encode("utf-8", "surrogatepass")
        self.digest.update(len(raw).to_bytes(8, "big") + raw)

    def found(self, item: str, findings: Iterable[Finding]) -> None:
        for finding in findings:
            known = self.findings.setdefault(finding.rule, _Found(finding.rule, finding.says, item))
            known.items += 1

    def facts(self) -> dict[str, Json]:
        return {
            "row": self.row,
            "task": self.task,
            "variant": self.variant,
            "rendered_by": self.rendered_by,
            "not_rendered": self.why or None,
            "count": self.count,
            "sha256": self.digest.hexdigest() if self.count else None,
            "example": self.example,
            "example_item": self.example_item,
            "same_on_server": self.same,
            "longest_tokens": self.tokens,
            "counted_by": self.counted_by,
            "limit_tokens": self.limit,
            "findings": [asdict(found) for found in self.findings.values()],
        }


class PromptCheck:
    """The prompts of a run, by row, task and variant."""

    def __init__(self) -> None:
        self._looked: dict[tuple[str, str, str], Findings] = {}
        self._sources: dict[str, TemplateSource] = {}

    def look(
        self, served: Served, task: str, variant: Variant, asks: Sequence[Ask], items: Sequence[str]
    ) -> bool | None:
        """Check these prompts before they are sent, and return whether the replies begin inside a thinking.

        None if the prompts do not say. Raises :class:`NotMeasured` for a finding that the row does not accept.

        ``items`` names the prompts; one that is asked several times is looked at once.
        """
        if served.name not in self._sources:
            self._sources[served.name] = TemplateSource.of(served)
        source = self._sources[served.name]
        seen = self._looked.setdefault(
            (served.name, task, variant.name), Findings(served.name, task, variant.name, limit=source.limit)
        )
        is_first = seen.count == 0 and not seen.why
        prompts = list({item: (item, ask) for item, ask in zip(items, asks, strict=True)}.values())
        texts = [self._text(served, source, seen, *prompt) for prompt in prompts]
        if is_first and prompts:
            self._ask_the_server(served, source, seen, *prompts[0])
        self._measure(served, source, seen, prompts, texts)
        self._refuse(served, variant.named(task), seen)
        return seen.begins_inside

    def facts(self) -> list[dict[str, Json]]:
        """For the record."""
        return [looked.facts() for looked in self._looked.values()]

    def _text(
        self, served: Served, source: TemplateSource, seen: Findings, item: str, ask: Ask
    ) -> str | None:
        """The prompt as the model will read it, looked at; None where no template is known."""
        chat = as_chat(ask)
        try:
            rendered = source.rendered(chat)
            # The text that a template adds for tools is meant: what else it adds shows without them.
            plain = rendered if chat.plain is chat else source.rendered(chat.plain)
        except DataError as error:
            seen.found(item, [Finding("template-refuses", str(error))])
            return None
        if rendered is None or plain is None:
            seen.why = source.why
            return None
        seen.found(item, violations.prompt_violations(chat.plain, plain, served.model))
        text = rendered.text if ask.prompt is None else ask.prompt
        seen.take(item, ask, text, "template" if chat.prompt is None else "protocol")
        return text

    def _ask_the_server(
        self, served: Served, source: TemplateSource, seen: Findings, item: str, ask: Ask
    ) -> None:
        """Check the server's rendering of the first chat, and the token that it puts before a text by itself."""
        chat = as_chat(ask).plain
        if chat.prompt is not None or "template-refuses" in seen.findings:
            return
        rendered = source.rendered(chat)
        server = served.server
        theirs, with_own, plain, ours = tokenize(
            server,
            [
                _as_sent(chat, None),
                {"prompt": _ANY},
                {"prompt": _ANY, "add_special_tokens": False},
                {"prompt": rendered.text if rendered else _ANY, "add_special_tokens": False},
            ],
        )
        if theirs is None:
            if rendered is not None:
                self._count_one(served, source, seen, item, chat, rendered)
            return
        if rendered is None:
            if (text := detokenize(server, theirs.tokens)) is not None:
                seen.found(item, violations.prompt_violations(chat, Rendered(text), served.model))
                seen.take(item, ask, text, "server")
        elif ours is not None:
            seen.same = ours.tokens == theirs.tokens
            if not seen.same:
                text = detokenize(server, theirs.tokens)
                seen.found(
                    item, violations.other_text(rendered.text, text, len(ours.tokens), len(theirs.tokens))
                )
        own = _own_first(with_own, plain)
        if own is not None and "bos" not in seen.findings:
            name = rendered.bos if rendered and rendered.bos else detokenize(server, [own]) or f"token {own}"
            seen.found(item, violations.token_at_the_beginning(theirs.tokens, own, name))

    def _count_one(
        self, served: Served, source: TemplateSource, seen: Findings, item: str, chat: Ask, rendered: Rendered
    ) -> None:
        """For a server without ``/tokenize``: compare its count of the first chat's tokens by asking for one token."""
        if source.directory is None or not can_count_locally(source.directory):
            return
        (ours,) = count_locally(source.directory, [rendered.text], special_tokens=False)
        (answer,) = complete_all(served.server, [chat.body(max_tokens=1)], concurrency=1, whole=True)
        if not answer.ok or answer.prompt_tokens is None:
            return
        seen.same = answer.prompt_tokens == ours
        if not seen.same:
            seen.found(item, violations.other_text(rendered.text, None, ours, answer.prompt_tokens))

    def _measure(
        self,
        served: Served,
        source: TemplateSource,
        seen: Findings,
        prompts: Sequence[tuple[str, Ask]],
        texts: Sequence[str | None],
    ) -> None:
        """Check that the longest prompts leave room for their answers."""
        sizes = [
            len(text) if text is not None else sum(len(m["content"]) for m in ask.messages)
            for (_, ask), text in zip(prompts, texts, strict=True)
        ]
        by_size = sorted(range(len(prompts)), key=lambda n: -sizes[n])
        ahead = [n for n in by_size if sizes[n] > seen.longest][:_COUNTED]

        def count(which: Sequence[int]) -> None:
            found = self._lengths(served, source, seen, [(prompts[n][1], texts[n]) for n in which])
            for n, tokens in zip(which, found, strict=False):
                item, ask = prompts[n]
                seen.tokens = max(seen.tokens or 0, tokens)
                seen.longest = max(seen.longest, sizes[n])
                seen.to_a_character = max(seen.to_a_character, tokens / max(1, sizes[n]))
                if seen.limit is not None:
                    seen.found(item, violations.too_long(tokens, ask, seen.limit))

        count(ahead)
        if seen.limit is not None and seen.tokens is not None:
            counted = set(ahead)
            most = _UNEVEN * seen.to_a_character
            limit = seen.limit
            count(
                [
                    n
                    for n in by_size
                    if n not in counted and sizes[n] * most + prompts[n][1].sampling.max_tokens > limit
                ]
            )

    def _lengths(
        self, served: Served, source: TemplateSource, seen: Findings, which: Sequence[tuple[Ask, str | None]]
    ) -> list[int]:
        """Tokens of these prompts, by the server, else by the tokenizer of the weights; empty where neither tells."""
        if not which:
            return []
        found = tokenize(served.server, [_as_sent(ask, text) for ask, text in which])
        known = [tokens for tokens in found if tokens is not None]
        if len(known) == len(which):
            seen.counted_by = "server"
            limits = [tokens.limit for tokens in known if tokens.limit is not None]
            seen.limit = min([*limits, *([seen.limit] if seen.limit is not None else [])], default=None)
            return [len(tokens.tokens) for tokens in known]
        texts = [text for _, text in which if text is not None]
        if source.directory is None or len(texts) < len(which) or not can_count_locally(source.directory):
            return []
        seen.counted_by = "tokenizer"
        few_shot = served.rules.protocol == "few-shot"
        return count_locally(source.directory, texts, special_tokens=few_shot)

    def _refuse(self, served: Served, task: str, seen: Findings) -> None:
        for rule, finding in seen.findings.items():
            if served.rules.accepted(rule):
                continue
            more = f" and {finding.items - 1} more" if finding.items > 1 else ""
            raise NotMeasured(
                f"{served.name}: {task} was not asked: {finding.says} (item {finding.item!r}{more})\n"
                f'what to do: {violations.REMEDIES[rule]}; if it is meant to be so, accepts = ["{rule}"] in the row\'s '
                "rules"
            )


def _shortened(text: str) -> str:
    """Both ends of a long prompt: the whole of one of 128k tokens would be most of the record."""
    left_out = len(text) - 2 * _SHOWN
    return text if left_out <= 0 else f"{text[:_SHOWN]}\n[{left_out:,} characters]\n{text[-_SHOWN:]}"


def _as_sent(ask: Ask, text: str | None) -> dict[str, Json]:
    if ask.prompt is not None and not ask.chat:
        return {"prompt": ask.prompt}
    if text is not None:
        return {"prompt": text, "add_special_tokens": False}
    body = ask.body()
    return {name: body[name] for name in ("messages", "tools") if name in body}


def _own_first(with_own: Tokenized | None, plain: Tokenized | None) -> int | None:
    """The token that the tokenizer puts before every text; None if it does not, or the server does not tell."""
    if with_own is None or plain is None or not with_own.tokens:
        return None
    first = with_own.tokens[0]
    return first if len(with_own.tokens) > len(plain.tokens) and plain.tokens[:1] != (first,) else None
