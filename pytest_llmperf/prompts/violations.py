"""Findings for which a task is not run, because the model would read something other than the suite intends.

These are fewer than ``prompts.lint`` reports: a suite may use a higher temperature than a row allows,
or drop the instruction, to measure the effect. A system prompt hidden in a template is never intended.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pytest_llmperf.config.models import Model
from pytest_llmperf.prompts.lint import Finding, lint_rendered, opened_thinking
from pytest_llmperf.prompts.template import Rendered
from pytest_llmperf.prompts.variants import Ask

REMEDIES: Mapping[str, str] = {
    "hidden-system": "to ask with it, write it as system in the row's rules; to ask without, serve a chat template "
    "that does not add it (--chat-template)",
    "doubled-think": "the chat template opens the thinking by itself: take <think> out of the question, or out of one "
    "of the two",
    "closed-think": "the chat template closes the thinking before the model begins: let it open it "
    "(--default-chat-template-kwargs '{\"enable_thinking\": true}', where the template has such a switch), or write "
    "thinking = false in the row's rules",
    "bos": "serve a chat template that begins with that token once (--chat-template)",
    "question-altered": "serve a chat template that passes the user's turn on as it is (--chat-template)",
    "too-long": "lower max_tokens in the row's sampling, or raise max_model_len",
    "other-template": "serve the chat template of the weights (where the run starts the server: name another one as "
    "--chat-template in the row's arguments)",
    "template-refuses": "ask in a way that the template has a place for, or serve another one (--chat-template)",
}
"""Advice on each finding, by its rule."""


def prompt_violations(ask: Ask, rendered: Rendered, model: Model) -> list[Finding]:
    """Findings for one prompt as the model reads it."""
    found = lint_rendered(rendered, ask)
    is_chat = ask.prompt is None
    return found + opened_thinking(rendered, ask) if is_chat and model.rules.thinking else found


def as_chat(ask: Ask) -> Ask:
    """The chat that a prompt was rendered from; any other ask unchanged."""
    return dataclasses.replace(ask, messages=ask.chat, prompt=None, chat=()) if ask.chat else ask


def too_long(tokens: int, ask: Ask, limit: int) -> list[Finding]:
    """A finding if prompt and ``max_tokens`` exceed the server's ``limit``: it would refuse or truncate."""
    room = limit - ask.sampling.max_tokens
    if tokens <= room:
        return []
    says = (
        f"the prompt has {tokens:,} tokens, and {ask.sampling.max_tokens:,} (max_tokens) for the answer are more than "
        f"the {limit:,} of the server: {max(0, room):,} are left for a prompt"
    )
    return [Finding("too-long", says)]


def token_at_the_beginning(tokens: tuple[int, ...], own: int, text: str) -> list[Finding]:
    """A finding unless a chat begins exactly once with ``own``, the token that the tokenizer puts before a text."""
    times = next((place for place, token in enumerate(tokens) if token != own), len(tokens))
    if times == 1:
        return []
    begins = (
        f"the server's prompt begins with {text!r} {times} times"
        if times
        else f"it does not begin with {text!r}"
    )
    return [Finding("bos", f"{begins}, which the tokenizer puts before a text once")]


def other_text(ours: str, theirs: str | None, our_tokens: int, their_tokens: int) -> list[Finding]:
    """The finding for a chat whose tokens on the server differ from those of the weights' template.

    ``theirs`` is the server's text, None if it is not known.
    """
    if theirs is None or theirs == ours:
        seen = f"the server makes {their_tokens} tokens of the chat"
        says = f"{seen}, and {our_tokens} of the text that the chat template of the weights gives"
        return [Finding("other-template", says)]
    differ = (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
    at = next(differ, min(len(ours), len(theirs)))
    start = max(0, at - 20)
    reads, gives = theirs[start : at + 60], ours[start : at + 60]
    says = f"the server reads {reads!r} where the chat template of the weights gives {gives!r}"
    return [Finding("other-template", says)]
