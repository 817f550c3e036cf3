"""Many requests, and those that an interrupted run has had answered are not sent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_llmperf.client.answer_log import AnswerLog
from pytest_llmperf.client.answers import Answer, complete_all
from pytest_llmperf.client.saturation import Saturation
from pytest_llmperf.serving.server import Server


def complete_the_rest(
    server: Server,
    requests: Sequence[Mapping[str, Any]],
    log: AnswerLog,
    engine: str,
    *,
    vouched: bool = True,
    concurrency: int | Saturation = 32,
    on_progress: Callable[[int, int], None] | None = None,
    whole: bool = False,
) -> list[Answer]:
    """One answer a request, in their order: from the log where it has one, else from the server, and into the log.

    ``engine`` and ``vouched`` are those of :meth:`AnswerLog.take`. Raises what ``complete_all`` raises.
    """
    answers = [log.take(engine, body, vouched=vouched) for body in requests]
    missing = [index for index, answer in enumerate(answers) if answer is None]
    known = len(requests) - len(missing)

    def keep(answer: Answer) -> None:
        log.keep(engine, requests[missing[answer.index]], answer)

    def progress(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(known + done, known + total)

    new = complete_all(
        server,
        [requests[index] for index in missing],
        concurrency=concurrency,
        on_progress=progress,
        on_answer=keep,
        whole=whole,
    )
    for index, answer in zip(missing, new, strict=True):
        answers[index] = answer
    return [dataclasses.replace(answer, index=i) for i, answer in enumerate(answers) if answer is not None]
