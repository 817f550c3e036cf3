"""Adapters on real vLLM, on the CPU: one that changes nothing has its base's distribution, another has not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmperf.serving.weights import embedded_directory
from tests.integration.test_planted_regressions import REPOSITORY, gate
from tests.lora import write_adapter

pytestmark = pytest.mark.vllm
SUITE = """
def test_divergence(candidate, baseline, fidelity):
    assert fidelity(candidate, baseline).divergence <= 1e-3
"""
ROWS = """
[profile.embedded.model.zero]
adapter_of = "distill"
adapter = "./zero"
[profile.embedded.model.noisy]
adapter_of = "distill"
adapter = "./noisy"

[profile.embedded.sizes]
fidelity_answers = 40
"""


def test_an_adapter_without_effect_is_its_base_and_another_is_not(tmp_path: Path) -> None:
    weights = embedded_directory("tiny-distill")
    write_adapter(tmp_path / "zero", weights)
    write_adapter(tmp_path / "noisy", weights, rank=12, scale=0.05)
    catalogue = (REPOSITORY / "suites" / "models.toml").read_text()
    (tmp_path / "models.toml").write_text(catalogue + ROWS)
    (tmp_path / "budgets.toml").write_text("")
    (tmp_path / "test_adapters.py").write_text(SUITE)
    code, verdicts, output = gate(
        tmp_path / "record.json",
        str(tmp_path / "test_adapters.py"),
        *("--llmperf-models", str(tmp_path / "models.toml")),
        *("--llmperf-budgets", str(tmp_path / "budgets.toml")),
        *("--model", "zero", "--model", "noisy", "--baseline", "distill"),
    )
    assert code == 1, output
    seen = {str(verdict["test"]).rpartition("::")[2]: verdict for verdict in verdicts}
    assert {name: verdict["status"] for name, verdict in seen.items()} == {
        "test_divergence[zero]": "PASS",
        "test_divergence[noisy]": "FAIL",
    }, output
    assert seen["test_divergence[zero]"]["observed"] == pytest.approx(0.0, abs=1e-9)  # rounding, squared
    record = json.loads((tmp_path / "record.json").read_text())
    assert [(server["row"], server["server_of"]) for server in record["servers"]] == [
        ("distill", None),
        ("zero", "distill"),
        ("noisy", "distill"),
    ]
