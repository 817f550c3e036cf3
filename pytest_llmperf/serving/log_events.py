"""The errors in a log: every traceback with its chain, every crash of native code, every line logged as an error.

An error is one `LogEvent`, however many exceptions its chain has. Which event ended the engine is told by what stands
around it: a process that goes on with its work afterwards survived it, a retry or an optional import is excused, and
some announcements (``EngineCore failed to start``) are made only once a process gives up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from pytest_llmperf.serving.log_lines import Line

MESSAGE_LINES = 14

_TRACEBACK = re.compile(r"Traceback \(most recent call last\)")
_DIRECT_CAUSE = "The above exception was the direct cause of the following exception:"
_DURING = "During handling of the above exception, another exception occurred:"
_FRAME = re.compile(r"\s|File \"|[│╭╰|]|[~^]+$")
_EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*(?:\.(?:[A-Za-z_]\w*|<locals>))*\.)?[A-Za-z_]\w*(?::|$)")
# Outside of a traceback a line is an exception's only if the name says so.
_NAMED_EXCEPTION = re.compile(
    r"(?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Failure|"
    r"NotFound|Panic)|\w*Error_\w+|Exception|Error|Fatal)\b(?::|$)"
)
_NATIVE = re.compile(
    r"terminate called (?:after throwing|without an active)|thread "
    r"'[^']*' (?:\(\d+\) )?panicked at|Fatal Python error: "
    r"|\*\*\* SIG[A-Z]+ |\*\*\* Aborted at |Segmentation fault|Bus error|Illegal instruction|SIGILL|SIGBUS"
    r"|(?:free|malloc|realloc|corrupted|munmap_chunk|double free)[^:]{0,20}\(?.*: (?:invalid|corrupted|double)"
    r"|double free or corruption|corrupted size vs|!!!!!!! Segfault encountered"
)
_PROGRAM = re.compile(
    # argparse, the interpreter, the dynamic linker, the shell
    r"(?:[\w./-]+\.py|vllm(?: serve)?|[\w./-]*python[\d.]*)(?: \w+)?: (?:error: |can't open file |No module "
    r"named |Error while )"
    r"|cannot execute |[\w./-]+: error while loading shared libraries: |[\w./+-]+: version `\w+_[\d.]+' not found"
    r"|(?:/\S*sh|bash|sh|env|exec): .*(?:not found|No such file|Permission denied|cannot execute)"
)
# Said by a process that gives up.
_GIVES_UP = re.compile(
    r"(?:EngineCore|WorkerProc|Engine core|RayWorkerProc|Engine|Worker\w*)\b.{0,40}\b(?:failed to start|"
    r"hit an exception|encountered a fatal error)|^Process \S+:$|Error executing method |Exception in worker \S+ while"
    r"|Failed to start server"
)
_IGNORED = re.compile(
    r"^Exception ignored in|^--- Logging error ---|^Error in atexit|was never retrieved$|^future: <\w+ finished"
    r"|^Exception in callback"
)
_THREAD = re.compile(r"^Exception in thread ")
_EXCUSED = re.compile(
    r"\bretry(?:ing)?\b|\bretries left|[Aa]ttempt \d+ ?(?:/|of) ?\d+|\bfall(?:ing|s)?[ -]?back\b|\bskipp(?:ing|ed)\b"
    r"|\bignor(?:ing|ed)\b|\boptional\b|[Ff]ailed to import from "
    r"vllm\._\w*C|\bproceeding without\b|\bcontinuing without\b"
    r"|[Uu]nable to register \w+ factory|\bis not installed,|\bnon-fatal\b|\bsafe to ignore\b",
)
_AT_THE_END = re.compile(
    r"shut|terminat|exit|stop|clos|destroy|clean|finish|abort|dump|kill|"
    r"cancel|parent process|traceback|error|fail|died",
    re.IGNORECASE,
)
# One process's progress shows that it survived; of lines without a name several processes may be the author.
_PROGRESS_LINES = {True: 1, False: 3}


class Rank(IntEnum):
    """The certainty that an event ended its process; lower is surer."""

    GAVE_UP = 0
    """Announced by a process that gave up, or a crash of native code."""
    TRACEBACK = 1
    LINE = 2
    """A line that was logged as an error, or reads like an exception."""
    THREAD = 3
    """A traceback of a thread, which need not end its process."""


@dataclass(frozen=True)
class LogEvent:
    """One error."""

    at: int
    """Number of its first line."""
    end: int
    """Number of the line behind its last one."""
    rank: Rank
    who: str
    messages: tuple[str, ...]
    """The exceptions of the chain, the innermost first, each with the further lines of its message."""
    handled: tuple[bool, ...] = ()
    """For each message but the last: True if the next one was raised while this one was being handled."""
    frames: str = ""
    """The lines of the tracebacks between header and exception."""
    excused: bool = False
    """It says itself that work goes on: a retry, an optional import, an exception in a destructor."""
    survived: bool = False
    """The process went on with its work."""

    @property
    def counts(self) -> bool:
        """It may have ended the process."""
        return not (self.excused or self.survived)


@dataclass
class _Traceback:
    messages: list[str] = field(default_factory=list)
    handled: list[bool] = field(default_factory=list)
    frames: list[str] = field(default_factory=list)


def find_events(lines: Sequence[Line]) -> list[LogEvent]:
    """Every error in the log, in the order of their first lines."""
    streams: dict[str, list[int]] = {}
    for number, line in enumerate(lines):
        streams.setdefault(line.who, []).append(number)
    events = []
    for who, numbers in streams.items():
        events += _Stream(lines, numbers, who).events()
    return sorted(events, key=lambda event: event.at)


class _Stream:
    """The lines of one process."""

    def __init__(self, lines: Sequence[Line], numbers: Sequence[int], who: str) -> None:
        self.lines = [lines[number] for number in numbers]
        self.numbers = numbers
        self.who = who
        # How many lines of progress there are from each place on.
        self.progress = [0] * (len(self.lines) + 1)
        for place in range(len(self.lines) - 1, -1, -1):
            line = self.lines[place]
            works = line.level in ("INFO", "DEBUG") and not _AT_THE_END.search(line.text)
            self.progress[place] = self.progress[place + 1] + works

    def events(self) -> list[LogEvent]:
        events = []
        place = 0
        while place < len(self.lines):
            line = self.lines[place]
            if not line.is_error or not line.text:
                place += 1
                continue
            if _TRACEBACK.search(line.text):
                event, place = self._traceback(place)
            elif _NATIVE.search(line.text):
                event, place = self._native(place)
            elif _PROGRAM.match(line.text):
                event, place = self._single(place, Rank.TRACEBACK)
            elif _NAMED_EXCEPTION.match(line.text) or self._is_logged_error(place):
                event, place = self._single(place, Rank.LINE)
            else:
                event, place = None, place + 1
            if event is not None:
                events.append(event)
        return events

    # -- the kinds ---------------------------------------------------------------------------------

    def _traceback(self, start: int) -> tuple[LogEvent | None, int]:
        trace = _Traceback()
        place = start
        while True:
            place = self._one_traceback(place, trace)
            link = self._skip_empty(place)
            if not trace.messages or link >= len(self.lines):
                break
            text = self.lines[link].text.strip()
            header = self._skip_empty(link + 1)
            if text not in (_DIRECT_CAUSE, _DURING) or header >= len(self.lines):
                break
            if not _TRACEBACK.search(self.lines[header].text):
                break
            trace.handled.append(text == _DURING)
            place = header
        if not trace.messages:
            return None, max(place, start + 1)
        announced = self._announcement(start)
        rank = Rank.TRACEBACK
        if _GIVES_UP.search(announced):
            rank = Rank.GAVE_UP
        elif _THREAD.search(announced):
            rank = Rank.THREAD
        handled = tuple(trace.handled[: len(trace.messages) - 1])
        event = self._event(
            start, place, rank, tuple(trace.messages), announced, handled, "\n".join(trace.frames)
        )
        return event, place

    def _one_traceback(self, start: int, trace: _Traceback) -> int:
        """Read one header, its frames and its exception; returns the place behind them."""
        level = self.lines[start].level
        place = start + 1
        source_follows = False
        while place < len(self.lines):
            line = self.lines[place]
            if line.level not in (level, ""):
                return place
            text = line.text
            is_frame = not text or bool(_FRAME.match(text)) or (source_follows and not _EXCEPTION.match(text))
            if not is_frame:
                break
            source_follows = text.lstrip().startswith("File ")
            trace.frames.append(text)
            place += 1
        if place >= len(self.lines) or _TRACEBACK.search(self.lines[place].text):
            return place
        message, place = self._message(place)
        trace.messages.append(message)
        return place

    def _native(self, start: int) -> tuple[LogEvent, int]:
        message, end = self._message(start)
        return self._event(start, end, Rank.GAVE_UP, (message,), ""), end

    def _single(self, start: int, rank: Rank) -> tuple[LogEvent, int]:
        message, end = self._message(start)
        if _GIVES_UP.search(message) and not _NAMED_EXCEPTION.match(message):
            rank = Rank.GAVE_UP
        announced = "" if rank is Rank.TRACEBACK else message
        return self._event(start, end, rank, (message,), announced), end

    def _is_logged_error(self, place: int) -> bool:
        line = self.lines[place]
        if line.level not in ("ERROR", "CRITICAL"):
            return False
        following = self._skip_empty(place + 1)
        after = self.lines[following] if following < len(self.lines) else Line("")
        tells = _TRACEBACK.search(after.text) or _NAMED_EXCEPTION.match(after.text)
        announces = bool(tells) and after.record == line.record
        return not announces and not line.text.strip().startswith(("File ", "^", "~"))

    # -- their parts -------------------------------------------------------------------------------

    def _message(self, start: int) -> tuple[str, int]:
        """An exception's line and the further lines of its message, as far as they are of the same record."""
        first = self.lines[start]
        parts = [first.text]
        place = start + 1
        while place < len(self.lines) and place - start < MESSAGE_LINES:
            line = self.lines[place]
            text = line.text
            if line.record != first.record or (line.level and not line.record):
                break
            if text.strip() in (_DIRECT_CAUSE, _DURING) or _TRACEBACK.search(text) or _NATIVE.search(text):
                break
            if (
                _NAMED_EXCEPTION.match(text)
                or _IGNORED.search(text)
                or _THREAD.search(text)
                or _GIVES_UP.search(text)
            ):
                break
            parts.append(text)
            place += 1
        while parts and not parts[-1].strip():
            parts.pop()
        return "\n".join(parts), place

    def _announcement(self, start: int) -> str:
        """The line that announces a traceback: the text before it in its own line, else the line before."""
        own = _TRACEBACK.split(self.lines[start].text)[0].strip(" :─╭+")
        before = self.lines[start - 1] if start else Line("")
        same_record = before.is_error and before.record == self.lines[start].record
        return own or (before.text if same_record else "")

    def _event(
        self,
        start: int,
        end: int,
        rank: Rank,
        messages: tuple[str, ...],
        announced: str,
        handled: tuple[bool, ...] = (),
        frames: str = "",
    ) -> LogEvent:
        # A record of logging whose traceback carries no prefix: it is as much of an error as its own first line.
        before = self.lines[start - 1] if start else Line("")
        belongs_to_warning = (
            before.level in ("DEBUG", "INFO", "WARNING")
            and not before.record
            and not self.lines[start].level
            and bool(frames)
        )
        went_on = self.progress[min(end, len(self.lines))] >= _PROGRESS_LINES[bool(self.who)]
        excused = bool(_EXCUSED.search(announced) or _IGNORED.search(announced))
        if belongs_to_warning:
            excused = excused or bool(_EXCUSED.search(before.text)) or self._something_follows(end)
        return LogEvent(
            at=self.numbers[start],
            end=self.numbers[end - 1] + 1 if end else self.numbers[start] + 1,
            rank=rank,
            who=self.who,
            messages=messages,
            handled=handled,
            frames=frames,
            excused=excused and rank is not Rank.GAVE_UP,
            survived=went_on and rank is not Rank.GAVE_UP,
        )

    def _something_follows(self, place: int) -> bool:
        return any(line.text.strip() for line in self.lines[place:])

    def _skip_empty(self, place: int) -> int:
        while place < len(self.lines) and not self.lines[place].text.strip():
            place += 1
        return place
