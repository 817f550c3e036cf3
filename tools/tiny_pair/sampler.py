"""Thousands of replies at a time: batched sampling with a key-value cache, in bfloat16 as exported."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tools.tiny_pair.qwen2 import Layer, Qwen2, rotary, rotate


def _next(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> Tensor:
    """One token a row: the likeliest at temperature 0, else from the smallest set that holds ``top_p``."""
    if temperature <= 0:
        return logits.argmax(-1)
    probs = (logits / temperature).softmax(-1)
    if top_p < 1:
        ordered, order = probs.sort(-1, descending=True)
        ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered > top_p, 0.0)
        return order.gather(-1, torch.multinomial(ordered, 1, generator=generator)).squeeze(-1)
    return torch.multinomial(probs, 1, generator=generator).squeeze(-1)


def _decode_layer(
    layer: Layer, x: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor, at: int, hidden: Tensor
) -> Tensor:
    """One token, ``x`` (rows, hidden), through one layer; writes the cache (rows, width, head) at ``at``."""
    attention = layer.self_attn
    size = attention.shape.head
    y = layer.input_layernorm(x)
    q = rotate(attention.q_proj(y).view(len(x), -1, size), cos[:, None], sin[:, None])
    keys[:, at] = rotate(attention.k_proj(y), cos, sin)
    values[:, at] = attention.v_proj(y)
    # One key-value head serves all query heads: the heads are simply more queries.
    scores = torch.bmm(q, keys[:, : at + 1].transpose(1, 2)).float() * size**-0.5
    weights = scores.masked_fill(hidden[:, None, : at + 1], float("-inf")).softmax(-1).to(x.dtype)
    x = x + attention.o_proj(torch.bmm(weights, values[:, : at + 1]).flatten(1))
    return x + layer.mlp(layer.post_attention_layernorm(x))  # type: ignore[no-any-return, unused-ignore]


def _run(
    model: Qwen2, rows: list[Sequence[int]], limit: int, temperature: float, top_p: float, end: int,
    generator: torch.Generator, device: torch.device,
) -> list[list[int]]:  # fmt: skip
    shape = model.shape
    cos, sin = rotary(shape, device, torch.bfloat16)
    width = max(len(row) for row in rows)
    limit = min(limit, shape.positions - width)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
    x = model.model.embed_tokens(ids.to(device)).to(torch.bfloat16)
    caches: list[tuple[Tensor, Tensor]] = []
    for module in model.model.layers:
        assert isinstance(module, Layer)
        q, k, v = module.self_attn.qkv(module.input_layernorm(x), cos[:width], sin[:width])
        x = x + module.self_attn.attend(q, k, v)
        x = x + module.mlp(module.post_attention_layernorm(x))
        caches.append((F.pad(k[:, 0], (0, 0, 0, limit)), F.pad(v[:, 0], (0, 0, 0, limit))))
    x = x[torch.arange(len(rows), device=device), lengths - 1]
    # Columns that hold padding between a row's prompt and its reply stay hidden for good.
    column = torch.arange(width + limit, device=device)
    hidden = (column[None] >= lengths[:, None]) & (column[None] < width)
    alive = torch.arange(len(rows), device=device)
    out = torch.full((len(rows), limit), end, dtype=torch.long, device=device)
    for step in range(limit):
        token = _next(model.head(x), temperature, top_p, generator)
        out[alive, step] = token
        if step % 8 == 7 or step == limit - 1:
            running = (out[alive, : step + 1] != end).all(-1)
            count = int(running.sum())
            if count == 0:
                break
            if count < 0.6 * len(
                alive
            ):  # drop the finished rows: a copy of the cache costs less than they do
                alive, lengths, hidden, token = (
                    alive[running],
                    lengths[running],
                    hidden[running],
                    token[running],
                )
                caches = [(k[running], v[running]) for k, v in caches]
        if step == limit - 1:
            break
        x = model.model.embed_tokens(token).to(torch.bfloat16)
        at = lengths + step
        for module, (keys, values) in zip(model.model.layers, caches, strict=True):
            assert isinstance(module, Layer)
            x = _decode_layer(module, x, cos[at], sin[at], keys, values, width + step, hidden)
    texts: list[list[int]] = []
    for row in out.tolist():
        texts.append(row[: row.index(end) + 1] if end in row else row)
    return texts


def sample(
    model: Qwen2,
    prompts: Sequence[Sequence[int]],
    *,
    end: int,
    limit: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    cells: int = 6_000_000,
) -> list[list[int]]:
    """Replies (token ids, the end token included when it came) to ``prompts``, in their order.

    At most ``limit`` new tokens each. Prompts of similar length run together, ``cells`` cached tokens at a
    time (1.5 kB each for the default shape). Sampling is reproducible for one device and one order of
    prompts.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device=device).manual_seed(seed)
    served = copy.deepcopy(model).to(torch.bfloat16)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    replies: list[list[int]] = [[] for _ in prompts]
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and (stop - start + 1) * (len(prompts[order[stop]]) + limit) <= cells:
            stop += 1
        rows = [prompts[i] for i in order[start:stop]]
        with torch.no_grad():
            found = _run(served, rows, limit, temperature, top_p, end, generator, device)
        for i, reply in zip(order[start:stop], found, strict=True):
            replies[i] = reply
        start = stop
    return replies
