"""Waivers of ``budgets.toml``: verdicts that a person lets through, with a reason and a last day.

By example::

    [waive."suites/test_latency.py::test_first_token[32]"]
    until = 2026-12-31                 # the last day on which it holds (UTC); a date, without quotes
    reason = "chunked prefill of 0.12, fixed by vllm#12345"
    invalid = true                     # lets INVALID through as well, which no other waiver does
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from pytest_llmperf.config.toml_errors import TomlTable

WAIVE = "waive"
"""The table of ``budgets.toml`` that holds the waivers, by pytest's node ids."""
WARN_DAYS = 7
"""A waiver that ends within so many days is told at the end of each run."""


@dataclass(frozen=True)
class Waiver:
    """Lets FAIL and INCONCLUSIVE of ``test`` (a node id) through, with ``invalid`` INVALID too; ``until`` is its last
    day, UTC."""

    test: str
    until: date
    reason: str
    invalid: bool = False

    def days_left(self, today: date) -> int:
        """Days after ``today`` on which it still holds; negative once it has ended."""
        return (self.until - today).days


def read_waivers(root: TomlTable) -> Mapping[str, Waiver]:
    """The waivers of a whole ``budgets.toml``, by test.

    Raises :class:`CatalogError` for one without a reason, without a last day, or with one that is no date.
    """
    return {test: _waiver(test, table) for test, table in root.table(WAIVE).tables().items()}


def _waiver(test: str, table: TomlTable) -> Waiver:
    table.only(("until", "reason", "invalid"))
    for key, needed in (
        ("until", "a last day, as in until = 2026-12-31"),
        ("reason", 'the reason, as in reason = "fixed by vllm#12345"'),
    ):
        if key not in table:
            raise table.mistake(key, f"missing; a waiver needs {needed}")
    until, reason, invalid = table.values["until"], table.values["reason"], table.values.get("invalid", False)
    # A datetime is a date to Python, and its time of day would say nothing.
    if not isinstance(until, date) or isinstance(until, datetime):
        raise table.mistake("until", "must be a date without quotes and without a time, as in 2026-12-31")
    if not isinstance(reason, str) or not reason.strip():
        raise table.mistake("reason", "must be a text that says why this is let through")
    if not isinstance(invalid, bool):
        raise table.mistake("invalid", "must be true or false")
    return Waiver(test, until, " ".join(reason.split()), invalid)
