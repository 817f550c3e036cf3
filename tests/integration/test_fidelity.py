"""Fidelity as suites write it, on stand-ins whose distributions, and so their true divergence, are known."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    def test_divergence(candidate, baseline, fidelity):
        assert fidelity(candidate, baseline).divergence <= 1e-3

    def test_divergence_above_noise(candidate, baseline, fidelity):
        assert fidelity(candidate, baseline).divergence <= fidelity.noise(baseline) + 1e-3

    def test_agreement(candidate, baseline, fidelity):
        assert fidelity(candidate, baseline).top_token_agreement >= 0.99
"""
SAME_MODEL = """
    import pytest

    @pytest.mark.llmperf_same_model
    def test_builds(candidate, baseline, fidelity):
        assert fidelity(candidate, baseline).divergence <= 1e-3

    def test_ready(candidate, startup):
        assert startup(candidate).ready <= 100
"""
SKEWED = "2 1.4 0.5 0"


def kl(own: str, other: str) -> float:
    """The true divergence per token of two stand-ins with these logits."""

    def log_probabilities(text: str) -> list[float]:
        logits = [float(word) for word in text.split()]
        total = math.log(sum(map(math.exp, logits)))
        return [value - total for value in logits]

    pairs = zip(log_probabilities(own), log_probabilities(other), strict=True)
    return sum(math.exp(p) * (p - q) for p, q in pairs)


def test_the_same_distribution_passes_and_another_fails_with_the_true_divergence(project: Project) -> None:
    project.catalog({"other": {"LOGITS": SKEWED}, "swapped": {"LOGITS": "1 2 0.5 0"}})
    project.suite(SUITE)
    result, verdicts = project.judged("--llmperf-full")
    assert result.code == 0, result.text
    assert [one["status"] for one in verdicts] == ["PASS"] * 3
    assert [one["observed"] for one in verdicts] == [0.0, 0.0, 1.0]
    assert "every log probability is the same to the last bit" in str(verdicts[0]["detail"])
    result, verdicts = project.judged("--model", "other", "--llmperf-full")
    assert result.code == 1, result.text
    assert [one["status"] for one in verdicts] == ["FAIL", "FAIL", "PASS"]
    truth = kl("2 1 0.5 0", SKEWED)
    assert verdicts[0]["observed"] == pytest.approx(truth, rel=0.15)
    record = project.record()
    page = (project.path / "record.html").read_text(encoding="utf-8")
    assert "Fidelity" in page
    assert "Worst tokens, other against math" in page
    assert "Divergence by position in the answer" in page
    entry = next(one for one in record["fidelity"] if one["row"] == "other" and one["sampling"] == "T = 1")
    assert entry["k3"] == pytest.approx(truth, rel=0.15)
    assert (entry["answers"], entry["tokens"], entry["errors"]) == (200, 4000, 0)
    assert record["tokens_file"]["count"] == 200 * 5, "two sides and noise at T = 1, two sides greedily"
    result, verdicts = project.judged("--model", "swapped")
    assert [one["status"] for one in verdicts] == ["FAIL", "FAIL", "FAIL"], result.text
    assert verdicts[2]["observed"] == 0.0


def test_a_gate_stops_asking_as_soon_as_it_is_decided(project: Project) -> None:
    project.catalog({"other": {"LOGITS": SKEWED}})
    project.suite(SUITE)
    result, verdicts = project.judged("--model", "other")
    assert [one["status"] for one in verdicts] == ["FAIL", "FAIL", "PASS"], result.text
    assert verdicts[0]["n"] < 200
    assert "stopped early of 200 answers" in str(verdicts[0]["detail"])
    record = project.record()
    sampled = {(one["row"], one["look"]): one for one in record["fidelity"] if one["sampling"] == "T = 1"}
    assert sampled["other", "first"]["answers"] == verdicts[1]["n"], "the same answers serve both gates"
    assert sampled["other", "first"]["tokens"] == 20 * int(verdicts[1]["n"])
    rows = sum(one["answers"] for one in record["fidelity"]) + verdicts[1]["n"] + verdicts[2]["n"]
    assert record["tokens_file"]["count"] == rows, (
        "no answer is scored twice, and the baseline's are rows as well"
    )
    assert "Worst tokens, other against math" in (project.path / "record.html").read_text(encoding="utf-8")
    result, verdicts = project.judged()
    assert [(one["status"], one["n"]) for one in verdicts] == [("PASS", 150)] * 3, result.text


@pytest.mark.parametrize(
    ("knobs", "why"),
    [
        ({"math": {"TOKEN_IDS": "0"}}, "the server returned no token ids"),
        (
            {"distill": {"NO_SCORES": "1"}},
            "distill scored nothing; the first answer: the server returned no prompt",
        ),
        ({"distill": {"TOKEN_TEXT": "u"}}, "do not share a tokenizer"),
    ],
)
def test_a_server_that_cannot_tell_makes_it_invalid_and_never_green(
    project: Project, knobs: dict[str, dict[str, object]], why: str
) -> None:
    project.catalog(knobs)
    project.suite(SUITE)
    result, verdicts = project.judged()
    assert result.code == 1, result.text
    assert {one["status"] for one in verdicts} == {"INVALID"}
    assert result.lines(why), result.text


@pytest.mark.parametrize("full", [(), ("--llmperf-full",)])
def test_too_many_lost_answers_say_why_the_first_was_lost(project: Project, full: tuple[str, ...]) -> None:
    project.catalog({"other": {"FAIL_SCORES": 4}})
    project.suite(SUITE)
    result, verdicts = project.judged("--model", "other", *full)
    assert result.code == 1, result.text
    assert [one["status"] for one in verdicts] == ["INVALID"] * 3
    why = [str(one["why"]) for one in verdicts]
    planted = 'HTTP 400: {"error": {"message": "planted failure of prompt_logprobs"'
    assert f"; the first: other: {planted}" in why[0]
    assert f"; the first: candidate: other: {planted}" in why[1]
    # This stand-in's greedy answers are all the same.
    assert f"other scored nothing; the first answer: {planted}" in why[2]


def test_a_plan_and_a_mutation_test_know_it(project: Project) -> None:
    project.suite(SUITE)
    planned = project.run("--llmperf-plan")
    assert planned.code == 0, planned.text
    assert planned.lines("embedded divergence", "200"), planned.text
    project.judged()
    tested = project.run("--llmperf-mutation-test=record.json")
    assert tested.code == 0, tested.text
    assert tested.lines("embedded divergence", "200 %"), tested.text
    assert tested.lines("embedded top-token agreement"), tested.text


def test_tests_of_two_builds_are_left_out_where_two_models_are_compared(project: Project) -> None:
    project.catalog({"build": {}}, rows="")
    project.suite(SAME_MODEL)
    result, verdicts = project.judged()
    assert result.code == 0, result.text
    assert len(verdicts) == 1
    assert result.lines("llmperf: 1 test is for two builds of one model", "same_model_as"), result.text
    assert result.lines("1 passed, 1 deselected"), result.text
    result, verdicts = project.judged("--model", "math")
    assert [one["status"] for one in verdicts] == ["PASS", "PASS"], result.text


def test_budgets_of_tests_that_are_left_out_are_not_missed(project: Project) -> None:
    project.catalog({"build": {}}, rows="")
    project.write("budgets.toml", "[test.any.fidelity]\ndivergence = 1e-3\nother = 1e-3\n")
    project.suite(
        SAME_MODEL.replace("<= 1e-3", "<= budget.fidelity.divergence").replace(
            "fidelity):", "fidelity, budget):"
        )
    )
    result = project.run()
    assert result.lines("asserts these budgets of budgets.toml: fidelity.other"), result.text
    assert not result.lines("fidelity.divergence"), result.text


def test_a_server_is_held_against_itself(project: Project) -> None:
    project.catalog({"other": {"DECODES": SKEWED}})
    project.suite("""
        def test_batching(candidate, consistency):
            assert consistency(candidate).batching <= 1e-3

        def test_decoding(candidate, consistency):
            assert consistency(candidate).decoding <= 1e-3
    """)
    result, verdicts = project.judged()
    assert result.code == 0, result.text
    assert [one["metric"] for one in verdicts] == [
        "embedded alone against batches",
        "embedded decoding against prefill",
    ]
    result, verdicts = project.judged("--model", "other")
    assert [one["status"] for one in verdicts] == ["PASS", "FAIL"], result.text
    assert verdicts[1]["observed"] == pytest.approx(kl(SKEWED, "2 1 0.5 0"), rel=0.15)
    looks = [(one["row"], one["look"]) for one in project.record()["fidelity"]]
    assert looks == [("other", "alone"), ("other", "decoded")]
    assert "Worst tokens, other, decoded" in (project.path / "record.html").read_text(encoding="utf-8")
    planned = project.run("--llmperf-plan")
    assert planned.lines("embedded decoding against prefill", "200"), planned.text


ASK_FIRST = "assert consistency(candidate).decoding <= 1e-3"
CACHED = """
    def test_prefix_cache(candidate, consistency):
        assert consistency(candidate).prefix_cache <= 1e-3
"""


@pytest.mark.parametrize("told", ["", "usage"])
def test_answers_from_a_warm_prefix_cache_are_held_against_those_from_a_cold_one(
    project: Project, told: str
) -> None:
    project.catalog({"distill": {"PREFIX_CACHE": told}, "other": {"WARM": SKEWED, "PREFIX_CACHE": told}})
    project.suite(CACHED)
    result, [same] = project.judged()
    assert (result.code, same["status"], same["observed"]) == (0, "PASS", 0.0), result.text
    assert same["metric"] == "embedded warm against cold prefix cache"
    result, [other] = project.judged("--model", "other")
    assert other["status"] == "FAIL", result.text
    # Answers end at the first token that differs, and that one counts.
    assert other["observed"] == pytest.approx(kl("2 1 0.5 0", SKEWED), rel=0.25)
    [entry] = project.record()["fidelity"]
    assert (entry["look"], entry["cached_tokens"], "rank_1_share" in entry) == ("warm", 400, False)
    assert "Worst tokens, other, warm" in (project.path / "record.html").read_text(encoding="utf-8")
    planned = project.run("--llmperf-plan")
    assert planned.lines("embedded warm against cold prefix cache", "200"), planned.text


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("off", "no prompt was found in the prefix cache, so that nothing of it was measured"),
        ("untold", "nothing shows that its prefix cache was used"),
        ("unsalted", "does not keep prompts of another cache_salt apart"),
    ],
)
def test_a_prefix_cache_that_was_not_seen_at_work_is_invalid(project: Project, how: str, why: str) -> None:
    project.catalog({"distill": {"PREFIX_CACHE": how}})
    # Where salts are not kept apart, prompts of the test before are known.
    project.suite(
        CACHED.replace("candidate, consistency):", "candidate, consistency):\n        " + ASK_FIRST)
    )
    result, [_, verdict] = project.judged()
    assert result.code == 1, result.text
    assert verdict["status"] == "INVALID"
    assert why in str(verdict["why"])


def test_a_divergence_may_be_held_against_what_batches_alone_change(project: Project) -> None:
    project.catalog({"other": {"LOGITS": SKEWED}})
    project.suite("""
        def test_it(candidate, baseline, fidelity, consistency):
            assert fidelity(candidate, baseline).divergence <= consistency(baseline).batching + 1e-3
    """)
    result, [verdict] = project.judged()
    assert (result.code, verdict["status"]) == (0, "PASS"), result.text
    assert 30 <= int(str(verdict["n"])) < 200
    result, [verdict] = project.judged("--model", "other")
    assert (result.code, verdict["status"]) == (1, "FAIL"), result.text
    assert project.run("--llmperf-plan").lines("embedded divergence above noise", "200")


def test_noise_alone_is_no_bound(project: Project) -> None:
    project.suite("""
        def test_it(candidate, baseline, fidelity):
            assert fidelity(candidate, baseline).divergence <= fidelity.noise(baseline) * 2
    """)
    result = project.run()
    assert result.code == 1, result.text
    assert result.lines("noise may be exactly zero, add to it"), result.text


def test_a_further_run_adds_its_answers_to_the_first(project: Project) -> None:
    project.catalog({"other": {"LOGITS": SKEWED}})
    project.suite("""
        def test_divergence(candidate, baseline, fidelity):
            assert fidelity(candidate, baseline).divergence <= 0.02
    """)
    project.shrink(fidelity_answers=60)
    first = project.run("--model", "other", "--llmperf-record", "first.json")
    assert first.code in (0, 1), first.text
    project.shrink(fidelity_answers=100)
    result, (both,) = project.judged("--model", "other", "--llmperf-add", "first.json")
    [earlier], [pooled] = project.gates("first"), project.gates()
    assert both["n"] == 100, result.text
    assert "stopped early" not in str(both["detail"])
    # These gates count items: of one that was asked twice, the first measurement is kept.
    then, now = earlier.gate.candidate, pooled.gate.candidate  # type: ignore[attr-defined]
    assert then.items() <= now.items()
    assert len(now) == 100
