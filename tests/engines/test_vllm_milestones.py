"""Lines as vLLM writes them, with its prefixes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.engines.base import Milestones
from pytest_llmperf.engines.vllm import ENGINE
from pytest_llmperf.serving.log_lines import read_last_start
from pytest_llmperf.serving.state import TITLE

CPU_0_32 = """\
(APIServer pid=1) INFO 11-24 03:02:26 [utils.py:299] vLLM API server version 0.32.0
(Worker pid=2) INFO 11-24 02:12:35 [base_loader.py:82] Initializing model took 0.100247 seconds
(Worker pid=2) INFO 11-24 02:12:36 [default_loader.py:502] Loading weights took 0.02 seconds
(EngineCore pid=3) INFO 11-24 02:11:29 [kv_cache_utils.py:2327] CPU KV cache size: 1,048,576 tokens, Maximum concurrency
(EngineCore pid=3) INFO 11-24 02:12:39 [core.py:402] init engine (profile, create kv cache, warmup model) took 2.94 s
"""
GPU_0_26 = """\
(Worker pid=2) INFO 11-24 02:12:36 [model_runner.py:306] Model loading took {memory} and 1.250000 seconds
(Worker pid=2) INFO 11-24 02:12:36 [gpu_worker.py:436] Available KV cache memory: 27.43 GiB
(EngineCore pid=3) INFO 11-24 02:11:29 [kv_cache_utils.py:1314] GPU KV cache size: 1,027,344 tokens
(EngineCore pid=3) INFO 11-24 02:11:35 [model_runner.py:1128] Graph capturing finished in 6 secs, took 0.50 GiB
(EngineCore pid=3) INFO 11-24 02:12:39 [core.py:402] init engine (profile, create kv cache, warmup model) took 56.68 s
"""


def test_the_log_of_the_cpu_engine_is_understood() -> None:
    seen = ENGINE.milestones(CPU_0_32)
    assert (seen.weights_loaded_s, seen.kv_cache_tokens, seen.engine_init_s) == (0.02, 1_048_576, 2.94)


@pytest.mark.parametrize("memory", ["3.35 GiB memory", "3.35 GiB"])
def test_the_log_of_the_gpu_engine_is_understood_in_both_spellings(memory: str) -> None:
    seen = ENGINE.milestones(GPU_0_26.format(memory=memory))
    assert seen.model_bytes == pytest.approx(3.35 * 2**30)
    assert (seen.weights_loaded_s, seen.model_loaded_s) == (1.25, 1.25)
    assert seen.kv_cache_bytes == pytest.approx(27.43 * 2**30)
    assert (seen.graphs_captured_s, seen.graphs_bytes) == (6.0, 0.5 * 2**30)


@pytest.mark.parametrize(
    ("usage", "non_torch"),
    [
        ("3.45 GiB for weight, 1.25 GiB for peak activation, 0.07 GiB for non-torch memory, and 0.5", 0.07),
        ("3.52 GiB for consumed memory (weights + non-torch), 1.25 GiB for peak activation, and 0.5", None),
    ],
)
def test_what_a_step_and_cuda_take_is_read_in_both_spellings(usage: str, non_torch: float | None) -> None:
    seen = ENGINE.milestones(
        "(EngineCore pid=3) INFO [gpu_worker.py:652] Free memory on device (78.59/79.18 GiB) on startup. "
        f"Desired GPU memory utilization is (0.4, 31.67 GiB). Actual usage is {usage} GiB for CUDAGraph memory. Replace"
    )
    assert seen.activation_bytes == 1.25 * 2**30
    assert seen.desired_bytes == pytest.approx(31.67 * 2**30)
    assert seen.non_torch_bytes == (None if non_torch is None else pytest.approx(non_torch * 2**30))


def test_a_log_that_says_nothing_gives_nothing() -> None:
    assert ENGINE.milestones("Application startup complete.") == Milestones()


def test_the_last_start_is_read_out_of_a_file_however_long_its_requests_are(tmp_path: Path) -> None:
    first, second = (GPU_0_26.format(memory=f"{gib} GiB") for gib in (3.35, 1.5))
    log = tmp_path / "server.log"
    requests = (
        "(APIServer pid=1) INFO 11-24 03:02:26 Model loading took 9 GiB and 1 seconds, said a prompt\n"
        * 150_000
    )
    log.write_text(f"{TITLE}distill, start 1 ===\n{first}{TITLE}distill, start 2 ===\n{second}{requests}")
    assert log.stat().st_size > 10 * 2**20
    assert ENGINE.milestones(read_last_start(log)) == ENGINE.milestones(
        f"{TITLE}distill, start 2 ===\n{second}"
    )


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_file_without_a_start_gives_nothing(tmp_path: Path, content: bytes | None) -> None:
    log = tmp_path / "server.log"
    if content is not None:
        log.write_bytes(content)
    assert ENGINE.milestones(read_last_start(log)) == Milestones()


def test_a_key_value_cache_of_a_given_size_is_read_as_well() -> None:
    seen = ENGINE.milestones(
        "(Worker pid=2) INFO [gpu_worker.py:672] Initial free memory 138.21 GiB, reserved 41.23 GiB memory for KV "
        "Cache as specified by kv_cache_memory_bytes config and skipped memory profiling. This does not respect the"
    )
    assert seen.kv_cache_bytes == pytest.approx(41.23 * 2**30)
    assert ENGINE.milestones("CUDA out of memory, 3.00 GiB is reserved 2.00 GiB free").kv_cache_bytes is None


@pytest.mark.parametrize(
    ("lines", "from_cache"),
    [
        (
            ["Directly load the compiled graph(s) for compile range (1, 2048) from the cache, took 1.250 s"],
            True,
        ),
        (["Directly load AOT compilation from path /c/torch_aot_compile/1a2b/rank_0_0/model"], True),
        (["Compiling a graph for compile range (1, 2048) takes 9.80 s"], False),
        (
            [
                "Directly load the compiled graph(s) for compile range (1, 1) from the cache, took 0.250 s",
                "Compiling a graph for compile range (1, 2048) takes 9.80 s",
            ],
            False,
        ),
        (["Cudagraph is disabled under eager mode"], None),
    ],
)
def test_graphs_that_were_compiled_and_graphs_from_the_cache(
    lines: list[str], from_cache: bool | None
) -> None:
    log = "\n".join(f"(EngineCore pid=3) INFO [backends.py:296] {line}" for line in lines)
    assert ENGINE.milestones(log).compiled_from_cache is from_cache
