"""A copy is timed by another interpreter, and whatever that says instead is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_llmperf.serving.gpu import measured_bandwidth

# A PyTorch that copies 64 MiB · 2 · 8 in half a millisecond … in all but the last copy, which takes a quarter.
TORCH = """
uint8 = None
class Buffer:
    def __init__(self, size): self.size = size
    def copy_(self, other): assert other.size == self.size
def empty(size, dtype, device):
    assert device == "cuda"
    return Buffer(size)
def empty_like(other): return Buffer(other.size)
class cuda:
    times = iter([0.5] * 7 + [0.25])
    @staticmethod
    def mem_get_info(): return {free}, 0
    class Event:
        def __init__(self, enable_timing): assert enable_timing
        def record(self): pass
        def synchronize(self): pass
        def elapsed_time(self, other): return next(cuda.times)
"""


def with_torch(directory: Path, text: str) -> dict[str, str]:
    (directory / "torch.py").write_text(text)
    return {"PYTHONPATH": str(directory)}


def test_the_best_of_the_copies_counts_what_is_read_and_what_is_written(tmp_path: Path) -> None:
    environment = with_torch(tmp_path, TORCH.replace("{free}", str(256 * 2**20)))
    found = measured_bandwidth(sys.executable, environment)
    assert found == pytest.approx(2 * 8 * 64 * 2**20 / 0.25e-3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (TORCH.replace("{free}", "1"), "256 MiB are needed"),
        ("raise RuntimeError('No CUDA GPUs are available')", "No CUDA GPUs are available"),
        ("import sys\nsys.exit(0)", "exit code 0"),
        ("import time\ntime.sleep(60)", "timed out"),
    ],
)
def test_what_cannot_be_measured_says_why(tmp_path: Path, text: str, why: str) -> None:
    found = measured_bandwidth(sys.executable, with_torch(tmp_path, text), timeout_s=2.0)
    assert isinstance(found, str)
    assert why in found


def test_an_interpreter_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "No such file" in str(measured_bandwidth(str(tmp_path / "python"), {}))
