"""Gates of real runs, judged again: a change of the code that moves a number of theirs has to say so.

``runs.jsonl.gz`` holds gates of runs on real vLLM with the embedded pair (a CPU, 2026-11-30, the code of 300d146):
one in which nothing was wrong, one with damaged weights, one with a slowed engine, and a further look that joined the
first. Beside each stands what that code made of it, with one change: the plan of a margin takes the share of items that
were answered differently from the record, where it used to look for it in a sentence that was not always there. Ratios
are those of the code that widens an interval where rounds resemble their neighbours: one FAIL became INCONCLUSIVE, in a
run whose rounds correlated by .30 (TPOT at 8, the slowed engine). Their plans count on the widening that chance brings
to independent rounds (what is caught grew by about 2 % of itself). Margins that may stop early are judged at the level
of their look: no status changed, intervals and p-values did, and one margin catches a smaller damage. A share that
stopped early is judged by all items that were asked: one PASS, decided by the first items of a portion, is undecided by
the whole of it, and the interval of another is wider.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.record.gate_files import RecordedGate
from tests.golden.build import golden_of, read_golden

GOLDEN = list(read_golden(Path(__file__).with_name("runs.jsonl.gz")))


def close(value: Any) -> Any:
    """Accept the last bits of a float, which differ between processors and versions of SciPy."""
    if isinstance(value, dict):
        return {name: close(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [close(entry) for entry in value]
    return pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        pytest.param(kept, expected, id=f"{run}-{number}-{kept.gate.label}")
        for number, (run, kept, expected) in enumerate(GOLDEN)
    ],
)
def test_a_recorded_gate_is_judged_planned_and_mutated_as_ever(
    kept: RecordedGate, expected: dict[str, Any]
) -> None:
    assert golden_of(kept) == close(expected)


def test_the_golden_gates_are_of_every_kind_and_of_more_than_one_status() -> None:
    kinds = Counter(type(kept.gate).__name__ for _, kept, _ in GOLDEN)
    statuses = {Status(expected["status"]) for _, _, expected in GOLDEN}
    assert len(kinds) >= 9, kinds
    assert statuses >= {Status.PASS, Status.FAIL}
    assert any(len(kept.gate.spent) > 1 for _, kept, _ in GOLDEN), "no gate that joined an earlier look"
