"""Explain from its log why a server did not start, or why it died.

The cause is the error that ended the process. It is rarely the last line, because an engine that fails takes its API
process with it and both say so at length; nor is it the first line that looks like one, because engines retry, import
optional packages and warn. `log_events` tells the errors apart; of the chain that ended the process the innermost
exception is looked up in `known_failures`, and shown as it stands where the table has no row for it.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.engines.base import KnownFailure
from pytest_llmperf.engines.registry import DEFAULT, engine_named
from pytest_llmperf.errors import ServerDied, StartError
from pytest_llmperf.serving.known_failures import CONSEQUENCES, GENERAL, KNOWN, NOISE, SIGNALS
from pytest_llmperf.serving.log_events import LogEvent, Rank, find_events
from pytest_llmperf.serving.log_lines import Line, read_lines, read_log, tail
from pytest_llmperf.serving.messages import Failure
from pytest_llmperf.serving.readiness import NAN_CAUSE
from pytest_llmperf.serving.spec import ServerSpec

__all__ = ["Explanation", "explain", "how_it_ended", "read_log", "server_died", "start_error", "tail"]

LAST_WORDS = 12
DEATH_CHARACTERS = 128 * 1024
_SHOWN_CHARACTERS = 500
# Exceptions of look-ups and imports: what is raised while one is handled says more than it.
_LOOK_UPS = re.compile(
    r"(?:\w+\.)*(?:KeyError|IndexError|AttributeError|StopIteration|LookupError|ImportError|ModuleNotFoundError|"
    r"FileNotFoundError|NotImplementedError|\w*EntryNotFoundError)\b(?<!LocalEntryNotFoundError)"
)
# "Failed core proc(s): {'EngineCore_DP0': -9}", "died unexpectedly (exit code: -9)"
_CHILD_EXIT = re.compile(r"(?:Failed core proc\(s\): \{[^}]*?: |exit ?code(?: is|[:=])? ?)(?P<code>-?\d+)")

# "start.sh: line 3: 12 Killed  python", what a shell says of its child
_KILLED_BY_SHELL = re.compile(r"^(?:\S+: line \d+: +\d+ )?Killed(?:$| )", re.MULTILINE)


@dataclass(frozen=True)
class Explanation:
    """The explanation of a failure that a log gives."""

    cause: str
    """One line; empty when no error in the log can have ended the process."""
    remedy: str
    last_words: str
    """The lines around the cause, or the last ones that aren't noise."""
    known: str | None
    """Name of the row of the table, or None when nothing there fits."""
    certain: bool = True
    """A traceback or an announcement says that a process gave up for it; not only a line that was logged."""
    hint: str = ""
    """If there is no cause: the last error in the log, which the process survived."""
    child_exit: int | None = None
    """Exit code of an engine process by the log; negative for a signal."""


def explain(log: str, *, row: str = "the row", engine: str = DEFAULT) -> Explanation:
    """The root cause in the text of a log; ``cause`` is empty when the log names none."""
    known_failures = (*engine_named(engine).known_failures, *KNOWN)
    lines = [line for line in read_lines(log) if not NOISE.search(line.text)]
    text = "\n".join(line.text for line in lines)
    child_exit = _child_exit(text)
    events = find_events(lines)
    for event in sorted(
        (event for event in events if event.counts), key=lambda event: (event.rank, event.at)
    ):
        if (found := _of_event(event, lines, text, row, child_exit, known_failures)) is not None:
            return found
    for number, line in enumerate(lines):
        inside = any(event.at <= number < event.end for event in events)
        if line.is_error and not inside and (known := _known_in(line.text, "", text, known_failures)):
            return _explanation(*known, row, lines, number, certain=False, child_exit=child_exit)
    for number, line in enumerate(lines):
        if known := _known_in(line.text, "", text, CONSEQUENCES):
            return _explanation(*known, row, lines, number, certain=False, child_exit=child_exit)
    survived = [event for event in events if not _is_consequence(event.messages[-1])]
    hint = _first_lines(survived[-1].messages[-1]) if survived else ""
    return Explanation("", "", _around(lines, len(lines) - 1), None, False, hint, child_exit)


def _of_event(
    event: LogEvent,
    lines: list[Line],
    text: str,
    row: str,
    child_exit: int | None,
    known_failures: Sequence[KnownFailure],
) -> Explanation | None:
    """The explanation by one error; None when all of it only follows from another error."""
    messages = [message for message in _by_weight(event) if not _is_consequence(message)]
    for table in (known_failures, GENERAL):
        for message in messages:
            if known := _known_in(message, event.frames, text, table):
                place = _place_of(message, event, lines)
                certain = event.rank < Rank.LINE
                return _explanation(*known, row, lines, place, certain=certain, child_exit=child_exit)
    if not messages:
        return None
    cause = _first_lines(messages[0])
    outer = _first_lines(messages[-1])
    if ":" not in cause and cause == outer and (source := _last_source_line(event.frames)):
        cause = outer = f"{cause} (at: {source})"
    if event.rank is Rank.THREAD:
        cause = f"{cause} (in a thread)"
    elif outer != cause:
        link = "after" if messages[0] == event.messages[-1] else "it led to"
        cause = f"{cause} ({link}: {outer[:200]})"
    return Explanation(
        cause,
        "read the lines before it in the log",
        _around(lines, _place_of(messages[0], event, lines)),
        None,
        event.rank < Rank.LINE,
        "",
        child_exit,
    )


def _by_weight(event: LogEvent) -> list[str]:
    """The exceptions of a chain, those that say most first: inner before outer, but for failed look-ups."""
    order: list[str] = []
    look_ups: list[str] = []
    for place, message in enumerate(event.messages):
        handled = place < len(event.handled) and event.handled[place]
        (look_ups if handled and _LOOK_UPS.match(message) else order).append(message)
    return list(dict.fromkeys(order + look_ups))


def start_error(message: Failure, spec: ServerSpec, log: Path) -> StartError:
    """The keeper's ``failed`` message, with what its log says."""
    found = explain(read_log(log, message.get("log_offset", 0)), row=spec.row, engine=spec.engine)
    cause, remedy = _start_cause(message, found, spec, log)
    return StartError(
        f"{spec.row} did not start: {cause}",
        remedy=remedy,
        last_words=f"{found.last_words}\n(whole log: {log})",
        command=spec.command(),
    )


def server_died(message: Failure, spec: ServerSpec, log: Path) -> ServerDied:
    """The keeper's ``died`` message, with what its log says."""
    if message.get("event") == "keeper":
        return ServerDied(
            f"the server of {spec.row} is gone: its keeper was killed\n"
            "what to do: look for the OOM killer (`dmesg`) or a `kill -9`; the next start cleans up"
        )
    if message.get("replaced"):
        return ServerDied(f"the server of {spec.row} was ended and started again by another test process")
    if detail := message.get("detail"):
        # It was ended because it no longer worked: its log holds no cause, or one of single requests.
        return ServerDied(
            f"the server of {spec.row} died during the run: {detail}\n"
            f"what to do: see the end of its log ({log}) for what it was doing"
        )
    text = _end_of_life(read_log(log, message.get("log_offset", 0)))
    found = explain(text, row=spec.row, engine=spec.engine)
    by_signal = _by_signal(message, found, spec.row)
    cause = by_signal[0] if by_signal else found.cause
    if _killed_for_memory(message, found):
        cause = _OOM
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


def how_it_ended(message: Failure) -> str:
    """``exit code 1``, ``killed by SIGKILL``, or an empty string when it had not ended."""
    number = message.get("signal")
    if number is not None:
        try:
            return f"killed by {signal.Signals(number).name}"
        except ValueError:
            return f"killed by signal {number}"
    code = message.get("exit_code")
    if code is None:
        return ""
    # A shell in between, as `engine_python` may be, reports a signal so.
    number = _signal_number(code) if code > 128 else None
    return f"exit code {code}" + (f", {signal.Signals(number).name}" if number else "")


_DEATH = re.compile(
    r"^.*(?:WorkerProc hit an exception|EngineCore encountered a fatal error|EngineCore failed)", re.MULTILINE
)
_OOM = "the kernel killed a process for want of memory"
_OOM_REMEDY = (
    "free host memory, or make {row} smaller (`max_model_len`, VLLM_CPU_KVCACHE_SPACE), or run fewer servers"
)


def _start_cause(message: Failure, found: Explanation, spec: ServerSpec, log: Path) -> tuple[str, str]:
    """Cause and remedy: of the keeper's word, the log and the way the process ended, what says most."""
    detail = message.get("detail", "")
    if message.get("phase") == "timeout":
        late = f"not ready after {spec.ready_timeout_s:.0f} s ({detail})"
        if found.cause:
            return f"{late}; its log says: {found.cause}", found.remedy
        return late, f"raise `ready_timeout` of {spec.row}, or see in {log} what it was doing"
    if message.get("phase") == "silence":
        return f"it is stuck: {detail}", f"see in {log} what it was doing; was one of its processes stopped?"
    if _killed_for_memory(message, found):
        return f"{_OOM} ({how_it_ended(message)})", _OOM_REMEDY.format(row=spec.row, engine=spec.engine)
    if message.get("phase") in ("checking", "port") or detail.startswith(NAN_CAUSE):
        return detail, f"see {log}"  # the server itself is well, or never was: its log has no say in this
    by_signal = _by_signal(message, found, spec.row)
    if by_signal is not None:
        return by_signal
    if found.cause:
        return found.cause, found.remedy
    ending = how_it_ended(message) or "no reason known"
    hint = f"; the last error in its log, after which it went on: {found.hint}" if found.hint else ""
    return detail or f"the engine ended ({ending}) without naming an error{hint}", f"see {log}"


def _by_signal(message: Failure, found: Explanation, row: str) -> tuple[str, str] | None:
    """Cause and remedy by the signal that ended a process, where no error in the log says more."""
    if found.cause and found.certain:
        return None
    number, who = _signal_of(message), "the engine"
    if number is None and found.child_exit is not None:
        number, who = _signal_number(found.child_exit), "an engine process"
    if number is None or number not in SIGNALS:
        return None
    name = signal.Signals(number).name
    cause, remedy = SIGNALS[number]
    return f"{who} was killed by {name}: {cause}", remedy.format(row=row)


def _signal_of(message: Failure) -> int | None:
    number = message.get("signal")
    if number is not None:
        return number
    code = message.get("exit_code")
    return None if code is None else _signal_number(code)


def _signal_number(code: int) -> int | None:
    """The signal behind an exit code: negative as Python's, or over 128 as a shell's."""
    number = -code if code < 0 else code - 128
    return number if number in signal.valid_signals() else None


def _child_exit(text: str) -> int | None:
    if _KILLED_BY_SHELL.search(text):
        return -signal.SIGKILL
    codes = [int(match["code"]) for match in _CHILD_EXIT.finditer(text)]
    return next((code for code in codes if _signal_number(code)), codes[0] if codes else None)


def _killed_for_memory(message: Failure, found: Explanation) -> bool:
    # The kernel's count is of the whole machine: alone it proves nothing about our process.
    killed = _signal_of(message) == signal.SIGKILL or (
        found.child_exit is not None and _signal_number(found.child_exit) == signal.SIGKILL
    )
    unexplained = not found.cause or any(found.known == failure.name for failure in CONSEQUENCES)
    return bool(message.get("oom")) and (killed or unexplained)


def _known_in(
    message: str, frames: str, log: str, table: Iterable[KnownFailure]
) -> tuple[KnownFailure, re.Match[str]] | None:
    """The row that fits an error: by the first of its lines that any row fits, then by the table's order."""
    fitting = [
        (message.count("\n", 0, match.start()), place, failure, match)
        for place, failure in enumerate(table)
        if (match := failure.pattern.search(message)) and failure.fits(frames, log)
    ]
    if not fitting:
        return None
    _, _, failure, match = min(fitting, key=lambda item: item[:2])
    return failure, match


def _explanation(
    failure: KnownFailure,
    match: re.Match[str],
    row: str,
    lines: list[Line],
    place: int,
    *,
    certain: bool,
    child_exit: int | None,
) -> Explanation:
    values = {"row": row} | {name: value or "unknown" for name, value in match.groupdict().items()}
    cause, remedy = (" ".join(text.format(**values).split()) for text in (failure.cause, failure.remedy))
    return Explanation(cause, remedy, _around(lines, place), failure.name, certain, "", child_exit)


def _is_consequence(message: str) -> bool:
    first = message.split("\n", 1)[0]
    return any(failure.pattern.search(first) for failure in CONSEQUENCES)


def _place_of(message: str, event: LogEvent, lines: Sequence[Line]) -> int:
    """The number of the line that a message begins with."""
    first = message.split("\n", 1)[0]
    numbers = (number for number in range(event.at, len(lines)) if lines[number].text == first)
    return next(numbers, event.at)


def _first_lines(message: str) -> str:
    """The error's line; with the next one where the first only announces it, as pydantic's does."""
    first, *others = _without_empty(message.split("\n"))
    if others and (first.endswith(":") or "validation error" in first):
        # pydantic: the name of the field stands between the announcement and what is wrong with it.
        first = " ".join([first, *(line.strip() for line in others[:2])])
    return first[:_SHOWN_CHARACTERS]


def _last_source_line(frames: str) -> str:
    """The line of code that raised, from a traceback; empty if it shows none."""
    lines = [line.strip() for line in frames.split("\n") if line.strip(" ^~")]
    return lines[-1][:200] if lines and not lines[-1].startswith("File ") else ""


def _without_empty(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line.strip())


def _around(lines: Sequence[Line], place: int) -> str:
    begin = max(0, place - LAST_WORDS + 3)
    shown = [line.text[:300] for line in lines[begin : place + 3] if line.text.strip()]
    return "\n".join(shown)
