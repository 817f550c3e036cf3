"""Which class a model said of each item of a multiple choice."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.mean import Choices
from pytest_llmperf.measure.asking import Answers
from pytest_llmperf.tasks.task import Item, Task


def multiple_choice(task: Task) -> Task:
    """The task itself; :class:`UsageError` if it has no classes."""
    if not task.classes:
        raise UsageError(f"task {task.name} is no multiple choice: a macro-F1 needs classes (medqa has)")
    return task


def choices(answers: Answers, items: Iterable[Item]) -> Choices:
    """By item the right class and the one that was read, if any; of several samples the first counts."""
    golds = {item.id: item.answer for item in items}
    return {
        one.item: (golds[one.item], one.grade.answer) if one.usable else None
        for one in answers.asked
        if one.sample == 0
    }
