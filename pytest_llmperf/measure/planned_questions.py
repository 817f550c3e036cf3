"""The questions of a test while the run is planned: estimands of the right kind and size, and no data in them.

Nothing here starts a server, sends a request or fetches a data set; what only a server could tell raises
:class:`NeedsServer`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.config.models import Model
from pytest_llmperf.config.sizes import LoadShape
from pytest_llmperf.engines.base import Milestones
from pytest_llmperf.errors import NeedsServer, UsageError
from pytest_llmperf.gates.estimand import (
    Bracketed,
    Judge,
    MacroF1,
    MeanScore,
    PerCorrect,
    Perplexity,
    Ratio,
    Scalar,
    Series,
    Share,
)
from pytest_llmperf.gates.mean import Choices, Scores
from pytest_llmperf.gates.mean_ratio import Costs, Documents
from pytest_llmperf.load.arrivals import Schedule
from pytest_llmperf.load.goodput import RateSearch, Slo
from pytest_llmperf.load.prompt_set import PromptSet, read_prompts
from pytest_llmperf.load.replay import Unit
from pytest_llmperf.load.steady import slice_size
from pytest_llmperf.load.sweep import Sweep
from pytest_llmperf.measure import scheduled
from pytest_llmperf.measure.behaving import Behaviours, cost_named
from pytest_llmperf.measure.choices import multiple_choice
from pytest_llmperf.measure.loaded import Loaded, Pair, Paired, part_of
from pytest_llmperf.measure.long_prompts import LongPrompts, summaries_of
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.measure.questions import (
    Asker,
    Memory,
    Startup,
    refuse_swapped,
    task_and_variant,
)
from pytest_llmperf.measure.scheduled import Swept
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.starts import rounds_of_each
from pytest_llmperf.measure.summing_up import Summaries, metric_of
from pytest_llmperf.measure.unmeasured import Later, NoOutcomes, NoSamples, Unknown, needs_server
from pytest_llmperf.record.prior import Phase, PhaseKind
from pytest_llmperf.rules.messages import Variant
from pytest_llmperf.tasks.task import Task


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
        share = self._planned_share(variant.named(f"{task.name} accuracy"), count, "item")
        return replace(share, guess=task.guessing)

    def energy(self, served: Served, *how: str | Variant) -> Scalar:
        task, variant = self._asked(how)
        self._count(served, task, variant, self._measurements.sizes.energy_items)
        return self._once(variant.named(f"energy per correct {task.name} answer"), "J")

    def behaviour(self, served: Served, *how: str | Variant) -> Behaviours:
        task, variant = self._asked(how)
        count = self._count(served, task, variant, None)

        def share(name: str) -> Share:
            return self._planned_share(variant.named(name), count, "answer")

        def costs(what: str, unit: str) -> PerCorrect:
            n = count if self._measurements.settings.full else min(count, self._measurements.sizes.cost_items)
            metric = cost_named(task.name, variant, what)
            return PerCorrect(metric, unit, cast(Costs, NoOutcomes(n)), judge=self.judge)

        return Behaviours(
            boxed=share("boxed answers"),
            thinking_skipped=share("skipped thinking"),
            unfinished=share("unfinished answers"),
            loops=share("endless loops"),
            language_switches=share("switched languages"),
            costs=costs,
        )

    def macro_f1(self, served: Served, *how: str | Variant) -> MacroF1:
        task, variant = self._asked(how)
        count = self._count(served, multiple_choice(task), variant, None)
        choices = cast(Choices, NoOutcomes(count))
        metric = variant.named(f"{task.name} macro-F1")
        return MacroF1(metric, choices, task.classes, guess=task.guessing, judge=self.judge)

    def perplexity(self, served: Served, texts: str | None = None) -> Perplexity:
        wanted = self._measurements.likelihoods.texts(texts)
        count = self._measurements.sizes.documents
        self._phases.add("texts", served, (wanted.name,), count)
        documents = cast(Documents, NoOutcomes(count))
        return Perplexity(f"{wanted.name} perplexity", documents, judge=self.judge)

    def summaries(self, served: Served, texts: str | None = None) -> Summaries:
        prompts = summaries_of(texts)
        return Summaries(
            prompts,
            self._long(served, metric_of(prompts, "unfinished", "summaries"), "report", prompts),
            lambda: self._long(served, "key facts kept in summaries", "report", prompts),
            lambda metric: MeanScore(
                metric, cast(Scores, NoOutcomes(self._measurements.sizes.quality_items)), judge=self.judge
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
            return Share(metric, {}, noun=noun, growing=Later(count), judge=self.judge)
        return Share(metric, NoOutcomes(count), noun=noun, judge=self.judge)

    def _long(self, served: Served, metric: str, noun: str, prompts: LongPrompts) -> Share:
        count = self._measurements.sizes.quality_items
        self._phases.add("long answers", served, prompts.key, count)
        return self._planned_share(metric, count, noun)

    # The server itself

    def startup(self, served: Served) -> Startup:
        self._phases.add("starts", served)
        return Startup(lambda: self._once("time to ready", "s"), cast(Milestones, Unknown()))

    def memory(self, served: Served) -> Memory:
        self._phases.add("starts", served)
        kind = "device memory" if served.model.gpus else "resident memory"
        return Memory(self._once(f"peak {kind}", "bytes"), self._once("size of the weights", "bytes"))

    def _once(self, metric: str, unit: str) -> Scalar:
        return Scalar(metric, cast(float, Unknown()), unit, judge=self.judge)

    # Speed

    def _rounds(self, served: Served, concurrency: int, shape: LoadShape) -> int:
        starts = self._measurements.settings.starts
        rounds = starts * rounds_of_each(shape.rounds, starts)
        key = (concurrency, shape.prompt_tokens, shape.answer_tokens)
        self._phases.add("load", served, key, rounds)
        return rounds

    class Load(Asker.Load):
        """Timed requests that are not sent."""

        _asker: PlanAsker

        def __call__(
            self,
            served: Served,
            *,
            concurrency: int,
            prompt_tokens: int | None = None,
            answer_tokens: int | None = None,
            rounds: int | None = None,
        ) -> Loaded:
            asker, measurements = self._asker, self._asker._measurements
            sizes = measurements.sizes
            shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, rounds=rounds)
            count = asker._rounds(served, concurrency, shape)
            if measurements.will_need_baseline:
                asker._rounds(measurements.served(measurements.settings.baseline), concurrency, shape)
            requests = sizes.requests_per_round(concurrency)
            groups = [number for number in range(count) for _ in range(requests)]
            return self._loaded(concurrency, groups, shape.suffix(sizes))

        def _loaded(self, at: int | str, groups: Sequence[int], suffix: str = "") -> Loaded:
            """``groups``: the round or slice of each request; ``suffix`` stands behind the names of the metrics."""
            judge, part, parts = self._asker.judge, part_of(at), len(set(groups))

            def series(name: str) -> Series:
                samples = NoSamples[float | None](len(groups))
                return Series(
                    f"{name} at {at}{suffix}", samples, "s", groups=groups, group_noun=part, judge=judge
                )

            def by_part(name: str, unit: str, count: int, noun: str = "round") -> Series:
                samples = NoSamples[float | None](count)
                return Series(f"{name} at {at}{suffix}", samples, unit, noun=noun, judge=judge)

            # What a device did is known of a load as a whole.
            runs = parts if isinstance(at, int) else 1

            return Loaded(
                ttft=series("TTFT"),
                ttfat=series("TTFAT"),
                itl=series("ITL"),
                tpot=series("TPOT"),
                stall=series("stall"),
                e2el=series("E2EL"),
                schedule_delay=series("schedule delay"),
                throughput=by_part("throughput", "tok/s", parts, part),
                energy=by_part("energy per token", "J/tok", runs),
                roofline=by_part("share of the device's limit", "share", runs),
            )

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
            asker, sizes = self._asker, self._asker._measurements.sizes
            refuse_swapped(asker.judge_of(candidate), asker.judge_of(baseline))
            shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, rounds=rounds)
            asker._rounds(baseline, concurrency, shape)
            count = asker._rounds(candidate, concurrency, shape)
            name_of, starts = shape.suffix(sizes), asker._measurements.settings.starts

            def paired(name: str, unit: str = "s") -> Paired:
                values = [NoSamples[tuple[float | None, float | None]](count // starts)] * starts
                return Paired(Ratio(f"{name} at {concurrency}{name_of}", values, unit, judge=asker.judge))

            return Pair(
                ttft=paired("TTFT"),
                itl=paired("ITL"),
                tpot=paired("TPOT"),
                e2el=paired("E2EL"),
                throughput=paired("throughput", "tok/s"),
            )

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
            del warm_cache
            if isinstance(prompts, str | Path) and str(prompts) not in self._asker._measurements.tasks:
                read_prompts(Path(prompts))
            sizes = self._asker._measurements.sizes
            shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
            schedule = scheduled.arrivals_at(rate, sizes.requests_of(requests), burstiness, seed)
            return self._on_schedule(served, f"{rate:g} requests/s{shape.suffix(sizes)}", schedule)

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
            schedule = scheduled.replayed(path, faster, skip, requests, at_most, unit).schedule
            return self._on_schedule(served, schedule.name, schedule)

        def _on_schedule(self, served: Served, at: str, schedule: Schedule) -> Loaded:
            """As if all of the load were steady: what belongs to its run-in is known once it has run."""
            self._asker._phases.add("scheduled loads", served, ("open loop", schedule.name))
            size = slice_size(len(schedule))
            return self._loaded(at, [number // size for number in range(len(schedule))])

        def sweep(
            self,
            served: Served,
            *,
            concurrency: Sequence[int] = (),
            rate: Sequence[float] = (),
            seconds: float = 30.0,
            prompt_tokens: int | None = None,
            answer_tokens: int | None = None,
        ) -> Swept:
            del seconds
            sizes = self._asker._measurements.sizes
            suffix = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens).suffix(sizes)
            scheduled.one_of(concurrency, rate)
            self._asker._phases.add("scheduled loads", served, ("sweep",))
            once, unit = self._asker._once, "in flight" if concurrency else "requests/s"
            return Swept(
                cast(Sweep, Unknown()),
                once(f"knee{suffix}", unit),
                once(f"highest throughput{suffix}", "tok/s"),
            )

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
            del slo
            sizes = self._asker._measurements.sizes
            shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
            count = sizes.requests_of(requests)
            schedule = scheduled.arrivals_at(rate, count, 1.0, seed)
            self._asker._phases.add("scheduled loads", served, ("open loop", schedule.name))
            slices = -(-count // slice_size(count, least=1))
            return Share(
                f"goodput at {rate:g} requests/s{shape.suffix(sizes)}",
                NoOutcomes(slices),
                noun="slice",
                judge=self._asker.judge,
            )

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
            del slo
            if not 0 < lowest < highest:
                raise UsageError(f"load.max_rate from {lowest} to {highest}; need 0 < lowest < highest")
            self._asker._phases.add("scheduled loads", served, ("max rate",))
            sizes = self._asker._measurements.sizes
            shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
            search = RateSearch(lowest, highest, share)
            count, needed = sizes.requests_of(requests), search.min_requests
            few = f"{count} requests at each rate; need at least {needed} to show that {share:g} meet the SLO"
            return Bracketed(
                scheduled.highest_rate(share) + shape.suffix(sizes),
                None,
                None,
                "requests/s",
                search.max_trials,
                search.confidence,
                judge=self._asker.judge,
                unusable=few if count < needed else "",
            )

    class Stream(Asker.Stream):
        """Single requests that are not sent."""

        def together(self, served: Served, questions: Sequence[str], **fields: Any) -> list[Trace]:
            del questions, fields
            needs_server(f"a stream of {served.name}")
