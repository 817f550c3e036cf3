"""The memory of long prompts before a run: what those in flight need of the key-value cache, and how many fit."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from pytest_llmperf.config.models import Model
from pytest_llmperf.config.sizes import Sizes
from pytest_llmperf.engines.vllm_arguments import value_of
from pytest_llmperf.errors import DataError, LlmperfError
from pytest_llmperf.measure.kv_cache_sizes import KvCacheSizes
from pytest_llmperf.measure.long_prompts import LONGER, LongPrompts, reply_tokens
from pytest_llmperf.measure.served import Served
from pytest_llmperf.record.prior import PlanningRecord
from pytest_llmperf.serving import weights
from pytest_llmperf.serving.kv_cache_layout import cache_layout
from pytest_llmperf.units import format_value


@dataclass(frozen=True)
class LongRecall:
    """Long prompts that a run asks one row."""

    served: Served
    prompts: LongPrompts
    count: int
    """At most."""
    kinds: tuple[str, ...]
    """All kinds of that length that the row is asked, which need the same."""

    def and_also(self, other: LongRecall) -> LongRecall:
        """Both in one: prompts of different kinds are asked one kind after the other."""
        kinds = tuple(dict.fromkeys((*self.kinds, *other.kinds)))
        return dataclasses.replace(self, count=max(self.count, other.count), kinds=kinds)


@dataclass(frozen=True)
class Capacity:
    """Size of a key-value cache, and how it is known."""

    amount: int
    unit: str
    """``bytes`` or ``tokens``."""
    source: str

    def __str__(self) -> str:
        return f"{_size(self.amount)}" if self.unit == "bytes" else f"{self.amount:,} tokens"


@dataclass(frozen=True)
class MemoryLine:
    """A sentence of the plan. ``fits`` False: not all prompts in flight, or not even one; None: not known."""

    text: str
    fits: bool | None


def memory_line(recall: LongRecall, sizes: Sizes, earlier: PlanningRecord | None, device: str) -> MemoryLine:
    """Say what the prompts in flight need of the cache of this row, and how many of them it holds."""
    model, kind = recall.served.model, recall.prompts.kind
    assert kind is not None
    where = f"memory: {model.name}, {', '.join(recall.kinds)} {recall.prompts.tokens} tokens"
    prompt = recall.prompts.tokens if kind.exact else math.ceil(LONGER * recall.prompts.tokens)
    tokens = prompt + reply_tokens(model, kind, recall.prompts.tokens)
    flying = min(recall.count, _in_flight(model, sizes, recall.served.engine.replicas(model.arguments)))
    config = weights.config_of(model)
    if not config:
        return MemoryLine(
            f"{where}: not known, for config.json of the weights is not on this machine; {flying} prompts of "
            f"{tokens:,} tokens with the reply in flight",
            None,
        )
    try:
        each = cache_layout(config, model).bytes_of(tokens)
    except DataError as error:
        return MemoryLine(f"{where}: not known: {error}", None)
    needs = (
        f"{where}: {flying} in flight need {_size(flying * each)} of key-value cache, {_size(each)} for each of "
        f"{tokens:,} tokens with the reply"
    )
    capacity = _capacity(recall.served, earlier, device)
    if capacity is None:
        return MemoryLine(f"{needs}; the size of the cache is known once a server has started", None)
    held = capacity.amount // (each if capacity.unit == "bytes" else tokens)
    has = f"{capacity} ({capacity.source})"
    if held >= flying:
        return MemoryLine(f"{needs}; {has} hold them", True)
    if held:
        more = "the others wait, or in_flight of the row says fewer"
        return MemoryLine(f"{needs}; {has} hold {held} of them: {more}", False)
    more = "give the row more memory (gpu_memory_fraction) or a smaller --kv-cache-dtype, or ask for less"
    return MemoryLine(f"{needs}; {has} hold not one: {more}", False)


def _in_flight(model: Model, sizes: Sizes, replicas: int) -> int:
    said = value_of(model.arguments, "--max-num-seqs") or ""
    first, most = sizes.flight(model.in_flight, replicas)
    return min(first, replicas * int(said) if said.isdecimal() and int(said) else most)


def _capacity(served: Served, earlier: PlanningRecord | None, device: str) -> Capacity | None:
    """The most certain of what is known; None if nothing is."""
    model = served.model
    if (said := served.engine.kv_cache_bytes(model)) is not None:
        return Capacity(said, "bytes", "as the row has it")
    if earlier is not None and earlier.device == device:
        tokens = earlier.kv_cache_tokens(model.server_row)
        if tokens is not None:
            return Capacity(tokens * served.engine.replicas(model.arguments), "tokens", "as recorded")
    if not model.gpus or not served.engine.is_started:
        return None
    if (measured := KvCacheSizes().known(served.host)) is not None:
        return Capacity(measured * model.gpus, "bytes", "as an earlier start measured")
    devices = served.nvml().devices()[: model.gpus]
    if not devices:
        return None
    command = (*served.engine.command(model, model.weights), *model.arguments)
    fraction = served.engine.gpu_memory_fraction(command)
    left = int(fraction * sum(each.total_bytes for each in devices)) - (_weights_bytes(model) or 0)
    return Capacity(max(0, left), "bytes", f"at most: {fraction:g} of the memory, less the weights")


def _weights_bytes(model: Model) -> int | None:
    try:
        return weights.resolve(dataclasses.replace(model, damage=None)).total_bytes
    except LlmperfError:
        return None


def _size(count: int) -> str:
    return format_value(float(count), "bytes")
