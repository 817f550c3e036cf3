"""A whole run beside a GPU that is played: energy and limits are judged, and stand in the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.played_gpu import beside_the_gpu, played_rows

if TYPE_CHECKING:
    from tests.integration.conftest import Project

pytestmark = pytest.mark.slow


@pytest.fixture
def on_a_gpu(project: Project) -> Project:
    project.catalog(rows=played_rows())
    project.shrink(rounds=12, prompt_tokens=64, answer_tokens=16)
    return project


def test_energy_and_the_device_s_limit_are_judged_and_recorded(on_a_gpu: Project) -> None:
    on_a_gpu.write(
        "budgets.toml",
        '[played.H100.energy]\nper_token = { 4 = "500 J/tok" }\n'
        "[played.any.throughput]\nroofline = { 4 = 0.9 }\n",
    )
    on_a_gpu.suite("""
        def test_a_token_is_cheap(candidate, baseline, load, budget):
            load.interleaved(candidate, baseline, concurrency=4)
            assert load(candidate, concurrency=4).energy.p50 <= budget.energy.per_token[4]

        def test_the_device_is_used(candidate, load, budget):
            assert load(candidate, concurrency=4).roofline.p50 >= budget.throughput.roofline[4]
    """)
    options = ("-p", "played", "--llmperf-profile", "played")
    result, verdicts = on_a_gpu.judged(*options, **beside_the_gpu(on_a_gpu))
    cheap, used = verdicts
    assert (cheap["status"], cheap["unit"], cheap["metric"]) == (
        "PASS",
        "J/tok",
        "energy per token at 4 p50",
    ), result.text
    # A model of 0.2 M parameters that fits into the cache: what limits it is arithmetic, and the fake is far below.
    assert used["status"] == "FAIL"
    assert used["observed"] < 0.01
    record = on_a_gpu.record()
    assert [told["rows"] for told in record["telemetry"]] == [["distill", "math"], ["distill"]], (
        "8 rounds of both, then the candidate alone"
    )
    assert all(told["mean_power_w"] == pytest.approx(300, rel=0.05) for told in record["telemetry"])
    assert [one["milestones"]["kv_cache_tokens"] for one in record["servers"]] == [4_194_304] * 2
    assert result.lines("lowered its clocks, power cap (distill and math at 4"), result.text
    energies = {
        load["row"]: [one["energy_j"] / one["output_tokens"] for one in load["rounds"]]
        for load in record["load"]
    }
    assert (len(energies["distill"]), len(energies["math"])) == (12, 8)
    assert sorted(energies["distill"])[5] <= cheap["observed"] <= sorted(energies["distill"])[6]
    assert all(0 < one["roofline_share"] < 0.01 for load in record["load"] for one in load["rounds"])


def test_the_device_and_the_server_are_watched_beside_loads_on_a_schedule(on_a_gpu: Project) -> None:
    on_a_gpu.suite("""
        from pytest_llmperf import Slo
        def test_open(candidate, load):
            assert load.open_loop(candidate, rate=40, requests=60).e2el.p50 <= 60
        def test_levels(candidate, load):
            assert load.sweep(candidate, rate=[20.0], seconds=1).knee >= 1
        def test_rate(candidate, load):
            assert load.max_rate(candidate, slo=Slo(e2el_s=60), lowest=30, highest=40, share=0.5, requests=40) >= 30
    """)
    options = ("-p", "played", "--llmperf-profile", "played")
    result, verdicts = on_a_gpu.judged(*options, **beside_the_gpu(on_a_gpu))
    assert [one["status"] for one in verdicts] == ["PASS"] * 3, result.text
    record = on_a_gpu.record()
    assert [one["what"] for one in record["telemetry"]] == ["open loop", "sweep", "max rate"]
    assert all(one["mean_power_w"] == pytest.approx(300, rel=0.05) for one in record["telemetry"])
    assert all(one["energy_j"] > 0 for load in record["scheduled_load"] for one in load["rounds"])
    told = {load["purpose"]: load["server_metrics"] for load in record["scheduled_load"]}
    assert all(one is not None and one["samples"] >= 1 for one in told.values()), told


def test_without_a_device_energy_is_not_measured_and_never_green(project: Project) -> None:
    project.shrink(rounds=12)
    project.suite("""
        def test_a_token_is_cheap(candidate, load):
            assert load(candidate, concurrency=4).energy.p50 <= 1e9
    """)
    result, (verdict,) = project.judged()
    assert result.code == 1
    assert verdict["status"] == "INVALID"
    assert "no device tells its energy" in verdict["why"]


def test_a_right_answer_has_its_price_in_joules(on_a_gpu: Project, solver: str) -> None:
    on_a_gpu.catalog(
        rows=played_rows(
            environment=f'FAKE_ENGINE_ANSWERS = "{solver}"\nFAKE_ENGINE_RIGHT_PERCENT = "50"',
        )
    )
    on_a_gpu.suite("""
        def test_a_right_answer_is_cheap(candidate, energy):
            assert energy(candidate) <= 1000
    """)
    options = ("-p", "played", "--llmperf-profile", "played")
    result, (verdict,) = on_a_gpu.judged(*options, **beside_the_gpu(on_a_gpu))
    assert (verdict["status"], verdict["unit"]) == ("PASS", "J"), result.text
    (answers,), (told,) = on_a_gpu.record()["answers"], on_a_gpu.record()["telemetry"]
    assert answers["items"] == 100
    assert 30 < answers["outcomes"]["correct"] < 70
    assert verdict["observed"] == pytest.approx(told["energy_j"] / answers["outcomes"]["correct"])


def test_a_budget_beyond_the_device_ends_the_run_before_anything_starts(on_a_gpu: Project) -> None:
    on_a_gpu.write("budgets.toml", '[played.H100.throughput]\nsingle = "1e11 tok/s"\n')
    on_a_gpu.suite("""
        def test_one_stream(candidate, load, budget):
            assert load(candidate, concurrency=1).throughput.p50 >= budget.throughput.single
    """)
    options = ("-p", "played", "--llmperf-profile", "played")
    result = on_a_gpu.run(*options, **beside_the_gpu(on_a_gpu))
    assert result.code == 4, result.text
    (line,) = result.lines("physically impossible for distill")
    assert "Tflop" in line
    assert not on_a_gpu.starts
