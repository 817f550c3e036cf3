"""A limit is the arithmetic that it says, refuses what is above it and nothing below."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pytest_llmperf
from pytest_llmperf.errors import DataError
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.load.device_limits import limits_of, measured_limits
from pytest_llmperf.load.roofline import (
    FORMATS,
    Architecture,
    Format,
    Limits,
    Roofline,
    architecture_of,
)

WEIGHTS = Path(pytest_llmperf.__file__).parent / "embedded" / "weights"
QWEN_1_5B: JsonObject = {
    "model_type": "qwen2",
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
}
DISTILL = architecture_of({**QWEN_1_5B, "tie_word_embeddings": False, "max_position_embeddings": 131072})
MATH = architecture_of({**QWEN_1_5B, "tie_word_embeddings": True, "max_position_embeddings": 4096})
# meta-llama/Llama-2-7b-hf and Llama-3.2-1B: counts as their model cards and files state them
LLAMA_2_7B: JsonObject = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}
LLAMA_3_2_1B: JsonObject = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": True,
}


def device(name: str) -> Limits:
    found = limits_of(name)
    assert found is not None
    return found


T4, H100 = device("Tesla T4"), device("NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (DISTILL, 1_777_088_000),
        (MATH, 1_543_714_304),
        (architecture_of(LLAMA_2_7B), 6_738_415_616),
        (architecture_of(LLAMA_3_2_1B), 1_235_814_400),
    ],
)
def test_parameters_are_those_of_the_published_checkpoints(model: Architecture, parameters: int) -> None:
    assert model.parameters == parameters


@pytest.mark.parametrize("name", ["tiny-distill", "tiny-math"])
def test_weight_bytes_are_those_in_a_real_file(name: str) -> None:
    file = WEIGHTS / name / "model.safetensors"
    model = architecture_of(json.loads((WEIGHTS / name / "config.json").read_text()))
    header = 8 + int.from_bytes(file.read_bytes()[:8], "little")
    assert file.stat().st_size == header + model.weight_bytes()


def test_both_models_read_the_same_per_token_although_one_is_bigger() -> None:
    assert DISTILL.weight_bytes() == 3_554_176_000
    assert MATH.weight_bytes() == 3_087_428_608
    assert DISTILL.read_per_step() == MATH.read_per_step() == 3_087_428_608
    assert DISTILL.kv_bytes_per_token() == MATH.kv_bytes_per_token() == 28_672


@pytest.mark.parametrize(
    ("model", "stored", "gigabytes"),
    [
        (DISTILL, "int8", 2.245),
        (MATH, "int8", 1.779),
        (DISTILL, "everything-8-bit", 1.777),
        (DISTILL, "everything-4-bit", 0.889),
        (DISTILL, "awq", 1.614),
    ],
)
def test_quantisation_shrinks_the_linear_layers_only(
    model: Architecture, stored: str, gigabytes: float
) -> None:
    assert model.weight_bytes(FORMATS[stored]) / 1e9 == pytest.approx(gigabytes, abs=5e-4)


def test_no_file_format_is_smaller_than_the_least_at_its_width() -> None:
    for model in (DISTILL, MATH):
        assert model.weight_bytes(FORMATS["int8"]) > model.weight_bytes(FORMATS["everything-8-bit"])
        assert model.weight_bytes(FORMATS["awq"]) > model.weight_bytes(FORMATS["everything-4-bit"])


def test_143_tokens_per_second_are_more_than_a_t4_can_read() -> None:
    assert Roofline(DISTILL, T4).throughput() == pytest.approx(103.8, abs=0.05)
    why = Roofline(DISTILL, T4).why_impossible_throughput(143)
    assert why == (
        "a step reads 3.087 GB, of which a cache of 4 MB may keep a part, and T4 reads 320 GB/s: "
        "at most 103.8 tok/s, and 143 tok/s are 138 % of that"
    )
    assert Roofline(MATH, T4).why_impossible_throughput(102) is None
    assert 102 / Roofline(MATH, T4).throughput() == pytest.approx(0.98, abs=0.005)


def test_what_was_measured_on_an_h100_is_possible() -> None:
    # docs/evidence/h100-2026-11-24.txt: medians of 64 rounds, contexts of up to 640 tokens
    assert Roofline(DISTILL, H100).why_impossible_throughput(379) is None
    assert Roofline(DISTILL, H100).why_impossible_throughput(7335, concurrency=32, context=512) is None
    assert Roofline(DISTILL, H100).why_impossible_first_token(0.0225, prompt_tokens=512) is None


def test_many_requests_share_one_reading_of_the_weights_until_arithmetic_is_the_limit() -> None:
    assert Roofline(DISTILL, T4).throughput(concurrency=8) == pytest.approx(
        8 * Roofline(DISTILL, T4).throughput()
    )
    arithmetic = 65e12 / (2 * (DISTILL.linear + DISTILL.embedding))
    assert Roofline(DISTILL, T4).throughput(concurrency=100_000) == pytest.approx(arithmetic)
    assert "Tflop/s: at most" in str(
        Roofline(DISTILL, T4).why_impossible_throughput(1.01 * arithmetic, concurrency=100_000)
    )


def test_every_request_reads_its_own_context() -> None:
    # 3,087,428,608 + 64 · 4,096 · 28,672 bytes, less 50 MiB of cache
    seconds = (3_087_428_608 + 64 * 4096 * 28_672 - 50 * 2**20) / 3.35e12
    assert Roofline(DISTILL, H100).throughput(concurrency=64, context=4096) == pytest.approx(64 / seconds)


def test_a_model_that_fits_into_the_cache_is_limited_by_arithmetic_alone() -> None:
    tiny = architecture_of(json.loads((WEIGHTS / "tiny-math" / "config.json").read_text()))
    assert Roofline(tiny, H100).throughput() == pytest.approx(989.5e12 / tiny.operations_per_token())


def test_a_long_prompt_is_limited_by_arithmetic_and_a_short_one_by_reading_the_weights() -> None:
    blocks = 2 * DISTILL.linear * 2048 + 2 * DISTILL.embedding
    attention = 4 * 28 * 12 * 128 * (2048 * 2049 // 2)  # a dot product and a weighted sum per pair of tokens
    assert Roofline(DISTILL, T4).first_token_s(prompt_tokens=2048) == pytest.approx(
        (blocks + attention) / 65e12
    )
    assert Roofline(DISTILL, T4).first_token_s() == pytest.approx((3_087_428_608 - 4 * 2**20) / 320.064e9)
    assert "at least 9.6 ms on T4" in str(Roofline(DISTILL, T4).why_impossible_first_token(0.009))
    assert Roofline(DISTILL, T4).why_impossible_first_token(0.068, prompt_tokens=512) is None


@given(
    concurrency=st.integers(1, 4096),
    context=st.integers(0, 131072),
    stored=st.sampled_from(sorted(FORMATS.values(), key=lambda one: one.name)),
    share=st.floats(0.01, 3.0),
)
def test_a_value_is_refused_exactly_when_it_is_above_the_limit(
    concurrency: int, context: int, stored: Format, share: float
) -> None:
    limit = Roofline(DISTILL, H100, stored).throughput(concurrency, context)
    value = share * limit
    refused = Roofline(DISTILL, H100, stored).why_impossible_throughput(value, concurrency, context)
    assert (refused is not None) == (value > limit)


@pytest.mark.parametrize(
    ("name", "gb_per_second"),
    [
        ("NVIDIA A100-SXM4-40GB", 1555),
        ("NVIDIA A100-SXM4-80GB", 2039),
        ("NVIDIA A100 80GB PCIe", 1935),
        ("NVIDIA H100 80GB HBM3", 3350),
        ("NVIDIA H100 PCIe", 2039),
        ("NVIDIA H200", 4800),
        ("NVIDIA L4", 300),
        ("NVIDIA L40S", 864),
        ("NVIDIA A10", 600),
        ("NVIDIA GeForce RTX 3090", 936),
        ("T4", 320.064),
    ],
)
def test_a_device_is_found_by_the_name_that_nvml_gives(name: str, gb_per_second: float) -> None:
    assert device(name).bandwidth == gb_per_second * 1e9


@pytest.mark.parametrize(
    "name",
    [
        *("CPU", "", "NVIDIA GH200 480GB", "NVIDIA A10G", "NVIDIA GeForce RTX 3090 Ti", "NVIDIA L40"),
        *("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "H100"),
    ],
)
def test_a_device_without_a_data_sheet_has_no_limit(name: str) -> None:
    assert limits_of(name) is None


def test_a_measured_bandwidth_gives_a_share_and_refuses_nothing() -> None:
    unknown = measured_limits("a card of tomorrow", 300e9)
    assert 48.6 / Roofline(DISTILL, unknown).throughput() == pytest.approx(0.5, abs=0.001)
    assert Roofline(DISTILL, unknown).why_impossible_throughput(1e6) is None
    assert Roofline(DISTILL, unknown).why_impossible_first_token(1e-9) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_type": "mixtral"}, "model_type = 'mixtral'"),
        ({"hidden_size": None}, "hidden_size = None"),
        ({"vocab_size": True}, "vocab_size = True"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0"),
        ({"torch_dtype": "float7"}, "torch_dtype = 'float7'"),
    ],
)
def test_a_configuration_that_cannot_be_counted_is_refused(change: JsonObject, named: str) -> None:
    with pytest.raises(DataError, match=named):
        architecture_of({**QWEN_1_5B, "max_position_embeddings": 4096, **change})


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="concurrency is 0"):
        Roofline(DISTILL, T4).throughput(concurrency=0)
    with pytest.raises(ValueError, match="context is -1"):
        Roofline(DISTILL, T4).throughput(context=-1)
    with pytest.raises(ValueError, match="prompt_tokens is 0"):
        Roofline(DISTILL, T4).first_token_s(prompt_tokens=0)
    with pytest.raises(ValueError, match="bandwidth is 0"):
        measured_limits("broken", 0.0)


def test_eight_bits_are_multiplied_twice_as_fast_and_four_are_not() -> None:
    slow, twice, four = (
        Roofline(DISTILL, H100, FORMATS[name]).throughput(100_000) for name in ("plain", "fp8", "awq")
    )
    assert twice == pytest.approx(2 * slow)
    assert four == slow
