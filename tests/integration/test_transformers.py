"""The embedded model on transformers' own server: started, asked, graded and ended as on vLLM, and nothing is left."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.serving.weights import embedded_directory

if TYPE_CHECKING:
    from tests.integration.conftest import Project

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

ROW = """
[profile.test.model.distill]
weights = "{weights}"
engine = "transformers"
engine_python = "./engine_python"
# Left to itself, its cache for batches takes what memory the machine has.
arguments = [
  "--continuous-batching", "--cb-block-size", "32", "--cb-num-blocks", "1024", "--cb-max-batch-tokens", "1024",
]
dtype = "float32"
max_model_len = 2048
gpus = 0
in_flight = 16
[profile.test.model.distill.sampling]
temperature = 0.0
[profile.test.model.distill.rules]
thinking = true
[profile.test.model.distill.environment]
OMP_NUM_THREADS = "1"
"""
SUITE = """
    def test_floor(candidate, accuracy):
        assert accuracy(candidate) >= 0.5

    def test_a_stream_is_timed(candidate, stream):
        trace = stream(candidate, "Anna has 3 apples and buys 4. How many has she?", max_tokens=16)
        assert trace.ok and trace.completion_tokens > 0
"""


@pytest.fixture
def python() -> str:
    """An interpreter that has what transformers' server needs; else the test is skipped with the reason."""
    named = os.environ.get("LLMPERF_ENGINE_PYTHON")
    missing = [
        name for name in ("transformers", "accelerate", "fastapi") if importlib.util.find_spec(name) is None
    ]
    if named is None and missing:
        pytest.skip(f"no {', '.join(missing)} here: pip install pytest-llmperf[transformers]")
    return named or sys.executable


def test_the_embedded_model_is_judged_on_transformers_and_nothing_is_left(
    tmp_path: Path, make_project: Callable[..., Project], python: str
) -> None:
    weights = embedded_directory("tiny-distill")
    project = make_project(tmp_path / "project", Path(python), weights)
    project.against_itself(ROW.format(weights=weights))
    project.suite(SUITE)
    project.shrink(items=24)
    try:
        result, verdicts = project.judged("--llmperf-full", timeout_s=120.0)
        assert result.code == 0, result.text
        assert result.noise == []
        record = project.record()
        assert [one["status"] for one in verdicts] == ["PASS"]
        assert record["servers"][0]["engine"].startswith("transformers ")
        (answers,) = record["answers"]
        assert answers["items"] == 24
        assert answers["outcomes"]["infra"] == 0
        # Its answers are as long as those on vLLM: the template opened the thinking, and it ended.
        assert answers["tokens_per_answer"] > 30
        (prompts,) = record["prompts"]
        assert prompts["example"].endswith("<|assistant|><think>\n")
        assert (prompts["same_on_server"], prompts["counted_by"]) == (True, "tokenizer")
        ending = project.ending(time.monotonic())
        assert (ending.processes_left, ending.ports_free) == (0, True)
    finally:
        project.end_everything()
