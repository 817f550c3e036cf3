"""GitHub's workflow commands: what is not green becomes an annotation at its line of the suite.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions: a command is one line; ``%`` and line
ends are escaped in its message, ``:`` and ``,`` in its properties as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_llmperf.gates.judgement import Policy, is_green
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.report.elsewhere.told import Told

_WORST_FIRST = (Status.FAIL, Status.INVALID, Status.INCONCLUSIVE)
"""GitHub shows ten errors and ten warnings of a step: what a regression has done comes first."""


def commands(told: Sequence[Told], policy: Policy, problems: Sequence[str] = ()) -> list[str]:
    """A line for each verdict that is not PASS: an error if it makes the run red, else a warning.

    ``problems`` are of the run as a whole, and errors.
    """
    shown = [one for status in _WORST_FIRST for one in told if one.verdict.status is status]
    lines = [f"::error title=llmperf::{_message(problem)}" for problem in problems]
    lines += [_command("warning" if is_green(one.verdict, policy) else "error", one) for one in shown]
    return lines


def in_repository(file: Path, environment: Mapping[str, str], otherwise: Path) -> str:
    """``file`` as GitHub names it: relative to ``GITHUB_WORKSPACE``, or to ``otherwise`` if it is not below that."""
    for root in (Path(environment.get("GITHUB_WORKSPACE") or otherwise), otherwise):
        if file.is_relative_to(root):
            return file.relative_to(root).as_posix()
    return file.name


def _command(kind: str, told: Told) -> str:
    verdict = told.verdict
    properties = {
        "file": told.file,
        "line": str(told.line or ""),
        "title": f"{verdict.status}: {verdict.metric}",
    }
    given = ",".join(f"{name}={_property(value)}" for name, value in properties.items() if value)
    return f"::{kind} {given}::{_message(f'{verdict.why} ({told.test})')}"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
