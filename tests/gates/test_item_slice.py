"""Parts of a gate's items, joined: the gate over all items, stopped where the run on one machine stops."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.config.waivers import Waiver
from pytest_llmperf.errors import NotMeasured, UsageError
from pytest_llmperf.gates.answers import AnswersGate
from pytest_llmperf.gates.base import gate_from_json
from pytest_llmperf.gates.item_slice import SLICED, GateSlice, joined_gate, slice_of
from pytest_llmperf.gates.outcomes import Outcome, Outcomes
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.policy import COUNTS, TolerancePolicy
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.scalar import ScalarGate
from pytest_llmperf.gates.verdict import Status

Side = Sequence[tuple[str, Outcome | list[Outcome]]]


def side(rng: random.Random, n: int, right: float, samples: int, lost: float) -> Side:
    def one() -> Outcome:
        return None if rng.random() < lost else rng.random() < right

    return [
        (f"item-{place}", one() if samples == 1 else [one() for _ in range(samples)]) for place in range(n)
    ]


def ending_counts(given: Side) -> dict[str, int]:
    every = [o for _, found in given for o in (found if isinstance(found, list) else [found])]
    return dict(sorted(Counter("correct" if o else "cut off" for o in every if o is not None).items()))


def asking(gate: AnswersGate, sides: Sequence[Side], number: int = 1, of: int = 1) -> AnswersGate:
    """``gate`` as a run has it that asks the items of one shard; ``of`` 1: all of them."""

    def mine(given: Side, n: int) -> Side:
        return [each for place, each in enumerate(given[:n]) if place % of == number - 1]

    def more(n: int) -> tuple[Outcomes, Outcomes]:
        found = [dict(mine(given, n)) for given in sides]
        return found[0], found[1] if len(found) > 1 else {}

    def ended(n: int) -> Mapping[str, Mapping[str, int]]:
        return {name: ending_counts(mine(given, n)) for name, given in zip(gate.sides, sides, strict=True)}

    return replace(gate, planned=len(sides[0]), more=more, ended=ended)


def recorded(gate: AnswersGate, sides: Sequence[Side], of: int) -> list[GateSlice]:
    """The parts of all shards as a merge reads them."""
    found = []
    for number in range(1, of + 1):
        part = slice_of(asking(gate, sides, number, of), number, of, COUNTS, "")
        read = gate_from_json(part.to_json())
        assert isinstance(read, GateSlice)
        found.append(read)
    return found


FLOOR = ProportionGate(metric="accuracy", bound=0.8, candidate={}, at_least=True)
MARGIN = PairedGate(metric="accuracy", bound=0.06, candidate={}, baseline={}, at_least=True)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 700),
    of=st.integers(1, 12),
    right=st.sampled_from([0.0, 0.55, 0.78, 0.82, 0.95, 1.0]),
    samples=st.sampled_from([1, 1, 1, 3]),
    lost=st.sampled_from([0.0, 0.0, 0.01, 0.2]),
    paired=st.booleans(),
)
def test_joined_parts_are_the_gate_of_the_run_on_one_machine(
    seed: int, n: int, of: int, right: float, samples: int, lost: float, paired: bool
) -> None:
    rng = random.Random(seed)
    gate: AnswersGate = MARGIN if paired else FLOOR
    if samples > 1:
        n = min(n, 40)  # The bounds of clustered means take their time.
    sides = [side(rng, n, right if place == 0 else 0.85, samples, lost) for place in range(len(gate.sides))]
    whole = asking(gate, sides).settled()
    joined = joined_gate(recorded(gate, sides, of))
    assert joined.judge() == whole.judge()
    assert joined.size == whole.size
    assert joined.unasked == whole.unasked


def test_joined_parts_ignore_what_lies_beyond_the_look_that_decided() -> None:
    clear = [side(random.Random(1), 1000, 0.99, 1, 0.0)]
    joined = joined_gate(recorded(FLOOR, clear, 4))
    assert joined.size == 150
    assert joined.judge().status is Status.PASS


def test_a_part_has_no_verdict_on_the_model_and_lets_its_test_go_on() -> None:
    part = recorded(FLOOR, [side(random.Random(1), 400, 0.0, 1, 0.0)], 4)[1]
    verdict = part.judge()
    assert (verdict.status, verdict.method, verdict.inconclusive) == (Status.INCONCLUSIVE, SLICED, "warn")
    assert verdict.n == 100
    assert "slice 2 of 4" in verdict.why
    assert "pytest-llmperf merge" in verdict.why
    with pytest.raises(UsageError, match="mutation-test the merged record"):
        part.mutate(0.1)


def test_parts_that_are_not_of_one_gate_are_refused_by_their_number() -> None:
    sides = [side(random.Random(1), 402, 0.9, 1, 0.0)]
    one, two, three, four = recorded(FLOOR, sides, 4)
    with pytest.raises(NotMeasured, match=r"slice 2 of 4 of accuracy is missing"):
        joined_gate([one, three, three, four])
    other = recorded(replace(FLOOR, bound=0.7), sides, 4)[2]
    with pytest.raises(NotMeasured, match=r"slice 3 of accuracy asked something else"):
        joined_gate([one, two, other, four])
    with pytest.raises(NotMeasured, match=r"1?\d* ?items of accuracy are in several slices"):
        joined_gate([one, replace(one, number=2), three, four])
    cut_off = recorded(FLOOR, [sides[0][:302]], 4)
    short = replace(two, whole=cut_off[1].whole)
    with pytest.raises(NotMeasured, match=r"slice 2 of accuracy asked something else"):
        joined_gate([one, short, three, four])


def test_a_part_without_some_of_its_items_is_refused() -> None:
    sides = [side(random.Random(1), 400, 0.9, 1, 0.0)]
    parts = recorded(FLOOR, sides, 4)
    gate = gate_from_json(FLOOR.to_json())
    assert isinstance(gate, ProportionGate)
    fewer = asking(gate, [[each for each in sides[0] if each[0] != "item-1"] + [("more", True)]], 2, 4)
    fewer = replace(fewer, more=lambda n: (dict(sides[0][1:n:4][:-1]), {}), ended=None)
    parts[1] = slice_of(fewer, 2, 4, COUNTS, "")
    with pytest.raises(NotMeasured, match="slice 2 of accuracy has 99 items, 100 are needed"):
        joined_gate(parts)


def test_a_gate_of_another_kind_is_refused_in_a_part() -> None:
    part = slice_of(
        ScalarGate(metric="time", bound=1.0, value=0.5, unit="s", at_least=False), 1, 2, COUNTS, ""
    )
    assert part.judge().status is Status.INVALID
    assert "put the gate into a test of its own" in part.judge().why


def test_a_part_carries_what_lets_the_joined_verdict_through() -> None:
    waiver = Waiver("t", date(2099, 1, 1), "known", invalid=True)
    policy = TolerancePolicy("", waiver, date(2026, 12, 1))
    gate = asking(FLOOR, [side(random.Random(1), 10, 0.9, 1, 0.0)], 1, 2)
    read = gate_from_json(slice_of(gate, 1, 2, policy, "warn").to_json())
    assert isinstance(read, GateSlice)
    assert read.tolerance("t") == policy
    assert read.budget_policy == "warn"
