"""The embedded pair on real vLLM: planted damage turns the gate red and is named, an equal model stays green."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.vllm


def gate(record: Path, *arguments: str) -> tuple[int, list[dict[str, object]], str]:
    """Exit code, verdicts and output of one run of the suites."""
    command = [sys.executable, "-m", "pytest", "-q", "--llmperf-profile", "embedded", *arguments]
    done = subprocess.run(
        [*command, "--llmperf-record", str(record)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(record.read_text())["verdicts"], done.stdout


def test_a_damaged_model_is_red_on_accuracy_and_the_gate_says_so(tmp_path: Path) -> None:
    code, verdicts, output = gate(
        tmp_path / "record.json", "suites/test_accuracy.py", "--model", "distill-damaged"
    )
    failed = {str(v["metric"]) for v in verdicts if v["status"] == "FAIL"}
    assert code == 1
    assert any("accuracy" in metric for metric in failed), output
    assert "embedded accuracy" in output


@pytest.mark.timed
def test_a_slow_engine_is_red_on_speed_and_the_gate_says_so(tmp_path: Path) -> None:
    code, verdicts, output = gate(
        tmp_path / "record.json",
        "suites/test_latency.py",
        "-k",
        "tokens_come_as_fast and 8",
        "--model",
        "distill-slow",
    )
    assert code == 1
    assert "TPOT at 8" in output
    assert {str(v["status"]) for v in verdicts} <= {"FAIL", "INCONCLUSIVE"}, output
    assert any(v["status"] == "FAIL" for v in verdicts), output


@pytest.mark.timed
def test_a_model_against_itself_is_green(tmp_path: Path) -> None:
    code, verdicts, output = gate(
        tmp_path / "record.json",
        "suites/test_accuracy.py",
        "suites/test_latency.py",
        "-k",
        "not_worse or (tokens_come_as_fast and 8)",
        "--baseline",
        "distill",
    )
    assert code == 0, output
    assert len(verdicts) == 2
    assert {v["status"] for v in verdicts} == {"PASS"}


def test_leaving_the_prompt_rules_makes_the_embedded_model_measurably_worse(tmp_path: Path) -> None:
    # Two rules at once, since a start costs more than the answers.
    suite = tmp_path / "test_harm.py"
    suite.write_text(
        "from pytest_llmperf import points\n"
        "\n"
        "def test_a_system_prompt_does_harm(candidate, accuracy, rules):\n"
        "    asked = accuracy(candidate, rules.with_system('You are a helpful assistant.'), items=400)\n"
        "    assert asked <= accuracy(candidate, items=400) + points(-5)\n"
        "\n"
        "def test_a_high_temperature_does_harm(candidate, accuracy, rules):\n"
        "    asked = accuracy(candidate, rules.at_temperature(1.5, top_p=1.0), items=400)\n"
        "    assert asked <= accuracy(candidate, items=400) + points(0)\n"
        "\n"
        "def test_some_answers_miss_their_box(candidate, answers, rules):\n"
        "    assert answers(candidate, rules.without_instruction).boxed <= 0.5\n"
    )
    models = REPOSITORY / "suites" / "models.toml"
    code, verdicts, output = gate(tmp_path / "record.json", str(suite), "--llmperf-models", str(models))
    assert code == 0, output
    assert len(verdicts) == 3
