"""The nodes get the files that a clone and its changes have, and no weights by accident."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.fleet.working_tree import working_tree

FILES = (
    "suites/test_a.py",
    "suites/data/items.jsonl",
    "models.toml",
    "weights/model.safetensors",
    "checkpoints/old/model.bin",
    "__pycache__/a.pyc",
    "ignored.log",
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * (1000 if "model." in name else 10))
    (tmp_path / ".gitignore").write_text("*.log\n")
    return tmp_path


def names(root: Path, exclude: tuple[str, ...] = ()) -> set[str]:
    return {str(file) for file in working_tree(root, exclude).files}


def test_outside_of_git_every_file_is_sent_but_what_is_made_anew(tree: Path) -> None:
    assert names(tree) == {*FILES, ".gitignore"} - {"__pycache__/a.pyc"}


def test_in_a_repository_changes_are_sent_and_ignored_files_are_not(tree: Path) -> None:
    for command in (["init", "-q"], ["add", "models.toml"]):
        subprocess.run(["git", "-C", str(tree), *command], check=True)
    (tree / "models.toml").write_text("changed since")
    assert names(tree) == {*FILES, ".gitignore"} - {"__pycache__/a.pyc", "ignored.log"}
    (tree / "models.toml").unlink()
    assert "models.toml" not in names(tree)


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("checkpoints/", {"checkpoints/old/model.bin"}),
        ("old/", {"checkpoints/old/model.bin"}),
        ("suites/data/", {"suites/data/items.jsonl"}),
        ("*.safetensors", {"weights/model.safetensors"}),
        ("suites/*.py", {"suites/test_a.py"}),
        ("data", set()),
    ],
)
def test_what_is_excluded_is_not_sent(tree: Path, pattern: str, gone: set[str]) -> None:
    assert names(tree) - names(tree, (pattern,)) == gone


def test_a_tree_that_is_too_large_is_refused_with_its_largest_files(tree: Path) -> None:
    with pytest.raises(UsageError, match=r"has 2\.0\d kB, and Ray sends at most 1\.00 kB") as raised:
        working_tree(tree, most_bytes=1000)
    assert "checkpoints/old/model.bin (1.00 kB), weights/model.safetensors (1.00 kB)" in str(raised.value)
    assert "exclude" in str(raised.value)


def test_the_copy_is_the_tree(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = tmp_path_factory.mktemp("copy")
    found = working_tree(tree, ("weights/",))
    found.copy_to(copy)
    assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == names(
        tree, ("weights/",)
    )
    assert str(found) == f"{len(found.files)} files, {found.size / 1000:.2f} kB"
