"""What a test asks of a model, as estimands: numbers from the run's measurements, verdicts to the test's judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.engines.base import Milestones
from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.gates.base import SidedJudge, side_of
from pytest_llmperf.gates.estimand import (
    Bracketed,
    Judge,
    MacroF1,
    Perplexity,
    Scalar,
    Share,
)
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.proportion import Growing
from pytest_llmperf.load.goodput import Slo
from pytest_llmperf.load.prompt_set import PromptSet, read_prompts
from pytest_llmperf.load.replay import Unit
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.run import Run
from pytest_llmperf.measure import scheduled, streaming
from pytest_llmperf.measure.asking import Answers
from pytest_llmperf.measure.behaving import Behaviours, behaviours
from pytest_llmperf.measure.book import UNBOOKED, Book, booked
from pytest_llmperf.measure.choices import choices, multiple_choice
from pytest_llmperf.measure.collecting import Collection, GrowingOutcomes
from pytest_llmperf.measure.energy import energy_per_correct
from pytest_llmperf.measure.loaded import Loaded, Pair
from pytest_llmperf.measure.long_answers import GrowingLong, recalled
from pytest_llmperf.measure.long_prompts import LongPrompts, summaries_of
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.summing_up import Summaries
from pytest_llmperf.rules.messages import Variant, as_promised, ask

P = ParamSpec("P")
T = TypeVar("T")


class Asker:
    """All questions of one test.

    ``judge`` receives every comparison, ``book`` notes every question and its errors. ``refuse_speed`` raises if times
    measured now would mean nothing (several xdist workers on one machine).
    """

    def __init__(
        self,
        measurements: Measurements,
        judge: Judge,
        refuse_speed: Callable[[], None],
        book: Book = UNBOOKED,
    ) -> None:
        self._measurements = measurements
        self.judge = judge
        self.book = book
        self.load = self.Load(self, refuse_speed)
        self.stream = self.Stream(self)

    def judge_of(self, served: Served) -> Judge:
        """The judge of what is measured of ``served``; it knows the side of a comparison that this model stands on."""
        settings = self._measurements.settings
        candidate = served.name in {model.name for model in settings.candidates}
        if candidate == (served.name == settings.baseline.name):
            return self.judge  # A model that is compared with itself is on both sides.
        return SidedJudge(self.judge, "candidate" if candidate else "baseline")

    # Answers

    @booked("accuracy")
    def accuracy(self, served: Served, *how: str | Variant, items: int | None = None) -> Share:
        """The share of the task's items that are right, incomplete answers counting as not right.

        ``items``: how many of them may be asked, the first of the run's order; None: what the profile asks for.
        """
        task, variant = task_and_variant(how)
        asked = self._measurements.task(task)
        collection = self._measurements.collection(served, asked, variant)
        metric = variant.named(f"{collection.task} accuracy")
        planned = self._measurements.planned(variant) if items is None else items
        judge = self.judge_of(served)
        share = self._share(judge, metric, collection, planned, lambda answers: answers.correct(), "item")
        return replace(share, guess=asked.guessing, ended=lambda n: collection.first(n).endings())

    @booked("energy")
    def energy(self, served: Served, *how: str | Variant) -> Scalar:
        """Joules of the device by right answer, over the answers that are there: at least ``energy_items`` of them."""
        name, variant = task_and_variant(how)
        task = self._measurements.task(name)
        collection = self._measurements.collection(served, task, variant)
        answers = collection.first(max(collection.items_asked, self._measurements.sizes.energy_items))
        energy_j = self._measurements.answering_j(served, task, variant)
        metric = variant.named(f"energy per correct {task.name} answer")
        return energy_per_correct(self.judge_of(served), metric, answers.asked, energy_j)

    @booked("macro_f1")
    def macro_f1(self, served: Served, *how: str | Variant) -> MacroF1:
        """Of a multiple choice, over all items that the profile asks for; of several samples the first counts."""
        name, variant = task_and_variant(how)
        task = multiple_choice(self._measurements.task(name))
        collection = self._measurements.collection(served, task, variant)
        answers = collection.first(collection.plan(self._measurements.planned(variant)))
        metric, found = (
            variant.named(f"{task.name} macro-F1"),
            choices(answers, self._measurements.items(task)),
        )
        return MacroF1(
            metric,
            found,
            task.classes,
            guess=task.guessing,
            endings=answers.endings(),
            judge=self.judge_of(served),
            unusable=answers.unusable,
        )

    @booked("answers")
    def behaviour(self, served: Served, *how: str | Variant) -> Behaviours:
        """How the answers to a task behave, as shares of them, and what a right one costs."""
        task, variant = task_and_variant(how)
        collection = self._measurements.collection(served, self._measurements.task(task), variant)
        planned = self._measurements.planned(variant)
        judge = self.judge_of(served)

        def share(metric: str, outcomes: Callable[[Answers], Outcomes]) -> Share:
            return self._share(judge, metric, collection, planned, outcomes, "answer")

        full = self._measurements.settings.full
        cost_items = planned if full else self._measurements.sizes.cost_items
        found = behaviours(collection, variant, planned, cost_items, share, judge)
        return replace(found, costs=self._booked("answers", found.costs))

    def _booked(self, what: str, question: Callable[P, T]) -> Callable[P, T]:
        """``question``, which is asked later and maybe outside of a comparison, with its errors noted then."""

        def ask(*args: P.args, **kwargs: P.kwargs) -> T:
            with self.book.asking(what):
                return question(*args, **kwargs)

        return ask

    def _share(
        self,
        judge: Judge,
        metric: str,
        collection: Collection,
        count: int,
        outcomes: Callable[[Answers], Outcomes],
        noun: str,
    ) -> Share:
        """A share over answers: measured as far as its gates need it, or whole where the run says so."""
        planned = collection.plan(count)
        early = not collection.part.again and not self._measurements.settings.full
        growing = Booked(self.book, GrowingOutcomes(collection, planned, outcomes))
        if planned and early:
            return Share(metric, {}, noun=noun, growing=growing, judge=judge)
        answers = collection.first(planned)
        return Share(metric, outcomes(answers), noun=noun, judge=judge, unusable=answers.unusable)

    @booked("perplexity")
    def perplexity(self, served: Served, texts: str | None = None) -> Perplexity:
        """Of the model over the texts of the profile, or of that name: ``c4``, ``embedded``."""
        likelihoods = self._measurements.likelihoods
        wanted = likelihoods.texts(texts)
        documents, unusable = likelihoods.scored(served, wanted)
        return Perplexity(
            f"{wanted.name} perplexity", documents, judge=self.judge_of(served), unusable=unusable
        )

    @booked("summaries")
    def summaries(self, served: Served, texts: str | None = None) -> Summaries:
        """Of generated reports, or of the articles ``texts`` (``cnn_dailymail``): 512 tokens with the prompt."""
        prompts = summaries_of(texts)
        replies = self._measurements.long_answers(served, prompts)
        judge = self.judge_of(served)

        def share(metric: str, growing: GrowingLong, noun: str) -> Share:
            return self._long_share(judge, metric, growing, noun)

        found = Summaries.of(served.model, prompts, replies, share, judge)
        return replace(
            found,
            facts=self._booked("summaries", found.facts),
            scores=self._booked("summaries", found.scores),
        )

    @booked("recall")
    def recall(self, served: Served, *, tokens: int) -> Share:
        """The share of conversations of about ``tokens`` tokens whose early fact is given back at the end."""
        replies = self._measurements.long_answers(served, LongPrompts(tokens=tokens))
        return self._long_share(
            self.judge_of(served),
            f"recall over {tokens} tokens",
            recalled(served.model, replies),
            "conversation",
        )

    def _long_share(self, judge: Judge, metric: str, growing: GrowingLong, noun: str) -> Share:
        """As :meth:`_share`, of long replies."""
        if not self._measurements.settings.full:
            booked_growing = Booked(self.book, growing)
            return Share(metric, {}, noun=noun, growing=booked_growing, judge=judge)
        return Share(metric, growing.first(growing.planned), noun=noun, judge=judge)

    # The server itself

    @booked("startup", gated=False)
    def startup(self, served: Served) -> Startup:
        server = served.server
        served.refuse_if_restarted("the time to ready")
        seen = served.milestones() or Milestones()
        ready = Scalar("time to ready", server.ready_s, "s", judge=self.judge_of(served))
        return Startup(self._booked("startup", lambda: ready), seen)

    @booked("memory")
    def memory(self, served: Served) -> Memory:
        use = self._measurements.memory(served).use()
        peak = None if use.peak is None else float(use.peak)
        size = served.weights_bytes()
        return Memory(
            Scalar(f"peak {use.kind}", peak, "bytes", judge=self.judge_of(served)),
            Scalar(
                "size of the weights",
                None if size is None else float(size),
                "bytes",
                judge=self.judge_of(served),
            ),
        )

    # Speed

    class Load:
        """Timed requests: ``load(model, concurrency=8)``, ``load.interleaved(a, b, concurrency=8)``."""

        def __init__(self, asker: Asker, refuse: Callable[[], None]) -> None:
            self._asker, self._refuse = asker, refuse
            self.book = asker.book

        @booked("load")
        def __call__(
            self,
            served: Served,
            *,
            concurrency: int,
            prompt_tokens: int | None = None,
            answer_tokens: int | None = None,
            rounds: int | None = None,
        ) -> Loaded:
            """Metrics of one model. Taken from the rounds of the comparison if this run compares anyway.

            ``prompt_tokens``, ``answer_tokens``, ``rounds``: in place of the profile's sizes."""
            self._refuse()
            measurements = self._asker._measurements
            sizes = measurements.sizes
            shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, rounds=rounds)
            speed = measurements.speed
            runs: Sequence[Run]
            metrics: Sequence[Metrics]
            baseline = (
                measurements.served(measurements.settings.baseline)
                if measurements.will_need_baseline
                else None
            )
            if baseline is not None and served is not baseline:
                starts = speed.rounds(served, baseline, concurrency, shape)
                runs = [run for start in starts for run in start.candidate_runs]
                metrics = [one for start in starts for one in start.candidate]
            else:
                runs, metrics = speed.alone(served, concurrency, shape)
            error = speed.clock_error(runs, metrics)
            device = speed.on_device(served, concurrency, runs, metrics)
            suffix = shape.suffix(sizes)
            return Loaded.of(self._asker.judge, concurrency, runs, metrics, error, device, suffix)

        @booked("load")
        def interleaved(
            self,
            candidate: Served,
            baseline: Served,
            *,
            concurrency: int,
            prompt_tokens: int | None = None,
            answer_tokens: int | None = None,
            rounds: int | None = None,
        ) -> Pair:
            """Both models in turn, in short rounds, on the same machine in the same minutes; what is sent, and how many
            rounds there are, as in ``load(…)``.

            Raises :class:`NotMeasured` for the baseline in the candidate's place.
            """
            refuse_swapped(self._asker.judge_of(candidate), self._asker.judge_of(baseline))
            self._refuse()
            sizes = self._asker._measurements.sizes
            shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, rounds=rounds)
            speed = self._asker._measurements.speed
            starts = speed.rounds(candidate, baseline, concurrency, shape)
            sides = (
                [one for start in starts for one in start.candidate],
                [one for start in starts for one in start.baseline],
            )
            runs = [run for start in starts for run in (*start.candidate_runs, *start.baseline_runs)]
            error = speed.clock_error(runs, *sides)
            return Pair.of(self._asker.judge, concurrency, starts, error, shape.suffix(sizes))

        @booked("load")
        def open_loop(
            self,
            served: Served,
            *,
            rate: float,
            requests: int | None = None,
            burstiness: float | None = 1.0,
            seed: int = 0,
            prompts: str | Path | PromptSet | None = None,
            warm_cache: bool = False,
            prompt_tokens: int | None = None,
            answer_tokens: int | None = None,
        ) -> Loaded:
            """Requests at ``rate`` a second, whether or not the ones before are answered: users who do not know of each
            other. ``burstiness`` 1 is Poisson, below 1 they come in bursts, None: evenly.

            ``prompts`` are a file's (JSON lines), a task's (``"gsm8k"``), or of ``load.given``; no cache knows them
            unless ``warm_cache`` is wanted. ``requests``, ``prompt_tokens``, ``answer_tokens``: in place of the
            profile's sizes."""
            self._refuse()
            sizes = self._asker._measurements.sizes
            shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
            schedule = scheduled.arrivals_at(rate, sizes.requests_of(requests), burstiness, seed)
            given = self._given(served, prompts)
            run = self._asker._measurements.speed.scheduled.run
            measured = run(served, schedule, given=given, warm_cache=warm_cache, shape=shape)
            return self._shown(f"{rate:g} requests/s{shape.suffix(sizes)}", measured)

        @booked("load")
        def replay(
            self,
            served: Served,
            path: str | Path,
            *,
            faster: float = 1.0,
            skip: int = 0,
            requests: int | None = None,
            at_most: tuple[int, int] | None = None,
            unit: Unit | None = None,
        ) -> Loaded:
            """A recorded load again (``load.trace_replay`` says which files), ``faster`` times as fast; prompts and
            answers cut to ``at_most`` tokens. ``unit``: of the file's timestamps, ``"s"`` or ``"ms"``, where the
            file does not tell it."""
            self._refuse()
            replay = scheduled.replayed(path, faster, skip, requests, at_most, unit)
            self._asker._measurements.tell(replay.note)
            measured = self._asker._measurements.speed.scheduled.run(served, replay.schedule, replay.shapes)
            return self._shown(replay.schedule.name, measured)

        def _given(self, served: Served, prompts: str | Path | PromptSet | None) -> PromptSet | None:
            """A task's prompts are asked as the row's rules say."""
            if prompts is None or isinstance(prompts, PromptSet):
                return prompts
            measurements = self._asker._measurements
            if str(prompts) not in measurements.tasks:
                return read_prompts(Path(prompts))
            task = measurements.task(str(prompts))
            bodies = [ask(served.model, item.prompt, as_promised).body() for item in measurements.items(task)]
            return PromptSet(task.name, [_prompt_of(body) for body in bodies])

        def _shown(self, at: str, measured: scheduled.Timed) -> Loaded:
            speed = self._asker._measurements.speed
            run = measured.run
            clock = speed.clock_error([run], measured.slices)
            clock = replace(clock, late_s=run.open_loop.own_delay_s if run.open_loop else ())
            measurements = self._asker._measurements
            served = measurements.row(run.server.row)
            device = measurements.speed.on_device(served, run.concurrency, [run], [of_run(run)])
            return Loaded.of(self._asker.judge, at, [run], measured.slices, clock, device)

        @booked("load")
        def sweep(
            self,
            served: Served,
            *,
            concurrency: Sequence[int] = (),
            rate: Sequence[float] = (),
            seconds: float = 30.0,
            prompt_tokens: int | None = None,
            answer_tokens: int | None = None,
        ) -> scheduled.Swept:
            """One level after the other, to the knee: requests in flight (``concurrency``), or requests a second
            (``rate``, for ``seconds`` each)."""
            self._refuse()
            sizes = self._asker._measurements.sizes
            shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
            sweep = self._asker._measurements.speed.scheduled.sweep
            swept = sweep(served, concurrency, rate, seconds, shape)
            return scheduled.Swept.of(self._asker.judge, swept, shape.suffix(sizes))

        @booked("load")
        def goodput(
            self,
            served: Served,
            *,
            slo: Slo,
            rate: float,
            requests: int | None = None,
            seed: int = 0,
            prompt_tokens: int | None = None,
            answer_tokens: int | None = None,
        ) -> Share:
            """The share of the requests at ``rate`` a second (Poisson) that meet the SLO; failed ones do not."""
            self._refuse()
            sizes = self._asker._measurements.sizes
            shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
            schedule = scheduled.arrivals_at(rate, sizes.requests_of(requests), 1.0, seed)
            measured = self._asker._measurements.speed.scheduled.run(served, schedule, shape=shape)
            at = f"{rate:g} requests/s{shape.suffix(sizes)}"
            return scheduled.good_share(self._asker.judge, measured.run, slo, at)

        @booked("load")
        def max_rate(
            self,
            served: Served,
            *,
            slo: Slo,
            lowest: float,
            highest: float,
            share: float = 0.95,
            requests: int | None = None,
            prompt_tokens: int | None = None,
            answer_tokens: int | None = None,
        ) -> Bracketed:
            """The highest rate at which ``share`` of the requests meet the SLO, searched for between two rates."""
            self._refuse()
            sizes = self._asker._measurements.sizes
            shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
            found = self._asker._measurements.speed.scheduled.max_rate(
                served, slo, lowest, highest, share, sizes.requests_of(requests), shape
            )
            return scheduled.bracketed(self._asker.judge, found, shape.suffix(sizes))

    class Stream:
        """Single streamed requests, for tests of how a stream behaves."""

        def __init__(self, asker: Asker) -> None:
            self.book = asker.book

        def __call__(self, served: Served, question: str, **fields: Any) -> Trace:
            return self.together(served, [question], **fields)[0]

        @booked("stream", gated=False)
        def together(self, served: Served, questions: Sequence[str], **fields: Any) -> list[Trace]:
            """All at the same time; ``fields`` override the row's sampling."""
            return streaming.together(served, questions, fields)


@dataclass(frozen=True)
class Booked:
    """Outcomes that are measured when they are asked for, with the errors of that noted in ``book``."""

    book: Book
    growing: Growing

    @property
    def planned(self) -> int:
        return self.growing.planned

    def first(self, n: int) -> Outcomes:
        with self.book.asking("answers"):
            return self.growing.first(n)


@dataclass(frozen=True)
class Startup:
    time_to_ready: Callable[[], Scalar] = field(repr=False)
    milestones: Milestones
    """What the engine's log tells; a test may check it by plain assertions."""

    @property
    def ready(self) -> Scalar:
        """Start of the process → ready, seconds."""
        return self.time_to_ready()


@dataclass(frozen=True)
class Memory:
    peak: Scalar
    """Of all processes of the server: device memory where there is a GPU, else resident memory."""
    weights: Scalar
    """Size of the weight files."""


def _prompt_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a body asks, without how: a load has its own lengths and sampling."""
    return {name: body[name] for name in ("messages", "prompt") if name in body}


def refuse_swapped(candidate: Judge, baseline: Judge) -> None:
    """Raise :class:`NotMeasured` where the judges are of sides that have changed places."""
    if (side_of(candidate), side_of(baseline)) in {("baseline", "candidate"), ("baseline", "")}:
        raise NotMeasured(
            "load.interleaved was given the baseline in the candidate's place, so that every ratio would be upside "
            "down: write load.interleaved(candidate, baseline, …)"
        )


def task_and_variant(how: Sequence[str | Variant]) -> tuple[str | None, Variant]:
    """``("gsm8k", rules.chinese)`` in either order, each at most once."""
    task: str | None = None
    variant = as_promised
    for one in how:
        if isinstance(one, str):
            task = one
        else:
            variant = one
    return task, variant
