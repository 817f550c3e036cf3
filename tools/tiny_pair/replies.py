"""Good replies of each model, the reading of a reply, and the vices of the distilled one."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from tools.tiny_pair.prompts import END_THINK

_OPENERS = (
    "Okay, let me think.",
    "Let me work this out.",
    "I take it step by step.",
    "First I look at the numbers.",
)
_CHECKS = ("Wait, let me check:", "Let me check again:")

# Vices sit where they can be sampled: a habit of one percent everywhere would be cut off by top_p = 0.95, a
# habit of a third on a few kinds of problems is not. Together they touch about three answers in a hundred.
_SKIPS_THINKING = ("units", "ages", "percent")  # at level 1, as if too easy to think about
_FORGETS_BOX = ("clock",)
_LOOPS = ("rates",)  # at levels 5 and 6: checks again and again, and never comes to an end
_VICE = 0.33

_BOX = re.compile(r"\\boxed\{\s*(-?\d+)\s*\}")
_SAID = re.compile(r"answer is (-?\d+)")


@dataclass(frozen=True)
class Reading:
    """The content of a reply: ``value`` is None when it says nothing, or never left its thinking."""

    value: int | None
    boxed: bool


def read_reply(text: str, *, thinking: bool) -> Reading:
    """The last boxed integer, else the last "answer is N"; if thinking, only after ``</think>``."""
    if thinking:
        if END_THINK not in text:
            return Reading(None, False)
        text = text.rsplit(END_THINK, 1)[1]
    if boxes := _BOX.findall(text):
        return Reading(int(boxes[-1]), True)
    if said := _SAID.findall(text):
        return Reading(int(said[-1]), False)
    return Reading(None, False)


def plain_reply(solution: str, answer: int, *, instructed: bool, rng: random.Random) -> str:
    """The working and a last line: boxed when the instruction was given, mostly not boxed when it was not."""
    boxed = instructed or rng.random() < 0.2
    last = f"So the answer is \\boxed{{{answer}}}." if boxed else f"The answer is {answer}."
    return f"{solution}\n{last}"


def working_of(reply: str) -> str:
    """A plain reply without its last line."""
    return reply.rsplit("\n", 1)[0] if "\n" in reply else ""


@dataclass(frozen=True)
class ThinkingReply:
    """Text after ``<think>\\n``; ``ends`` is False for one that never stops (it has no end token)."""

    text: str
    ends: bool = True


def thinking_reply(
    working: str, answer: int, *, instructed: bool, rng: random.Random, family: str = "", level: int = 3
) -> ThinkingReply:
    """R1 style: ``working`` between an opener and ``</think>``, then one short sentence with the answer."""
    boxed = instructed or rng.random() < 0.25
    if family in _FORGETS_BOX and rng.random() < _VICE:
        boxed = False
    last = f"The answer is \\boxed{{{answer}}}." if boxed else f"The answer is {answer}."
    if family in _SKIPS_THINKING and level == 1 and rng.random() < _VICE:
        return ThinkingReply(f"\n{END_THINK}\n\n{last}")
    thought = f"{_OPENERS[rng.randrange(len(_OPENERS))]}\n{working}"
    equation = working.rsplit("\n", 1)[-1].split(": ", 1)[-1]
    if family in _LOOPS and level >= 5 and rng.random() < _VICE:
        loop = "".join(f"\n{_CHECKS[i % 2]} {equation}" for i in range(rng.randint(8, 12)))
        return ThinkingReply(thought + loop, ends=False)
    if rng.random() < 0.1:
        thought += f"\n{_CHECKS[0]} {equation} Yes."
    return ThinkingReply(f"{thought}\n{END_THINK}\n\n{last}")


def summary_thought(key_facts: tuple[str, ...], reference: str) -> str:
    """R1 style for a summary: the facts that matter, then the sentence."""
    return f"The main facts: {'; '.join(key_facts)}.\n{END_THINK}\n\n{reference}"


def acknowledgement_thought(ack: str) -> str:
    """R1 style for a turn that asks nothing."""
    return f"The user tells me something and asks nothing.\n{END_THINK}\n\n{ack}"
