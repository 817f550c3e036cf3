"""Prompt rules: what a row promises to be asked like, whether it is, and whether its answers keep the rules.

Names for suites: ``rules.without_system``, ``rules.with_system("…")``, ``rules.chinese``,
``rules.without_instruction``, ``rules.zero_shot``, ``rules.opened_with("\\n")``, ``rules.at_temperature(1.5)``.
"""

from __future__ import annotations

from pytest_llmperf.rules.messages import (
    Ask,
    Variant,
    as_promised,
    ask,
    at_temperature,
    chinese,
    opened_with,
    with_system,
    without_instruction,
    without_system,
    zero_shot,
)

__all__ = [
    "Ask",
    "Variant",
    "as_promised",
    "ask",
    "at_temperature",
    "chinese",
    "opened_with",
    "with_system",
    "without_instruction",
    "without_system",
    "zero_shot",
]
