"""``pytest-llmperf history --gate``: its exit codes, and what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.record.store import write_record
from tests.record.test_drift import LEVELS, ONE, PASSED, night, nights


def written(directory: Path, *values: float | None) -> str:
    directory.mkdir()
    for number, record in enumerate(nights(*values)):
        write_record(directory / f"{number:02}.json", record.as_json())
    return str(directory)


def test_a_metric_that_drifted_ends_with_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steady = written(tmp_path / "steady", *LEVELS, 100.0, 101.0, 99.0)
    assert main(["history", steady, "--gate"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "PASS: 1 gate: 1 PASS"
    worse = written(tmp_path / "worse", *LEVELS, 120.0, 121.0, 119.0)
    assert main(["history", worse, "--gate"]) == 1
    out = capsys.readouterr().out
    assert f"FAIL: {ONE} has drifted: 120 s over the last 3 nights to 2026-11-13" in out
    assert main(["history", worse]) == 0


def test_a_short_history_is_red_unless_it_may_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = written(tmp_path / "short", *LEVELS[:4])
    assert main(["history", short, "--gate"]) == 1
    assert "INCONCLUSIVE" in capsys.readouterr().out
    assert main(["history", short, "--gate", "--inconclusive", "warn"]) == 0


def test_a_night_that_did_not_end_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steady = written(tmp_path / "steady", *LEVELS, 100.0, 101.0, 99.0)
    killed = night(13, None, partial="the run was killed")
    write_record(tmp_path / "steady" / "13.json", killed.as_json())
    assert main(["history", steady, "--gate"]) == 0
    assert "left out: the run of 2026-11-14 is partial: the run was killed" in capsys.readouterr().out


def test_a_night_with_waived_gates_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    waived = {**PASSED, "status": "FAIL", "waived": "until 2026-12-31: slow disk"}
    record = night(0, 100.0, verdicts=[PASSED, waived, waived])
    write_record(tmp_path / "run.json", record.as_json())
    assert main(["history", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[2].endswith("2 waived")


def test_an_accepted_level_begins_a_history_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = written(tmp_path / "worse", *LEVELS, 120.0, 121.0, 119.0)
    assert main(["history", worse, "--gate", "--since", "2026-11-11", "--inconclusive", "warn"]) == 0
    assert "3 like runs" in capsys.readouterr().out
    assert main(["history", worse, "--gate", "--since", "2027-01-01"]) == 4
    assert "nothing can be judged" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["history", worse, "--gate", "--since", "yesterday"])
    assert "write it as 2026-12-31" in capsys.readouterr().err


def test_a_history_without_a_metric_is_not_green(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = written(tmp_path / "empty", None, None)
    assert main(["history", empty, "--gate"]) == 4
    assert "nothing can be judged" in capsys.readouterr().err
