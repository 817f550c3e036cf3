"""Tasks of lm-evaluation-harness: its prompts, examples, filters and metrics; asked by our client, judged by our gates.

``lm_eval:NAME`` is a task or a group; ``lm_eval:NAME:METRIC,FILTER`` chooses among its scores, else the first of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmperf.client.continuations import ContinuationScore
from pytest_llmperf.config.models import Protocol
from pytest_llmperf.config.toml_errors import closest
from pytest_llmperf.errors import DataError, NotMeasured, UsageError
from pytest_llmperf.tasks.continuations import Continuation
from pytest_llmperf.tasks.grading import Grade, Outcome, not_ended
from pytest_llmperf.tasks.lm_eval_choices import compared, picked, shown_choices, shown_text
from pytest_llmperf.tasks.lm_eval_process import FOLDER, LmEvalProcess
from pytest_llmperf.tasks.request import Generation, ReplyMessage
from pytest_llmperf.tasks.task import Item, Task, own_shots
from pytest_llmperf.tasks.thinking import after_thinking, never_ends

PREFIX = "lm_eval:"
INSTALL = "pip install 'pytest-llmperf[lm-eval]'"
_LOAD_S, _SCORE_S = 1800.0, 60.0
_LOWER_IS_BETTER = "is better where it is lower; need a metric where 1 is best"
_OF_ALL_ITEMS = "is computed of all items together; need a metric that scores each item, as acc does"
_MOST_STOPS = 4
"""OpenAI's limit, which lm-eval keeps as well."""


def lm_eval_task(name: str, process: LmEvalProcess) -> Task:
    """The task ``lm_eval:NAME``. Nothing is imported or loaded before its items are asked for."""
    harness = _Harness(name, process)
    # The examples are in lm-eval's prompts.
    protocols: tuple[Protocol, ...] = ("chat", "few-shot")
    return Task(
        name,
        harness,
        protocols,
        message_grader=harness.grade,
        continuation_grader=harness.grade_scores,
        shots=own_shots(),
    )


@dataclass
class _Harness:
    """The source of the items, and their grader: both are in the process of lm-eval."""

    name: str
    process: LmEvalProcess = field(repr=False)
    sha256: str | None = None
    _found: dict[str, Any] | None = field(default=None, repr=False)
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
        # lm-eval's score of a group is that of all its items, unless the group weighs its tasks alike.
        in_groups = len(loaded["tasks"]) > 1 and not loaded["by_size"].get(self._metric, True)
        make = self._scored_item if _is_scored(loaded["tasks"]) else self._item
        return [make(request, request["task"] if in_groups else "") for request in loaded["requests"]]

    def _item(self, request: Mapping[str, Any], group: str) -> Item:
        sub, number, messages = request["task"], request["doc"], request["messages"]
        limits = Generation(tuple(request["until"][:_MOST_STOPS]), request["max_tokens"], request["text"])
        # What is expected is lm-eval's own affair.
        return Item(
            f"{sub}-{number}",
            request["text"],
            f"{sub} {number}",
            meta={"lm_eval": (sub, number)},
            group=group,
            messages=messages,
            generation=limits,
        )

    def _scored_item(self, request: Mapping[str, Any], group: str) -> Item:
        sub, number, choices, golds = (request[key] for key in ("task", "doc", "choices", "golds"))
        identity = f"{sub}-{number}"
        for text in (text for pair in request["pairs"] for text in pair if not isinstance(text, str)):
            raise DataError(f"{self.name}: item {identity}: lm-eval asks for {text!r:.60}; need a text")
        pairs = [Continuation(context, text) for context, text in request["pairs"]]
        if not pairs:
            raise DataError(f"{self.name}: item {identity} has no choices: check its doc_to_choice")
        if choices and not golds and not self._about_task(sub)["own_results"]:
            raise DataError(
                f"{self.name}: item {identity}: none of its {len(choices)} choices is the right one: check its "
                "doc_to_target and doc_to_choice"
            )
        contexts = dict.fromkeys(pair.context for pair in pairs if pair.context)
        question = "\n".join(contexts)
        return Item(
            identity,
            question if question.strip() else identity,
            " or ".join(choices[gold] for gold in golds) if choices else pairs[0].text,
            meta={"lm_eval": (sub, number), "choices": choices, "golds": golds},
            group=group,
            continuations=pairs,
            guess=self._guess(len(golds), len(choices)),
        )

    def _guess(self, golds: int, choices: int) -> float:
        """The chance of a guess; that a given text is the most likely one is none that guessing has."""
        return golds / choices if choices and self._metric != "exact_match" else 0.0

    def grade_scores(self, scores: Sequence[ContinuationScore], item: Item) -> tuple[Grade, str]:
        """The score that lm-eval gives the log probabilities, and the choices as reports show them."""
        replies = [[score.log_probability, score.is_greedy] for score in scores]
        value = self._score(replies, item)
        choices, golds = item.meta["choices"], item.meta["golds"]
        if not choices and len(scores) == 1:
            said, shown = None, shown_text(scores[0])
        else:
            choices = choices or [pair.text for pair in item.continuations]
            values = compared(self._metric, scores, choices)
            said, shown = choices[picked(values)], shown_choices(values, choices, golds)
        right = value == 1.0
        return Grade(
            Outcome.CORRECT if right else Outcome.WRONG, "" if right else "other", said, value
        ), shown

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
        value = self._score(text, item)
        right = value == 1.0
        return Grade(Outcome.CORRECT if right else Outcome.WRONG, "" if right else "other", text[:200], value)

    def _score(self, reply: str | list[list[float]], item: Item) -> float:
        """lm-eval's score of a reply, 0 to 1. Raises :class:`NotMeasured` if it gives none."""
        sub, number = item.meta["lm_eval"]
        name = self.name.removeprefix(PREFIX).partition(":")[0]
        answer = self.process.ask({"score": [name, sub, number, reply]}, _SCORE_S)
        if "error" in answer:
            raise NotMeasured(f"{self.name}: lm-eval can't score the reply to {item.id}: {answer['why']}")
        value: float | None = answer["scores"].get(self._filter, {}).get(self._metric)
        if value is None or not 0.0 <= value <= 1.0:
            raise NotMeasured(
                f"{self.name}: {self._metric} of the reply to {item.id} is {value}; need a number from 0 to 1: "
                f"choose another metric: {', '.join(answer['scores'].get(self._filter, {}))}"
            )
        return value

    def _about_task(self, sub: str) -> Mapping[str, Any]:
        about: Mapping[str, Any] = self._loaded()["tasks"][sub]
        return about

    def _loaded(self) -> dict[str, Any]:
        if self._found is None:
            self._found = self._load()
        return self._found

    def _load(self) -> dict[str, Any]:
        name, _, scored = self.name.removeprefix(PREFIX).partition(":")
        loaded = self.process.ask({"load": name}, _LOAD_S)
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
        if _is_scored(loaded["tasks"]):
            chosen += ", by log probabilities"
        self._about = f"lm-eval {loaded['version']}, {name} version {versions}, {chosen}"
        return loaded

    def _check(self, name: str, tasks: Mapping[str, Mapping[str, Any]]) -> None:
        ways = {sub: about["output"] == "generate_until" for sub, about in tasks.items()}
        for sub, about in tasks.items():
            if about["refused"]:
                what = sub if sub == name else f"{sub} of {name}"
                raise UsageError(
                    f"{self.name}: {what} {about['refused']}, which is not done here; choose another task"
                )
        if len(set(ways.values())) > 1:
            generated, scored = (next(sub for sub in ways if ways[sub] is way) for way in (True, False))
            raise UsageError(
                f"{self.name}: {generated} asks for replies and {scored} for log probabilities of given texts, which "
                "are not judged together: choose tasks of one kind"
            )

    def _choose(self, scored: str, tasks: Mapping[str, Mapping[str, Any]]) -> None:
        """Metric and filter that all subtasks have: those that the name says, or the first that can be judged."""
        first, *others = tasks.values()
        metric, _, chosen = scored.partition(",")
        unfit = {
            name: why
            for about in tasks.values()
            for key, why in (("of_all_items", _OF_ALL_ITEMS), ("lower_is_better", _LOWER_IS_BETTER))
            for name in about[key]
        }
        for what, wanted, key in (("metric", metric, "metrics"), ("filter", chosen, "filters")):
            common = [name for name in first[key] if all(name in about[key] for about in others)]
            if not common or (wanted and wanted not in common):
                seen = f"no {what} {wanted!r}" if wanted else f"no {what} in common"
                raise UsageError(f"{self.name}: its tasks have {seen}; known: {', '.join(common) or 'none'}")
            fit = [name for name in common if key == "filters" or name not in unfit]
            setattr(self, f"_{what}", wanted or (fit or common)[0])
        if self._metric in unfit:
            raise UsageError(f"{self.name}: {self._metric} {unfit[self._metric]}")


def _is_scored(tasks: Mapping[str, Mapping[str, Any]]) -> bool:
    """True if the tasks, all asked alike, take log probabilities of given texts and no replies."""
    return all(about["output"] != "generate_until" for about in tasks.values())
