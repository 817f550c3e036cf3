"""Speculation with n-grams on real vLLM: what the answers tell and what the counters tell are the same figure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.test_planted_regressions import REPOSITORY, gate

pytestmark = pytest.mark.vllm
SUITES = REPOSITORY / "suites"
ROWS = """
[profile.embedded.model.ngram]
extends = "distill"
add_arguments = [
  "--speculative-config", '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}',
  "--per-request-spec-decode-metrics", "summary",
]
[profile.embedded.model.ngram-counted]
extends = "distill"
add_arguments = [
  "--speculative-config", '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4}',
]
[profile.embedded.sizes]
rounds = 8
"""
SUITE = """
def test_told_by_the_answers(candidate, load):
    assert load(candidate, concurrency=2).acceptance_length >= 1.05

def test_as_much_as_the_baseline_whose_counters_tell_it(candidate, baseline, load):
    assert load.interleaved(candidate, baseline, concurrency=2).acceptance_length.ratio >= 0.9
"""


@pytest.mark.timed
def test_answers_and_counters_tell_one_acceptance_length(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text((SUITES / "models.toml").read_text() + ROWS)
    (tmp_path / "test_speculation.py").write_text(SUITE)
    code, verdicts, output = gate(
        tmp_path / "record.json",
        str(tmp_path / "test_speculation.py"),
        *("--rootdir", ".", "-c", "pyproject.toml", "--llmperf-models", str(tmp_path / "models.toml")),
        *("--llmperf-budgets", str(SUITES / "budgets.toml")),
        *("--model", "ngram", "--baseline", "ngram-counted"),
    )
    assert code == 0, output
    assert [verdict["status"] for verdict in verdicts] == ["PASS"] * 2, output
    loads = json.loads((tmp_path / "record.json").read_text())["load"]
    told = {load["row"]: [one["totals"]["acceptance_length"] for one in load["rounds"]] for load in loads}
    # The same prompts, greedily: the two routes count the same tokens and steps.
    assert told["ngram"] == told["ngram-counted"]
