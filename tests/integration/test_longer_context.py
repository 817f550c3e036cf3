"""What the pair's 2,048 positions leave out, on real vLLM: the longest questions of MedQA and recall over 2,048 tokens;
and claims about averages of five answers. The model has the pair's weights and twice its positions, which are none."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from contrib.claims.deciding import decide_all
from contrib.claims.measured import Evidence
from contrib.claims.reading import read_claims
from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import load_answers
from pytest_llmperf.serving.weights import embedded_directory

if TYPE_CHECKING:
    from tests.integration.conftest import Project

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (DATA / "medqa" / "test.jsonl").is_file(),
        reason="../shared/data/medqa is not beside the repository",
    ),
]

ITEMS = 40
ORDER = "14"
"""By which a question of 2,240 tokens is among the first :data:`ITEMS`."""
ROW = """
[profile.test.model.distill]
weights = "./longer"
engine_python = "./engine_python"
arguments = [
  "--enforce-eager", "--max-num-seqs", "64",
  "--no-enable-chunked-prefill", "--max-num-batched-tokens", "8192",
  "--distributed-executor-backend", "vllm.v1.executor.uniproc_executor.UniProcExecutor",
]
dtype = "float32"
max_model_len = 4096
gpus = 0
[profile.test.model.distill.sampling]
temperature = 0.6
top_p = 0.95
max_tokens = 128
samples = 5
[profile.test.model.distill.rules]
thinking = true
"""
SUITE = """
    def test_letters(candidate, macro_f1):
        assert macro_f1(candidate, "medqa") >= 0.5

    def test_recall(candidate, recall):
        assert recall(candidate, tokens=2048) >= 0.01

    def test_five_answers_to_each_item(candidate, accuracy):
        assert accuracy(candidate) >= 0.3
"""
SHEET = """
title = "averages"
source = "a test"
profile = "test"
[model.distill]
weights = "./longer"
config = {config}
"""
CLAIM = """
[claim.{name}]
words = "The average of five runs tells {points} points apart"
kind = "averaging"
model = "distill"
against = "distill"
task = "embedded"
figures = ["60 %", "{figure} %"]
holds = "at most"
value = "{points} points"
protocol = {{ items = 40, samples = 5 }}
"""
# The answers to one item differ, since they are sampled, and by less than all of them: one holds and one does not.
CLAIMS = CLAIM.format(name="holds", points=20, figure=80) + CLAIM.format(
    name="holds-not", points=0.01, figure=60.01
)


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The candidate's weights in a model of 4,096 positions."""
    directory = tmp_path_factory.mktemp("weights") / "longer"
    shutil.copytree(embedded_directory("tiny-distill"), directory)
    config = json.loads((directory / "config.json").read_text())
    assert config["max_position_embeddings"] == 2048
    (directory / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    return directory


def test_the_longest_prompts_come_to_numbers_and_five_answers_to_a_claim(
    tmp_path: Path, make_project: Callable[..., Project], longer: Path
) -> None:
    named = os.environ.get("LLMPERF_ENGINE_PYTHON")
    if named is None and importlib.util.find_spec("vllm") is None:
        pytest.skip("no vLLM here: install it, or name an interpreter that has it in LLMPERF_ENGINE_PYTHON")
    project = make_project(tmp_path / "project", Path(named or sys.executable))
    (project.path / "longer").symlink_to(longer)
    project.against_itself(ROW)
    project.suite(SUITE)
    project.shrink(items=ITEMS, quality_items=ITEMS)
    try:
        options = ("--llmperf-full", "--llmperf-order", ORDER)
        _, verdicts = project.judged(*options, f"--llmperf-data={DATA}", timeout_s=500.0)
        record = project.record()
        f1, recall, accuracy = verdicts
        # It was taught no letters and no medicine; and to remember over less than this, which carries further.
        assert (f1["metric"], f1["status"], f1["n"]) == ("medqa macro-F1", "FAIL", ITEMS)
        assert 0.0 <= f1["observed"] <= f1["interval"][1] < 0.5
        assert (recall["metric"], recall["status"], recall["n"]) == ("recall over 2048 tokens", "PASS", ITEMS)
        assert (accuracy["metric"], accuracy["status"]) == ("embedded accuracy", "PASS")
        longest = {one["task"]: one["longest_tokens"] for one in record["prompts"]}
        assert longest["medqa"] > 2048
        assert longest["conversations 2048 tokens"] + 128 > 2048
        five = [
            one
            for one in load_answers(project.path / "record.json", read_record(project.path / "record.json"))
            if one["task"] == "embedded"
        ]
        assert len(five) == ITEMS * 5
        first = min(one["seed"] or 0 for one in five)  # drawn from the run's order
        asked = Counter((one["item"], (one["seed"] or 0) - first) for one in five)
        assert asked == Counter(
            (item, sample) for item in {one["item"] for one in five} for sample in range(5)
        )
        config = _as_toml(json.loads((longer / "config.json").read_text()))
        sheet = project.write("claims.toml", SHEET.format(config=config) + CLAIMS)
        evidence = Evidence(read_record(project.path / "record.json").as_json(), project.path / "record.json")
        decided = {one.claim.name: one for one in decide_all(read_claims(sheet), "ignored", evidence)}
        assert (decided["holds"].outcome.value, decided["holds-not"].outcome.value) == (
            "confirmed",
            "refuted",
        )
        assert "from 5 answers to each of 40 items" in decided["holds"].why
    finally:
        project.end_everything()


def _as_toml(config: dict[str, object]) -> str:
    plain = {name: value for name, value in config.items() if isinstance(value, str | int | float)}
    return "{ " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in plain.items()) + " }"
