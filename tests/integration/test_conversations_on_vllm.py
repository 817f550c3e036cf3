"""Prefix caches on real vLLM: the second turn finds the first one, a cache that is off finds nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.test_planted_regressions import REPOSITORY, gate

pytestmark = pytest.mark.vllm
SUITES = REPOSITORY / "suites"
# The cache keeps whole blocks, of 128 tokens on a CPU.
ROWS = """
[profile.embedded.model.cached]
extends = "distill"
add_arguments = ["--enable-prefix-caching", "--block-size", "32", "--enable-prompt-tokens-details"]
[profile.embedded.model.uncached]
extends = "distill"
add_arguments = ["--no-enable-prefix-caching", "--block-size", "32", "--enable-prompt-tokens-details"]
"""
SUITE = """
CHAT = {{"users": 2, "turns": 2, "prompt_tokens": 400, "next_tokens": 4, "answer_tokens": 8, "rounds": 10}}

def test_turn(candidate, load):
    assert load.conversations(candidate, **CHAT).turn(2).cached_share >= 0.9

def test_turn_without_a_cache(baseline, load):
    assert load.conversations(baseline, **CHAT).turn(2).cached_share >= 0.9

def test_replay(candidate, load):
    assert load.replay(candidate, "{trace}", unit="ms").cached_share >= 0.5

def test_recorded_sessions(candidate, load):
    assert load.conversations(candidate, prompts="{sessions}", rounds=10).turn(2).cached_share >= 0.8

def test_recorded_sessions_without_a_cache(baseline, load):
    assert load.conversations(baseline, prompts="{sessions}", rounds=10).turn(2).cached_share >= 0.8
"""


@pytest.mark.timed
def test_the_second_turn_is_found_and_so_are_the_blocks_of_a_trace(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text((SUITES / "models.toml").read_text() + ROWS)
    # Three of four blocks are those of the request before.
    rows = [
        {"timestamp": 100 * n, "input_length": 512, "output_length": 2, "hash_ids": [1, 2, 3, 4 + n]}
        for n in range(60)
    ]
    trace = tmp_path / "trace.jsonl"
    trace.write_text("\n".join(map(json.dumps, rows)))
    begin, more = ({"role": "user", "content": text} for text in ("word " * 400, "More?"))
    delta = {"message_mode": "delta", "output_length": 8}
    lines = [
        {"session_id": "a", **delta, "messages": [begin], "timestamp": 0},
        {
            "session_id": "b",
            "messages": [{**begin, "content": "other " * 400}],
            "timestamp": 10,
            "output_length": 8,
        },
        {"session_id": "a", **delta, "messages": [more], "delay": 20},
        {"session_id": "b", "messages": [{**begin, "content": "other " * 400}, more], "output_length": 8},
    ]
    sessions = tmp_path / "sessions.jsonl"
    sessions.write_text("\n".join(map(json.dumps, lines)))
    # What is found in a cache does not depend on when it is asked.
    (tmp_path / "conftest.py").write_text("from pytest_llmperf.load import run\n\nrun.LATE_ABOVE_S = 60.0\n")
    (tmp_path / "test_cache.py").write_text(SUITE.format(trace=trace, sessions=sessions))
    code, verdicts, output = gate(
        tmp_path / "record.json",
        str(tmp_path / "test_cache.py"),
        *("--rootdir", ".", "-c", "pyproject.toml", "--llmperf-models", str(tmp_path / "models.toml")),
        *("--llmperf-budgets", str(SUITES / "budgets.toml")),
        *("--model", "cached", "--baseline", "uncached"),
    )
    assert code == 1, output
    told = {str(verdict["test"]).partition("::")[2]: verdict["status"] for verdict in verdicts}
    assert told == {
        "test_turn[cached]": "PASS",
        "test_replay[cached]": "PASS",
        "test_turn_without_a_cache": "FAIL",
        "test_recorded_sessions[cached]": "PASS",
        "test_recorded_sessions_without_a_cache": "FAIL",
    }, output
