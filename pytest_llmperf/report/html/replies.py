"""The items whose outcome differs between the two models, with both replies."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.record.tables import AnswerRow
from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.maths import Maths
from pytest_llmperf.report.html.parts import Exchange, Exchanges, Said
from pytest_llmperf.report.text import html_text
from pytest_llmperf.tasks.thinking import after_thinking, thought_of
from pytest_llmperf.visible_text import LONGEST, printable

_LONGEST_ASKED = 100
"""Characters of a question in the line of its item."""
MOST = 200
"""Maximum of flipped items of a gate whose replies are shown."""

BUDGET_BYTES = 1_500_000
"""For all replies of a page, escaped: a page stays below 5 MB, whatever models write."""


@dataclass(frozen=True)
class Flip:
    """An item whose outcome differs between the two sides."""

    item: str
    change: str
    """``worse`` or ``better``."""
    was: float
    now: float


def flips_of(case: PairedGate) -> tuple[list[Flip], int]:
    """Return the flips, those that got worse first and in the run's order, and the number of unchanged items."""
    pairs = [
        (item, _rate(outcome), _rate(case.baseline.get(item))) for item, outcome in case.candidate.items()
    ]
    known = [(item, was, now) for item, now, was in pairs if was is not None and now is not None]
    sign = -1.0 if case.at_least else 1.0
    flips = [
        Flip(item, "worse" if sign * (now - was) > 0 else "better", was, now)
        for item, was, now in known
        if was != now
    ]
    return sorted(flips, key=lambda flip: flip.change, reverse=True), len(known) - len(flips)


def exchanges(facts: Facts) -> list[Exchanges]:
    """Return the replies to the flipped items of every comparison of answers; equal comparisons appear once."""
    found: dict[tuple[str, tuple[Flip, ...]], list[Exchange]] = {}
    for kept in facts.gates:
        if not isinstance(kept.gate, PairedGate):
            continue
        flips = flips_of(kept.gate)[0][:MOST]
        key = (kept.gate.metric, tuple(flips))
        if flips and key not in found and (read := list(_exchanges(facts, kept.test, flips))):
            found[key] = read
    every = [exchange for many in found.values() for exchange in many]
    texts = [said.whole for exchange in every for said in (exchange.baseline, exchange.candidate)]
    longest = _longest(texts, BUDGET_BYTES)
    maths = Maths()
    return [
        Exchanges(metric, [_cut(exchange, longest, maths) for exchange in many])
        for (metric, _), many in found.items()
    ]


def _exchanges(facts: Facts, test: str, flips: Sequence[Flip]) -> Iterator[Exchange]:
    """Yield the exchanges of those items for which the record has replies of both sides, asked in the same way."""
    candidate, baseline = facts.side(test), facts.baseline
    for flip in flips:
        now, was = (facts.replies.get((row, flip.item), []) for row in (candidate, baseline))
        pairs = [(b, a) for b in was for a in now if all(b[key] == a[key] for key in ("task", "variant"))]
        if not pairs:
            continue
        # An item may have been asked in several ways; the gate was about a way in which its outcome changed.
        before, after = next((pair for pair in pairs if pair[0]["outcome"] != pair[1]["outcome"]), pairs[0])
        question = after["question"] or before["question"] or ""
        yield Exchange(
            flip.item,
            flip.change,
            textwrap.shorten(question, _LONGEST_ASKED, placeholder=" …"),
            question,
            after["gold"] or "",
            _said(baseline, before),
            _said(candidate, after),
        )


def _said(row: str, answer: AnswerRow) -> Said:
    reply = answer["reply"] or ""
    rest = after_thinking(reply)
    tokens = answer["completion_tokens"]
    about = [answer["outcome"] or "", "" if tokens is None else f"{tokens:,} tokens"]
    if answer["finish_reason"] == "length":
        about.append("cut off")
    if ": " in (answer["detail"] or ""):  # a reason in words, and not only its kind
        about.append(answer["detail"])
    return Said(
        row=row,
        outcome=answer["outcome"] or "",
        about=", ".join(part for part in about if part),
        answer=answer["answer"] or "—",
        thinking="" if rest is None else thought_of(reply),
        reply=(reply if rest is None else rest).strip(),
    )


def _cut(exchange: Exchange, longest: int, maths: Maths) -> Exchange:
    def cut(said: Said) -> Said:
        reply = printable(said.reply, longest)
        thinking = printable(said.thinking, max(0, longest - len(said.reply))) if said.thinking else ""
        return Said(said.row, said.outcome, said.about, said.answer, thinking, maths.markup(reply))

    question = maths.markup(printable(exchange.question, LONGEST // 10))
    baseline, candidate = cut(exchange.baseline), cut(exchange.candidate)
    return replace(exchange, question=question, baseline=baseline, candidate=candidate)


def _longest(texts: Sequence[str], budget: int) -> int:
    """Return how many characters of each text may be shown so that all of them, escaped, fit into ``budget`` bytes."""
    sizes = [(len(text), _cost(text[:LONGEST])) for text in texts]
    low, high = 0, LONGEST
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(length, middle) * cost for length, cost in sizes) <= budget:
            low = middle
        else:
            high = middle - 1
    return low


def _cost(text: str) -> float:
    """Return the mean bytes in the page of a character of ``text``."""
    return len(html_text(text).encode("utf-8", "replace")) / len(text) if text else 1.0


def _rate(outcome: object) -> float | None:
    """Return the share of an item's answers that were right, None if any of them was lost."""
    several = outcome if isinstance(outcome, list | tuple) else [outcome]
    if not several or not all(isinstance(answer, bool) for answer in several):
        return None
    return sum(several) / len(several)
