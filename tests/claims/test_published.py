"""The files that ship: every row ends as the arithmetic says, and none is confirmed unseen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from contrib.claims.__main__ import main
from contrib.claims.claim import Decision, Outcome
from contrib.claims.deciding import decide_all
from contrib.claims.measured import Evidence
from contrib.claims.reading import read_claims
from pytest_llmperf.prompts.variants import at_temperature
from pytest_llmperf.record.store import read_record

from .conftest import HERE, PUBLISHED, ROOT, gpu_run

ARTICLE = read_claims(PUBLISHED / "claims.toml")
CARD = read_claims(PUBLISHED / "model_card.toml")


def outcomes(decisions: list[Decision]) -> dict[str, Outcome]:
    return {one.name: one.outcome for one in decisions}


def test_without_weights_and_gpu_only_arithmetic_decides() -> None:
    decided = {
        name: outcome for name, outcome in outcomes(decide_all(ARTICLE, "CPU")).items() if outcome.decided
    }
    assert decided == {
        "weights-16-bit-distill": Outcome.IMPOSSIBLE,
        "weights-16-bit-math": Outcome.CONFIRMED,
        "weights-8-bit-distill": Outcome.IMPOSSIBLE,
        "smaller-than-the-baseline": Outcome.IMPOSSIBLE,
        "smaller-by-quantisation": Outcome.IMPOSSIBLE,
        "context": Outcome.CONFIRMED,
        "speed-distill, T4": Outcome.IMPOSSIBLE,
        "top-p": Outcome.REFUTED,
        "leading-newline": Outcome.REFUTED,
        "awq-starts": Outcome.REFUTED,
        "served-id": Outcome.REFUTED,
    }


def test_every_claim_about_a_device_is_judged_there_and_here() -> None:
    found = outcomes(decide_all(ARTICLE, "NVIDIA H100 80GB HBM3"))
    assert found["speed-distill, T4"] is Outcome.IMPOSSIBLE
    assert found["speed-distill, NVIDIA H100 80GB HBM3"] is Outcome.NOT_TESTABLE
    on_a_t4 = outcomes(decide_all(ARTICLE, "Tesla T4"))
    assert on_a_t4["speed-distill, Tesla T4"] is Outcome.IMPOSSIBLE
    assert "speed-distill, T4" not in on_a_t4


def test_the_impossible_ones_show_their_arithmetic() -> None:
    why = {one.name: one.why for one in decide_all(ARTICLE, "CPU") if one.outcome is Outcome.IMPOSSIBLE}
    assert "1,777,088,000 parameters in its own dtype are 3.55 GB" in why["weights-16-bit-distill"]
    assert "every parameter in 8 bits they would still be 1.78 GB" in why["weights-8-bit-distill"]
    assert "3.55 GB against 3.09 GB is +15 %" in why["smaller-than-the-baseline"]
    assert "at most 103.8 tok/s, and 143 tok/s are 138 %" in why["speed-distill, T4"]


def test_the_published_difference_is_within_chance_and_says_how_many_items_would_tell() -> None:
    difference = next(one for one in decide_all(ARTICLE, "CPU") if one.name == "gsm8k-difference")
    assert difference.outcome is Outcome.UNDECIDED
    assert difference.measured == "-1.8 points, 95 % interval -5.0 … +1.4"
    assert "z = -1.10, p = 0.27" in difference.why
    assert difference.n_needed == pytest.approx(6735, rel=0.01)


def test_a_second_source_is_data_alone() -> None:
    assert [one.written for one in CARD.claims] == ["83.9 %", "28.9 %"]
    assert {one.outcome for one in decide_all(CARD, "CPU")} == {Outcome.NOT_TESTABLE}


# What the article says, figure by figure, and the claims that stand for it.
SAID = {
    "weights FP16, 3.0 GB each": ("weights-16-bit-distill", "weights-16-bit-math"),
    "INT8 1.5 GB": ("weights-8-bit-distill",),
    "volume -60 %": ("smaller-than-the-baseline", "smaller-by-quantisation"),
    "cold start 8.2 against 9.7 s": ("cold-start-distill", "cold-start-math", "cold-start-ratio"),
    "TTFT 68 against 92 ms": ("first-token-distill", "first-token-math", "first-token-ratio"),
    "143 against 102 tokens/s": ("speed-distill", "speed-math", "speed-ratio"),
    "peak memory 7.4 against 8.9 GB": ("peak-memory-distill", "peak-memory-math", "peak-memory-ratio"),
    "GSM8K zero-shot 76.3 against 78.1 %": ("gsm8k-distill", "gsm8k-math", "gsm8k-difference"),
    "accuracy retention above 85 %": ("retention",),
    "C4 perplexity +12 %": ("c4-perplexity",),
    "MedQA F1 +13.7 points": ("medqa-f1",),
    "first token under 100 ms when streaming": ("first-token-when-streaming",),
    "T of 1.0 and more leads to endless output": ("endless-output",),
    "a system prompt hurts": ("system-prompt",),
    "the boxed instruction helps": ("boxed-instruction",),
    "a leading newline prevents skipped thinking": ("leading-newline", "newline-prevents-skipping"),
    "top_p 0.9": ("top-p", "top-p-is-as-good"),
    "at least 5 runs averaged": ("five-runs",),
    "--quantization awq on the plain checkpoint starts": ("awq-starts",),
    "the served id": ("served-id",),
    "4,096 context": ("context",),
    "INT8 needs 8 GB": ("int8-needs-8-gb",),
}


def test_every_figure_and_rule_of_the_article_is_a_claim_and_no_claim_is_of_anything_else() -> None:
    stood_for = [name for names in SAID.values() for name in names]
    assert sorted(stood_for) == sorted(one.name for one in ARTICLE.claims)


# That of a GPU first.
RECORDS = sorted(
    (path.relative_to(ROOT) for path in ROOT.glob("docs/evidence/*-claims-*.json")),
    key=lambda path: path.name.startswith("cpu"),
)
PAGES = {Path("docs", "claims.md"): RECORDS, **{one.with_suffix(".md"): [one] for one in RECORDS}}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_is_what_its_command_writes_now(
    page: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    records = [text for record in PAGES[page] for text in ("--record", str(record))]
    sheets = [f"contrib/claims/suite/{name}.toml" for name in ("claims", "model_card")]
    assert main([*sheets, *records, "--markdown"]) == 0
    remedy = f"write it anew: python -m contrib.claims {' '.join(sheets + records)} --markdown > {page}"
    assert page.read_text(encoding="utf-8") == capsys.readouterr().out, remedy


def by_ending(sheet: str, evidence: Evidence) -> Counter[str]:
    """How many claims end as the first part of their names says; none ends otherwise."""
    found = outcomes(decide_all(read_claims(HERE / sheet), "ignored", evidence))
    words = {"physically impossible": "impossible", "not testable here": "unmeasured"}
    for name, outcome in found.items():
        assert name.partition("-")[0] == words.get(outcome.value, outcome.value), name
    return Counter(name.partition("-")[0] for name in found)


def test_claims_about_the_embedded_pair_end_as_a_real_run_says(embedded_run: Evidence) -> None:
    assert by_ending("embedded.toml", embedded_run) == {"confirmed": 9, "refuted": 6, "impossible": 1}
    assert by_ending("embedded_open.toml", embedded_run) == {"undecided": 3, "unmeasured": 1}


def test_without_a_record_the_same_claims_are_not_testable() -> None:
    found = outcomes(decide_all(read_claims(HERE / "embedded.toml"), "CPU"))
    by_arithmetic = ("size", "context", "smaller")
    left = [outcome for name, outcome in found.items() if not name.endswith(by_arithmetic)]
    assert left == [Outcome.NOT_TESTABLE] * 13


def test_the_sheets_lie_where_the_suite_looks_for_them() -> None:
    assert [path.name for path in sorted(Path(PUBLISHED).glob("*.toml"))] == [
        "claims.toml",
        "model_card.toml",
    ]


def test_a_verdict_of_that_name_and_unit_decides_a_claim_and_another_does_not() -> None:
    name = at_temperature(1.0).named("unfinished answers")
    verdict = {"metric": name, "unit": "points", "observed": 0.01, "interval": [0.0, 0.03], "n": 300}
    found = outcomes(decide_all(ARTICLE, "ignored", gpu_run(verdicts=[verdict])))
    assert found["endless-output"] is Outcome.REFUTED
    assert found["system-prompt"] is Outcome.NOT_TESTABLE
    share = gpu_run(verdicts=[verdict | {"unit": "share"}])
    assert outcomes(decide_all(ARTICLE, "ignored", share))["endless-output"] is Outcome.NOT_TESTABLE


def test_int8_needs_less_than_8_gb_by_the_parts_that_were_recorded_on_an_h100() -> None:
    record = ROOT / "docs" / "evidence" / "h100-claims-2026-11-28.json"
    decisions = decide_all(ARTICLE, "ignored", Evidence(read_record(record).as_json()))
    int8 = next(one for one in decisions if one.claim.name == "int8-needs-8-gb" and one.device != "T4")
    assert int8.outcome is Outcome.REFUTED
    assert "3.66 GB (2.34 GB of weights as they were loaded, and the 1.31 GB" in int8.why


def test_five_runs_are_undecided_by_arithmetic_which_says_how_many_answers_would_do() -> None:
    five = next(one for one in decide_all(ARTICLE, "CPU") if one.name == "five-runs")
    assert (five.outcome, five.n_needed) == (Outcome.UNDECIDED, 5)
    assert five.measured.startswith("+1.4 pts … +3.2 pts")
    assert "was measured" not in five.why
