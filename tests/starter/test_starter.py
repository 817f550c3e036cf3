"""What a new user gets: valid, harmless to what is there, and complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.budgets import load_budgets
from pytest_llmperf.catalog import load_catalog
from pytest_llmperf.errors import UsageError
from pytest_llmperf.starter import write_starter


def test_an_empty_directory_gets_all_that_pytest_needs(tmp_path: Path) -> None:
    files, to_do = write_starter(tmp_path)
    assert to_do == ""
    assert sorted(path.relative_to(tmp_path).as_posix() for path in files) == [
        "pytest.ini",
        "suites/budgets.toml",
        "suites/models.toml",
        "suites/test_gate.py",
    ]
    assert all(path.is_file() for path in files)


def test_catalogue_and_budgets_are_valid_and_fit_each_other(tmp_path: Path) -> None:
    write_starter(tmp_path)
    catalog = load_catalog(tmp_path / "suites" / "models.toml")
    budgets = load_budgets(tmp_path / "suites" / "budgets.toml")
    assert set(catalog.profiles) == {"gpu", "embedded"}
    asked = {(suite, key) for _, _, suite, key, _ in budgets.bounds}
    for name in catalog.profiles:
        assert {(suite, key) for profile, _, suite, key, _ in budgets.bounds if profile == name} == asked
    suite = (tmp_path / "suites" / "test_gate.py").read_text()
    assert all(f"budget.{table}.{key}" in suite for table, key in asked)


def test_rows_for_the_cpu_are_served_as_the_shipped_ones_are(tmp_path: Path) -> None:
    """Two quirks of vLLM on the CPU are worked round in the shipped catalogue; a copy must not fall behind."""
    write_starter(tmp_path)
    ours = (
        load_catalog(Path(__file__).parents[2] / "suites" / "models.toml")
        .profile("embedded")
        .model("distill")
    )
    theirs = load_catalog(tmp_path / "suites" / "models.toml").profile("embedded").model("old")
    for key in ("weights", "arguments", "environment", "dtype", "max_model_len", "sampling", "gpus"):
        assert getattr(theirs, key) == getattr(ours, key), key


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("pyproject.toml", 'llmperf_models = "gates/models.toml"'),
        ("tox.ini", "llmperf_models = gates/models.toml"),
    ],
)
def test_a_configuration_that_is_there_is_left_alone_and_the_line_to_add_is_told(
    tmp_path: Path, name: str, line: str
) -> None:
    (tmp_path / name).write_text("# mine\n")
    files, to_do = write_starter(tmp_path, "gates")
    assert name in to_do
    assert line in to_do
    assert (tmp_path / name).read_text() == "# mine\n"
    assert {path.parent for path in files} == {tmp_path / "gates"}


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "budgets.toml").write_text("# mine\n")
    with pytest.raises(UsageError, match=r"suites/budgets\.toml is there already"):
        write_starter(tmp_path)
    assert [path.name for path in (tmp_path / "suites").iterdir()] == ["budgets.toml"]


def test_a_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "suites").write_text("a file")
    with pytest.raises(UsageError, match="cannot be written"):
        write_starter(tmp_path)
