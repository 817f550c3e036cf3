"""The sampling in force is known by parameter and origin on both sides, and told where the sides differ."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.config.catalog import load_catalog
from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import CatalogError
from pytest_llmperf.json_values import object_of
from pytest_llmperf.measure.sampling import (
    ENGINE,
    PARAMETERS,
    REQUEST,
    UNKNOWN,
    WEIGHTS,
    SamplingBook,
    Setting,
    differences,
    filled_in,
    in_force,
)
from pytest_llmperf.serving.command import spec_for

ROW = Model(name="distill", profile="p", weights="w")
BODY = {"temperature": 0.0, "top_p": 1.0, "max_tokens": 64, "seed": 0}
PENALTY = {"repetition_penalty": 1.05, "top_k": 20, "temperature": 0.7, "min_p": None}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "generation_config.json").write_text(json.dumps(PENALTY))
    return tmp_path


def row(**changes: Any) -> Model:
    return dataclasses.replace(ROW, **changes)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (row(), ("--generation-config", "vllm")),
        (row(generation_config="weights"), ("--generation-config", "auto")),
        (row(arguments=("--generation-config", "auto")), ("--generation-config", "auto")),
        (row(arguments=("--generation_config=/g",)), ("--generation_config=/g",)),
        (row(engine="transformers"), ("--generation-config", "neutral")),
        (row(engine="transformers", generation_config="weights"), ("--generation-config", "weights")),
    ],
)
def test_a_started_server_fills_in_nothing_unless_the_row_asks_for_it(
    model: Model, words: tuple[str, ...]
) -> None:
    argv = spec_for(model, Path("/w")).argv
    named = [n for n, word in enumerate(argv) if word.replace("_", "-").startswith("--generation-config")]
    assert len(named) == 1
    assert argv[named[0] : named[0] + len(words)] == words


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (row(), Setting(1.0, ENGINE)),
        (row(generation_config="weights"), Setting(1.05, WEIGHTS)),
        (row(arguments=("--generation-config", "auto")), Setting(1.05, WEIGHTS)),
        (row(arguments=("--generation-config=auto", "--generation-config=vllm")), Setting(1.0, ENGINE)),
        (
            row(arguments=("--override-generation-config", '{"repetition_penalty": 1.2}')),
            Setting(1.2, "--override-generation-config"),
        ),
        (
            row(arguments=("--override-generation-config.repetition_penalty", "1.2")),
            Setting(1.2, "--override-generation-config"),
        ),
        (row(engine="url", base_url="http://127.0.0.1:1"), Setting(None, UNKNOWN)),
        (row(engine="transformers"), Setting(1.0, ENGINE)),
        (row(engine="transformers", generation_config="weights"), Setting(1.05, WEIGHTS)),
    ],
)
def test_what_the_server_fills_in_is_known_with_its_origin(
    model: Model, expected: Setting, weights: Path
) -> None:
    assert filled_in(model, weights)["repetition_penalty"] == expected


def test_what_the_request_says_comes_first_and_every_parameter_is_named(weights: Path) -> None:
    settings = in_force(BODY, filled_in(row(generation_config="weights"), weights))
    assert tuple(settings) == PARAMETERS
    assert settings["temperature"] == Setting(0.0, REQUEST)
    assert settings["top_k"] == Setting(20, WEIGHTS)
    assert settings["min_p"] == Setting(0.0, ENGINE), "null in the file sets nothing"
    assert settings["max_tokens"] == Setting(64, REQUEST)
    assert in_force({"max_completion_tokens": 9}, filled_in(row(), weights))["max_tokens"] == Setting(
        9, REQUEST
    )


def test_a_directory_of_another_generation_config_is_read(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "generation_config.json").write_text('{"top_k": 3}')
    model = row(arguments=("--generation-config", str(other)))
    assert filled_in(model, weights)["top_k"] == Setting(3, f"--generation-config {other}")


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_weights_that_cannot_be_read_here_leave_it_unknown(content: str | None, tmp_path: Path) -> None:
    asks = row(generation_config="weights")
    if content is not None:
        (tmp_path / "generation_config.json").write_text(content)
    directory = None if content is None else tmp_path
    assert filled_in(asks, directory)["top_k"] == Setting(None, UNKNOWN)
    assert filled_in(asks, directory)["stop"] == Setting(None, ENGINE)


def book() -> tuple[SamplingBook, list[str]]:
    told: list[str] = []
    return SamplingBook(told.append), told


def at(directory: Path | None) -> Callable[[], Path | None]:
    return lambda: directory


def test_sides_that_are_sampled_alike_are_not_told(weights: Path, tmp_path: Path) -> None:
    notes, told = book()
    notes.note(row(), at(weights), "gsm8k", BODY)
    notes.note(row(name="math"), at(tmp_path / "absent"), "gsm8k", BODY | {"seed": 7, "max_tokens": 9})
    assert told == []
    assert [entry["row"] for entry in notes.facts()] == ["distill", "math"]
    assert object_of(notes.facts()[0]["parameters"])["top_k"] == {"value": 0, "from": ENGINE}


def test_a_penalty_that_one_side_takes_from_its_weights_is_told_once(weights: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    notes, told = book()
    for what in ("gsm8k", "load"):
        notes.note(row(generation_config="weights"), at(weights), what, BODY)
        notes.note(row(name="math", generation_config="weights"), at(plain), what, BODY)
    assert told == [
        (
            f"distill and math are not sampled alike: top_k 20 ({WEIGHTS}) against 0 ({ENGINE}), "
            f"repetition_penalty 1.05 ({WEIGHTS}) against 1 ({ENGINE})"
        )
    ]


def test_different_temperatures_are_told_with_their_origin(weights: Path) -> None:
    notes, told = book()
    notes.note(row(), at(weights), "gsm8k", BODY | {"temperature": 0.6})
    notes.note(row(name="math"), at(weights), "gsm8k", BODY)
    assert told == ["distill and math are not sampled alike: temperature 0.6 (request) against 0 (request)"]


def test_what_is_not_known_of_a_server_that_others_started_is_said_to_be_unknown(weights: Path) -> None:
    notes, told = book()
    notes.note(row(), at(weights), "gsm8k", BODY)
    notes.note(row(name="there", engine="url", base_url="http://127.0.0.1:1"), at(None), "gsm8k", BODY)
    (line,) = told
    assert line.startswith("there: its server's default for top_k, min_p, repetition_penalty, ")
    assert "not known" in line
    assert "temperature" not in line, "the request says it"


def test_two_servers_that_others_started_may_differ_unseen_and_both_are_told() -> None:
    notes, told = book()
    for name in ("here", "there"):
        notes.note(row(name=name, engine="url", base_url="http://127.0.0.1:1"), at(None), "load", BODY)
    assert [line.partition(":")[0] for line in told] == ["here", "there"]


def test_one_row_alone_and_different_questions_are_not_compared(weights: Path) -> None:
    notes, told = book()
    notes.note(row(), at(weights), "gsm8k", BODY)
    notes.note(row(name="math"), at(weights), "math500", BODY | {"temperature": 0.6})
    assert told == []


def test_equal_values_of_different_origin_are_no_difference() -> None:
    settings = filled_in(row(), None)
    assert differences(settings, settings | {"top_k": Setting(0, "--override-generation-config")}) == {}


def test_the_catalogue_takes_the_two_words_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    text = '[profile.p]\ncandidate = "m"\nbaseline = "m"\n[profile.p.model.m]\nweights = "org/name"\n'
    file.write_text(text + 'generation_config = "weights"\n')
    assert load_catalog(file).profile("p").model("m").generation_config == "weights"
    file.write_text(text + 'generation_config = "auto"\n')
    with pytest.raises(CatalogError, match="must be one of neutral, weights"):
        load_catalog(file)
    file.write_text(text + 'engine = "url"\nbase_url = "http://127.0.0.1:1"\ngeneration_config = "weights"\n')
    with pytest.raises(CatalogError, match="starts nothing that could take it"):
        load_catalog(file)
