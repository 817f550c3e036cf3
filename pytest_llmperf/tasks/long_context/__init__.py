"""Long prompts that are generated: whatever their length, what must be given back is known, and nothing is fetched."""

from __future__ import annotations

from pytest_llmperf.tasks.long_context.conversation import CONVERSATION
from pytest_llmperf.tasks.long_context.frequent_words import WORDS
from pytest_llmperf.tasks.long_context.needles import NEEDLE, NEEDLES
from pytest_llmperf.tasks.long_context.text import LongKind
from pytest_llmperf.tasks.long_context.variables import VARIABLES
from pytest_llmperf.tasks.task import find_named

KINDS: tuple[LongKind, ...] = (CONVERSATION, NEEDLE, NEEDLES, VARIABLES, WORDS)


def find_kind(name: str) -> LongKind:
    """The kind ``name``. Raises :class:`UsageError` with the nearest name."""
    return find_named("kind of long prompt", name, KINDS)
