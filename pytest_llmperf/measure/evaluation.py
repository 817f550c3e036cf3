"""Asking a server many things: the requests of a task sent, the answers graded, the progress told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from pytest_llmperf.client.answer_cache import AnswerCache, complete_with_cache
from pytest_llmperf.client.answers import Answer, complete_all
from pytest_llmperf.client.real_clock import RealClock
from pytest_llmperf.client.saturation import Saturation
from pytest_llmperf.config.models import Model
from pytest_llmperf.config.run_config import Settings
from pytest_llmperf.config.sizes import Sizes
from pytest_llmperf.errors import InfrastructureError
from pytest_llmperf.gates.decision import MAX_LOST_SHARE
from pytest_llmperf.measure.asking import Asked
from pytest_llmperf.measure.conversations import LongItem
from pytest_llmperf.measure.deaths import may_be_a_death, raise_if_dead
from pytest_llmperf.measure.marking import marked
from pytest_llmperf.measure.prompt_check import PromptCheck
from pytest_llmperf.measure.sampling import SamplingBook
from pytest_llmperf.measure.served import Served
from pytest_llmperf.report.progress import Pace
from pytest_llmperf.rules.messages import Variant, as_promised, ask, asked_in
from pytest_llmperf.serving.content import identity_of
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.task import Item, Task, load_shots
from pytest_llmperf.tasks.thinking import with_thinking


@dataclass(frozen=True)
class Evaluation:
    """How this run asks. ``before`` is called with a server before it is asked the first thing."""

    settings: Settings
    sizes: Sizes
    progress: Callable[[str], None] = field(repr=False)
    before: Callable[[Served], object] = field(repr=False)
    beside: Callable[[Served, str], AbstractContextManager[None]] = field(repr=False)
    """What is sampled while a server is asked; the text says what it is asked for."""
    log: AnswerCache | None = None
    prompts: PromptCheck = field(default_factory=PromptCheck, repr=False)
    sampling: SamplingBook = field(default_factory=lambda: SamplingBook(lambda _: None), repr=False)
    _busy: dict[str, Saturation] = field(default_factory=dict, repr=False)

    def graded(
        self,
        served: Served,
        task: Task,
        variant: Variant,
        items: Sequence[Item],
        what: str,
        before: int,
        planned: int,
    ) -> tuple[list[Asked], float]:
        """Every item asked and graded, in their order and each sample by sample, and the seconds that it took.

        ``what`` is told as progress, ``before`` items of ``planned`` having been asked earlier. Raises
        :class:`ServerDied` if the server is gone, :class:`NotMeasured` if a prompt is not what is meant.
        """
        model = served.model
        few_shot = model.rules.protocol == "few-shot"
        shots = load_shots(task, self.settings.data_dir) if few_shot else ()
        samples = self.samples(model, variant)
        order = [(item, sample) for item in items for sample in range(samples)]
        asks = [ask(model, item.prompt, variant, shots=shots, sample=n) for item, n in order]
        self.before(served)
        begins_inside = self.prompts.look(served, task.name, variant, asks, [item.id for item, _ in order])
        # A template may open a thinking that the row does not promise, or close one that it does.
        thinking = model.rules.thinking if begins_inside is None else begins_inside
        bodies = [one.body() for one in asks]
        answers, seconds = self.answers(served, bodies, what, before * samples, planned * samples)

        def graded(one: tuple[tuple[Item, int], Mapping[str, Any], Answer]) -> Asked:
            (item, sample), body, answer = one
            reply = with_thinking(answer.reasoning, answer.text) if answer.reasoning else answer.text
            grade = (
                task.grader(
                    reply,
                    item.answer,
                    finish_reason=answer.finish_reason,
                    thinking=thinking,
                    protocol=model.rules.protocol,
                )
                if answer.ok
                else Grade(Outcome.INFRA, answer.outcome.value)
            )
            return Asked(item.id, body, answer, grade, reply, sample, begins_inside)

        return marked(graded, list(zip(order, bodies, answers, strict=True))), seconds

    def look(self, served: Served, task: str, items: Sequence[LongItem]) -> bool | None:
        """Check prompts that are bodies already. Returns whether the replies begin inside a thinking, None if unknown.

        Raises as :meth:`graded`.
        """
        self.before(served)
        asks = [asked_in(item.body, served.model) for item in items]
        return self.prompts.look(served, task, as_promised, asks, [item.id for item in items])

    def samples(self, model: Model, variant: Variant) -> int:
        """Answers to each item: one at temperature 0, where all of them are the same but for rounding."""
        sampling = variant.sampling(model.sampling)
        return (self.settings.collecting.samples or sampling.samples) if sampling.temperature > 0 else 1

    def answers(
        self,
        served: Served,
        bodies: Sequence[Mapping[str, Any]],
        what: str,
        before: int = 0,
        planned: int | None = None,
    ) -> tuple[list[Answer], float]:
        """One answer a request, in their order, and the seconds that it took; else as :meth:`graded`.

        Raises ``NotMeasured`` if a test replaces the clock: seconds and timeouts would be of its making.
        """
        self.before(served)
        if bodies:
            asked_for = what.removeprefix(f"{served.name}: ")
            self.sampling.note(served.model, served.weights_directory, asked_for, bodies[0])
        clock = RealClock()
        began = time.monotonic()
        pace = Pace(planned or len(bodies), before)

        def progress(done: int, total: int) -> None:
            del total
            self.progress(f"{what}: {pace.describe(before + done)}")

        with self.beside(served, what):
            answers = self._asked(served, bodies, progress)
        clock.check()
        served.tell_capabilities()
        if any(may_be_a_death(answer.outcome, answer.status) for answer in answers):
            # Whatever the gates would make of the rest, a dead server is to be called by its name.
            try:
                raise_if_dead(served)
            except InfrastructureError:
                if self.log is not None:
                    self.log.mark_incomplete()
                raise
        return answers, time.monotonic() - began

    def _asked(
        self, served: Served, bodies: Sequence[Mapping[str, Any]], progress: Callable[[int, int], None]
    ) -> list[Answer]:
        """Answers of an interrupted run where there are any, and the rest from the server, logged as they come."""
        server, log = served.server, self.log
        # A stream costs server and client a parcel for every token. Nobody reads along here; but between us and a
        # server that others run there may be something that cuts what is silent for long.
        whole = served.engine.is_started
        if log is None:
            return complete_all(
                server, bodies, concurrency=self._saturation(served), on_progress=progress, whole=whole
            )
        # Not remembered: a server that was started again may have read other files.
        identity = identity_of(served.model, server, served.spec, served.content, self.settings.device_name)
        try:
            answers = complete_with_cache(
                server,
                bodies,
                log,
                identity.key,
                vouched=identity.vouched,
                concurrency=self._saturation(served),
                on_progress=progress,
                whole=whole,
            )
        except InfrastructureError:
            log.mark_incomplete()
            raise
        if sum(not answer.ok for answer in answers) > MAX_LOST_SHARE * len(bodies):
            log.mark_incomplete()
        return answers

    def _saturation(self, served: Served) -> Saturation:
        """How many requests to keep in flight at this server, with what was found out about it before."""
        if served.name not in self._busy:
            said = self.settings.collecting.in_flight or served.model.in_flight
            first, most = (said, said) if said else (self.sizes.in_flight, self.sizes.most_in_flight)
            self._busy[served.name] = Saturation(first, most)
        return self._busy[served.name]
