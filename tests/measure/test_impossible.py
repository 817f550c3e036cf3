"""A budget beyond the device is refused with its arithmetic, and what cannot be known is let be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmperf.config.run_config import Options, resolve
from pytest_llmperf.errors import UsageError
from pytest_llmperf.measure.impossible import refuse_impossible_budgets
from tests.architectures import DISTILL_CONFIG

CATALOGUE = """
[profile.gpu]
candidate = "distill"
baseline = "math"
task = "gsm8k"
needs_cuda = {needs_cuda}
[profile.gpu.model.distill]
weights = "{weights}"
arguments = ["--load-format", "dummy"]
dtype = "bfloat16"
[profile.gpu.model.math]
extends = "distill"
"""


def check(directory: Path, budgets: str, *, weights: str = "./weights", cuda: bool = True) -> None:
    (directory / "weights").mkdir(exist_ok=True)
    (directory / "weights" / "config.json").write_text(json.dumps(DISTILL_CONFIG))
    text = CATALOGUE.format(needs_cuda=str(cuda).lower(), weights=weights)
    (directory / "models.toml").write_text(text)
    (directory / "budgets.toml").write_text(budgets)
    options = Options(directory / "models.toml", directory / "budgets.toml", profile="gpu")
    refuse_impossible_budgets(resolve(options, "T4", "Tesla T4"))


@pytest.mark.parametrize(
    ("budgets", "words"),
    [
        ('[gpu.T4.throughput]\nsingle = "143 tok/s"', ["single = 143 tok/s", "at most 103.8 tok/s"]),
        ('[gpu.any.throughput]\nsingle = "143 tok/s"', ["[gpu.any.throughput] single"]),
        ('[gpu.T4.throughput]\nsaturated = "30000 tok/s"', ["Tflop/s", "saturated"]),
        ('[gpu.T4.latency]\ntpot_p50 = { 8 = "9 ms" }', ["tpot_p50.8 = 9 ms", "9 ms a token would be"]),
        ('[gpu.T4.latency]\nttft_p95 = { 1 = "9 ms" }', ["512 tokens", "and 9 ms is less"]),
    ],
)
def test_what_a_t4_cannot_do_is_refused_in_one_line(tmp_path: Path, budgets: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        check(tmp_path, budgets)
    assert "\n" not in str(caught.value)
    for word in ("physically impossible for distill", "budgets.toml", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "budgets",
    [
        '[gpu.T4.throughput]\nsingle = "100 tok/s"\nsaturated = "20000 tok/s"',
        '[gpu.T4.latency]\ntpot_p50 = { 1 = "10 ms" }\nttft_p95 = { 1 = "30 ms" }',
        # Two tokens may arrive in one piece, so that half of the gaps can be nothing.
        '[gpu.T4.latency]\nitl_p50 = { 1 = "1 ms" }',
        # Of another device, or another profile: not this run's.
        '[gpu.H100.throughput]\nsingle = "500 tok/s"',
        '[other.T4.throughput]\nsingle = "500 tok/s"',
    ],
)
def test_what_is_possible_or_not_of_this_run_is_let_be(tmp_path: Path, budgets: str) -> None:
    check(tmp_path, budgets)


def test_what_is_not_known_is_not_refused(tmp_path: Path) -> None:
    budgets = '[gpu.any.throughput]\nsingle = "1000000 tok/s"'
    check(tmp_path, budgets, weights="nobody/has-this")
    check(tmp_path, budgets, weights="./not-here")
    check(tmp_path, budgets, cuda=False)
    with pytest.raises(UsageError):
        check(tmp_path, budgets)


def test_the_shipped_budgets_are_possible_on_every_device_that_they_name(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[2] / "suites" / "budgets.toml"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text(json.dumps(DISTILL_CONFIG))
    text = CATALOGUE.format(needs_cuda="true", weights="./weights")
    (tmp_path / "models.toml").write_text(text)
    options = Options(tmp_path / "models.toml", shipped, profile="gpu")
    names = {
        "T4": "Tesla T4",
        "L4": "NVIDIA L4",
        "A10": "NVIDIA A10",
        "RTX 3090": "NVIDIA GeForce RTX 3090",
        "A100": "NVIDIA A100-SXM4-40GB",
        "H100": "NVIDIA H100 80GB HBM3",
        "H200": "NVIDIA H200",
    }
    for device, name in names.items():
        refuse_impossible_budgets(resolve(options, device, name))
