"""Answers that are not independent, scores that are rarely zero, and answers that are lost."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.characteristics import rules
from benchmarks.characteristics.table import (
    CODES_WITH_INVALID,
    FAIL,
    INCONCLUSIVE,
    OURS,
    PASS,
    Decisions,
    Inputs,
    Row,
    Setting,
    Table,
    at_most,
    both_errors,
    decisions,
    row,
)
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.decision import MAX_LOST_SHARE
from pytest_llmperf.gates.mean import MeanScoreGate
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.stats.binomial import z_of

FAMILY = 10
MARGIN = 0.03
Floats = NDArray[np.float64]


def families(inputs: Inputs) -> Table:
    """Items that resemble each other: templates, questions on one article, translations."""
    rows: list[Row] = []
    n, psi = 600, 0.10
    for alike in (0.0, 0.1, 0.3):
        for truth in (0.0, -MARGIN):
            change = _in_families(inputs.rng, inputs.runs, n // FAMILY, truth, psi, alike)
            settings: dict[str, Setting] = {"correlation": alike, "difference": f"{100 * truth:+g} points"}
            said = np.array(
                [CODES_WITH_INVALID[_grouped(each).judge().status] for each in change], dtype=np.int8
            )
            rows.append(row(settings, OURS, said))
            gained, lost = ((change == sign).sum(axis=(1, 2)) for sign in (1, -1))
            both = np.full_like(gained, round(rules.RECORDED * n)) - lost
            counts = rules.Counts(n, gained, lost, both)
            rows.append(row(settings, "the same without groups", rules.ours(counts, MARGIN)))
            rows.append(row(settings, "nel gate, categories given", _clustered(change, MARGIN)))
            rows += [row(settings, rule, each) for rule, each in rules.others(counts, MARGIN).items()]
    mine = [each for each in rows if each.rule == OURS and each.settings["difference"] != "+0 points"]
    question = f"families of {FAMILY}, truth at −margin"
    return Table(
        "families",
        "Items in families, margin 3 points",
        f"{n} items in families of {FAMILY}, of which models answer {100 * psi:g} % differently; the correlation is "
        "that of two differences within a family. **pytest-llmperf** knows the families (`Item.group`).",
        rows,
        both_errors(question, mine, 0.05),
    )


def _in_families(
    rng: np.random.Generator, runs: int, count: int, difference: float, discordance: float, alike: float
) -> NDArray[np.int8]:
    """(runs, families, items) of +1, 0, −1; with probability √alike an item follows its family."""
    shares = [(discordance - difference) / 2.0, 1.0 - discordance, (discordance + difference) / 2.0]
    values = np.array([-1, 0, 1], dtype=np.int8)

    def drawn(*shape: int) -> NDArray[np.int8]:
        return values[np.searchsorted(np.cumsum(shares)[:-1], rng.random(shape), side="right")]

    own, common = drawn(runs, count, FAMILY), drawn(runs, count, 1)
    return np.where(rng.random(own.shape) < math.sqrt(alike), common, own)


def _grouped(change: NDArray[np.int8]) -> PairedGate:
    """Return the gate on families: items on which both agree count as right."""
    ours = {str(at): [bool(value >= 0) for value in family] for at, family in enumerate(change.tolist())}
    theirs = {str(at): [bool(value <= 0) for value in family] for at, family in enumerate(change.tolist())}
    return PairedGate(metric="accuracy", candidate=ours, baseline=theirs, bound=MARGIN, at_least=True)


def _clustered(change: NDArray[np.int8], margin: float) -> Decisions:
    """A normal 95 % interval with the standard error of the means of families."""
    means = change.mean(axis=2)
    centre = means.mean(axis=1)
    error = z_of(0.975) * means.std(axis=1, ddof=1) / math.sqrt(means.shape[1])
    return decisions(centre - error >= -margin, centre + error < -margin)


def zeros(inputs: Inputs) -> Table:
    """Scores near 1 of which a few are 0, at the bound: the mean of few rarely holds one."""
    rows: list[Row] = []
    for name, share, size in (
        ("2 % are 0", 0.02, 30), ("2 % are 0", 0.02, 240), ("4 % are 0", 0.04, 30), ("4 % are 0", 0.04, 240),
    ):  # fmt: skip
        scores = inputs.rng.uniform(0.90, 1.0, (inputs.runs, size))
        scores[inputs.rng.random(scores.shape) < share] = 0.0
        rows += _score_rows({"scores": f".90 to 1, {name}", "n": size}, scores, None, 0.95 * (1.0 - share))
    for share, size in ((0.02, 60), (0.02, 240)):
        theirs = inputs.rng.uniform(0.90, 1.0, (inputs.runs, size))
        ours = theirs - 0.9 * (inputs.rng.random(theirs.shape) < share)
        settings: dict[str, Setting] = {"scores": "against the baseline, 2 % of the items lose .9", "n": size}
        rows += _score_rows(settings, ours, theirs, 0.9 * share)
    mine = [each for each in rows if each.rule == OURS]
    question = "mean score with rare zeros, truth on the bound"
    return Table(
        "zeros",
        "Mean scores with rare zeros, at the bound",
        "PASS and FAIL are both wrong at the bound. A standard error, as lm-eval prints it, and a normal interval, as "
        "nel gate uses, know only the zeros that were drawn.",
        rows,
        both_errors(question, mine, 0.05),
    )


def _score_rows(settings: dict[str, Setting], ours: Floats, theirs: Floats | None, bound: float) -> list[Row]:
    values = ours if theirs is None else ours - theirs
    target = bound if theirs is None else -bound
    n = values.shape[1]
    centre, error = values.mean(axis=1), values.std(axis=1, ddof=1) / math.sqrt(n)
    said = [
        CODES_WITH_INVALID[
            _scored(ours[at].tolist(), None if theirs is None else theirs[at].tolist(), bound).judge().status
        ]
        for at in range(len(values))
    ]

    def apart(z: float) -> Decisions:
        return decisions(centre - z * error >= target, centre + z * error < target)

    return [
        row(settings, OURS, np.array(said, dtype=np.int8)),
        row(settings, "mean ± 1.64 standard errors", apart(z_of(0.95))),
        row(settings, "nel gate (normal 95 % interval)", apart(z_of(0.975))),
        row(settings, "fixed: mean ≥ bound", decisions(centre >= target)),
    ]


def _scored(ours: Sequence[float], theirs: Sequence[float] | None, bound: float) -> Gate:
    names = [*map(str, range(len(ours)))]
    return MeanScoreGate(
        metric="score", bound=bound, at_least=True, candidate=dict(zip(names, ours, strict=True)),
        baseline=None if theirs is None else dict(zip(names, theirs, strict=True)),
    )  # fmt: skip


def lost(inputs: Inputs) -> Table:
    """Failures that are not random: half of the items that the candidate would have lost time out."""
    rows: list[Row] = []
    n, psi = 1319, 0.10
    for truth in (-0.03, -0.04):
        counts = rules.drawn(inputs.rng, inputs.runs, n, truth, psi)
        for hidden in (0.0, 0.005, 0.015):
            gone = inputs.rng.binomial(counts.lost, hidden / ((psi - truth) / 2.0))
            settings: dict[str, Setting] = {
                "difference": f"{100 * truth:g} points", "items lost": f"{100 * hidden:g} %",
            }  # fmt: skip
            rows.append(row(settings, OURS, _bounded(counts, gone)))
            left = rules.Counts(n, counts.gained, counts.lost - gone, counts.both)
            rows.append(row(settings, "lost items left out", rules.ours(left, MARGIN)))
            rows += [
                row(settings, f"{rule}, lost items left out", each)
                for rule, each in rules.others(left, MARGIN).items()
                if rule.startswith("nel")
            ]
            wrong = decisions(counts.candidate >= rules.RECORDED - 0.08)
            rows.append(row(settings, "vLLM gsm8k (lost counts as wrong)", wrong))
    mine = [each for each in rows if each.rule == OURS]
    return Table(
        "lost",
        "A loss that hides in failed requests, margin 3 points",
        f"{n} items, discordance {psi:g}. The items that fail are ones that the candidate would have answered wrongly "
        "and the baseline rightly. The gate counts them at their worst for PASS and at their best for FAIL.",
        rows,
        [
            at_most(
                "loss of 3 or 4 points, some of it in failed requests", mine, PASS, 0.05, "PASS", noise=True
            )
        ],
    )


def _bounded(counts: rules.Counts, gone: NDArray[np.int64]) -> Decisions:
    """Decide as the gate does: PASS with every lost item at its worst, FAIL with every one at its best."""
    # What was drawn is the worst; at the best the candidate is right, as the baseline is known to be.
    best = rules.Counts(counts.n, counts.gained, counts.lost - gone, counts.both + gone)
    worst_said, best_said = rules.ours(counts, MARGIN), rules.ours(best, MARGIN)
    said = decisions(worst_said == PASS, best_said == FAIL)
    said[gone > MAX_LOST_SHARE * counts.n] = INCONCLUSIVE
    for at in range(min(rules.CHECKED, len(gone))):
        status = CODES_WITH_INVALID[_with_lost(counts, gone, at).judge().status]
        if status != said[at]:
            raise AssertionError(f"the gate says {status} with {gone[at]} items lost, not {said[at]}")
    return said


def _with_lost(counts: rules.Counts, gone: NDArray[np.int64], at: int) -> PairedGate:
    gained, lost_, failed = int(counts.gained[at]), int(counts.lost[at]), int(gone[at])
    ours: dict[str, bool | None] = {
        str(item): None if item < failed else item >= lost_ for item in range(counts.n)
    }
    theirs = {str(item): not lost_ <= item < lost_ + gained for item in range(counts.n)}
    return PairedGate(metric="accuracy", candidate=ours, baseline=theirs, bound=MARGIN, at_least=True)
