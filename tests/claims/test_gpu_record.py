"""What ``benchmarks.gpu_claims`` measures, written by its script and read as evidence."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.claims_script import Script
from contrib.claims.claim import Build, Decision, Outcome
from contrib.claims.deciding import decide_all
from contrib.claims.measured import Evidence, load_evidence
from contrib.claims.reading import read_claims
from contrib.claims.record import (
    DEVICE_MEMORY,
    Device,
    FilledContext,
    LoadOf,
    LoadRound,
    Measured,
    MemoryPeak,
    RefusedStart,
    Requests,
    ServedIds,
    Start,
    as_json,
    has_random_weights,
    read_claims_record,
)
from pytest_llmperf.engines.base import Milestones
from pytest_llmperf.errors import UsageError
from pytest_llmperf.load.workload import Workload
from pytest_llmperf.record.store import read_record

from .conftest import HERE, ROOT, SheetOf, gpu_run, load

GB = 1e9
EVIDENCE = sorted(ROOT.glob("docs/evidence/*.json"))
H100 = Device(device_class="H100", name="NVIDIA H100 80GB HBM3")
DISTILL, INT8 = Build("distill"), Build("distill", "int8")

Recorded = Callable[..., Evidence]


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """The record that the script writes of some measurements on an H100, read again."""

    def make(*entries: Measured) -> Evidence:
        script = Script(tmp_path, 0.0, Workload())
        script.record = dataclasses.replace(script.record, device=H100)
        for entry in entries:
            script.add(entry)
        path = tmp_path / "claims-record.json"
        return load_evidence(path)

    return make


def start(seconds: float, build: Build = DISTILL, *, model_bytes: float | None = None, **more: Any) -> Start:
    return Start(
        row=build.row,
        build=build,
        ready_s=seconds,
        engine="vllm 0.26.0",
        random_weights=True,
        milestones=Milestones(model_bytes=model_bytes),
        **more,
    )


def peak(peak_bytes: float, build: Build = DISTILL) -> MemoryPeak:
    return MemoryPeak(row=build.row, build=build, peak_bytes=peak_bytes, cache_tokens=4096)


def here(sheet_of: SheetOf, claim: str, evidence: Evidence) -> Decision:
    """The decision on the record's device."""
    return decide_all(sheet_of(claim), "ignored", evidence)[-1]


COLD = 'kind = "cold start"\nmodel = "distill"\nholds = "at most"\nvalue = "8.2 s"'
PEAK = 'kind = "peak memory"\nmodel = "distill"\nholds = "at most"\nvalue = "7.4 GB"'
PEAK_INT8 = 'kind = "peak memory"\nmodel = "distill"\nstored = "int8"\nholds = "at least"\nvalue = "8 GB"'
CONTEXT = 'kind = "context"\nmodel = "distill"\nvalue = 4096'
GSM8K = 'kind = "accuracy"\nmodel = "distill"\ntask = "gsm8k"\nholds = "at least"\nvalue = "76.3 %"'


def test_only_a_start_that_was_alone_is_a_cold_start(sheet_of: SheetOf, recorded: Recorded) -> None:
    beside = start(160.0, alone=False)
    assert here(sheet_of, COLD, recorded(beside)).outcome is Outcome.NOT_TESTABLE
    alone = [start(20.0 + 0.1 * number, lean=True) for number in range(5)]
    decision = here(sheet_of, COLD, recorded(beside, *alone))
    assert decision.outcome is Outcome.REFUTED
    assert "5 starts without compilation and graphs, no weights to read" in decision.why


def test_too_few_starts_decide_nothing(sheet_of: SheetOf, recorded: Recorded) -> None:
    decision = here(sheet_of, COLD, recorded(*[start(20.0)] * 3))
    assert (decision.outcome, decision.n_needed) == (Outcome.UNDECIDED, 5)


def test_starts_of_one_row_in_one_run_count_each(sheet_of: SheetOf) -> None:
    servers = [{"row": "distill", "ready_s": 21.0, "every_ready_s": [20.0, 20.5, 21.0, 21.5, None, 22.0]}]
    assert "5 starts" in here(sheet_of, COLD, gpu_run(servers=servers)).why


def test_the_least_memory_is_what_a_model_needs(sheet_of: SheetOf, recorded: Recorded) -> None:
    decision = here(sheet_of, PEAK, recorded(*[peak(5.1 * GB)] * 2))
    assert decision.outcome is Outcome.CONFIRMED
    assert "2 starts, cache for 4,096 tokens" in decision.measured


def test_a_quantised_build_is_not_judged_by_another(sheet_of: SheetOf, recorded: Recorded) -> None:
    plain, fp8 = peak(9.0 * GB), peak(9.0 * GB, Build("distill", "fp8"))
    assert here(sheet_of, PEAK_INT8, recorded(plain, fp8)).outcome is Outcome.NOT_TESTABLE
    assert here(sheet_of, PEAK_INT8, recorded(plain, fp8, peak(3.9 * GB, INT8))).outcome is Outcome.REFUTED


def test_a_build_is_known_by_what_the_record_says_and_not_by_the_name_of_its_row(
    sheet_of: SheetOf, recorded: Recorded
) -> None:
    small = dataclasses.replace(peak(3.9 * GB, INT8), row="w8a8")
    assert here(sheet_of, PEAK_INT8, recorded(small)).outcome is Outcome.REFUTED
    misnamed = dataclasses.replace(peak(3.9 * GB, Build("other", "int8")), row="distill-int8")
    assert here(sheet_of, PEAK_INT8, recorded(misnamed)).outcome is Outcome.NOT_TESTABLE


def test_the_memory_of_a_build_that_was_not_started_alone_is_the_sum_of_its_parts(
    sheet_of: SheetOf, recorded: Recorded
) -> None:
    plain = (peak(5.0 * GB), start(20.0, model_bytes=3.7 * GB))
    assert here(sheet_of, PEAK_INT8, recorded(*plain)).outcome is Outcome.NOT_TESTABLE
    decision = here(sheet_of, PEAK_INT8, recorded(*plain, start(20.0, INT8, model_bytes=2.3 * GB)))
    assert (decision.outcome, decision.measured[:7]) == (Outcome.REFUTED, "3.60 GB")
    large = recorded(*plain, start(20.0, INT8, model_bytes=7.3 * GB))
    assert here(sheet_of, PEAK_INT8, large).outcome is Outcome.CONFIRMED


def test_what_arithmetic_decided_is_seen_beside_it(sheet_of: SheetOf, recorded: Recorded) -> None:
    evidence = recorded(
        start(20.0, model_bytes=3.7 * GB),
        FilledContext(row="distill", ok=True, prompt_tokens=4000, completion_tokens=48),
        RefusedStart(row="distill", asked="awq", started=False, said="Cannot find the config file"),
        ServedIds(row="distill", started_on="org/distill", engine="vllm 0.26.0", ids=("org/distill",)),
    )
    context = here(sheet_of, CONTEXT, evidence)
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
def test_a_request_that_failed_fills_no_context(sheet_of: SheetOf, recorded: Recorded, ok: bool) -> None:
    filled = FilledContext(row="distill", ok=ok, prompt_tokens=4000, completion_tokens=48)
    assert ("answered a request" in here(sheet_of, CONTEXT, recorded(filled)).why) is ok


@pytest.mark.parametrize(
    ("arguments", "noise"),
    [
        (["--load-format", "dummy"], True),
        (["--load-format=dummy", "--port", "1"], True),
        (["--load_format", "dummy"], True),
        (["--load-format", "dummy", "--load-format", "auto"], False),
        (["--load-format", "dummy-but-mine"], False),
        (["--served-model-name", "--load-format dummy"], False),
        (["--load-format"], False),
        ([], False),
    ],
)
def test_weights_are_random_where_the_engine_was_told_so(
    sheet_of: SheetOf, arguments: list[str], noise: bool
) -> None:
    assert has_random_weights(arguments) is noise
    command = " ".join(["vllm serve x", *(f"'{one}'" for one in arguments)])
    answers = {
        "row": "distill",
        "task": "gsm8k",
        "variant": "as promised",
        "outcomes": {"correct": 1319},
    }
    run = gpu_run(answers=[answers], servers=[{"row": "distill", "command": command}])
    expected = Outcome.NOT_TESTABLE if noise else Outcome.CONFIRMED
    assert here(sheet_of, GSM8K, run).outcome is expected


def test_what_the_script_knows_of_the_weights_counts_more_than_the_command() -> None:
    read = Start(row="distill", command="vllm serve x --load-format dummy", random_weights=False)
    assert not read.is_noise
    assert dataclasses.replace(read, random_weights=None).is_noise


@pytest.mark.parametrize(
    ("prompt_tokens", "outcome"), [(512, Outcome.CONFIRMED), (4096, Outcome.NOT_TESTABLE)]
)
def test_a_load_of_a_tests_own_lengths_is_no_evidence_for_the_profiles(
    sheet_of: SheetOf, prompt_tokens: int, outcome: Outcome
) -> None:
    claim = 'kind = "speed"\nmodel = "distill"\nholds = "at least"\nvalue = "143 tok/s"'
    workload = {"input_tokens": prompt_tokens, "output_tokens": 128}
    sizes = {"prompt_tokens": 512, "answer_tokens": 128}
    loads = [load("distill", [379] * 6) | {"workload": workload}]
    assert here(sheet_of, claim, gpu_run(load=loads, sizes=sizes)).outcome is outcome
    assert here(sheet_of, claim, gpu_run(load=loads, sizes=None)).outcome is Outcome.CONFIRMED


def known(value: Any) -> Any:
    """JSON without the keys that say nothing."""
    if isinstance(value, Mapping):
        return {key: known(inner) for key, inner in value.items() if inner is not None and inner != []}
    return [known(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", EVIDENCE, ids=lambda path: path.stem)
def test_a_record_that_is_continued_loses_nothing(path: Path) -> None:
    record = read_record(path).as_json()
    again = as_json(read_claims_record(record, path))
    assert known({"schema": record["schema"], **again}) == known(record)


def test_what_the_script_writes_is_what_it_measured(recorded: Recorded) -> None:
    entries: tuple[Measured, ...] = (
        start(20.0, INT8, lean=True),
        LoadOf(
            row="distill",
            concurrency=1,
            workload=Requests.of(Workload(sampling={"temperature": 0.0})),
            rounds=(LoadRound(errors={"timeout": 1}, ttft_s=(0.1,), output_tokens=9, window_s=1.0),),
            problems=("a problem",),
        ),
        peak(5.1 * GB),
    )
    facts = recorded(*entries).facts
    assert (*facts.servers, *facts.load, *facts.memory) == entries
    assert facts.memory[0].kind == DEVICE_MEMORY


@pytest.mark.parametrize(
    ("key", "entry", "told"),
    [
        ("memory", {"row": "distill", "peak_bytes": "5 GB", "cache_tokens": 1}, 'peak_bytes is "5 GB"; need a number'),
        ("memory", {"row": "distill", "cache_tokens": 4096}, "peak_bytes is missing; need a number"),
        ("memory", {"row": "distill", "peak_bytes": float("nan"), "cache_tokens": 1}, "need a finite number"),
        ("memory", {"row": "distill", "peak_bytes": True, "cache_tokens": 1}, "peak_bytes is true; need a number"),
        ("contexts", {"row": "distill"}, "ok is missing; need true or false"),
        ("contexts", {"row": "distill", "ok": "yes"}, 'ok is "yes"; need true or false'),
        ("refused_starts", {"row": "distill", "asked": "awq", "started": False}, "said is missing; need text"),
        ("served_ids", {"row": "x", "started_on": "y", "engine": "z", "ids": "x"}, 'ids is "x"; need a list'),
        ("served_ids", {"row": "x", "started_on": "y", "engine": "z", "ids": [1]}, "ids[0] is 1; need text"),
        ("servers", {"row": "x", "alone": None}, "alone is null; need true or false"),
        ("servers", {"row": "x", "build": "int8"}, 'build is "int8"; need an object'),
        ("servers", {"row": "x", "build": {"stored": "int8"}}, "build.model is missing; need text"),
        ("load", {"row": "x", "rounds": [{}]}, "rounds[0].errors is missing; need an object"),
        ("memory", 5, "memory[0] is 5; need an object"),
    ],
)  # fmt: skip
def test_a_record_with_a_mistake_is_refused_in_one_line_with_file_and_key(
    tmp_path: Path, key: str, entry: Any, told: str
) -> None:
    path = tmp_path / "mine.json"
    with pytest.raises(UsageError) as refusal:
        Evidence(dict(gpu_run().record) | {key: [entry]}, path)
    [line] = str(refusal.value).splitlines()
    assert "mine.json" in line
    assert f"{key}[0]" in line
    assert told in line


DECISIONS = json.loads((HERE / "decisions.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("about", DECISIONS)
def test_recorded_evidence_decides_as_it_did(about: str) -> None:
    sheet, record = (ROOT / part for part in about.split())
    evidence = load_evidence(record)
    decided = [
        [one.name, one.outcome.value, one.measured, one.why, one.n_needed]
        for one in decide_all(read_claims(sheet), "ignored", evidence)
    ]
    assert decided == DECISIONS[about]
