"""The law of ARCHITECTURE.md, kept by reading every import of the package."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pytest_llmperf"

# Lower number = lower room; a module imports only from its own room or from lower ones.
LAYERS = {
    "__main__": 7, "cli": 7, "recording": 7, "referenced": 7, "configured": 7,
    "errors": 0, "stats": 0, "units": 0, "strict_toml": 0, "bounds": 0, "parquet_reading": 0,
    "catalog": 0, "catalog_reading": 0, "answer_options": 0, "budget_keys": 0, "budgets": 0,
    "embedded": 1, "serving": 1, "client": 2,
    "load": 3, "tasks": 3, "rules": 3,
    "gates": 4, "record": 5, "report": 5,
    "settings": 6, "measure": 6, "claims": 6,
    "answer_keeping": 7, "claimed": 7,
    "hookspecs": 7, "keys": 7, "outlets": 7, "screen": 7, "run": 7, "dry_run": 7, "planned_run": 7, "proved_run": 7,
    "fixtures": 7, "benchmark_bridge": 7, "profile_marks": 7, "model_option": 7, "plugin": 7,
}  # fmt: skip
ROOMS_THAT_KNOW_PYTEST = {
    "answer_keeping",
    "claimed",
    "configured",
    "hookspecs",
    "keys",
    "run",
    "dry_run",
    "planned_run",
    "proved_run",
    "fixtures",
    "benchmark_bridge",
    "profile_marks",
    "model_option",
    "plugin",
}
HEAVY = {
    "openai": {"client"},
    "datasets": {"tasks"},
    "pyarrow": {"parquet_reading", "record"},
    "jsonschema": {"record"},
    "shtab": {"cli"},
    "math_verify": {"tasks"},
    "sympy": {"tasks"},
    "rouge_score": {"tasks"},
    "pynvml": {"serving"},
    "scipy": {"stats"},
    "jinja2": {"rules", "report"},
    "latex2mathml": {"report"},
    "ruptures": {"report"},
    "httptools": {"client", "load"},
    "numpy": {"embedded", "report"},
    "torch": {"embedded"},
    "transformers": {"embedded", "serving"},
    "tokenizers": {"embedded", "rules"},
}
TRAINED_ELSEWHERE = {"embedded"}  # training scripts and engine plug-ins: never imported by the plugin


def room_of(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, at import time) of every import; those under TYPE_CHECKING are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield alias.name, not inside
            elif isinstance(child, ast.ImportFrom) and child.module:
                yield child.module, not inside
                if child.module == "pytest_llmperf":
                    for alias in child.names:
                        yield f"pytest_llmperf.{alias.name}", not inside
            yield from walk(child, inside or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef))

    yield from walk(tree, False)


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
        assert not at_import_time or room in TRAINED_ELSEWHERE or library == "httptools", (
            f"{library} at import time"
        )


def test_files_hold_one_idea_and_can_be_read_in_one_sitting() -> None:
    long = {str(p.relative_to(PACKAGE)): n for p in modules() if (n := len(p.read_text().splitlines())) > 400}
    assert long == {}


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
    heavy |= {"math_verify", "sympy", "pyarrow", "latex2mathml", "ruptures", "jsonschema"}
    assert {name.split(".")[0] for name in loaded} & heavy == set()


def test_an_idle_plugin_costs_at_most_thirty_milliseconds() -> None:
    script = (
        "import time, pytest, dataclasses, typing\n"
        "began = time.process_time()\n"
        "import pytest_llmperf.plugin, pytest_llmperf.model_option, pytest_llmperf.hookspecs\n"
        "print(time.process_time() - began)\n"
    )

    def once() -> float:
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return float(done.stdout)

    # The least of several: what others do on this machine only ever adds.
    assert min(once() for _ in range(5)) <= 0.030
