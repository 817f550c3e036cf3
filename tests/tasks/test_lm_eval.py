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

from pytest_llmperf.client.continuations import ContinuationScore
from pytest_llmperf.config.models import Model, PromptRules, Sampling
from pytest_llmperf.errors import DataError, NotMeasured, UsageError
from pytest_llmperf.prompts.asking import ask_item
from pytest_llmperf.tasks import lm_eval, lm_eval_process
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.lm_eval_process import LmEvalProcess
from pytest_llmperf.tasks.request import ReplyMessage
from pytest_llmperf.tasks.task import Task

ABOUT = {
    "version": 1.0,
    "output": "generate_until",
    "metrics": ["exact_match", "wer"],
    "lower_is_better": ["wer"],
    "of_all_items": [],
    "own_results": False,
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


class Worker(LmEvalProcess):
    """Loads one task, and gives every reply the score ``value``."""

    loads: Mapping[str, Any] = {
        "version": "0.4",
        "tasks": {"sums": ABOUT},
        "by_size": {},
        "requests": [REQUEST],
    }
    value: float | None = 1.0

    def __init__(self) -> None:
        super().__init__(None)
        self.scored: list[Any] = []

    def ask(self, question: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        if "load" in question:
            return dict(self.loads)
        self.scored.append(question["score"][3])
        return {"scores": {"none": {"exact_match": self.value}, "strict": {"exact_match": 0.0}}}


def task(name: str = "lm_eval:sums") -> Task:
    return lm_eval.lm_eval_task(name, Worker())


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
        (
            {"output": "multiple_choice", "of_all_items": ["f1"], "metrics": ["f1"]},
            "sums",
            "f1 is computed of all",
        ),
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
    assert asked.source.process.scored == ["2"]  # type: ignore[attr-defined]


def test_a_row_that_thinks_has_its_own_limits_and_a_few_shot_row_continues_the_text() -> None:
    [item] = task().source.items(None)
    sampling = Sampling(max_tokens=2000)
    chat = ask_item(Model("m", "p", sampling=sampling), item).body()
    assert (chat["max_tokens"], chat["stop"], chat["messages"]) == (32, ["\n\n"], REQUEST["messages"])
    thinks = ask_item(Model("m", "p", sampling=sampling, rules=PromptRules(thinking=True)), item).body()
    assert (thinks["max_tokens"], "stop" in thinks) == (2000, False)
    base = ask_item(Model("m", "p", sampling=sampling, rules=PromptRules(protocol="few-shot")), item).body()
    assert (base["prompt"], base["max_tokens"], base["stop"]) == (REQUEST["text"], 32, ["\n\n"])


def choice(**about: Any) -> Mapping[str, Any]:
    """What the process tells of a multiple choice with three texts, of which the second is right."""
    return {
        "version": "0.4",
        "tasks": {"sums": {**ABOUT, "output": "multiple_choice", "metrics": ["acc", "acc_norm"], **about}},
        "by_size": {},
        "requests": [
            {
                "task": "sums",
                "doc": 0,
                "pairs": [["Q: 1 + 1\nA:", f" {text}"] for text in ("one", "two", "thirty")],
                "choices": ["one", "two", "thirty"],
                "golds": [1],
            }
        ],
    }


def test_a_multiple_choice_is_graded_by_the_scores_of_its_texts_and_shows_what_was_picked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Worker, "loads", choice())
    monkeypatch.setattr(
        Worker,
        "ask",
        lambda self, asked, _: self.loads if "load" in asked else {"scores": {"none": {"acc": 0.0}}},
    )
    asked = task()
    [item] = asked.source.items(None)
    assert asked.continuation_grader is not None
    assert (item.answer, item.guess, item.prompt) == ("two", 1 / 3, "Q: 1 + 1\nA:")
    assert [each.text for each in item.continuations] == [" one", " two", " thirty"]
    scores = [ContinuationScore(value, is_greedy=False) for value in (-1.0, -1.5, -3.0)]
    grade, shown = asked.continuation_grader(scores, item)
    assert (grade.outcome, grade.detail, grade.answer, grade.score) == (Outcome.WRONG, "other", "one", 0.0)
    assert shown.splitlines() == [
        "−1.000  one  (picked)",
        "−1.500  two  (right)",
        "−3.000  thirty",
        "margin of the right answer: −0.500",
    ]
    assert asked.source.describe().endswith("acc, filter none, by log probabilities")


def test_an_item_without_a_right_choice_is_refused_unless_the_task_scores_it_in_its_own_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unlabelled = [{**choice()["requests"][0], "golds": []}]
    monkeypatch.setattr(Worker, "loads", {**choice(), "requests": unlabelled})
    with pytest.raises(DataError, match="sums-0: none of its 3 choices is the right one"):
        task().source.items(None)
    monkeypatch.setattr(Worker, "loads", {**choice(own_results=True), "requests": unlabelled})
    [item] = task().source.items(None)
    assert item.guess == 0.0


@pytest.mark.parametrize(("by_size", "groups"), [({}, ["", ""]), ({"acc": False}, ["sums", "more"])])
def test_the_items_of_a_group_are_the_sample_unless_it_weighs_its_tasks_alike(
    monkeypatch: pytest.MonkeyPatch, by_size: dict[str, bool], groups: list[str]
) -> None:
    told = choice()
    tasks = {**told["tasks"], "more": told["tasks"]["sums"]}
    requests = [*told["requests"], {**told["requests"][0], "task": "more"}]
    monkeypatch.setattr(Worker, "loads", {**told, "tasks": tasks, "requests": requests, "by_size": by_size})
    assert [item.group for item in task().source.items(None)] == groups


def test_a_group_is_asked_in_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    told = choice()
    monkeypatch.setattr(Worker, "loads", {**told, "tasks": {**told["tasks"], "said": ABOUT}})
    with pytest.raises(UsageError, match="said asks for replies and sums for log probabilities"):
        task().source.items(None)


def test_a_chat_is_not_asked_for_given_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "loads", choice())
    [item] = task().source.items(None)
    with pytest.raises(UsageError, match="asks for log probabilities of given texts, and for no reply"):
        ask_item(Model("m", "p"), item)


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
        [sys.executable, "-P", lm_eval_process._WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    with process:
        assert process.stdin is not None
        process.stdin.write(b'{"load": "hangs"}\n')
        process.stdin.flush()
        while not (tmp_path / "loading").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.stdin.close()
        try:
            assert process.wait(10) == 0
        finally:
            process.kill()
