"""The candidate against the baseline on the same items, one answer each."""

from __future__ import annotations

from pathlib import Path

from benchmarks.characteristics import rules
from benchmarks.characteristics.real_outcomes import differences
from benchmarks.characteristics.table import (
    FAIL,
    OURS,
    PASS,
    Inputs,
    Row,
    Setting,
    Table,
    Target,
    at_least,
    at_most,
    row,
)
from pytest_llmperf.stats import operating_characteristics, sample_size

DISCORDANCES = (0.05, 0.10, 0.15, 0.20, 0.25)
SIZES = (50, 75, 100, 150, 200, 300, 500, 1000, 1319)
REAL_LEVEL = 0.5
"""The four models are right on 22 to 56 % of the items."""


def equal(inputs: Inputs) -> Table:
    """Nothing is wrong: the two models are equal."""
    rows: list[Row] = []
    for n in (200, 500, 1319):
        for psi in DISCORDANCES:
            counts = rules.drawn(inputs.rng, inputs.runs, n, 0.0, psi)
            settings: dict[str, Setting] = {"n": n, "discordance": psi}
            if psi in (0.10, 0.20):
                rows += [row(settings, rule, said) for rule, said in rules.every_rule(counts, 0.03).items()]
            else:
                rows.append(row(settings, OURS, rules.ours(counts, 0.03)))
        for name, psi in _real_discordances(inputs.outcomes).items():
            counts = rules.drawn(inputs.rng, inputs.runs, n, 0.0, psi, REAL_LEVEL)
            settings = {"n": n, "discordance": f"{psi:.3f}, {name}"}
            rows.append(row(settings, OURS, rules.ours(counts, 0.03)))
    mine = [one for one in rows if one.rule == OURS]
    target = at_most(
        "equal models, margin 3 points, n 200, 500, 1319, discordance .05 to .25", mine, FAIL, 0.01, "FAIL"
    )
    return Table(
        "equal",
        "Equal models, margin 3 points",
        "FAIL is a false alarm. INCONCLUSIVE says that the items were too few for the margin, and how many would do. "
        "Rows with names: the discordance of real models on GSM8K, their answers swapped at random.",
        rows,
        [target],
    )


def planned(inputs: Inputs) -> Table:
    """Equal models again, at the number of items that the plan recommends."""
    rows: list[Row] = []
    for margin in (0.02, 0.03, 0.05):
        for psi in DISCORDANCES:
            n = sample_size.exact_items_for_margin(0.0, margin, psi)
            assert n is not None, "a margin above zero can be decided"
            counts = rules.drawn(inputs.rng, inputs.runs, n, 0.0, psi)
            settings: dict[str, Setting] = {"margin": _points(margin), "discordance": psi, "n planned": n}
            exact = operating_characteristics.of_margin(n, 0.0, psi, margin).passes
            rows.append(
                row(settings, OURS, rules.ours(counts, margin), **{"PASS promised": f"{100 * exact:.1f} %"})
            )
    low = 0.95 - 3.0 * (0.95 * 0.05 / inputs.runs) ** 0.5
    target = at_least("equal models at the n that the plan recommends", rows, PASS, low, "PASS")
    return Table(
        "planned",
        "Equal models at the planned number of items",
        "The plan asks for 95 % PASS; the simulation must agree to three Monte-Carlo errors.",
        rows,
        [Target(target.question, "PASS ≥ 95 %", target.measured, target.reached)],
    )


def boundary(inputs: Inputs) -> Table:
    """The candidate is worse by exactly the margin: the truth in which both errors are largest."""
    rows: list[Row] = []
    cells = [(0.03, n, psi) for n in SIZES for psi in DISCORDANCES]
    cells += [
        (margin, n, psi)
        for margin in (0.02, 0.05)
        for n in (50, 100, 300, 1319)
        for psi in (margin, 0.10, 0.20)
    ]
    for margin, n, psi in cells:
        counts = rules.drawn(inputs.rng, inputs.runs, n, -margin, psi)
        settings: dict[str, Setting] = {"margin": _points(margin), "n": n, "discordance": psi}
        rows.append(row(settings, OURS, rules.ours(counts, margin)))
        if n in (50, 100, 300):
            rows.append(row(settings, "Tango, normal quantile", rules.tango(counts, margin)))
            rows.append(row(settings, "Wald", rules.wald(counts, margin)))
        if n in (200, 1319) and psi in (0.10, 0.20):
            rows += [row(settings, rule, said) for rule, said in rules.others(counts, margin).items()]
    for n in (200, 500, 1319):
        for name, psi in _real_discordances(inputs.outcomes).items():
            counts = rules.drawn(inputs.rng, inputs.runs, n, -0.03, psi, REAL_LEVEL)
            settings = {"margin": "3 points", "n": n, "discordance": f"{psi:.3f}, {name}"}
            rows.append(row(settings, OURS, rules.ours(counts, 0.03)))
    mine = [one for one in rows if one.rule == OURS]
    targets = [
        at_most("truth exactly at −margin, every n from 50", mine, PASS, 0.05, "PASS", noise=True),
        at_most("truth exactly at −margin, every n from 50", mine, FAIL, 0.05, "FAIL", noise=True),
    ]
    return Table(
        "boundary",
        "Worse by exactly the margin",
        "PASS lets a loss through that is as large as the margin, FAIL reports one that is no larger. Both are "
        "promised to be at most 5 %. The same interval at the normal quantile exceeds that where few items are "
        "answered differently; the textbook (Wald) interval more so.",
        rows,
        targets,
    )


def loss(inputs: Inputs) -> Table:
    """A real loss: does each rule see it?"""
    rows: list[Row] = []
    for drop, margin in ((0.05, 0.02), (0.018, 0.0), (0.08, 0.03)):
        for n in (200, 1319):
            for psi in (0.10, 0.20):
                counts = rules.drawn(inputs.rng, inputs.runs, n, -drop, psi)
                settings: dict[str, Setting] = {
                    "loss": _points(drop), "margin": _points(margin), "n": n, "discordance": psi,
                }  # fmt: skip
                rows += [row(settings, rule, said) for rule, said in rules.every_rule(counts, margin).items()]
    wanted: dict[str, Setting] = {"loss": "5 points", "margin": "2 points", "n": 1319, "discordance": 0.10}
    cell = [one for one in rows if one.rule == OURS and dict(one.settings) == wanted]
    question = "5-point loss, margin 2, n = 1319, discordance .10"
    return Table(
        "loss",
        "A real loss",
        "A loss of 1.8 points is not decidable on GSM8K's 1,319 items with one answer each: INCONCLUSIVE says so.",
        rows,
        [at_most(question, cell, PASS, 0.001, "PASS"), at_least(question, cell, FAIL, 0.95, "FAIL")],
    )


def _real_discordances(path: Path | None) -> dict[str, float]:
    """Share of items that two real models answer differently, for the three pairs from least to most apart."""
    if path is None:
        return {}
    shares = {name: float((values != 0).mean()) for name, values in differences(path).items()}
    ordered = sorted(shares, key=shares.__getitem__)
    return {name: shares[name] for name in (ordered[0], ordered[len(ordered) // 2], ordered[-1])}


def _points(share: float) -> str:
    return f"{100 * share:g} points"
