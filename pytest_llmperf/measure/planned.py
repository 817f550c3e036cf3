"""The data of a planned run: their sizes. Nothing is started, sent or fetched, and reading data raises NeedsServer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pytest_llmperf.config.models import Model
from pytest_llmperf.config.sizes import LoadShape
from pytest_llmperf.engines.base import Milestones
from pytest_llmperf.errors import NeedsServer
from pytest_llmperf.gates.mean_ratio import Documents
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.per_token import Amounts
from pytest_llmperf.gates.ratio import PairedSamples
from pytest_llmperf.load.arrivals import Schedule
from pytest_llmperf.load.conversation import Conversation
from pytest_llmperf.load.goodput import MaxRate, RateSearch, Slo
from pytest_llmperf.load.metrics import metric_named
from pytest_llmperf.load.prompt_set import PromptSet
from pytest_llmperf.load.session_file import RecordedSessions
from pytest_llmperf.load.steady import slice_size
from pytest_llmperf.measure.answers import whole_groups
from pytest_llmperf.measure.cache_plan import LongRecall, MemoryLine, memory_line
from pytest_llmperf.measure.fidelity import TokenQuestion
from pytest_llmperf.measure.load_results import ON_DEVICE, LoadData, LoadTotals, PairData, PairTotals, Samples
from pytest_llmperf.measure.long_prompts import MOST_GENERATED, LongPrompts
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.measure.sample_list import SampleList
from pytest_llmperf.measure.scheduled import SweepData
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.speed import rounds_of_each, schedule_of
from pytest_llmperf.measure.start_memory import StartsOf
from pytest_llmperf.prompts.variants import Variant
from pytest_llmperf.record.prior import Phase, PhaseKind, PlanningRecord
from pytest_llmperf.stats.start_to_start import LEAST_STARTS
from pytest_llmperf.tasks.task import Item, Task, sample_of
from pytest_llmperf.tasks.texts import Texts

R = TypeVar("R")


def unmeasured(count: int | None = None) -> Any:
    """Data of a known number, or a single value (None), that every use but ``len`` refuses."""
    return _Unmeasured(count)


class _Unmeasured:
    def __init__(self, count: int | None) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._refuse() if self._count is None else self._count

    def __bool__(self) -> bool:
        return len(self) > 0

    def _refuse(self, *_: object) -> NoReturn:
        raise NeedsServer("measured data are known once a server has answered; the run is planned only")

    __getattr__ = __getitem__ = __iter__ = __contains__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __float__ = __format__ = __str__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse


class Phases:
    """The work of a run, each piece once, in the order in which it was first asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], Phase] = {}

    def add(self, kind: PhaseKind, served: Served, key: tuple[str | int, ...] = (), amount: int = 1) -> None:
        """Add a phase and the start of its server; the larger amount of one that was added before."""
        row = served.host.name if kind == "starts" else served.name
        for phase in (Phase("starts", served.host.name), Phase(kind, row, key, amount)):
            at = (phase.kind, phase.row, phase.key)
            known = self._known.setdefault(at, phase)
            self._known[at] = replace(known, amount=max(known.amount, phase.amount))

    def __iter__(self) -> Iterator[Phase]:
        return iter(self._known.values())


@dataclass(kw_only=True)
class PlannedSamples(SampleList[Any, Any]):
    """Samples that are not asked for; ``note`` is called with how many a question plans."""

    note: Callable[[int], None]
    at_hand: Sequence[Item] = ()
    """The items themselves, where they need no download."""

    @property
    def known(self) -> Sequence[Item]:
        return self.at_hand

    def plan(self, count: int) -> int:
        count = super().plan(whole_groups(self.known, count))
        self.note(count * self.per_item)
        return count

    def where(self, keep: Callable[[Any], bool]) -> SampleList[Any, Any]:
        """Items that are not at hand are all taken for kept."""
        if not self.at_hand:
            return self
        places = [place for place, item in enumerate(self.at_hand) if keep(item)]
        return PlannedSamples(
            items=unmeasured(len(places)),
            ask=self.ask,
            per_item=self.per_item,
            at_once=self.at_once,
            note=lambda samples: self.note(
                self.per_item * (places[samples // self.per_item - 1] + 1) if samples else 0
            ),
            at_hand=[self.at_hand[place] for place in places],
        )

    def read(self, count: int, of: Callable[[Sequence[Any]], R]) -> R:
        del of
        found: R = unmeasured(len({sample_of(item) for item in self.known[:count]}) or count)
        return found

    def why_unusable(self, count: int, why: Callable[[Sequence[Any]], str] | None = None) -> str:
        del count, why
        return ""


@dataclass(frozen=True)
class PlannedLoad:
    """A load of so many requests in each round or slice."""

    groups: Sequence[int]
    """The round or slice of each request."""
    runs: int
    """Runs by which the device is watched: rounds, or 1 for a load on a schedule."""

    def samples(self, metric: str) -> Samples:
        if metric in ON_DEVICE:
            return Samples(unmeasured(self.runs))
        if metric_named(metric).from_round is not None:
            return Samples(unmeasured(len(set(self.groups))))
        return Samples(unmeasured(len(self.groups)), groups=self.groups)

    def totals(self, metric: str) -> LoadTotals:
        del metric
        return LoadTotals(unmeasured(len(set(self.groups))))


@dataclass(frozen=True)
class PlannedPair:
    """Rounds of both models, for each of some pairs of starts."""

    starts: int
    rounds: int
    spread: StartsOf | str
    looks: Sequence[int] = ()
    more: None = None

    def samples(self, metric: str) -> PairedSamples:
        starts = [unmeasured(self.rounds)] * self.starts
        if isinstance(self.spread, str):
            return PairedSamples(starts, remark=self.spread)
        return PairedSamples(starts, started=True, remembered=self.spread.known(metric))

    def totals(self, metric: str) -> PairTotals:
        del metric
        rounds = unmeasured(self.starts * self.rounds)
        return PairTotals(rounds, rounds)


class PlannedMeasurements(Measurements):
    """Sizes and rows of the run, with the phases that measuring would take."""

    leases_gpus = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.phases = Phases()
        self.recalls: dict[tuple[str, int, bool], LongRecall] = {}
        """Long prompts by row, tokens, and whether their length is exact."""

    def served(self, model: Model) -> Served:
        served = super().served(model)
        served.refuse(NeedsServer(f"{model.name}: the run is planned only, no server is started"))
        return served

    def answers(self, served: Served, task: Task, variant: Variant, *, whole: bool = True) -> PlannedSamples:
        del whole  # A plan is that of the run over all shards.
        hub = getattr(task.source, "hub", None)
        if hub is not None and self.settings.data_dir is None:
            # Not worth a download; a data set that is pinned says how many items it has.
            there = hub.count if hub.count is not None else sys.maxsize
            known: Sequence[Item] = ()
        else:
            known = self.items(task)
            there = len(known)
        key = (task.name, variant.name)
        samples = self._samples(there, served, "answers", key, self.samples(served, task, known, variant))
        samples.at_hand = known
        if any(item.group for item in known):
            samples.at_once = True
        return samples

    def long_answers(self, served: Served, prompts: LongPrompts) -> PlannedSamples:
        there = self.sizes.quality_items if prompts.kind is None else MOST_GENERATED
        samples = self._samples(there, served, "long answers", prompts.key)
        if prompts.kind is not None:
            add, at = samples.note, (served.name, prompts.tokens, prompts.kind.exact)
            kinds = (prompts.key[0],)

            def note(count: int) -> None:
                add(count)
                asked = LongRecall(served, prompts, count, kinds)
                self.recalls[at] = self.recalls.get(at, asked).and_also(asked)

            samples.note = note
        return samples

    def places_line(self) -> str:
        """What the places of both sides mean for ratios of speed; empty where the sides share their GPUs."""
        starts = self.settings.starts
        if self.settings.profile.placement != "apart":
            return ""
        if starts < LEAST_STARTS:
            return (
                "each side has its own GPUs and keeps them in the only start, so that ratios of speed contain what the "
                f"GPUs differ by; with {LEAST_STARTS} starts or more (--llmperf-starts) the sides change places"
            )
        left = (
            f"1/{starts} of what the GPUs differ by stays"
            if starts % 2
            else "what the GPUs differ by cancels"
        )
        return f"each side has its own GPUs, and the sides change places between the {starts} starts: {left}"

    def memory_lines(self, earlier: PlanningRecord | None) -> list[MemoryLine]:
        """A line for the prompts of each exact length of a row, and for others that do not fit."""
        device = self.settings.device_name
        every = [
            (exact, memory_line(each, self.sizes, earlier, device))
            for (_, _, exact), each in self.recalls.items()
        ]
        return [line for exact, line in every if exact or line.fits is False]

    def _samples(
        self, there: int, served: Served, kind: PhaseKind, key: tuple[str, ...], per_item: int = 1
    ) -> PlannedSamples:
        return PlannedSamples(
            items=unmeasured(there),
            ask=unmeasured(),
            per_item=per_item,
            at_once=self.settings.full,
            note=lambda count: self.phases.add(kind, served, key, count),
        )

    def documents(self, served: Served, texts: Texts) -> tuple[Documents, str]:
        self.phases.add("texts", served, (texts.name,), self.sizes.documents)
        return unmeasured(self.sizes.documents), ""

    def document_error(self, served: Served, texts: Texts) -> str:
        del served, texts
        return ""

    def plan_tokens(
        self, candidate: Served, baseline: Served, task: Task, temperature: float
    ) -> tuple[int, bool]:
        sampling = "greedy" if temperature == 0.0 else f"T = {temperature:g}"
        for served in (baseline, candidate):
            self.phases.add("fidelity", served, (task.name, sampling), self.sizes.fidelity_answers)
        return self.sizes.fidelity_answers, not self.settings.full

    def token_amounts(
        self, candidate: Served, baseline: Served, task: Task, asked: TokenQuestion, count: int
    ) -> tuple[Amounts, str]:
        del candidate, baseline, task, asked
        found: Amounts = unmeasured(count)
        return found, ""

    def token_error(self, candidate: Served, baseline: Served, task: Task, asked: TokenQuestion) -> str:
        del candidate, baseline, task, asked
        return ""

    def startup(self, served: Served) -> tuple[float | None, Milestones]:
        self.phases.add("starts", served)
        return unmeasured(), unmeasured()

    def memory_use(self, served: Served) -> tuple[str, float | None, float | None]:
        self.phases.add("starts", served)
        kind = "device memory" if served.model.gpus else "resident memory"
        return kind, unmeasured(), unmeasured()

    def load(self, served: Served, concurrency: int, shape: LoadShape) -> LoadData:
        rounds = self._rounds(served, concurrency, shape)
        if (baseline := self._compared_with(served)) is not None:
            self._first_look(baseline, concurrency, shape)
        requests = self.sizes.requests_per_round(concurrency)
        return PlannedLoad([number for number in range(rounds) for _ in range(requests)], rounds)

    def pair(self, candidate: Served, baseline: Served, concurrency: int, shape: LoadShape) -> PairData:
        self._rounds(baseline, concurrency, shape)
        starts = self.settings.starts
        spread = self.spread_of_starts(candidate, baseline, concurrency, shape)
        rounds = self._rounds(candidate, concurrency, shape) // starts
        looks = () if self.settings.full else schedule_of(shape.rounds, starts)
        return PlannedPair(starts, rounds, spread, looks)

    def _rounds(self, served: Served, concurrency: int, shape: LoadShape) -> int:
        starts = self.settings.starts
        rounds = starts * rounds_of_each(shape.rounds, starts)
        self._add_rounds(served, concurrency, shape, rounds)
        return rounds

    def _first_look(self, served: Served, concurrency: int, shape: LoadShape) -> None:
        """The rounds of a baseline that no ratio asks for: the candidate goes on alone (``InterleavedRounds.tail``)."""
        starts = self.settings.starts
        schedule = schedule_of(shape.rounds, starts)
        several = starts > 1 or self.settings.full
        self._add_rounds(served, concurrency, shape, schedule[-1 if several else 0])

    def _add_rounds(self, served: Served, concurrency: int, shape: LoadShape, rounds: int) -> None:
        self.phases.add("load", served, (concurrency, shape.prompt_tokens, shape.answer_tokens), rounds)

    def prompts(self, served: Served, prompts: str | Path | PromptSet | None) -> PromptSet | None:
        is_task = isinstance(prompts, str) and prompts in self.tasks  # whose items are not worth a download
        return None if is_task else super().prompts(served, prompts)

    def on_schedule(self, served: Served, schedule: Schedule, *_: Any, **__: Any) -> LoadData:
        """As if all of the load were steady: its run-in is known once it has run."""
        self.phases.add("scheduled loads", served, ("open loop", schedule.name))
        size = slice_size(len(schedule))
        return PlannedLoad([number // size for number in range(len(schedule))], 1)

    def conversations(
        self, served: Served, shape: Conversation | RecordedSessions, rounds: int
    ) -> Sequence[LoadData]:
        numbers = (shape.turns, shape.first_words, shape.answer_tokens, round(1e3 * shape.pauses_s))
        key = ("conversations", shape.name, *numbers)
        self.phases.add("scheduled loads", served, key, rounds)
        return [
            PlannedLoad([number for number in range(rounds) for _ in range(shape.users_in(turn))], rounds)
            for turn in range(1, shape.turns + 1)
        ]

    def goodput(self, served: Served, schedule: Schedule, *_: Any, **__: Any) -> tuple[Outcomes, str]:
        self.on_schedule(served, schedule)
        return unmeasured(-(-len(schedule) // slice_size(len(schedule), least=1))), ""

    def sweep(self, served: Served, *_: Any, **__: Any) -> SweepData:
        self.phases.add("scheduled loads", served, ("sweep",))
        return SweepData(unmeasured(), unmeasured(), unmeasured())

    def max_rate(
        self, served: Served, slo: Slo, search: RateSearch, requests: int, shape: LoadShape
    ) -> tuple[MaxRate, str]:
        del slo, shape
        self.phases.add("scheduled loads", served, ("max rate",))
        found = MaxRate(None, None, search.share, search.confidence, unmeasured(search.max_trials))
        if requests >= search.min_requests:
            return found, ""
        return found, (
            f"{requests} requests at each rate; need at least {search.min_requests} to show that {search.share:g} meet "
            "the SLO"
        )
