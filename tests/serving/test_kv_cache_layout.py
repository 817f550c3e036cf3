"""Bytes of a key-value cache by config.json: known models, and configurations that state no shapes."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import DataError
from pytest_llmperf.serving.kv_cache_layout import cache_layout

ROW = Model("row", "test", dtype="bfloat16")
QWEN: dict[str, Any] = {
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "hidden_size": 1536,
    "sliding_window": 4096,
    "use_sliding_window": False,
}
# DeepSeek-R1-Distill-Qwen-1.5B: 28,672 bytes a token; Llama 3.1 8B: 131,072; DeepSeek-V3: 70,272; Gemma 3 4B below.
LLAMA: dict[str, Any] = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
}
DEEPSEEK = {
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "hidden_size": 7168,
    "kv_lora_rank": 512,
    "qk_rope_head_dim": 64,
}


def row(*arguments: str, dtype: Any = "bfloat16") -> Model:
    return Model("row", "test", dtype=dtype, arguments=arguments)


@pytest.mark.parametrize(
    ("config", "model", "each"),
    [
        (QWEN, ROW, 28_672),
        (LLAMA, ROW, 131_072),
        (LLAMA, row("--kv-cache-dtype", "fp8_e4m3"), 65_536),
        (LLAMA, row(dtype="float32"), 262_144),
        (LLAMA, row("-tp", "16"), 262_144),
        (LLAMA, row("-tp=4"), 131_072),
        (LLAMA | {"head_dim": 64}, ROW, 65_536),
        (LLAMA | {"num_key_value_heads": None}, ROW, 524_288),
        ({"text_config": LLAMA, "model_type": "some"}, ROW, 131_072),
        (DEEPSEEK, ROW, 70_272),
        ({"n_layer": 12, "n_head": 12, "n_embd": 768}, ROW, 36_864),
    ],
)
def test_a_token_takes_what_its_layers_and_heads_keep(config: Any, model: Model, each: int) -> None:
    assert cache_layout(config, model).bytes_of(1000) == 1000 * each


def test_layers_with_a_window_keep_no_more_than_it() -> None:
    kinds = ["sliding_attention", "full_attention", "linear_attention"] * 2
    mixed = LLAMA | {"num_hidden_layers": 6, "layer_types": kinds, "sliding_window": 1024}
    assert cache_layout(mixed, ROW).bytes_of(10_000) == 4096 * (2 * 10_000 + 2 * 1024)
    assert cache_layout(mixed, ROW).bytes_of(500) == 4096 * 4 * 500
    mistral = LLAMA | {"sliding_window": 4096}
    assert cache_layout(mistral, ROW).bytes_of(32_768) == 4096 * 131_072
    gemma = LLAMA | {"sliding_window": 1024, "sliding_window_pattern": 6, "num_hidden_layers": 34}
    assert cache_layout(gemma, ROW).bytes_of(4096) == 4096 * (5 * 4096 + 29 * 1024)


@pytest.mark.parametrize(
    ("config", "arguments", "why"),
    [
        ({}, (), "num_hidden_layers = None"),
        (LLAMA | {"num_hidden_layers": 0}, (), "num_hidden_layers = 0"),
        (LLAMA | {"num_hidden_layers": True}, (), "num_hidden_layers = True"),
        (LLAMA | {"num_key_value_heads": "8"}, (), "num_key_value_heads = '8'"),
        (LLAMA | {"hidden_size": None}, (), "hidden_size = None"),
        (DEEPSEEK | {"qk_rope_head_dim": None}, (), "qk_rope_head_dim = None"),
        (LLAMA, ("--kv-cache-dtype", "nvfp4"), "--kv-cache-dtype nvfp4"),
    ],
)
def test_a_configuration_that_does_not_state_its_shapes_is_refused(
    config: Any, arguments: tuple[str, ...], why: str
) -> None:
    with pytest.raises(DataError, match=why):
        cache_layout(config, row(*arguments))
