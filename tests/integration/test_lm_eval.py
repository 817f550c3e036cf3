"""Tasks of lm-evaluation-harness: its scores to the item, on three tasks of one's own with local data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import load_answers
from tests.lm_eval_scores import scores_of_lm_eval

if TYPE_CHECKING:
    from tests.integration.conftest import Project

pytest.importorskip("lm_eval", reason="lm-eval is an extra, pip install 'pytest-llmperf[lm-eval]'")

# Right on most items, wrong on every fifth, in other words on every third.
ANSWERS = r"""
import os, re
def answer(request):
    text = request["text"]
    question = text[text.rfind("Q: ") :]
    numbers = [int(number) for number in re.findall(r"\d+", question)]
    wrong = numbers[0] % 5 == 4 or os.environ.get("FAKE_ENGINE_SURPRISE") == "2"
    total = sum(numbers) + wrong
    said = f"The answer is {total}" if numbers[0] % 3 else f"It makes {total}"
    return said + "\nQ: another"
"""
TASK = """
dataset_path: json
dataset_kwargs:
  data_files:
    test: {name}.jsonl
test_split: test
output_type: generate_until
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 40
metadata:
  version: 2.0
"""
EXACT = """
metric_list:
  - metric: exact_match
filter_list:
  - name: strict
    filter:
      - function: regex
        regex_pattern: "The answer is (\\\\d+)"
      - function: take_first
  - name: flexible
    filter:
      - function: regex
        group_select: -1
        regex_pattern: "(\\\\d+)"
      - function: take_first
"""
OVERLAP = """
process_results: !function own.overlap
metric_list:
  - metric: overlap
    aggregation: mean
    higher_is_better: true
"""
OWN = """
def overlap(doc, results):
    said, gold = set(results[0].split()), set(("The answer is " + doc["answer"]).split())
    return {"overlap": len(said & gold) / len(said | gold)}
"""
# What lm-eval itself makes of the same replies.
JUDGE = r"""
import json, runpy, sys
import lm_eval
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

class Same(LM):
    def __init__(self):
        super().__init__()
        self.answer = runpy.run_path("../../answers.py")["answer"]
    def apply_chat_template(self, turns, **_):
        return json.dumps(turns)
    @property
    def tokenizer_name(self):
        return "same"
    def generate_until(self, requests, **_):
        texts = ["\n".join(f"{turn['role']}: {turn['content']}" for turn in json.loads(r.args[0])) for r in requests]
        return [self.answer({"text": text}).split(r.args[1]["until"][0])[0] for text, r in zip(texts, requests)]
    def loglikelihood(self, requests, **_):
        raise NotImplementedError
    loglikelihood_rolling = loglikelihood

found = lm_eval.simple_evaluate(
    Same(), tasks=["own_sums", "own_group", "own_overlap"], apply_chat_template=True, fewshot_as_multiturn=True,
    task_manager=TaskManager(include_path=".", include_defaults=False), bootstrap_iters=0, log_samples=True,
)
"""
SUITE = """
    from pytest_llmperf import points

    def test_sums(candidate, accuracy):
        assert accuracy(candidate, "lm_eval:own_sums") >= 0.3

    def test_sums_in_any_words(candidate, baseline, accuracy):
        task = "lm_eval:own_sums:exact_match,flexible"
        assert accuracy(candidate, task) >= accuracy(baseline, task) - points(15)

    def test_group(candidate, accuracy):
        assert accuracy(candidate, "lm_eval:own_group:exact_match,flexible") >= 0.1

    def test_overlap(candidate, score):
        assert score(candidate, "lm_eval:own_overlap") >= 0.3
"""


def prepare(project: Project) -> None:
    said = {"ANSWERS": project.answers(ANSWERS)}
    project.catalog({"distill": said, "math": said, "worse": {**said, "SURPRISE": 2}})
    project.shrink(items=120)
    for name, metrics, shots in (
        ("own_sums", EXACT, "num_fewshot: 2\nfewshot_split: test\n"),
        ("own_small", EXACT, ""),
        ("own_large", EXACT, ""),
        ("own_overlap", OVERLAP, ""),
    ):
        project.write(f"data/lm_eval/{name}.yaml", f"task: {name}\n{shots}{TASK.format(name=name)}{metrics}")
        rows = ({"question": f"What is {n} plus {n + 3}?", "answer": str(2 * n + 3)} for n in range(60))
        project.write(f"data/lm_eval/{name}.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    group = {"group": "own_group", "task": ["own_small", "own_large"]}
    project.write("data/lm_eval/own_group.yaml", json.dumps(group))
    project.write("data/lm_eval/own.py", OWN)
    project.suite(SUITE)


def test_the_scores_are_those_of_lm_eval_to_the_item(project: Project) -> None:
    prepare(project)
    result, verdicts = project.judged("--llmperf-data", "data", "--llmperf-full")
    assert result.code == 0, result.text
    assert [(one["metric"], one["status"]) for one in verdicts] == [
        ("lm_eval:own_sums accuracy", "PASS"),
        ("lm_eval:own_sums:exact_match,flexible accuracy", "PASS"),
        ("lm_eval:own_group:exact_match,flexible accuracy", "PASS"),
        ("lm_eval:own_overlap score", "PASS"),
    ]
    path = project.path / "record.json"
    record = read_record(path)
    theirs = scores_of_lm_eval(project, JUDGE)
    chosen = {
        "lm_eval:own_sums": "exact_match,strict",
        "lm_eval:own_sums:exact_match,flexible": "exact_match,flexible",
        "lm_eval:own_group:exact_match,flexible": "exact_match,flexible",
    }
    compared = 0
    answers: list[Any] = [row for row in load_answers(path, record) if row["row"] == "distill"]
    for row in answers:
        if row["task"] in chosen:
            assert (row["outcome"] == "correct") == (theirs[f"{row['item']} {chosen[row['task']]}"] == 1.0), (
                row
            )
            compared += 1
    assert compared == 60 + 60 + 120
    own = [value for name, value in theirs.items() if name.startswith("own_overlap")]
    assert verdicts[3]["observed"] == pytest.approx(sum(own) / len(own))
    assert 0 < sum(theirs[f"own_sums-{n} exact_match,strict"] for n in range(60)) < 60
    said = {entry.task: entry.data or "" for entry in record.answers}
    assert said["lm_eval:own_sums"].startswith("lm-eval 0.")
    assert said["lm_eval:own_sums"].endswith("own_sums version 2.0, exact_match, filter strict")


def test_a_worse_model_is_red_and_what_cannot_be_asked_is_one_line(project: Project) -> None:
    prepare(project)
    project.suite("""
        import pytest

        def test_sums(candidate, accuracy):
            assert accuracy(candidate, "lm_eval:own_sums") >= 0.3

        @pytest.mark.parametrize("task", ["own_texts", "own_sums:bleu"])
        def test_not_asked(candidate, accuracy, task):
            assert accuracy(candidate, f"lm_eval:{task}") >= 0.3
    """)
    texts = TASK.format(name="own_sums").replace("generate_until", "loglikelihood_rolling")
    project.write("data/lm_eval/own_texts.yaml", f"task: own_texts\n{texts}")
    result, verdicts = project.judged("--llmperf-data", "data", "--model", "worse")
    assert result.code in (1, 4), result.text
    assert [one["status"] for one in verdicts] == ["FAIL", "INVALID", "INVALID"]
    assert "own_texts asks for the log probability of whole documents" in verdicts[1]["why"]
    assert "no metric 'bleu'; known: exact_match" in verdicts[2]["why"]
