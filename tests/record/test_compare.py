"""What is called worse is worse beyond chance; what cannot be compared is said, and is never called the same."""

from __future__ import annotations

import random
from typing import Any, cast

from pytest_llmperf.record.compare import Change, Comparison, Difference
from pytest_llmperf.record.compare import compare as compare_records
from pytest_llmperf.record.model import Record
from pytest_llmperf.record.summary import MetricSummary
from pytest_llmperf.record.tables import AnswerRow
from tests.record.test_tables import ANSWER

RATIO = {
    "status": "PASS",
    "test": "t.py::test_speed",
    "metric": "TPOT at 8",
    "unit": "ratio",
    "level_unit": "s",
}


def load(scale: float = 1.0, concurrency: int = 8) -> dict[str, Any]:
    chance = random.Random(3)
    rounds = [
        {
            "requests": 40,
            "window_s": 2.0,
            "ttft_s": [scale * chance.uniform(0.09, 0.11) for _ in range(40)],
            "output_tokens": int(1000 / scale * chance.uniform(0.98, 1.02)),
        }
        for _ in range(20)
    ]
    shape = {"input_tokens": 64, "output_tokens": 128}
    return {"row": "distill", "concurrency": concurrency, "workload": shape, "rounds": rounds}


def run(right: int = 80, wrong: int = 20, **changed: Any) -> dict[str, Any]:
    outcomes = {"correct": right, "wrong": wrong}
    asked = {"row": "distill", "task": "gsm8k", "variant": "as promised", "items": right + wrong}
    record: dict[str, Any] = {
        "device": {"name": "H100"},
        "suite": {"sha256": "a" * 64, "tests": ["t.py::test_speed", "t.py::test_floor"]},
        "servers": [{"row": "distill", "template_sha256": "b" * 64, "engine": "vllm 0.32.0"}],
        "answers": [asked | {"outcomes": outcomes, "items_sha256": "c" * 64}],
        **changed,
    }
    return record | {"metrics": MetricSummary().of(Record.of(record))}


def compare(before: dict[str, Any], now: dict[str, Any], *answers: list[dict[str, Any]]) -> Comparison:
    return compare_records(Record.of(before), Record.of(now), *cast(list[list[AnswerRow]], answers))


def answers(right: set[int], n: int = 100) -> list[dict[str, Any]]:
    about = {"variant": "as promised", "task": "gsm8k"}
    return [
        ANSWER | about | {"item": str(i), "outcome": "correct" if i in right else "wrong"} for i in range(n)
    ]


def of(found: list[Difference], *words: str) -> Difference:
    [one] = [one for one in found if all(word in one.what for word in words)]
    return one


def test_answers_to_the_same_items_are_paired() -> None:
    first, fewer = set(range(80)), set(range(10, 80))
    same = compare(run(), run(), answers(first), answers(first))
    assert of([*same.differences], "accuracy").outcome is Change.SAME
    worse = compare(run(), run(70, 30), answers(first), answers(fewer))
    one = of([*worse.differences], "accuracy")
    assert (one.outcome, one.before, one.now) == (Change.WORSE, 0.8, 0.7)
    assert one.how == "100 items of both: 0 gained, 10 lost"
    assert worse.regressed
    better = compare(run(70, 30), run(), answers(fewer), answers(first))
    assert of([*better.differences], "accuracy").outcome is Change.BETTER
    assert not better.regressed


def test_an_item_answered_eight_times_is_one_item() -> None:
    """One item of twenty lost with all its eight answers: as independent answers these would be far beyond chance."""
    then = [one | {"sample": n} for one in answers(set(range(20)), 20) for n in range(8)]
    now = [one | {"sample": n} for one in answers(set(range(1, 20)), 20) for n in range(8)]
    asked = run(160, 0)
    one = of([*compare(asked, run(152, 8), then, now).differences], "accuracy")
    assert (one.outcome, one.now) == (Change.SAME, 0.95)
    assert one.how.startswith("160 answers to 20 items of both: 0 gained, 8 lost")
    half = [one | {"sample": n} for one in answers(set(range(10, 20)), 20) for n in range(8)]
    assert of([*compare(asked, run(80, 80), then, half).differences], "accuracy").outcome is Change.WORSE


def test_ten_points_that_twenty_flips_make_are_chance() -> None:
    """Unpaired, 80 and 70 of 100 look alike whatever flipped; paired, it is the flips that count."""
    noisy = (set(range(80)) - set(range(24))) | set(range(80, 95))
    found = compare(run(), run(71, 29), answers(set(range(80))), answers(noisy))
    one = of([*found.differences], "accuracy")
    assert one.how == "100 items of both: 15 gained, 24 lost"
    assert one.outcome is Change.SAME


def test_without_answers_the_intervals_of_the_same_items_are_compared() -> None:
    assert compare(run(), run(40, 60)).of(Change.WORSE)[0].how == "intervals of the same items, unpaired"
    assert compare(run(), run(75, 25)).of(Change.WORSE) == []


def test_other_items_another_template_and_another_device_are_not_compared() -> None:
    other = run()
    other["answers"][0]["items_sha256"] = "d" * 64
    assert compare(run(), other).of(Change.NOT_COMPARED)
    template = run(servers=[{"row": "distill", "template_sha256": "d" * 64, "engine": "vllm 0.32.0"}])
    assert compare(run(), template).of(Change.NOT_COMPARED)[0].how == "the chat template is another one"
    assert "distill: another template" in compare(run(), template).differs
    device = run(load=[load(3.0)], device={"name": "A100"})
    found = compare(run(load=[load()]), device)
    times = [one for one in found.differences if "ttft" in one.what]
    assert {one.outcome for one in times} == {Change.NOT_COMPARED}
    assert times[0].how == "measured on H100, then on A100"
    assert not found.regressed
    assert of([*found.differences], "accuracy").outcome is Change.SAME, "does not depend on the device"


def test_a_slowdown_within_what_starts_differ_by_is_not_called_one() -> None:
    base = run(load=[load()])
    assert not compare(base, run(load=[load(1.08)])).regressed
    twice = compare(base, run(load=[load(2.0)]))
    assert {one.what.split(",")[0] for one in twice.of(Change.WORSE)} >= {
        "distill: ttft_p50",
        "distill: throughput",
    }
    assert not compare(run(load=[load(2.0)]), base).regressed
    starts = [load(), load(), load()]
    slower = [load(1.08), load(1.08), load(1.08)]
    assert compare(run(load=starts), run(load=slower)).regressed, "three starts of each side tell"


def test_ratios_are_worse_where_their_intervals_are_apart_in_the_direction_of_their_unit() -> None:
    def with_ratio(low: float, high: float, **more: str) -> dict[str, Any]:
        return run(verdicts=[RATIO | {"interval": [low, high], "observed": (low + high) / 2} | more])

    before = with_ratio(0.98, 1.02)
    assert compare(before, with_ratio(1.05, 1.09)).regressed
    assert not compare(before, with_ratio(1.01, 1.05)).regressed
    assert not compare(before, with_ratio(0.90, 0.95)).regressed
    throughput = {"level_unit": "tok/s"}
    assert compare(with_ratio(0.98, 1.02, **throughput), with_ratio(0.90, 0.95, **throughput)).regressed


def test_tests_that_vanished_and_metrics_that_are_missing_are_named() -> None:
    now = run(suite={"tests": ["t.py::test_speed", "t.py::test_new"]}, answers=[])
    found = compare(run(load=[load()]), now)
    assert (found.vanished, found.new) == (["t.py::test_floor"], ["t.py::test_new"])
    assert any("not measured in the second run" in line for line in found.gaps)
    assert any("test_floor" in line for line in found.gaps)
    assert {one.outcome for one in found.differences} == {Change.NOT_COMPARED}


def test_one_of_many_that_looks_worse_by_chance_is_not_blamed() -> None:
    """p = 0.03 alone is below 5 %; it is not among ten."""
    names = [f"task{n}" for n in range(10)]
    asked = [run()["answers"][0] | {"task": name} for name in names]
    lost_five = set(range(80)) - set(range(5))

    def rows(of_first: set[int]) -> list[dict[str, Any]]:
        return [r | {"task": n} for n in names for r in answers(of_first if n == "task0" else set(range(80)))]

    alone = compare(run(), run(75, 25), answers(set(range(80))), answers(lost_five))
    assert alone.regressed
    record = run(answers=asked)
    many = compare(record, record, rows(set(range(80))), rows(lost_five))
    assert not many.regressed
    assert "not beyond chance among 10" in of([*many.differences], "task0 ").how


def test_a_gate_that_vanished_from_a_test_that_is_still_there_is_a_gap() -> None:
    def record(*gates: tuple[str, str, str]) -> dict[str, Any]:
        verdicts = [
            {"test": test, "metric": metric, "status": "PASS", "method": how} for test, metric, how in gates
        ]
        return {
            "tests": [
                {"test": test, "outcome": "passed"} for test in dict.fromkeys(test for test, *_ in gates)
            ],
            "verdicts": verdicts,
        }

    judged = record(("a", "accuracy", "x"), ("a", "loops", "x"), ("a", "loops", "x"), ("b", "ITL", "x"))
    silent = record(("a", "accuracy", "x"), ("a", "loops", "x"), ("b", "b", "not measured"))
    assert compare(judged, judged).vanished == []
    assert compare(judged, silent).vanished == ["a: the gate loops", "b: the gate ITL"]
    assert "a: the gate loops: in the first run, and not in the second" in compare(judged, silent).gaps
    assert compare(silent, judged).vanished == []
