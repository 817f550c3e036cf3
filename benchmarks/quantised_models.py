"""Checkpoints of quantised builds without their tensors: the right shapes, and scales that the engine makes up.

    python benchmarks/quantised_models.py --out DIR [--tiny]

Writes the two plain models (see ``dummy_models``) and, of the candidate, the builds that vLLM's formats know: ``fp8``
(dynamic activations), ``int8`` (W8A8, compressed-tensors) and ``awq`` (4 bits, groups of 128), as ``config.json`` with
the ``quantization_config`` that such a checkpoint carries. With ``--load-format dummy`` the engine allocates every
tensor and scale in its stored type and fills it with random numbers, so that memory and speed are the build's.
``--tiny`` writes models small enough for a CPU, to try the scripts that use them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import dummy_models
from contrib.claims.claim import Build

INT8_GROUP: dict[str, Any] = {
    "targets": ["Linear"],
    "weights": {
        "num_bits": 8,
        "type": "int",
        "symmetric": True,
        "strategy": "channel",
        "dynamic": False,
        "group_size": None,
    },
    "input_activations": {
        "num_bits": 8,
        "type": "int",
        "symmetric": True,
        "strategy": "token",
        "dynamic": True,
        "group_size": None,
    },
    "output_activations": None,
}
QUANTISED: dict[str, dict[str, Any]] = {
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic", "ignored_layers": ["lm_head"]},
    "int8": {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": INT8_GROUP},
        "ignore": ["lm_head"],
    },
    "awq": {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 128,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": ["lm_head"],
    },
}
"""By the name that claims give a format; what AutoAWQ, llm-compressor and vLLM's own FP8 write into config.json."""
BUILDS = {
    build.row: build
    for build in [
        *(Build(name) for name in dummy_models.MODELS),
        *(Build("distill", name) for name in QUANTISED),
    ]
}
"""By the name of the row."""
LEAN = "-lean"
"""Ends the name of a row's twin."""
TINY: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
ROW = """
[profile.gpu.model.{name}]
weights = "./{directory}"
arguments = [{arguments}]
dtype = "{dtype}"
max_model_len = 4096
gpus = {gpus}
{fraction}ready_timeout = "330 s"
"""
FRACTION = 0.12
"""Five servers side by side on one GPU; how much cache each gets is said in bytes, and not taken from what is free."""


def write(out: Path, *, tiny: bool = False) -> list[str]:
    """Directories and ``models.toml``; the names of the rows: plain ones first, then ``distill-fp8`` and its like.

    Every row has a twin ``NAME-lean``: no compilation, no graphs, and cache for one request of full length, which
    is what it takes to serve the model at all.
    """
    dummy_models.write(out)
    catalogue = dummy_models.CATALOGUE
    for name, build in BUILDS.items():
        base = build.model
        config = json.loads((out / base / "config.json").read_text()) | (TINY if tiny else {})
        directory = out / name
        directory.mkdir(exist_ok=True)
        if build.stored is not None:
            config["quantization_config"] = QUANTISED[build.stored]
            for file in ("tokenizer.json", "tokenizer_config.json"):
                (directory / file).write_bytes((out / base / file).read_bytes())
        dtype = "float16" if build.stored == "awq" and not tiny else "bfloat16"
        (directory / "config.json").write_text(json.dumps(config | {"torch_dtype": dtype}, indent=1))
        per_token = 2 * 2 * config["num_hidden_layers"] * config["num_key_value_heads"] * _head(config)
        catalogue += _row(name, name, dtype, 4 * 2**30, tiny=tiny, lean=False)
        catalogue += _row(f"{name}{LEAN}", name, dtype, per_token * 4352, tiny=tiny, lean=True)
    if tiny:
        catalogue = catalogue.replace("needs_cuda = true", "needs_cuda = false")
    (out / "models.toml").write_text(catalogue)
    return list(BUILDS)


def _head(config: dict[str, Any]) -> int:
    return int(config["hidden_size"] // config["num_attention_heads"])


def _row(name: str, directory: str, dtype: str, cache_bytes: int, *, tiny: bool, lean: bool) -> str:
    arguments = ["--load-format", "dummy", "--max-num-seqs", "1" if lean else "64"]
    if tiny:
        arguments += ["--enforce-eager"]
    else:
        arguments += ["--kv-cache-memory-bytes", str(cache_bytes)]
        arguments += ["--enforce-eager", "--max-num-batched-tokens", "4096"] if lean else []
    return ROW.format(
        name=name,
        directory=directory,
        arguments=", ".join(json.dumps(one) for one in arguments),
        dtype=dtype,
        gpus=0 if tiny else 1,
        fraction="" if tiny else f"gpu_memory_fraction = {FRACTION}\n",
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()
    write(given.out, tiny=given.tiny)
