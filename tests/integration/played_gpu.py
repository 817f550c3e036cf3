"""GPUs that are played by a plugin of the inner run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.integration.conftest import Project

PLAYED = '''
import time
from pytest_llmperf.serving import gpu

class Played:
    """H100s that take 300 W, lower their clocks for their power cap and name no processes."""
    def devices(self):
        return [
            gpu.Device(index, "NVIDIA H100 80GB HBM3", f"GPU-{index}", 80 * gpu.GIB, gpu.GIB, 79 * gpu.GIB)
            for index in range(COUNT)
        ]
    def processes(self):
        return []
    def questions(self, index):
        return {"energy_j": lambda: 300.0 * time.perf_counter(), "lowered": lambda: 4}

COUNT = 1
gpu.open_nvml = Played
'''


def played_rows(*, fraction: float = 0.3, environment: str = "") -> str:
    """A profile ``played`` of two rows on the GPU; ``environment``: lines of TOML for both."""
    return f"""
        [profile.played]
        says = "says nothing of a real model"
        candidate = "distill"
        baseline = "math"
        task = "embedded"
        needs_cuda = true
        [profile.played.model.distill]
        weights = "./weights"
        engine_python = "./engine_python"
        arguments = ["--load-format", "dummy", "--enforce-eager"]
        max_model_len = 2048
        gpu_memory_fraction = {fraction}
        gpus = 1
        [profile.played.model.distill.environment]
        {environment}
        [profile.played.model.math]
        extends = "distill"
    """


def beside_the_gpu(project: Project, *, gpus: int = 1) -> dict[str, Any]:
    """Keywords for ``project.run``: the device is looked for before any conftest.py is read, so it is a plugin."""
    project.write("played.py", PLAYED.replace("COUNT = 1", f"COUNT = {gpus}"))
    return {
        "environment": {
            "PYTHONPATH": os.pathsep.join([str(project.path), os.environ.get("PYTHONPATH", "")]),
            "LLMPERF_GPU_LEASES": str(project.path / "leases"),
        }
    }
