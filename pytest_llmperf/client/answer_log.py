"""Answers on disk as they arrive, so that a run that is killed at any moment loses none that was complete.

One file a process, which only that process writes: one line an answer, ``CRC-32 JSON`` in one ``write``. What is killed
leaves at most one torn line, at the end; a reader drops every line whose checksum is not its own. Nobody ever writes
behind a torn line, since the next process begins a file of its own.

A file is locked as long as its process lives. Its name says what became of its run: ``open-…`` until the run came to
its end, then ``done-…``. What a killed process could not say is thereby true of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.answer_options import Reuse
from pytest_llmperf.client.answers import Answer
from pytest_llmperf.client.trace import Outcome

INTERRUPTED_S = 12 * 3600.0
"""So long after its last answer an interrupted run is resumed; later, another night has begun."""
KEPT_RUNS = 3
"""Runs that came to their end whose answers are kept, for ``--llmperf-reuse``."""


def request_key(body: Mapping[str, Any]) -> str:
    """Same for requests that say the same: prompt, sampling with its seed, stops; not the model's name."""
    said = {name: value for name, value in body.items() if name != "model"}
    text = json.dumps(said, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def line_of(entry: Mapping[str, Any]) -> bytes:
    """One line of the log. JSON keeps line breaks of the text escaped, so that a line break ends it."""
    text = json.dumps(entry, separators=(",", ":")).encode("ascii")
    return b"%08x %b\n" % (zlib.crc32(text), text)


def entries_of(content: bytes) -> Iterator[dict[str, Any]]:
    """Every whole line's entry; what was torn or damaged is passed over."""
    for line in content.split(b"\n")[:-1]:  # behind the last line break stands nothing, or a torn line
        checksum, _, text = line.partition(b" ")
        if checksum == b"%08x" % zlib.crc32(text):
            with contextlib.suppress(ValueError):
                entry = json.loads(text)
                if isinstance(entry, dict):
                    yield entry


@dataclass(frozen=True)
class Found:
    """An answer of an earlier run."""

    answer: Answer
    run: str
    at: float
    """When it came, seconds since 1970."""


class AnswerLog:
    """The answers of this run, and those of earlier ones that may stand for them.

    ``run`` is the same in all processes of a run, ``process`` differs. Nothing is read or written before the first
    question. A disk that fails ends the writing, not the run: see ``complaint``. ``clean`` takes out of an answer what
    must not stand in a file (a model may say a secret that was in its prompt).
    """

    def __init__(
        self,
        directory: Path,
        run: str,
        process: str,
        reuse: Reuse = "interrupted",
        clean: Callable[[Any], Any] = lambda answer: answer,
    ) -> None:
        self.directory, self.run, self.process, self.reuse = directory, run, process, reuse
        self._clean = clean
        self.complaint = ""
        self.reused = 0
        self.oldest: float | None = None
        """When the oldest answer that was reused came, seconds since 1970."""
        self._used: set[str] = set()
        """Earlier runs whose answers were reused."""
        self._file: int | None = None
        self._earlier: dict[tuple[str, str], deque[Found]] | None = None

    def take(self, engine: str, body: Mapping[str, Any], *, vouched: bool = True) -> Answer | None:
        """The answer of an earlier run to this request, from the same ``engine``; each is given out once.

        ``vouched``: whether ``engine`` tells weights and engine apart. Where it does not (a server that others
        started), only ``reuse="all"`` takes what is there.
        """
        if self.reuse == "nothing" or (self.reuse != "all" and not vouched):
            return None
        if self._earlier is None:
            self._earlier = self._read()
        there = self._earlier.get((engine, request_key(body)))
        if not there:
            return None
        found = there.popleft()
        self.reused += 1
        self._used.add(found.run)
        self.oldest = min(found.at, self.oldest or found.at)
        return dataclasses.replace(found.answer, reused=True)

    def keep(self, engine: str, body: Mapping[str, Any], answer: Answer) -> None:
        """Write down an answer; one that failed says nothing and is not kept."""
        if not answer.ok or self.complaint:
            return
        entry = {"engine": engine, "request": request_key(body), "at": round(time.time(), 3)}
        self._write(entry | {"answer": self._clean(dataclasses.asdict(answer))})

    def not_done(self) -> None:
        """Something was asked for in vain: the run is to be resumed, even if it comes to an end by itself."""
        with contextlib.suppress(OSError):
            self.directory.mkdir(parents=True, exist_ok=True)
            (self.directory / f"broken-{self.run}").touch()

    def close(self) -> None:
        """Let go of this process's file, what is in it stays; and say what was reused, for ``finish``."""
        if self._used:
            said = {"runs": sorted(self._used), "reused": self.reused, "oldest": self.oldest}
            with contextlib.suppress(OSError):
                (self.directory / f"used-{self.run}-{self.process}").write_text(json.dumps(said))
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._file)
            os.close(self._file)
            self._file = None

    # -- the directory

    def _write(self, entry: Mapping[str, Any]) -> None:
        line = line_of(entry)
        try:
            if self._file is None:
                self._file = self._begin()
            if (written := os.write(self._file, line)) != len(line):
                raise OSError(f"{written} of {len(line)} bytes were written")
        except OSError as error:
            # Behind half a line no other may follow.
            self.complaint = f"answers are no longer kept in {self.directory}: {error}"

    def _begin(self) -> int:
        self.directory.mkdir(parents=True, exist_ok=True)
        for number in range(1000):
            path = self.directory / f"open-{self.run}-{self.process}-{number}.jsonl"
            with contextlib.suppress(FileExistsError):
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                file = os.open(path, flags, 0o600)
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return file
        raise OSError("a thousand files of this process are there already")

    def _read(self) -> dict[tuple[str, str], deque[Found]]:
        earlier: dict[tuple[str, str], deque[Found]] = {}
        kinds = ("open-", "done-") if self.reuse == "all" else ("open-",)
        files = [path for kind in kinds for path in self.directory.glob(f"{kind}*.jsonl")]
        for path in sorted(files, key=_changed):
            if _is_locked(path):
                continue  # its run is alive, and asks for itself
            if self.reuse != "all" and time.time() - _changed(path) > INTERRUPTED_S:
                continue
            for entry in entries_of(_content(path)):
                with contextlib.suppress(KeyError, TypeError, ValueError):
                    fields = dict(entry["answer"])
                    answer = Answer(**{**fields, "outcome": Outcome(fields["outcome"])})
                    key = (str(entry["engine"]), str(entry["request"]))
                    earlier.setdefault(key, deque()).append(Found(answer, _run_of(path), float(entry["at"])))
        return earlier


@dataclass(frozen=True)
class Reused:
    """Answers of earlier runs that stood for this one's."""

    count: int = 0
    oldest: float | None = None
    """When the first of them came, seconds since 1970."""


def reused(directory: Path, run: str) -> Reused:
    """What all processes of ``run`` took over, once they have closed their logs."""
    said = list(_said(directory, run).values())
    ages = [float(one["oldest"]) for one in said if one.get("oldest")]
    return Reused(sum(int(one["reused"]) for one in said), min(ages, default=None))


def finish(directory: Path, run: str) -> None:
    """Say that ``run`` came to its end: what it asked is not asked for it again, nor is what it went on from.

    Not so where something was asked for in vain (``AnswerLog.not_done``): then all of it waits for the next run.
    """
    broken = directory / f"broken-{run}"
    if not broken.exists():
        for path in directory.glob("open-*.jsonl"):
            if _run_of(path) == run:
                with contextlib.suppress(OSError):
                    path.rename(path.with_name(path.name.replace("open-", "done-", 1)))
        gone_on_from = {str(earlier) for said in _said(directory, run).values() for earlier in said["runs"]}
        for path in directory.glob("open-*.jsonl"):
            if _run_of(path) in gone_on_from:
                path.unlink(missing_ok=True)
    for path in (broken, *_said(directory, run)):
        path.unlink(missing_ok=True)
    _forget_old(directory)


def _said(directory: Path, run: str) -> dict[Path, dict[str, Any]]:
    found = {}
    for path in directory.glob(f"used-{run}-*"):
        with contextlib.suppress(ValueError, OSError):
            found[path] = json.loads(path.read_text())
    return found


def _forget_old(directory: Path) -> None:
    for pattern in ("open-*.jsonl", "used-*", "broken-*"):
        for path in directory.glob(pattern):
            if time.time() - _changed(path) > INTERRUPTED_S and not _is_locked(path):
                path.unlink(missing_ok=True)
    done: dict[str, list[Path]] = {}
    for path in sorted(directory.glob("done-*.jsonl"), key=_changed, reverse=True):
        done.setdefault(_run_of(path), []).append(path)
    for paths in list(done.values())[KEPT_RUNS:]:
        for path in paths:
            path.unlink(missing_ok=True)


def _run_of(path: Path) -> str:
    return path.name.split("-")[1]


def _changed(path: Path) -> float:
    """When something was last written, seconds since 1970; 0 for a file that is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _is_locked(path: Path) -> bool:
    """Whether the process that writes it lives."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
