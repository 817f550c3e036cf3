"""The questions about speed: ``load(model, concurrency=8)``, ``load.interleaved(…)``, ``load.open_loop(…)``, …"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_llmperf.client.trace import Trace
from pytest_llmperf.errors import NotMeasured, UsageError
from pytest_llmperf.gates.base import Judge, side_of
from pytest_llmperf.gates.bracket import Bracketed
from pytest_llmperf.gates.proportion import Share
from pytest_llmperf.load.conversation import Conversation
from pytest_llmperf.load.goodput import RateSearch, Slo
from pytest_llmperf.load.prompt_set import PromptSet
from pytest_llmperf.load.replay import Unit
from pytest_llmperf.load.session_file import RecordedSessions, read_sessions
from pytest_llmperf.measure import streaming
from pytest_llmperf.measure.book import Book, booked
from pytest_llmperf.measure.conversations import ConversationResult
from pytest_llmperf.measure.load_results import LoadResult, Pair
from pytest_llmperf.measure.measurements import Measurements
from pytest_llmperf.measure.one_server import refuse_one_model
from pytest_llmperf.measure.scheduled import SweepResult, arrivals_at, bracketed, levels_of, replayed
from pytest_llmperf.measure.served import Served


class LoadQuestions:
    """Timed requests: ``load(model, concurrency=8)``, ``load.interleaved(a, b, concurrency=8)``.

    ``prompt_tokens``, ``answer_tokens``, ``rounds`` and ``requests`` replace the profile's sizes. ``refuse`` raises if
    times measured now would mean nothing.
    """

    def __init__(self, data: Measurements, judge: Judge, refuse: Callable[[], None], book: Book) -> None:
        self._data, self._judge, self._refuse = data, judge, refuse
        self.book = book

    @booked("load")
    def __call__(
        self,
        served: Served,
        *,
        concurrency: int,
        prompt_tokens: int | None = None,
        answer_tokens: int | None = None,
        rounds: int | None = None,
    ) -> LoadResult:
        """Metrics of one model. Taken from the rounds of the comparison if this run compares anyway."""
        self._refuse()
        sizes = self._data.sizes
        shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, rounds=rounds)
        data = self._data.load(served, concurrency, shape)
        return LoadResult(self._judge, concurrency, data, shape.suffix(sizes))

    @booked("load")
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
        """Both models in turn, in short rounds, on the same machine in the same minutes.

        Raises :class:`NotMeasured` for the baseline in the candidate's place, and for a row and its alias.
        """
        sides = [side_of(self._data.sided(self._judge, served)) for served in (candidate, baseline)]
        if sides in (["baseline", "candidate"], ["baseline", ""]):
            raise NotMeasured(
                "load.interleaved was given the baseline in the candidate's place, so that every ratio would be upside "
                "down: write load.interleaved(candidate, baseline, …)"
            )
        refuse_one_model(candidate.model, [baseline.model], "the speed")
        self._refuse()
        sizes = self._data.sizes
        shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, rounds=rounds)
        data = self._data.pair(candidate, baseline, concurrency, shape)
        shared = " on one server" if candidate is not baseline and candidate.host is baseline.host else ""
        return Pair(self._judge, concurrency, data, f"{shape.suffix(sizes)}{shared}")

    @booked("load")
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
    ) -> LoadResult:
        """Requests at ``rate`` a second, whether or not the earlier ones are answered: users who do not know of each
        other. ``burstiness`` 1 is Poisson, below 1 they come in bursts, None: evenly spaced.

        ``prompts`` are a file's (JSON lines), a task's (``"gsm8k"``), or of ``load.given``; no cache knows them
        unless ``warm_cache`` is wanted."""
        self._refuse()
        sizes = self._data.sizes
        shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
        schedule = arrivals_at(rate, sizes.requests_of(requests), burstiness, seed)
        given = self._data.prompts(served, prompts)
        data = self._data.on_schedule(served, schedule, given=given, warm_cache=warm_cache, shape=shape)
        return LoadResult(self._judge, f"{rate:g} requests/s{shape.suffix(sizes)}", data)

    @booked("load")
    def conversations(
        self,
        served: Served,
        *,
        users: int | None = None,
        turns: int | None = None,
        think_s: float | None = None,
        next_tokens: int | None = None,
        prompts: str | Path | None = None,
        prompt_tokens: int | None = None,
        answer_tokens: int | None = None,
        rounds: int | None = None,
    ) -> ConversationResult:
        """Conversations of ``turns`` turns, whose next prompt holds the server's real answer; ``users`` ask at once,
        and again ``think_s`` seconds after the last answer. Each says about ``prompt_tokens`` tokens at first, and then
        ``next_tokens``; answers end by themselves, at ``answer_tokens`` at most. ``.turn(2)`` has the metrics of the
        second turn. ``turns`` is 3, ``think_s`` 0 and ``next_tokens`` 32 where nothing is said.

        ``prompts``: a file of sessions, which says all of these instead. In aiperf's multi-turn form its users ask each
        turn at once, after the longest delay that a session has there. In Mooncake's form, with ``messages``,
        ``text_input`` or ``input_length``, each session keeps its own times (``load.session_file``)."""
        self._refuse()
        sizes = self._data.sizes
        shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens, rounds=rounds)
        said = {
            "users": users,
            "turns": turns,
            "think_s": think_s,
            "next_tokens": next_tokens,
            "prompt_tokens": prompt_tokens,
        }
        given = [name for name, value in said.items() if value is not None]
        if given if prompts is not None else users is None:
            also = f"; prompts was given with {', '.join(given)}" if given and prompts is not None else ""
            raise UsageError(f"load.conversations needs users=8, or prompts=FILE, which says the rest{also}")
        if prompts is not None:
            asked: Conversation | RecordedSessions = _of_file(Path(prompts), shape.answer_tokens)
        else:
            try:
                asked = Conversation(
                    users,  # type: ignore[arg-type]
                    3 if turns is None else turns,
                    shape.prompt_tokens,
                    32 if next_tokens is None else next_tokens,
                    shape.answer_tokens,
                    0.0 if think_s is None else think_s,
                )
            except (ValueError, TypeError) as error:
                raise UsageError(f"load.conversations: {error}") from error
        data = self._data.conversations(served, asked, shape.rounds)
        if isinstance(asked, RecordedSessions):
            return ConversationResult(self._judge, repr(asked), data)
        suffix = shape.suffix(sizes) if asked.script is None else f", {asked.script.name}"
        return ConversationResult(self._judge, asked.users, data, suffix)

    @booked("load")
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
        block_tokens: int | None = None,
    ) -> LoadResult:
        """A recorded load again (``load.replay`` says which files), ``faster`` times as fast; prompts and
        answers cut to ``at_most`` tokens. ``unit``: of the file's timestamps, ``"s"`` or ``"ms"``, where the
        file does not tell it. Prompts share what the recorded ones shared, by ``hash_ids``: blocks of ``block_tokens``
        (0: they share nothing)."""
        self._refuse()
        replay = replayed(path, faster, skip, requests, at_most, unit, block_tokens)
        self._data.tell(replay.note)
        data = self._data.on_schedule(
            served, replay.schedule, replay.shapes, warm_cache=replay.shares_prefixes
        )
        return LoadResult(self._judge, replay.schedule.name, data)

    @booked("load")
    def sweep(
        self,
        served: Served,
        *,
        concurrency: Sequence[int] = (),
        rate: Sequence[float] = (),
        seconds: float = 30.0,
        prompt_tokens: int | None = None,
        answer_tokens: int | None = None,
    ) -> SweepResult:
        """One level after the other, to the knee: requests in flight (``concurrency``), or requests a second
        (``rate``, for ``seconds`` each)."""
        self._refuse()
        levels_of(concurrency, rate)
        sizes = self._data.sizes
        shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
        found = self._data.sweep(served, concurrency, rate, seconds, shape)
        unit = "in flight" if concurrency else "requests/s"
        return SweepResult.of(self._judge, found, unit, shape.suffix(sizes))

    @booked("load")
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
        """The share of the requests at ``rate`` a second (Poisson) that meet the SLO; failed ones do not."""
        self._refuse()
        sizes = self._data.sizes
        shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
        schedule = arrivals_at(rate, sizes.requests_of(requests), 1.0, seed)
        outcomes, unusable = self._data.goodput(served, schedule, shape, slo)
        metric = f"goodput at {rate:g} requests/s{shape.suffix(sizes)}"
        return Share(metric, outcomes, noun="slice", judge=self._judge, unusable=unusable)

    @booked("load")
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
        """The highest rate at which ``share`` of the requests meet the SLO, searched for between two rates."""
        self._refuse()
        try:
            search = RateSearch(lowest, highest, share)
        except ValueError as error:
            raise UsageError(f"load.max_rate: {error}") from error
        sizes = self._data.sizes
        shape = sizes.shape(prompt_tokens=prompt_tokens, answer_tokens=answer_tokens)
        count = sizes.requests_of(requests)
        found, unusable = self._data.max_rate(served, slo, search, count, shape)
        return bracketed(self._judge, found, unusable, shape.suffix(sizes))


def _of_file(path: Path, answer_tokens: int) -> Conversation | RecordedSessions:
    """The conversations of a file; answers have ``answer_tokens`` at most where it does not say otherwise."""
    found = read_sessions(path)
    if isinstance(found, RecordedSessions):
        return replace(found, answer_tokens=answer_tokens)
    return Conversation.of_script(found, answer_tokens)


class StreamQuestions:
    """Single streamed requests, for tests of how a stream behaves."""

    def __init__(self, book: Book) -> None:
        self.book = book

    def __call__(self, served: Served, question: str, **fields: Any) -> Trace:
        return self.together(served, [question], **fields)[0]

    @booked("stream", gated=False)
    def together(self, served: Served, questions: Sequence[str], **fields: Any) -> list[Trace]:
        """All at the same time; ``fields`` override the row's sampling."""
        return streaming.together(served, questions, fields)
