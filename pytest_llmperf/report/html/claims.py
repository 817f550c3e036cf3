"""Published claims and what became of them, where the run has judged any."""

from __future__ import annotations

from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.parts import Section, Table

_COLUMNS = {
    "claim": "words",
    "published": "published",
    "on": "device",
    "measured or computed": "measured",
    "verdict": "verdict",
    "why": "reason",
}
"""Columns of the table, and the field of a record's claim that each shows."""


def claims_section(facts: Facts) -> Section | None:
    """None for a run that judged no claims: most do not."""
    rows = [tuple(str(one.get(field) or "—") for field in _COLUMNS.values()) for one in facts.dicts("claims")]
    if not rows:
        return None
    notes = ["Claims of model cards and articles; they make no run red unless that is asked for."]
    return Section("claims", "Published claims", notes, (), [Table("Claims", list(_COLUMNS), rows)])
