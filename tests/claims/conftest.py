"""Sheets and records for the tests of claims."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contrib.claims.claim import Sheet
from contrib.claims.measured import Evidence, load_evidence
from contrib.claims.reading import read_claims

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PUBLISHED = ROOT / "contrib" / "claims" / "suite"
HEAD = """
title = "t"
source = "s"
profile = "gpu"
[model.distill]
weights = "org/distill"
config = { model_type = "qwen2", hidden_size = 1536, intermediate_size = 8960, num_hidden_layers = 28, \
num_attention_heads = 12, num_key_value_heads = 2, vocab_size = 151936, max_position_embeddings = 131072 }
recommended = { source = "its makers", top_p = 0.95 }
[model.math]
weights = "org/math"
config = { model_type = "qwen2", hidden_size = 1536, intermediate_size = 8960, num_hidden_layers = 28, \
num_attention_heads = 12, num_key_value_heads = 2, vocab_size = 151936, max_position_embeddings = 4096, \
tie_word_embeddings = true }
"""

SheetOf = Callable[[str], Sheet]


@pytest.fixture
def sheet_of(tmp_path: Path) -> SheetOf:
    """A sheet with the two real architectures and one claim, given as the lines of its table."""

    def make(claim: str) -> Sheet:
        path = tmp_path / "claims.toml"
        path.write_text(f'{HEAD}\n[claim.it]\nwords = "w"\n{claim}\n')
        return read_claims(path)

    return make


@pytest.fixture(scope="session")
def embedded_run() -> Evidence:
    """What a real run measured of the embedded pair."""
    return load_evidence(HERE / "embedded_run.json")


def gpu_run(**facts: Any) -> Evidence:
    """A record of the profile gpu on an H100 that holds ``facts``."""
    base: dict[str, Any] = {
        "schema": "llmperf-record/1",
        "profile": "gpu",
        "device": {"class": "H100", "name": "NVIDIA H100 80GB HBM3"},
        "candidates": ["distill"],
        "baseline": "math",
    }
    return Evidence(base | facts)


def load(
    row: str, tokens: list[int], ttft_s: list[float] | None = None, concurrency: int = 1
) -> dict[str, Any]:
    """What a record says of rounds of one second, each with so many tokens."""
    waits = ttft_s or [0.02] * len(tokens)
    rounds = [
        {"errors": {}, "window_s": 1.0, "output_tokens": each, "ttft_s": [wait]}
        for each, wait in zip(tokens, waits, strict=True)
    ]
    return {"row": row, "concurrency": concurrency, "rounds": rounds}
