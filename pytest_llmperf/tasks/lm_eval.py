"""Tasks of lm-evaluation-harness: its prompts, examples, filters and metrics; asked by our client, judged by our gates.

``lm_eval:NAME`` is a task or a group; ``lm_eval:NAME:METRIC,FILTER`` chooses among its scores, else the first of both.
"""

from __future__ import annotations

import atexit
import json
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmperf.config.models import Protocol
from pytest_llmperf.config.toml_errors import closest
from pytest_llmperf.errors import DataError, NotMeasured, UsageError
from pytest_llmperf.tasks.grading import Grade, Outcome, not_ended
from pytest_llmperf.tasks.request import Generation, ReplyMessage
from pytest_llmperf.tasks.task import Item, Task, own_shots
from pytest_llmperf.tasks.thinking import after_thinking, never_ends

PREFIX = "lm_eval:"
INSTALL = "pip install 'pytest-llmperf[lm-eval]'"
FOLDER = "lm_eval"
"""Directory below ``--llmperf-data`` with tasks of one's own."""
_WORKER = Path(__file__).with_name("lm_eval_worker.py")
_LOAD_S, _SCORE_S = 1800.0, 60.0
_MOST_STOPS = 4
"""OpenAI's limit, which lm-eval keeps as well."""


def lm_eval_task(name: str, data_dir: Path | None) -> Task:
    """The task ``lm_eval:NAME``. Nothing is imported or loaded before its items are asked for."""
    harness = _Harness(name, data_dir)
    # The examples are in lm-eval's prompts.
    protocols: tuple[Protocol, ...] = ("chat", "few-shot")
    return Task(name, harness, protocols, message_grader=harness.grade, shots=own_shots())


@dataclass
class _Harness:
    """The source of the items, and their grader: both are in one process of lm-eval's."""

    name: str
    data_dir: Path | None
    sha256: str | None = None
    _worker: _Worker | None = field(default=None, repr=False)
    _about: str = ""
    _metric: str = ""
    _filter: str = ""

    def describe(self) -> str:
        """Versions of lm-eval and of the task, metric and filter."""
        self._loaded()
        return self._about

    def items(self, data_dir: Path | None) -> Sequence[Item]:
        del data_dir
        loaded = self._loaded()
        several = len(loaded["tasks"]) > 1
        return [self._item(request, several) for request in loaded["requests"]]

    def _item(self, request: Mapping[str, Any], several: bool) -> Item:
        sub, number, messages = request["task"], request["doc"], request["messages"]
        limits = Generation(tuple(request["until"][:_MOST_STOPS]), request["max_tokens"], request["text"])
        # What is expected is lm-eval's own affair.
        return Item(
            f"{sub}-{number}",
            request["text"],
            f"{sub} {number}",
            meta={"lm_eval": (sub, number)},
            group=sub if several else "",
            messages=messages,
            generation=limits,
        )

    def grade(self, message: ReplyMessage, item: Item, *, thinking: bool = False) -> Grade:
        """The score that lm-eval gives the reply, 0 to 1; it scores replies that were cut off as well."""
        ended = not_ended(message.finish_reason)
        if ended is not None and ended.detail != "length":
            return ended
        text = after_thinking(message.text)
        if text is None:
            if never_ends(message.text, thinking=thinking and not message.reasoning):
                return Grade(Outcome.INCOMPLETE, "thinking")
            text = message.text
        # White space between thinking and answer may be a stop text.
        text = text.lstrip() if thinking else text
        # A row that thinks was not sent them, and some servers ignore them.
        for stop in item.generation.stop if item.generation else ():
            text = text.partition(stop)[0]
        sub, number = item.meta["lm_eval"]
        assert self._worker is not None
        answer = self._worker.ask({"score": [sub, number, text]}, _SCORE_S)
        if "error" in answer:
            raise NotMeasured(f"{self.name}: lm-eval can't score the reply to {item.id}: {answer['why']}")
        value = answer["scores"].get(self._filter, {}).get(self._metric)
        if value is None or not 0.0 <= value <= 1.0:
            raise NotMeasured(
                f"{self.name}: {self._metric} of the reply to {item.id} is {value}; need a number from 0 to 1: "
                f"choose another metric: {', '.join(answer['scores'].get(self._filter, {}))}"
            )
        right = value == 1.0
        return Grade(Outcome.CORRECT if right else Outcome.WRONG, "" if right else "other", text[:200], value)

    def _loaded(self) -> dict[str, Any]:
        if self._worker is None:
            self._worker = _Worker(self._folder)
            self._worker.loaded = self._load(self._worker)
        return self._worker.loaded

    @property
    def _folder(self) -> Path | None:
        folder = self.data_dir / FOLDER if self.data_dir is not None else None
        return folder.resolve() if folder is not None and folder.is_dir() else None

    def _load(self, worker: _Worker) -> dict[str, Any]:
        name, _, scored = self.name.removeprefix(PREFIX).partition(":")
        include = None if self._folder is None else str(self._folder)
        loaded = worker.ask({"load": name, "include": include}, _LOAD_S)
        match loaded.get("error"):
            case "missing":
                raise UsageError(
                    f"{self.name} needs lm-eval, which can't be imported ({loaded['why']}): {INSTALL}"
                )
            case "unknown":
                # Not the thirteen thousand that there are.
                near = closest(name, loaded["known"], cutoff=0.6)
                raise UsageError(
                    f"lm-eval has no task {name!r}{f'; did you mean {near}?' if near else ''}; tasks of your own are "
                    f"read from {FOLDER}/*.yaml in the directory of --llmperf-data"
                )
            case "failed":
                raise DataError(f"{self.name}: lm-eval can't load it: {loaded['why']}")
        self._check(name, loaded["tasks"])
        self._choose(scored, loaded["tasks"])
        versions = ", ".join(sorted({str(about["version"]) for about in loaded["tasks"].values()}))
        chosen = f"{self._metric}, filter {self._filter}"
        self._about = f"lm-eval {loaded['version']}, {name} version {versions}, {chosen}"
        return loaded

    def _check(self, name: str, tasks: Mapping[str, Mapping[str, Any]]) -> None:
        for sub, about in tasks.items():
            what = sub if sub == name else f"{sub} of {name}"
            if about["output"] != "generate_until":
                raise UsageError(
                    f"{self.name}: {what} has the output type {about['output']!r}, which needs log-likelihoods of "
                    "given texts; need 'generate_until': choose the generative variant of the task"
                )
            if about["refused"]:
                raise UsageError(
                    f"{self.name}: {what} {about['refused']}, which is not done here; choose another task"
                )

    def _choose(self, scored: str, tasks: Mapping[str, Mapping[str, Any]]) -> None:
        """Metric and filter that all subtasks have: those that the name says, or the first."""
        first, *others = tasks.values()
        metric, _, chosen = scored.partition(",")
        for what, wanted, key in (("metric", metric, "metrics"), ("filter", chosen, "filters")):
            common = [name for name in first[key] if all(name in about[key] for about in others)]
            if not common or (wanted and wanted not in common):
                seen = f"no {what} {wanted!r}" if wanted else f"no {what} in common"
                raise UsageError(f"{self.name}: its tasks have {seen}; known: {', '.join(common) or 'none'}")
            setattr(self, f"_{what}", wanted or common[0])
        if any(self._metric in about["lower_is_better"] for about in tasks.values()):
            raise UsageError(
                f"{self.name}: {self._metric} is better where it is lower; need a metric where 1 is best"
            )


class _Worker:
    """A process with the tasks; one question at a time, from any thread."""

    def __init__(self, folder: Path | None) -> None:
        self.loaded: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
        )
        atexit.register(self.close)

    def ask(self, question: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The answer; raises :class:`NotMeasured` if the process ended, or does not answer in time."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with self._lock:
            try:
                process.stdin.write(json.dumps(question).encode() + b"\n")
                process.stdin.flush()
                ready, _, _ = select.select([process.stdout], [], [], timeout_s)
                line = process.stdout.readline() if ready else b""
            except (
                BaseException
            ) as error:  # a time limit, Ctrl-C: what it answers later belongs to no question
                process.kill()
                if isinstance(error, OSError | ValueError):
                    raise NotMeasured(f"the process of lm-eval is gone ({error}): run again") from error
                raise
            if not line:
                process.kill()
                how = "ended" if ready else f"gave no answer within {timeout_s:g} s"
                raise NotMeasured(
                    f"the process of lm-eval {how}: run the task with lm-eval itself to see why"
                )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        atexit.unregister(self.close)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.kill()
        self._process.wait()
