"""What the command prints, and what the suite makes of an outcome."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from contrib.claims.__main__ import main
from contrib.claims.deciding import decide_all
from contrib.claims.plugin import ClaimsReport
from contrib.claims.reading import read_claims
from contrib.claims.table import decision_to_json

from .conftest import HERE, PUBLISHED, ROOT, SheetOf


def test_the_table_gives_each_claim_its_verdict_and_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([str(PUBLISHED / "claims.toml"), "--device", "NVIDIA H100 80GB HBM3"]) == 0
    printed = capsys.readouterr().out
    assert "awq-starts" in printed
    assert "no config file for it" in printed
    assert printed.rstrip().endswith("not testable here")


def test_where_the_table_does_not_fit_each_claim_is_a_block_with_its_verdict_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {}
    for columns in ("200", "80"):
        monkeypatch.setenv("COLUMNS", columns)
        assert main([str(HERE / "embedded.toml"), "--record", str(HERE / "embedded_run.json")]) == 0
        told[columns] = capsys.readouterr().out
        _, *lines = told[columns].splitlines()
        assert max(map(len, lines)) <= int(columns)
    names = [claim.name for claim in read_claims(HERE / "embedded.toml").claims]
    blocks = [line for line in told["80"].splitlines()[1:-1] if not line.startswith(" ")]
    assert [block.split(": ")[1].rstrip(":") for block in blocks] == names
    assert {block.split(":")[0] for block in blocks} == {"confirmed", "refuted", "physically impossible"}
    reasons = [line for line in told["200"].splitlines() if line.startswith("    ")]
    assert "".join(reasons[0].split()) in "".join(told["80"].split()), "nothing is lost but the columns"


def test_the_page_is_markdown_whose_cells_no_text_can_break(
    sheet_of: SheetOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet_of('kind = "served id"\nmodel = "math"\nvalue = "<b>a|b\\n</b>"')
    assert main([str(tmp_path / "claims.toml"), "--device", "CPU", "--markdown"]) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| w |")]
    assert row.replace("\\|", "").count("|") == 7
    assert "<b>" not in row
    assert "&lt;b&gt;a\\|b\\n" in row
    assert "**refuted**" in row


def test_a_record_is_named_by_its_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(HERE / "embedded.toml"), "--record", str(HERE / "embedded_run.json")]) == 0
    assert "9 confirmed, 6 refuted, 1 physically impossible" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [["nothing.toml"], [str(PUBLISHED / "claims.toml"), "--record", str(HERE / "embedded_run.json")]],
)
def test_a_mistake_is_one_line_and_exit_code_4(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 4
    assert len(capsys.readouterr().err.splitlines()) == 1


OURS = ("-p", "llmperf", "-p", "contrib.claims.plugin")


@pytest.fixture(autouse=True)
def only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other plugins are installed here has no say in the sessions of these tests."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def _suite(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    for name in ("test_claims.py", "model_card.toml"):
        shutil.copy(PUBLISHED / name, pytester.path / name)
    shutil.copy(HERE / "embedded.toml", pytester.path / "pair.toml")
    return pytester.runpytest_inprocess(*OURS, "-rsx", "-p", "no:cacheprovider", *options)


def test_the_suite_passes_only_what_is_confirmed(pytester: pytest.Pytester) -> None:
    result = _suite(pytester)
    # the pair: one size confirmed, one context refuted, one size impossible; thirteen claims and the card need a run
    result.assert_outcomes(passed=1, xfailed=2, skipped=15)
    result.stdout.fnmatch_lines(
        ["*llmperf claims*", "*1 confirmed, 1 refuted, 1 physically impossible, 15 not*"]
    )


def test_a_gate_is_red_for_everything_that_is_not_confirmed(pytester: pytest.Pytester) -> None:
    _suite(pytester, "--llmperf-claims=gate").assert_outcomes(passed=1, failed=17)


def test_a_record_decides_the_claims_that_a_measurement_can(pytester: pytest.Pytester) -> None:
    # The card is of another profile than the record, which is an error of the command line.
    result = _suite(pytester, f"--llmperf-claims-record={HERE / 'embedded_run.json'}", "--deselect=card")
    assert result.ret != 0
    (pytester.path / "model_card.toml").unlink()
    result = pytester.runpytest_inprocess(*OURS, f"--llmperf-claims-record={HERE / 'embedded_run.json'}")
    result.assert_outcomes(passed=9, xfailed=7)


def test_another_word_for_the_gate_is_refused(pytester: pytest.Pytester) -> None:
    assert _suite(pytester, "--llmperf-claims=maybe").ret == pytest.ExitCode.USAGE_ERROR


def test_workers_tell_the_table_and_the_record_what_came_of_the_claims(pytester: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    for name in ("test_claims.py", "model_card.toml"):
        pytester.path.joinpath(name).write_text((PUBLISHED / name).read_text(encoding="utf-8"))
    result = pytester.runpytest_subprocess(*OURS, "-p", "xdist", "-n", "2", "-v")
    text = result.stdout.str()
    assert "llmperf claims" in text
    assert "2 not testable here" in text
    assert "and so its weights" in text, "with the reasons"


def test_the_record_holds_each_claim_with_its_verdict_and_reason() -> None:
    sheet = read_claims(PUBLISHED / "model_card.toml")
    decided = [decision_to_json(one) for one in decide_all(sheet, "CPU")]
    report, record = ClaimsReport(), dict[str, Any]()
    report.pytest_llmperf_update_record(None, record)  # type: ignore[arg-type]
    assert record == {}, "a run without claims says nothing of any"
    report.decided = decided
    report.pytest_llmperf_update_record(None, record)  # type: ignore[arg-type]
    first = json.loads(json.dumps(record))["claims"][0]
    assert first["claim"] == "math-500"
    assert {"words", "source", "published", "device", "measured", "verdict", "reason"} <= first.keys()
    assert first["verdict"] == "not testable here"
