"""Answers graded: one after the other where that costs microseconds, several at a time where a grader takes long."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
G = TypeVar("G")

PATIENCE_S = 0.1
"""So long nobody waits for anything."""
SLOW_S = 0.001
"""A grade that takes longer is not made here, but by another process that is waited for: threads can do that. To hand
a quick one to a thread costs more than the grade."""


def marked(grade: Callable[[T], G], answers: Sequence[T], *, patience_s: float = PATIENCE_S) -> list[G]:
    """``grade`` of each, in their order; raises what it raises. Called from several threads once ``patience_s`` have
    passed and a grade takes longer than ``SLOW_S`` in the mean."""
    grades: list[G] = []
    began = time.perf_counter()
    for done, answer in enumerate(answers):
        spent = time.perf_counter() - began
        if spent > patience_s and spent > done * SLOW_S:
            break
        grades.append(grade(answer))
    if left := answers[len(grades) :]:
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="llmperf-grader") as pool:
            grades += pool.map(grade, left)
    return grades
