"""The Qwen2 architecture in plain torch, with Hugging Face's parameter names, and its export.

Weights are float32 while training and are cast to the activations' type where they are used; the exported
model is bfloat16. ``tests/embedded`` and the training script compare the export with ``transformers``' own
implementation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, by default 2.5 million parameters. vLLM's kernels know the head size 64."""

    vocabulary: int = 768
    hidden: int = 192
    layers: int = 6
    heads: int = 3
    kv_heads: int = 1
    head: int = 64
    ffn: int = 512
    theta: float = 10_000.0
    positions: int = 2_048
    eps: float = 1e-6


class Linear(nn.Linear):  # type: ignore[misc, unused-ignore]
    """A linear layer that computes in the type of its input."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return F.linear(input, self.weight.to(input.dtype), bias)


class Norm(nn.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.eps)


def rotary(shape: Shape, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosine and sine tables, each (positions, head)."""
    frequency = shape.theta ** -(torch.arange(0, shape.head, 2, device=device).float() / shape.head)
    angle = torch.outer(torch.arange(shape.positions, device=device).float(), frequency)
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions; ``cos`` and ``sin`` broadcast against ``x`` (…, head)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Attention(nn.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q_proj = Linear(shape.hidden, shape.heads * shape.head)
        self.k_proj = Linear(shape.hidden, shape.kv_heads * shape.head)
        self.v_proj = Linear(shape.hidden, shape.kv_heads * shape.head)
        self.o_proj = Linear(shape.heads * shape.head, shape.hidden, bias=False)

    def qkv(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries (batch, heads, time, head) and keys, and values (batch, kv_heads, time, head)."""
        batch, time, _ = x.shape
        size = self.shape.head
        q = self.q_proj(x).view(batch, time, -1, size).transpose(1, 2)
        k = self.k_proj(x).view(batch, time, -1, size).transpose(1, 2)
        v = self.v_proj(x).view(batch, time, -1, size).transpose(1, 2)
        return rotate(q, cos, sin), rotate(k, cos, sin), v

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Causal attention over whole rows; rows are padded on the right, so the causal mask is enough."""
        group = self.shape.heads // self.shape.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(out.transpose(1, 2).flatten(2))  # type: ignore[no-any-return, unused-ignore]


class Mlp(nn.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = Linear(shape.hidden, shape.ffn, bias=False)
        self.up_proj = Linear(shape.hidden, shape.ffn, bias=False)
        self.down_proj = Linear(shape.ffn, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))  # type: ignore[no-any-return, unused-ignore]


class Layer(nn.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.self_attn = Attention(shape)
        self.mlp = Mlp(shape)
        self.input_layernorm = Norm(shape.hidden, shape.eps)
        self.post_attention_layernorm = Norm(shape.hidden, shape.eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn.attend(*self.self_attn.qkv(self.input_layernorm(x), cos, sin))
        return x + self.mlp(self.post_attention_layernorm(x))  # type: ignore[no-any-return, unused-ignore]


class Body(nn.Module):  # type: ignore[misc, unused-ignore]
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden, shape.eps)


class Qwen2(nn.Module):  # type: ignore[misc, unused-ignore]
    """A Qwen2 language model with tied embeddings."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.model = Body(shape)
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(weight)
            elif weight.dim() == 2:
                # Residual writers start smaller, so that depth does not change the scale of the stream.
                writer = name.endswith(("o_proj.weight", "down_proj.weight"))
                std = 0.03 / (2 * shape.layers) ** 0.5 if writer else 0.03
                nn.init.normal_(weight, std=std, generator=generator)

    def head(self, x: Tensor) -> Tensor:
        """Logits in float32 from the last hidden state."""
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight.to(x.dtype)).float()

    def forward(self, ids: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Logits (batch, time, vocabulary) for whole rows that start at position 0."""
        x = self.model.embed_tokens(ids).to(cos.dtype)
        time = ids.shape[1]
        for layer in self.model.layers:
            x = layer(x, cos[:time], sin[:time])
        return self.head(x)

    def parameters_count(self) -> int:
        return sum(weight.numel() for weight in self.parameters())


def config(shape: Shape, *, bos: int, eos: int, pad: int) -> dict[str, object]:
    """``config.json`` of a Hugging Face ``Qwen2ForCausalLM``."""
    return {
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden, "intermediate_size": shape.ffn, "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "hidden_act": "silu",
        "max_position_embeddings": shape.positions, "initializer_range": 0.03, "rms_norm_eps": shape.eps,
        "rope_theta": shape.theta, "tie_word_embeddings": True, "use_cache": True,
        "use_sliding_window": False, "attention_dropout": 0.0, "bos_token_id": bos, "eos_token_id": eos,
        "pad_token_id": pad, "torch_dtype": "bfloat16",
    }  # fmt: skip


def save(model: Qwen2, directory: Path, *, bos: int, eos: int, pad: int, sampling: dict[str, object]) -> None:
    """Write both configurations (``sampling`` are the defaults of generation) and the bf16 weights."""
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    ids = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": pad}
    (directory / "config.json").write_text(
        json.dumps(config(model.shape, bos=bos, eos=eos, pad=pad), indent=2) + "\n"
    )
    (directory / "generation_config.json").write_text(json.dumps({**ids, **sampling}, indent=2) + "\n")
    weights = {
        name: w.detach().to("cpu", torch.bfloat16).contiguous() for name, w in model.state_dict().items()
    }
    save_file(weights, str(directory / "model.safetensors"), metadata={"format": "pt"})
