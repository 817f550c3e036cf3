"""What ``config.json`` of a real model says of its shape."""

from __future__ import annotations

from pytest_llmperf.json_values import JsonObject

DISTILL_CONFIG: JsonObject = {
    "model_type": "qwen2",
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "max_position_embeddings": 131072,
    "torch_dtype": "bfloat16",
}
"""deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B."""
