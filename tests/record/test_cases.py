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

from pytest_llmperf.gates.answer_cases import MarginCase, ShareCase
from pytest_llmperf.gates.case import Case
from pytest_llmperf.gates.macro_f1 import MacroF1Case
from pytest_llmperf.gates.mean_score import MeanScoreCase
from pytest_llmperf.gates.measured_cases import (
    KINDS,
    BracketCase,
    QuantileCase,
    RatioCase,
    ValueCase,
    ValueRatioCase,
)
from pytest_llmperf.gates.per_correct import PerCorrectCase
from pytest_llmperf.gates.perplexity import PerplexityCase
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.record.cases import case_from_json, case_to_json


def there_and_back(case: Case) -> Case:
    return case_from_json(json.loads(json.dumps(case_to_json(case), allow_nan=False)))


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
def quantiles(draw: st.DrawFn) -> QuantileCase:
    values = draw(st.lists(samples, max_size=100))
    groups = st.lists(st.integers(0, 9) | names, min_size=len(values), max_size=len(values))
    return draw(
        st.builds(
            QuantileCase,
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
spent = st.dictionaries(names, st.none() | costs, max_size=60)

cases: dict[str, st.SearchStrategy[Case]] = {
    "bracket": st.builds(
        BracketCase,
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
        PerplexityCase,
        bound=factors,
        candidate=documents,
        baseline=st.none() | documents,
        at_least=directions,
        **common,
    ),
    "macro-F1": st.builds(
        MacroF1Case,
        bound=shares,
        candidate=choices,
        baseline=st.none() | choices,
        classes=st.just(("A", "B")),
        **common,
    ),
    "mean score": st.builds(
        MeanScoreCase,
        bound=shares,
        candidate=scored,
        baseline=st.none() | scored,
        **common,
    ),
    "per correct": st.builds(
        PerCorrectCase,
        bound=factors,
        unit=st.just("tokens"),
        candidate=spent,
        baseline=st.none() | spent,
        at_least=directions,
        **common,
    ),
    "share": st.builds(ShareCase, bound=shares, candidate=outcomes, at_least=directions, **common, **answers),
    "margin": st.builds(
        MarginCase,
        bound=st.floats(-0.5, 0.5),
        candidate=outcomes,
        baseline=outcomes,
        lower_is_better=directions,
        **common,
        **answers,
    ),
    "quantile": quantiles(),
    "ratio": st.builds(
        RatioCase,
        bound=factors,
        starts=st.lists(pairs, max_size=5),
        unit=st.just("s"),
        at_least=directions,
        max_lost_share=shares,
        **common,
    ),
    "value": st.builds(
        ValueCase,
        bound=factors,
        value=samples,
        unit=st.just("bytes"),
        at_least=directions,
        may_be_zero=st.booleans(),
        **common,
    ),
    "value ratio": st.builds(
        ValueRatioCase,
        bound=factors,
        candidate=samples,
        baseline=samples,
        unit=st.just("s"),
        at_least=directions,
        **common,
    ),
}


def test_every_kind_is_tried_below() -> None:
    assert cases.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(max_examples=40)
def test_a_case_judges_as_it_did(kind: str, data: st.DataObject) -> None:
    case = data.draw(cases[kind])
    back = there_and_back(case)
    assert type(back) is KINDS[kind]
    assert back.judge() == case.judge()
    # Twice, since the first way may change what does not matter to a verdict (the names of groups, ints into floats).
    assert case_to_json(there_and_back(back)) == case_to_json(back)


RIGHT: Mapping[str, bool] = {f"i{k}": k % 5 != 0 for k in range(400)}
SHARE = ShareCase(
    metric="accuracy", bound=0.7, origin="b.toml [a.any.accuracy] floor", candidate=RIGHT, at_least=True
)
EXAMPLES: dict[str, tuple[Case, Status]] = {
    "passed": (SHARE, Status.PASS),
    "early": (dataclasses.replace(SHARE, planned=1500), Status.PASS),
    "undecided": (dataclasses.replace(SHARE, bound=0.79), Status.INCONCLUSIVE),
    "no bound": (dataclasses.replace(SHARE, bound=None, refused="no budget for device CPU"), Status.INVALID),
    "K samples": (dataclasses.replace(SHARE, candidate={i: (r, True, None) for i, r in RIGHT.items()}, bound=0.5,
                                      max_lost_share=0.5), Status.PASS),
    "margin": (MarginCase(metric="accuracy", bound=0.05, candidate=RIGHT, baseline=RIGHT, lower_is_better=False),
               Status.PASS),
    "starts": (RatioCase(metric="tpot", bound=1.3, unit="s", at_least=False,
                         starts=[[*[(1.0 + k / 100, 1.0)] * 5, (None, 1.0)] for k in range(5)]), Status.PASS),
    "groups": (QuantileCase(metric="ttft", bound=2.0, samples=[1.0 + k / 1000 for k in range(640)], q=0.95, unit="s",
                            at_least=False, groups=[(k // 4, "round") for k in range(640)]), Status.PASS),
    "NaN": (QuantileCase(metric="ttft", bound=2.0, samples=[1.0] * 99 + [math.nan], q=0.5, unit="s", at_least=False),
            Status.INVALID),
    "not measured": (ValueCase(metric="peak", bound=1.0, value=None, unit="bytes", at_least=False), Status.INVALID),
    "one each": (ValueRatioCase(metric="peak", bound=1.1, candidate=1.0, baseline=1.0, unit="bytes", at_least=False),
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
    assert there_and_back(case).damaged(0.2, 3).judge() == case.damaged(0.2, 3).judge()
    assert case.damaged(0.2, 3).judge() != case.judge(), "nothing was planted"


def test_what_asks_a_server_for_more_is_left_behind() -> None:
    case = dataclasses.replace(SHARE, planned=1500, more=lambda n: ({}, {}))
    assert "more" not in case_to_json(case)
    assert there_and_back(case).settled().size == 400


def test_rounds_come_back_as_pairs_and_an_item_may_have_any_name() -> None:
    ratio = there_and_back(EXAMPLES["starts"][0])
    assert isinstance(ratio, RatioCase)
    assert ratio.starts[0][0] == (1.0, 1.0)
    strange = dataclasses.replace(SHARE, candidate={"float": True, "": False, "\u2028\ud800": None})
    back = there_and_back(strange)
    assert isinstance(back, ShareCase)
    assert back.candidate == strange.candidate


def test_what_numpy_counted_is_kept_as_what_it_is() -> None:
    odd: Any = {"a": numpy.True_, "b": [numpy.False_, True]}
    back = there_and_back(dataclasses.replace(SHARE, candidate=odd))
    assert isinstance(back, ShareCase)
    assert back.candidate == {"a": True, "b": [False, True]}
    value: Any = numpy.float32(0.5)
    scalar = there_and_back(ValueCase(metric="m", bound=1.0, value=value, unit="s", at_least=False))
    assert isinstance(scalar, ValueCase)
    assert (scalar.value, type(scalar.value)) == (0.5, float)


@pytest.mark.parametrize("outcome", [0.7, math.nan, "yes", object()])
def test_what_is_no_outcome_stays_invalid(outcome: Any) -> None:
    case = dataclasses.replace(SHARE, candidate={**RIGHT, "odd": outcome})
    assert case.judge().status is Status.INVALID
    assert there_and_back(case).judge().status is Status.INVALID


@pytest.mark.parametrize("fields", [{}, {"kind": "opinion"}, {"kind": "share"}, {"kind": "value", "much": 1}])
def test_what_is_no_case_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        case_from_json(fields)
