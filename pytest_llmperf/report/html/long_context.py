"""The section about long contexts: what was given back, by length and by its place in the prompt."""

from __future__ import annotations

from pytest_llmperf.record.model import LongAnswersEntry
from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.parts import Section
from pytest_llmperf.report.table import Table
from pytest_llmperf.units import format_value

_PLACES = ("first fifth", "second", "middle", "fourth", "last fifth")


def long_context_section(facts: Facts) -> Section | None:
    """Return the section; None where no prompt stated facts at places."""
    entries = [entry for entry in facts.record.long_answers if entry.depths]
    if not entries:
        return None
    order = sorted(entries, key=lambda entry: (entry.what.split()[0], entry.tokens or 0, entry.row))
    table = Table(
        ("model", "prompts", "asked", *_PLACES),
        [(entry.row, entry.what, f"{entry.asked:,}", *_cells(entry)) for entry in order],
        range(2, 3 + len(_PLACES)),
        "Facts given back, by their place in the prompt",
    )
    notes = [
        "Share of the facts that the replies gave back, of how many, by the part of the prompt that states them."
    ]
    return Section("long-context", "Long contexts", notes, tables=[table])


def _cells(entry: LongAnswersEntry) -> list[str]:
    return [
        f"{format_value(part.right / part.facts, 'share')} of {part.facts:,}" if part.facts else "—"
        for part in entry.depths
    ]
