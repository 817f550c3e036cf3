"""The measurements of a run: each made once, however many tests ask for it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pytest_llmperf.client.answer_cache import AnswerCache
from pytest_llmperf.config.models import Model, same_weights_on_one_server
from pytest_llmperf.config.run_config import Settings
from pytest_llmperf.config.shard import RunShard
from pytest_llmperf.config.sizes import LoadShape
from pytest_llmperf.engines.base import Milestones
from pytest_llmperf.errors import InfrastructureError, StartError
from pytest_llmperf.gates.base import Judge, SidedJudge
from pytest_llmperf.gates.mean_ratio import Documents
from pytest_llmperf.gates.outcomes import Outcomes
from pytest_llmperf.gates.per_token import Amounts
from pytest_llmperf.json_values import Json, JsonObject
from pytest_llmperf.load.arrivals import Schedule
from pytest_llmperf.load.conversation import Conversation
from pytest_llmperf.load.goodput import MaxRate, RateSearch, Slo
from pytest_llmperf.load.interleave import Rounds
from pytest_llmperf.load.prompt_set import PromptSet, read_prompts
from pytest_llmperf.load.results import Metrics, of_run
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.session_file import RecordedSessions
from pytest_llmperf.load.workload import Shape
from pytest_llmperf.measure.answers import GradedAnswer, TaskAnswers
from pytest_llmperf.measure.book import UNBOOKED, Book
from pytest_llmperf.measure.clock_error import ClockError
from pytest_llmperf.measure.continuations import Continuations, check_variant
from pytest_llmperf.measure.conversations import Conversations
from pytest_llmperf.measure.evaluation import Evaluation
from pytest_llmperf.measure.fidelity import TokenPairs, TokenQuestion
from pytest_llmperf.measure.likelihood import Likelihoods
from pytest_llmperf.measure.load_results import LoadData, MeasuredLoad, MeasuredPair, PairData
from pytest_llmperf.measure.long_answers import LongAnswers, LongReply
from pytest_llmperf.measure.long_prompts import LongItem, LongPrompts, Shortened, shortened
from pytest_llmperf.measure.looks import Looks, comparable, drawn, reseeded, row_fingerprint
from pytest_llmperf.measure.memo import Memo
from pytest_llmperf.measure.one_server import SHARED_START, refuse_one_model
from pytest_llmperf.measure.places import places_in_ratio
from pytest_llmperf.measure.prompt_lengths import check_lengths, token_sizes
from pytest_llmperf.measure.sample_list import SampleList
from pytest_llmperf.measure.scheduled import Scheduled, SweepData, met_by_slice
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import Servers
from pytest_llmperf.measure.sliced_answers import SlicedAnswers
from pytest_llmperf.measure.speed import Speed
from pytest_llmperf.measure.start_memory import ServerPair, StartMemory, StartsOf
from pytest_llmperf.prompts.asking import ask
from pytest_llmperf.prompts.variants import Variant, model_default
from pytest_llmperf.record import fingerprint
from pytest_llmperf.record.prior import read_prior_looks
from pytest_llmperf.record.tables import AnswerRow, TokenRow, TraceRow
from pytest_llmperf.tasks import BUILT_IN
from pytest_llmperf.tasks.articles import Articles
from pytest_llmperf.tasks.lm_eval import PREFIX, lm_eval_task
from pytest_llmperf.tasks.lm_eval_process import LmEvalProcess
from pytest_llmperf.tasks.long_context.text import TokenSizes
from pytest_llmperf.tasks.task import Item, Task, find_named, is_scored, load_items, remarks
from pytest_llmperf.tasks.texts import Texts


class Measurements(Servers):
    """The data of all questions, measured at the first call and remembered, failures too.

    ``measure.planned`` replaces the methods that measure by such that know sizes only.
    """

    def __init__(
        self,
        settings: Settings,
        state_root: Path,
        progress: Callable[[str], None],
        tasks: Iterable[Task] = BUILT_IN,
        book: Book = UNBOOKED,
        seed: int = 0,
    ) -> None:
        super().__init__(drawn(settings, seed), state_root, progress, book, seed)
        self.tasks = {task.name: task for task in tasks}
        self.looks = Looks(self.settings)
        self.items_of_shard: Callable[[], RunShard | None] = lambda: None
        """Gives the shard whose part of the items the running test asks; None for all items."""
        self._memo = Memo()
        self._starts = StartMemory()
        self.speed = Speed(self, self._memo)
        self._scheduled = Scheduled(self.speed, self._memo)
        self._conversations = Conversations(self.speed, self._memo)
        self._likelihoods = Likelihoods(self, self._memo)
        self._token_pairs = TokenPairs(self, self._memo)
        self._evaluation = Evaluation(self, self.speed.devices)
        self._continuations = Continuations(self, self.speed.devices)
        self._rows_taken: set[tuple[object, ...]] = set()
        self._contents: dict[str, str | None] = {}
        self._lm_eval = LmEvalProcess(self.settings.data_dir)

    def keep_answers(self, log: AnswerCache) -> None:
        """Write answers down as they come, and reuse those that an earlier run has left."""
        self._evaluation.log = log

    def add_to(self, record: Path) -> None:
        """Make this run a further look: other items, or other answers to them.

        Raises :class:`UsageError` if the data of this run cannot be pooled with those of ``record``.
        """
        names = [model.name for model in self.settings.candidates]
        earlier = read_prior_looks(record, self.comparable(), names)
        self.settings = reseeded(self.settings, earlier.look)
        self.looks = Looks(self.settings, earlier)

    def sided(self, judge: Judge, served: Served) -> Judge:
        """``judge`` with the side of a comparison that ``served`` stands on."""
        candidate = served.name in {model.name for model in self.settings.candidates}
        if candidate == (served.name == self.settings.baseline.name):
            return judge  # A model that is compared with itself is on both sides.
        return SidedJudge(judge, "candidate" if candidate else "baseline")

    # Answers

    def task(self, name: str | None = None) -> Task:
        """A task by name (``lm_eval:`` for one of that harness), or the profile's own.

        Raises :class:`UsageError` with the nearest name.
        """
        wanted = name or self.settings.profile.task
        if wanted.startswith(PREFIX) and wanted not in self.tasks:
            self.tasks[wanted] = lm_eval_task(wanted, self._lm_eval)
        return find_named("task", wanted, self.tasks.values())

    def items(self, task: Task) -> tuple[Item, ...]:
        """All items of the task, in the run's order."""
        return self._memo(
            ("items", task.name), lambda: load_items(task, self.settings.data_dir, seed=self.seed)
        )

    def item_limit(self, variant: Variant) -> int:
        """The number of items that may be asked in this way, by the profile."""
        return self.sizes.items if variant == model_default else self.sizes.variant_items

    def samples(self, served: Served, task: Task, items: Sequence[Item], variant: Variant) -> int:
        """Answers to each item when the row is asked in this way.

        Raises :class:`UsageError` for a way that the items have no place for, and :class:`NotMeasured` where a row and
        its alias would be asked for log probabilities of the same texts.
        """
        check_variant(task, items, variant)
        if not is_scored(items):
            return self._evaluation.samples(served.model, variant)
        refuse_one_model(served.model, self.rows, task.name)
        return 1

    def answers(
        self, served: Served, task: Task, variant: Variant, *, whole: bool = True
    ) -> SampleList[Item, GradedAnswer]:
        """The row's graded answers to ``task``, asked as ``variant`` says; none is asked by this call.

        Not ``whole``: those of the items of this shard, where the items of the running test are cut.
        """
        shard = None if whole else self.items_of_shard()

        def make() -> TaskAnswers:
            items = self.items(task)
            for line in self._memo(("remarks", task.name), lambda: remarks(task, items)):
                self.tell(line)
            part = self.looks.items_for(task, variant, items)
            what = _label(served, task, variant)

            def ask(more: Sequence[Item], before: int, planned: int) -> tuple[list[GradedAnswer], float]:
                if is_scored(more):
                    return self._continuations.graded(served, task, more, what, before, planned)
                return self._evaluation.graded(served, task, variant, more, what, before, planned)

            make_list = TaskAnswers if shard is None else partial(SlicedAnswers, shard=shard)
            return make_list(
                items=part.items,
                ask=ask,
                per_item=self.samples(served, task, items, variant),
                # A gate that stops early counts items, and half a group says little about the other half.
                at_once=part.again or self.settings.full or any(item.group for item in part.items),
                refused=part.refused,
                row=served.name,
                task=task.name,
                data=task.source.describe(),
                variant=variant.name,
                part=part,
                thinking=served.rules.thinking,
                temperature=variant.sampling(served.sampling).temperature,
                order_seed=self.seed,
            )

        return self._memo(("answers", served.name, task.name, variant, shard), make)

    def answering_j(self, served: Served, task: Task, variant: Variant) -> float | None:
        """Joules of the devices while this process asked the row in this way; None if they are not known."""
        return self.speed.devices.answering_j(served.name, _label(served, task, variant))

    def documents(self, served: Served, texts: Texts) -> tuple[Documents, str]:
        """The texts with their log probabilities, and why they must not be judged (empty: they may)."""
        return self._likelihoods.scored(served, texts)

    def document_error(self, served: Served, texts: Texts) -> str:
        """Why the first text was not scored; empty if all were."""
        return self._likelihoods.first_error(served, texts)

    def plan_tokens(
        self, candidate: Served, baseline: Served, task: Task, temperature: float
    ) -> tuple[int, bool]:
        """Number of the baseline's answers that both may score, and whether a gate may stop earlier."""
        del candidate, baseline, temperature
        part = self.looks.items_for(task, model_default, self.items(task))
        count = min(self.sizes.fidelity_answers, len(part.items))
        # A further look adds to data that are all there: it takes its own whole as well.
        added = self.looks.earlier is not None
        return count, not (self.settings.full or added or part.before or part.again or part.refused)

    def token_amounts(
        self, candidate: Served, baseline: Served, task: Task, asked: TokenQuestion, count: int
    ) -> tuple[Amounts, str]:
        """By answer of the baseline, of the first ``count``, its tokens and what is summed over them; and why that must
        not be judged (empty: it may)."""
        part = self.looks.items_for(task, model_default, self.items(task))
        items = part.items[:count]
        pair = self._token_pairs.scored(candidate, baseline, task, items, asked.temperature, asked.look)
        return asked.amounts(pair), part.refused or pair.unusable

    def token_error(self, candidate: Served, baseline: Served, task: Task, asked: TokenQuestion) -> str:
        """Why the first answer is missing among those that were asked for; empty if none is."""
        return self._token_pairs.first_error(candidate, baseline, task, asked.temperature, asked.look)

    def long_answers(self, served: Served, prompts: LongPrompts) -> SampleList[LongItem, LongReply]:
        """Replies to long prompts; none is asked by this call."""

        def make() -> LongAnswers:
            items = prompts.items(served.model, self.sizes.quality_items, self, self.seed)
            what = f"{served.name}: {prompts.what}"
            exact = prompts.kind is not None and prompts.kind.exact

            def ask(more: Sequence[LongItem], before: int, planned: int) -> tuple[list[LongReply], float]:
                begins_inside = self._evaluation.look(served, prompts.what, more)
                bodies = [item.ask.body() for item in more]
                answers, seconds = self._evaluation.answers(served, bodies, what, before, planned)
                if exact:
                    own = served is self._counts_tokens(prompts)
                    check_lengths(served, prompts, answers, own=own)
                return [
                    LongReply.of(served.model, item, answer, begins_inside)
                    for item, answer in zip(more, answers, strict=True)
                ], seconds

            return LongAnswers(items=items, ask=ask, at_once=self.settings.full)

        return self._memo(("long answers", served.name, prompts), make)

    def shortened_articles(self, articles: Articles, count: int) -> Shortened:
        """Cut by one candidate's tokenizer for all rows: what is compared must be the same texts."""
        served = self._counts_tokens(articles.name, count)

        def measure() -> Shortened:
            self.progress(f"{served.name}: {count} articles of {articles.name} cut to their length")
            return shortened(served, articles, self.settings.data_dir, count, self.seed)

        return self._memo(("articles", articles.name, count), measure, served)

    def token_sizes(self, prompts: LongPrompts) -> TokenSizes:
        """By one candidate's tokenizer, for all rows: what is compared must be the same texts."""
        served = self._counts_tokens(prompts)

        def measure() -> TokenSizes:
            self.progress(f"{served.name}: counting the tokens of {prompts.what}")
            return token_sizes(served, prompts)

        return self._memo(("token sizes", prompts), measure, served)

    def _counts_tokens(self, *texts: Hashable) -> Served:
        """The row by whose tokenizer ``texts`` get their length: the first candidate whose server starts.

        One that does not start is INVALID by itself, and no reason why the others should be.
        """

        def find() -> Served:
            *earlier, last = map(self.served, self.settings.candidates)
            for served in earlier:
                with contextlib.suppress(InfrastructureError):
                    served.running()
                    return served
            return last

        return self._memo(("counts tokens", *texts), find)

    # The server itself

    def startup(self, served: Served) -> tuple[float | None, Milestones]:
        """Seconds from the start of the process to ready, None for a server that was running; the log's milestones."""
        self._start_both()
        server = served.server
        served.refuse_if_restarted("the time to ready")
        return server.ready_s, served.milestones() or Milestones()

    def memory_use(self, served: Served) -> tuple[str, float | None, float | None]:
        """Kind of the memory, its peak and the size of the weights in bytes; None for what is not known."""
        use, weights = self.memory(served).use(), served.weights_bytes()
        return use.kind, use.peak and float(use.peak), weights and float(weights)

    # Timed loads

    def load(self, served: Served, concurrency: int, shape: LoadShape) -> LoadData:
        """Rounds of one model, taken from those of the comparison as far as it has them, if this run compares."""
        runs: Sequence[LoadRun]
        metrics: Sequence[Metrics]
        if (baseline := self._compared_with(served)) is not None:
            runs, metrics = self.speed.rounds(served, baseline, concurrency, shape).tail()
        else:
            runs, metrics = self.speed.alone(served, concurrency, shape)
        clock = self.speed.clock_error(runs, metrics)
        device = self.speed.on_device(served, concurrency, runs, metrics)
        return MeasuredLoad(concurrency, runs, metrics, clock, device)

    def _compared_with(self, served: Served) -> Served | None:
        """The baseline, if this run times it in turn with ``served``; None for two names of one model."""
        baseline = self.served(self.settings.baseline)
        alike = served is baseline or same_weights_on_one_server(served.model, baseline.model)
        return baseline if self.will_need_baseline and not alike else None

    def pair(self, candidate: Served, baseline: Served, concurrency: int, shape: LoadShape) -> PairData:
        """Interleaved rounds of two models: as many as a gate needs to look once, and more as it asks for them."""
        rounds = self.speed.rounds(candidate, baseline, concurrency, shape)
        rounds.first(rounds.first_look)

        def clock_of(starts: Sequence[Rounds]) -> ClockError:
            sides = (
                [metrics for start in starts for metrics in start.candidate],
                [metrics for start in starts for metrics in start.baseline],
            )
            runs = [run for start in starts for run in (*start.candidate_runs, *start.baseline_runs)]
            return self.speed.clock_error(runs, *sides)

        spread = self.spread_of_starts(candidate, baseline, concurrency, shape)
        if isinstance(spread, StartsOf):
            contents = (self._content_key(candidate.model), self._content_key(baseline.model))
            spread = dataclasses.replace(
                spread, comparison=dataclasses.replace(spread.comparison, contents=contents)
            )
        return MeasuredPair(concurrency, rounds, clock_of, spread)

    def spread_of_starts(
        self, candidate: Served, baseline: Served, concurrency: int, shape: LoadShape
    ) -> StartsOf | str:
        """Differences between starts of these servers in earlier runs; or why starts are no part of the claim."""
        sides = (candidate, baseline)
        if candidate is baseline:
            return "both sides are one server: no start is compared"
        if candidate.host is baseline.host:
            return SHARED_START
        if running := [side.name for side in sides if not side.engine.is_started]:
            names = " and ".join(running)
            return (
                f"the run did not start {names}: the verdict is on these processes, another start may differ"
            )
        machine = f"{fingerprint.cpu_name()}, {os.cpu_count()} CPUs, {self.settings.device_name}"
        if self.settings.profile.placement == "apart":
            # Starts then differ by their GPUs as well, and what earlier ones on a shared GPU showed is too little.
            machine += ", apart"
        requests = self.sizes.requests_per_round(concurrency)
        load = f"{requests} requests, {concurrency} at a time, {shape.prompt_tokens} → {shape.answer_tokens} tokens"
        engines = self.engines()
        comparison = ServerPair(
            machine,
            (row_fingerprint(candidate.model), row_fingerprint(baseline.model)),
            load,
            (engines.get(candidate.name), engines.get(baseline.name)),
        )
        return StartsOf(comparison, self._starts, lambda: places_in_ratio(candidate, baseline))

    def close(self, *, at_once: bool = False) -> list[str]:
        self._starts.keep()
        return super().close(at_once=at_once)

    def prompts(self, served: Served, prompts: str | Path | PromptSet | None) -> PromptSet | None:
        """The prompts of a file, or those of a task as the row's rules say."""
        if prompts is None or isinstance(prompts, PromptSet):
            return prompts
        if str(prompts) not in self.tasks:
            return read_prompts(Path(prompts))
        task = self.task(str(prompts))
        bodies = [ask(served.model, item.prompt, model_default).body() for item in self.items(task)]
        return PromptSet(task.name, [_prompt_of(body) for body in bodies])

    def on_schedule(
        self,
        served: Served,
        schedule: Schedule,
        shapes: Sequence[Shape] | None = None,
        given: PromptSet | None = None,
        *,
        warm_cache: bool = False,
        shape: LoadShape | None = None,
    ) -> LoadData:
        """One load on a schedule, its steady part cut into slices; arguments as :meth:`Scheduled.run`."""
        timed = self._scheduled.run(served, schedule, shapes, given, warm_cache=warm_cache, shape=shape)
        run = timed.run
        clock = self.speed.clock_error([run], timed.slices)
        clock = dataclasses.replace(clock, late_s=run.open_loop.own_delay_s if run.open_loop else ())
        device = self.speed.on_device(served, run.concurrency, [run], [of_run(run)])
        return MeasuredLoad(schedule.name, [run], timed.slices, clock, device)

    def conversations(
        self, served: Served, shape: Conversation | RecordedSessions, rounds: int
    ) -> Sequence[LoadData]:
        """Rounds of conversations with one model, by turn."""
        return self._conversations.turns(served, shape, rounds)

    def goodput(self, served: Served, schedule: Schedule, shape: LoadShape, slo: Slo) -> tuple[Outcomes, str]:
        """By slice, which requests met the SLO; and why that must not be judged (empty: it may)."""
        return met_by_slice(self._scheduled.run(served, schedule, shape=shape).run, slo)

    def sweep(
        self,
        served: Served,
        concurrency: Sequence[int],
        rate: Sequence[float],
        seconds: float,
        shape: LoadShape,
    ) -> SweepData:
        """Level by level to the knee."""
        return SweepData.of(self._scheduled.sweep(served, concurrency, rate, seconds, shape))

    def max_rate(
        self, served: Served, slo: Slo, search: RateSearch, requests: int, shape: LoadShape
    ) -> tuple[MaxRate, str]:
        """The highest rate that keeps the SLO, and why it must not be judged (empty: it may)."""
        return self._scheduled.max_rate(served, slo, search, requests, shape), ""

    # The record

    def comparable(self) -> dict[str, Json]:
        """Everything that two runs must have in common for their data to be pooled."""
        facts = comparable(self.settings, dataclasses.asdict(self.speed.workload()))
        return facts | {"content": {row.name: self._content_key(row) for row in self.rows}}

    def _content_key(self, model: Model) -> str | None:
        """Fingerprint of the row's files as its server read them; None where they are not known."""
        served = self.served(model)
        if served.spec is not None:
            self._contents[model.name] = served.content.key
        elif model.name not in self._contents:
            # A damaged copy is made when it is started, and follows from the weights that it is made of.
            directory = None if model.damage is not None else served.weights_directory()
            if directory is not None:
                # The start explains an adapter that is not there.
                with contextlib.suppress(StartError):
                    self._contents[model.name] = served.current_content().key
        return self._contents.get(model.name)

    def _asked(self, kind: str) -> list[tuple[Any, Any]]:
        """Keys and sample lists of one kind, of which anything was asked."""
        return [(key, samples) for key, samples in self._memo.of_kind(kind) if samples.samples]

    def saving(self) -> tuple[int, int]:
        """Number of answers that were asked for and that were planned: the rest was not needed to decide."""
        lists = [samples for kind in ("answers", "long answers") for _, samples in self._asked(kind)]
        asked = sum(len(samples.samples) for samples in lists)
        return asked, sum(samples.planned * samples.per_item for samples in lists)

    def facts(self) -> dict[str, Json]:
        """The record beside its verdicts: settings, servers, and everything that was measured."""
        common = self.comparable()
        return {
            "profile": self.settings.profile.name,
            "placement": self.settings.profile.placement,
            "sizes": dataclasses.asdict(self.sizes),
            "device": {"class": self.settings.device, "name": self.settings.device_name},
            "candidates": [model.name for model in self.settings.candidates],
            "baseline": self.settings.baseline.name,
            "rows": common["rows"],
            "content": common["content"],
            "order_seed": self.seed,
            **self.looks.facts(),
            "servers": [served.facts() for served in self.were_started()],
            "prompts": self._evaluation.prompts.facts(),
            "sampling": self.sampling.facts(),
            "answers": [answers.facts() for _, answers in self._asked("answers")],
            **self._long_facts(),
            **self._likelihoods.facts(),
            **self._token_pairs.facts(),
            **self.speed.facts(),
            "events": self.events(),
        }

    def _long_facts(self) -> dict[str, Json]:
        """Empty where no long prompt was asked."""
        count = self.sizes.quality_items
        facts = [
            {"row": row, "what": prompts.what, **prompts.facts(count, self), **replies.facts()}
            for (_, row, prompts), replies in self._asked("long answers")
        ]
        return {"long_answers": facts} if facts else {}

    def take_answers(self) -> Iterator[AnswerRow]:
        """The answers that were not taken before, as rows of ``record.tables.ANSWERS``."""
        every = [answers for _, answers in self._memo.of_kind("answers")]
        in_parts = any(isinstance(answers, SlicedAnswers) for answers in every)
        for answers in every:
            for row in answers.take_rows():
                # A shard may ask a part of the items for some tests, and all of them for others.
                key = (row["row"], row["task"], row["variant"], row["item"], row["sample"])
                if not in_parts or key not in self._rows_taken:
                    self._rows_taken.add(key)
                    yield row

    def take_traces(self) -> Iterator[TraceRow]:
        """The timed requests that were not taken before, as rows of ``record.tables.TRACES``."""
        return self.speed.log.take_rows()

    def take_tokens(self) -> Iterator[TokenRow]:
        """The scores that were not taken before, as rows of ``record.tables.TOKENS``."""
        return self._token_pairs.take_rows()


def _label(served: Served, task: Task, variant: Variant) -> str:
    return variant.named(f"{served.name}: {task.name}")


def _prompt_of(body: JsonObject) -> JsonObject:
    """The prompt of a body without its sampling and lengths: a load has its own."""
    return {name: body[name] for name in ("messages", "prompt") if name in body}
