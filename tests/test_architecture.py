"""The law of ARCHITECTURE.md, kept by reading every import of the package."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from benchmarks.idle_plugin import idle_costs

PACKAGE = Path(__file__).parents[1] / "pytest_llmperf"

# Lower number = lower room; a module imports only from its own room or from lower ones.
LAYERS = {
    "config": 0, "engines": 0, "errors": 0, "home": 0, "json_values": 0, "visible_text": 0, "stats": 0, "units": 0,
    "parquet_reading": 0,
    "embedded": 1, "serving": 1, "client": 2,
    "load": 3, "tasks": 3, "prompts": 3,
    "gates": 4, "record": 5, "report": 5,
    "measure": 6,
    "fleet": 6, "cli": 7, "runs": 7, "__main__": 8, "fixtures": 8, "hookspecs": 7, "model_option": 8, "plugin": 8,
}  # fmt: skip
ROOMS_THAT_KNOW_PYTEST = {"cli", "fixtures", "hookspecs", "model_option", "plugin", "runs"}
HEAVY = {
    "openai": {"client"},
    "pydantic": {"config", "load", "record"},
    "datasets": {"tasks"},
    "pyarrow": {"parquet_reading", "record"},
    "shtab": {"cli"},
    "ray": {"fleet"},
    "math_verify": {"tasks"},
    "sympy": {"tasks"},
    "rouge_score": {"tasks"},
    "lm_eval": {"tasks"},
    "jsonschema": {"tasks"},
    "referencing": {"tasks"},
    "pynvml": {"serving"},
    "prometheus_client": {"client"},
    "scipy": {"stats"},
    "jinja2": {"prompts", "report"},
    "latex2mathml": {"report"},
    "ruptures": {"report"},
    "httptools": {"client", "load"},
    "numpy": {"embedded", "report", "stats"},
    "torch": {"embedded"},
    "transformers": {"engines"},
    "tokenizers": {"client"},
}
WITH_THEIR_ROOM = {"httptools", "pydantic"}  # imported with a module that an idle plugin does not load
RUN_ELSEWHERE = {"embedded"}  # engine plug-ins and planted damage: never imported by the plugin itself


def room_of(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


@cache
def imports(path: Path, *, type_only: bool = False) -> tuple[tuple[str, bool], ...]:
    """(module, at import time) of every import; those under TYPE_CHECKING only with ``type_only``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if not type_only and isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield alias.name, not inside
            elif isinstance(child, ast.ImportFrom) and child.module:
                yield child.module, not inside
                if child.module.split(".")[0] == "pytest_llmperf":
                    for alias in child.names:
                        yield f"{child.module}.{alias.name}", not inside
            yield from walk(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    return tuple(walk(tree, False))


def circles() -> list[set[str]]:
    """Groups of modules that import each other, directly or not; type-only and function-local imports count."""
    names = {
        ".".join(("pytest_llmperf", *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in modules()
    }
    needs = {
        name: {other for other, _ in imports(path, type_only=True) if other in names}
        for name, path in names.items()
    }
    reach = {name: _reachable(name, needs) for name in names}
    groups = {
        frozenset(other for other in reach[name] if name in reach[other])
        for name in names
        if name in reach[name]
    }
    found = ({name.removeprefix("pytest_llmperf.") for name in group} for group in groups if len(group) > 1)
    return sorted(found, key=sorted)


def _reachable(start: str, needs: dict[str, set[str]]) -> set[str]:
    """Modules that ``start`` imports, directly or through others."""
    reached: set[str] = set()
    waiting = list(needs[start])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += needs[name]
    return reached


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    mine = LAYERS[room_of(path)]
    above = [
        name
        for name, _ in imports(path)
        if name.startswith("pytest_llmperf.") and LAYERS[name.split(".")[1]] > mine
    ]
    assert above == [], f"{path.relative_to(PACKAGE)} imports from above: {above}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_rooms_at_the_top_know_pytest(path: Path) -> None:
    known = [name for name, _ in imports(path) if name.split(".")[0] in {"pytest", "_pytest"}]
    assert room_of(path) in ROOMS_THAT_KNOW_PYTEST or known == []


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_stay_in_their_room_and_inside_functions(path: Path) -> None:
    room = room_of(path)
    for name, at_import_time in imports(path):
        library = name.split(".")[0]
        if library not in HEAVY:
            continue
        assert room in HEAVY[library], f"{library} is imported in {room}"
        assert not at_import_time or room in RUN_ELSEWHERE or library in WITH_THEIR_ROOM, (
            f"{library} at import time"
        )


def test_no_import_circle() -> None:
    assert circles() == []


def test_an_idle_plugin_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
    (tmp_path / "conftest.py").write_text(
        "import sys\ndef pytest_sessionfinish():\n    open('modules.txt', 'w').write(' '.join(sys.modules))\n"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    command = "-m pytest --collect-only -q -p no:cacheprovider"
    subprocess.run([sys.executable, *command.split()], cwd=tmp_path, env=environment, check=True)
    loaded = (tmp_path / "modules.txt").read_text().split()
    assert "pytest_llmperf.plugin" in loaded, "the plugin is not installed in this environment"
    heavy = {"openai", "datasets", "pynvml", "scipy", "torch", "vllm", "numpy", "httptools", "jinja2"}
    heavy |= {"math_verify", "sympy", "pyarrow", "latex2mathml", "ruptures", "pydantic"}
    assert {name.split(".")[0] for name in loaded} & heavy == set()


def test_an_idle_plugin_costs_at_most_ten_milliseconds(tmp_path: Path) -> None:
    # The least of several: what others do on this machine only ever adds.
    assert min(plugin_s for plugin_s, _ in idle_costs(tmp_path, runs=5)) <= 0.010


def test_a_class_name_means_one_class() -> None:
    named: dict[str, list[str]] = {}
    for path in modules():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                named.setdefault(node.name, []).append(str(path.relative_to(PACKAGE)))
    assert {name: places for name, places in named.items() if len(places) > 1} == {}
