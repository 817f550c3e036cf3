"""A warm prefix cache makes a run invalid, unless it was asked for."""

from __future__ import annotations

from collections.abc import Callable

from pytest_llmperf.load.cache_check import CacheUse, parse, share_by_usage
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.run import LoadRun
from pytest_llmperf.load.runner import run_load
from pytest_llmperf.load.workload import Workload

Truth = Callable[[ReferenceOptions], ReferenceServer]

VLLM_0_32 = """\
# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 640.0
vllm:prefix_cache_queries_total{engine="1",model_name="m"} 360.0
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.7e+09
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 1.5e+02
vllm:prefix_cache_hits_total{engine="1",model_name="m"} 0.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="m"} 77.0
"""


def one_run(truth: Truth, workload: Workload, options: ReferenceOptions | None = None) -> LoadRun:
    known = truth(options or ReferenceOptions(ttft_ms=2, gap_ms=1))
    return run_load(known.server, workload, ClosedLoop(2, 6))


def test_vllms_counters_are_summed_over_its_engines() -> None:
    assert parse(VLLM_0_32) == CacheUse(1000.0, 150.0)
    assert parse("process_cpu_seconds_total 3\n") is None


def test_use_is_a_difference_and_a_restarted_server_begins_at_zero() -> None:
    assert CacheUse(1000, 150).since(CacheUse(600, 50)) == CacheUse(400, 100)
    assert CacheUse(10, 0).since(CacheUse(600, 50)) == CacheUse(10, 0)
    assert CacheUse(0, 0).hit_share == 0


def test_unique_prompts_find_a_cold_cache(truth: Truth) -> None:
    run = one_run(truth, Workload(input_tokens=32, output_tokens=4))
    assert run.cache == CacheUse(6 * 32, 0)
    assert run.problems == ()


def test_equal_prompts_make_the_run_invalid(truth: Truth) -> None:
    run = one_run(truth, Workload(input_tokens=32, output_tokens=4, unique=False))
    assert run.cache is not None
    assert run.cache.hit_share > 0.5
    assert any("warm prefix cache" in problem for problem in run.problems)


def test_a_warm_cache_that_was_asked_for_is_no_problem(truth: Truth) -> None:
    run = one_run(truth, Workload(input_tokens=32, output_tokens=4, unique=False, warm_cache=True))
    assert run.cache is not None
    assert run.cache.warm
    assert run.problems == ()


def test_hits_that_nobody_can_explain_make_the_run_invalid_too(truth: Truth) -> None:
    run = one_run(
        truth,
        Workload(input_tokens=32, output_tokens=4),
        ReferenceOptions(ttft_ms=2, gap_ms=1, warm_share=0.3),
    )
    assert any("warm prefix cache" in problem for problem in run.problems)


def test_hits_that_a_template_explains_are_its_own_and_a_bare_prompt_has_none() -> None:
    assert share_by_usage([(16, 64)] * 4) == 0.0
    assert share_by_usage([(60, 64)] * 4) > 0.5
    assert share_by_usage([(16, 64)] * 4, chat=False) > 0.2
    assert share_by_usage([(1, 32)] * 4, chat=False) == 0.0
    assert share_by_usage([(None, 64), (16, None)]) == 0.0


def test_a_long_template_that_the_server_counts_explains_its_own_hits_and_no_more() -> None:
    # Llama 3's template has about 30 tokens, of which vLLM caches two blocks of 16.
    assert share_by_usage([(32, 64)] * 4) > 0.02
    assert share_by_usage([(32, 64)] * 4, template_tokens=36) == 0.0
    assert share_by_usage([(48, 64)] * 4, template_tokens=36) > 0.02
    assert share_by_usage([(16, 64)] * 4, template_tokens=5) > 0.02
