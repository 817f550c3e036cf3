"""What numbers depend on is found, and changes when it changes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pytest_llmperf.record.fingerprint import commit_of, cpu_name, environment, suite_of
from pytest_llmperf.record.model import Suite


def git(directory: Path, *arguments: str) -> None:
    own = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *own, *arguments], cwd=directory, check=True, capture_output=True)


def test_the_commit_and_how_files_differ_from_it(tmp_path: Path) -> None:
    assert commit_of(tmp_path) is None
    git(tmp_path, "init")
    (tmp_path / "suite.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    first = commit_of(tmp_path)
    assert first is not None
    assert len(first.commit or "") == 40
    assert first.changed is False
    (tmp_path / "suite.py").write_text("2")
    second = commit_of(tmp_path)
    assert second is not None
    assert second.changed is True
    assert second.commit == first.commit
    assert second == commit_of(tmp_path)
    (tmp_path / "suite.py").write_bytes(b"3\xff")
    third = commit_of(tmp_path)
    assert third is not None
    assert None is not third.diff_sha256 != second.diff_sha256 is not None


def test_the_suite_is_its_tests_the_conftests_above_them_and_the_catalogues(tmp_path: Path) -> None:
    for name in (
        "suites/deep/test_a.py",
        "suites/conftest.py",
        "conftest.py",
        "suites/models.toml",
        "other.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    test, models = tmp_path / "suites/deep/test_a.py", tmp_path / "suites/models.toml"

    def suite() -> Suite:
        return suite_of([test, test], [models, tmp_path / "absent.toml"], tmp_path)

    before = suite()
    assert before.files == (
        "conftest.py",
        "suites/conftest.py",
        "suites/deep/test_a.py",
        "suites/models.toml",
    )
    (tmp_path / "other.py").write_text("changed")
    assert suite() == before
    (tmp_path / "suites/conftest.py").write_text("changed")
    assert suite().sha256 != before.sha256


def test_a_catalogue_elsewhere_is_named_without_its_place(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "models.toml").write_text("")
    assert suite_of([], [tmp_path / "models.toml"], tmp_path / "here").files == ("models.toml",)


def test_the_environment_names_versions_and_machine(tmp_path: Path) -> None:
    found = environment(tmp_path)
    assert (found.python or "").startswith("3.")
    assert (found.cpus or 0) >= 1
    assert found.git is None
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n")
    assert cpu_name(tmp_path / "cpuinfo") == "Some CPU @ 2 GHz"
