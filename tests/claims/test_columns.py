"""Several records side by side: each device's verdict in a column of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contrib.claims.__main__ import main

from .conftest import SheetOf, gpu_run, load

FAST = 'kind = "speed"\nmodel = "distill"\nholds = "at least"\nvalue = "143 tok/s"\n'


def written(path: Path, device: str, **facts: Any) -> str:
    path.write_text(json.dumps(gpu_run(device={"class": device, "name": device}, **facts).record))
    return str(path)


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """Options: a fast device's record, and a slow one's."""
    fast = written(tmp_path / "fast.json", "H100", load=[load("distill", [380] * 6)])
    slow = written(tmp_path / "slow.json", "CPU", load=[load("distill", [2] * 6)])
    return ["--record", fast, "--record", slow]


def cells(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> list[list[str]]:
    """Of the rows of the table, without its ruler."""
    assert main(arguments) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_each_device_has_a_column_with_its_own_verdict(
    sheet_of: SheetOf, two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet_of(FAST + 'protocol = { device = "T4" }')
    head, row = cells(capsys, [str(tmp_path / "claims.toml"), *two, "--markdown"])
    assert head == ["claim", "published", "without a run", "H100", "CPU"]
    assert row[:2] == ["w", "143 tok/s"]
    assert row[2].startswith("T4: **physically impossible**: a step reads 3.087 GB")
    assert row[3].startswith("**confirmed**: 380 tok/s")
    assert row[4].startswith("**refuted**: 2.00 tok/s")


def test_a_claim_that_names_no_device_has_no_verdict_without_a_run(
    sheet_of: SheetOf, two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet_of(FAST)
    _, row = cells(capsys, [str(tmp_path / "claims.toml"), *two, "--markdown"])
    assert row[2] == "—"
    assert row[3].startswith("H100: **confirmed**")


def test_what_arithmetic_decides_is_said_once_and_beside_it_only_what_a_record_adds(
    sheet_of: SheetOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet_of('kind = "size"\nmodel = "distill"\nvalue = "3.55 GB"\ntolerance = "1 %"')
    loaded = [{"row": "distill", "command": "", "milestones": {"model_bytes": 3.7e9}}]
    options = ["--record", written(tmp_path / "one.json", "H100", servers=loaded)]
    options += ["--record", written(tmp_path / "other.json", "CPU")]
    _, row = cells(capsys, [str(tmp_path / "claims.toml"), *options, "--markdown"])
    assert "1,777,088,000 parameters" in row[2]
    assert row[3:] == ["**confirmed**: loaded on H100 it takes 3.70 GB", "**confirmed**"]


def test_a_terminal_shows_one_table_after_the_other(
    sheet_of: SheetOf, two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet_of(FAST)
    assert main([str(tmp_path / "claims.toml"), *two]) == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("t, on")] == ["t, on H100", "t, on CPU"]
    assert "1 confirmed" in printed
    assert "1 refuted" in printed
