"""Tasks of lm-evaluation-harness by a stand-in of its process: what is refused, and what a score becomes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.config.models import Model, PromptRules, Sampling
from pytest_llmperf.errors import NotMeasured, UsageError
from pytest_llmperf.prompts.asking import ask_item
from pytest_llmperf.tasks import lm_eval
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.request import ReplyMessage
from pytest_llmperf.tasks.task import Task

ABOUT = {
    "version": 1.0,
    "output": "generate_until",
    "metrics": ["exact_match", "wer"],
    "lower_is_better": ["wer"],
    "filters": ["none", "strict"],
    "refused": "",
}
REQUEST = {
    "task": "sums",
    "doc": 0,
    "text": "Q: 1 + 1\nA:",
    "messages": [{"role": "user", "content": "Q: 1 + 1\nA:"}],
    "until": ["\n\n"],
    "max_tokens": 32,
}


class Worker:
    """Loads one task, and gives every reply the score ``value``."""

    loads: Mapping[str, Any] = {"version": "0.4", "tasks": {"sums": ABOUT}, "requests": [REQUEST]}
    value: float | None = 1.0

    def __init__(self, _: object) -> None:
        self.loaded: dict[str, Any] = {}
        self.scored: list[str] = []

    def ask(self, question: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any]:
        if "load" in question:
            return self.loads
        self.scored.append(question["score"][2])
        return {"scores": {"none": {"exact_match": self.value}, "strict": {"exact_match": 0.0}}}


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval, "_Worker", Worker)


def task(name: str = "lm_eval:sums") -> Task:
    return lm_eval.lm_eval_task(name, None)


def graded(
    text: str, finish_reason: str = "stop", *, name: str = "lm_eval:sums", thinking: bool = False
) -> Grade:
    asked = task(name)
    [item] = asked.source.items(None)
    assert asked.message_grader is not None
    return asked.message_grader(ReplyMessage(text, "", (), finish_reason), item, thinking=thinking)


@pytest.mark.parametrize(
    ("loads", "why"),
    [
        (
            {"error": "missing", "why": "No module named 'lm_eval'"},
            r"needs lm-eval.*pytest-llmperf\[lm-eval\]",
        ),
        ({"error": "unknown", "why": "", "known": ["sums", "ifeval"]}, "no task 'sumz'; did you mean sums"),
        (
            {"error": "unknown", "why": "", "known": [f"ifeval_{n}" for n in range(13_000)]},
            "no task 'sumz'; tasks of your own are read",
        ),
        ({"error": "failed", "why": "OSError: no hub"}, "can't load it: OSError: no hub"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(
    monkeypatch: pytest.MonkeyPatch, loads: dict[str, Any], why: str
) -> None:
    monkeypatch.setattr(Worker, "loads", loads)
    with pytest.raises(UsageError, match=why):
        task("lm_eval:sumz").source.items(None)


@pytest.mark.parametrize(
    ("about", "name", "why"),
    [
        ({"output": "multiple_choice"}, "sums", "output type 'multiple_choice'.*need 'generate_until'"),
        ({"refused": "runs code that the model wrote"}, "sums", "runs code that the model wrote"),
        ({}, "sums:bleu", "no metric 'bleu'; known: exact_match, wer"),
        ({}, "sums:exact_match,lax", "no filter 'lax'; known: none, strict"),
        ({}, "sums:wer", "wer is better where it is lower"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, about: dict[str, Any], name: str, why: str
) -> None:
    monkeypatch.setattr(Worker, "loads", {**Worker.loads, "tasks": {"sums": {**ABOUT, **about}}})
    with pytest.raises(UsageError, match=why):
        task(f"lm_eval:{name}").source.items(None)


def test_the_versions_metric_and_filter_are_pinned() -> None:
    assert task().source.describe() == "lm-eval 0.4, sums version 1.0, exact_match, filter none"


@pytest.mark.parametrize(
    ("value", "outcome"), [(1.0, Outcome.CORRECT), (0.0, Outcome.WRONG), (0.4, Outcome.WRONG)]
)
def test_a_score_of_one_is_right_and_every_score_is_kept(
    monkeypatch: pytest.MonkeyPatch, value: float, outcome: Outcome
) -> None:
    monkeypatch.setattr(Worker, "value", value)
    grade = graded("2")
    assert (grade.outcome, grade.score) == (outcome, value)


@pytest.mark.parametrize("value", [None, 37.2, -1.0, float("nan")])
def test_a_score_that_is_no_share_is_not_judged(monkeypatch: pytest.MonkeyPatch, value: float | None) -> None:
    monkeypatch.setattr(Worker, "value", value)
    with pytest.raises(NotMeasured, match="need a number from 0 to 1"):
        graded("2")


def test_the_filter_that_was_chosen_counts() -> None:
    assert graded("2", name="lm_eval:sums:exact_match,strict").outcome is Outcome.WRONG


def test_a_cut_reply_is_scored_and_a_lost_or_endless_one_is_not() -> None:
    assert graded("2", "length").outcome is Outcome.CORRECT
    assert graded("2", "content_filter").outcome is Outcome.INCOMPLETE
    assert graded("<think>still", "length", thinking=True).outcome is Outcome.INCOMPLETE


def test_a_reply_ends_at_its_stop_text_and_not_within_the_thinking() -> None:
    asked = task()
    [item] = asked.source.items(None)
    assert asked.message_grader is not None
    asked.message_grader(ReplyMessage("one\n\ntwo</think>\n\n2\n\nQ:", "", (), "stop"), item, thinking=True)
    assert asked.source._worker.scored == ["2"]  # type: ignore[attr-defined]


def test_a_row_that_thinks_has_its_own_limits_and_a_few_shot_row_continues_the_text() -> None:
    [item] = task().source.items(None)
    sampling = Sampling(max_tokens=2000)
    chat = ask_item(Model("m", "p", sampling=sampling), item).body()
    assert (chat["max_tokens"], chat["stop"], chat["messages"]) == (32, ["\n\n"], REQUEST["messages"])
    thinks = ask_item(Model("m", "p", sampling=sampling, rules=PromptRules(thinking=True)), item).body()
    assert (thinks["max_tokens"], "stop" in thinks) == (2000, False)
    base = ask_item(Model("m", "p", sampling=sampling, rules=PromptRules(protocol="few-shot")), item).body()
    assert (base["prompt"], base["max_tokens"], base["stop"]) == (REQUEST["text"], 32, ["\n\n"])


HANGS = """
class TaskManager:
    all_tasks = ["hangs"]
    def __init__(self, **_):
        pass
    def load(self, names):
        print("loading", file=open("loading", "w"))
        while True:
            pass
"""


def test_the_process_ends_with_this_one_whatever_it_is_doing(tmp_path: Path) -> None:
    package = tmp_path / "lm_eval"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "tasks.py").write_text(HANGS)
    process = subprocess.Popen(
        [sys.executable, "-P", lm_eval._WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with process:
        assert process.stdin is not None
        process.stdin.write(b'{"load": "hangs", "include": null}\n')
        process.stdin.flush()
        while not (tmp_path / "loading").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.stdin.close()
        try:
            assert process.wait(10) == 0
        finally:
            process.kill()
