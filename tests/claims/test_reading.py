"""A file of claims: every mistake is one line that names file, claim, key and what would be right."""

from __future__ import annotations

import pytest

from pytest_llmperf.errors import CatalogError

from .conftest import SheetOf

SPEED = 'kind = "speed"\nmodel = "distill"\nholds = "at least"\nvalue = "143 tok/s"\n'
DIFFERENCE = 'kind = "difference"\nmodel = "math"\nagainst = "distill"\nvalue = "1 point"\n'


def test_a_claim_is_read_with_its_protocol(sheet_of: SheetOf) -> None:
    (claim,) = sheet_of(f'{SPEED}concurrency = 8\nprotocol = {{ device = "T4", items = 3 }}').claims
    assert (claim.name, claim.words, claim.source, claim.value, claim.unit) == (
        "it",
        "w",
        "s",
        143.0,
        "tok/s",
    )
    assert (claim.concurrency, claim.protocol.device, claim.protocol.items) == (8, "T4", 3)
    assert claim.model.architecture.parameters == 1_777_088_000


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (SPEED.replace("speed", "sped"), 'kind = "sped": must be one of'),
        (SPEED.replace("distill", "distil"), "unknown model; did you mean distill"),
        (SPEED.replace("143 tok/s", "143"), 'value = "143"'),
        (SPEED + "concurency = 8", "unknown key; did you mean concurrency"),
        (SPEED + 'task = "gsm8k"', "task = "),
        (SPEED.replace('holds = "at least"\n', ""), "holds: missing"),
        (SPEED.replace("at least", "about"), "tolerance: missing"),
        (SPEED + "protocol = { gpu = 1 }", "gpu = 1: unknown key"),
        ('kind = "recommended"\nmodel = "distill"\nkey = "top_k"\nvalue = 1', "did you mean top_p"),
        ('kind = "size"\nmodel = "math"\nvalue = "3 GB"\ntolerance = "1 %"\nstored = "int9"', "one of plain"),
        (
            DIFFERENCE + 'figures = ["1 %", "2 %"]',
            "needs protocol.items",
        ),
        (
            DIFFERENCE + 'figures = ["1 %"]\nprotocol = { items = 9 }',
            "must be two shares",
        ),
    ],
)
def test_a_mistake_is_named(sheet_of: SheetOf, claim: str, said: str) -> None:
    with pytest.raises(CatalogError, match=r"claims\.toml: \[claim\.it") as caught:
        sheet_of(claim)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_whose_size_cannot_be_computed_is_named(sheet_of: SheetOf) -> None:
    with pytest.raises(CatalogError, match=r"\[model\.m\] config = .*model_type = 'mamba'"):
        sheet_of(f'{SPEED}[model.m]\nweights = "x"\nconfig = {{ model_type = "mamba" }}')
