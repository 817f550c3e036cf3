"""Everything that was measured in this run: each thing once, however many tests ask for it."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_llmperf.client.answer_cache import AnswerCache
from pytest_llmperf.client.answers import Answer
from pytest_llmperf.config.models import Model
from pytest_llmperf.config.run_config import Settings
from pytest_llmperf.errors import InfrastructureError, UsageError
from pytest_llmperf.measure.asking import Asked
from pytest_llmperf.measure.book import UNBOOKED, Book
from pytest_llmperf.measure.closing import close_together
from pytest_llmperf.measure.collecting import Collection
from pytest_llmperf.measure.conversations import LongItem
from pytest_llmperf.measure.evaluation import Evaluation
from pytest_llmperf.measure.events import Events
from pytest_llmperf.measure.likelihood import Likelihoods
from pytest_llmperf.measure.long_answers import LongAnswers
from pytest_llmperf.measure.long_prompts import LongPrompts, Shortened, shortened
from pytest_llmperf.measure.looks import Looks, comparable, reseeded
from pytest_llmperf.measure.memory import MemoryWatch
from pytest_llmperf.measure.once import Once
from pytest_llmperf.measure.sampling import SamplingBook
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.speed import Speed
from pytest_llmperf.record.prior import read_prior_looks
from pytest_llmperf.rules.messages import Variant, as_promised
from pytest_llmperf.serving.content import content_of
from pytest_llmperf.tasks import BUILT_IN
from pytest_llmperf.tasks.articles import Articles
from pytest_llmperf.tasks.task import Item, Task, load_items, remarks

_SLICE_S = 0.2
_CALLED_OFF_S = 1.6
"""For the end of two servers that were about to start: a start that is called off kills what there is."""


class Measurements:
    """Servers and memory of one run. Every method measures at its first call and remembers.

    A failure is remembered as well: the tests that share a measurement share its error.
    """

    def __init__(
        self,
        settings: Settings,
        state_root: Path,
        progress: Callable[[str], None],
        tasks: Iterable[Task] = BUILT_IN,
        book: Book = UNBOOKED,
    ) -> None:
        self.book = book
        self.settings = settings
        self.sizes = settings.profile.sizes
        self.tasks = {task.name: task for task in tasks}
        self.will_need_baseline = False
        """Whether some test of this run compares with the baseline, so that measuring in pairs costs nothing extra."""
        self.concurrencies: tuple[int, ...] = ()
        """At which concurrencies the tests of this run will compare, as far as that is known beforehand."""
        self._state_root = state_root
        self.progress = progress
        self._served: dict[str, Served] = {}
        self._memory: dict[str, MemoryWatch] = {}
        self._collections: dict[tuple[str, str, Variant], Collection] = {}
        self._long: dict[tuple[str, LongPrompts], LongAnswers] = {}
        self._contents: dict[str, str | None] = {}
        self._once = Once()
        self._events = Events(state_root / "events.jsonl")
        self.sampling = SamplingBook(self.tell)
        self.speed = Speed(self)
        self.likelihoods = Likelihoods(self)
        self._evaluation = Evaluation(
            settings,
            self.sizes,
            progress,
            before=self.memory,
            beside=self.speed.devices.answering,
            sampling=self.sampling,
        )
        self.looks = Looks(settings)

    def keep_answers(self, log: AnswerCache) -> None:
        """Write answers down as they come, and reuse those that an earlier run has left."""
        self._evaluation = replace(self._evaluation, log=log)

    # What the user must be told

    def tell(self, text: str) -> None:
        """Report something that happened in the run, one line: shown at its end, and kept in the record.

        The same text is told once, whoever tells it. Safe to call from any thread.
        """
        self._events.tell(text)

    def events(self) -> list[dict[str, str]]:
        """What any process of the run has told: ``{"time": ISO 8601 in UTC, "text": …}``, oldest first."""
        return self._events.all()

    # Servers

    def served(self, model: Model) -> Served:
        """The one handle of a row in this run; its server is not started by this."""
        if model.name not in self._served:
            served = Served(
                model,
                self._state_root,
                self.progress,
                self.tell,
                self.settings.profile.silence_limit_s,
                self.book,
            )
            self._served[model.name] = served
            self._memory[model.name] = MemoryWatch(served, self.tell)
        return self._served[model.name]

    def row(self, name: str) -> Served:
        """The handle of a row that was asked for before; ``KeyError`` for another."""
        return self._served[name]

    def close(self, *, at_once: bool = False) -> list[str]:
        """End every server of this run; returns what could not be cleaned up, one sentence each.

        ``at_once``: they are killed, and not asked to end in order.
        """
        for watch in self._memory.values():
            watch.stop()
        for served in self._served.values():
            served.tell_changes()
        return [str(error) for error in close_together(self._served.values(), at_once=at_once)]

    def mark_logs(self) -> None:
        """Remember where every server's log ends now."""
        for served in self._served.values():
            served.mark_log()

    def log_since_mark(self) -> str:
        """What the servers have written since, the last lines of each; empty if nothing."""
        texts = {served.name: served.log_since_mark() for served in self._served.values()}
        return "\n".join(f"--- {name}\n{text}" for name, text in texts.items() if text)

    def _start_both(self) -> None:
        """On the CPU, start both sides of a comparison at the same time: most of a start is waiting for imports.

        On a GPU they must start one after the other, since each measures how much memory is free.
        """
        sides = [self.served(model) for model in (*self.settings.candidates[:1], self.settings.baseline)]
        if not self.will_need_baseline or any(side.started or side.model.gpus for side in sides):
            return

        ended = {side.name: threading.Event() for side in sides}

        def start(side: Served) -> None:
            # What fails here is remembered by the row, and raised to whoever asks for its server.
            with contextlib.suppress(InfrastructureError, UsageError):
                side.running()
            ended[side.name].set()

        distinct = dict.fromkeys(sides)
        try:
            for side in distinct:
                # Daemons: an interrupted run must not wait for them when the interpreter ends.
                threading.Thread(
                    target=start, args=[side], name=f"llmperf-start-{side.name}", daemon=True
                ).start()
            for side in distinct:
                # Not one long wait: a signal that the kernel gives to another thread would be noticed at its end.
                while not ended[side.name].wait(_SLICE_S):
                    pass
        except BaseException:
            for side in distinct:
                side.call_off()
            deadline = time.monotonic() + _CALLED_OFF_S
            for side in distinct:
                ended[side.name].wait(max(0.0, deadline - time.monotonic()))
            raise

    def start_anew(self, *sides: Served) -> None:
        """End the servers of a comparison, in order, and start them again."""
        ending = dict.fromkeys(sides)
        for side in ending:
            self._memory[side.name].keep()
        others = [
            one for one in self._served.values() if one not in ending and one.started and one.model.gpus
        ]
        for error in close_together(ending, others, anew=True):
            raise error
        self._start_both()

    def memory(self, served: Served) -> MemoryWatch:
        """The watch on a server's memory, running since the first call."""
        self._start_both()
        watch = self._memory[served.name]
        watch.start()
        return watch

    # Answers

    def task(self, name: str | None = None) -> Task:
        """A task by name, or the profile's own. Raises :class:`UsageError` for an unknown one."""
        wanted = name or self.settings.profile.task
        if wanted not in self.tasks:
            raise UsageError(f"no task {wanted!r}; there are {', '.join(sorted(self.tasks))}")
        return self.tasks[wanted]

    def items(self, task: Task) -> tuple[Item, ...]:
        """All items of the task, in the run's order."""
        seed = self.settings.collecting.order_seed
        return self._once(("items", task.name), lambda: load_items(task, self.settings.data_dir, seed=seed))

    def collection(self, served: Served, task: Task, variant: Variant = as_promised) -> Collection:
        """The row's graded answers to ``task``, asked as ``variant`` says: as many as have been needed so far."""
        key = (served.name, task.name, variant)
        if key not in self._collections:
            items = self.items(task)
            for line in self._once(("remarks", task.name), lambda: remarks(task, items)):
                self.tell(line)
            part = self.looks.part(task, variant, items)
            what = _label(served, task, variant)

            def ask_more(more: Sequence[Item], before: int, planned: int) -> tuple[list[Asked], float]:
                return self._evaluation.graded(served, task, variant, more, what, before, planned)

            self._collections[key] = Collection(
                served.name,
                task.name,
                task.source.describe(),
                variant.name,
                part,
                ask_more,
                samples=self.samples(served, variant),
                thinking=served.rules.thinking,
                temperature=variant.sampling(served.sampling).temperature,
                order_seed=self.settings.collecting.order_seed,
            )
        return self._collections[key]

    def answering_j(self, served: Served, task: Task, variant: Variant) -> float | None:
        """Joules of the devices while this process asked the row in this way; None if they are not known."""
        return self.speed.devices.answering_j(served.name, _label(served, task, variant))

    def samples(self, served: Served, variant: Variant) -> int:
        """Answers to each item when the row is asked in this way."""
        return self._evaluation.samples(served.model, variant)

    def add_to(self, record: Path) -> Settings:
        """Make this run a further look: other items, or other answers to them. The settings that it now has.

        Raises :class:`UsageError` if the run of ``record`` is not one that this run can add to.
        """
        names = [model.name for model in self.settings.candidates]
        earlier = read_prior_looks(record, self.comparable(), names)
        self.settings = reseeded(self.settings, earlier.look)
        self.looks = Looks(self.settings, earlier)
        return self.settings

    def planned(self, variant: Variant) -> int:
        """How many items may be asked in this way."""
        return self.sizes.items if variant == as_promised else self.sizes.variant_items

    def long_answers(self, served: Served, prompts: LongPrompts) -> LongAnswers:
        """Replies to long prompts: as many as have been needed so far."""
        key = (served.name, prompts)
        if key not in self._long:
            items = prompts.items(served.model, self.sizes.quality_items, self._shorten)
            what = f"{served.name}: {prompts.what}"

            def ask(more: Sequence[LongItem], before: int) -> tuple[list[Answer], float]:
                bodies = [item.body for item in more]
                replies.begins_inside = self._evaluation.look(served, prompts.what, more)
                return self._evaluation.answers(served, bodies, what, before, len(items))

            self._long[key] = replies = LongAnswers(items, ask)
        return self._long[key]

    def _shorten(self, articles: Articles, count: int) -> Shortened:
        """Cut by the first candidate's tokenizer, whoever is asked: what is compared must be the same texts."""
        served = self.served(self.settings.candidates[0])

        def measure() -> Shortened:
            self.progress(f"{served.name}: {count} articles of {articles.name} cut to their length")
            return shortened(served, articles, self.settings.data_dir, count)

        return self._once(("articles", articles.name, count), measure, served)

    def _long_facts(self) -> dict[str, Any]:
        """Nothing where no long prompt was asked."""
        asked = [(row, prompts, one) for (row, prompts), one in self._long.items() if one.answers]
        count = self.sizes.quality_items
        facts = [
            {"row": row, "what": prompts.what, **prompts.facts(count, self._shorten), **one.facts()}
            for row, prompts, one in asked
        ]
        return {"long_answers": facts} if facts else {}

    # The record

    def comparable(self) -> dict[str, Any]:
        """What two runs must have in common whose data are to be put together."""
        facts = comparable(self.settings, dataclasses.asdict(self.speed.workload()))
        rows = (*self.settings.candidates, self.settings.baseline)
        return facts | {"content": {row.name: self._content_key(row) for row in rows}}

    def _content_key(self, model: Model) -> str | None:
        """Of what the row is made of, as its server read it; None where that is not known."""
        served = self.served(model)
        if served.spec is not None:
            self._contents[model.name] = served.content.key
        elif model.name not in self._contents:
            # A damaged copy is made when it is started, and follows from the weights that it is made of.
            directory = None if model.damage is not None else served.weights_directory()
            if directory is not None:
                self._contents[model.name] = content_of(model, directory).key
        return self._contents.get(model.name)

    def engines(self) -> dict[str, str]:
        """By row, the engine and version of the servers that were started so far."""
        servers = [served.facts() for served in self._served.values() if served.started]
        return {one["row"]: one["engine"] for one in servers if one["engine"] is not None}

    def saving(self) -> tuple[int, int]:
        """Answers that were asked for, and how many had been planned: the rest was not needed to decide."""
        used = [one for one in self._collections.values() if one.asked]
        long = [one for one in self._long.values() if one.answers]
        asked = sum(len(one.asked) for one in used) + sum(len(one.answers) for one in long)
        planned = sum(one.planned * one.samples for one in used) + sum(len(one.items) for one in long)
        return asked, planned

    def facts(self) -> dict[str, Any]:
        """What the record says beside the verdicts: what was chosen, what ran, what was counted."""
        common = self.comparable()
        return {
            "profile": self.settings.profile.name,
            "sizes": dataclasses.asdict(self.sizes),
            "device": {"class": self.settings.device, "name": self.settings.device_name},
            "candidates": [model.name for model in self.settings.candidates],
            "baseline": self.settings.baseline.name,
            "rows": common["rows"],
            "content": common["content"],
            **self.looks.facts(),
            "servers": [served.facts() for served in self._served.values() if served.started],
            "prompts": self._evaluation.prompts.facts(),
            "sampling": self.sampling.facts(),
            "answers": [one.facts() for one in self._collections.values() if one.asked],
            **self._long_facts(),
            **self.likelihoods.facts(),
            **self.speed.facts(),
            "events": self.events(),
        }

    def take_answers(self) -> Iterator[dict[str, Any]]:
        """The answers that were not taken before, as rows of ``record.tables.ANSWERS``."""
        for collection in self._collections.values():
            yield from collection.take_rows()

    def take_traces(self) -> Iterator[dict[str, Any]]:
        """The timed requests that were not taken before, as rows of ``record.tables.TRACES``."""
        return self.speed.loads.take_rows()


def _label(served: Served, task: Task, variant: Variant) -> str:
    return variant.named(f"{served.name}: {task.name}")
