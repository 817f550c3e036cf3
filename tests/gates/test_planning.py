"""A plan's numbers are those that the gates have: compared with the gates themselves, over drawn data."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Callable
from functools import cache

import pytest

from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.early_stopping import final, spending
from pytest_llmperf.gates.paired import DISCORDANCE, PairedGate
from pytest_llmperf.gates.plan import OFTEN, WANTED, PlannedJudgement
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.quantile import QuantileGate
from pytest_llmperf.gates.ratio import RatioGate, round_noise, start_noise
from pytest_llmperf.gates.scalar import ScalarGate
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.record.verdict_json import verdict_from_json, verdict_to_json
from pytest_llmperf.stats import hodges_lehmann, operating_characteristics, paired, paired_exact
from pytest_llmperf.stats.start_to_start import ASSUMED_DEVIATION
from tests.gates.judging import not_worse, ratio_over_starts, ratio_within

DRAWS = 3_000
NEAR = 4 * math.sqrt(0.25 / DRAWS)
"""Four standard deviations of the worst share of that many draws."""


def share(n: int, bound: float, *, at_least: bool = True, may_stop: bool = False) -> ProportionGate:
    return ProportionGate(
        metric="accuracy",
        bound=bound,
        at_least=at_least,
        candidate={} if may_stop else {str(i): None for i in range(n)},
        planned=n if may_stop else None,
    )


def margin(n: int, bound: float, *, lower_is_better: bool = False, may_stop: bool = False) -> PairedGate:
    items = {} if may_stop else {str(i): None for i in range(n)}
    return PairedGate(
        metric="accuracy",
        bound=bound,
        candidate=items,
        baseline=items,
        at_least=not lower_is_better,
        planned=n if may_stop else None,
    )


def ratio(rounds: int, bound: float, *, at_least: bool = False) -> RatioGate:
    return RatioGate(
        metric="TPOT", bound=bound, starts=[[(None, None)] * rounds], unit="s", at_least=at_least
    )


def quantile(rounds: int, *, q: float = 0.95, at_least: bool = False) -> QuantileGate:
    return QuantileGate(
        metric="TTFT",
        bound=1.0,
        samples=[None] * rounds * 8,
        groups=[i for i in range(rounds) for _ in range(8)],
        q=q,
        unit="s",
        at_least=at_least,
    )


def verdict(metric: str, observed: float, unit: str, **more: object) -> Verdict:
    plain = Verdict(Status.PASS, metric, observed, None, None, 100, None, "", "", unit)
    return dataclasses.replace(plain, **more)  # type: ignore[arg-type]


def rates(statuses: list[Status]) -> tuple[float, float]:
    """How often PASS, how often FAIL."""
    return statuses.count(Status.PASS) / len(statuses), statuses.count(Status.FAIL) / len(statuses)


# Against the gates themselves


@pytest.mark.parametrize(
    ("n", "bound", "truth", "at_least"),
    [(120, 0.8, 0.85, True), (300, 0.05, 0.03, False), (80, 0.62, 0.6, True)],
)
def test_a_share_passes_and_fails_as_often_as_planned(
    n: int, bound: float, truth: float, at_least: bool
) -> None:
    gate = share(n, bound, at_least=at_least).forecast(verdict("accuracy", truth, "share"))
    drawn = random.Random(7)

    @cache
    def judged(count: int) -> Status:
        outcomes = {str(i): i < count for i in range(n)}
        case = dataclasses.replace(share(n, bound, at_least=at_least), candidate=outcomes)
        return case.judge().status

    passes, fails = rates([judged(sum(drawn.random() < truth for _ in range(n))) for _ in range(DRAWS)])
    assert gate.chances is not None
    assert gate.chances.passes == pytest.approx(passes, abs=NEAR)
    assert gate.chances.fails == pytest.approx(fails, abs=NEAR)


def test_a_share_that_lost_what_is_caught_fails_that_often() -> None:
    n, floor = 200, 0.72
    gate = share(n, floor).forecast(verdict("accuracy", 0.8, "share"))
    assert gate.caught_often is not None
    assert gate.caught is not None
    drawn = random.Random(11)
    fewest_that_do_not_fail = 1 + (operating_characteristics.floor_counts(n, floor)[1] or 0)
    for wanted, lost in ((OFTEN, gate.caught_often), (WANTED, gate.caught)):
        right = [sum(drawn.random() < 0.8 - lost for _ in range(n)) for _ in range(DRAWS)]
        assert sum(k < fewest_that_do_not_fail for k in right) / DRAWS == pytest.approx(wanted, abs=NEAR)


def test_a_gate_that_may_stop_early_passes_as_often_as_planned_without_the_looks() -> None:
    n, floor, truth, draws = 600, 0.72, 0.76, 150
    gate = share(n, floor, may_stop=True).forecast(verdict("accuracy", truth, "share"))
    drawn = random.Random(1)

    def judged() -> Status:
        right = [drawn.random() < truth for _ in range(n)]
        case = dataclasses.replace(
            share(n, floor, may_stop=True), more=lambda k: ({str(i): right[i] for i in range(k)}, {})
        )
        return case.settled().judge().status

    passes, _ = rates([judged() for _ in range(draws)])
    assert gate.chances is not None
    assert gate.chances.passes == pytest.approx(passes, abs=3 * math.sqrt(0.25 / draws))


def draw_pairs(drawn: random.Random, n: int, difference: float, discordance: float) -> tuple[int, int]:
    """Items gained and lost."""
    values = [drawn.random() for _ in range(n)]
    gain = (discordance + difference) / 2.0
    return sum(v < gain for v in values), sum(gain <= v < discordance for v in values)


def test_a_margin_passes_and_fails_as_often_as_planned() -> None:
    n, bound = 150, 0.08
    gate = margin(n, bound).forecast()
    drawn = random.Random(3)

    def judged(gained: int, lost: int) -> Status:
        z = paired_exact.critical_z(n, gained + lost, -bound)
        if paired.tango_lower_at(gained, lost, n, z) >= -bound:
            return Status.PASS
        z = paired_exact.critical_z(n, gained + lost, bound)
        return Status.FAIL if paired.tango_upper_at(gained, lost, n, z) < -bound else Status.INCONCLUSIVE

    passes, _ = rates([judged(*draw_pairs(drawn, n, 0.0, DISCORDANCE)) for _ in range(DRAWS)])
    assert gate.chances is not None
    assert gate.chances.passes == pytest.approx(passes, abs=NEAR + 0.01)
    assert gate.caught_often is not None
    drop = gate.caught_often
    _, fails = rates([judged(*draw_pairs(drawn, n, -drop, DISCORDANCE + drop)) for _ in range(DRAWS)])
    assert fails == pytest.approx(OFTEN, abs=NEAR + 0.02)


@pytest.mark.parametrize("at_least", [False, True])
def test_a_ratio_passes_and_fails_as_often_as_planned(at_least: bool) -> None:
    rounds, budget = 20, 1.04
    gate = ratio(rounds, 1.0 / budget if at_least else budget, at_least=at_least).forecast()
    drawn = random.Random(5)

    def bounds_of(slowdown: float) -> tuple[float, float]:
        # for a throughput the log turns its sign, and so do both bounds: the same draws
        noise = [drawn.gauss(math.log1p(slowdown), 0.03 * math.sqrt(2.0)) for _ in range(rounds)]
        return hodges_lehmann.bounds(noise)

    equal = [bounds_of(0.0) for _ in range(1_000)]
    assert gate.chances is not None
    passed = sum(high <= math.log(budget) for _, high in equal) / len(equal)
    assert gate.chances.passes == pytest.approx(passed, abs=0.06)
    assert gate.caught_often is not None
    slow = [bounds_of(gate.caught_often) for _ in range(1_000)]
    assert sum(low > math.log(budget) for low, _ in slow) / len(slow) == pytest.approx(OFTEN, abs=0.06)


@pytest.mark.parametrize(("q", "at_least"), [(0.95, False), (0.5, False), (0.5, True), (0.05, True)])
def test_a_quantile_fails_as_often_as_planned_when_so_many_samples_are_beyond(
    q: float, at_least: bool
) -> None:
    gate = quantile(64, q=q, at_least=at_least).forecast()
    assert gate.caught_often is not None
    drawn = random.Random(2)

    def judged(beyond: float) -> Status:
        bad, good = (0.5, 2.0) if at_least else (2.0, 0.5)
        samples = [(bad if drawn.random() < beyond else good) + drawn.random() / 9 for _ in range(64)]
        case = dataclasses.replace(quantile(64, q=q, at_least=at_least), samples=samples, groups=None)
        return case.judge().status

    _, fails = rates([judged(gate.caught_often) for _ in range(DRAWS)])
    assert fails == pytest.approx(OFTEN, abs=NEAR)
    allowed = re.search(r"at most ([\d.]+) %", gate.assumed)
    assert allowed is not None
    passes, _ = rates([judged(float(allowed[1]) / 100) for _ in range(DRAWS)])
    assert passes == pytest.approx(WANTED, abs=NEAR)


# What follows from them


def test_more_items_catch_smaller_damage_and_err_less() -> None:
    makers: list[Callable[[int], Gate]] = [
        lambda n: share(n, 0.72),
        lambda n: share(n, 0.05, at_least=False),
        lambda n: margin(n, 0.04),
        lambda n: ratio(n, 1.02),
    ]
    for make in makers:
        # Far apart: counts are discrete, and between near ones a chance can fall.
        gates = [make(n).forecast() for n in (60, 240, 960)]
        caught = [gate.caught for gate in gates if gate.caught is not None]
        passing = [gate.chances.passes for gate in gates if gate.chances is not None]
        assert caught == sorted(caught, reverse=True)
        assert passing == sorted(passing)
        assert len(set(caught)) == len(set(passing)) == 3 or passing[-1] > 0.999
        assert all((gate.caught_often or 0) < (gate.caught or 0) for gate in gates)


def test_a_gate_that_may_stop_early_is_planned_at_what_looking_leaves_of_alpha() -> None:
    whole, growing = share(500, 0.72).forecast(), share(500, 0.72, may_stop=True).forecast()
    assert (whole.at_most, growing.at_most) == (False, True)
    assert growing.n == 500
    assert growing.chances == operating_characteristics.of_floor(500, 0.86, 0.72, alpha=final(spending(1)))
    assert whole.chances == operating_characteristics.of_floor(500, 0.86, 0.72)
    pair = margin(500, 0.04, may_stop=True).forecast()
    assert pair.chances == operating_characteristics.of_margin(500, 0.0, DISCORDANCE, 0.04, alpha=0.04)


def test_a_warning_is_there_exactly_when_a_gate_passes_too_seldom() -> None:
    seen = set()
    for n in (60, 250, 1000, 1500):
        cases = [
            share(n, 0.9),
            share(n, 0.05, at_least=False),
            margin(n, 0.04),
            margin(n, 0.04, lower_is_better=True),
        ]
        for case in (*cases, ratio(n, 1.008), ratio(n, 0.99, at_least=True)):
            gate = case.forecast()
            assert gate.chances is not None
            assert bool(gate.warning) == (gate.chances.passes < WANTED), gate
            seen.add((type(case), bool(gate.warning)))
    assert len(seen) == 6, "each kind of gate was seen with and without a warning"


@pytest.mark.parametrize(
    "make",
    [lambda n: share(n, 0.9), lambda n: margin(n, 0.04), lambda n: ratio(n, 1.01)],
    ids=["share", "margin", "ratio"],
)
def test_as_many_as_the_warning_asks_for_are_enough_and_not_far_more(make: Callable[[int], Gate]) -> None:
    warning = make(100).forecast().warning
    asked = re.search(r"about ([\d,]+) (items|rounds)", warning)
    assert asked is not None, warning
    needed = int(asked[1].replace(",", ""))
    assert make(needed).forecast().warning == ""
    assert make(int(0.8 * needed)).forecast().warning != ""


def test_a_margin_that_cannot_be_decided_names_one_that_can() -> None:
    warning = margin(1319, 0.03).forecast().warning
    assert warning.startswith("passes in only 7"), "1,319 items are too few for three points"
    wider = re.search(r"a margin of ([\d.]+) pts", warning)
    assert wider is not None
    assert margin(1319, float(wider[1]) / 100).forecast().warning == ""
    assert margin(1319, float(wider[1]) / 100 - 0.001).forecast().warning != ""


def test_a_truth_beyond_the_bound_is_not_answered_with_more_items() -> None:
    gate = share(400, 0.72).forecast(verdict("accuracy", 0.6, "share"))
    assert gate.warning.startswith("FAIL in 9")
    assert "would give" not in gate.warning


# What an earlier run says


def test_a_recorded_pair_gives_difference_and_discordance() -> None:
    n = 400
    ours = {str(i): i >= 60 for i in range(n)}
    theirs = {str(i): not 40 <= i < 80 for i in range(n)}
    recorded = not_worse("accuracy", ours, theirs, 0.1)
    gate = margin(n, 0.1).forecast(recorded)
    # 0…39 lost, 60…79 gained: 60 of 400 differ, and the candidate is five points below
    assert gate.assumed == "−5.0 pts as recorded, 15 % answered differently as recorded"
    assert gate.chances == operating_characteristics.of_margin(n, -0.05, 0.15, 0.1)


def test_where_lower_is_better_a_recorded_difference_turns_round() -> None:
    recorded = verdict("loops", 0.02, "points")
    gate = margin(400, 0.1, lower_is_better=True).forecast(recorded)
    assert gate.chances == operating_characteristics.of_margin(400, -0.02, DISCORDANCE, 0.1)
    assert (gate.bound, gate.at_least) == (0.1, False)


def over_starts(starts: int, rounds: int = 12, bound: float = 1.1) -> RatioGate:
    pairs = [[(None, None)] * rounds] * starts
    return RatioGate(metric="TPOT", bound=bound, starts=pairs, unit="s", at_least=False)


def drawn_starts(count: int, slower: float, draw: random.Random) -> list[list[tuple[float, float]]]:
    """Starts as the plan assumes them: noise from start to start, and in each round, on both sides."""
    starts = []
    for _ in range(count):
        centre = math.log1p(slower) + draw.gauss(0.0, ASSUMED_DEVIATION * math.sqrt(2.0))
        starts.append([(math.exp(centre + draw.gauss(0.0, 0.03 * math.sqrt(2.0))), 1.0) for _ in range(12)])
    return starts


def test_a_comparison_over_starts_passes_and_fails_as_often_as_planned() -> None:
    gate, draw = over_starts(5).forecast(), random.Random(6)
    assert (gate.n, gate.noun) == (5, "start")
    assert gate.chances is not None
    assert gate.caught_often is not None

    def share(status: Status, slower: float) -> float:
        said = [ratio_over_starts("TPOT", drawn_starts(5, slower, draw), 1.1).status for _ in range(400)]
        return said.count(status) / len(said)

    assert gate.chances.passes == pytest.approx(share(Status.PASS, 0.0), abs=0.06)
    assert share(Status.FAIL, gate.caught_often) == pytest.approx(OFTEN, abs=0.07)


def test_more_starts_catch_less_and_too_few_are_told() -> None:
    caught = [over_starts(starts).forecast().caught for starts in (3, 5, 10)]
    assert caught == sorted(caught, key=lambda one: -(one or 9.0))
    tight = over_starts(3, bound=1.05).forecast().warning
    assert re.search(r"passes in only .*about \d+ starts would give 95 %", tight), tight


def test_the_noise_of_a_start_is_found_again_in_a_recorded_interval() -> None:
    recorded = ratio_over_starts("TPOT", drawn_starts(40, 0.0, random.Random(7)), 1.1)
    assert recorded.interval is not None
    assert start_noise(recorded.interval, 40) == pytest.approx(0.0441, rel=0.25)
    gate = over_starts(5).forecast(recorded)
    assert "noise a start, as recorded" in gate.assumed
    by_rounds = ratio_within("TPOT", drawn_starts(1, 0.0, random.Random(8))[0], 1.1)
    assert "recorded" not in over_starts(5).forecast(by_rounds).assumed


def test_announced_looks_are_planned_with_their_part_of_the_error() -> None:
    whole, half = over_starts(5), dataclasses.replace(over_starts(5), spent=spending(1, 2))
    assert half.forecast().caught > whole.forecast().caught  # type: ignore[operator]
    pair = dataclasses.replace(margin(500, 0.04), spent=spending(1, 2)).forecast()
    assert pair.chances == operating_characteristics.of_margin(500, 0.0, DISCORDANCE, 0.04, alpha=0.025)


def test_the_noise_of_a_round_is_found_again_in_a_recorded_interval() -> None:
    drawn = random.Random(4)
    rounds = [(math.exp(drawn.gauss(0.02, 0.05)), 1.0) for _ in range(64)]
    recorded = ratio_within("TPOT at 8", rounds, 1.1)
    assert recorded.interval is not None
    assert round_noise(recorded.interval, recorded.n) == pytest.approx(0.05, rel=0.25)
    gate = ratio(64, 1.1).forecast(recorded)
    assert gate.chances is not None
    assert recorded.observed is not None
    noise = round_noise(recorded.interval, 64)
    assert gate.chances == operating_characteristics.of_ratio(64, recorded.observed, 1.1, noise)


def test_a_server_that_is_slower_already_needs_less_to_be_caught() -> None:
    equal = ratio(64, 1.1).forecast().caught
    slower = (
        ratio(64, 1.1).forecast(verdict("TPOT ratio", 1.05, "ratio", interval=(1.045, 1.055), n=64)).caught
    )
    assert equal is not None
    assert slower is not None
    assert slower < equal - 0.04
    assert slower > 1.1 / 1.05 - 1.0


def test_recorded_times_say_how_much_slower_they_may_get() -> None:
    gate = quantile(64).forecast(verdict("TTFT p95", 0.5, "s", interval=(0.4, 0.8), n=512))
    assert gate.remark == "500 ms as recorded: passes up to +25 %, fails from +150 % on"
    rate = quantile(64, at_least=True, q=0.5).forecast(verdict("x", 2.0, "s", interval=(1.25, 2.5), n=64))
    assert rate.remark.endswith("passes up to +25 %, fails from +150 % on")


def test_what_is_measured_once_has_no_power() -> None:
    case = ScalarGate(metric="peak memory", bound=6e9, value=1.0, unit="bytes", at_least=False)
    assert case.forecast().remark == "single measurement, no power"
    assert case.forecast().chances is None
    assert case.forecast(verdict("peak memory", 4e9, "bytes")).remark.endswith("fails from +50 % on")


# What cannot be judged


@pytest.mark.parametrize(
    ("case", "why"),
    [
        (
            dataclasses.replace(share(100, 0.7), bound=None, refused="no budget for device X"),
            "no budget for device X",
        ),
        (share(0, 0.7), "no items"),
        (margin(0, 0.03), "no items"),
        (ratio(4, 1.1), "at least 5 are needed"),
        (quantile(58), "p95 needs 59"),
        (share(100, 1.0), "no amount of data"),
        (share(100, 0.0, at_least=False), "no amount of data"),
    ],
)
def test_a_gate_that_will_be_invalid_or_never_pass_is_called_so(case: Gate, why: str) -> None:
    gate = case.forecast()
    assert why in gate.warning
    assert gate.chances is None


def test_a_bound_that_the_gate_refuses_is_refused_when_planned() -> None:
    with pytest.raises(ValueError, match="the margin is 3"):
        margin(100, 3.0).forecast()


def test_a_planned_judgement_lets_the_test_go_on_and_is_no_pass() -> None:
    judgement = PlannedJudgement(share(100, 0.7).forecast())
    assert not judgement.asked
    assert bool(judgement)
    assert judgement.asked
    assert judgement.verdict.status is Status.INVALID


def reworded(recorded: Verdict) -> Verdict:
    """The same numbers in other words."""
    return dataclasses.replace(
        recorded, why="other words", method="another method", detail="7 flips over starts"
    )


@pytest.mark.parametrize(
    ("case", "recorded"),
    [
        pytest.param(
            margin(100, 0.1),
            not_worse(
                "accuracy",
                {str(i): [i >= 20] for i in range(100)},
                {str(i): [i >= 10] for i in range(100)},
                margin=0.1,
            ),
            id="items",
        ),
        pytest.param(
            over_starts(5),
            ratio_over_starts("TPOT", drawn_starts(6, 0.0, random.Random(7)), 1.1),
            id="starts",
        ),
        pytest.param(
            ratio(64, 1.1),
            ratio_within("TPOT", drawn_starts(1, 0.0, random.Random(8))[0], 1.1),
            id="rounds",
        ),
    ],
)
def test_a_plan_reads_a_recorded_verdict_by_its_fields_and_never_by_its_words(
    case: Gate, recorded: Verdict
) -> None:
    as_it_is = case.forecast(recorded)
    assert "as recorded" in as_it_is.assumed
    assert case.forecast(reworded(recorded)) == as_it_is


def test_a_verdict_that_came_through_json_is_planned_with_alike() -> None:
    recorded = ratio_over_starts("TPOT", drawn_starts(6, 0.0, random.Random(7)), 1.1)
    assert over_starts(5).forecast(verdict_from_json(verdict_to_json(recorded))) == over_starts(5).forecast(
        recorded
    )


def test_a_pair_that_stopped_early_says_how_many_items_were_answered_differently() -> None:
    stopped = dataclasses.replace(
        margin(1319, 0.1, may_stop=True),
        candidate={str(i): True for i in range(150)},
        baseline={str(i): i % 5 != 0 for i in range(150)},
        more=None,
    ).judge()
    assert stopped.status is Status.PASS
    assert stopped.discordance == pytest.approx(0.2)
