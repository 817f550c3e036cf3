"""One optimisation phase that fits a wall-clock budget: warm-up, cosine to zero, loss on replies only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tools.tiny_pair.batches import Batch
from tools.tiny_pair.qwen2 import Qwen2, rotary

Log = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """``seconds`` of training (or exactly ``steps`` steps when given) at a ``peak`` learning rate."""

    seconds: float
    peak: float
    warm_up: int
    steps: int | None = None
    decay: float = 0.1
    report_every_s: float = 20.0
    check_every_s: float = 90.0


@dataclass(frozen=True)
class Done:
    """Totals of a phase; ``loss`` is the mean per reply token over the last reported stretch."""

    steps: int
    tokens: int
    seconds: float
    loss: float


def to_device(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor, int]:
    """Ids, labels (-100 where no loss is wanted; label t is the token at t + 1) and the number of labels."""
    count = int((batch.lengths - batch.prompts).sum())
    parts = [
        torch.from_numpy(np.ascontiguousarray(part)) for part in (batch.ids, batch.lengths, batch.prompts)
    ]
    if device.type == "cuda":
        parts = [part.pin_memory() for part in parts]
    ids, lengths, prompts = (part.to(device, non_blocking=True) for part in parts)
    ids = ids.long()
    following = torch.arange(1, ids.shape[1] + 1, device=device)[None]
    wanted = (following >= prompts[:, None]) & (following < lengths[:, None])
    return ids, torch.where(wanted, ids.roll(-1, dims=1), -100), count


def loss_sum(model: Qwen2, ids: Tensor, labels: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
    """Summed cross-entropy of the reply tokens, in nats."""
    logits = model(ids, *tables)
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")


def speed_up(
    model: Qwen2, batches: list[Batch], tables: tuple[Tensor, Tensor], device: torch.device, log: Log
) -> None:
    """Compile the layers when that works and is faster on ``batches``; otherwise leave the model as it is."""

    def seconds() -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for batch in batches:
            ids, labels, _ = to_device(batch, device)
            loss_sum(model, ids, labels, tables).backward()
        torch.cuda.synchronize()
        model.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    seconds()
    eager = seconds()
    start = time.perf_counter()
    try:
        for layer in model.model.layers:
            layer.compile(dynamic=True)
        seconds()
        compiled = seconds()
    except Exception as error:  # any failure of the compiler only costs speed
        log(f"compiling failed, training goes on without it: {type(error).__name__}: {str(error)[:300]}")
        compiled = math.inf
    log(
        f"eager {eager / len(batches):.4f} s, compiled {compiled / len(batches):.4f} s a step"
        f" ({time.perf_counter() - start:.0f} s to compile)"
    )
    if compiled >= eager:
        for layer in model.model.layers:
            layer._compiled_call_impl = None
    model.zero_grad(set_to_none=True)


def optimise(
    model: Qwen2,
    batches: Iterator[Batch],
    plan: Plan,
    device: torch.device,
    log: Log,
    check: Callable[[], None],
) -> Done:
    """Train ``model`` in place. ``check`` runs now and then (quick evaluation, export)."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    tables = rotary(model.shape, device, dtype)
    matrices = [w for w in model.parameters() if w.dim() == 2]
    others = [w for w in model.parameters() if w.dim() != 2]
    groups = [{"params": matrices, "weight_decay": plan.decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=plan.peak, betas=(0.9, 0.95), fused=device.type == "cuda")
    begin = reported = checked = time.perf_counter()
    typical = 0.0
    step = tokens = stretch_steps = stretch_labels = 0
    stretch: Tensor = torch.zeros((), device=device)
    last_loss = math.nan
    while True:
        now = time.perf_counter()
        progress = step / plan.steps if plan.steps else (now - begin) / plan.seconds
        if progress >= 1:
            break
        rate = plan.peak * min(1.0, (step + 1) / plan.warm_up) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = next(batches)
        ids, labels, count = to_device(batch, device)
        # Long rows hold few reply tokens. A plain mean would give each of those thirty times the weight of a
        # token of arithmetic, a plain sum would let recall vanish: divide by the geometric mean of this
        # count and the usual one.
        typical = count if step == 0 else 0.99 * typical + 0.01 * count
        total = loss_sum(model, ids, labels, tables)
        (total / math.sqrt(count * typical)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        stretch = stretch + total.detach()
        step, tokens = step + 1, tokens + int(batch.lengths.sum())
        stretch_steps, stretch_labels = stretch_steps + 1, stretch_labels + count
        if now - reported > plan.report_every_s:
            last_loss = float(stretch) / stretch_labels
            log(
                f"step {step}: loss {last_loss:.4f}, {stretch_steps / (now - reported):.1f} steps/s,"
                f" rate {rate:.2e}, {100 * progress:.0f} % done, {tokens / 1e6:.0f} M tokens"
            )
            reported, stretch_steps, stretch_labels, stretch = now, 0, 0, torch.zeros((), device=device)
        if now - checked > plan.check_every_s:
            check()
            checked = time.perf_counter()
    if stretch_labels:
        last_loss = float(stretch) / stretch_labels
    seconds = time.perf_counter() - begin
    log(f"phase done: {step} steps, {tokens / 1e6:.0f} M tokens, {seconds:.0f} s, loss {last_loss:.4f}")
    return Done(step, tokens, seconds, last_loss)
