"""The two real architectures without their weights, to measure speed and memory where the weights are not at hand.

    python benchmarks/dummy_models.py --out DIR
    pytest suites/test_startup.py suites/test_latency.py … --llmperf-profile DIR/models.toml --model distill

``--load-format dummy`` makes vLLM fill the architecture with random numbers: speed and memory are the real model's,
answers are noise. The figures in the two ``config.json`` are those of the published checkpoints. The tokenizer is
a stand-in with as many entries as the real one, each of which decodes to visible text, so that every token is seen
by a streaming client.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ARCHITECTURE: dict[str, Any] = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151936,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "torch_dtype": "bfloat16",
    "bos_token_id": 0,
    "eos_token_id": 0,
}
MODELS: dict[str, dict[str, Any]] = {
    "distill": {"max_position_embeddings": 131072, "tie_word_embeddings": False},
    "math": {"max_position_embeddings": 4096, "tie_word_embeddings": True},
}
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}<|assistant|>"
)
CATALOGUE = """\
[profile.gpu]
says = "dummy weights of the real architectures: speed and memory are theirs, answers are noise"
candidate = "distill"
baseline = "math"
task = "gsm8k"
needs_cuda = true
"""
ROW = """
[profile.gpu.model.{name}]
weights = "./{name}"
arguments = ["--load-format", "dummy"]
dtype = "bfloat16"
max_model_len = 4096
gpu_memory_fraction = 0.4
gpus = 1
"""


def write(out: Path) -> None:
    """Directories ``distill`` and ``math``, and a ``models.toml`` with the profile ``gpu`` beside them."""
    for name, own in MODELS.items():
        directory = out / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "config.json").write_text(json.dumps(ARCHITECTURE | own, indent=1))
        _write_tokenizer(directory)
    (out / "models.toml").write_text(CATALOGUE + "".join(ROW.format(name=name) for name in MODELS))


def _write_tokenizer(directory: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0} | {letter: i for i, letter in enumerate(alphabet, start=1)}
    # Never made by encoding, since no merge leads to them; decoded when the random model samples them.
    for number in range(len(vocabulary), ARCHITECTURE["vocab_size"]):
        vocabulary[f"Ġt{number}"] = number
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "model_max_length": 131072,
        "chat_template": TEMPLATE,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    write(parser.parse_args().out)
