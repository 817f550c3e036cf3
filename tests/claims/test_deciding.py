"""Each kind of claim: what decides it, and what must not."""

from __future__ import annotations

from typing import Any

import pytest

from contrib.claims.claim import Decision, Outcome
from contrib.claims.deciding import decide_all
from contrib.claims.measured import Evidence
from pytest_llmperf.errors import UsageError

from .conftest import SheetOf, gpu_run, load

H100 = "NVIDIA H100 80GB HBM3"
FAST = 'kind = "speed"\nmodel = "distill"\nholds = "at least"\nvalue = "143 tok/s"'
RATIO = 'kind = "ratio"\nmodel = "distill"\nagainst = "math"\nholds = "about"\ntolerance = "5 %"\n'


def only(sheet_of: SheetOf, claim: str, evidence: Evidence | None = None, device: str = "CPU") -> Decision:
    (decision,) = decide_all(sheet_of(claim), device, evidence)
    return decision


@pytest.mark.parametrize(
    ("tokens", "outcome"),
    [
        ([379, 380, 367, 386, 375, 372], Outcome.CONFIRMED),
        ([120, 121, 119, 122, 118, 120], Outcome.REFUTED),
        ([120, 160, 130, 150, 140, 145], Outcome.UNDECIDED),
        ([379, 380], Outcome.UNDECIDED),  # two rounds have no bounds, however far they are
    ],
)
def test_a_speed_is_decided_by_the_bounds_of_its_median(
    sheet_of: SheetOf, tokens: list[int], outcome: Outcome
) -> None:
    decision = only(sheet_of, FAST, gpu_run(load=[load("distill", tokens)]))
    assert (decision.outcome, decision.device) == (outcome, H100)


def test_too_few_rounds_say_how_many_would_do(sheet_of: SheetOf) -> None:
    assert only(sheet_of, FAST, gpu_run(load=[load("distill", [379, 380])])).n_needed == 5


def test_a_round_with_errors_and_another_concurrency_do_not_count(sheet_of: SheetOf) -> None:
    broken = load("distill", [379] * 6)
    for one in broken["rounds"]:
        one["errors"] = {"timeout": 1}
    elsewhere = load("distill", [379] * 6, concurrency=8)
    assert only(sheet_of, FAST, gpu_run(load=[broken, elsewhere])).outcome is Outcome.NOT_TESTABLE


def test_what_no_device_can_do_stays_impossible_whatever_a_record_says(sheet_of: SheetOf) -> None:
    claim = FAST.replace("143", "1500")
    decision = only(sheet_of, claim, gpu_run(load=[load("distill", [1600] * 6)]))
    assert decision.outcome is Outcome.IMPOSSIBLE
    assert "1,500 tok/s are 136 %" in decision.why
    assert "1,600 tok/s" in decision.measured


def test_a_first_token_before_the_weights_could_be_read_is_impossible(sheet_of: SheetOf) -> None:
    claim = 'kind = "first token"\nmodel = "distill"\nholds = "at most"\nvalue = "9 ms"'
    assert only(sheet_of, claim, device="Tesla T4").outcome is Outcome.IMPOSSIBLE
    assert only(sheet_of, claim, device=H100).outcome is Outcome.NOT_TESTABLE


def test_a_ratio_is_that_of_the_interleaved_rounds(sheet_of: SheetOf) -> None:
    claim = f'{RATIO}of = "speed"\nvalue = 1.4'
    drifting = [100, 200, 300, 400, 500, 600]
    evidence = gpu_run(load=[load("distill", [140, 281, 419, 560, 701, 839]), load("math", drifting)])
    assert only(sheet_of, claim, evidence).outcome is Outcome.CONFIRMED
    level = gpu_run(load=[load("distill", [101, 199, 302, 398, 505, 600]), load("math", drifting)])
    assert only(sheet_of, claim, level).outcome is Outcome.REFUTED


def test_rounds_without_their_partner_are_left_out_and_the_others_stay_paired(sheet_of: SheetOf) -> None:
    claim = f'{RATIO}of = "first token"\nvalue = 1.0'
    waits = [0.01 * 2**i for i in range(8)]
    ours, theirs = load("distill", [1] * 8, waits), load("math", [1] * 8, waits)
    ours["rounds"][1]["errors"] = {"reset": 1}
    theirs["rounds"][6]["errors"] = {"reset": 1}
    decision = only(sheet_of, claim, gpu_run(load=[ours, theirs]))
    assert (decision.outcome, "6 interleaved rounds" in decision.measured) == (Outcome.CONFIRMED, True)


def test_one_start_decides_no_start_up_time(sheet_of: SheetOf) -> None:
    claim = 'kind = "cold start"\nmodel = "distill"\nholds = "at most"\nvalue = "9 s"'
    start = {"row": "distill", "ready_s": 149.0, "command": "vllm serve --load-format dummy"}
    assert only(sheet_of, claim, gpu_run(servers=[start])).n_needed == 5
    assert only(sheet_of, claim, gpu_run(servers=[start] * 5)).outcome is Outcome.REFUTED


def test_peak_memory_is_read_of_either_side(sheet_of: SheetOf) -> None:
    verdict = {"metric": "peak device memory ratio", "candidate": 36.1e9, "baseline": 36.0e9}
    claim = 'kind = "peak memory"\nholds = "at most"\nvalue = "8.9 GB"\nmodel = '
    for row, shown in (("distill", "36.1 GB"), ("math", "36.0 GB")):
        decision = only(sheet_of, f'{claim}"{row}"', gpu_run(verdicts=[verdict]))
        assert (decision.outcome, shown in decision.measured) == (Outcome.REFUTED, True)
    ratio = only(sheet_of, f'{RATIO}of = "peak memory"\nvalue = 0.831', gpu_run(verdicts=[verdict]))
    assert (ratio.outcome, "×1.003" in ratio.measured) == (Outcome.REFUTED, True)


def test_less_memory_than_the_weights_is_impossible(sheet_of: SheetOf) -> None:
    claim = 'kind = "peak memory"\nmodel = "distill"\nholds = "at most"\nvalue = "3.5 GB"'
    assert only(sheet_of, claim, device=H100).outcome is Outcome.IMPOSSIBLE
    assert only(sheet_of, claim.replace("3.5", "3.6"), device=H100).outcome is Outcome.NOT_TESTABLE


def test_a_quantised_build_is_not_judged_by_the_plain_one(sheet_of: SheetOf) -> None:
    claim = 'kind = "peak memory"\nmodel = "distill"\nstored = "int8"\nholds = "at least"\nvalue = "8 GB"'
    plain = {"metric": "peak device memory ratio", "candidate": 36.1e9, "baseline": 36.0e9}
    assert only(sheet_of, claim, gpu_run(verdicts=[plain])).outcome is Outcome.NOT_TESTABLE
    built = gpu_run(verdicts=[plain], candidates=["distill-int8"], baseline="distill")
    assert only(sheet_of, claim, built).outcome is Outcome.CONFIRMED


def answers(correct: int, wrong: int, infra: int = 0) -> dict[str, Any]:
    outcomes = {"correct": correct, "wrong": wrong, "infra": infra}
    return {"row": "distill", "task": "gsm8k", "variant": "as promised", "outcomes": outcomes}


GSM8K = 'kind = "accuracy"\nmodel = "distill"\ntask = "gsm8k"\nholds = "at least"\nvalue = "76.3 %"\n'


def test_an_accuracy_is_decided_by_exact_bounds_and_what_failed_elsewhere_is_no_wrong_answer(
    sheet_of: SheetOf,
) -> None:
    assert only(sheet_of, GSM8K, gpu_run(answers=[answers(1050, 269)])).outcome is Outcome.CONFIRMED
    assert only(sheet_of, GSM8K, gpu_run(answers=[answers(970, 349)])).outcome is Outcome.REFUTED
    undecided = only(sheet_of, GSM8K, gpu_run(answers=[answers(990, 319, 10)]))
    assert (undecided.outcome, "990 of 1,309 items" in undecided.measured) == (Outcome.UNDECIDED, True)
    assert undecided.n_needed is not None
    assert undecided.n_needed > 1309


def test_answers_of_random_weights_say_nothing(sheet_of: SheetOf) -> None:
    server = {"row": "distill", "ready_s": 1.0, "command": "vllm serve x --load-format=dummy --port 1"}
    decision = only(sheet_of, GSM8K, gpu_run(answers=[answers(1319, 0)], servers=[server]))
    assert decision.outcome is Outcome.NOT_TESTABLE
    assert "random numbers" in decision.why


@pytest.mark.parametrize(
    ("value", "items", "samples", "possible"),
    [
        ("76.3 %", 1319, 1, True),
        ("83.9 %", 500, 1, False),  # one answer to each of 500 items moves by 0.2 points
        ("83.9 %", 500, 64, True),
        ("28.9 %", 30, 1, False),
        ("28.9 %", 30, 64, True),
        ("30 %", 30, 1, True),
    ],
)
def test_a_share_that_no_count_gives_is_impossible(
    sheet_of: SheetOf, value: str, items: int, samples: int, possible: bool
) -> None:
    protocol = f"protocol = {{ items = {items}, samples = {samples} }}"
    decision = only(sheet_of, GSM8K.replace("76.3 %", value) + protocol)
    assert (decision.outcome is Outcome.NOT_TESTABLE) == possible
    assert (decision.outcome is Outcome.IMPOSSIBLE) != possible


def test_figures_further_apart_than_chance_are_still_not_measured(sheet_of: SheetOf) -> None:
    claim = 'kind = "difference"\nmodel = "distill"\nagainst = "math"\nvalue = "40 points"\n'
    claim += 'figures = ["39.5 %", "79.5 %"]\nprotocol = { items = 1319 }'
    decision = only(sheet_of, claim)
    assert (decision.outcome, decision.measured[:5]) == (Outcome.NOT_TESTABLE, "-40.0")


@pytest.mark.parametrize(
    "claim",
    [
        'kind = "recommended"\nmodel = "distill"\nkey = "top_p"\nvalue = 0.95',
        'kind = "served id"\nmodel = "distill"\nvalue = "org/distill"',
    ],
)
def test_that_two_publish_the_same_confirms_nothing(sheet_of: SheetOf, claim: str) -> None:
    assert only(sheet_of, claim).outcome is Outcome.NOT_TESTABLE
    other = claim.replace("0.95", "0.9").replace("org/distill", "distill")
    assert only(sheet_of, other).outcome is Outcome.REFUTED


def test_a_size_that_only_no_format_reaches_is_refuted_and_not_impossible(sheet_of: SheetOf) -> None:
    claim = 'kind = "size"\nmodel = "math"\nstored = "int8"\nvalue = "1.5 GB"\ntolerance = "5 %"'
    decision = only(sheet_of, claim)
    assert decision.outcome is Outcome.REFUTED
    assert "which no format does, are they 1.54 GB" in decision.why
    assert only(sheet_of, claim.replace("1.5 GB", "1.8 GB")).outcome is Outcome.CONFIRMED


def test_a_record_of_other_models_is_refused(sheet_of: SheetOf) -> None:
    with pytest.raises(
        UsageError, match="profile embedded, the claims are about the models of the profile gpu"
    ):
        decide_all(sheet_of(FAST), "CPU", gpu_run(profile="embedded"))


def test_what_was_measured_here_says_nothing_of_the_device_that_is_named(sheet_of: SheetOf) -> None:
    claim = FAST.replace("143", "90") + '\nprotocol = { device = "T4" }'
    there, here = decide_all(sheet_of(claim), "CPU", gpu_run(load=[load("distill", [379] * 6)]))
    assert (there.device, there.outcome) == ("T4", Outcome.NOT_TESTABLE)
    assert (here.device, here.outcome) == (H100, Outcome.CONFIRMED)
    assert here.why.endswith("is claimed of a T4")


def test_a_ratio_of_starts_is_as_uncertain_as_both_sides(sheet_of: SheetOf) -> None:
    def starts(row: str, seconds: list[float]) -> list[dict[str, Any]]:
        return [{"row": row, "ready_s": each, "command": ""} for each in seconds]

    claim = f'{RATIO}of = "cold start"\nvalue = 1.0'
    steady = gpu_run(servers=starts("distill", [100.0] * 5) + starts("math", [100.0] * 5))
    assert only(sheet_of, claim, steady).outcome is Outcome.CONFIRMED
    noisy = [90.0, 95.0, 100.0, 105.0, 110.0]
    unsteady = only(sheet_of, claim, gpu_run(servers=starts("distill", noisy) + starts("math", noisy)))
    assert unsteady.outcome is Outcome.UNDECIDED
    assert "×0.818 … ×1.222" in unsteady.measured


@pytest.mark.parametrize(
    ("own", "outcome", "said"),
    [
        ("", Outcome.REFUTED, "not quantised that way"),
        ('quantization_config = { quant_method = "gptq" }', Outcome.REFUTED, "quantised with gptq"),
        ('quantization_config = { quant_method = "awq" }', Outcome.NOT_TESTABLE, "takes a start"),
    ],
)
def test_a_quantisation_starts_only_where_the_checkpoint_names_it(
    sheet_of: SheetOf, own: str, outcome: Outcome, said: str
) -> None:
    shapes = "hidden_size = 8, intermediate_size = 8, num_hidden_layers = 1, num_attention_heads = 1"
    config = f'model_type = "qwen2", {shapes}, vocab_size = 8, max_position_embeddings = 8'
    model = f'[model.small]\nweights = "x"\nconfig = {{ {config}{", " * bool(own)}{own} }}'
    decision = only(sheet_of, f'kind = "starts"\nmodel = "small"\nvalue = "awq"\n{model}')
    assert (decision.outcome, said in decision.why) == (outcome, True)
