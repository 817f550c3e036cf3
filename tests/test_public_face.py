"""``import pytest_llmperf``: every public name is there, the same for type checkers, and nothing is loaded before."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_llmperf

NAMES = pytest_llmperf.__all__


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_can_be_imported(name: str) -> None:
    assert getattr(pytest_llmperf, name) is not None
    assert name in dir(pytest_llmperf)


def test_type_checkers_see_the_names_that_there_are() -> None:
    tree = ast.parse(Path(pytest_llmperf.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.asname: f"{node.module}:{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("pytest_llmperf")
        for alias in node.names
    }
    assert sorted(filter(None, seen)) == NAMES
    for name, where in seen.items():
        module, _, attribute = where.partition(":")
        assert getattr(sys.modules[module], attribute) is getattr(pytest_llmperf, str(name)), name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        pytest_llmperf.nothing  # noqa: B018


def test_the_import_loads_no_other_module_of_the_package() -> None:
    script = "import sys, pytest_llmperf; print(*(m for m in sys.modules if m.startswith('pytest_llmperf.')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
