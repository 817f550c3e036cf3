"""Real paired answers: four models on GSM8K's 1,319 test items (openai/grade-school-math, MIT)."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MODELS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def differences(path: Path) -> dict[str, NDArray[np.int8]]:
    """For each pair of models, item by item: +1 only the first is right, −1 only the second, 0 both or neither."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    right = {
        name: np.array([bool(row[name]["is_correct"]) for row in rows], dtype=np.int8) for name in MODELS
    }
    return {f"{a} / {b}": right[a] - right[b] for a, b in combinations(MODELS, 2)}
