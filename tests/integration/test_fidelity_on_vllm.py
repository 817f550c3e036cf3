"""Fidelity on real vLLM: a model against itself is equal to the last bit, noise that accuracy cannot see is red."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.test_planted_regressions import REPOSITORY, gate

pytestmark = pytest.mark.vllm
SUITES = REPOSITORY / "suites"


def test_a_model_against_itself_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    code, verdicts, output = gate(
        tmp_path / "record.json", "suites/test_fidelity.py", "--baseline", "distill"
    )
    assert code == 0, output
    assert [(v["status"], v["observed"]) for v in verdicts] == [("PASS", 0.0), ("PASS", 1.0)]


SMALL_BLOCKS = """
[profile.embedded.model.distill-cached]
extends = "distill"
add_arguments = ["--enable-prefix-caching", "--block-size", "32"]

[profile.embedded.sizes]
fidelity_answers = 60
fidelity_tokens = 24
"""
"""The cache keeps whole blocks, of 128 tokens on a CPU: more than the embedded task's prompts have."""
PREFIX_CACHE = """
def test_prefix_cache(candidate, consistency):
    assert consistency(candidate).prefix_cache <= 1e-4
"""


def test_answers_from_the_prefix_cache_are_those_without_it(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text((SUITES / "models.toml").read_text() + SMALL_BLOCKS)
    (tmp_path / "test_prefix_cache.py").write_text(PREFIX_CACHE)
    code, [verdict], output = gate(
        tmp_path / "record.json",
        str(tmp_path / "test_prefix_cache.py"),
        *("--rootdir", ".", "-c", "pyproject.toml", "--llmperf-models", str(tmp_path / "models.toml")),
        *("--llmperf-budgets", str(SUITES / "budgets.toml")),
        *("--model", "distill-cached", "--baseline", "distill-cached"),
    )
    assert code == 0, output
    assert verdict["status"] == "PASS"
    [entry] = json.loads((tmp_path / "record.json").read_text())["fidelity"]
    assert entry["cached_tokens"] > 16 * entry["answers"], "a block of most prompts"


def test_noise_of_a_hundredth_on_the_weights_is_red(tmp_path: Path) -> None:
    code, verdicts, output = gate(
        tmp_path / "record.json",
        "suites/test_fidelity.py",
        *("-k", "distribution", "--model", "distill-noise", "--baseline", "distill", "--llmperf-full"),
    )
    assert code == 1, output
    (verdict,) = verdicts
    assert verdict["status"] == "FAIL", output
    assert isinstance(verdict["observed"], float)
    assert 1e-5 < verdict["observed"] < 2e-4
