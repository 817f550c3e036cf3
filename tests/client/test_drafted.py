"""Counts of speculative decoding are read as vLLM sends them, and believed only where they can be true."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmperf.client.drafted import Drafted, drafted_of
from pytest_llmperf.client.openai_stream import trace_of
from pytest_llmperf.client.reply import Ending, Reply

TOLD: dict[str, Any] = {
    "mean_acceptance_length": 2.25,
    "draft_acceptance_rate": 0.3125,
    "acceptance_histogram": [1, 1, 2, 0, 0],
    "num_spec_steps": 4,
    "num_accepted_draft_tokens": 5,
    "num_draft_tokens": 16,
    "num_spec_tokens": 4,
}


def test_the_sum_over_requests_and_over_none() -> None:
    assert Drafted.total([Drafted(1, 4, 2), Drafted(2, 8, 0)]) == Drafted(3, 12, 2)
    assert Drafted.total([]) == Drafted(0, 0, 0)


def test_vllms_summary_is_read() -> None:
    assert drafted_of({"metrics": {"speculative_decoding": TOLD}}) == Drafted(4, 16, 5)
    nothing = dict.fromkeys(("num_spec_steps", "num_accepted_draft_tokens", "num_draft_tokens"), 0)
    assert drafted_of({"metrics": {"speculative_decoding": TOLD | nothing}}) == Drafted(0, 0, 0)


@pytest.mark.parametrize(
    "damage",
    [
        {"num_spec_steps": None},
        {"num_spec_steps": float("nan")},
        {"num_spec_steps": float("inf")},
        {"num_spec_steps": -1},
        {"num_spec_steps": 17},
        {"num_spec_steps": 0},
        {"num_spec_steps": 2.5},
        {"num_spec_steps": True},
        {"num_spec_steps": "4"},
        {"num_accepted_draft_tokens": 17},
        {"num_draft_tokens": 10**400},
        {"num_draft_tokens": [16]},
    ],
)
def test_counts_that_cannot_be_are_not_told(damage: dict[str, Any]) -> None:
    assert drafted_of({"metrics": {"speculative_decoding": TOLD | damage}}) is None


@pytest.mark.parametrize(
    "chunk", [{}, {"metrics": None}, {"metrics": []}, {"metrics": {"speculative_decoding": 3}}]
)
def test_a_chunk_without_them_tells_nothing(chunk: dict[str, Any]) -> None:
    assert drafted_of(chunk) is None


def test_a_trace_has_the_counts_of_the_last_chunk() -> None:
    chunks = [
        {"choices": [{"index": 0, "delta": {"content": "x y z"}, "finish_reason": "length"}]},
        {
            "choices": [],
            "usage": {"prompt_tokens": 3, "completion_tokens": 9},
            "metrics": {"time_to_first_token_ms": 1.0, "speculative_decoding": TOLD},
        },
    ]
    body = b"".join(f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks) + b"data: [DONE]\n\n"
    reply = Reply(sent_s=0.0, end_s=1.0, status=200, body=bytearray(body), ending=Ending.COMPLETE)
    reply.times.append(0.5)
    reply.ends.append(len(body))
    assert trace_of(reply).drafted == Drafted(4, 16, 5)
