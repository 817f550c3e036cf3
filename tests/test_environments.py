"""The tests on real engines are collected with all others, in an environment that has less."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[1]
OWN = {"tests", "pytest_llmperf", "benchmarks", "contrib", "suites", "tools", "docs", "conftest"}


def normalised(requirement: str) -> str:
    """The name of a distribution as package indexes compare it (PEP 503)."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    assert name, f"no distribution in {requirement!r}"
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def both_environments_have() -> set[str]:
    """Distributions that the project or ``tests/requirements.txt`` names, and what those need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = (ROOT / "tests" / "requirements.txt").read_text().splitlines()
    waiting = [*project["dependencies"], *(line for line in listed if line and not line.startswith("#"))]
    found: set[str] = set()
    while waiting:
        name = normalised(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            needed = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another system or Python
            continue
        waiting += [line for line in needed if "extra ==" not in line]
    return found


def test_test_modules_import_at_the_top_only_what_the_environment_of_the_suites_has_too() -> None:
    provided = metadata.packages_distributions()
    had = both_environments_have()
    missing: dict[str, str] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for top in {name.split(".")[0] for name in names} - OWN - set(sys.stdlib_module_names):
                if not {normalised(one) for one in provided.get(top, ())} & had:
                    missing[str(path.relative_to(ROOT))] = top
    assert missing == {}, f"add the library to tests/requirements.txt: {missing}"
