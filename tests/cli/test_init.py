"""What a new user gets from ``init``: valid, harmless to what is there, and complete."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.config.budgets import load_budgets
from pytest_llmperf.config.catalog import load_catalog

GITHUB, GITLAB = ".github/workflows/llmperf.yml", "llmperf.gitlab-ci.yml"
SHIPPED = Path(__file__).parents[2] / "suites" / "models.toml"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory, in which we are."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def test_an_empty_directory_gets_all_that_pytest_needs(here: Path) -> None:
    assert main(["init"]) == 0
    suite = ("budgets.toml", "models.toml", "test_accuracy.py", "test_latency.py")
    assert files(here) == [GITHUB, "pytest.ini", *(f"suites/{name}" for name in suite)]


@pytest.mark.parametrize(("schema", "given"), [("github-workflows", None), ("gitlab-ci", ".gitlab-ci.yml")])
def test_the_job_is_one_that_the_service_takes(
    here: Path, capsys: pytest.CaptureFixture[str], schema: str, given: str | None
) -> None:
    if given:
        (here / given).write_text("stages: [test]\n")
    assert main(["init", "gates"]) == 0
    job = here / (GITLAB if given else GITHUB)
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
        + (["--data-transform", "gitlab-ci"] if given else [])
        + [str(job)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    text = job.read_text()
    assert "pytest gates --llmperf-profile embedded --llmperf-models gates/models.toml" in " ".join(
        text.split()
    )
    told = capsys.readouterr().out
    assert f"wrote {job.relative_to(here)}" in told
    assert ("include: { local: llmperf.gitlab-ci.yml }" in told) is bool(given)
    if given:
        assert (here / given).read_text() == "stages: [test]\n"
        assert GITHUB not in files(here)


def test_a_job_that_is_there_is_left_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / GITHUB).parent.mkdir(parents=True)
    (here / GITHUB).write_text("# mine\n")
    assert main(["init"]) == 0
    assert (here / GITHUB).read_text() == "# mine\n"
    assert f"left {GITHUB} as it is" in capsys.readouterr().out


def test_the_jobs_of_this_repository_are_ones_that_github_takes() -> None:
    jobs = sorted(str(path) for path in SHIPPED.parents[1].glob(".github/workflows/*.yml"))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    checked = subprocess.run([*command, *jobs], capture_output=True, text=True, check=False)
    assert jobs
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_catalogue_and_budgets_are_valid_and_fit_the_tests(here: Path) -> None:
    main(["init"])
    catalog = load_catalog(here / "suites" / "models.toml")
    bounds = load_budgets(here / "suites" / "budgets.toml").bounds
    assert set(catalog.profiles) == {"gpu", "embedded"}
    asked = {(suite, key) for _, _, suite, key, _ in bounds}
    for name in catalog.profiles:
        assert {(suite, key) for profile, _, suite, key, _ in bounds if profile == name} == asked
    tests = "".join(path.read_text() for path in (here / "suites").glob("test_*.py"))
    assert all(f"budget.{table}.{key}" in tests for table, key in asked)


def test_rows_for_the_cpu_are_served_as_the_shipped_ones_are(here: Path) -> None:
    """Two quirks of vLLM on the CPU are worked round in the shipped catalogue; a copy must not fall behind."""
    main(["init"])
    ours = load_catalog(SHIPPED).profile("embedded").model("distill")
    theirs = load_catalog(here / "suites" / "models.toml").profile("embedded").model("old")
    for key in ("weights", "arguments", "environment", "gpus"):
        assert getattr(theirs, key) == getattr(ours, key), key


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("pyproject.toml", "[tool.pytest]\nstrict = true\n", 'llmperf_models = "gates/models.toml"'),
        ("tox.ini", "[pytest]\n", "llmperf_models = gates/models.toml"),
    ],
)
def test_a_configuration_that_is_there_is_left_alone_and_the_line_to_add_is_told(
    here: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, line: str
) -> None:
    (here / name).write_text(content)
    assert main(["init", "gates"]) == 0
    told = capsys.readouterr().out
    assert name in told
    assert line in told
    assert (here / name).read_text() == content
    assert "pytest.ini" not in files(here)


def test_nothing_is_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "suites").mkdir()
    (here / "suites" / "budgets.toml").write_text("# mine\n")
    assert main(["init"]) == 4
    assert "suites/budgets.toml" in capsys.readouterr().err
    assert files(here) == ["suites/budgets.toml"]
