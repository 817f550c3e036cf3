"""A few of the random kills that ``benchmarks/random_kills.py`` makes by the hundred."""

from __future__ import annotations

import pytest

from benchmarks.random_kills import run_trial


@pytest.mark.parametrize("seed", [2, 5, 11])
def test_a_random_kill_leaves_nothing_and_no_torn_record(seed: int) -> None:
    trial = run_trial(seed, None, None, 6.0)
    assert trial.problem == "", trial
