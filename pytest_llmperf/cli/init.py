"""``init [DIR]``: a first suite in somebody's own repository."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

from pytest_llmperf.cli import starter
from pytest_llmperf.cli.parts import command, tell
from pytest_llmperf.errors import UsageError


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "init",
        "write a first suite, which runs at once, into this repository",
        "Writes models.toml, budgets.toml and two test files into DIR, a CI job, and pytest's configuration if there "
        "is none. Nothing that exists is changed.",
    )
    parser.add_argument(
        "directory", nargs="?", default="suites", metavar="DIR", help="below this directory (default: suites)"
    )
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    directory = Path(asked.directory)
    if directory.is_absolute() or ".." in directory.parts:
        raise UsageError(
            f"{directory}: must be below the directory where you are; cd to your repository first"
        )
    there = [directory / name for name in starter.FILES if (directory / name).exists()]
    if there:
        raise UsageError(f"{there[0]} exists already, and nothing was written; choose another DIR")
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in starter.FILES.items():
        (directory / name).write_text(text, encoding="utf-8")
    tell(
        [*(f"wrote {directory / name}" for name in starter.FILES), *_job(directory), *_configured(directory)]
    )
    return 0


def _job(directory: Path) -> list[str]:
    """Write a CI job: for GitLab where the repository has its file, else for GitHub; none where one is there."""
    is_gitlab = (mine := Path(".gitlab-ci.yml")).exists()
    job = Path("llmperf.gitlab-ci.yml") if is_gitlab else Path(".github", "workflows", "llmperf.yml")
    if job.exists():
        return [f"left {job} as it is"]
    job.parent.mkdir(parents=True, exist_ok=True)
    text = (starter.GITLAB if is_gitlab else starter.GITHUB).format(directory=directory.as_posix())
    job.write_text(text, encoding="utf-8")
    told = [f"wrote {job}"]
    return [*told, f"add to {mine}: include: {{ local: {job} }}"] if is_gitlab else told


def _configured(directory: Path) -> list[str]:
    """Point pytest at the catalogue: write a new pytest.ini, or return the line to add to the existing file."""
    ini = starter.INI.format(directory=directory.as_posix())
    place = _configuration()
    if place is None:
        Path("pytest.ini").write_text(ini, encoding="utf-8")
        return ["wrote pytest.ini", "", "now try: pytest --llmperf-record runs/first.json"]
    setting = f"llmperf_models = {directory.as_posix()}/models.toml"
    if place == "pyproject.toml":
        setting = f'llmperf_models = "{directory.as_posix()}/models.toml"'
    return [
        "",
        f"{place} configures pytest already; add to it: {setting}",
        f"or try at once: pytest {directory.as_posix()} --llmperf-models {directory.as_posix()}/models.toml",
    ]


def _configuration() -> str | None:
    for name in ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini"):
        if Path(name).exists():
            return name
    try:
        tools = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
    except (OSError, ValueError):
        tools = {}
    if "pytest" in tools:
        return "pyproject.toml"
    for name, section in (("tox.ini", "[pytest]"), ("setup.cfg", "[tool:pytest]")):
        if Path(name).is_file() and section in Path(name).read_text(encoding="utf-8", errors="replace"):
            return name
    return None
