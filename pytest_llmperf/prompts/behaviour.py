"""Behaviour in answers, each found by a stated definition: not boxed, unfinished, loops, empty, leaked tags, …

A suite judges the rate of each over many answers. Nothing here needs a model, a tokenizer or a template.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_llmperf.client.finish_reasons import Finish, meaning
from pytest_llmperf.tasks.boxes import last_box
from pytest_llmperf.tasks.grading import is_refusal
from pytest_llmperf.tasks.thinking import after_thinking, content_of, never_ends, opens_thinking, thought_of
from pytest_llmperf.visible_text import is_blank

LOOP_REPEATS = 4
LOOP_TOKENS = 32
LONGEST_PERIOD = 256
_LOOP_WINDOW = 2048
_GRAM, _GRAM_WINDOW, _GRAM_SHARE = 12, 512, 0.8
_FOREIGN_LETTERS, _FOREIGN_SHARE = 8, 0.05


@dataclass(frozen=True)
class Behaviour:
    """The behaviour of one answer."""

    boxed: bool
    thinking_skipped: bool
    unfinished: bool
    loops: bool
    language_switch: bool
    empty: bool
    """The model has ended its reply and shows a user nothing; a call of a tool, or a reply cut at its limit, is not
    empty."""
    leaked: bool
    """A user is shown a special token, a tag of a thinking or a label of a turn."""
    refused: bool


def examine(
    text: str,
    *,
    finish_reason: str | None,
    thinking: bool,
    asked: str = "",
    opened: bool = True,
    begins_inside: bool | None = None,
    content: str | None = None,
) -> Behaviour:
    """All of it for one answer.

    ``thinking``: the row promises to think. ``asked``: the user turn with instruction; empty: any language will do.
    ``opened``: the prompt ends in ``<think>``. ``begins_inside``: the prompt ends inside a thinking or after one,
    whatever the row promises; None if the prompt does not say. ``content``: what the server sent as the answer, where
    it has split the thinking off; None where ``text`` is all that it sent.
    """
    inside = thinking if begins_inside is None else begins_inside
    body = after_thinking(text) or ("" if inside else text)
    return Behaviour(
        boxed=boxed(text, thinking=inside),
        thinking_skipped=thinking and thinking_skipped(text, opened=opened),
        unfinished=unfinished(text, finish_reason=finish_reason, thinking=inside),
        loops=find_loop(text) is not None,
        language_switch=bool(asked) and language_switch(asked, text) is not None,
        empty=is_blank(body) and meaning(finish_reason) is Finish.STOP,
        leaked=find_leak(content_of(text, inside=inside) if content is None else content) is not None,
        refused=refused(body, finish_reason=finish_reason),
    )


def boxed(text: str, *, thinking: bool) -> bool:
    """True if the answer proper, after the thinking, has a box with something in it."""
    body = after_thinking(text)
    if body is None:
        body = "" if thinking else text
    return last_box(body) is not None


def thinking_skipped(text: str, *, opened: bool = True) -> bool:
    r"""True if there is no reasoning: nothing but whitespace before the end of the thinking, or of the reply.

    The template has ``opened`` the reply with ``<think>``; a server or a model that repeats it does no harm here.
    Where it has not, a reply without either mark has never begun to think. A reply that is only ``\n\n`` has broken
    off before it began.
    """
    if not opened and not opens_thinking(text) and after_thinking(text) is None:
        return True
    return not thought_of(text)


def unfinished(text: str, *, finish_reason: str | None, thinking: bool) -> bool:
    """True if something other than the model ended the reply, or if it ended inside its thinking."""
    if finish_reason in ("length", "max_tokens", "abort", None):
        return True
    return never_ends(text, thinking=thinking)


def find_leak(content: str) -> str | None:
    """The first special token, tag of a thinking or label of a turn in what a user is shown; None without one.

    A label counts where it stands alone on its line, or begins one with a colon (``User:``): a model that goes on with
    the conversation by itself, whose end of turn was not understood.
    """
    found = _LEAK.search(content)
    return found[0].strip() if found else None


def refused(body: str, *, finish_reason: str | None) -> bool:
    """True if a reply without its thinking says that the model will not answer and has no box, or was filtered."""
    return meaning(finish_reason) is Finish.FILTER or (is_refusal(body) and last_box(body) is None)


@dataclass(frozen=True)
class Loop:
    """A repetition loop in a reply: ``text`` again and again; ``repeats`` is 0 for a loop with variations."""

    text: str
    repeats: int


def find_loop(text: str) -> Loop | None:
    """The loop that ``text`` ends in, None if it ends in none. One that the model left again is not endless.

    Tokens are words, single digits, single CJK characters and single signs. A loop is (a) one unit of at
    most 256 tokens that fills the end of the text at least 4 times and over at least 32 tokens, or (b)
    an end of 512 tokens in which 80 % of the 12-grams were there before: the same thing said again with
    small variations.
    """
    tokens = [t.casefold() for t in _TOKEN.findall(text[-8 * _LOOP_WINDOW :])][-_LOOP_WINDOW:]
    for period in range(1, min(LONGEST_PERIOD, len(tokens) // LOOP_REPEATS) + 1):
        length = _periodic_end(tokens, period)
        if length >= LOOP_REPEATS * period and length >= LOOP_TOKENS:
            return Loop(" ".join(tokens[-period:]), length // period)
    end = tokens[-_GRAM_WINDOW:]
    if len(end) == _GRAM_WINDOW:
        grams = [tuple(end[i : i + _GRAM]) for i in range(len(end) - _GRAM + 1)]
        if 1 - len(set(grams)) / len(grams) >= _GRAM_SHARE:
            return Loop(" ".join(end[-_GRAM:]), 0)
    return None


def _periodic_end(tokens: list[str], period: int) -> int:
    """Tokens at the end that repeat those ``period`` places before them, the first unit included."""
    i = len(tokens) - 1
    while i >= period and tokens[i] == tokens[i - period]:
        i -= 1
    return len(tokens) - 1 - i + period


def language_switch(asked: str, answer: str) -> str | None:
    """The script that ``answer`` switched to: 8 letters or more and 5 % of all, and not one of ``asked``.

    LaTeX commands don't count, nor do Greek letters, which are mathematics. None if there was no switch.
    """
    expected = set(_letters(asked))
    letters = _letters(answer)
    total = sum(letters.values())
    for script, count in letters.items():
        if script not in expected and count >= _FOREIGN_LETTERS and count >= _FOREIGN_SHARE * total:
            return script
    return None


def _letters(text: str) -> dict[str, int]:
    text = _COMMAND.sub(" ", text)
    counts = {script: len(pattern.findall(text)) for script, pattern in _SCRIPTS.items()}
    return {script: count for script, count in counts.items() if count}


_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[0-9]|[^\W0-9\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
_LEAK = re.compile(
    r"<\|[^|<>\s]{1,40}\|>"  # <|im_end|>, <|eot_id|>, <|endoftext|>
    r"|<｜[^｜<>\n]{1,40}｜>"  # DeepSeek's bars: <｜end▁of▁sentence｜>
    r"|</?(?:[a-z]+:)?(?:think|thinking|thought|reasoning)>|\[/?THINK\]|◁/?think▷"
    r"|</?s>|<(?:bos|eos|pad|unk)>|<(?:start|end)_of_turn>|<end_of_utterance>|<(?:unused|extra_id_)\d+>"
    r"|\[/?INST\]|<</?SYS>>|\[gMASK\]"
    r"|^[ \t]*(?:#{1,3} ?)?(?:user|assistant|human)[ \t]*(?::|$)",
    re.IGNORECASE | re.MULTILINE,
)
_COMMAND = re.compile(r"\\(?:begin|end)\{[^{}]*\}|\\[A-Za-z]+|</?think>")
_SCRIPTS = {
    "Latin": re.compile(r"[A-Za-zÀ-ÖØ-öø-ɏ]"),
    "Chinese": re.compile(r"[\u3400-\u9fff]"),
    "Japanese": re.compile(r"[\u3040-\u30ff]"),
    "Korean": re.compile(r"[\uac00-\ud7af]"),
    "Cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "Arabic": re.compile(r"[\u0600-\u06ff]"),
    "Hebrew": re.compile(r"[\u0590-\u05ff]"),
    "Devanagari": re.compile(r"[\u0900-\u097f]"),
    "Thai": re.compile(r"[\u0e00-\u0e7f]"),
}
