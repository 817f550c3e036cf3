"""What ``python -m vllm.entrypoints.openai.api_server`` finds under ``tests/fakes/engine_python``."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).resolve().parents[4] / "fake_engine.py"), run_name="__main__")
