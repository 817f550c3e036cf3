"""lm-evaluation-harness on real vLLM: its model ``local-completions`` and this plugin ask the same server, and every
item has the same score. Three tasks with local data: replies through a filter, multiple choice, and the next text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import load_answers
from pytest_llmperf.tasks import BUILT_IN
from pytest_llmperf.tasks.task import find_named, load_items
from tests.integration.test_planted_regressions import REPOSITORY, gate

pytestmark = pytest.mark.vllm
pytest.importorskip("lm_eval", reason="lm-eval is an extra, pip install 'pytest-llmperf[lm-eval]'")
pytest.importorskip("tenacity", reason="lm-eval's own client needs it, pip install 'lm-eval[api]'")

ITEMS = 24
TASKS = {
    "own_sums": r"""
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs:
  until: ["\n\n\n"]
  max_gen_toks: 200
metric_list:
  - metric: exact_match
filter_list:
  - name: last
    filter:
      - function: regex
        group_select: -1
        regex_pattern: "(\\d+)"
      - function: take_first
""",
    "own_choice": r"""
output_type: multiple_choice
num_fewshot: 1
fewshot_split: test
doc_to_text: "{{question}}\nThe answer is "
doc_to_choice: "{{choices}}"
doc_to_target: label
target_delimiter: ""
metric_list:
  - metric: acc
  - metric: acc_norm
  - metric: acc_mutual_info
""",
    "own_next": r"""
output_type: loglikelihood
doc_to_text: "Seats: {{choices[0]}} + 0 = {{choices[0]}}.\nThe answer is"
doc_to_target: " {{choices[0]}}."
metric_list:
  - metric: acc
""",
}
COMMON = """
dataset_path: json
dataset_kwargs: { data_files: { test: sums.jsonl } }
test_split: test
metadata: { version: 1.0 }
"""
SUITE = r"""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TASKS = ("own_sums", "own_choice", "own_choice:acc_norm", "own_choice:acc_mutual_info", "own_next")


@pytest.mark.parametrize("task", TASKS)
def test_task(candidate, accuracy, task):
    assert accuracy(candidate, f"lm_eval:{task}") >= 0.01


def test_lm_eval_itself(candidate, accuracy):
    server = candidate.server
    about = {"base_url": f"{server.base_url}/v1/completions", "model": server.model}
    subprocess.run(
        [sys.executable, str(HERE / "judge.py"), json.dumps(about)],
        cwd=HERE / "data" / "lm_eval",
        env={**os.environ, "OPENAI_API_KEY": server.api_key, "HF_HUB_OFFLINE": "1"},
        check=True,
    )
    assert accuracy(candidate, "lm_eval:own_next") >= 0.01
"""
JUDGE = r"""
import json, sys
from pathlib import Path
import lm_eval
from lm_eval.api.registry import get_model
from lm_eval.tasks import TaskManager
import pytest_llmperf

about = json.loads(sys.argv[1])
weights = Path(pytest_llmperf.__file__).parent / "embedded" / "weights" / "tiny-math"
server = get_model("local-completions")(
    tokenizer_backend="huggingface", tokenizer=str(weights), num_concurrent=8, **about
)
scores = {}
for tasks, chat in ((["own_sums"], True), (["own_choice", "own_next"], False)):
    found = lm_eval.simple_evaluate(
        server, tasks=tasks, apply_chat_template=chat, fewshot_as_multiturn=chat, bootstrap_iters=0, log_samples=True,
        task_manager=TaskManager(include_path=".", include_defaults=False),
    )
    for task, samples in found["samples"].items():
        for sample in samples:
            for metric in sample["metrics"]:
                scores[f"{task}-{sample['doc_id']} {metric}"] = float(sample[metric])
json.dump(scores, open("scores.json", "w"))
"""


def rows() -> list[dict[str, Any]]:
    """Problems of the tiny pair, each with the right number among three near it."""
    found = []
    for number, item in enumerate(load_items(find_named("task", "embedded", BUILT_IN), n=ITEMS)):
        right, label = int(item.answer), number % 4
        choices = [str(right + step) for step in (1, 10, 7)]
        choices.insert(label, str(right))
        found.append({"question": item.prompt, "answer": item.answer, "choices": choices, "label": label})
    return found


def test_every_item_has_the_score_that_lm_eval_gives_it_on_the_same_server(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "lm_eval"
    folder.mkdir(parents=True)
    for name, task in TASKS.items():
        (folder / f"{name}.yaml").write_text(f"task: {name}\n{COMMON}{task}")
    (folder / "sums.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows()))
    (tmp_path / "judge.py").write_text(JUDGE)
    (tmp_path / "test_tasks.py").write_text(SUITE)
    record = tmp_path / "record.json"
    _, verdicts, output = gate(
        record,
        str(tmp_path / "test_tasks.py"),
        *("--llmperf-models", str(REPOSITORY / "suites" / "models.toml")),
        *("--llmperf-data", str(tmp_path / "data"), "--llmperf-full"),
        *("--model", "math", "--baseline", "math"),
    )
    assert (folder / "scores.json").exists(), output
    theirs = json.loads((folder / "scores.json").read_text())
    assert not [verdict for verdict in verdicts if verdict["status"] == "INVALID"], output
    seen: dict[str, list[bool]] = {}
    for row in load_answers(record, read_record(record)):
        task, _, metric = row["task"].removeprefix("lm_eval:").partition(":")
        metric = metric or ("exact_match" if task == "own_sums" else "acc")
        right = row["outcome"] == "correct"
        assert right == (theirs[f"{row['item']} {metric}"] == 1.0), (row, output)
        seen.setdefault(f"{task} {metric}", []).append(right)
    assert {name: len(found) for name, found in seen.items()} == dict.fromkeys(seen, ITEMS)
    # It compares something: some items are right and some are wrong. Whether so small a model writes just the text of
    # own_next is another matter.
    assert len(seen) == 5
    mixed = {name: 0 < sum(found) < ITEMS for name, found in seen.items() if name != "own_next acc"}
    assert mixed == dict.fromkeys(mixed, True)
