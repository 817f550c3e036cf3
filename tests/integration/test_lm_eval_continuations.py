"""Log-likelihood tasks of lm-evaluation-harness: its scores to the item, on tasks of one's own with local data."""

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

# It prefers the right sum, but for a fault that can be planted; every text has its own noise.
LIKES = r"""
import os, re, zlib
FAULT = os.environ.get("FAKE_ENGINE_SURPRISE") == "2"
def likes(before, token):
    numbers = re.findall(r"\d+", before[before.rfind("Q:"):])
    right = len(numbers) > 1 and token.strip() == str(int(numbers[0]) + int(numbers[1]))
    noise = zlib.crc32(f"{before[-40:]}|{token}".encode()) % 1000 / 500
    value = -0.5 - noise - (0 if right and not FAULT else 1.2)
    return value, max(value, -1.0)
"""
COMMON = """
dataset_path: json
dataset_kwargs:
  data_files:
    test: sums.jsonl
test_split: test
fewshot_split: test
doc_to_text: "Q: {{question}}\\nA:"
metadata:
  version: 3.0
"""
CHOICE = """
output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: label
metric_list:
  - metric: acc
  - metric: acc_norm
  - metric: mcc
"""
TASKS = {
    "own_choice": f"num_fewshot: 2\n{CHOICE}",
    "own_letter": """
output_type: multiple_choice
doc_to_text: "Q: {{question}}\\nA: "
doc_to_choice: "{{choices}}"
doc_to_target: label
target_delimiter: ""
metric_list:
  - metric: acc_mutual_info
""",
    "own_next": """
output_type: loglikelihood
doc_to_target: " {{answer}}"
metric_list:
  - metric: perplexity
    higher_is_better: false
  - metric: acc
""",
    "own_small": CHOICE,
    "own_mixed": "output_type: generate_until\ndoc_to_target: answer\n",
    "own_rolling": "output_type: loglikelihood_rolling\ndoc_to_target: answer\n",
}
# lm-eval itself on the same log probabilities: its own splitting into tokens, requests and metrics.
JUDGE = r"""
import json, re, runpy
import lm_eval
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager

class Same(TemplateLM):
    eot_token_id = 0
    def __init__(self):
        super().__init__()
        self.likes = runpy.run_path("../../likes.py")["likes"]
        self.words, self.numbers = [], {}
        self.tok_encode("</s>")
    def tok_encode(self, text, add_special_tokens=None, **_):
        for word in (found := re.findall(r"\s*\S+|\s+$", text)):
            if word not in self.numbers:
                self.numbers[word] = len(self.words)
                self.words.append(word)
        return [self.numbers[word] for word in found]
    def _loglikelihood_tokens(self, requests, **_):
        found = []
        for _, context, rest in requests:
            words = [self.words[number] for number in context + rest]
            scores = [self.likes("".join(words[:n]), words[n]) for n in range(len(context), len(words))]
            found.append((sum(own for own, _ in scores), all(own == top for own, top in scores)))
        return found
    def generate_until(self, requests, **_):
        raise NotImplementedError
    loglikelihood_rolling = generate_until

found = lm_eval.simple_evaluate(
    Same(), tasks=["own_choice", "own_letter", "own_next"], bootstrap_iters=0, log_samples=True,
    task_manager=TaskManager(include_path=".", include_defaults=False),
)
"""
SUITE = """
    from pytest_llmperf import points

    def test_choice(candidate, accuracy):
        assert accuracy(candidate, "lm_eval:own_choice") >= 0.3

    def test_not_worse(candidate, baseline, accuracy):
        task = "lm_eval:own_choice:acc_norm"
        assert accuracy(candidate, task) >= accuracy(baseline, task) - points(15)

    def test_letter(candidate, accuracy):
        assert accuracy(candidate, "lm_eval:own_letter") >= 0.2

    def test_next_word(candidate, accuracy):
        assert accuracy(candidate, "lm_eval:own_next") >= 0.1
"""


def prepare(project: Project, **knobs: object) -> None:
    project.write("likes.py", LIKES)
    said = {"LIKES": project.path / "likes.py"}
    project.catalog(
        {
            "distill": said,
            "math": said,
            "worse": {**said, "SURPRISE": 2},
            "echo": {**said, "NO_SCORES": "echo"},
            "mute": {**said, "NO_SCORES": 1},
            **({"odd": {**said, **knobs}} if knobs else {}),
        }
    )
    project.shrink(items=60)
    config = project.path / "weights" / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "eos_token": "</s>", "bos_token": None}))
    for name, more in TASKS.items():
        project.write(f"data/lm_eval/{name}.yaml", f"task: {name}\n{COMMON}{more}")
    group = {"group": "own_group", "task": ["own_choice", "own_small"]}
    project.write("data/lm_eval/own_group.yaml", json.dumps(group))
    both = {"group": "own_both", "task": ["own_choice", "own_mixed"]}
    project.write("data/lm_eval/own_both.yaml", json.dumps(both))
    rows = []
    for n in range(60):
        total = 2 * n + 3
        choices = [str(total), str(total + 1), str(total + 2), "no one"]
        label = n % 4
        choices[0], choices[label] = choices[label], choices[0]
        rows.append(
            {
                "question": f"What is {n} plus {n + 3} ?",
                "choices": choices,
                "label": label,
                "answer": str(total),
            }
        )
    project.write("data/lm_eval/sums.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    project.suite(SUITE)


def test_the_scores_are_those_of_lm_eval_to_the_item(project: Project) -> None:
    prepare(project)
    result, verdicts = project.judged("--llmperf-data", "data", "--llmperf-full")
    assert result.code == 0, result.text
    assert [(verdict["metric"], verdict["status"]) for verdict in verdicts] == [
        ("lm_eval:own_choice accuracy", "PASS"),
        ("lm_eval:own_choice:acc_norm accuracy", "PASS"),
        ("lm_eval:own_letter accuracy", "PASS"),
        ("lm_eval:own_next accuracy", "PASS"),
    ]
    path = project.path / "record.json"
    record = read_record(path)
    theirs = scores_of_lm_eval(project, JUDGE)
    metrics = {
        "lm_eval:own_choice": "acc",
        "lm_eval:own_choice:acc_norm": "acc_norm",
        "lm_eval:own_letter": "acc_mutual_info",
        "lm_eval:own_next": "acc",
    }
    answers: list[Any] = [row for row in load_answers(path, record) if row["row"] == "distill"]
    assert len(answers) == 4 * 60
    for row in answers:
        expected = theirs[f"{row['item']} {metrics[row['task']]},none"]
        assert (row["outcome"] == "correct") == (expected == 1.0), row
    # The comparison sees something: each metric is right on some items and wrong on others, and two of them differ.
    for task, metric in metrics.items():
        name = task.split(":")[1]
        assert 0 < sum(theirs[f"{name}-{n} {metric},none"] for n in range(60)) < 60, (task, metric)
    assert any(
        theirs[f"own_choice-{n} acc,none"] != theirs[f"own_choice-{n} acc_norm,none"] for n in range(60)
    )
    wrong = next(row for row in answers if row["task"] == "lm_eval:own_choice" and row["outcome"] == "wrong")
    assert "(picked)" in wrong["reply"]
    assert "(right)" in wrong["reply"]
    assert "margin of the right answer: −" in wrong["reply"]
    said = {entry.task: entry.data or "" for entry in record.answers}
    assert said["lm_eval:own_next"].endswith("own_next version 3.0, acc, filter none, by log probabilities")
    entry = next(entry for entry in record.answers if entry.task == "lm_eval:own_choice")
    # Nothing that only a reply has is told of scored texts.
    assert (entry.unboxed, entry.refused, entry.tokens_per_correct, entry.seconds_per_correct) == (None,) * 4
    assert set(entry.loops.values()) == {None}


def test_a_fault_is_red_echo_serves_as_well_and_what_cannot_be_asked_is_one_line(project: Project) -> None:
    prepare(project)
    project.suite("""
        import pytest
        from pytest_llmperf import points

        def test_not_worse(candidate, baseline, accuracy):
            task = "lm_eval:own_choice"
            assert accuracy(candidate, task) >= accuracy(baseline, task) - points(15)
    """)
    result, verdicts = project.judged(
        "--llmperf-data", "data", "--model", "worse", "--model", "echo", "--model", "mute"
    )
    assert result.code in (1, 4), result.text
    statuses = {verdict["test"].rpartition("[")[2].rstrip("]"): verdict["status"] for verdict in verdicts}
    assert statuses == {"worse": "FAIL", "echo": "PASS", "mute": "INVALID"}, result.text
    why = next(verdict["why"] for verdict in verdicts if "mute" in verdict["test"])
    assert "its server tells none (prompt_logprobs: the server returned no log probability" in why


def test_what_cannot_be_judged_is_refused_with_the_reason(project: Project) -> None:
    prepare(project)
    project.suite("""
        import pytest

        @pytest.mark.parametrize("task", ["own_choice:mcc", "own_next:perplexity", "own_rolling", "own_both"])
        def test_not_asked(candidate, accuracy, task):
            assert accuracy(candidate, f"lm_eval:{task}") >= 0.3

        def test_variant(candidate, accuracy, rules):
            assert accuracy(candidate, "lm_eval:own_choice", rules.at_temperature(0.5)) >= 0.3

        def test_behaviour(candidate, answers):
            assert answers(candidate, "lm_eval:own_choice").loops <= 0.1

        def test_group(candidate, accuracy):
            assert accuracy(candidate, "lm_eval:own_group") >= 0.3
    """)
    result, verdicts = project.judged("--llmperf-data", "data", "--llmperf-full")
    whys = [verdict["why"] for verdict in verdicts]
    assert [verdict["status"] for verdict in verdicts] == ["INVALID"] * 6 + ["PASS"], result.text
    for why, expected in zip(
        whys,
        [
            "mcc is computed of all items together",
            "perplexity is better where it is lower",
            "asks for the log probability of whole documents",
            "own_mixed asks for replies and own_choice for log probabilities",
            "at T = 0.5 has no place",
            "answers looks at replies",
        ],
        strict=False,
    ):
        assert expected in why
    assert verdicts[-1]["n"] == 60
