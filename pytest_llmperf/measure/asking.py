"""What a model was asked, and how each of its answers ended: asked once per run, judged by many tests."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.client.answers import Answer
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.tasks.grading import Grade, Outcome


@dataclass(frozen=True)
class Asked:
    """One answer to an item, with its grade."""

    item: str
    """Id of the item, the same for every model: this is what pairs two models."""
    body: Mapping[str, Any]
    """The request, without the model's name."""
    answer: Answer
    grade: Grade
    reply: str
    """The whole reply, thinking included."""
    sample: int = 0
    """Which of the item's answers, counted from 0."""
    begins_inside: bool | None = None
    """Whether the prompt ends inside a thinking (True) or after one (False); None: it does not say."""

    @property
    def seed(self) -> int | None:
        """What the request was sampled with."""
        return self.body.get("seed")

    @property
    def usable(self) -> bool:
        """Whether the answer says something about the model."""
        return self.grade.outcome is not Outcome.INFRA


@dataclass(frozen=True)
class Answers:
    """All answers of one row to one task in one variant."""

    row: str
    task: str
    variant: str
    asked: Sequence[Asked]
    seconds: float
    """Wall time for all of them, seconds."""

    def correct(self) -> Outcomes:
        """By item id: right or not, None for an infrastructure error. Incomplete and ungraded are not right."""
        return self.share(lambda one: one.grade.outcome is Outcome.CORRECT)

    def share(self, shows: Callable[[Asked], bool]) -> Outcomes:
        """By item id: whether the answer ``shows`` a behaviour, None for an infrastructure error.

        Of an item that was asked several times, a list of that.
        """
        by_item: dict[str, list[bool | None]] = {}
        for one in self.asked:
            by_item.setdefault(one.item, []).append(shows(one) if one.usable else None)
        return {item: shown if len(shown) > 1 else shown[0] for item, shown in by_item.items()}

    @property
    def unusable(self) -> str:
        """Why there is nothing to judge, with what the first failed request said; empty if any answer is usable."""
        if not self.asked or any(one.usable for one in self.asked):
            return ""
        first = next((one.answer.error for one in self.asked if one.answer.error), "no error was told")
        return f"nothing was measured, all {len(self.asked)} requests failed; the first: {first}"

    def endings(self) -> dict[str, int]:
        """How many of the answers that came were ``correct``, ``wrong``, ``cut off``, ``empty``, …"""
        found = Counter(ending_of(one.grade) for one in self.asked if one.usable)
        return dict(sorted(found.items()))

    def counts(self) -> dict[str, int]:
        """How many answers ended in each outcome."""
        counts = {outcome.value: 0 for outcome in Outcome}
        for one in self.asked:
            counts[one.grade.outcome.value] += 1
        return counts


_ENDINGS = {
    "length": "cut off",
    "thinking": "still thinking at their end",
    "filtered": "filtered",
    "empty": "empty",
    "unboxed": "without a final answer",
    "refused": "refused",
}


def ending_of(grade: Grade) -> str:
    """How an answer ended, in words that :mod:`pytest_llmperf.gates.outcomes` tells."""
    if grade.outcome is Outcome.CORRECT:
        return "correct"
    if ending := _ENDINGS.get(grade.detail):
        return ending
    if grade.outcome is Outcome.INCOMPLETE:
        return "cut off"
    return "unreadable" if grade.outcome is Outcome.UNGRADED else "wrong"


def fingerprint(bodies: Sequence[Mapping[str, Any]]) -> str:
    """Sixteen hexadecimal digits that differ when any request differs."""
    text = json.dumps(list(bodies), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def answer_row(one: Asked, question: str) -> dict[str, Any]:
    """What ``record.tables.ANSWERS`` keeps of an answer, but for what its task knows.

    ``question`` is for a request that has no messages: there, the prompt is more than the last turn.
    """
    seed = one.body.get("seed")
    return {
        "item": one.item,
        "sample": one.sample,
        "question": last_turn(one.body) or question,
        "reply": one.reply,
        "outcome": one.grade.outcome.value,
        "detail": one.grade.detail,
        "answer": one.grade.answer,
        "finish_reason": one.answer.finish_reason,
        "prompt_tokens": one.answer.prompt_tokens,
        "completion_tokens": one.answer.completion_tokens,
        "seconds": one.answer.seconds,
        "seed": seed if isinstance(seed, int) else None,
    }


def last_turn(body: Mapping[str, Any]) -> str:
    """The last message of the user; empty if there is none, or none that is text."""
    turns = [one["content"] for one in body.get("messages", ()) if one.get("role") == "user"]
    return turns[-1] if turns and isinstance(turns[-1], str) else ""
