"""A client that is there at once and small: no heavy import, a first request within half a second, little memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest

from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer

Truth = Callable[[ReferenceOptions], ReferenceServer]
HEAVY = {"torch", "transformers", "datasets", "numpy", "scipy", "openai", "pandas", "pyarrow", "pytest"}

SCRIPT = """
import sys, time
began = time.perf_counter()
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.runner import SendOptions, run_load
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.serving.server import Server
server = Server("row", "reference", sys.argv[1], None, None, None, None, "", "reference")
concurrency, tokens = int(sys.argv[2]), int(sys.argv[3])
run = run_load(server, Workload(64, tokens), ClosedLoop(concurrency, concurrency), SendOptions(warmup=0))
assert all(trace.ok for trace in run.traces)
print(run.start_s - began)
# Not ru_maxrss, which begins with the peak of the process that started this one.
print(*(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM:")))
print(" ".join(sorted({name.split(".")[0] for name in sys.modules})))
"""


def loaded(known: ReferenceServer, concurrency: int, tokens: int) -> tuple[float, float, set[str]]:
    """(start of the process's work → first request in s, peak memory in bytes, modules) of a client of its own."""
    command = [sys.executable, "-c", SCRIPT, known.server.base_url, str(concurrency), str(tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, memory, modules = done.stdout.splitlines()
    return float(first), float(memory), set(modules.split())


def test_the_first_request_goes_out_within_half_a_second(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    # The least of several: what others do on this machine only ever adds.
    assert min(loaded(known, 1, 4)[0] for _ in range(6)) <= 0.5


def test_256_streams_take_less_than_100_megabytes_and_nothing_heavy_is_imported(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=50, gap_ms=10))
    _, memory, modules = loaded(known, 256, 128)
    assert memory <= 100e6
    assert modules & HEAVY == set()


def test_a_worker_process_imports_nothing_heavy() -> None:
    code = "import sys, pytest_llmperf.load.workers; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {name.split(".")[0] for name in done.stdout.split()} & HEAVY == set()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="Linux's clock")
def test_every_process_of_this_machine_has_the_same_clock() -> None:
    from time import perf_counter

    code = "import sys; from pytest_llmperf.client.reply import now; print(now())"

    def theirs() -> float:
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)

    times = [perf_counter(), theirs(), perf_counter(), theirs(), perf_counter()]
    assert all(before < after for before, after in pairwise(times))
