"""A row's limit is that of its own weights on its own device, and unknown where either is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.load.device_limits import limits_of
from pytest_llmperf.load.roofline import Roofline, roofline_of
from tests.architectures import DISTILL_CONFIG

T4 = limits_of("Tesla T4")


def row(**fields: Any) -> Model:
    return Model(name="distill", profile="gpu", weights="./distill", **fields)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(DISTILL_CONFIG))
    return tmp_path


def known(found: Roofline | str) -> Roofline:
    assert isinstance(found, Roofline), found
    return found


def test_what_a_t4_cannot_do_is_refused_with_the_arithmetic(weights: Path) -> None:
    limit = known(roofline_of(row(), weights, T4))
    assert limit.throughput(1) == pytest.approx(103.8, abs=0.05)
    assert limit.why_impossible_throughput(100, 1) is None
    why = limit.why_impossible_throughput(143, 1)
    assert why is not None
    assert "at most 103.8 tok/s, and 143 tok/s are 138 % of that" in why
    assert limit.why_impossible_time_per_token(0.010, 1) is None
    assert "9 ms a token would be a step reads" in str(limit.why_impossible_time_per_token(0.009, 1))
    assert limit.why_impossible_first_token(0.05, 512) is None
    assert "at least" in str(limit.why_impossible_first_token(0.005, 512))


def test_many_streams_share_a_step_so_that_each_may_still_wait_for_it(weights: Path) -> None:
    limit = known(roofline_of(row(), weights, T4))
    assert limit.why_impossible_time_per_token(0.010, 32) is None
    assert limit.why_impossible_time_per_token(0.009, 32) is not None


def test_quantised_weights_are_taken_as_small_as_their_width_allows(weights: Path) -> None:
    plain = known(roofline_of(row(), weights, T4)).throughput(1)
    eight = known(roofline_of(row(quantization="fp8"), weights, T4)).throughput(1)
    four = known(roofline_of(row(quantization="awq"), weights, T4)).throughput(1)
    assert plain * 1.9 < eight < four
    (weights / "config.json").write_text(
        json.dumps({**DISTILL_CONFIG, "quantization_config": {"quant_method": "gptq"}})
    )
    assert known(roofline_of(row(), weights, T4)).throughput(1) == four


def test_what_is_stored_in_32_bits_is_served_in_16_unless_the_row_says_otherwise(weights: Path) -> None:
    stored = {**DISTILL_CONFIG, "torch_dtype": "float32"}
    (weights / "config.json").write_text(json.dumps(stored))
    served, as_stored = (
        known(roofline_of(row(dtype=dtype), weights, T4)).throughput(1) for dtype in ("auto", "float32")
    )
    assert served == pytest.approx(103.8, abs=0.05)
    assert as_stored == pytest.approx(served / 2, rel=0.01)


def test_two_devices_read_twice_as_much(weights: Path) -> None:
    one, two = (known(roofline_of(row(gpus=n), weights, T4)) for n in (1, 2))
    assert two.throughput(1) == pytest.approx(2 * one.throughput(1), rel=0.01)
    assert "2 × T4" in str(two.why_impossible_throughput(1000, 1))


def test_a_cache_of_a_type_of_its_own_leaves_the_context_out(weights: Path) -> None:
    plain = known(roofline_of(row(), weights, T4))
    own = known(roofline_of(row(arguments=("--kv_cache_dtype", "fp8")), weights, T4))
    assert plain.throughput(64, 4096) < plain.throughput(64)
    assert own.throughput(64, 4096) == plain.throughput(64)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (row(arguments=("--speculative-config", '{"method": "ngram"}')), "speculative"),
        (row(arguments=("--speculative_config={}",)), "speculative"),
    ],
)
def test_with_speculative_decoding_no_limit_is_known(weights: Path, model: Model, why: str) -> None:
    found = roofline_of(model, weights, T4)
    assert isinstance(found, str)
    assert why in found


def test_what_is_not_here_or_not_known_has_no_limit(weights: Path) -> None:
    assert "bandwidth" in str(roofline_of(row(), weights, None))
    assert "not on this machine" in str(roofline_of(row(), None, T4))
    assert "config.json cannot be read" in str(roofline_of(row(), weights / "nowhere", T4))
    (weights / "config.json").write_text(json.dumps({**DISTILL_CONFIG, "model_type": "mixtral"}))
    assert "mixtral" in str(roofline_of(row(), weights, T4))
