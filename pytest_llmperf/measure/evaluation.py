"""Asking a server many things: the requests of a task sent, the answers graded, the progress told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmperf.client.answers import Answer, complete_all
from pytest_llmperf.measure.asking import Asked
from pytest_llmperf.measure.deaths import may_be_a_death, raise_if_dead
from pytest_llmperf.measure.served import Served
from pytest_llmperf.measure.sizes import Sizes
from pytest_llmperf.report.pace import Pace
from pytest_llmperf.rules.messages import Variant, ask
from pytest_llmperf.settings import Settings
from pytest_llmperf.tasks.boxes import with_thinking
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.task import Item, Task, load_shots


@dataclass(frozen=True)
class Evaluation:
    """How this run asks. ``before`` is called with a server before it is asked the first thing."""

    settings: Settings
    sizes: Sizes
    progress: Callable[[str], None] = field(repr=False)
    before: Callable[[Served], object] = field(repr=False)

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
        """Every item asked once and graded, in their order, and the seconds that it took.

        ``what`` is told as progress, ``before`` items of ``planned`` having been asked earlier. Raises
        :class:`ServerDied` if the server is gone.
        """
        model = served.model
        few_shot = model.rules.protocol == "few-shot"
        shots = load_shots(task, self.settings.data_dir) if few_shot else ()
        bodies = [ask(model, item.prompt, variant, shots=shots).body() for item in items]
        answers, seconds = self.answers(served, bodies, what, before, planned)

        def graded(item: Item, body: Mapping[str, Any], answer: Answer) -> Asked:
            reply = with_thinking(answer.reasoning, answer.text) if answer.reasoning else answer.text
            grade = (
                task.grader(
                    reply,
                    item.answer,
                    finish_reason=answer.finish_reason,
                    thinking=model.rules.thinking,
                    protocol=model.rules.protocol,
                )
                if answer.ok
                else Grade(Outcome.INFRA, answer.outcome.value)
            )
            return Asked(item.id, body, answer, grade, reply)

        return [graded(*one) for one in zip(items, bodies, answers, strict=True)], seconds

    def answers(
        self,
        served: Served,
        bodies: Sequence[Mapping[str, Any]],
        what: str,
        before: int = 0,
        planned: int | None = None,
    ) -> tuple[list[Answer], float]:
        """One answer a request, in their order, and the seconds that it took; else as :meth:`graded`."""
        self.before(served)
        began = time.monotonic()
        pace = Pace(planned or len(bodies), before)

        def progress(done: int, total: int) -> None:
            del total
            self.progress(f"{what}: {pace.said(before + done)}")

        answers = complete_all(
            served.server, bodies, concurrency=self.sizes.concurrency, on_progress=progress
        )
        if any(may_be_a_death(answer.outcome, answer.error) for answer in answers):
            # Whatever the gates would make of the rest, a dead server is to be called by its name.
            raise_if_dead(served)
        return answers, time.monotonic() - began
