"""How much is measured is the profile's to say, and a call's; what cannot be judged is refused with what is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.config.catalog import load_catalog
from pytest_llmperf.config.sizes import EMBEDDED, GPU, LEAST_ROUNDS, LoadShape, Sizes
from pytest_llmperf.errors import CatalogError, UsageError
from pytest_llmperf.stats import hodges_lehmann

PROFILE = """
[profile.p]
candidate = "a"
baseline = "a"
needs_cuda = {cuda}
[profile.p.model.a]
weights = "o/a"
max_model_len = 2048
[profile.p.model.a.sampling]
max_tokens = 100
[profile.p.sizes]
"""


def sizes(directory: Path, text: str, cuda: str = "true") -> Sizes:
    path = directory / "models.toml"
    path.write_text(PROFILE.format(cuda=cuda) + text)
    return load_catalog(path).profile("p").sizes


def test_what_a_profile_leaves_out_is_the_default_of_its_kind(tmp_path: Path) -> None:
    assert sizes(tmp_path, "") == GPU
    assert sizes(tmp_path, "", cuda="false") == EMBEDDED
    changed = sizes(tmp_path, "rounds = 30\nprompt_tokens = 1500\nrequests = 500\n")
    assert (changed.rounds, changed.prompt_tokens, changed.requests) == (30, 1500, 500)
    assert changed.items == GPU.items


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rounds = 4", "rounds = 4: fewer than 5 rounds give no interval; need 5 or more"),
        ("round = 30", "unknown key; did you mean rounds?"),
        ("prompt_token = 30", "did you mean prompt_tokens?"),
        ("items = 0", "must be at least 1"),
        ("items = 1.5", "must be an integer"),
        ("items = true", "must be an integer"),
        ("answer_tokens = 1", "must be at least 2"),
        ("requests = 9", "must be at least 10"),
        ("most_in_flight = 8", "must be at least in_flight, which is 64"),
        ("prompt_tokens = 2000", "need max_model_len = 2128, the row a has 2048"),
        ("answer_tokens = 2000", "need max_model_len = 2512, the row a has 2048"),
    ],
)
def test_a_size_that_cannot_be_judged_is_one_line_with_what_is_needed(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(CatalogError) as raised:
        sizes(tmp_path, text)
    assert str(raised.value).startswith("models.toml: [profile.p.sizes]")
    assert why in str(raised.value)


def test_more_requests_in_flight_at_first_raise_the_most(tmp_path: Path) -> None:
    assert sizes(tmp_path, "in_flight = 1024").most_in_flight == 1024


@pytest.mark.parametrize(
    ("of_row", "replicas", "flight"),
    [(None, 1, (64, 128)), (None, 4, (256, 512)), (10, 1, (10, 10)), (10, 4, (10, 10))],
)
def test_each_replica_gets_as_many_requests_as_a_server_of_one(
    of_row: int | None, replicas: int, flight: tuple[int, int]
) -> None:
    assert EMBEDDED.flight(of_row, replicas) == flight


def test_the_least_rounds_are_those_of_the_statistics() -> None:
    assert hodges_lehmann.least_n(0.95) == LEAST_ROUNDS


def test_a_call_chooses_what_it_needs_and_leaves_the_rest_to_the_profile() -> None:
    assert GPU.shape() == LoadShape(512, 128, 64)
    assert GPU.shape(prompt_tokens=2048, rounds=30) == LoadShape(2048, 128, 30)


def test_loads_that_differ_have_names_that_differ() -> None:
    assert GPU.shape().suffix(GPU) == ""
    assert GPU.shape(rounds=30).suffix(GPU) == ""
    assert GPU.shape(prompt_tokens=2048).suffix(GPU) == ", 2048 → 128 tokens"
    assert GPU.shape(answer_tokens=16).suffix(GPU) == ", 512 → 16 tokens"


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("rounds", 4, 5),
        ("rounds", 0, 5),
        ("rounds", True, 5),
        ("rounds", 8.0, 5),
        ("prompt_tokens", 0, 1),
        ("answer_tokens", 1, 2),
        ("answer_tokens", "8", 2),
    ],
)
def test_a_call_that_cannot_be_judged_is_refused_with_the_number_needed(
    name: str, value: int, least: int
) -> None:
    with pytest.raises(UsageError, match=f"{name}=.*need a whole number, {least} or more"):
        GPU.shape(**{name: value})
