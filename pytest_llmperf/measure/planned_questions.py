"""The questions of a test while the run is planned: estimands of the right kind and size, and no data in them.

Nothing here starts a server, sends a request or fetches a data set; what only a server could tell raises
:class:`NeedsServer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast, overload

from pytest_llmperf.catalog import Model
from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import NeedsServer
from pytest_llmperf.gates.estimand import (
    Bracketed,
    Judge,
    MacroF1,
    MeanScore,
    Perplexity,
    Ratio,
    Scalar,
    Series,
    Share,
)
from pytest_llmperf.gates.macro_f1 import Choices
from pytest_llmperf.gates.mean_score import Scores
from pytest_llmperf.gates.outcomes import Outcome, Outcomes
from pytest_llmperf.gates.perplexity import Documents
from pytest_llmperf.measure.choices import multiple_choice
from pytest_llmperf.measure.energy import LEAST_ITEMS
from pytest_llmperf.measure.loaded import Loaded, Pair, Paired
from pytest_llmperf.measure.long_prompts import LongPrompts, summaries_of
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.measure.questions import (
    Asker,
    Behaviours,
    Memory,
    Startup,
    task_and_variant,
)
from pytest_llmperf.measure.scheduled import Swept
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.starts import rounds_of_each
from pytest_llmperf.measure.summing_up import Summaries, metric_of
from pytest_llmperf.record.earlier import Phase, PhaseKind
from pytest_llmperf.rules.messages import Variant
from pytest_llmperf.serving.milestones import Milestones
from pytest_llmperf.tasks.task import Task

T = TypeVar("T")


class PlannedMeasurements(Measurements):
    """Sizes and rows of the run; refuses to start anything."""

    def served(self, model: Model) -> Served:
        served = super().served(model)
        served.refuse(NeedsServer(f"{model.name}: the run is planned only, no server is started"))
        return served


class Phases:
    """What the run would spend its time on, each once, in the order in which it was first asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Phase] = {}

    def add(self, kind: PhaseKind, served: Served, key: tuple[str | int, ...] = (), amount: int = 1) -> None:
        """Of what is asked twice the larger amount; the server has to be started for it."""
        for phase in (Phase("starts", served.name), Phase(kind, served.name, key, amount)):
            at = (phase.kind, phase.row, phase.key)
            known = self._known.setdefault(at, phase)
            self._known[at] = replace(known, amount=max(known.amount, phase.amount))

    def __iter__(self) -> Iterator[Phase]:
        return iter(self._known.values())


class PlanAsker(Asker):
    """All questions of one test, answered with what would be measured."""

    def __init__(self, measurements: Measurements, judge: Judge, phases: Phases) -> None:
        super().__init__(measurements, judge, lambda: None)
        self._phases = phases

    # Answers

    def accuracy(self, served: Served, *how: str | Variant, items: int | None = None) -> Share:
        task, variant = self._asked(how)
        count = self._count(served, task, variant, items)
        return self._planned_share(variant.named(f"{task.name} accuracy"), count, "item")

    def energy(self, served: Served, *how: str | Variant) -> Scalar:
        task, variant = self._asked(how)
        self._count(served, task, variant, LEAST_ITEMS)
        return self._once(variant.named(f"energy per correct {task.name} answer"), "J")

    def behaviour(self, served: Served, *how: str | Variant) -> Behaviours:
        task, variant = self._asked(how)
        count = self._count(served, task, variant, None)

        def share(name: str) -> Share:
            return self._planned_share(variant.named(name), count, "answer")

        return Behaviours(
            boxed=share("boxed answers"),
            thinking_skipped=share("skipped thinking"),
            unfinished=share("unfinished answers"),
            loops=share("endless loops"),
            language_switches=share("switched languages"),
        )

    def macro_f1(self, served: Served, *how: str | Variant) -> MacroF1:
        task, variant = self._asked(how)
        count = self._count(served, multiple_choice(task), variant, None)
        choices = cast(Choices, _NoOutcomes(count))
        return MacroF1(variant.named(f"{task.name} macro-F1"), choices, task.classes, judge=self.judge)

    def perplexity(self, served: Served, texts: str | None = None) -> Perplexity:
        wanted = self._measurements.likelihoods.texts(texts)
        count = self._measurements.sizes.documents
        self._phases.add("texts", served, (wanted.name,), count)
        documents = cast(Documents, _NoOutcomes(count))
        return Perplexity(f"{wanted.name} perplexity", documents, judge=self.judge)

    def summaries(self, served: Served, texts: str | None = None) -> Summaries:
        prompts = summaries_of(texts)
        return Summaries(
            prompts,
            self._long(served, metric_of(prompts, "unfinished", "summaries"), "report", prompts),
            lambda: self._long(served, "key facts kept in summaries", "report", prompts),
            lambda metric: MeanScore(
                metric, cast(Scores, _NoOutcomes(self._measurements.sizes.quality_items)), judge=self.judge
            ),
        )

    def recall(self, served: Served, *, tokens: int) -> Share:
        prompts = LongPrompts(tokens=tokens)
        return self._long(served, f"recall over {tokens} tokens", "conversation", prompts)

    def _asked(self, how: Sequence[str | Variant]) -> tuple[Task, Variant]:
        name, variant = task_and_variant(how)
        return self._measurements.task(name), variant

    def _count(self, served: Served, task: Task, variant: Variant, items: int | None) -> int:
        """How many items may be asked: as many as the profile says, and there are."""
        count = self._measurements.planned(variant) if items is None else items
        hub = getattr(task.source, "hub", None)
        if hub is not None and self._measurements.settings.data_dir is None:
            # Not worth a download; a data set that is pinned says how many it has.
            there = hub.count if hub.count is not None else count
        else:
            there = len(self._measurements.items(task))
        count = min(count, there)
        answers = count * self._measurements.samples(served, variant)
        self._phases.add("answers", served, (task.name, variant.name), answers)
        return count

    def _planned_share(self, metric: str, count: int, noun: str) -> Share:
        if count and not self._measurements.settings.full:
            return Share(metric, {}, noun=noun, growing=_Later(count), judge=self.judge)
        return Share(metric, _NoOutcomes(count), noun=noun, judge=self.judge)

    def _long(self, served: Served, metric: str, noun: str, prompts: LongPrompts) -> Share:
        count = self._measurements.sizes.quality_items
        self._phases.add("long answers", served, prompts.key, count)
        return self._planned_share(metric, count, noun)

    # The server itself

    def startup(self, served: Served) -> Startup:
        self._phases.add("starts", served)
        return Startup(self._once("time to ready", "s"), cast(Milestones, _Unknown()))

    def memory(self, served: Served) -> Memory:
        self._phases.add("starts", served)
        kind = "device memory" if served.model.gpus else "resident memory"
        return Memory(self._once(f"peak {kind}", "bytes"), self._once("size of the weights", "bytes"))

    def _once(self, metric: str, unit: str) -> Scalar:
        return Scalar(metric, cast(float, _Unknown()), unit, judge=self.judge)

    # Speed

    def _rounds(self, served: Served, concurrency: int) -> int:
        starts = self._measurements.settings.starts
        rounds = starts * rounds_of_each(self._measurements.sizes.rounds, starts)
        self._phases.add("load", served, (concurrency,), rounds)
        return rounds

    class Load(Asker.Load):
        """Timed requests that are not sent."""

        _asker: PlanAsker

        def __call__(self, served: Served, *, concurrency: int) -> Loaded:
            asker, measurements = self._asker, self._asker._measurements
            rounds = asker._rounds(served, concurrency)
            if measurements.will_need_baseline:
                asker._rounds(measurements.served(measurements.settings.baseline), concurrency)
            requests = measurements.sizes.requests_per_round(concurrency)
            groups = [number for number in range(rounds) for _ in range(requests)]

            def series(name: str) -> Series:
                samples = _NoSamples[float | None](len(groups))
                return Series(f"{name} at {concurrency}", samples, "s", groups=groups, judge=asker.judge)

            def by_round(name: str, unit: str) -> Series:
                samples = _NoSamples[float | None](rounds)
                return Series(f"{name} at {concurrency}", samples, unit, noun="round", judge=asker.judge)

            return Loaded(
                ttft=series("TTFT"),
                ttfat=series("TTFAT"),
                itl=series("ITL"),
                tpot=series("TPOT"),
                stall=series("stall"),
                e2el=series("E2EL"),
                schedule_delay=series("schedule delay"),
                throughput=by_round("throughput", "tok/s"),
                energy=by_round("energy per token", "J/tok"),
                roofline=by_round("share of the device's limit", "share"),
            )

        def interleaved(self, candidate: Served, baseline: Served, *, concurrency: int) -> Pair:
            asker = self._asker
            asker._rounds(baseline, concurrency)
            rounds = asker._rounds(candidate, concurrency)

            starts = asker._measurements.settings.starts

            def paired(name: str, unit: str = "s") -> Paired:
                values = [_NoSamples[tuple[float | None, float | None]](rounds // starts)] * starts
                return Paired(Ratio(f"{name} at {concurrency}", values, unit, judge=asker.judge))

            return Pair(
                ttft=paired("TTFT"),
                itl=paired("ITL"),
                tpot=paired("TPOT"),
                e2el=paired("E2EL"),
                throughput=paired("throughput", "tok/s"),
            )

        def open_loop(self, served: Served, **how: Any) -> Loaded:
            del how
            _needs_server(f"an open loop on {served.name}")

        def replay(self, served: Served, path: str | Path, **how: Any) -> Loaded:
            del how
            _needs_server(f"the replay of {path} on {served.name}")

        def sweep(self, served: Served, **how: Any) -> Swept:
            del how
            _needs_server(f"a sweep of {served.name}")

        def goodput(self, served: Served, **how: Any) -> Share:
            del how
            _needs_server(f"the goodput of {served.name}")

        def max_rate(self, served: Served, **how: Any) -> Bracketed:
            del how
            _needs_server(f"the highest rate of {served.name}")

    class Stream(Asker.Stream):
        """Single requests that are not sent."""

        def together(self, served: Served, questions: Sequence[str], **fields: Any) -> list[Trace]:
            del questions, fields
            _needs_server(f"a stream of {served.name}")


def _needs_server(what: str) -> NoReturn:
    raise NeedsServer(f"{what} is known once a server has answered; the run is planned only")


@dataclass(frozen=True)
class _Later:
    """Outcomes that may be asked for, see ``gates.share.Growing``."""

    planned: int

    def first(self, n: int) -> Outcomes:
        _needs_server(f"the outcome of {n} items")


class _NoOutcomes(Mapping[str, Outcome | Sequence[Outcome]]):
    """As many outcomes as will be there."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, key: str) -> NoReturn:
        _needs_server(f"the outcome of {key}")

    def __iter__(self) -> NoReturn:
        _needs_server("an outcome")


class _NoSamples(Sequence[T]):
    """As many samples as will be there."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> NoReturn:
        _needs_server(f"sample {index}")


class _Unknown:
    """A value, or a log, that is not there yet: every use of it says so."""

    def __getattr__(self, name: str) -> NoReturn:
        _needs_server(name)

    def _refuse(self, *_: object) -> NoReturn:
        _needs_server("a measured value")

    __lt__ = __le__ = __gt__ = __ge__ = __float__ = __bool__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __format__ = __str__ = _refuse
