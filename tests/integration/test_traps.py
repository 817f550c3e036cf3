"""The traps that load tools fall into, through the whole path: a suite's gates against servers of known schedule.

Every server answers after 150 ms, then with a token every 20 ms. The bounds are far from that, and from what a tool
reports that falls into the trap, so that a busy machine moves no verdict.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import running

if TYPE_CHECKING:
    from tests.integration.conftest import Project

pytestmark = pytest.mark.slow

CONCURRENCY, ROUNDS, TOKENS = 6, 10, 8
TTFT_S, GAP_S = 0.150, 0.020
TRAPS: dict[str, dict[str, Any]] = {
    "role-chunk-at-once": {"role_chunk": "early", "empty_deltas": True},
    "four-tokens-a-chunk": {"tokens_per_chunk": 4},
    "all-is-reasoning": {"reasoning_field": "reasoning_content"},
    "frozen-for-a-second": {"freeze_ms": 1000.0, "freeze_at": 4},
    "one-at-a-time": {"slots": 1},
    "ends-early": {"eos_after": 5, "eos_always": True},
    "every-second-fails": {"http_500_share": 0.5},
    "all-fail": {"http_500_share": 1.0},
    "warm-cache": {"warm_share": 0.3},
}
# Six at a time: with one slot, less than a fifth of them find it free, so that the median's bound is a queued one's.
BESIDE = 3
"""Runs at a time: they wait nearly all of their time."""
BOUNDS = {
    # A role chunk that is taken for a token comes at once.
    "TTFT": (0.4 * TTFT_S, 2 * TTFT_S),
    # Four tokens a chunk that are taken for one come every 80 ms.
    "ITL": (0.6 * GAP_S, 3 * GAP_S),
    "TPOT": (0.7 * GAP_S, 3 * GAP_S),
    "stall": (0.6 * GAP_S, 0.5),
}
ABOVE = {"frozen-for-a-second": {"TPOT", "stall"}, "one-at-a-time": {"TTFT"}}
"""What the trap does to users, and is to be seen: a freeze in the stall, queueing in the TTFT and not in the ITL."""
SUITE = f"""
    import pytest

    BOUNDS = {BOUNDS}

    @pytest.mark.parametrize("name", BOUNDS)
    def test_at_least(candidate, load, name):
        shown = getattr(load(candidate, concurrency={CONCURRENCY}), name.lower())
        assert shown.p50 >= BOUNDS[name][0]

    @pytest.mark.parametrize("name", BOUNDS)
    def test_at_most(candidate, load, name):
        shown = getattr(load(candidate, concurrency={CONCURRENCY}), name.lower())
        assert shown.p50 <= BOUNDS[name][1]
"""


@pytest.fixture(scope="module")
def records(shared_project: Project) -> dict[str, dict[str, Any]]:
    """What a run of pytest on each of these servers has recorded."""
    rows = ""
    with ExitStack() as stack:
        for name, trap in TRAPS.items():
            options = ReferenceOptions(model=name, ttft_ms=1e3 * TTFT_S, gap_ms=1e3 * GAP_S, **trap)
            url = stack.enter_context(running(options)).server.base_url
            rows += f'[profile.test.model.{name}]\nengine = "url"\nbase_url = "{url}"\n'
        shared_project.catalog(rows=rows)
        shared_project.shrink(rounds=ROUNDS, answer_tokens=TOKENS)
        shared_project.suite(SUITE)
        runs = [
            shared_project.start(
                "--llmperf-record", f"{part}.json", *(f"--model={row}" for row in [*TRAPS][part::BESIDE])
            )
            for part in range(BESIDE)
        ]
        for run in runs:
            result = run.wait(150)
            assert result.code == 1, result.text
            assert not result.noise, result.text
    found: dict[str, dict[str, Any]] = {row: {"verdicts": [], "load": []} for row in TRAPS}
    for part in range(BESIDE):
        record = json.loads((shared_project.path / f"{part}.json").read_text())
        for row in [*TRAPS][part::BESIDE]:
            found[row] = {
                "verdicts": [one for one in record["verdicts"] if f"[{row}-" in one["test"]],
                "load": [one for one in record.get("load", ()) if one["row"] == row],
            }
    return found


@pytest.mark.parametrize(
    "row", [row for row in TRAPS if row not in ("ends-early", "every-second-fails", "all-fail", "warm-cache")]
)
def test_what_is_judged_is_what_the_server_did(records: dict[str, dict[str, Any]], row: str) -> None:
    judged = [
        (one["metric"].split()[0], "at least" if "at_least" in one["test"] else "at most", one["status"])
        for one in records[row]["verdicts"]
    ]
    above = ABOVE.get(row, set())
    assert sorted(judged) == sorted(
        [(name, "at least", "PASS") for name in BOUNDS]
        + [(name, "at most", "FAIL" if name in above else "PASS") for name in BOUNDS]
    ), records[row]["verdicts"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        # A server that does not know ignore_eos is as quick as its answers are short.
        ("ends-early", "5 of the 8 tokens that were asked for came (finish_reason 'stop'): not comparable"),
        ("every-second-fails", "30 of 60 requests failed (30 × http_error; first: HTTP 500"),
        ("all-fail", "all 6 requests of the warm-up of all-fail failed, so no more were sent"),
        ("warm-cache", "warm prefix cache: "),
    ],
)
def test_a_load_that_was_not_measured_is_invalid_whatever_its_bound(
    records: dict[str, dict[str, Any]], row: str, why: str
) -> None:
    verdicts = records[row]["verdicts"]
    assert [one["status"] for one in verdicts] == ["INVALID"] * 2 * len(BOUNDS)
    assert all(why in one["why"] for one in verdicts), verdicts
