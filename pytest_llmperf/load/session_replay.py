"""Recorded sessions sent again, and the load of each of their turns."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from pytest_llmperf.errors import NotMeasured
from pytest_llmperf.json_values import Json, JsonObject
from pytest_llmperf.load.conversation import OWN_LENGTHS, warm_up
from pytest_llmperf.load.prompt_set import PromptSet
from pytest_llmperf.load.run import LoadRun, ScheduleKept
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.session_file import RecordedSessions
from pytest_llmperf.load.session_loop import SessionLoop, SessionPlan, TurnPlan, rate_of
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.serving.server import Server

_SHARED_WINDOW = (
    "turns of several sessions run in the same seconds, so that one turn has no rate of its own: gate its times, or "
    "its share of cached tokens"
)


def replay_sessions(
    server: Server, recording: RecordedSessions, workload: Workload, options: SendOptions
) -> list[LoadRun]:
    """Send all sessions at their times, with a beginning that no cache knows; returns the load of each turn, the first
    one first.

    ``workload``: the sampling. One client process sends them, whatever ``options.workers`` says. Raises as
    :func:`run_load` does, and ``NotMeasured`` if no session is left before the last turn.
    """
    nonce = options.nonce or secrets.token_hex(8)
    asking = replace(
        workload,
        input_tokens=recording.first_words,
        output_tokens=recording.answer_tokens,
        fixed_output=False,
        warm_cache=True,
        unique=False,
    )
    warmup = min(8, recording.users) if options.warmup is None else options.warmup
    options = replace(options, warmup=0, workers=1)
    warm_up(server, asking, warmup, max(1, warmup), recording.first_words, nonce, options)
    plans, prompts = _planned(recording, nonce)
    loop = SessionLoop(f"sessions of {recording}", plans)
    run = run_load(server, replace(asking, given=PromptSet(recording.file, prompts)), loop, options)
    places = [turn for plan in plans for turn in range(len(plan.turns))]
    return [_turn(run, recording, turn, places, prompts) for turn in range(recording.turns)]


def _planned(recording: RecordedSessions, nonce: str) -> tuple[list[SessionPlan], list[JsonObject]]:
    """The schedule of each session, and the prompts of all of their turns in the order of the sessions."""
    plans: list[SessionPlan] = []
    prompts: list[JsonObject] = []
    for number, session in enumerate(recording.sessions):
        turns: list[TurnPlan] = []
        first = len(prompts)
        for place, turn in enumerate(session.turns):
            messages = recording.messages(number, place, nonce)
            turns.append(TurnPlan(turn.at_s, turn.delay_s, tuple(messages) if session.carries else ()))
            limit: dict[str, Json] = {} if turn.answer_tokens is None else {"max_tokens": turn.answer_tokens}
            prompts.append({"messages": messages, **turn.fields, **limit})
        plans.append(SessionPlan(first, tuple(turns), session.carries))
    return plans, prompts


def _turn(
    run: LoadRun, recording: RecordedSessions, turn: int, places: Sequence[int], prompts: Sequence[JsonObject]
) -> LoadRun:
    """The requests of one turn (from 0) as a load of their own."""
    assert run.open_loop is not None
    own = [at for at, trace in enumerate(run.traces) if places[trace.index] == turn]
    traces = tuple(run.traces[at] for at in own)
    if not traces:
        error = next((trace.error for trace in run.traces if trace.error), "no answer has a text")
        raise NotMeasured(
            f"no session of {recording.file} went on after turn {turn}; the first error: {error}"
        )
    name = f"turn {turn + 1} of conversations {recording.name}"
    given = PromptSet(name, [prompts[at] for at, place in enumerate(places) if place == turn])
    # The server's counters are of all turns together.
    alone = recording.turns == 1
    return replace(
        run,
        workload=replace(run.workload, given=given),
        traces=traces,
        start_s=min(trace.intended_s for trace in traces),
        end_s=max(trace.end_s for trace in traces),
        cache=run.cache if alone else None,
        counters=run.counters if alone else None,
        open_loop=ScheduleKept(
            f"turn {turn + 1} of {run.open_loop.schedule}",
            rate_of([trace.intended_s for trace in traces]),
            tuple(run.open_loop.own_delay_s[at] for at in own),
        ),
        length_problem=OWN_LENGTHS,
        is_round=True,
        rate_problem="" if alone else _SHARED_WINDOW,
        gave_up=recording.users_in(turn + 1) - len(traces),
    )
