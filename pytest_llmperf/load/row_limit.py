"""The roofline of a row's device with the row's own weights, as far as both are known."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines import vllm_arguments
from pytest_llmperf.errors import DataError
from pytest_llmperf.load import roofline
from pytest_llmperf.load.roofline import FORMATS, PLAIN, Architecture, Format, Limits, architecture_of

_SPECULATION = ("--spec",)
_KV_DTYPE = "--kv-cache-dtype"
_EIGHT_BITS = ("fp8", "int8", "w8a8", "w8a16", "modelopt", "tpu_int8", "fbgemm_fp8", "ptpc_fp8")
_BYTES = {"float32": 4.0, "float": 4.0}


@dataclass(frozen=True)
class RowLimit:
    """A row's architecture on its device."""

    model: Architecture
    device: Limits
    stored: Format = PLAIN
    counts_context: bool = True
    """False: what a token of context takes is not known (an argument chooses the cache's type)."""

    def speed(self, concurrency: int, context: int = 0) -> float:
        """Tokens a second of all requests together, at most."""
        known = context if self.counts_context else 0
        return roofline.speed_limit(
            self.model, self.device, concurrency=concurrency, context=known, stored=self.stored
        )

    def why_impossible_throughput(self, tokens_per_second: float, concurrency: int) -> str | None:
        return roofline.why_impossible_speed(
            tokens_per_second, self.model, self.device, concurrency=concurrency, stored=self.stored
        )

    def why_impossible_time_per_token(self, seconds: float, concurrency: int) -> str | None:
        """Every request of ``concurrency`` gets a token a step: the step's least time is that of a token."""
        if seconds <= 0.0:
            return "a token takes time"
        why = self.why_impossible_throughput(concurrency / seconds, concurrency)
        return None if why is None else f"{1e3 * seconds:.4g} ms a token would be {why}"

    def why_impossible_first_token(self, seconds: float, prompt_tokens: int) -> str | None:
        return roofline.why_impossible_first_token(
            seconds, self.model, self.device, prompt_tokens=prompt_tokens, stored=self.stored
        )


def row_limit(model: Model, directory: Path | None, device: Limits | None) -> RowLimit | str:
    """The limit of a row whose weights lie in ``directory``, or why there is none that is known.

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
    architecture = dataclasses.replace(architecture, dtype_bytes=_BYTES.get(model.dtype or "auto", 2.0))
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
    return RowLimit(architecture, device, stored, counts_context)
