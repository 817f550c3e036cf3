"""What a claim asks for is what a suite measures: by the names that the tests themselves give it, without a server."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contrib.claims.reading import read_claims
from pytest_llmperf.config.run_config import Options, resolve
from pytest_llmperf.errors import NeedsServer
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.measure.planned import PlannedMeasurements
from pytest_llmperf.measure.questions import Questions
from pytest_llmperf.prompts import variants

from .conftest import HERE, PUBLISHED, ROOT

SUITES = ROOT / "suites"
MEASURED = (PUBLISHED / "measure.py", SUITES / "test_accuracy.py", SUITES / "test_quality.py")


class Asked:
    """What the tests of some files would ask of a profile: metrics with units, and (row, task, way of asking)."""

    def __init__(self, profile: str, state: Path) -> None:
        options = Options(models=SUITES / "models.toml", budgets=SUITES / "budgets.toml", profile=profile)
        settings = resolve(options, device=None, device_name="CPU")
        measurements = PlannedMeasurements(settings, state, lambda _: None)
        self.metrics: set[tuple[str, str]] = set()
        self.phases = measurements.phases
        questions = Questions(measurements, self._judge)
        self._fixtures: dict[str, Any] = {
            "candidate": measurements.served(settings.candidates[0]),
            "baseline": measurements.served(settings.baseline),
            "budget": settings.budget,
            "rules": variants,
            "accuracy": questions.accuracy,
            "answers": questions.behaviour,
            "perplexity": questions.perplexity,
            "macro_f1": questions.macro_f1,
            "summaries": questions.summaries,
            "recall": questions.recall,
        }

    def _judge(self, case: Gate) -> Judgement:
        self.metrics.add((case.label, case.verdict_unit))
        raise NeedsServer(case.label)  # the comparison is known, and its outcome never will be

    def by(self, files: Iterable[Path]) -> Asked:
        for test in _tests(files):
            wanted = {name: self._fixtures[name] for name in inspect.signature(test).parameters}
            with pytest.raises(NeedsServer):
                test(**wanted)
        return self

    @property
    def answers(self) -> set[tuple[str, ...]]:
        return {(one.row, *map(str, one.key)) for one in self.phases if one.kind == "answers"}


def _tests(files: Iterable[Path]) -> Iterator[Callable[..., None]]:
    for file in files:
        spec = importlib.util.spec_from_file_location(f"measured_{file.stem}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield from (one for name, one in vars(module).items() if name.startswith("test_"))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """Of the profile gpu, by what the claims' own file and the suites that it names measure."""
    return Asked("gpu", tmp_path_factory.mktemp("state")).by(MEASURED)


def test_every_metric_that_a_claim_asks_for_is_one_that_a_suite_measures(asked: Asked) -> None:
    claims = read_claims(PUBLISHED / "claims.toml").claims
    wanted = {one.name: (one.key, one.unit) for one in claims if one.kind == "gate"}
    assert len(wanted) == 7
    assert {name: metric for name, metric in wanted.items() if metric not in asked.metrics} == {}


def test_every_answer_that_a_claim_asks_for_is_asked_for(asked: Asked) -> None:
    claims = [
        one for name in ("claims", "model_card") for one in read_claims(PUBLISHED / f"{name}.toml").claims
    ]
    rows = {
        (row.name, one.key, one.variant)
        for one in claims
        if ("accuracy" in (one.kind, one.of) or one.kind == "averaging") and not one.missing
        for row in (one.model, one.against)
        if row is not None
    }
    assert {("distill", "math500", "as promised"), ("math", "gsm8k", "zero-shot")} <= rows
    assert rows - asked.answers == set()


def test_the_claims_about_the_embedded_pair_ask_for_what_is_measured_of_it(tmp_path: Path) -> None:
    asked = Asked("embedded", tmp_path).by(MEASURED)
    claims = [
        one for sheet in ("embedded", "embedded_open") for one in read_claims(HERE / f"{sheet}.toml").claims
    ]
    wanted = {(one.key, one.unit) for one in claims if one.kind == "gate"}
    assert len(wanted) == 9
    assert wanted - asked.metrics == set()
