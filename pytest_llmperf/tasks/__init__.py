"""Tasks: data sets, few-shot examples, and exact grading.

``load_items(find_task("gsm8k"), data_dir, n, seed)`` gives items, ``task.grader(text, item.answer, …)``
outcomes.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_llmperf.tasks.embedded import EMBEDDED
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.grading.number import grade
from pytest_llmperf.tasks.gsm8k import GSM8K
from pytest_llmperf.tasks.math500 import MATH500
from pytest_llmperf.tasks.medqa import MEDQA
from pytest_llmperf.tasks.source import DataFile, HubSplit
from pytest_llmperf.tasks.svamp import SVAMP
from pytest_llmperf.tasks.task import Item, Shot, Task, find_named, items_sha256, load_items, load_shots

__all__ = [
    "BUILT_IN",
    "DataFile",
    "Grade",
    "HubSplit",
    "Item",
    "Outcome",
    "Shot",
    "Task",
    "find_task",
    "grade",
    "items_sha256",
    "load_items",
    "load_shots",
]

BUILT_IN: tuple[Task, ...] = (GSM8K, MATH500, SVAMP, MEDQA, EMBEDDED)


def find_task(name: str, more: Iterable[Task] = ()) -> Task:
    """The task ``name``, first in ``more``. Raises :class:`UsageError` with the nearest name."""
    return find_named("task", name, (*BUILT_IN, *more))
