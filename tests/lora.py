"""LoRA adapters as PEFT saves them, made when a test needs one."""

from __future__ import annotations

import json
import random
import struct
from array import array
from pathlib import Path
from typing import Any


def write_adapter(
    directory: Path, weights: Path, *, rank: int = 4, scale: float = 0.0, **config: Any
) -> Path:
    """An adapter of the query and value projections of the Qwen2 in ``weights``.

    ``scale``: deviation of the second factor; at 0 the adapter changes nothing. ``config``: further keys of
    ``adapter_config.json``.
    """
    model = json.loads((weights / "config.json").read_text())
    hidden, heads = model["hidden_size"], model["num_attention_heads"]
    rows = {"q_proj": hidden, "v_proj": hidden // heads * model["num_key_value_heads"]}
    draws = random.Random(0)
    header: dict[str, Any] = {}
    data = b""
    for layer in range(model["num_hidden_layers"]):
        for module, outputs in rows.items():
            for factor, shape, deviation in (("A", (rank, hidden), 1.0), ("B", (outputs, rank), scale)):
                values = array("f", (deviation * draws.gauss(0, 1) for _ in range(shape[0] * shape[1])))
                name = f"base_model.model.model.layers.{layer}.self_attn.{module}.lora_{factor}.weight"
                offsets = [len(data), len(data) + 4 * len(values)]
                header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
                data += values.tobytes()
    directory.mkdir(parents=True, exist_ok=True)
    about = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": list(rows), "bias": "none"}
    (directory / "adapter_config.json").write_text(json.dumps({**about, **config}))
    text = json.dumps(header).encode()
    (directory / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return directory
