"""Explain from its log why a server did not start, or why it died.

The last line of such a log is rarely the reason: an engine that fails takes its API process with it, and
both say so at length afterwards. So the log is read from the top: the first line that is known to be a
cause, else the first error that isn't a mere consequence, else how the process ended.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import ServerDied, StartError
from pytest_llmperf.serving.command import ServerSpec
from pytest_llmperf.serving.known_failures import CONSEQUENCES, KNOWN, NOISE, KnownFailure

READ_BYTES = 4 * 1024 * 1024
LAST_WORDS = 12
DEATH_CHARACTERS = 128 * 1024
# "(EngineCore pid=67) ERROR 11-24 02:12:08 [core.py:15] text", each part optional.
_PREFIX = re.compile(
    r"^(?:\((?P<who>[\w-]+)(?: pid=\d+)?\) ?)?(?:(?P<level>[A-Z]{4,8}) \d\d-\d\d [\d:]+ \[[^\]]*\] ?)?"
)
_ERROR = re.compile(
    r"^(?:[A-Za-z_][\w.]*\.)?[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Failure|NotFound)\b(?::|$)"
)


@dataclass(frozen=True)
class Explanation:
    """What a log comes to."""

    cause: str
    remedy: str
    last_words: str
    """The lines around the cause, or the last ones that aren't noise."""
    known: str | None
    """Name of the row of the table, or None when nothing there fits."""


@dataclass(frozen=True)
class _Line:
    text: str
    """Without process and time."""
    level: str


def explain(log: str, *, row: str = "the row") -> Explanation:
    """The root cause in the text of a log; ``cause`` is empty when the log holds no error at all."""
    lines = _clean(log)
    text = "\n".join(line.text for line in lines)
    known = _first_known(text, KNOWN)
    if known is not None:
        return _explanation(*known, row, lines, text)
    error = _first_error(lines)
    if error is not None:
        cause = _with_continuation(lines, error)
        return Explanation(cause, "read the lines before it in the log", _around(lines, error), None)
    consequence = _first_known(text, CONSEQUENCES)
    if consequence is not None:
        return _explanation(*consequence, row, lines, text)
    return Explanation("", "", _around(lines, len(lines) - 1), None)


def start_error(message: Mapping[str, Any], spec: ServerSpec, log: Path) -> StartError:
    """The keeper's ``failed`` message, with what its log says."""
    found = explain(read_log(log, int(message.get("log_offset") or 0)), row=spec.row)
    cause, remedy = _start_cause(message, found, spec, log)
    return StartError(
        f"{spec.row} did not start: {cause}",
        remedy=remedy,
        last_words=f"{found.last_words}\n(whole log: {log})",
        command=spec.command(),
    )


def server_died(message: Mapping[str, Any], spec: ServerSpec, log: Path) -> ServerDied:
    """The keeper's ``died`` message, with what its log says."""
    if message.get("event") == "keeper":
        return ServerDied(
            f"the server of {spec.row} is gone: its keeper was killed\n"
            "what to do: look for the OOM killer (`dmesg`) or a `kill -9`; the next start cleans up"
        )
    if message.get("replaced"):
        return ServerDied(f"the server of {spec.row} was ended and started again by another test process")
    text = _end_of_life(read_log(log, int(message.get("log_offset") or 0)))
    found = explain(text, row=spec.row)
    cause = _OOM if _killed_for_memory(message, found) else found.cause
    parts = [f"the server of {spec.row} died during the run ({how_it_ended(message) or 'no reason known'})"]
    if cause:
        parts[0] += f": {cause}"
    if message.get("restarts_left") == 0:
        parts.append("it had been restarted already, so it stays dead for this run")
    parts.append(f"last words of the server:\n{found.last_words}\n(whole log: {log})")
    return ServerDied("\n".join(parts))


def _end_of_life(text: str) -> str:
    """The part of a log that tells of the death: from the first word of an engine process about it.

    A dying engine dumps its whole state, and then every request in flight fails with a traceback of its own, so
    that the root cause may stand hundreds of kilobytes above the end. Without such a word only the end counts: a
    run may have logged many errors of single requests before.
    """
    first = _DEATH.search(text)
    return text[first.start() :] if first else text[-DEATH_CHARACTERS:]


def how_it_ended(message: Mapping[str, Any]) -> str:
    """``exit code 1``, ``killed by SIGKILL``, or an empty string when it had not ended."""
    number = message.get("signal")
    if number is not None:
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"
    code = message.get("exit_code")
    return "" if code is None else f"exit code {code}"


def read_log(log: Path, offset: int = 0) -> str:
    """The log from ``offset`` on; of a very long one, its two ends."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(offset)
            if size - offset <= 2 * READ_BYTES:
                data = file.read()
            else:
                data = file.read(READ_BYTES) + b"\n[...]\n"
                file.seek(size - READ_BYTES)
                data += file.read()
    except OSError:
        return ""
    return data.decode("utf-8", errors="replace")


def tail(log: Path, count: int) -> str:
    """The last lines of a file, or nothing when it can't be read."""
    return "\n".join(read_log(log).splitlines()[-count:])


_DEATH = re.compile(
    r"^.*(?:WorkerProc hit an exception|EngineCore encountered a fatal error|EngineCore failed)", re.MULTILINE
)
_OOM = "the kernel killed a process for want of memory"
_OOM_REMEDY = (
    "free host memory, or make {row} smaller (`max_model_len`, VLLM_CPU_KVCACHE_SPACE), or run fewer servers"
)


def _start_cause(
    message: Mapping[str, Any], found: Explanation, spec: ServerSpec, log: Path
) -> tuple[str, str]:
    """Cause and remedy: of the keeper's word, the log and the way the process ended, what says most."""
    detail = str(message.get("detail") or "")
    if message.get("phase") == "timeout":
        late = f"not ready after {spec.ready_timeout_s:.0f} s ({detail})"
        if found.cause:
            return f"{late}; its log says: {found.cause}", found.remedy
        return late, f"raise `ready_timeout` of {spec.row}, or see in {log} what it was doing"
    if _killed_for_memory(message, found):
        return f"{_OOM} ({how_it_ended(message)})", _OOM_REMEDY.format(row=spec.row)
    if message.get("phase") in ("checking", "port"):
        return detail, f"see {log}"  # the server itself is well, or never was: its log has no say in this
    if found.cause:
        return found.cause, found.remedy
    ending = how_it_ended(message) or "no reason known"
    return detail or f"the engine ended ({ending}) without naming an error", f"see {log}"


def _killed_for_memory(message: Mapping[str, Any], found: Explanation) -> bool:
    # The kernel's count is of the whole machine: alone it proves nothing about our process.
    unexplained = found.known is None or any(found.known == failure.name for failure in CONSEQUENCES)
    return bool(message.get("oom")) and (message.get("signal") == signal.SIGKILL or unexplained)


def _clean(log: str) -> list[_Line]:
    lines = []
    for raw in log.splitlines():
        prefix = _PREFIX.match(raw)
        assert prefix is not None  # every part of it is optional
        text = raw[prefix.end() :].rstrip()
        if not any(noise.search(text) for noise in NOISE):
            lines.append(_Line(text, prefix["level"] or ""))
    return lines


def _first_known(text: str, table: Iterable[KnownFailure]) -> tuple[KnownFailure, re.Match[str]] | None:
    """The row whose pattern comes first in the text: what follows is a consequence of it."""
    found = [
        (match.start(), place, failure, match)
        for place, failure in enumerate(table)
        if (match := failure.pattern.search(text))
    ]
    if not found:
        return None
    _, _, failure, match = min(found, key=lambda item: item[:2])
    return failure, match


def _explanation(
    failure: KnownFailure, match: re.Match[str], row: str, lines: list[_Line], text: str
) -> Explanation:
    values = {"row": row} | {name: value or "unknown" for name, value in match.groupdict().items()}
    cause, remedy = failure.cause.format(**values), failure.remedy.format(**values)
    place = text.count("\n", 0, match.start())
    return Explanation(cause, remedy, _around(lines, place), failure.name)


def _first_error(lines: list[_Line]) -> int | None:
    """The first line that ends a traceback, else the first that was logged as an error."""
    candidates = [number for number, line in enumerate(lines) if not _is_consequence(line)]
    for number in candidates:
        if _ERROR.match(lines[number].text) and lines[number].level in ("", "ERROR", "CRITICAL"):
            return number
    for number in candidates:
        line = lines[number]
        if line.level in ("ERROR", "CRITICAL") and line.text and not line.text.startswith(("Traceback", " ")):
            return number
    return None


def _is_consequence(line: _Line) -> bool:
    return any(failure.pattern.search(line.text) for failure in CONSEQUENCES)


def _with_continuation(lines: list[_Line], number: int) -> str:
    """The error's line; with the next one where the first only announces it, as pydantic's does."""
    text = lines[number].text
    if (text.endswith(":") or "validation error" in text) and number + 1 < len(lines):
        text = f"{text} {lines[number + 1].text.strip()}"
    return text[:500]


def _around(lines: list[_Line], place: int) -> str:
    begin = max(0, place - LAST_WORDS + 3)
    shown = [line.text[:300] for line in lines[begin : place + 3] if line.text.strip()]
    return "\n".join(shown)
