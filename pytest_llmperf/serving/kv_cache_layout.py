"""The memory that a token of context takes in a key-value cache, from a model's ``config.json``.

Each layer with attention keeps a key and a value per KV head and token (Ainslie et al. 2023, arXiv 2305.13245), layers
with latent attention one compressed vector (DeepSeek-V2, arXiv 2405.04434), and layers with a sliding window no more
tokens than the window has. States of a fixed size (Mamba, linear attention) are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.vllm_arguments import value_of
from pytest_llmperf.errors import DataError
from pytest_llmperf.json_values import JsonObject, list_of, object_of

_LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "num_heads")
_HIDDEN = ("hidden_size", "n_embd", "d_model")
_WHOLE_CONTEXT = "full_attention"
_WINDOW = ("sliding_attention", "chunked_attention")
_EIGHT_BITS = ("fp8", "int8")
_SIXTEEN_BITS = ("bfloat16", "float16", "half")


@dataclass(frozen=True)
class CacheLayout:
    """Layers of a model that keep something of every token."""

    layer_bytes: float
    """Bytes of one token in one layer, on all GPUs of the row together."""
    whole: int
    """Layers that keep the whole context."""
    windowed: int = 0
    window: int = 0
    """Tokens that each windowed layer keeps at most."""

    def bytes_of(self, tokens: int) -> int:
        """Bytes of one sequence of so many tokens."""
        kept = self.whole * tokens + self.windowed * min(tokens, self.window)
        return math.ceil(kept * self.layer_bytes)


def cache_layout(config: JsonObject, model: Model) -> CacheLayout:
    """The layout for a row whose weights have that configuration.

    Raises :class:`DataError` for a configuration that does not state its shapes, and for an unknown type of the cache.
    """
    text = object_of(config.get("text_config")) or config
    layers = _count(text, *_LAYERS)
    parallel = _parallel(model)
    values: float
    if (latent := text.get("kv_lora_rank")) is not None:
        # Each GPU keeps the whole vector.
        values = parallel * (_positive("kv_lora_rank", latent) + _count(text, "qk_rope_head_dim"))
    else:
        heads = _count(text, *_HEADS)
        kv_heads = 1 if text.get("multi_query") is True else heads
        if text.get("num_key_value_heads") is not None:
            kv_heads = _count(text, "num_key_value_heads")
        size = _count(text, *_HIDDEN) // heads if text.get("head_dim") is None else _count(text, "head_dim")
        # With more GPUs than heads, several keep the same head.
        values = 2.0 * max(kv_heads, parallel) * size
    whole, windowed, window = _by_window(text, layers)
    return CacheLayout(values * _value_bytes(model), whole, windowed, window)


def _by_window(config: JsonObject, layers: int) -> tuple[int, int, int]:
    """(layers with the whole context, layers with a window, tokens of the window)."""
    window = config.get("sliding_window") or config.get("attention_chunk_size")
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        window = 0
    if kinds := [str(kind) for kind in list_of(config.get("layer_types"))]:
        windowed = sum(kind in _WINDOW for kind in kinds) if window else 0
        whole = sum(kind == _WHOLE_CONTEXT or (kind in _WINDOW and not window) for kind in kinds)
        return whole, windowed, window
    if not window or config.get("use_sliding_window") is False:
        return layers, 0, 0
    pattern = config.get("sliding_window_pattern")
    if isinstance(pattern, int) and pattern > 0:
        return layers // pattern, layers - layers // pattern, window
    return 0, layers, window


def _value_bytes(model: Model) -> float:
    said = (value_of(model.arguments, "--kv-cache-dtype") or "auto").lower()
    if said.startswith(_EIGHT_BITS):
        return 1.0
    if said in _SIXTEEN_BITS:
        return 2.0
    if said != "auto":
        raise DataError(f"--kv-cache-dtype {said}: its size is not known here; known: auto, fp8, bfloat16")
    # vLLM serves what was stored in 32 bits in 16, unless the row says otherwise.
    return 4.0 if model.dtype in ("float32", "float") else 2.0


def _parallel(model: Model) -> int:
    said = value_of(model.arguments, "--tensor-parallel-size") or "1"
    return max(1, int(said)) if said.isdecimal() else 1


def _count(config: JsonObject, *names: str) -> int:
    """The first of these numbers that the configuration states."""
    name = next((name for name in names if config.get(name) is not None), names[0])
    return _positive(name, config.get(name))


def _positive(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError(f"config.json: {name} = {value!r}: must be a whole number above zero")
    return value
