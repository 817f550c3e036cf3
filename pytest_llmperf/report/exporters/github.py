"""GitHub Actions: the summary of the step, and an annotation at the line of each gate that did not pass.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions: a command is one line; ``%`` and line
ends are escaped in its message, ``:`` and ``,`` in its properties as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.gates.judgement import Policy, is_green
from pytest_llmperf.gates.verdict import WORST_FIRST, Status
from pytest_llmperf.gates.wording import excuse, status_words
from pytest_llmperf.report.exporters.base import Exporter, LocatedVerdict, RunResults
from pytest_llmperf.report.exporters.markdown import summary

if TYPE_CHECKING:
    import pytest

_ANNOTATES_ALREADY = "pytest_github_actions_annotate_failures"
"""The name of a plugin that annotates every failed test itself."""


class GithubExporter(Exporter):
    """Does nothing outside of GitHub Actions, and needs no option there. A summary that cannot be written is no
    failure, since nobody asked for it."""

    name = "GitHub"

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._written: tuple[Path, int] | None = None
        """The summary file, and its size before this run wrote to it."""

    def finish(self, results: RunResults) -> str:
        path = os.environ.get("GITHUB_STEP_SUMMARY")
        if not path or not results.relevant:
            return ""
        try:
            with Path(path).open("ab") as file:
                if self._written is None or self._written[0] != Path(path):
                    self._written = Path(path), file.tell()
                file.truncate(self._written[1])
                file.write(f"{summary(results)}\n".encode(errors="replace"))
        except OSError as error:
            return f"no summary for GitHub at {path}: {error.strerror}"
        return ""

    def log_lines(self, results: RunResults) -> Iterable[str]:
        annotated = self._config.pluginmanager.hasplugin(_ANNOTATES_ALREADY)
        if os.environ.get("GITHUB_ACTIONS") != "true" or annotated:
            return []
        return commands(results.gates, results.policy, results.problems, results.notes)


def commands(
    gates: Sequence[LocatedVerdict], policy: Policy, problems: Sequence[str] = (), notes: Sequence[str] = ()
) -> list[str]:
    """Return a line for each verdict that is not PASS: an error if it makes the run red, else a warning.

    ``problems`` are of the run as a whole, and errors; ``notes`` are warnings. Errors come first, since GitHub shows
    ten of a step.
    """
    not_passed = [gate for gate in gates if gate.verdict.status is not Status.PASS]
    shown = sorted(not_passed, key=lambda gate: WORST_FIRST.index(gate.verdict.status))
    lines = [f"::error title=llmperf::{_message(problem)}" for problem in problems]
    lines += [_command("warning" if is_green(gate.verdict, policy) else "error", gate) for gate in shown]
    lines += [f"::warning title=llmperf::{_message(note)}" for note in notes]
    return lines


def in_repository(file: Path, environment: Mapping[str, str], otherwise: Path) -> str:
    """Return ``file`` relative to ``GITHUB_WORKSPACE``, or to ``otherwise`` if it is not below that."""
    for root in (Path(environment.get("GITHUB_WORKSPACE") or otherwise), otherwise):
        if file.is_relative_to(root):
            return file.relative_to(root).as_posix()
    return file.name


def _command(kind: str, gate: LocatedVerdict) -> str:
    verdict = gate.verdict
    properties = {
        "file": gate.file,
        "line": str(gate.line or ""),
        "title": f"{status_words(verdict)}: {verdict.metric}",
    }
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    why = f"{verdict.why} ({gate.test})"
    if verdict.excused:
        why += f"; {excuse(verdict)}"
    return f"::{kind} {given}::{_message(why)}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
