"""A first suite for a repository of one's own: a catalogue, budgets and a few tests that run at once.

The files lie in ``files/``; they are written as they are, and belong to whoever got them from then on.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from pytest_llmperf.errors import UsageError

_CONFIGURATIONS = (
    "pytest.toml",
    ".pytest.toml",
    "pytest.ini",
    ".pytest.ini",
    "pyproject.toml",
    "tox.ini",
    "setup.cfg",
)
_NAMES = ("models.toml", "budgets.toml", "test_gate.py")


def write_starter(directory: Path, folder: str = "suites") -> tuple[list[Path], str]:
    """Write the suite into ``directory/folder``; the files written, and what is left to do (empty: nothing).

    Where ``directory`` has no configuration of pytest, it gets a ``pytest.ini``; one that is there is never changed.
    Raises :class:`UsageError` and writes nothing if a file of the suite is there already, or cannot be written.
    """
    files = {directory / folder / name: _text(name) for name in _NAMES}
    if there := [path for path in files if path.exists()]:
        raise UsageError(
            f"{there[0]} is there already; nothing was written. Move it away, or give another directory"
        )
    setting = f"llmperf_models = {folder}/models.toml"
    configured = next((name for name in _CONFIGURATIONS if (directory / name).exists()), None)
    to_do = ""
    if configured is None:
        files[directory / "pytest.ini"] = f"[pytest]\n{setting}\n"
    elif configured.endswith(".toml"):
        to_do = f'add to pytest\'s table in {configured}: llmperf_models = "{folder}/models.toml"'
    else:
        to_do = f"add to pytest's section in {configured}: {setting}"
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error
    return list(files), to_do


def _text(name: str) -> str:
    # Not *.py: these are no modules of this package, and no tests of this repository.
    return resources.files(__name__).joinpath("files", f"{name}.txt").read_text(encoding="utf-8")
