"""Tasks: data sets, few-shot examples, and exact grading.

``task.load_items(GSM8K, data_dir)`` gives items, ``GSM8K.grader(text, item.answer, …)`` a grade.
"""

from __future__ import annotations

from pytest_llmperf.tasks.embedded import EMBEDDED
from pytest_llmperf.tasks.gsm8k import GSM8K
from pytest_llmperf.tasks.math500 import MATH500
from pytest_llmperf.tasks.medqa import MEDQA
from pytest_llmperf.tasks.structured_output import STRUCTURED_OUTPUT
from pytest_llmperf.tasks.svamp import SVAMP
from pytest_llmperf.tasks.task import Task
from pytest_llmperf.tasks.tool_calls import FORCED_TOOL_CALLS, TOOL_CALLS

BUILT_IN: tuple[Task, ...] = (
    GSM8K,
    MATH500,
    SVAMP,
    MEDQA,
    EMBEDDED,
    STRUCTURED_OUTPUT,
    TOOL_CALLS,
    FORCED_TOOL_CALLS,
)
