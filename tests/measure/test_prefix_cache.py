"""The same answers from a cold and from a warm prefix cache: which tokens are compared, and what is not judged."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pytest_llmperf.client.generated_tokens import GeneratedTokens
from pytest_llmperf.measure.prefix_cache import _compared, same_tokens

TOP = ({"a": -0.1, "b": -2.5}, {"c": -0.2, "d": -1.8}, {"e": -0.3, "f": -1.4})
COLD = GeneratedTokens((7, 8), (1, 2, 3), (-0.1, -0.2, -0.3), texts=("a", "c", "e"), top=TOP)


def test_the_same_answer_is_compared_as_a_whole() -> None:
    warm = replace(COLD, log_probabilities=(-0.1, -0.21, -0.3))
    both = same_tokens(COLD, warm)
    assert both is not None
    assert [side.log_probabilities for side in both] == [(-0.1, -0.2, -0.3), (-0.1, -0.21, -0.3)]
    assert both[0].texts == ("a", "c", "e")


@pytest.mark.parametrize(("top", "counts"), [({"c": -0.9, "d": -0.5}, -0.9), ({"d": -0.5, "x": -1.5}, -1.5)])
def test_a_differing_token_ends_the_comparison_and_counts_with_what_the_other_side_makes_of_it(
    top: dict[str, float], counts: float
) -> None:
    warm = replace(COLD, answer=(1, 4, 5), texts=("a", "d", "f"), top=(TOP[0], top, TOP[2]))
    both = same_tokens(COLD, warm)
    assert both is not None
    assert both[0].log_probabilities == (-0.1, -0.2)
    assert both[1].log_probabilities == (-0.1, counts)


def test_without_alternatives_a_differing_token_loses_the_answer() -> None:
    assert same_tokens(COLD, replace(COLD, answer=(9, 2, 3), top=())) is None
    assert same_tokens(COLD, GeneratedTokens(error="HTTP 500")) is None


@pytest.mark.parametrize(
    ("cold", "warm", "scored", "why"),
    [
        ([0, 0], [16, 0], [True, False], ""),
        ([0, 0], [16, None], [True, False], ""),
        ([0, 0], [0, 0], [False, False], "no prompt was found"),
        ([16, 0], [32, 32], [True, True], "the first answers found 16 prompt tokens"),
        ([None, None], [None, None], [False, False], "nothing shows that its prefix cache was used"),
    ],
)
def test_only_prompts_that_were_found_in_the_cache_are_judged(
    cold: list[int | None], warm: list[int | None], scored: list[bool], why: str
) -> None:
    found = _compared(*([replace(COLD, cached=each) for each in side] for side in (cold, warm)))
    assert [scores is not None for scores in found.scores] == scored
    assert found.cached_tokens == sum(each or 0 for each in warm)
    assert why in found.unusable
    assert bool(found.unusable) == bool(why)
    for both in filter(None, found.scores):
        assert not math.fsum(a - b for a, b in zip(*(side.log_probabilities for side in both), strict=True))
