"""What the keeper may load: it must start whatever is, or isn't, installed where pytest runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def loaded_by(module: str, *flags: str) -> set[str]:
    """First names of the modules that are loaded after an import of this one."""
    code = (
        f"import sys; sys.path.append({str(ROOT)!r}); import {module}; "
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_keeper_loads_the_standard_library_only() -> None:
    # -S: without site-packages, so that anything else could not even be found.
    loaded = loaded_by("pytest_llmperf.serving.keeper", "-I", "-S")
    assert loaded - set(sys.stdlib_module_names) - {"__main__"} == {"pytest_llmperf"}


def test_nothing_in_this_room_loads_pytest_or_a_heavy_library() -> None:
    for name in sorted(path.stem for path in (ROOT / "pytest_llmperf" / "serving").glob("*.py")):
        if name != "__init__":
            loaded = loaded_by(f"pytest_llmperf.serving.{name}")
            assert not loaded & {"pytest", "_pytest", "pynvml", "openai", "datasets", "scipy", "numpy"}, name
