"""Sending the requests of a task and grading the answers, with the progress shown."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from pytest_llmperf.client.answer_cache import AnswerCache, complete_with_cache
from pytest_llmperf.client.answers import Answer, complete_all
from pytest_llmperf.client.real_clock import RealClock
from pytest_llmperf.client.saturation import Saturation
from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import InfrastructureError
from pytest_llmperf.gates.decision import MAX_LOST_SHARE
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.measure.answers import GradedAnswer
from pytest_llmperf.measure.devices import Devices
from pytest_llmperf.measure.long_prompts import LongItem
from pytest_llmperf.measure.prompt_check import PromptCheck
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.servers import Servers, may_be_a_death, raise_if_dead
from pytest_llmperf.prompts.asking import ask_item
from pytest_llmperf.prompts.variants import Variant, model_default
from pytest_llmperf.report.progress import Pace
from pytest_llmperf.serving.content import identity_of
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.request import ReplyMessage
from pytest_llmperf.tasks.task import Item, Task, load_shots, sample_of
from pytest_llmperf.tasks.thinking import with_thinking

T = TypeVar("T")
G = TypeVar("G")

PATIENCE_S = 0.1
"""Grade one after the other for this long before threads are used."""
SLOW_S = 0.001
"""A grade that takes longer is made by another process (``tasks.symbolic``), for which threads can wait; handing a
quicker one to a thread costs more than the grade."""


@dataclass
class Evaluation:
    """Asks the servers of a run, samples the devices meanwhile, and logs the answers where there is a ``log``."""

    servers: Servers
    devices: Devices
    log: AnswerCache | None = None
    prompts: PromptCheck = field(default_factory=PromptCheck)
    _in_flight: dict[str, Saturation] = field(default_factory=dict)

    def graded(
        self,
        served: Served,
        task: Task,
        variant: Variant,
        items: Sequence[Item],
        what: str,
        before: int,
        planned: int,
    ) -> tuple[list[GradedAnswer], float]:
        """Ask and grade every item, in their order and each sample by sample; returns the seconds as well.

        ``what`` is shown as progress, ``before`` items of ``planned`` having been asked earlier. Raises
        :class:`ServerDied` if the server is gone, :class:`NotMeasured` if a prompt is not what is meant.
        """
        model = served.model
        few_shot = model.rules.protocol == "few-shot"
        shots = load_shots(task, self.servers.settings.data_dir) if few_shot else ()
        samples = self.samples(model, variant)
        order = [(item, sample) for item in items for sample in range(samples)]
        asks = [ask_item(model, item, variant, shots=shots, sample=n) for item, n in order]
        self.servers.memory(served)
        begins_inside = self.prompts.look(served, task.name, variant, asks, [item.id for item, _ in order])
        # A template may open a thinking that the row does not promise, or close one that it does.
        thinking = model.rules.thinking if begins_inside is None else begins_inside
        bodies = [asked.body() for asked in asks]
        answers, seconds = self.answers(served, bodies, what, before * samples, planned * samples)

        def graded(sent: tuple[tuple[Item, int], JsonObject, Answer]) -> GradedAnswer:
            (item, sample), body, answer = sent
            reply = with_thinking(answer.reasoning, answer.text) if answer.reasoning else answer.text
            if not answer.ok:
                grade = Grade(Outcome.INFRA, answer.outcome.value)
            elif task.message_grader is not None:
                message = ReplyMessage(answer.text, answer.reasoning, answer.tool_calls, answer.finish_reason)
                grade = task.message_grader(message, item, thinking=thinking)
            else:
                grade = task.grader(
                    reply,
                    item.answer,
                    finish_reason=answer.finish_reason,
                    thinking=thinking,
                    protocol=model.rules.protocol,
                )
            return GradedAnswer(item.id, body, answer, grade, reply, sample, begins_inside, sample_of(item))

        return grade_all(graded, list(zip(order, bodies, answers, strict=True))), seconds

    def look(self, served: Served, task: str, items: Sequence[LongItem]) -> bool | None:
        """Check prompts that are request bodies already; returns whether the replies begin inside a thinking, None if
        unknown.

        Raises as :meth:`graded`.
        """
        self.servers.memory(served)
        asks = [item.ask for item in items]
        return self.prompts.look(served, task, model_default, asks, [item.id for item in items])

    def samples(self, model: Model, variant: Variant) -> int:
        """Number of answers to each item: one at temperature 0, where all of them are the same but for rounding."""
        sampling = variant.sampling(model.sampling)
        return sampling.samples if sampling.temperature > 0 else 1

    def answers(
        self,
        served: Served,
        bodies: Sequence[JsonObject],
        what: str,
        before: int = 0,
        planned: int | None = None,
    ) -> tuple[list[Answer], float]:
        """One answer a request, in their order, and the seconds that it took; raises as :meth:`graded` does.

        Raises ``NotMeasured`` if a test replaces the clock: seconds and timeouts would be of its making.
        """
        self.servers.memory(served)
        if bodies:
            asked_for = what.removeprefix(f"{served.name}: ")
            self.servers.sampling.note(served.model, served.weights_directory, asked_for, bodies[0])
        clock = RealClock()
        began = time.monotonic()
        pace = Pace(planned or len(bodies), before)

        def progress(done: int, total: int) -> None:
            del total
            self.servers.progress(f"{what}: {pace.describe(before + done)}")

        with self.devices.beside(served, what=what):
            answers = self._asked(served, bodies, progress)
        clock.check()
        served.tell_capabilities()
        if any(may_be_a_death(answer) for answer in answers):
            # A dead server must be reported as such, whatever the gates would make of the rest.
            try:
                raise_if_dead(served)
            except InfrastructureError:
                if self.log is not None:
                    self.log.mark_incomplete()
                raise
        return answers, time.monotonic() - began

    def _asked(
        self, served: Served, bodies: Sequence[JsonObject], progress: Callable[[int, int], None]
    ) -> list[Answer]:
        """Answers of an interrupted run where there are any, and the rest from the server, logged as they come."""
        server, log = served.server, self.log
        # A stream costs a packet for every token, and nothing here reads along. A server by its URL streams all the
        # same: a proxy on the way may cut a connection that is silent for long.
        whole = served.engine.is_started
        if log is None:
            return complete_all(
                server, bodies, concurrency=self._saturation(served), on_progress=progress, whole=whole
            )
        # Not remembered: a server that was started again may have read other files.
        device = self.servers.settings.device_name
        identity = identity_of(served.model, server, served.spec, served.content, device)
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
        """Return the number of requests to keep in flight at this server, as earlier tasks have learnt it."""
        if served.name not in self._in_flight:
            replicas = served.engine.replicas(served.model.arguments)
            self._in_flight[served.name] = Saturation(
                *self.servers.sizes.flight(served.model.in_flight, replicas)
            )
        return self._in_flight[served.name]


def grade_all(grade: Callable[[T], G], answers: Sequence[T], *, patience_s: float = PATIENCE_S) -> list[G]:
    """``grade`` of each answer, in their order; raises what it raises.

    Called from several threads once ``patience_s`` have passed and a grade takes longer than :data:`SLOW_S` on average.
    """
    grades: list[G] = []
    began = time.perf_counter()
    for done, answer in enumerate(answers):
        spent = time.perf_counter() - began
        if spent > patience_s and spent > done * SLOW_S:
            break
        grades.append(grade(answer))
    if left := answers[len(grades) :]:
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="llmperf-grader") as pool:
            grades += pool.map(grade, left)
    return grades
