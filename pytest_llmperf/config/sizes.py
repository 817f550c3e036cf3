"""Sizes of a run: enough data for the gates to be decided, no more than the time allows.

Every profile has sizes of its own, ``[profile.NAME.sizes]`` in ``models.toml``; what it leaves out is :data:`GPU`'s
where its rows need a GPU, and :data:`EMBEDDED`'s where they do not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from pytest_llmperf.errors import UsageError

LEAST_ROUNDS = 5
"""Rounds below which no interval of a ratio has 95 % (Hodges-Lehmann, `stats.hodges_lehmann.least_n`)."""


@dataclass(frozen=True)
class Sizes:
    """Items, rounds and requests of one run."""

    items: int
    """Items of an accuracy task at most, for candidate and baseline."""
    variant_items: int
    """Items for each way of asking that differs from the row's own rules."""
    quality_items: int
    """Summaries, and conversations of each length."""
    documents: int
    """Texts whose perplexity is measured."""
    fidelity_answers: int
    """Answers of the baseline whose tokens both sides score."""
    fidelity_tokens: int
    """Longest of these answers; they end where the row's own ``max_tokens`` are fewer."""
    in_flight: int
    """Requests in flight while answers are collected (not while anything is timed), at first; of each replica of a
    data-parallel server."""
    most_in_flight: int
    """Requests in flight at most, however many more the server could take; of each replica."""
    rounds: int
    """Rounds of a load on each side, at each concurrency; a ratio needs 5, a p95 about 59.

    Many and short: what disturbs a machine lasts for seconds and hits a round, not a side; and since the samples of
    one round are worth as little as one when it does, a p95 needs about as many rounds as it needs samples.
    """
    prompt_tokens: int
    """Tokens of each prompt of a load."""
    answer_tokens: int
    """Tokens of each answer of a load; so many that it outlasts the moments for which a busy machine keeps a process
    waiting."""
    starts: int = 1
    """Pairs of starts of both servers that a comparison of speed takes; three tell how starts differ, and
    ``--llmperf-plan`` how many the budgets need."""
    requests: int = 300
    """Requests of a load on a schedule: thirty slices of ten, of which a p95 needs some twenty that are nearly
    independent."""
    cost_items: int = 300
    """Items of which the cost of a right answer is measured, however many others ask for: the number is chosen
    beforehand, since a gate that stops when enough are right would choose its items by what they cost."""
    workers: int | None = None
    """Client processes that send and read a load; not given: one, and more where it needs too much of its core."""
    energy_items: int = 100
    """Items that the energy of a right answer is measured over, if no other gate has asked for more."""

    def requests_per_round(self, concurrency: int) -> int:
        """One wave of a full house; of single requests a few, for one alone is over too soon to time a token by."""
        return max(3, concurrency)

    def flight(self, of_row: int | None, replicas: int) -> tuple[int, int]:
        """Requests in flight while answers are collected, at first and at most.

        ``of_row``: what the row fixes, for the whole server; None: the profile's, for each of its ``replicas``.
        """
        if of_row is not None:
            return of_row, of_row
        return replicas * self.in_flight, replicas * self.most_in_flight

    @property
    def load(self) -> LoadShape:
        """The load of this profile where a test says nothing else."""
        return LoadShape(self.prompt_tokens, self.answer_tokens, self.rounds)

    def shape(
        self, *, prompt_tokens: int | None = None, answer_tokens: int | None = None, rounds: int | None = None
    ) -> LoadShape:
        """The load that a test asks for, what it leaves open as the profile has it.

        Raises :class:`UsageError` with the value seen and the one needed.
        """
        given = {"prompt_tokens": prompt_tokens, "answer_tokens": answer_tokens, "rounds": rounds}
        said = {name: value for name, value in given.items() if value is not None}
        for name, value in said.items():
            least = LEAST[name]
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                why = ": fewer rounds give no interval" if name == "rounds" else ""
                raise UsageError(f"load: {name}={value!r}, need a whole number, {least} or more{why}")
        return dataclasses.replace(self.load, **said)

    def requests_of(self, requests: int | None) -> int:
        """Requests of a load on a schedule, the profile's unless a test says how many."""
        return self.requests if requests is None else requests


@dataclass(frozen=True)
class LoadShape:
    """One kind of load: what it sends, and how often."""

    prompt_tokens: int
    answer_tokens: int
    rounds: int

    def suffix(self, profile: Sizes) -> str:
        """Behind a metric's name: ``", 2048 → 128 tokens"`` where that is not the profile's load, else nothing."""
        usual = (profile.prompt_tokens, profile.answer_tokens)
        own = (self.prompt_tokens, self.answer_tokens)
        return "" if own == usual else f", {self.prompt_tokens} → {self.answer_tokens} tokens"


# An answer of one token has no time between tokens.
LEAST = {
    **{field.name: 1 for field in dataclasses.fields(Sizes)},
    "rounds": LEAST_ROUNDS,
    "answer_tokens": 2,
    "requests": 10,
}
"""The least value of each size."""

EMBEDDED = Sizes(
    items=1500,
    variant_items=240,
    quality_items=240,
    cost_items=600,
    documents=40,
    fidelity_answers=200,
    fidelity_tokens=128,
    in_flight=64,
    most_in_flight=128,
    rounds=64,
    prompt_tokens=64,
    answer_tokens=32,
)
GPU = Sizes(
    items=1319,
    variant_items=400,
    quality_items=500,
    documents=300,
    fidelity_answers=400,
    fidelity_tokens=256,
    in_flight=64,
    most_in_flight=512,
    rounds=64,
    prompt_tokens=512,
    answer_tokens=128,
)
