r"""Checks prompts against the rules of their row before the first request.

``lint(ask, rendered, model)`` returns the findings, an empty list for a clean prompt. Each has the name of a rule and
a sentence with the value seen and the value needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_llmperf.client.request_fields import endpoint_of, why_not
from pytest_llmperf.config.models import Model
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.prompts.labels import is_label
from pytest_llmperf.prompts.template import Rendered
from pytest_llmperf.prompts.variants import Ask, Message

MATHS_TOKENS = 1024
"""Room that an answer to a maths question needs: with 300, every answer of a reasoning model is cut."""


@dataclass(frozen=True)
class Finding:
    """A breach: ``rule`` is a name for programs, ``says`` a sentence for people."""

    rule: str
    says: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.says}"


def lint(
    ask: Ask, rendered: Rendered | None, model: Model, *, tokens_needed: int = MATHS_TOKENS
) -> list[Finding]:
    """All findings for asking ``model`` like this, except those that its row accepts.

    ``rendered`` is None if the template is not known.
    """
    findings = lint_body(ask.body(), model, tokens_needed=tokens_needed)
    if ask.prompt is None:
        findings += lint_messages(ask.messages, model)
    if rendered is not None:
        findings += lint_rendered(rendered, ask)
        if ask.prompt is None and model.rules.thinking:
            findings += _thinking(rendered, ask)
    return [one for one in findings if not model.rules.accepted(one.rule)]


def lint_body(body: JsonObject, model: Model, *, tokens_needed: int = MATHS_TOKENS) -> list[Finding]:
    """Findings on the fields of a request body. vLLM answers 200 to a field that it does not know."""
    findings: list[Finding] = []
    for name in body:
        if why := why_not(name, endpoint_of(body)):
            findings.append(Finding("unknown-field", f"{name!r}: {why}"))
    low, high = model.rules.temperature
    temperature = body.get("temperature", 1.0)
    if not isinstance(temperature, int | float):
        findings.append(
            Finding("temperature", f"T is {temperature!r}, {model.name} wants {low:g} to {high:g}")
        )
    elif not low <= temperature <= high:
        findings.append(
            Finding("temperature", f"T = {temperature:g}, {model.name} wants {low:g} to {high:g}")
        )
    most = body.get("max_tokens", body.get("max_completion_tokens"))
    if isinstance(most, int) and most < tokens_needed:
        findings.append(Finding("max-tokens", f"max_tokens = {most}, an answer needs {tokens_needed}"))
    return findings


def lint_messages(messages: Sequence[Message], model: Model) -> list[Finding]:
    """Findings on the turns of a chat."""
    findings: list[Finding] = []
    instructions = [i for i in (model.rules.instruction, model.rules.instruction_zh) if i]
    system = "\n".join(m["content"] for m in messages if m["role"] == "system")
    user = [m["content"] for m in messages if m["role"] == "user"]
    last = user[-1] if user else ""
    if system and model.rules.system is None:
        findings.append(
            Finding("system", f"a system message is sent, {model.name} wants none: {_cut(system)}")
        )
    if _asks_for_box(system):
        findings.append(
            Finding("instruction-in-system", f"the instruction belongs to the user turn: {_cut(system)}")
        )
    if not _asks_for_box(last):
        findings.append(Finding("instruction", f"the user turn does not ask for \\boxed{{}}: {_cut(last)}"))
    question = last
    for instruction in instructions:
        question = question.replace(instruction, "")
    if not question.strip():
        findings.append(Finding("self-contained", "the user turn holds no question"))
    elif len(user) == 1 and (back := _LOOKS_BACK.search(question)):
        findings.append(
            Finding("self-contained", f"the only user turn points to something outside: {back[0]!r}")
        )
    if special := _SPECIAL.search(last):
        findings.append(Finding("special-token", f"the user turn holds the special token {special[0]!r}"))
    return findings


def lint_rendered(rendered: Rendered, ask: Ask) -> list[Finding]:
    """Findings on the text that the model reads."""
    findings: list[Finding] = []
    text, bos = rendered.text, rendered.bos
    if ask.user_turn.strip() not in text:
        findings.append(Finding("question-altered", "the template does not pass the user turn on as it is"))
    elif ask.prompt is None and not _calls_tools(ask) and (hidden := injected_text(rendered, ask.messages)):
        findings.append(Finding("hidden-system", f"the template adds text that was not sent: {_cut(hidden)}"))
    # A chat is sent as rendered; before a text that is to be continued the tokenizer puts its own first
    # token.
    first = int(bool(bos) and text.startswith(bos)) + int(
        bool(bos) and text.removeprefix(bos).startswith(bos)
    )
    if ask.prompt is not None and not ask.chat:
        first += rendered.adds_bos
    if first > 1:
        findings.append(Finding("bos", f"the prompt begins with {bos!r} {first} times, needs one"))
    if first == 0 and rendered.adds_bos:
        findings.append(
            Finding("bos", f"the prompt does not begin with {bos!r}, which the model was trained with")
        )
    return findings


def _calls_tools(ask: Ask) -> bool:
    """True if the template writes what is no message's content: tools, calls and their results."""
    return bool(ask.tools) or any("tool_calls" in m or m["role"] == "tool" for m in ask.messages)


def injected_text(rendered: Rendered, messages: Sequence[Message]) -> str:
    """Text that the template adds to the messages: a hidden system prompt, a date, a switch after the question.

    Empty if there is none. Special tokens, role names and turn labels (``### Human:``) do not count; every other word
    does, in any script.
    """
    rest = _without_tokens(rendered.text, rendered)
    sent = [_without_tokens(m["content"].strip(), rendered) for m in messages]
    # Templates of reasoning models drop the thinking of earlier replies.
    sent = [text if text in rest else text.rpartition(_TOKEN)[2].strip() for text in sent]
    for content in sorted(sent, key=len, reverse=True):
        if content:
            rest = _without_message(rest, content)
    pieces = re.split(f"([{_TOKEN}{_MESSAGE}])", rest)
    last_message = max((n for n, piece in enumerate(pieces) if piece == _MESSAGE), default=len(pieces))
    for place, piece in enumerate(pieces[::2]):
        lines = [line for line in piece.split("\n") if line.strip()]
        first = piece.lstrip(" ")[:1]  # a role stands right behind the token that opens its turn
        added = [
            line
            for number, line in enumerate(lines)
            if not is_label(
                line,
                opens_turn=number == 0 and first not in ("\n", ""),
                ends_prompt=2 * place > last_message,
            )
        ]
        if added:
            return " ".join(" ".join(added).split())
    return ""


_TOKEN, _MESSAGE = "\0", "\1"
"""Placeholders for special tokens and messages that were removed from a prompt."""


def _without_tokens(text: str, rendered: Rendered) -> str:
    for token in sorted({rendered.bos, *rendered.special}, key=len, reverse=True):
        if len(token) > 2 and not token.isalnum():
            text = text.replace(token, _TOKEN)
    return _MARKUP.sub(_TOKEN, text)


def _without_message(rest: str, content: str) -> str:
    """``rest`` with ``content`` replaced, where possible an occurrence that stands alone and not inside a label."""
    start = rest.find(content)
    while start >= 0:
        end = start + len(content)
        if _is_gap(rest[start - 1 : start]) and _is_gap(rest[end : end + 1]):
            return f"{rest[:start]}{_MESSAGE}{rest[end:]}"
        start = rest.find(content, start + 1)
    return rest.replace(content, _MESSAGE, 1)


def _is_gap(character: str) -> bool:
    """True for what may stand beside a message: white space, a special token, another message, or nothing."""
    return character in ("", _TOKEN, _MESSAGE) or character.isspace()


def opened_thinking(rendered: Rendered, ask: Ask) -> list[Finding]:
    """Findings for a reply that the template opens with ``<think>`` twice, or with a thinking that has ended."""
    opening = opening_of(rendered.text, ask)
    if (count := _openings(rendered, ask)) > 1:
        return [Finding("doubled-think", f"the reply is opened with <think> {count} times, needs one")]
    if "</think>" in opening.rpartition("<think>")[2]:
        return [
            Finding(
                "closed-think",
                "the template ends the thinking itself (</think>), and the row says thinking = true",
            )
        ]
    return []


def _thinking(rendered: Rendered, ask: Ask) -> list[Finding]:
    """The reply opens with ``<think>`` once: without it some replies skip it."""
    if _openings(rendered, ask) == 0 and "</think>" not in opening_of(rendered.text, ask):
        return [
            Finding("no-think", "the reply is not opened with <think>, some replies will skip their thinking")
        ]
    return opened_thinking(rendered, ask)


def opening_of(text: str, ask: Ask) -> str:
    """The end of the prompt ``text``, after the user's last turn; its last 200 characters if that turn is not in it."""
    content = ask.user_turn.strip()
    position = text.rfind(content)
    return text[position + len(content) :] if position >= 0 else text[-200:]


def _openings(rendered: Rendered, ask: Ask) -> int:
    return opening_of(rendered.text, ask).count("<think>") + ask.user_turn.strip().endswith("<think>")


def _asks_for_box(text: str) -> bool:
    return "\\boxed" in text


def _cut(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else f"{text[:79]}…")


_SPECIAL = re.compile(
    r"<[|｜][^<>|｜\s]{1,40}[|｜]>|</?s>|</?think>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<bos>"
)
_MARKUP = re.compile(
    r"<[|｜][^<>|｜\n]{1,60}[|｜]>|</?[^<>\s]{1,40}>|\[/?[A-Z][A-Z_]{1,40}\]|\[\|/?[^\[\]|\s]{1,40}\|\]|\[gMASK\]"
    r"|\]~!?b[\[\]]|\[e~\["  # MiniMax
)
"""Special tokens recognised by their form, for tokenizers whose configuration does not list them."""
_LOOKS_BACK = re.compile(
    r"\bthe (?:question|problem|text|passage) above\b|\b(?:as|see|mentioned|described|given) above\b"
    r"|\bthe previous (?:question|problem|message|answer)\b|\bthe system (?:prompt|message)\b"
    r"|\bsame as before\b"
    r"|(?:上面|上述|上一)的?(?:问题|题)",
    re.IGNORECASE,
)
