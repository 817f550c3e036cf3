"""Gates on whole messages: replies that follow their schema, and calls of tools."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.errors import NotMeasured, UsageError
from pytest_llmperf.gates.mean import Choices, MacroF1
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.measure.answers import GradedAnswer, by_unit
from pytest_llmperf.tasks.grading import Outcome
from pytest_llmperf.tasks.grading.tool_calls import CALL, NO_CALL, needs_call
from pytest_llmperf.tasks.task import Item, MessageGrader, Task, is_graded_by

FEWEST_SILENT = 10
"""From this many replies without a single call on, the server is taken to ignore tools."""

MakeShare = Callable[[str], Share]


@dataclass(frozen=True)
class StructuredOutput:
    """Shares of the replies to a task whose items have a ``response_format``."""

    make: MakeShare = field(repr=False)

    @property
    def valid_json(self) -> Share:
        """Replies that are one JSON value and nothing else, whatever it says."""
        return self.make("valid_json")

    @property
    def valid_schema(self) -> Share:
        """Replies that follow the schema of their item, formats included. Replies cut off by a limit do not."""
        return self.make("valid_schema")

    @property
    def exact(self) -> Share:
        """Replies that follow the schema and equal the expected answer."""
        return self.make("exact")


@dataclass(frozen=True)
class CallQuestions:
    """Shares of the replies to a task whose items offer tools."""

    make: MakeShare = field(repr=False)
    make_f1: Callable[[], MacroF1] = field(repr=False)

    @property
    def valid_arguments(self) -> Share:
        """Of the items that need a call: replies that call, and whose calls all follow their tools' schemas.

        Items and not calls are counted: a model that calls less often is not judged on fewer, easier calls, and no call
        at all is 0 %.
        """
        return self.make("valid_arguments")

    @property
    def exact(self) -> Share:
        """Replies with exactly the expected calls: right tools, right arguments, none where none is needed."""
        return self.make("exact")

    @property
    def trigger_f1(self) -> MacroF1:
        """Macro-F1 of "calls a tool" and "calls none"; a malformed call is right for neither."""
        return self.make_f1()


def check_task(task: Task, grader: MessageGrader, question: str, example: str) -> None:
    """Raises :class:`UsageError` for a task that ``question`` cannot judge."""
    if not is_graded_by(task, grader):
        raise UsageError(
            f"{question} judges tasks of its own message_grader only; {task.name!r} has another grader, "
            f"{example!r} has that one"
        )


def needing_a_call(items: Sequence[Item]) -> frozenset[str]:
    """Ids of the items that a right reply answers by a call."""
    return frozenset(item.id for item in items if needs_call(item))


def passing(
    check: str, silent: Callable[[Sequence[GradedAnswer]], str] = lambda _: ""
) -> Callable[[Sequence[GradedAnswer]], Outcomes]:
    """By unit of sampling, whether each answer passed ``check``; :class:`NotMeasured` where ``silent`` says why not."""

    def outcomes(answers: Sequence[GradedAnswer]) -> Outcomes:
        if why := silent(answers):
            raise NotMeasured(why)
        return by_unit(answers, lambda answer: answer.grade.checks[check])

    return outcomes


def silence(row: str, needing: Collection[str]) -> Callable[[Sequence[GradedAnswer]], str]:
    """Why replies must not be judged as those of a model that has tools; empty if any of them calls one."""

    def why(answers: Sequence[GradedAnswer]) -> str:
        asked = [answer for answer in answers if answer.usable and answer.item in needing]
        if len(asked) < FEWEST_SILENT or any(answer.answer.tool_calls for answer in asked):
            return ""
        unparsed = sum(answer.grade.checks["malformed"] for answer in asked)
        text = (
            f"; {unparsed} of them have a call in their text that the server did not parse"
            if unparsed
            else ""
        )
        return (
            f"{row}: not one of {len(asked)} replies that need a tool call makes one{text}: the server "
            "ignores tools, or the model has none; vLLM needs --enable-auto-tool-choice and --tool-call-parser"
        )

    return why


def triggers(answers: Sequence[GradedAnswer], needing: Collection[str]) -> Choices:
    """By item whether a call is needed and whether one was made, as classes; only the first sample counts."""
    return {
        answer.item: (CALL if answer.item in needing else NO_CALL, _said(answer)) if answer.usable else None
        for answer in answers
        if answer.sample == 0
    }


def _said(answer: GradedAnswer) -> str | None:
    """The class that a reply chose; None for a malformed call, and for a reply that did not come to its end."""
    checks = answer.grade.checks
    if checks["malformed"] or answer.grade.outcome is Outcome.INCOMPLETE:
        return None
    return CALL if checks["called"] else NO_CALL
