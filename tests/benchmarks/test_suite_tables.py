"""The table of the whole suite counts every gate that ships, and each is judged by the gates' own code."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from benchmarks import operating_characteristics as benchmark
from benchmarks.characteristics import suite_tables
from benchmarks.characteristics.suite_gates import AskedGate, asked
from benchmarks.characteristics.suite_night import Damage, Margin, Night, Share
from benchmarks.characteristics.suite_truths import TRUTHS
from benchmarks.characteristics.table import Row, Table
from pytest_llmperf.gates.verdict import Status

PROFILES = ["embedded", "gpu"]
FLOOR = AskedGate("share", "accuracy", "accuracy", "share", 0.7, True, False, 400, stops=True)
BESIDE = AskedGate("margin", "accuracy", "accuracy", "points", 0.05, True, True, 400, stops=True)
RIGHT = Share(0.8, "answers", "assumed", right=True)
EQUAL = Margin(0.8, 0.0, 0.1, "answers", "assumed")


def table_of(name: str) -> Table:
    tables = benchmark.restored(json.loads(benchmark.RESULT.read_text(encoding="utf-8")))[0]
    return next(table for table in tables if table.name == name)


def rows_of(profile: str) -> list[Row]:
    return list(table_of(f"suite-{profile}").rows)


@lru_cache
def asked_gates(profile: str) -> tuple[AskedGate, ...]:
    return tuple(asked(profile))


@pytest.mark.parametrize("profile", PROFILES)
def test_every_gate_of_the_suites_has_a_truth(profile: str) -> None:
    gates = asked_gates(profile)
    assert [*suite_tables.truths_of(gates, profile)] == [gate.name for gate in gates]


@pytest.mark.parametrize("profile", PROFILES)
def test_the_stored_tables_are_of_the_gates_that_are_shipped(profile: str) -> None:
    stale = suite_tables.stale(table_of(f"suite-{profile}"), asked_gates(profile))
    renew = f"--only suite-{profile} --only power-{profile} --store"
    assert not stale, f"renew by `python -m benchmarks.operating_characteristics {renew}`: {stale}"


def test_a_gate_with_another_bound_or_size_makes_its_row_stale() -> None:
    gates = asked_gates("embedded")
    changed = [
        replace(gates[0], bound=gates[0].bound + 0.01),
        replace(gates[1], n=gates[1].n + 1),
        *gates[2:-1],
    ]
    stale = suite_tables.stale(table_of("suite-embedded"), changed)
    names = [gates[0].name, gates[1].name, gates[-1].name]
    assert sorted(line.split(": stored ")[0] for line in stale) == sorted(names)
    assert "asked not at all" in " ".join(stale)


@pytest.mark.parametrize("profile", PROFILES)
def test_tails_of_a_load_are_asked_for_after_its_ratios(profile: str) -> None:
    """A tail that is asked for first measures rounds that the ratios then measure once more."""
    gates = asked_gates(profile)
    for concurrency in (1, 8, 32):
        kinds = [gate.kind for gate in gates if f" at {concurrency}" in gate.metric]
        assert kinds.index("ratio") < kinds.index("quantile")


@pytest.mark.parametrize("points", [0.0, 0.06, 0.12])
def test_looks_that_cannot_decide_are_left_out_and_change_no_verdict(points: float) -> None:
    for number in range(4):
        night, damage = Night((number,)), Damage("loss", points=points)
        quick = EQUAL.settled(BESIDE, night, damage).judge()
        assert quick == EQUAL.gate(BESIDE, night, damage).settled().judge()


def test_a_run_of_the_gpu_profile_with_nothing_wrong_is_green() -> None:
    *each, whole = rows_of("gpu")
    assert whole.passes / whole.runs >= 0.95
    assert min(row.passes / row.runs for row in each) >= 0.995
    assert min(row.runs for row in each) >= 250


def test_a_run_with_nothing_wrong_is_green() -> None:
    *each, whole = rows_of("embedded")
    assert whole.settings["gate"] == "**the whole run**"
    assert whole.passes / whole.runs >= 0.95
    assert min(row.passes / row.runs for row in each) >= 0.995
    assert min(row.runs for row in each) >= 1000


@pytest.mark.parametrize("profile", PROFILES)
def test_a_gate_without_a_truth_and_a_truth_without_a_gate_are_refused(profile: str) -> None:
    known = [replace(FLOOR, label=name) for name in TRUTHS[profile]]
    with pytest.raises(LookupError, match="differ in"):
        suite_tables.truths_of([*known, replace(FLOOR, label="a new gate")], profile)
    with pytest.raises(LookupError, match="differ in"):
        suite_tables.truths_of(known[1:], profile)


def test_gates_on_the_same_answers_see_the_same_candidate() -> None:
    night = Night((1, 2))
    floor, margin = RIGHT.gate(FLOOR, night, Damage()), EQUAL.gate(BESIDE, night, Damage())
    assert floor.more(400)[0] == margin.more(400)[0]  # type: ignore[attr-defined]
    assert Night((1, 2)).uniform("answers", 5).tolist() == Night((1, 2)).uniform("answers", 5).tolist()
    assert Night((1, 3)).uniform("answers", 5).tolist() != Night((1, 2)).uniform("answers", 5).tolist()


def test_both_sides_have_the_rates_that_the_truth_states() -> None:
    truth = Margin(0.8, -0.04, 0.10, "answers", "assumed")
    gate = truth.gate(replace(BESIDE, n=40_000), Night((1,)), Damage())
    ours, theirs = (np.array(list(side.values())) for side in gate.more(40_000))  # type: ignore[attr-defined]
    assert ours.mean() == pytest.approx(0.80, abs=0.01)
    assert ours.mean() - theirs.mean() == pytest.approx(-0.04, abs=0.006)
    assert (ours != theirs).mean() == pytest.approx(0.10, abs=0.01)


def test_a_planted_loss_is_red_and_leaves_gates_alone_that_do_not_see_it() -> None:
    night, loss = Night((5,)), Damage("loss", points=0.3)
    verdict = suite_tables.judged(BESIDE, EQUAL, night, loss)
    assert verdict.status is Status.FAIL
    assert EQUAL.sees(BESIDE, loss)
    assert not Share(0.8, "events", "assumed").sees(FLOOR, loss)


def test_what_passes_without_a_doubt_passes() -> None:
    """At the fewest standard errors that count as clear: the gates themselves are asked."""
    clear = 0
    for number in range(40):
        night = Night((number,))
        for gate, truth in (
            (FLOOR, Share(0.79, "a", "assumed", right=True)),
            (BESIDE, Margin(0.8, 0.02, 0.1, "b", "")),
        ):
            if truth.is_clear(gate, night, Damage()):
                verdict = suite_tables.judged(gate, truth, night, Damage())
                assert verdict.status is Status.PASS
                clear += 1
    assert clear >= 20
