"""Summaries: a report with three or four facts that matter among sentences that don't."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pytest_llmperf.embedded import filler
from pytest_llmperf.embedded.problems import Split, side
from pytest_llmperf.embedded.problems.words import NAMES, PLACES

_MONTHS = ("January", "March", "April", "May", "June", "July", "August", "October", "November")
_TOWNS = ("Norton", "Alba", "Kestrel", "Weston", "Lima", "Oakfield", "Porto", "Sandby")
_METRICS = ("sales", "visits", "costs", "orders", "repairs", "rents")
_CAUSES = (
    "a new oven",
    "the long holidays",
    "a broken bridge",
    "cheap tickets",
    "the new roof",
    "a street festival",
    "the cold spring",
    "better signs",
)
_PLANS = (
    "a second shop",
    "a night shift",
    "an evening course",
    "a test of new lamps",
    "a repair of the roof",
    "a small garden",
    "a free bus",
    "a price check",
)
SUMMARISE = (
    "Summarise the report in one sentence.",
    "Please sum up this report in one sentence.",
    "Write a summary of one sentence.",
)


@dataclass(frozen=True)
class SummaryItem:
    """A report to be summed up; ``key_facts`` are the strings that a good summary contains."""

    prompt: str
    reference: str
    key_facts: tuple[str, ...]


def summary_item(seed: int, tokens_target: int = 400, *, split: Split = "eval") -> SummaryItem:
    """A report of about ``tokens_target`` tokens (at least 120) and its summary, fixed by the arguments.

    The facts stand in their order at random places; held-out reports share no set of facts with training.
    """
    rng = random.Random(f"summary/{split}/{seed}/{tokens_target}")

    def pick(options: tuple[str, ...]) -> str:
        return options[rng.randrange(len(options))]

    while True:
        place, town, month, later = pick(PLACES), pick(_TOWNS), pick(_MONTHS), pick(_MONTHS)
        metric, cause, plan, percent = pick(_METRICS), pick(_CAUSES), pick(_PLANS), rng.randint(2, 60)
        moved = pick(("rose", "fell"))
        leader = pick(NAMES) if rng.random() < 0.5 else ""
        if (
            side(f"summary|{town}|{place}|{month}|{metric}|{moved}|{percent}|{cause}|{plan}|{later}|{leader}")
            == split
        ):
            break
    facts = [
        f"In {month} the {metric} of the {town} {place} {moved} by {percent} percent.",
        f"The reason was {cause}.",
        f"The team plans {plan} in {later}.",
    ]
    reference = (
        f"In {month} the {metric} of the {town} {place} {moved} by {percent} percent because of {cause}"
    )
    reference += f", and the team plans {plan} in {later}"
    keys = [f"{moved} by {percent} percent", cause, f"{plan} in {later}"]
    if leader:
        facts.append(f"{leader} now leads the team.")
        reference += f" under {leader}"
        keys.append(leader)
    lines: list[str] = []
    length = 30 + sum(filler.estimate_tokens(fact) + 1 for fact in facts)
    while length < tokens_target:
        lines.append(filler.sentence(rng))
        length += filler.estimate_tokens(lines[-1]) + 1
    slots = sorted(rng.randint(0, len(lines)) for _ in facts)
    for offset, (slot, fact) in enumerate(zip(slots, facts, strict=True)):
        lines.insert(slot + offset, fact)
    text = f"Report of the {town} {place}. " + " ".join(lines) + "\n\n" + pick(SUMMARISE)
    return SummaryItem(text, reference + ".", tuple(keys))
