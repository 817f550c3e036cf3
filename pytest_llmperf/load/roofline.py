"""The roofline of a device: bytes and operations of a decoder, against memory bandwidth and peak arithmetic.

The roofline model (Williams, Waterman and Patterson 2009, Communications of the ACM 52(4), 65) for a dense decoder:
a step that decodes one token for each of c requests reads every weight once and the KV cache of each request, and does
two operations per weight and request. No implementation is faster than the slower of the two; a published value
above the limit is therefore physically impossible.

A limit must never refuse what is possible, so everything left out makes it looser: activations, the cache that is
written, the row that is looked up in the embedding, launch times. What the last-level cache could keep from one step to
the next is taken off the bytes; for a model that fits into it only arithmetic remains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.errors import DataError

BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}
"""Bytes of one value, by the ``dtype`` of ``config.json``."""
MODEL_TYPES = ("llama", "qwen2")


@dataclass(frozen=True)
class Format:
    """Storage format of the weights: bits of a value in the linear layers, and what stays in the model's own dtype.

    ``group`` values share one 16-bit scale and, if ``zero_points``, one zero point of ``bits``; None: one scale per
    output channel. ``all_of_it`` says that embedding, head, biases and norms are stored in ``bits`` too and no scale
    at all: what no file format does, and the least that any format at that width could take.
    """

    name: str
    bits: int | None = None
    group: int | None = None
    zero_points: bool = False
    all_of_it: bool = False


# As llm-compressor and AutoAWQ write them: only the linear layers of the blocks, never the embedding or the head.
PLAIN = Format("plain")
FORMATS: Mapping[str, Format] = {
    one.name: one
    for one in (
        PLAIN,
        Format("int8", bits=8),
        Format("fp8", bits=8),
        Format("awq", bits=4, group=128, zero_points=True),
        Format("everything-8-bit", bits=8, all_of_it=True),
        Format("everything-4-bit", bits=4, all_of_it=True),
    )
}


@dataclass(frozen=True)
class Architecture:
    """The shapes of a dense decoder with grouped-query attention and a gated MLP."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool
    """Input embedding and output head are one matrix."""
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    context: int
    """``max_position_embeddings``, in tokens."""
    dtype_bytes: float

    @property
    def embedding(self) -> int:
        """Values of one vocabulary matrix."""
        return self.vocabulary * self.hidden

    @property
    def linear(self) -> int:
        """Weights of all linear layers inside the blocks: what quantisation shrinks."""
        return self.layers * sum(rows * columns for rows, columns in self._linears())

    @property
    def small(self) -> int:
        """Biases and norms."""
        attention = (self.heads + 2 * self.kv_heads) * self.head_size
        biases = (
            self.qkv_bias * attention
            + self.output_bias * self.hidden
            + self.mlp_bias * (2 * self.intermediate + self.hidden)
        )
        return self.layers * (biases + 2 * self.hidden) + self.hidden

    @property
    def parameters(self) -> int:
        """All of them, as a checkpoint's files count them."""
        return self.linear + self.small + self.embedding * (1 if self.tied else 2)

    def weight_bytes(self, stored: Format = PLAIN) -> float:
        """Bytes of all weights; a file adds its header of a few kB."""
        return self._linear_bytes(stored) + self._other_bytes(stored, 1 if self.tied else 2)

    def read_per_step(self, stored: Format = PLAIN) -> float:
        """Bytes of weights that one decoding step reads: all but an input embedding of its own, which is looked up."""
        return self._linear_bytes(stored) + self._other_bytes(stored, 1)

    def kv_bytes_per_token(self, value_bytes: float = 2.0) -> float:
        """Bytes of cache that one token of context takes: a key and a value per layer and KV head."""
        return 2.0 * self.layers * self.kv_heads * self.head_size * value_bytes

    def operations_per_token(self) -> float:
        """A multiplication and an addition per weight that is multiplied with; attention is left out."""
        return 2.0 * (self.linear + self.embedding)

    def prefill_operations(self, tokens: int) -> float:
        """Operations of one prompt: the blocks for each token, the head for the last, attention over earlier tokens."""
        attention = 2.0 * self.layers * self.heads * self.head_size * tokens * (tokens + 1)
        return 2.0 * self.linear * tokens + 2.0 * self.embedding + attention

    def _linears(self) -> list[tuple[int, int]]:
        """(outputs, inputs) of the linear layers of one block: q, k, v, o; gate, up, down."""
        query, key = self.heads * self.head_size, self.kv_heads * self.head_size
        attention = [(query, self.hidden), (key, self.hidden), (key, self.hidden), (self.hidden, query)]
        up = (self.intermediate, self.hidden)
        return [*attention, up, up, (self.hidden, self.intermediate)]

    def _linear_bytes(self, stored: Format) -> float:
        if stored.bits is None:
            return self.linear * self.dtype_bytes
        values = self.linear * stored.bits / 8.0
        if stored.all_of_it:
            return values
        if stored.group is None:
            return values + 2.0 * self.layers * sum(outputs for outputs, _ in self._linears())
        groups = self.linear / stored.group
        return values + groups * (2.0 + (stored.bits / 8.0 if stored.zero_points else 0.0))

    def _other_bytes(self, stored: Format, matrices: int) -> float:
        each = stored.bits / 8.0 if stored.bits is not None and stored.all_of_it else self.dtype_bytes
        return (self.small + self.embedding * matrices) * each


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The shapes that a model's ``config.json`` states.

    Raises :class:`DataError` for a ``model_type`` whose layers are not known here, and for a missing or wrong value.
    """
    kind = config.get("model_type")
    if kind not in MODEL_TYPES:
        raise DataError(
            f"config.json: model_type = {kind!r}: its size can't be computed; known: {', '.join(MODEL_TYPES)}"
        )
    heads, hidden = _count(config, "num_attention_heads"), _count(config, "hidden_size")
    dtype = config.get("torch_dtype", config.get("dtype", "bfloat16"))
    if dtype not in BYTES:
        raise DataError(f"config.json: torch_dtype = {dtype!r}: must be one of {', '.join(BYTES)}")
    bias = bool(config.get("attention_bias", False))
    return Architecture(
        hidden=hidden,
        intermediate=_count(config, "intermediate_size"),
        layers=_count(config, "num_hidden_layers"),
        heads=heads,
        kv_heads=_count(config, "num_key_value_heads", heads),
        head_size=_count(config, "head_dim", hidden // heads),
        vocabulary=_count(config, "vocab_size"),
        tied=bool(config.get("tie_word_embeddings", False)),
        # Qwen2 always has biases on q, k and v, whatever its configuration says, and none elsewhere.
        qkv_bias=kind == "qwen2" or bias,
        output_bias=kind != "qwen2" and bias,
        mlp_bias=kind != "qwen2" and bool(config.get("mlp_bias", False)),
        context=_count(config, "max_position_embeddings"),
        dtype_bytes=BYTES[dtype],
    )


def _count(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    if value is None:
        value = default
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise DataError(f"config.json: {key} = {value!r}: must be a whole number above zero")
    return value


@dataclass(frozen=True)
class Limits:
    """Limits of a device: bytes per second, operations per second, bytes of its last-level cache.

    ``operations`` is by bits of the values multiplied, dense (without structured sparsity). ``measured``: the bandwidth
    is that of a copy, which stays below what is possible, and so allows a share but no refusal.
    """

    name: str
    bandwidth: float
    operations: Mapping[int, float]
    cache_bytes: float
    measured: bool = False

    def peak(self, stored: Format) -> float:
        """Operations per second for weights in this format; 4-bit weights are multiplied in 16 bits."""
        return self.operations[8 if stored.bits == 8 else 16]


def speed_limit(
    model: Architecture,
    device: Limits,
    *,
    concurrency: int = 1,
    context: int = 0,
    stored: Format = PLAIN,
    tokens_per_step: float = 1.0,
) -> float:
    """Tokens per second, of all requests together, that decoding can't exceed.

    ``context``: tokens of cache that each request reads on average and shares with nobody (0: none, the loosest).
    ``tokens_per_step``: tokens that one pass yields per request, above 1 only with speculative decoding.
    """
    for name, value, least in (("concurrency", concurrency, 1), ("context", context, 0)):
        if value < least:
            raise ValueError(f"{name} is {value}, at least {least} is needed")
    if not (math.isfinite(tokens_per_step) and tokens_per_step >= 1.0):
        raise ValueError(f"tokens_per_step is {tokens_per_step:g}, at least 1 is needed")
    step = max(
        _from_memory(
            model.read_per_step(stored) + concurrency * context * model.kv_bytes_per_token(), device
        ),
        concurrency * model.operations_per_token() / device.peak(stored),
    )
    return concurrency * tokens_per_step / step


def first_token_limit(
    model: Architecture, device: Limits, *, prompt_tokens: int = 1, stored: Format = PLAIN
) -> float:
    """Seconds that the first token of a prompt takes at least, when none of it is in a prefix cache."""
    if prompt_tokens < 1:
        raise ValueError(f"prompt_tokens is {prompt_tokens}, at least 1 is needed")
    arithmetic = model.prefill_operations(prompt_tokens) / device.peak(stored)
    return max(arithmetic, _from_memory(model.read_per_step(stored), device))


def _from_memory(read_bytes: float, device: Limits) -> float:
    return max(0.0, read_bytes - device.cache_bytes) / device.bandwidth


def share_of_limit(tokens_per_second: float, limit: float) -> float:
    """Share of the limit that was reached."""
    return tokens_per_second / limit


def why_impossible_speed(
    tokens_per_second: float,
    model: Architecture,
    device: Limits,
    *,
    concurrency: int = 1,
    context: int = 0,
    stored: Format = PLAIN,
    tokens_per_step: float = 1.0,
) -> str | None:
    """The arithmetic as a sentence if the device can't do it; None if it may, or if its bandwidth was only measured."""
    limit = speed_limit(
        model,
        device,
        concurrency=concurrency,
        context=context,
        stored=stored,
        tokens_per_step=tokens_per_step,
    )
    if device.measured or tokens_per_second <= limit:
        return None
    read = model.read_per_step(stored) + concurrency * context * model.kv_bytes_per_token()
    from_memory = _from_memory(read, device)
    arithmetic = concurrency * model.operations_per_token() / device.peak(stored)
    because = (
        f"a step reads {read / 1e9:.3f} GB, of which a cache of {device.cache_bytes / 1e6:.0f} MB may keep a part, "
        f"and {device.name} reads {device.bandwidth / 1e9:,.0f} GB/s"
        if from_memory >= arithmetic
        else f"a step takes {concurrency * model.operations_per_token() / 1e12:.3f} Tflop, "
        f"and {device.name} does {device.peak(stored) / 1e12:,.0f} Tflop/s"
    )
    many = f" for {concurrency} requests together" if concurrency > 1 else ""
    return (
        f"{because}: at most {limit:,.1f} tok/s{many}, "
        f"and {tokens_per_second:,.4g} tok/s are {100 * share_of_limit(tokens_per_second, limit):.0f} % of that"
    )


def why_impossible_first_token(
    seconds: float,
    model: Architecture,
    device: Limits,
    *,
    prompt_tokens: int = 1,
    stored: Format = PLAIN,
) -> str | None:
    """The same for a time to first token that is too short."""
    least = first_token_limit(model, device, prompt_tokens=prompt_tokens, stored=stored)
    if device.measured or seconds >= least:
        return None
    return (
        f"a prompt of {prompt_tokens:,} tokens takes {model.prefill_operations(prompt_tokens) / 1e12:.3f} Tflop and "
        f"reads {model.read_per_step(stored) / 1e9:.3f} GB: at least {1e3 * least:.1f} ms on {device.name} "
        f"({device.peak(stored) / 1e12:,.0f} Tflop/s, {device.bandwidth / 1e9:,.0f} GB/s), "
        f"and {1e3 * seconds:.4g} ms is less"
    )
