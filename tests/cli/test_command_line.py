"""The command line as a user meets it: what it says, its exit codes, and never a traceback."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.cli import COMMANDS, doctor, main
from pytest_llmperf.record.store import write_record
from pytest_llmperf.record.tables import ANSWERS, store_table
from pytest_llmperf.serving import gpu
from tests.lora import write_adapter
from tests.record.test_compare import answers, run
from tests.record.test_references import RUN

PASSED = {
    "metric": "accuracy",
    "status": "PASS",
    "n": 100,
    "observed": 0.8,
    "interval": [0.7, None],
    "bound": 0.6,
}
PASSED |= {"n_needed": None, "method": "exact", "why": "accuracy is 80 %", "unit": "share"}


def recorded(path: Path, right: set[int], **changed: Any) -> Path:
    about = store_table(path, ANSWERS, answers(right))
    one = {
        **RUN,
        **run(len(right), 100 - len(right)),
        "verdicts": [PASSED],
        "written": "2026-11-25T01:00:00+00:00",
    }
    write_record(path, one | {ANSWERS.key: about} | changed)
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return recorded(tmp_path / "good.json", set(range(80)))


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    return recorded(tmp_path / "bad.json", set(range(12, 80)))


def test_a_comparison_fails_for_what_is_worse_and_for_nothing_else(
    good: Path, bad: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(good), str(good)]) == 0
    assert "1 no difference shown" in capsys.readouterr().out
    assert main(["compare", str(good), str(bad)]) == 1
    out = capsys.readouterr().out
    assert "0 gained, 12 lost" in out
    assert out.splitlines()[0] == "1 worse"
    assert main(["compare", str(bad), str(good)]) == 0
    capsys.readouterr()
    assert main(["compare", "--markdown", str(good), str(bad)]) == 1
    assert "| distill: gsm8k accuracy | 80.0 % | 68.0 % | worse |" in capsys.readouterr().out


def test_gaps_fail_only_when_asked_to(good: Path, tmp_path: Path) -> None:
    gone = recorded(tmp_path / "gone.json", set(range(80)), suite={"tests": ["t.py::test_speed"]})
    assert main(["compare", str(good), str(gone)]) == 0
    assert main(["compare", "--gaps=fail", str(good), str(gone)]) == 1


def test_candidates_of_other_names_are_compared_and_it_says_so(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = json.loads(recorded(tmp_path / "bad.json", set(range(45))).read_text(encoding="utf-8"))
    named["candidates"] = ["int8"]
    for part in (*named["servers"], *named["answers"], *named["metrics"]):
        part["row"] = "int8" if part["row"] == "distill" else part["row"]
    int8 = tmp_path / "int8.json"
    write_record(int8, {key: value for key, value in named.items() if key != ANSWERS.key})
    assert main(["compare", str(good), str(int8)]) == 1
    out = capsys.readouterr().out
    assert "int8 of the second run is compared with distill of the first" in out
    assert main(["compare", str(good), str(int8), "--rows", "distill=int8"]) == 1
    assert main(["compare", str(good), str(int8), "--rows", "math=int8"]) == 3
    assert main(["compare", str(good), str(int8), "--rows", "int8"]) == 4


def test_records_without_anything_in_common_are_no_good_news(good: Path, tmp_path: Path, capsys: Any) -> None:
    other = recorded(tmp_path / "other.json", set(range(80)), answers=[], metrics=[])
    assert main(["compare", str(good), str(other)]) == 3
    assert "not compared, not measured in the second run: distill: gsm8k accuracy" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"pytest-llmperf {version('pytest-llmperf')}\n"


def test_a_run_is_shown_with_its_verdicts_metrics_and_word(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(good)]) == 0
    out = capsys.readouterr().out
    for words in ("distill against math", "on H100", "gsm8k, as promised", "PASS: 1 gate"):
        assert words in out


def test_history_tells_a_metric_over_the_runs_oldest_first(good: Path, tmp_path: Path, capsys: Any) -> None:
    recorded(tmp_path / "later.json", set(range(90)), written="2026-11-26T01:00:00+00:00")
    (tmp_path / "other.json").write_text("{}")
    assert main(["history", str(tmp_path), "--metric", "accuracy"]) == 0
    out = capsys.readouterr().out
    assert out.index("2026-11-25") < out.index("2026-11-26")
    assert "80.0 %" in out
    assert "left out:" in out
    assert main(["history", str(good), "--metric", "nothing"]) == 4


def test_a_promoted_record_can_be_compared_with(good: Path, bad: Path, tmp_path: Path) -> None:
    assert main(["promote", str(good), "--to", str(tmp_path / "refs"), "--note", "first"]) == 0
    [reference] = (tmp_path / "refs").glob("*/record.json")
    assert main(["compare", str(reference), str(bad)]) == 1


def test_promoting_says_what_it_replaces(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ["--to", str(tmp_path / "refs")]
    assert main(["promote", str(good), *to, "--note", "release 3"]) == 0
    assert "in place of" not in capsys.readouterr().out
    assert main(["promote", str(good), *to, "--force"]) == 0
    assert "(release 3)" in capsys.readouterr().out.partition("in place of ")[2]


def test_references_are_where_the_project_has_configured_them(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "project"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "pyproject.toml").write_text('[tool.pytest.ini_options]\nllmperf_references = "golden"\n')
    assert main(["promote", str(good)]) == 0
    assert list(here.glob("golden/*/record.json"))
    assert "reference: golden/" in capsys.readouterr().out
    (here / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '--no-such-option'\n")
    assert main(["promote", str(good)]) == 4
    assert "give the directory" in capsys.readouterr().err


def test_a_page_that_is_made_again_shows_the_reference(good: Path, bad: Path, tmp_path: Path) -> None:
    references = str(tmp_path / "refs")
    assert main(["promote", str(good), "--to", references]) == 0
    recorded(bad, set(range(12, 80)), written="2026-11-26T01:00:00+00:00")
    assert main(["report", str(bad), "--references", references]) == 0
    assert "0 gained, 12 lost" in bad.with_suffix(".html").read_text(encoding="utf-8")


def test_the_page_is_made_again(good: Path, tmp_path: Path) -> None:
    assert main(["report", str(good), "--out", str(tmp_path / "page.html")]) == 0
    assert "<html" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["show", "report", "promote", "history"])
@pytest.mark.parametrize("content", [None, "", "[1]", '{"schema": "llmperf-record/0"}'])
def test_what_is_no_record_is_one_line_and_exit_code_4(
    tmp_path: Path, command: str, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "record.json"
    if content is not None:
        path.write_text(content)
    assert main([command, str(path)]) == 4
    said = capsys.readouterr().err
    assert said.startswith(f"pytest-llmperf {command}: ")
    assert said.count("\n") == 1
    assert "record.json" in said


def test_init_writes_a_suite_once_and_only_below_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert "llmperf_models = suites/models.toml" in (tmp_path / "pytest.ini").read_text()
    assert main(["init"]) == 4
    assert main(["init", "../elsewhere"]) == 4
    assert capsys.readouterr().err.count("\n") == 2


def test_doctor_says_what_to_do_where_there_is_no_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["doctor", "--engine-python", str(tmp_path / "nowhere")]) == 1
    out = capsys.readouterr().out
    assert "BAD   engine:" in out
    assert "→ give --engine-python PATH" in out
    monkeypatch.setattr(doctor, "engine_version", lambda python, distributions: "vllm 0.32.0")
    monkeypatch.setattr(gpu, "open_nvml", gpu.NoDevices)
    main(["doctor"])
    assert "ok    engine: vllm 0.32.0" in capsys.readouterr().out


@pytest.mark.parametrize("command", [one.__name__.rpartition(".")[2] for one in COMMANDS])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert "usage: pytest-llmperf" in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_a_shell_can_complete(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "promote" in capsys.readouterr().out


def test_doctor_looks_for_the_adapter_of_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmperf.serving.checkpoint.check", lambda *_: None)
    weights = tmp_path / "w"
    weights.mkdir()
    config = {"hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1}
    (weights / "config.json").write_text(json.dumps(config))
    (weights / "model.safetensors").write_bytes(b"x")
    models = tmp_path / "models.toml"
    models.write_text(
        f'[profile.p]\ncandidate = "t"\nbaseline = "m"\n[profile.p.model.m]\nweights = "{weights}"\n'
        '[profile.p.model.t]\nadapter_of = "m"\nadapter = "./t"\n'
    )
    main(["doctor", "--models", str(models)])
    assert "BAD   adapter of t: t: adapter = " in capsys.readouterr().out
    write_adapter(tmp_path / "t", weights, rank=2)
    main(["doctor", "--models", str(models)])
    assert "ok    adapter of t: here, rank 2, on the server of m" in capsys.readouterr().out


def test_doctor_reads_the_prompts_of_a_catalogue_as_a_run_will(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_llmperf.serving.checkpoint.check", lambda *_: None)
    weights = tmp_path / "w"
    weights.mkdir()
    (weights / "config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes(b"x")
    template = (
        "<|im_start|>system\nBe concise.<|im_end|>\n<|im_start|>user\n{{ messages[-1].content }}<|im_end|>\n"
    )
    (weights / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    models = tmp_path / "models.toml"
    row = f'[profile.p]\ncandidate = "m"\nbaseline = "m"\n[profile.p.model.m]\nweights = "{weights}"\n'
    models.write_text(row)
    main(["doctor", "--models", str(models)])
    assert "BAD   prompts of m: hidden-system: " in capsys.readouterr().out
    models.write_text(f'{row}[profile.p.model.m.rules]\naccepts = ["hidden-system"]\n')
    main(["doctor", "--models", str(models)])
    assert "ok    prompts of m: as the row accepts them (hidden-system)" in capsys.readouterr().out
