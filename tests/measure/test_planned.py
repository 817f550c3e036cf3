"""A planned run asks the questions of a real one over sizes; whoever reads data is told that they need a server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.config.run_config import Options, resolve
from pytest_llmperf.errors import NeedsServer, NotMeasured, UsageError
from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.bound import points
from pytest_llmperf.gates.judgement import Judgement
from pytest_llmperf.gates.plan import PlannedJudgement
from pytest_llmperf.load.goodput import Slo
from pytest_llmperf.measure.planned import PlannedMeasurements, unmeasured
from pytest_llmperf.measure.questions import Questions
from pytest_llmperf.measure.served import Served
from pytest_llmperf.prompts import variants
from pytest_llmperf.record.prior import Phase

SUITES = Path(__file__).parents[2] / "suites"


class Plan:
    """The embedded pair, planned: questions, both sides, and the cases that were made."""

    def __init__(self, state: Path, **options: Any) -> None:
        settings = resolve(
            Options(
                models=SUITES / "models.toml",
                budgets=SUITES / "budgets.toml",
                profile="embedded",
                **options,
            ),
            device=None,
            device_name="CPU",
        )
        self.data = PlannedMeasurements(settings, state, lambda _: None)
        self.cases: list[Gate] = []
        self.ask = Questions(self.data, self._judge)
        self.candidate = self.data.served(settings.candidates[0])
        self.baseline = self.data.served(settings.baseline)

    def _judge(self, case: Gate) -> Judgement:
        self.cases.append(case)
        return PlannedJudgement(case.forecast())

    def phases(self, kind: str) -> list[Phase]:
        return [phase for phase in self.data.phases if phase.kind == kind]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(tmp_path)


def test_accuracy_is_planned_with_the_items_of_the_profile_and_asked_as_the_gate_needs_them(
    plan: Plan,
) -> None:
    share = plan.ask.accuracy(plan.candidate)
    _ = share >= plan.ask.accuracy(plan.baseline) - points(3)
    _ = plan.ask.accuracy(plan.candidate, items=40) >= 0.5
    assert [(case.label, case.size, getattr(case, "planned", None)) for case in plan.cases] == [
        ("embedded accuracy", 0, plan.data.sizes.items),
        ("embedded accuracy", 0, 40),
    ]
    assert {(phase.row, phase.amount) for phase in plan.phases("answers")} == {
        ("distill", plan.data.sizes.items),
        ("math", plan.data.sizes.items),
    }


def test_a_full_run_is_planned_without_early_stopping(tmp_path: Path) -> None:
    plan = Plan(tmp_path, full=True)
    _ = plan.ask.accuracy(plan.candidate, items=40) >= 0.5
    assert (plan.cases[0].size, getattr(plan.cases[0], "planned", None)) == (40, None)


READERS: dict[str, Callable[[Questions, Served], object]] = {
    "the share": lambda ask, row: ask.accuracy(row).value,
    "a cost": lambda ask, row: dict(ask.behaviour(row).tokens_per_correct.costs),
    "the peak": lambda ask, row: ask.memory(row).peak.value < 3,  # type: ignore[operator]
    "the size": lambda ask, row: f"{ask.memory(row).weights.value:.0f}",
    "the start": lambda ask, row: float(ask.startup(row).ready.value or 0),
    "the log": lambda ask, row: ask.startup(row).milestones.weights_loaded_s,
    "a sample": lambda ask, row: ask.load(row, concurrency=2).ttft.samples[0],
    "a quantile": lambda ask, row: ask.load(row, concurrency=2).ttft.p95.value,
    "the perplexity": lambda ask, row: ask.perplexity(row).value,
    "the knee": lambda ask, row: ask.load.sweep(row, concurrency=[1, 2]).sweep.knee,
    "the energy": lambda ask, row: (ask.energy(row).value or 0) * 2,
    "the stream": lambda ask, row: ask.stream(row, "1 + 1?"),
    "the server": lambda ask, row: row.server.base_url,
}


@pytest.mark.parametrize("read", [*READERS])
def test_data_that_are_read_need_a_server(plan: Plan, read: str) -> None:
    with pytest.raises(NeedsServer, match="planned only"):
        READERS[read](plan.ask, plan.candidate)


def test_a_load_without_a_quantile_and_conversations_without_a_turn_say_what_to_write(plan: Plan) -> None:
    energy = plan.ask.load(plan.candidate, concurrency=4).energy
    with pytest.raises(
        TypeError, match=r"^energy per token at 4 is many samples: .* by \.p50, \.p95 or \.p99 before"
    ):
        assert energy <= 5
    held = plan.ask.load.conversations(plan.candidate, users=2, turns=2)
    with pytest.raises(AttributeError, match=r"by turn, as in \.turn\(1\)\.cached_share$"):
        assert held.cached_share >= 0.5


def test_every_kind_of_load_is_planned_with_its_sizes(plan: Plan) -> None:
    sizes, load = plan.data.sizes, plan.ask.load
    result = load(plan.candidate, concurrency=4)
    assert (result.ttft.metric, result.ttft.size) == ("TTFT at 4", 4 * sizes.rounds)
    assert (result.throughput.metric, result.throughput.size) == ("throughput at 4", sizes.rounds)
    assert result.energy.metric == "energy per token at 4"
    pair = load.interleaved(plan.candidate, plan.baseline, concurrency=4, rounds=7, prompt_tokens=128)
    assert pair.tpot.ratio.size == 7
    assert pair.tpot.ratio.label.startswith("TPOT at 4")
    assert pair.tpot.ratio.label != "TPOT at 4 ratio", "another shape has another name"
    open_loop = load.open_loop(plan.candidate, rate=2.0, requests=120)
    assert (open_loop.e2el.metric, open_loop.e2el.size) == ("E2EL at 2 requests/s", 120)
    assert open_loop.energy.size == 1
    goodput = load.goodput(plan.candidate, slo=Slo(ttft_s=1.0), rate=2.0, requests=120)
    assert goodput.metric == "goodput at 2 requests/s"
    assert 0 < goodput.size < 120
    highest = load.max_rate(plan.candidate, slo=Slo(ttft_s=1.0), lowest=1.0, highest=8.0, requests=3)
    assert "3 requests at each rate; need at least" in highest.unusable
    assert load.sweep(plan.candidate, rate=[1.0]).knee.unit == "requests/s"
    assert {phase.key[0] for phase in plan.phases("scheduled loads")} == {"open loop", "sweep", "max rate"}


def test_a_wrong_question_is_wrong_in_a_plan_as_well(plan: Plan) -> None:
    with pytest.raises(UsageError, match="no task 'gsm9k'"):
        plan.ask.accuracy(plan.candidate, "gsm9k")
    with pytest.raises(UsageError, match="defines no classes"):
        plan.ask.macro_f1(plan.candidate)
    with pytest.raises(UsageError, match="need 0 < lowest < highest"):
        plan.ask.load.max_rate(plan.candidate, slo=Slo(ttft_s=1.0), lowest=8.0, highest=1.0)
    with pytest.raises(UsageError, match="one of them only"):
        plan.ask.load.sweep(plan.candidate)
    with pytest.raises(NotMeasured, match="upside down"):
        plan.ask.load.interleaved(plan.baseline, plan.candidate, concurrency=1)


def test_every_phase_starts_its_server_and_is_counted_once_with_its_largest_amount(plan: Plan) -> None:
    plan.ask.accuracy(plan.candidate, items=40)
    plan.ask.accuracy(plan.candidate, items=90)
    plan.ask.accuracy(plan.candidate, items=20)
    plan.ask.behaviour(plan.candidate, variants.at_temperature(0.5))
    plan.ask.recall(plan.candidate, tokens=256)
    plan.ask.memory(plan.candidate)
    assert [(phase.kind, phase.amount) for phase in plan.data.phases] == [
        ("starts", 1),
        ("answers", 90),
        ("answers", plan.data.sizes.variant_items),
        ("long answers", plan.data.sizes.quality_items),
    ]


def test_data_of_a_known_number_have_a_length_and_nothing_else() -> None:
    data = unmeasured(3)
    assert len(data) == 3
    assert data
    assert not unmeasured(0)
    for use in (lambda: data["a"], lambda: list(data), lambda: data.items(), lambda: f"{data}"):
        with pytest.raises(NeedsServer):
            use()
    with pytest.raises(NeedsServer):
        bool(unmeasured())
