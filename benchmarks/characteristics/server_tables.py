"""Gates on forms, calls of tools, drafts, cached prompts, long texts, the length of answers and groups of lm-eval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.characteristics.table import (
    CODES_WITH_INVALID,
    OURS,
    PASS,
    Inputs,
    Row,
    Setting,
    Table,
    at_least,
    both_errors,
    row,
)
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.mean import MacroF1Gate
from pytest_llmperf.gates.mean_ratio import LengthGate
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.totals import RoundTotals, TotalsGate

NEEDLES = 4
ROUNDS, REQUESTS, DRAFT, TOKENS = 64, 8, 4, 32
"""Rounds of a load, requests of a round, draft tokens of a step, tokens of an answer."""
PROMPT, BLOCK = 1024, 16
"""Tokens of a prompt, and of a block of the prefix cache."""
SIZES = [20, 40, 60, 80] * 5
"""Items of each task of an lm-eval group."""
Draw = Callable[[np.random.Generator], Gate]


@dataclass(frozen=True)
class Asked:
    """A gate, its bound, and how one run's data are drawn at the bound and where nothing is wrong."""

    name: str
    bound: str
    n: str
    at_the_bound: Draw
    sound: Draw
    truth: str
    """The truth where nothing is wrong."""


def share(floor: float, truth: float, n: int, *, at_least: bool = True) -> tuple[Draw, Draw]:
    """Draw a share of answers at its bound, and at a truth."""

    def drawn(rate: float) -> Draw:
        def gate(rng: np.random.Generator) -> Gate:
            outcomes = dict(zip(map(str, range(n)), (rng.random(n) < rate).tolist(), strict=True))
            return ProportionGate(metric="share", bound=floor, at_least=at_least, candidate=outcomes)

        return gate

    return drawn(floor), drawn(truth)


def trigger_f1(bound: float, truth: float, n: int) -> tuple[Draw, Draw]:
    """Calls where a call is needed, and none where not: half of the requests need one, errors are even."""

    def drawn(right: float) -> Draw:
        def gate(rng: np.random.Generator) -> Gate:
            pairs = {}
            for item, hit in enumerate((rng.random(n) < right).tolist()):
                needed = item % 2
                made = needed if hit else 1 - needed
                pairs[str(item)] = (_CALLS[needed], _CALLS[made])
            return MacroF1Gate(
                metric="trigger F1", bound=bound, at_least=True, candidate=pairs, classes=_CALLS
            )

        return gate

    return drawn(bound), drawn(truth)


_CALLS = ("no call", "call")


def recall(floor: float, truth: float, n: int) -> tuple[Draw, Draw]:
    """Needles of one long text: found or missed alike (correlation .3), the text is the item."""

    def drawn(rate: float) -> Draw:
        def gate(rng: np.random.Generator) -> Gate:
            total = 1.0 / 0.3 - 1.0
            ability = rng.beta(rate * total, (1.0 - rate) * total, (n, 1))
            found = (rng.random((n, NEEDLES)) < ability).tolist()
            return ProportionGate(
                metric="recall",
                bound=floor,
                at_least=True,
                candidate={str(at): text for at, text in enumerate(found)},
            )

        return gate

    return drawn(floor), drawn(truth)


def length(bound: float, n: int) -> tuple[Draw, Draw]:
    """Tokens of an answer, log-normal (σ .5) on both sides, of which half the variance is the item's."""

    def drawn(ratio: float) -> Draw:
        def gate(rng: np.random.Generator) -> Gate:
            item = rng.standard_normal(n)
            ours, theirs = (
                200.0 * factor * np.exp(0.5 * math.sqrt(0.5) * (item + rng.standard_normal(n)))
                for factor in (ratio, 1.0)
            )
            sides = [
                {str(at): (tokens, 1.0) for at, tokens in enumerate(side.tolist())} for side in (ours, theirs)
            ]
            return LengthGate(
                metric="length",
                unit="tokens",
                bound=bound,
                at_least=bound < 1.0,
                candidate=sides[0],
                baseline=sides[1],
            )

        return gate

    return drawn(bound), drawn(1.0)


def acceptance(bound: float) -> tuple[Draw, Draw]:
    """Acceptance length against the baseline's in the same rounds; drafts of a request are accepted alike."""

    def side(rng: np.random.Generator) -> RoundTotals:
        chance = rng.beta(0.4, 0.4, (ROUNDS, REQUESTS))
        steps, tokens = np.zeros(chance.shape), np.zeros(chance.shape)
        for _ in range(TOKENS):
            live = tokens < TOKENS
            hits = rng.random((*chance.shape, DRAFT)) < chance[..., None]
            steps += live
            tokens += live * (1 + np.cumprod(hits, axis=-1).sum(-1))
        return [*zip(tokens.sum(-1).tolist(), steps.sum(-1).tolist(), strict=True)]

    def drawn(floor: float) -> Draw:
        def gate(rng: np.random.Generator) -> Gate:
            return TotalsGate(
                metric="acceptance length",
                unit="tok/step",
                why_nothing="nothing was drafted",
                at_least=True,
                paired=True,
                bound=floor,
                candidate=side(rng),
                baseline=side(rng),
            )

        return gate

    # Two equal servers are at a bound of 1.
    return drawn(1.0), drawn(bound)


def cached(floor: float, truth: float) -> tuple[Draw, Draw]:
    """Share of the prompt tokens that the prefix cache had: whole blocks, of a request nearly all or few."""

    def drawn(rate: float) -> Draw:
        def gate(rng: np.random.Generator) -> Gate:
            found = rng.binomial(
                PROMPT // BLOCK, rng.beta(8.0 * rate, 8.0 * (1.0 - rate), (ROUNDS, REQUESTS))
            )
            totals = [
                (float(BLOCK * blocks), float(PROMPT * REQUESTS)) for blocks in found.sum(axis=1).tolist()
            ]
            return TotalsGate(
                metric="cached share",
                unit="share",
                why_nothing="the prompts have no tokens",
                at_least=True,
                bound=floor,
                candidate=totals,
            )

        return gate

    return drawn(floor), drawn(truth)


def pooled_group(floor: float, truth: float) -> tuple[Draw, Draw]:
    """Score an lm-eval group over the items of all its tasks, in one random order, which the gate may stop early.

    The tasks are fixed, of :data:`SIZES` items, the first .5 harder than the last.
    """
    tasks = np.repeat(np.arange(len(SIZES)), SIZES)
    harder = np.linspace(-0.25, 0.25, len(SIZES))[tasks]
    harder -= harder.mean()

    def drawn(rate: float) -> Draw:
        def gate(rng: np.random.Generator) -> Gate:
            right = rng.permutation(rng.random(len(tasks)) < rate + harder).tolist()

            def first(n: int) -> tuple[dict[str, bool], dict[str, bool]]:
                return dict(zip(map(str, range(n)), right, strict=False)), {}

            return ProportionGate(
                metric="score of a group", bound=floor, at_least=True, candidate={},
                planned=len(tasks), more=first,
            ).settled()  # fmt: skip

        return gate

    return drawn(floor), drawn(truth)


def even_group(floor: float, truth: float) -> tuple[Draw, Draw]:
    """Score an lm-eval group with ``weight_by_size: false``: the tasks are the sample, rates spread by about .15."""

    def drawn(rate: float) -> Draw:
        def gate(rng: np.random.Generator) -> Gate:
            rates = rng.beta(10.0 * rate, 10.0 * (1.0 - rate), len(SIZES))
            return ProportionGate(
                metric="score of a group", bound=floor, at_least=True,
                candidate={
                    str(task): (rng.random(size) < own).tolist()
                    for task, (size, own) in enumerate(zip(SIZES, rates.tolist(), strict=True))
                },
            )  # fmt: skip

        return gate

    return drawn(floor), drawn(truth)


def asked() -> Sequence[Asked]:
    """Every gate of the table."""
    rounds = f"{ROUNDS} rounds of {REQUESTS}"
    return (
        Asked("valid forms", "≥ 95 %", "400", *share(0.95, 0.99, 400), "99 %"),
        Asked("calls with the exact arguments", "≥ 80 %", "400", *share(0.80, 0.90, 400), "90 %"),
        Asked("trigger F1 of calls", "≥ .9", "400", *trigger_f1(0.90, 0.97, 400), ".97"),
        Asked(
            "acceptance length ratio", "≥ .9", rounds, *acceptance(0.90), "equal servers; at the bound of 1"
        ),
        Asked("cached share", "≥ 80 %", rounds, *cached(0.80, 0.90), "90 %"),
        Asked("recall, four needles a text", "≥ 80 %", "150 texts", *recall(0.80, 0.95, 150), "95 %"),
        Asked("length of answers", "≤ 1.1", "400", *length(1.1, 400), "equal"),
        Asked("length of answers", "≥ .9", "400", *length(0.9, 400), "equal"),
        Asked(
            "refused, empty or leaked answers",
            "≤ 2 %",
            "400",
            *share(0.02, 0.0005, 400, at_least=False),
            ".05 %",
        ),
        Asked(
            "lm-eval group, all items pooled",
            "≥ 60 %",
            f"{sum(SIZES)}, with looks",
            *pooled_group(0.60, 0.70),
            "70 %",
        ),
        Asked(
            "lm-eval group, tasks weigh alike",
            "≥ 50 %",
            f"{len(SIZES)} tasks of 20 to 80",
            *even_group(0.50, 0.75),
            "75 %",
        ),
    )


def server(inputs: Inputs) -> Table:
    """Both errors at the bound, and how often the gate is green with nothing wrong."""
    rows: list[Row] = []
    for each in asked():
        for where, draw in (
            ("at the bound", each.at_the_bound),
            (f"nothing wrong: {each.truth}", each.sound),
        ):
            settings: dict[str, Setting] = {
                "gate": each.name,
                "bound": each.bound,
                "n": each.n,
                "truth": where,
            }
            said = [CODES_WITH_INVALID[draw(inputs.rng).judge().status] for _ in range(inputs.runs)]
            rows.append(row(settings, OURS, np.array(said, dtype=np.int8)))
    bound = [each for each in rows if each.settings["truth"] == "at the bound"]
    sound = [each for each in rows if each not in bound]
    return Table(
        "server",
        "Forms, calls, drafts, cached prompts, long texts, length of answers, groups of lm-eval",
        "Judged by the gates themselves, at their bound and with nothing wrong; all data at once but where it says "
        "looks. Tasks of a group differ by .5 in difficulty; where they weigh alike, they are drawn too (deviation "
        ".15). A step drafts four "
        "tokens, most requests accept nearly all or nearly none; needles of a text are correlated by .3; lengths are "
        "log-normal.",
        rows,
        [
            *both_errors("gates on what a server does, truth on the bound", bound, 0.05),
            at_least("gates on what a server does, nothing wrong", sound, PASS, 0.995, "PASS"),
        ],
    )
