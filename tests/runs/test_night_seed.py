"""The seed of a run: the one given, that of the run it belongs to, or a new draw."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from pytest_llmperf.client.answer_cache import AnswerCache, finish
from pytest_llmperf.config.run_config import Settings, read_options, resolve
from pytest_llmperf.measure.looks import SEEDS_APART, drawn, reseeded
from pytest_llmperf.runs.night_seed import SEEDS, night_seed
from tests.client.test_answer_cache import BODY, answer

SUITES = Path(__file__).parents[2] / "suites"


@pytest.fixture
def settings() -> Settings:
    given = {"models": SUITES / "models.toml", "budgets": SUITES / "budgets.toml", "profile": "embedded"}
    return resolve(read_options(given), None, "CPU")


def root(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def interrupted(directory: Path, run: str, seed: int) -> AnswerCache:
    """A run that kept an answer and ended."""
    log = AnswerCache(directory, run, "main")
    log.seed = seed
    log.keep("engine", BODY, answer())
    log.close()
    return log


def test_each_run_draws_a_seed_of_its_own(settings: Settings, tmp_path: Path) -> None:
    seeds = {night_seed(settings, root(tmp_path, f"run {n}"), None) for n in range(20)}
    assert len(seeds) > 15
    assert all(seed in SEEDS for seed in seeds)


def test_every_process_of_a_run_gets_the_same_seed(settings: Settings, tmp_path: Path) -> None:
    assert night_seed(settings, tmp_path, None) == night_seed(settings, tmp_path, None)


@pytest.mark.parametrize("given", [0, 7])
def test_a_seed_that_is_given_is_taken(settings: Settings, tmp_path: Path, given: int) -> None:
    interrupted(tmp_path / "answers", "before", 5)
    log = AnswerCache(tmp_path / "answers", "now", "main")
    assert night_seed(dataclasses.replace(settings, order_seed=given), tmp_path, log) == given


def test_a_further_look_has_the_seed_of_the_record_that_it_adds_to(
    settings: Settings, tmp_path: Path
) -> None:
    record = tmp_path / "first.json"
    record.write_text(json.dumps({"schema": "llmperf-record/1", "order_seed": 11}))
    assert night_seed(dataclasses.replace(settings, add=record), root(tmp_path, "state"), None) == 11


def test_a_further_look_has_the_order_of_a_record_that_is_older_than_the_seed_of_a_run(
    settings: Settings, tmp_path: Path
) -> None:
    record = tmp_path / "first.json"
    load = {"row": "distill", "rounds": [], "order_seed": 0}
    record.write_text(json.dumps({"schema": "llmperf-record/1", "load": [load]}))
    assert night_seed(dataclasses.replace(settings, add=record), root(tmp_path, "state"), None) == 0


def test_a_run_goes_on_with_the_seed_of_an_interrupted_one(settings: Settings, tmp_path: Path) -> None:
    interrupted(tmp_path / "answers", "before", 5)
    log = AnswerCache(tmp_path / "answers", "now", "main")
    assert night_seed(settings, root(tmp_path, "state"), log) == 5


def test_a_run_that_was_gone_on_with_and_ended_is_not_repeated(tmp_path: Path) -> None:
    """Also where none of its answers could be taken over: another night begins."""
    interrupted(tmp_path, "before", 5)
    interrupted(tmp_path, "after", 5)
    finish(tmp_path, "after")
    assert AnswerCache(tmp_path, "next", "main").seed_to_resume() is None
    assert AnswerCache(tmp_path, "next", "main", "all").seed_to_resume() == 5
    assert AnswerCache(tmp_path, "next", "main", "none").seed_to_resume() is None


def test_a_database_that_cannot_be_read_gives_no_seed(tmp_path: Path) -> None:
    log = AnswerCache(tmp_path, "now", "main")
    assert log.seed_to_resume() is None
    (tmp_path / "answers.sqlite3").write_bytes(b"no database" * 100)
    assert AnswerCache(tmp_path, "now", "main").seed_to_resume() is None


def test_both_sides_sample_from_the_seed_of_the_run(settings: Settings) -> None:
    assert drawn(settings, 0) == settings
    of_night = drawn(settings, 123_456)
    [candidate] = of_night.candidates
    by = candidate.sampling.seed - settings.candidates[0].sampling.seed
    assert by > 0
    assert of_night.baseline.sampling.seed - settings.baseline.sampling.seed == by


def test_sampling_seeds_fit_into_31_bits_and_no_two_nights_share_them(settings: Settings) -> None:
    seeds = sorted(drawn(settings, seed).baseline.sampling.seed for seed in range(0, SEEDS.stop, 4999))
    assert seeds[-1] + 10 * SEEDS_APART < 2**31
    assert min(later - earlier for earlier, later in itertools.pairwise(seeds)) > 1000
    later_look = reseeded(drawn(settings, 3), 2).baseline.sampling.seed
    assert later_look - drawn(settings, 3).baseline.sampling.seed == SEEDS_APART
