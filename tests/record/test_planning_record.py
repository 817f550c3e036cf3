from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.ratio import RatioGate
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.record.prior import Phase, PlanningRecord, read_planning_record
from pytest_llmperf.record.store import write_record
from pytest_llmperf.record.verdict_json import verdict_to_json

SHARE = ProportionGate(metric="accuracy", bound=0.7, candidate={}, at_least=True)
MARGIN = PairedGate(metric="accuracy", bound=0.03, candidate={}, baseline={}, at_least=True)
RATIO = RatioGate(metric="TPOT at 8", bound=1.05, starts=[], unit="s", at_least=False)


def verdict(metric: str, unit: str, n: int = 100, observed: float | None = 0.8) -> Verdict:
    return Verdict(Status.PASS, metric, observed, None, 0.7, n, None, "", "", unit)


def written(path: Path, *verdicts: Verdict, profile: str = "test", **facts: Any) -> Path:
    record = {
        "profile": profile,
        "device": {"name": "CPU"},
        "verdicts": [verdict_to_json(v) for v in verdicts],
        **facts,
    }
    write_record(path / "record.json", record)
    return path / "record.json"


def read(path: Path, *verdicts: Verdict, **facts: Any) -> PlanningRecord:
    return read_planning_record(written(path, *verdicts, **facts), "test")


def test_the_verdict_of_the_same_metric_in_the_same_unit_is_found(tmp_path: Path) -> None:
    share, points = verdict("accuracy", "share"), verdict("accuracy", "points", observed=-0.01)
    earlier = read(tmp_path, share, points, verdict("TPOT at 8 ratio", "ratio"))
    assert earlier.verdict(SHARE, "CPU") == share
    assert earlier.verdict(MARGIN, "CPU") == points
    assert earlier.verdict(dataclasses.replace(SHARE, metric="loops"), "CPU") is None


def test_of_several_the_one_with_most_data_counts_and_none_without_any(tmp_path: Path) -> None:
    early, whole = verdict("accuracy", "share", 150), verdict("accuracy", "share", 600)
    lost = verdict("accuracy", "share", 900, observed=None)
    assert read(tmp_path, early, whole, lost).verdict(SHARE, "CPU") == whole


def test_another_device_tells_of_the_model_and_not_of_the_machine(tmp_path: Path) -> None:
    earlier = read(tmp_path, verdict("accuracy", "share"), verdict("TPOT at 8 ratio", "ratio"))
    assert earlier.verdict(RATIO, "CPU") is not None
    assert earlier.verdict(RATIO, "NVIDIA H100") is None
    assert earlier.verdict(SHARE, "NVIDIA H100") is not None


def test_times_are_scaled_to_what_is_planned_and_what_is_not_recorded_is_named(tmp_path: Path) -> None:
    earlier = read(
        tmp_path,
        servers=[{"row": "a", "ready_s": 30.0}, {"row": "url", "ready_s": None}],
        answers=[{"row": "a", "task": "t", "variant": "v", "items": 150, "seconds": 15.0}],
        load=[{"row": "a", "concurrency": 8, "rounds": [{"window_s": 1.0}, {"window_s": 2.0}]}],
    )
    other, long = Phase("load", "a", (32,), 64), Phase("long answers", "a", ("summaries",), 120)
    unstarted = Phase("starts", "url")
    duration = earlier.duration(
        [
            Phase("starts", "a"),
            Phase("answers", "a", ("t", "v"), 600),
            Phase("load", "a", (8,), 64),
            other,
            long,
            unstarted,
        ]
    )
    assert duration.seconds == {"starts": 30.0, "answers": 60.0, "load": 96.0}
    assert duration.total_s == 186.0
    assert duration.unknown == [other, long, unstarted]


def test_prompts_of_another_length_are_estimated_by_their_tokens_a_second(tmp_path: Path) -> None:
    def recorded(row: str, tokens: int | None, asked: int, seconds: float) -> dict[str, Any]:
        what = f"needles {tokens} tokens"
        told = {"row": row, "what": what, "tokens": tokens, "asked": asked, "seconds": seconds}
        rest = {"prompts": asked, "errors": 0, "longest_prompt": tokens, "completion_tokens": 1}
        return {**told, **rest, "data": "generated"}

    earlier = read(
        tmp_path,
        long_answers=[
            recorded("a", 512, 100, 1.0),
            recorded("a", 4096, 100, 40.96),
            recorded("a", 8192, 0, 0.0),
            recorded("b", 32_768, 10, 1.0),
        ],
    )
    long = Phase("long answers", "a", ("variables", "32768 tokens"), 50)
    summaries = Phase("long answers", "a", ("summaries",), 50)
    other = Phase("long answers", "c", ("needles", "4096 tokens"), 50)
    duration = earlier.duration([long, summaries, other])
    # 10,000 prompt tokens a second, by the length that is nearest
    assert duration.seconds == {"long answers": pytest.approx(50 * 32_768 / 10_000)}
    [(estimated, rate)] = duration.estimated
    assert (estimated, round(rate)) == (long, 10_000)
    assert duration.unknown == [summaries, other]


def test_what_is_no_record_of_this_profile_is_one_line_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file; to plan without a record put --llmperf-plan last"):
        read_planning_record(tmp_path, "test")
    with pytest.raises(UsageError, match=r"of the profile gpu, this run is of test"):
        read_planning_record(written(tmp_path, profile="gpu"), "test")
    (tmp_path / "other.json").write_text('{"schema": "llmperf-record/1", "verdicts": [{"status": "MAYBE"}]}')
    with pytest.raises(UsageError, match=r"not the record of a run"):
        read_planning_record(tmp_path / "other.json", "test")
    (tmp_path / "other.json").write_text("no JSON")
    with pytest.raises(UsageError, match=r"not the record of a run") as raised:
        read_planning_record(tmp_path / "other.json", "test")
    assert "\n" not in str(raised.value)


def test_conversations_take_their_turns_and_pauses_and_recorded_sessions_their_longest_turn(
    tmp_path: Path,
) -> None:
    def turn(number: int, name: str, *windows_s: float, schedule: str | None = None) -> dict[str, Any]:
        given = f"turn {number} of conversations {name}, 3 prompts"
        return {
            "row": "a",
            "purpose": "conversations",
            "schedule": schedule,
            "workload": {"input_tokens": 64, "output_tokens": 8, "given": given},
            "rounds": [{"window_s": window_s} for window_s in windows_s],
        }

    held, recorded = "of 2, 32 words more after 1.5 s", "of 2, as recorded in x.jsonl, 3 sessions"
    earlier = read(
        tmp_path,
        scheduled_load=[
            *(turn(number, held, 2.0, 4.0) for number in (1, 2)),
            *(turn(number, recorded, 5.0 + number, schedule="sessions") for number in (1, 2)),
            turn(1, f"{recorded} 0", 99.0, schedule="others"),
        ],
    )

    def planned(name: str, turns: int = 2, answer: int = 8, pauses_ms: int = 0) -> Phase:
        return Phase("scheduled loads", "a", ("conversations", name, turns, 64, answer, pauses_ms), 10)

    assert earlier.duration([planned(held, pauses_ms=1500)]).total_s == pytest.approx(10 * (3 + 3 + 1.5))
    assert earlier.duration([planned(recorded)]).total_s == pytest.approx(10 * 7.0)
    unknown = [planned(held, turns=3), planned(held, answer=9), planned("of 2, x")]
    assert earlier.duration(unknown).unknown == unknown
    assert str(unknown[0]) == "a conversations of 2, 32 words more after 1.5 s"
