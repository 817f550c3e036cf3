"""What lm-evaluation-harness compares in a multiple choice, by metric, and how reports show it.

The scores themselves are lm-eval's own; this tells which choice they picked, and by what margin.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.client.continuations import ContinuationScore


def compared(metric: str, scores: Sequence[ContinuationScore], choices: Sequence[str]) -> list[float]:
    """What the metric compares, by choice: log probabilities; by character (``acc_norm``), by byte (``acc_bytes``), or
    less those of the choices without the question (``acc_mutual_info``), whose scores follow those of the choices."""
    values = [score.log_probability for score in scores[: len(choices)]]
    if metric == "acc_norm":
        return [value / max(1, len(choice)) for value, choice in zip(values, choices, strict=True)]
    if metric == "acc_bytes":
        return [value / max(1, len(choice.encode())) for value, choice in zip(values, choices, strict=True)]
    if metric == "acc_mutual_info":
        alone = [score.log_probability for score in scores[len(choices) :]]
        return [value - own for value, own in zip(values, alone, strict=True)]
    return values


def picked(values: Sequence[float]) -> int:
    """The first of the highest, as numpy's argmax has it."""
    return max(range(len(values)), key=lambda number: values[number])


def shown_choices(values: Sequence[float], choices: Sequence[str], golds: Sequence[int]) -> str:
    """The choices with their values, a line each; the picked and the right ones marked, and the margin between them."""
    best = picked(values)
    lines = []
    for number, (value, choice) in enumerate(zip(values, choices, strict=True)):
        marks = [mark for mark, holds in (("picked", number == best), ("right", number in golds)) if holds]
        behind = f"  ({', '.join(marks)})" if marks else ""
        lines.append(f"{_number(value)}  {choice}{behind}")
    others = [value for number, value in enumerate(values) if number not in golds]
    if golds and others:
        margin = max(values[number] for number in golds) - max(others)
        lines.append(f"margin of the right answer: {_number(margin)}")
    return "\n".join(lines)


def shown_text(score: ContinuationScore) -> str:
    """The score of the one text of an item."""
    likely = "each of its tokens was" if score.is_greedy else "not each of its tokens was"
    return f"log probability {_number(score.log_probability)}; {likely} the most likely one"


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")
