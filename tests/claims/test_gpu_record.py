"""What ``benchmarks.gpu_claims`` measures, read as evidence."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmperf.claims.claim import Decision, Outcome
from pytest_llmperf.claims.deciding import decide_all
from pytest_llmperf.claims.measured import Evidence

from .conftest import SheetOf, gpu_run

GB = 1e9
DUMMY = "python -m vllm.entrypoints.openai.api_server --load-format dummy"


def started(row: str, seconds: float, **more: Any) -> dict[str, Any]:
    return {"row": row, "ready_s": seconds, "command": DUMMY, "engine": "vllm 0.26.0", **more}


def here(sheet_of: SheetOf, claim: str, evidence: Evidence) -> Decision:
    """The decision on the record's device."""
    return decide_all(sheet_of(claim), "ignored", evidence)[-1]


COLD = 'kind = "cold start"\nmodel = "distill"\nholds = "at most"\nvalue = "8.2 s"'
PEAK = 'kind = "peak memory"\nmodel = "distill"\nholds = "at most"\nvalue = "7.4 GB"'


def test_only_a_start_that_was_alone_is_a_cold_start(sheet_of: SheetOf) -> None:
    servers = [started("distill", 160.0, alone=False)]
    assert here(sheet_of, COLD, gpu_run(servers=servers)).outcome is Outcome.NOT_TESTABLE
    servers += [started("distill", 20.0 + 0.1 * number, alone=True, lean=True) for number in range(5)]
    decision = here(sheet_of, COLD, gpu_run(servers=servers))
    assert decision.outcome is Outcome.REFUTED
    assert "5 starts without compilation and graphs, no weights to read" in decision.why


def test_too_few_starts_decide_nothing(sheet_of: SheetOf) -> None:
    servers = [started("distill", 20.0, alone=True)] * 3
    decision = here(sheet_of, COLD, gpu_run(servers=servers))
    assert (decision.outcome, decision.n_needed) == (Outcome.UNDECIDED, 5)


def test_starts_of_one_row_in_one_run_count_each(sheet_of: SheetOf) -> None:
    servers = [started("distill", 21.0, every_ready_s=[20.0, 20.5, 21.0, 21.5, None, 22.0])]
    assert "5 starts" in here(sheet_of, COLD, gpu_run(servers=servers)).why


def test_the_least_memory_is_what_a_model_needs(sheet_of: SheetOf) -> None:
    memory = [{"row": "distill", "peak_bytes": 5.1 * GB, "cache_tokens": 4096}] * 2
    decision = here(sheet_of, PEAK, gpu_run(memory=memory))
    assert decision.outcome is Outcome.CONFIRMED
    assert "2 starts, cache for 4,096 tokens" in decision.measured


def test_a_quantised_build_is_a_row_of_its_own(sheet_of: SheetOf) -> None:
    claim = 'kind = "peak memory"\nmodel = "distill"\nstored = "int8"\nholds = "at least"\nvalue = "8 GB"'
    memory = [{"row": "distill", "peak_bytes": 9.0 * GB, "cache_tokens": 4096}]
    assert here(sheet_of, claim, gpu_run(memory=memory)).outcome is Outcome.NOT_TESTABLE
    memory.append({"row": "distill-int8", "peak_bytes": 3.9 * GB, "cache_tokens": 4096})
    assert here(sheet_of, claim, gpu_run(memory=memory)).outcome is Outcome.REFUTED


def test_the_memory_of_a_build_that_was_not_started_alone_is_the_sum_of_its_parts(sheet_of: SheetOf) -> None:
    claim = 'kind = "peak memory"\nmodel = "distill"\nstored = "int8"\nholds = "at least"\nvalue = "8 GB"'
    memory = [{"row": "distill", "peak_bytes": 5.0 * GB, "cache_tokens": 4096}]
    plain = started("distill", 20.0, milestones={"model_bytes": 3.7 * GB})
    unknown = gpu_run(memory=memory, servers=[plain])
    assert here(sheet_of, claim, unknown).outcome is Outcome.NOT_TESTABLE
    built = started("distill-int8", 20.0, milestones={"model_bytes": 2.3 * GB})
    decision = here(sheet_of, claim, gpu_run(memory=memory, servers=[plain, built]))
    assert (decision.outcome, decision.measured[:7]) == (Outcome.REFUTED, "3.60 GB")
    large = started("distill-int8", 20.0, milestones={"model_bytes": 7.3 * GB})
    assert here(sheet_of, claim, gpu_run(memory=memory, servers=[plain, large])).outcome is Outcome.CONFIRMED


def test_what_arithmetic_decided_is_seen_beside_it(sheet_of: SheetOf) -> None:
    servers = [started("distill", 20.0, milestones={"model_bytes": 3.7 * GB})]
    filled = [{"row": "distill", "ok": True, "prompt_tokens": 4000, "completion_tokens": 48}]
    refused = [{"row": "distill", "asked": "awq", "started": False, "said": "Cannot find the config file"}]
    named = [{"row": "distill", "started_on": "org/distill", "engine": "vllm 0.26.0", "ids": ["org/distill"]}]
    evidence = gpu_run(servers=servers, contexts=filled, refused_starts=refused, served_ids=named)
    context = here(sheet_of, 'kind = "context"\nmodel = "distill"\nvalue = 4096', evidence)
    assert "vllm 0.26.0 on NVIDIA H100 80GB HBM3 answered a request of 4,048 tokens together" in context.why
    starts = here(sheet_of, 'kind = "starts"\nmodel = "distill"\nvalue = "awq"', evidence)
    assert "ended with: Cannot find the config file" in starts.why
    name = here(sheet_of, 'kind = "served id"\nmodel = "distill"\nvalue = "distill"', evidence)
    assert (name.outcome, name.why.rpartition("; ")[2]) == (
        Outcome.REFUTED,
        "vllm 0.26.0 on NVIDIA H100 80GB HBM3, started so, names it org/distill",
    )
    size = here(sheet_of, 'kind = "size"\nmodel = "distill"\nvalue = "3.55 GB"\ntolerance = "1 %"', evidence)
    assert (size.outcome, "it takes 3.70 GB" in size.why) == (Outcome.CONFIRMED, True)


@pytest.mark.parametrize("ok", [True, False])
def test_a_request_that_failed_fills_no_context(sheet_of: SheetOf, ok: bool) -> None:
    filled = [{"row": "distill", "ok": ok, "prompt_tokens": 4000, "completion_tokens": 48}]
    why = here(sheet_of, 'kind = "context"\nmodel = "distill"\nvalue = 4096', gpu_run(contexts=filled)).why
    assert ("answered a request" in why) is ok


def test_a_load_of_a_tests_own_lengths_is_no_evidence_for_the_profiles() -> None:
    def load(prompt: int, tokens: int) -> dict[str, Any]:
        rounds = [{"errors": {}, "ttft_s": [0.1], "output_tokens": tokens, "window_s": 1.0}]
        workload = {"input_tokens": prompt, "output_tokens": 128}
        return {"row": "distill", "concurrency": 1, "workload": workload, "rounds": rounds}

    record = {
        "sizes": {"prompt_tokens": 512, "answer_tokens": 128},
        "load": [load(512, 100), load(4096, 9)],
    }
    assert Evidence(record)._rounds("speed", "distill", 1) == [100.0]
    assert Evidence(record | {"sizes": None})._rounds("speed", "distill", 1) == [100.0, 9.0]
