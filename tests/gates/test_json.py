"""Gates with their data, through JSON and back: they judge as they did."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.gates.base import GATE_KINDS, Gate, gate_from_json
from pytest_llmperf.gates.bracket import BracketGate
from pytest_llmperf.gates.item_slice import GateSlice
from pytest_llmperf.gates.mean import MacroF1Gate, MeanScoreGate
from pytest_llmperf.gates.mean_ratio import LengthGate, PerCorrectGate, PerplexityGate
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.per_token import AgreementGate, DivergenceGate
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.quantile import QuantileGate
from pytest_llmperf.gates.ratio import RatioGate
from pytest_llmperf.gates.scalar import ScalarGate, ScalarRatioGate
from pytest_llmperf.gates.totals import TotalsGate
from pytest_llmperf.gates.verdict import Status

OURS = {kind: gate for kind, gate in GATE_KINDS.items() if gate.__module__.startswith("pytest_llmperf.")}


def there_and_back(case: Gate) -> Gate:
    return gate_from_json(json.loads(json.dumps(case.to_json(), allow_nan=False)))


names = st.text(max_size=8)
numbers = st.floats(1e-9, 1e6) | st.just(0.0) | st.just(math.nan) | st.just(math.inf) | st.integers(0, 100)
samples = st.none() | numbers
one_outcome = st.sampled_from([True, True, False, None])
outcomes = st.dictionaries(names, one_outcome | st.lists(one_outcome, max_size=4), max_size=40)
common: dict[str, st.SearchStrategy[Any]] = {
    "metric": names,
    "origin": names,
    "refused": st.sampled_from(["", "", "", "a warm cache"]),
}
answers = {"planned": st.none() | st.integers(1, 60), "noun": names, "max_lost_share": st.floats(0.0, 1.0)}
shares = st.floats(0.0, 1.0)
factors = st.floats(0.01, 100.0)
directions = st.booleans()
pairs = st.lists(st.tuples(samples, samples), max_size=12)


@st.composite
def quantiles(draw: st.DrawFn) -> QuantileGate:
    values = draw(st.lists(samples, max_size=100))
    groups = st.lists(st.integers(0, 9) | names, min_size=len(values), max_size=len(values))
    return draw(
        st.builds(
            QuantileGate,
            bound=factors,
            samples=st.just(values),
            q=st.floats(0.1, 0.9),
            unit=st.just("s"),
            at_least=directions,
            groups=st.none() | groups,
            errors=st.integers(0, 3),
            noun=names,
            max_error_share=shares,
            **common,
        )
    )


scores = st.none() | st.tuples(st.integers(1, 99), st.floats(-300.0, 0.0), st.floats(-9.0, 0.0))
documents = st.dictionaries(names, scores, max_size=20)
said = st.none() | st.tuples(st.sampled_from("AB"), st.none() | st.sampled_from("AB"))
choices = st.dictionaries(names, said, max_size=40)
scored = st.dictionaries(names, st.none() | shares, max_size=40)
costs = st.tuples(st.floats(0.0, 1e4), st.integers(0, 3))
amount = st.none() | st.tuples(st.integers(1, 99), st.just(0.0) | st.floats(1e-9, 1.0))
amounts = st.dictionaries(names, amount, max_size=60)
spent = st.dictionaries(names, st.none() | costs, max_size=60)

cases: dict[str, st.SearchStrategy[Gate]] = {
    "bracket": st.builds(
        BracketGate,
        bound=factors,
        unit=st.just("req/s"),
        at_least=directions,
        low=st.none() | factors,
        high=st.none() | factors,
        n=st.integers(0, 20),
        confidence=st.floats(0.5, 0.99),
        **common,
    ),
    "perplexity": st.builds(
        PerplexityGate,
        bound=factors,
        candidate=documents,
        baseline=st.none() | documents,
        at_least=directions,
        **common,
    ),
    "divergence": st.builds(
        DivergenceGate,
        bound=st.floats(0.0, 1.0),
        candidate=amounts,
        baseline=st.none() | amounts,
        factor=factors,
        **common,
    ),
    "agreement": st.builds(AgreementGate, bound=shares, candidate=amounts, **common),
    "macro-F1": st.builds(
        MacroF1Gate,
        bound=shares,
        candidate=choices,
        baseline=st.none() | choices,
        classes=st.just(("A", "B")),
        **common,
    ),
    "mean score": st.builds(
        MeanScoreGate,
        bound=shares,
        candidate=scored,
        baseline=st.none() | scored,
        **common,
    ),
    "per correct": st.builds(
        PerCorrectGate,
        bound=factors,
        unit=st.just("tokens"),
        candidate=spent,
        baseline=st.none() | spent,
        at_least=directions,
        **common,
    ),
    "length": st.builds(
        LengthGate,
        bound=factors,
        unit=st.just("tokens"),
        candidate=spent,
        baseline=st.none() | spent,
        at_least=directions,
        **common,
    ),
    "totals": st.builds(
        TotalsGate,
        bound=factors,
        unit=st.just("share"),
        at_least=directions,
        why_nothing=st.just("nothing was drafted"),
        candidate=st.lists(st.none() | st.tuples(factors, factors), max_size=12),
        baseline=st.none() | st.lists(st.none() | st.tuples(factors, factors), max_size=12),
        **common,
    ),
    "share": st.builds(
        ProportionGate, bound=shares, candidate=outcomes, at_least=directions, **common, **answers
    ),
    "margin": st.builds(
        PairedGate,
        bound=st.floats(-0.5, 0.5),
        candidate=outcomes,
        baseline=outcomes,
        at_least=directions,
        **common,
        **answers,
    ),
    "slice": st.builds(
        GateSlice,
        bound=shares,
        number=st.just(2),
        of=st.just(4),
        whole=st.just("{}"),
        items=st.integers(0, 500),
        unit=st.just("share"),
        available=st.none() | st.integers(0, 2000),
        endings=st.dictionaries(
            st.sampled_from(["candidate", "baseline"]),
            st.lists(st.dictionaries(st.sampled_from(["correct", "cut off"]), st.integers(1, 3)), max_size=5),
        ),
        waived_until=st.sampled_from(["", "2099-01-01"]),
        **common,
    ),
    "quantile": quantiles(),
    "ratio": st.builds(
        RatioGate,
        bound=factors,
        starts=st.lists(pairs, max_size=5),
        unit=st.just("s"),
        at_least=directions,
        max_lost_share=shares,
        **common,
    ),
    "value": st.builds(
        ScalarGate,
        bound=factors,
        value=samples,
        unit=st.just("bytes"),
        at_least=directions,
        may_be_zero=st.booleans(),
        **common,
    ),
    "value ratio": st.builds(
        ScalarRatioGate,
        bound=factors,
        candidate=samples,
        baseline=samples,
        unit=st.just("s"),
        at_least=directions,
        **common,
    ),
}


def test_every_kind_is_tried_below() -> None:
    assert cases.keys() == OURS.keys()


@pytest.mark.parametrize("kind", OURS)
@given(data=st.data())
@settings(max_examples=40)
def test_a_case_judges_as_it_did(kind: str, data: st.DataObject) -> None:
    case = data.draw(cases[kind])
    back = there_and_back(case)
    assert type(back) is GATE_KINDS[kind]
    assert back.judge() == case.judge()
    # Twice, since the first way may change what does not matter to a verdict (the names of groups, ints into floats).
    assert there_and_back(back).to_json() == back.to_json()


RIGHT: Mapping[str, bool] = {f"i{k}": k % 5 != 0 for k in range(400)}
SHARE = ProportionGate(
    metric="accuracy", bound=0.7, origin="b.toml [a.any.accuracy] floor", candidate=RIGHT, at_least=True
)
EXAMPLES: dict[str, tuple[Gate, Status]] = {
    "passed": (SHARE, Status.PASS),
    "early": (dataclasses.replace(SHARE, planned=1500), Status.PASS),
    "undecided": (dataclasses.replace(SHARE, bound=0.79), Status.INCONCLUSIVE),
    "no bound": (dataclasses.replace(SHARE, bound=None, refused="no budget for device CPU"), Status.INVALID),
    "K samples": (dataclasses.replace(SHARE, candidate={i: (r, True, None) for i, r in RIGHT.items()}, bound=0.5,
                                      max_lost_share=0.5), Status.PASS),
    "margin": (PairedGate(metric="accuracy", bound=0.05, candidate=RIGHT, baseline=RIGHT, at_least=True),
               Status.PASS),
    "starts": (RatioGate(metric="tpot", bound=1.3, unit="s", at_least=False,
                         starts=[[*[(1.0 + k / 100, 1.0)] * 5, (None, 1.0)] for k in range(5)]), Status.PASS),
    "groups": (QuantileGate(metric="ttft", bound=2.0, samples=[1.0 + k / 1000 for k in range(640)], q=0.95, unit="s",
                            at_least=False, groups=[(k // 4, "round") for k in range(640)]), Status.PASS),
    "NaN": (QuantileGate(metric="ttft", bound=2.0, samples=[1.0] * 99 + [math.nan], q=0.5, unit="s", at_least=False),
            Status.INVALID),
    "not measured": (ScalarGate(metric="peak", bound=1.0, value=None, unit="bytes", at_least=False), Status.INVALID),
    "one each": (ScalarRatioGate(metric="peak", bound=1.1, candidate=1.0, baseline=1.0, unit="bytes", at_least=False),
                 Status.PASS),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_a_run_keeps_gives_the_same_verdict_to_the_last_word(name: str) -> None:
    case, status = EXAMPLES[name]
    assert case.judge().status is status
    assert there_and_back(case).judge() == case.judge()


@pytest.mark.parametrize("name", [name for name, (_, status) in EXAMPLES.items() if status is Status.PASS])
def test_the_same_seed_plants_the_same_damage_into_what_came_back(name: str) -> None:
    case, _ = EXAMPLES[name]
    assert there_and_back(case).mutate(0.2, 3).judge() == case.mutate(0.2, 3).judge()
    assert case.mutate(0.2, 3).judge() != case.judge(), "nothing was planted"


def test_what_asks_a_server_for_more_is_left_behind() -> None:
    case = dataclasses.replace(SHARE, planned=1500, more=lambda n: ({}, {}))
    assert "more" not in case.to_json()
    assert there_and_back(case).settled().size == 400


def test_rounds_come_back_as_pairs_and_an_item_may_have_any_name() -> None:
    ratio = there_and_back(EXAMPLES["starts"][0])
    assert isinstance(ratio, RatioGate)
    assert ratio.starts[0][0] == (1.0, 1.0)
    strange = dataclasses.replace(SHARE, candidate={"float": True, "": False, "\u2028\ud800": None})
    back = there_and_back(strange)
    assert isinstance(back, ProportionGate)
    assert back.candidate == strange.candidate


def test_what_numpy_counted_is_kept_as_what_it_is() -> None:
    odd: Any = {"a": numpy.True_, "b": [numpy.False_, True]}
    back = there_and_back(dataclasses.replace(SHARE, candidate=odd))
    assert isinstance(back, ProportionGate)
    assert back.candidate == {"a": True, "b": (False, True)}
    value: Any = numpy.float32(0.5)
    scalar = there_and_back(ScalarGate(metric="m", bound=1.0, value=value, unit="s", at_least=False))
    assert isinstance(scalar, ScalarGate)
    assert (scalar.value, type(scalar.value)) == (0.5, float)


@pytest.mark.parametrize("outcome", [0.7, math.nan, "yes", object()])
def test_what_is_no_outcome_stays_invalid(outcome: Any) -> None:
    case = dataclasses.replace(SHARE, candidate={**RIGHT, "odd": outcome})
    assert case.judge().status is Status.INVALID
    assert there_and_back(case).judge().status is Status.INVALID


@pytest.mark.parametrize("fields", [{}, {"kind": "opinion"}, {"kind": "share"}, {"kind": "value", "much": 1}])
def test_what_is_no_case_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        gate_from_json(fields)
