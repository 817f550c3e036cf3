"""Adapters and aliases: rows that one server serves, started once and asked under their own names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lora import write_adapter

if TYPE_CHECKING:
    from tests.integration.conftest import Project

ROWS = """
    [profile.test.model.tuned]
    adapter_of = "distill"
    adapter = "./adapters/tuned"
    [profile.test.model.worse]
    adapter_of = "distill"
    adapter = "./adapters/worse"
    [profile.test.model.hot]
    alias_of = "distill"
    [profile.test.model.hot.sampling]
    temperature = 0.9
"""
# What each name of the server is like: the adapter `worse` errs more often and is slower.
ANSWERS = """
import runpy, zlib
solve = runpy.run_path({solver!r})["answer"]
def answer(request):
    spoilt = request["model"] == "worse" and zlib.crc32(request["text"].encode()) % 2
    text = "No idea." if spoilt else solve(request)
    return {{"text": text, "tpot_s": 0.012 if request["model"] == "worse" else 0.006}}
"""
GATES = """
    from pytest_llmperf import points
    def test_accuracy(candidate, baseline, accuracy):
        assert accuracy(candidate) >= accuracy(baseline) - points(10)
    def test_speed(candidate, baseline, load):
        assert load.interleaved(candidate, baseline, concurrency=2).tpot.ratio <= 1.5
"""


@pytest.fixture
def adapters(project: Project, solver: str) -> Project:
    knobs = {"ANSWERS": project.answers(ANSWERS.format(solver=solver))}
    project.catalog({"distill": knobs}, rows=ROWS)
    for name in ("tuned", "worse"):
        write_adapter(project.path / "adapters" / name, project.path / "weights", rank=12)
    project.shrink(items=60, rounds=12, answer_tokens=4)
    return project


def test_adapters_are_judged_against_their_base_on_one_server_and_a_worse_one_is_red(
    adapters: Project,
) -> None:
    adapters.suite(GATES)
    models = ("--model", "tuned", "--model", "worse", "--baseline", "distill")
    result, verdicts = adapters.judged(*models)
    assert result.code == 1, result.text
    seen = {one["test"].rpartition("::")[2]: one["status"] for one in verdicts}
    assert seen == {
        "test_accuracy[tuned]": "PASS",
        "test_accuracy[worse]": "FAIL",
        "test_speed[tuned]": "PASS",
        "test_speed[worse]": "FAIL",
    }, result.text
    assert adapters.starts == ["distill"]
    assert "--max-loras 2 --max-lora-rank 16" in (adapters.path / "starts").read_text()
    assert result.lines("tuned → adapter", "adapters/tuned on", "against distill →")
    speed = next(one for one in verdicts if one["test"].endswith("test_speed[tuned]"))
    assert speed["metric"] == "TPOT at 2 on one server ratio"
    assert "one server serves both" in str(speed["detail"])
    record = adapters.record()
    servers = {server["row"]: server for server in record["servers"]}
    assert {row: server["server_of"] for row, server in servers.items()} == {
        "distill": None,
        "tuned": "distill",
        "worse": "distill",
    }
    assert servers["tuned"]["adapter"].endswith("adapters/tuned")
    assert servers["tuned"]["files"]["adapter"] == servers["worse"]["files"]["adapter"]  # the same bytes
    assert record["content"]["tuned"] != record["content"]["distill"]
    assert "adapter" not in servers["distill"]["files"]
    assert ["ready_s" in server for server in servers.values()] == [True, False, False]


def test_what_rows_of_one_server_do_not_have_apart_is_invalid_with_the_reason(adapters: Project) -> None:
    adapters.suite("""
        import pytest
        @pytest.mark.parametrize("of", ["peak", "weights"])
        def test_memory(candidate, baseline, memory, of):
            assert getattr(memory(candidate), of) <= getattr(memory(baseline), of) * 9.0
        def test_start(candidate, startup):
            assert startup(candidate).ready <= 1000
        def test_base(baseline, memory, startup):
            assert memory(baseline).peak <= 1e12
            assert startup(baseline).ready <= 1000
    """)
    result, verdicts = adapters.judged("--model", "tuned", "--baseline", "distill")
    assert result.code == 1, result.text
    seen = [(one["test"].rpartition("::")[2].partition("[")[0], one["status"]) for one in verdicts]
    assert seen.count(("test_base", "PASS")) == 2, result.text
    names = [one["metric"] for one in verdicts if one["status"] == "PASS"]
    assert names == ["peak resident memory with tuned", "time to ready with tuned"]
    assert sorted(set(seen)) == [("test_base", "PASS"), ("test_memory", "INVALID"), ("test_start", "INVALID")]
    assert result.lines("the peak of memory of tuned is not known", "an adapter on the server of distill")


def test_an_alias_is_asked_in_its_own_way_and_never_compared_as_a_model_of_its_own(adapters: Project) -> None:
    adapters.suite("""
        from pytest_llmperf import points
        def test_accuracy(candidate, baseline, accuracy):
            assert accuracy(candidate) >= accuracy(baseline) - points(10)
        def test_speed(candidate, baseline, load):
            assert load.interleaved(candidate, baseline, concurrency=2).tpot.ratio <= 1.5
        def test_alone(candidate, load):
            assert load(candidate, concurrency=2).tpot.p50 <= 1000
        def test_fidelity(candidate, baseline, fidelity):
            assert fidelity(candidate, baseline).divergence <= 9
        def test_perplexity(candidate, baseline, perplexity):
            assert perplexity(candidate) <= perplexity(baseline) * 9.0
    """)
    result, verdicts = adapters.judged("--model", "hot", "--baseline", "distill")
    assert {one["test"].rpartition("::")[2]: one["status"] for one in verdicts} == {
        "test_accuracy[hot]": "PASS",
        "test_speed[hot]": "INVALID",
        "test_alone[hot]": "PASS",
        "test_fidelity[hot]": "INVALID",
        "test_perplexity[hot]": "INVALID",
    }, result.text
    assert result.lines("would compare a server with itself", "two names of the same weights")
    assert adapters.starts == ["distill"]
    assert "--served-model-name distill hot" in (adapters.path / "starts").read_text()


def test_two_adapters_are_compared_though_their_base_is_no_row_of_the_run(adapters: Project) -> None:
    adapters.suite(GATES)
    result, verdicts = adapters.judged("--model", "tuned", "--baseline", "worse")
    assert result.code == 0, result.text
    assert [one["status"] for one in verdicts] == ["PASS", "PASS"]
    assert adapters.starts == ["distill"]
    assert [server["row"] for server in adapters.record()["servers"]] == ["distill", "tuned", "worse"]


@pytest.mark.slow
def test_several_starts_are_starts_of_the_one_server(adapters: Project) -> None:
    adapters.suite(
        GATES.partition("    def test_speed")[0].partition("def test_acc")[0]
        + """
    def test_speed(candidate, baseline, load):
        assert load.interleaved(candidate, baseline, concurrency=2).tpot.ratio <= 1.9
    """
    )
    result, verdicts = adapters.judged("--model", "tuned", "--baseline", "distill", "--llmperf-starts", "3")
    assert result.code == 0, result.text
    assert adapters.starts == ["distill"] * 3
    assert verdicts[0]["n"] == 3


@pytest.mark.parametrize(
    "knobs", [{"LOSES": "tuned"}, {"FAIL": "ValueError: vLLM does not yet support DoRA."}]
)
def test_an_adapter_that_is_not_loaded_is_a_failed_start_with_its_reason(
    project: Project, knobs: dict[str, str]
) -> None:
    project.catalog({"distill": knobs}, rows=ROWS)
    write_adapter(project.path / "adapters" / "tuned", project.path / "weights")
    project.suite(GATES)
    result, verdicts = project.judged("--model", "tuned", "--baseline", "distill")
    assert result.code == 1
    assert [one["status"] for one in verdicts] == ["INVALID", "INVALID"]
    assert result.lines("the server serves distill, not tuned") or result.lines(
        "the LoRA adapter is of a kind that vLLM does not serve: vLLM does not yet support DoRA."
    ), result.text
    assert len(project.starts) == 1


def test_an_adapter_that_is_not_there_starts_nothing(project: Project) -> None:
    project.catalog(rows=ROWS)
    project.suite(GATES)
    result, verdicts = project.judged("--model", "tuned", "--baseline", "distill")
    assert [one["status"] for one in verdicts] == ["INVALID", "INVALID"]
    assert result.lines("tuned: adapter = ", "there is no directory"), result.text
    assert project.starts == []


def test_stored_answers_of_the_base_are_not_those_of_its_adapter(adapters: Project) -> None:
    adapters.suite(GATES.partition("    def test_speed")[0])
    options = ("--llmperf-answers", "answers", "--llmperf-reuse=all")
    both = ("--model", "worse", "--baseline", "distill")
    _, before = adapters.judged(*both, *options)
    second, after = adapters.judged(*both, *options)
    assert second.lines("answers were not asked for anew"), second.text
    assert [one["status"] for one in (*before, *after)] == ["FAIL", "FAIL"]
    # Trained anew in place, it is another model: the base's answers alone are taken again.
    write_adapter(adapters.path / "adapters" / "worse", adapters.path / "weights", rank=12, scale=0.1)
    third, _ = adapters.judged(*both, *options)
    reused = [adapters.record()["answers_reused"]["count"]]
    (told,) = second.lines("answers were not asked for anew")
    assert f" {2 * reused[0]} answers" in f" {told}", (told, third.text)


def test_a_plan_counts_the_start_once_and_says_what_can_not_be_asked(adapters: Project) -> None:
    adapters.suite(
        GATES
        + """
    def test_memory(candidate, memory):
        assert memory(candidate).peak <= 1e12
    """
    )
    models = ("--model", "tuned", "--baseline", "distill")
    adapters.judged(*models, "-k", "not memory")
    result = adapters.run(*models, "--llmperf-plan", "record.json")
    assert result.lines("TPOT at 2 on one server ratio"), result.text
    assert result.lines("not planned", "test_memory", "an adapter on the server of distill"), result.text
    assert result.lines("starts"), result.text
    assert adapters.starts == ["distill"]
