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

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines import vllm_arguments
from pytest_llmperf.errors import DataError
from pytest_llmperf.json_values import JsonObject

BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}
"""Bytes of one value, by the ``dtype`` of ``config.json``."""
MODEL_TYPES = ("llama", "qwen2")
_SPECULATION = ("--spec",)
_KV_DTYPE = "--kv-cache-dtype"
_EIGHT_BITS = ("fp8", "int8", "w8a8", "w8a16", "modelopt", "tpu_int8", "fbgemm_fp8", "ptpc_fp8")


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
    stored.name: stored
    for stored in (
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


def architecture_of(config: JsonObject) -> Architecture:
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


def _count(config: JsonObject, key: str, default: int | None = None) -> int:
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


@dataclass(frozen=True)
class Roofline:
    """The limits of a model on a device."""

    model: Architecture
    device: Limits
    stored: Format = PLAIN
    counts_context: bool = True
    """False: the bytes that a token of context takes are not known (an argument chooses the cache's type)."""

    def throughput(self, concurrency: int = 1, context: int = 0) -> float:
        """Tokens per second, of all requests together, that decoding can't exceed.

        ``context``: tokens of cache that each request reads on average and shares with nobody (0: none, the loosest).
        """
        return concurrency / max(self._step_s(concurrency, context))

    def first_token_s(self, prompt_tokens: int = 1) -> float:
        """Seconds that the first token of a prompt takes at least, when none of it is in a prefix cache."""
        if prompt_tokens < 1:
            raise ValueError(f"prompt_tokens is {prompt_tokens}, at least 1 is needed")
        arithmetic = self.model.prefill_operations(prompt_tokens) / self.device.peak(self.stored)
        return max(arithmetic, self._read_s(self.model.read_per_step(self.stored)))

    def why_impossible_throughput(
        self, tokens_per_second: float, concurrency: int = 1, context: int = 0
    ) -> str | None:
        """The arithmetic as a sentence if the device can't do it; None if it may, or if its bandwidth was measured."""
        limit = self.throughput(concurrency, context)
        if self.device.measured or tokens_per_second <= limit:
            return None
        device = self.device
        memory_s, arithmetic_s = self._step_s(concurrency, context)
        because = (
            f"a step reads {self._step_bytes(concurrency, context) / 1e9:.3f} GB, of which a cache of "
            f"{device.cache_bytes / 1e6:.0f} MB may keep a part, "
            f"and {device.name} reads {device.bandwidth / 1e9:,.0f} GB/s"
            if memory_s >= arithmetic_s
            else f"a step takes {concurrency * self.model.operations_per_token() / 1e12:.3f} Tflop, "
            f"and {device.name} does {device.peak(self.stored) / 1e12:,.0f} Tflop/s"
        )
        many = f" for {concurrency} requests together" if concurrency > 1 else ""
        return (
            f"{because}: at most {limit:,.1f} tok/s{many}, "
            f"and {tokens_per_second:,.4g} tok/s are {100 * tokens_per_second / limit:.0f} % of that"
        )

    def why_impossible_time_per_token(self, seconds: float, concurrency: int) -> str | None:
        """The same for a time per token: each of ``concurrency`` requests gets one token a step."""
        if seconds <= 0.0:
            return "a token takes time"
        why = self.why_impossible_throughput(concurrency / seconds, concurrency)
        return None if why is None else f"{1e3 * seconds:.4g} ms a token would be {why}"

    def why_impossible_first_token(self, seconds: float, prompt_tokens: int = 1) -> str | None:
        """The same for a time to first token that is too short."""
        least = self.first_token_s(prompt_tokens)
        if self.device.measured or seconds >= least:
            return None
        operations = self.model.prefill_operations(prompt_tokens)
        return (
            f"a prompt of {prompt_tokens:,} tokens takes {operations / 1e12:.3f} Tflop "
            f"and reads {self.model.read_per_step(self.stored) / 1e9:.3f} GB: at least {1e3 * least:.1f} ms on "
            f"{self.device.name} ({self.device.peak(self.stored) / 1e12:,.0f} Tflop/s, "
            f"{self.device.bandwidth / 1e9:,.0f} GB/s), and {1e3 * seconds:.4g} ms is less"
        )

    def _step_s(self, concurrency: int, context: int) -> tuple[float, float]:
        """Least seconds of a decoding step: by memory, and by arithmetic."""
        for name, value, least in (("concurrency", concurrency, 1), ("context", context, 0)):
            if value < least:
                raise ValueError(f"{name} is {value}, at least {least} is needed")
        operations = concurrency * self.model.operations_per_token()
        return self._read_s(self._step_bytes(concurrency, context)), operations / self.device.peak(
            self.stored
        )

    def _step_bytes(self, concurrency: int, context: int) -> float:
        cached = concurrency * context * self.model.kv_bytes_per_token() if self.counts_context else 0.0
        return self.model.read_per_step(self.stored) + cached

    def _read_s(self, read_bytes: float) -> float:
        return max(0.0, read_bytes - self.device.cache_bytes) / self.device.bandwidth


def roofline_of(model: Model, directory: Path | None, device: Limits | None) -> Roofline | str:
    """The roofline of a row whose weights lie in ``directory``, or why it is not known.

    Whatever is in doubt is taken as the loosest: a limit must not refuse what is possible.
    """
    if device is None:
        return "nothing is known of the device's bandwidth"
    if any(option.name.startswith(_SPECULATION) for option in vllm_arguments.options(model.arguments)):
        return "with speculative decoding a step yields a number of tokens that is not known beforehand"
    if directory is None:
        return "the weights are not on this machine"
    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        architecture = architecture_of(config)
    except (OSError, ValueError) as error:
        return f"config.json cannot be read: {error}"
    except DataError as error:
        return str(error)
    # vLLM serves what was stored in 32 bits in 16, unless the row says otherwise.
    architecture = dataclasses.replace(
        architecture, dtype_bytes=4.0 if model.dtype in ("float32", "float") else 2.0
    )
    own = config.get("quantization_config") or {}
    method = str(model.quantization or own.get("quant_method") or "")
    width = "8" if any(method.lower().startswith(name) for name in _EIGHT_BITS) else "4"
    stored = FORMATS[f"everything-{width}-bit"] if method else PLAIN
    if model.gpus > 1:
        device = dataclasses.replace(
            device,
            name=f"{model.gpus} × {device.name}",
            bandwidth=model.gpus * device.bandwidth,
            operations={bits: model.gpus * peak for bits, peak in device.operations.items()},
            cache_bytes=model.gpus * device.cache_bytes,
        )
    counts_context = vllm_arguments.option(model.arguments, _KV_DTYPE) is None
    return Roofline(architecture, device, stored, counts_context)
