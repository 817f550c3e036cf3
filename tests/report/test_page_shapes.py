"""Loads of several lengths at one concurrency stay apart on the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_llmperf.record.model import Record
from pytest_llmperf.report.html.facts import Facts
from pytest_llmperf.report.html.latency import concurrency_section


def load(prompt: int, window_s: float) -> dict[str, Any]:
    rounds = [
        {"requests": 8, "errors": {}, "window_s": window_s, "ttft_s": [0.1] * 8, "output_tokens": 800}
        for _ in range(6)
    ]
    return {
        "row": "a",
        "concurrency": 8,
        "workload": {"input_tokens": prompt, "output_tokens": 100},
        "rounds": rounds,
    }


def facts(*loads: dict[str, Any], **more: Any) -> Facts:
    return Facts(Path("r.json"), Record.of({"load": list(loads), "candidates": ["a"], **more}))


def test_two_loads_at_one_concurrency_are_two_rows_with_their_own_numbers() -> None:
    sizes = {"prompt_tokens": 512, "answer_tokens": 100}
    section = concurrency_section(facts(load(512, 1.0), load(2048, 4.0), sizes=sizes))
    assert section is not None
    (table,) = section.tables
    assert [row[0] for row in table.rows] == ["8", "8, 2048 → 100 tokens"]
    assert [row[4] for row in table.rows] == ["800 tok/s", "200 tok/s"]


def test_a_record_that_says_nothing_of_sizes_is_shown_as_ever() -> None:
    section = concurrency_section(facts(load(512, 1.0)))
    assert section is not None
    (table,) = section.tables
    assert [row[0] for row in table.rows] == ["8"]
