"""The questions that a test asks of a model, as estimands over the data of :class:`Measurements`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ParamSpec, TypeVar

from pytest_llmperf.engines.base import Milestones
from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.base import Judge
from pytest_llmperf.gates.mean import MacroF1, MeanScore
from pytest_llmperf.gates.mean_ratio import Perplexity
from pytest_llmperf.gates.outcomes import Outcomes, flips
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.gates.scalar import Scalar
from pytest_llmperf.measure.answers import (
    GradedAnswer,
    by_unit,
    choices,
    endings,
    energy_per_correct,
    mean_scores,
)
from pytest_llmperf.measure.behaviours import Behaviours, behaviours
from pytest_llmperf.measure.book import UNBOOKED, Book, booked
from pytest_llmperf.measure.continuations import needs_replies
from pytest_llmperf.measure.fidelity import Consistency, FidelityQuestions
from pytest_llmperf.measure.load_questions import LoadQuestions, StreamQuestions
from pytest_llmperf.measure.long_answers import Summaries
from pytest_llmperf.measure.long_prompts import LongPrompts, check_length, summaries_of
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.measure.messages import (
    CallQuestions,
    StructuredOutput,
    check_task,
    needing_a_call,
    passing,
    silence,
    triggers,
)
from pytest_llmperf.measure.one_server import refuse_of_guest, refuse_one_model, with_adapters
from pytest_llmperf.measure.sample_list import (
    FlipsOnDemand,
    OutcomesOnDemand,
    S,
    SampleList,
    all_failed,
    outcomes,
)
from pytest_llmperf.measure.served import Served
from pytest_llmperf.prompts.variants import Variant, model_default
from pytest_llmperf.serving.weights import config_of, max_length
from pytest_llmperf.tasks.grading.structured import grade_structured
from pytest_llmperf.tasks.grading.tool_calls import CALL, NO_CALL, grade_tool_calls, needs_call
from pytest_llmperf.tasks.long_context import find_kind
from pytest_llmperf.tasks.structured_output import STRUCTURED_OUTPUT
from pytest_llmperf.tasks.task import guessing, is_scored
from pytest_llmperf.tasks.texts import find_texts
from pytest_llmperf.tasks.tool_calls import TOOL_CALLS

_GROUPED = "the items of {} are in groups, which macro-F1 cannot allow for: use accuracy"
_CHECKED = {
    "valid_json": "valid JSON",
    "valid_schema": "valid by schema",
    "valid_arguments": "valid arguments",
    "exact": "exact",
}
P = ParamSpec("P")
T = TypeVar("T")


class Questions:
    """All questions of one test.

    ``data``: measured, or planned (``measure.planned``). ``judge`` receives every comparison, ``book`` notes every
    question and its errors. ``refuse_speed`` raises if times measured now would mean nothing (several xdist workers on
    one machine).
    """

    def __init__(
        self,
        data: Measurements,
        judge: Judge,
        refuse_speed: Callable[[], None] = lambda: None,
        book: Book = UNBOOKED,
    ) -> None:
        self._data = data
        self._judge = judge
        self.book = book
        self.load = LoadQuestions(data, judge, refuse_speed, book)
        self.stream = StreamQuestions(book)
        self.fidelity = FidelityQuestions(data, judge, book)

    # Answers

    @booked("accuracy")
    def accuracy(self, served: Served, *how: str | Variant, items: int | None = None) -> Share:
        """The share of the task's items that are right, incomplete answers counting as not right.

        ``items``: how many of them may be asked, the first of the run's order; None: the profile's number.
        """
        name, variant = task_and_variant(how)
        task = self._data.task(name)
        answers = self._data.answers(served, task, variant, whole=False)
        count = answers.plan(self._data.item_limit(variant) if items is None else items)

        share = self._share(served, variant.named(f"{task.name} accuracy"), answers, count, by_unit, "item")
        return replace(
            share,
            guess=guessing(task, answers.known),
            ended=lambda n: answers.read(n, endings),
            valueless=self._valueless(),
        )

    @booked("flips")
    def flips(
        self, candidate: Served, baseline: Served, *how: str | Variant, items: int | None = None
    ) -> Share:
        """The share of the task's items that exactly one of the two models answers right, in either direction.

        ``items``: as in :meth:`accuracy`. Samples of one item are paired in their order.
        """
        name, variant = task_and_variant(how)
        task = self._data.task(name)
        ours, theirs = (
            self._data.answers(side, task, variant, whole=False) for side in (candidate, baseline)
        )
        wanted = self._data.item_limit(variant) if items is None else items
        count = min(ours.plan(wanted), theirs.plan(wanted))
        metric = variant.named(f"{task.name} flips")
        judge = self._data.sided(self._judge, candidate)

        def first_error() -> str:
            return ours.first_error() or theirs.first_error()

        if count and not (ours.at_once or theirs.at_once):
            sides = (OutcomesOnDemand(side, count, by_unit, self.book) for side in (ours, theirs))
            return Share(
                metric,
                {},
                growing=FlipsOnDemand(*sides),
                judge=judge,
                first_error=first_error,
                valueless=self._valueless(),
            )

        def paired(own: Sequence[GradedAnswer]) -> Outcomes:
            return flips(by_unit(own), theirs.read(count, by_unit))

        return Share(
            metric,
            ours.read(count, paired),
            judge=judge,
            unusable=ours.why_unusable(count) or theirs.why_unusable(count),
            first_error=first_error,
            valueless=self._valueless(),
        )

    @booked("energy")
    def energy(self, served: Served, *how: str | Variant) -> Scalar:
        """Joules of the device by correct answer, over all answers so far, of at least ``energy_items`` items."""
        name, variant = task_and_variant(how)
        task = self._data.task(name)
        answers = self._data.answers(served, task, variant)
        count = answers.plan(max(answers.items_asked, self._data.sizes.energy_items))

        def found(answers: Sequence[GradedAnswer]) -> tuple[float | None, str]:
            return energy_per_correct(answers, self._data.answering_j(served, task, variant))

        return Scalar(
            variant.named(f"energy per correct {task.name} answer"),
            answers.read(count, lambda answers: found(answers)[0]),
            "J",
            judge=self._data.sided(self._judge, served),
            unusable=answers.why_unusable(count, lambda answers: found(answers)[1]),
        )

    @booked("score")
    def score(self, served: Served, *how: str | Variant) -> MeanScore:
        """The mean score of the answers to a task (``Grade.score``, 0 to 1) over all items of the profile.

        Samples of one item, and items of one group, count as one: with their mean.
        """
        name, variant = task_and_variant(how)
        task = self._data.task(name)
        answers = self._data.answers(served, task, variant)
        count = answers.plan(self._data.item_limit(variant))
        return MeanScore(
            variant.named(f"{task.name} score"),
            answers.read(count, mean_scores),
            guess=guessing(task, answers.known) if is_scored(answers.known) else task.guess or 0.0,
            endings=answers.read(count, endings),
            judge=self._data.sided(self._judge, served),
            unusable=answers.why_unusable(count),
            first_error=answers.first_error,
        )

    @booked("macro_f1")
    def macro_f1(self, served: Served, *how: str | Variant) -> MacroF1:
        """Macro-F1 of a multiple choice over all items of the profile; only the first sample of an item counts.

        INVALID for items in groups: they are no independent sample, and the F1 of a group means nothing.
        """
        name, variant = task_and_variant(how)
        task = self._data.task(name)
        if not task.classes:
            raise UsageError(
                f"macro_f1 needs a multiple-choice task; {task.name!r} defines no classes (medqa does)"
            )
        answers = self._data.answers(served, task, variant)
        count = answers.plan(self._data.item_limit(variant))
        unusable = answers.why_unusable(count)
        if any(item.group for item in answers.known):
            unusable = unusable or _GROUPED.format(task.name)
        return MacroF1(
            variant.named(f"{task.name} macro-F1"),
            answers.read(count, lambda found: choices(found, self._data.items(task))),
            task.classes,
            guess=task.guessing,
            endings=answers.read(count, endings),
            judge=self._data.sided(self._judge, served),
            unusable=unusable,
            first_error=answers.first_error,
        )

    @booked("structured")
    def structured(self, served: Served, *how: str | Variant) -> StructuredOutput:
        """Shares of replies that follow the form that they were asked for, by default of the generated forms."""
        name, variant = task_and_variant(how)
        task = self._data.task(name or STRUCTURED_OUTPUT.name)
        check_task(task, grade_structured, "structured", STRUCTURED_OUTPUT.name)
        answers = self._data.answers(served, task, variant)
        count = answers.plan(self._data.item_limit(variant))

        def share(check: str) -> Share:
            metric = variant.named(f"{task.name} {_CHECKED[check]}")
            found = self._share(served, metric, answers, count, passing(check), "answer")
            return replace(found, ended=lambda n: answers.read(n, endings))

        return StructuredOutput(self._booked("structured", share))

    @booked("tool_calls")
    def tool_calls(self, served: Served, *how: str | Variant) -> CallQuestions:
        """Shares of replies that call the right tools rightly, by default in answer to generated requests."""
        name, variant = task_and_variant(how)
        task = self._data.task(name or TOOL_CALLS.name)
        check_task(task, grade_tool_calls, "tool_calls", TOOL_CALLS.name)
        answers = self._data.answers(served, task, variant)
        count = answers.plan(self._data.item_limit(variant))
        needing = needing_a_call(answers.known)
        silent = silence(served.name, needing)

        def share(check: str) -> Share:
            of, asked = answers, count
            if check == "valid_arguments" and answers.known:
                of = answers.where(needs_call)
                asked = of.plan(sum(item.id in needing for item in answers.known[:count]))
            metric = variant.named(f"{task.name} {_CHECKED[check]}")
            found = self._share(served, metric, of, asked, passing(check, silent), "answer")
            return replace(found, ended=lambda n: of.read(n, endings))

        def trigger_f1() -> MacroF1:
            unusable = answers.why_unusable(count, lambda found: all_failed(found) or silent(found))
            if any(item.group for item in answers.known):
                unusable = unusable or _GROUPED.format(task.name)
            return MacroF1(
                variant.named(f"{task.name} trigger F1"),
                answers.read(count, lambda found: triggers(found, needing)),
                (CALL, NO_CALL),
                guess=0.5,
                endings=answers.read(count, endings),
                judge=self._data.sided(self._judge, served),
                unusable=unusable,
                first_error=answers.first_error,
            )

        return CallQuestions(self._booked("tool_calls", share), self._booked("tool_calls", trigger_f1))

    @booked("answers")
    def behaviour(self, served: Served, *how: str | Variant) -> Behaviours:
        """Shares of a task's answers that misbehave, by kind, and the cost of a correct one."""
        name, variant = task_and_variant(how)
        task = self._data.task(name)
        answers = self._data.answers(served, task, variant)
        needs_replies(task, answers.known, "answers")
        count = answers.plan(self._data.item_limit(variant))

        def share(metric: str, of: Callable[[Sequence[GradedAnswer]], Outcomes]) -> Share:
            return self._share(served, metric, answers, count, of, "answer")

        full = self._data.settings.full
        cost_items = count if full else min(count, self._data.sizes.cost_items)
        judge = self._data.sided(self._judge, served)
        found = behaviours(answers, variant.named, task.name, served.rules.thinking, cost_items, share, judge)
        return replace(
            found,
            costs=self._booked("answers", found.costs),
            lengths=self._booked("answers", found.lengths),
        )

    def _valueless(self) -> str:
        """Why a share over the items has no value in this run; empty if it has."""
        shard = self._data.items_of_shard()
        return (
            f"only part {shard} of the items is asked here, `pytest-llmperf merge` joins them"
            if shard
            else ""
        )

    def _share(
        self,
        served: Served,
        metric: str,
        samples: SampleList[Any, S],
        count: int,
        of: Callable[[Sequence[S]], Outcomes],
        noun: str,
    ) -> Share:
        """A share over the first ``count`` items: measured as far as its gates need it, or at once."""
        judge = self._data.sided(self._judge, served)
        if count and not samples.at_once:
            growing = OutcomesOnDemand(samples, count, of, self.book)
            return Share(
                metric,
                {},
                noun=noun,
                growing=growing,
                judge=judge,
                first_error=samples.first_error,
                available=len(samples.items),
            )
        unusable = samples.why_unusable(count)
        return Share(
            metric,
            samples.read(count, of),
            noun=noun,
            judge=judge,
            unusable=unusable,
            first_error=samples.first_error,
            available=len(samples.items),
        )

    def _booked(self, what: str, question: Callable[P, T]) -> Callable[P, T]:
        """``question``, which is asked later and maybe outside of a comparison, with its errors noted then."""

        def ask(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.book.asking(what):
                return question(*args, **kwargs)

        return ask

    @booked("perplexity")
    def perplexity(self, served: Served, texts: str | None = None) -> Perplexity:
        """Perplexity of the model over the texts of the profile, or of that name: ``c4``, ``embedded``."""
        refuse_one_model(served.model, self._data.rows, "perplexity")
        wanted = find_texts(texts or ("c4" if self._data.settings.profile.needs_cuda else "embedded"))
        documents, unusable = self._data.documents(served, wanted)
        judge = self._data.sided(self._judge, served)
        return Perplexity(
            f"{wanted.name} perplexity",
            documents,
            judge=judge,
            unusable=unusable,
            first_error=partial(self._data.document_error, served, wanted),
        )

    @booked("consistency")
    def consistency(self, served: Served, task: str | None = None) -> Consistency:
        """Agreement of the server with itself on the same tokens: alone or in a batch, decoded or read as a prompt."""
        return Consistency(self._data, self._judge, self.book, served, self._data.task(task))

    @booked("summaries")
    def summaries(self, served: Served, texts: str | None = None) -> Summaries:
        """Summaries of generated reports, or of the articles ``texts`` (``cnn_dailymail``): 512 tokens with the
        prompt."""
        prompts = summaries_of(texts)
        replies = self._data.long_answers(served, prompts)

        def share(metric: str, of: Callable[[Sequence[Any]], Outcomes], noun: str) -> Share:
            return self._share(served, metric, replies, replies.plan(len(replies.items)), of, noun)

        found = Summaries.of(prompts, replies, share, self._data.sided(self._judge, served))
        return replace(
            found,
            facts=self._booked("summaries", found.facts),
            scores=self._booked("summaries", found.scores),
        )

    @booked("recall")
    def recall(
        self, served: Served, kind: str = "conversation", *, tokens: int, items: int | None = None
    ) -> Share:
        """The share of facts in prompts of ``tokens`` tokens that are given back, clustered by prompt.

        ``kind``: ``conversation``, ``needle``, ``needles``, ``variables`` or ``words`` (``tasks.long_context``).
        ``items``: how many prompts may be asked; None: the profile's number. Raises :class:`UsageError` for a length
        that the row's context has no room for.
        """
        found = find_kind(kind)
        own = None if served.model.max_model_len else max_length(config_of(served.model))
        check_length(served.model, found, tokens, own)
        replies = self._data.long_answers(served, LongPrompts(tokens, kind=found))
        of = f" of {found.what}" if found.what else ""
        return self._share(
            served,
            f"recall{of} over {tokens} tokens",
            replies,
            replies.plan(self._data.sizes.quality_items if items is None else items),
            lambda replies: outcomes(
                replies, lambda reply: reply.facts if len(reply.facts) > 1 else reply.facts[0]
            ),
            found.noun,
        )

    # The server itself

    @booked("startup", gated=False)
    def startup(self, served: Served) -> Startup:
        """Time to ready of the row's server, and the milestones of its start; INVALID for a row without a start."""
        refuse_of_guest(served, "the time to ready", self._data.rows)
        ready_s, milestones = self._data.startup(served)
        ready = Scalar(
            f"time to ready{with_adapters(served)}", ready_s, "s", judge=self._data.sided(self._judge, served)
        )
        return Startup(self._booked("startup", lambda: ready), milestones)

    @booked("memory")
    def memory(self, served: Served) -> Memory:
        """Peak of memory and size of the weights of the row's server; INVALID for a row without one of its own."""
        refuse_of_guest(served, "the peak of memory", self._data.rows)
        kind, peak, weights = self._data.memory_use(served)
        judge = self._data.sided(self._judge, served)
        return Memory(
            Scalar(f"peak {kind}{with_adapters(served)}", peak, "bytes", judge=judge),
            Scalar("size of the weights", weights, "bytes", judge=judge),
        )


@dataclass(frozen=True)
class Startup:
    time_to_ready: Callable[[], Scalar] = field(repr=False)
    milestones: Milestones
    """From the engine's log; a test may check it by plain assertions."""

    @property
    def ready(self) -> Scalar:
        """Start of the process → ready, seconds."""
        return self.time_to_ready()


@dataclass(frozen=True)
class Memory:
    peak: Scalar
    """Peak over all processes of the server together: device memory where there is a GPU, else resident memory."""
    weights: Scalar
    """Size of the weight files."""


def task_and_variant(how: Sequence[str | Variant]) -> tuple[str | None, Variant]:
    """``("gsm8k", rules.chinese)`` in either order, each at most once."""
    task: str | None = None
    variant = model_default
    for given in how:
        if isinstance(given, str):
            task = given
        else:
            variant = given
    return task, variant
