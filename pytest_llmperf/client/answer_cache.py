"""Answers on disk as they arrive, so that a run that is killed at any moment loses no complete answer.

One SQLite database a directory, shared by all processes of all runs; each answer is a transaction of its own. A run is
``open`` until it came to its end, then ``done``. Whether the process that writes an open run is still alive is told by
a lock file, which the kernel unlocks when the process ends, however it ends.

The rollback journal is used and not the write-ahead log, because the latter does not work on network file systems.
Nothing is synced: a process that is killed loses nothing, since what it wrote is with the kernel; after a power failure
SQLite may have to throw answers away, and they are asked for again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.client.answers import Answer, complete_all
from pytest_llmperf.client.saturation import Saturation
from pytest_llmperf.client.tool_calls import ToolCall
from pytest_llmperf.client.trace import RequestOutcome
from pytest_llmperf.config.run_config import Reuse
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.serving.server import Server

INTERRUPTED_S = 12 * 3600.0
"""An interrupted run is resumed this long after its last answer; later, another night has begun."""
KEPT_RUNS = 3
"""Completed runs whose answers are kept, for ``--llmperf-reuse=all``."""
DATABASE = "answers.sqlite3"

_BUSY_S = 30.0
"""Seconds that a process waits for another's transaction, each of which takes well under a millisecond."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY,
    state TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done')),
    changed REAL NOT NULL,
    incomplete INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS answers (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL REFERENCES runs (run) ON DELETE CASCADE,
    engine TEXT NOT NULL, request TEXT NOT NULL, at REAL NOT NULL, answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS seeds (
    run TEXT PRIMARY KEY REFERENCES runs (run) ON DELETE CASCADE, seed INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS by_request ON answers (request, engine);
CREATE INDEX IF NOT EXISTS by_run ON answers (run);
CREATE TABLE IF NOT EXISTS reuses (
    run TEXT NOT NULL REFERENCES runs (run) ON DELETE CASCADE,
    process TEXT NOT NULL, earlier TEXT NOT NULL, count INTEGER NOT NULL, oldest REAL NOT NULL,
    PRIMARY KEY (run, process, earlier));
"""


def request_key(body: JsonObject) -> str:
    """Return 32 hexadecimal digits, equal for equal requests (prompt, sampling with its seed, stops).

    The model's name does not count: the engine's identity tells models apart, and a name may change between runs.
    """
    fields = {name: value for name, value in body.items() if name != "model"}
    text = json.dumps(fields, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True)
class _Stored:
    """An answer of an earlier run."""

    answer: Answer
    run: str
    at: float
    """Time of arrival, seconds since 1970."""


class AnswerCache:
    """The answers of this run, and those of earlier runs that may be reused in it.

    ``run`` is the same in all processes of a run, ``process`` differs. Before the first question nothing is read but
    the seed of an interrupted run, and nothing is written. A disk that fails stops the writing and not the run: see
    ``complaint``. ``clean`` removes from an answer what must not be in a file (a model may repeat a secret that was in
    its prompt).
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
        self.seed = 0
        """Seed of the run, for the run that resumes it."""
        self._clean = clean
        self.complaint = ""
        """The reason why answers are no longer kept; empty while they are."""
        self._reuses: dict[str, tuple[int, float]] = {}
        """Earlier run → answers taken from it, and when the first of them arrived."""
        self._database: sqlite3.Connection | None = None
        self._lock: int | None = None
        self._earlier: dict[tuple[str, str], deque[_Stored]] = {}
        self._eligible: list[str] | None = None

    def take(self, engine: str, body: JsonObject, *, vouched: bool = True) -> Answer | None:
        """Return an earlier run's answer of the same ``engine`` to this request, each at most once; else None.

        ``vouched``: whether ``engine`` identifies weights and engine. Where it does not (a server that others
        started), only ``reuse="all"`` returns an answer.
        """
        if self.reuse == "none" or (self.reuse != "all" and not vouched):
            return None
        key = (engine, request_key(body))
        if key not in self._earlier:
            self._earlier[key] = self._find(*key)
        if not self._earlier[key]:
            return None
        stored = self._earlier[key].popleft()
        count, oldest = self._reuses.get(stored.run, (0, stored.at))
        self._reuses[stored.run] = (count + 1, min(oldest, stored.at))
        return dataclasses.replace(stored.answer, reused=True)

    def seed_to_resume(self) -> int | None:
        """Return the seed of the newest run whose answers may be reused, which are those to the requests of its seed.

        None without one, and where its answers were reused already by a run that came to its end.
        """
        if self.reuse == "none":
            return None
        with contextlib.suppress(OSError, sqlite3.Error):
            if (self.directory / DATABASE).exists():
                eligible = set(self._eligible_runs())
                rows = self._opened().execute(
                    "SELECT run, seed FROM seeds JOIN runs USING (run) WHERE ? = 'all' OR NOT EXISTS "
                    "(SELECT * FROM seeds later JOIN runs done USING (run) WHERE done.state = 'done' "
                    "AND later.seed = seeds.seed AND done.changed > runs.changed) ORDER BY runs.changed DESC",
                    (self.reuse,),
                )
                return next((int(seed) for run, seed in rows if run in eligible), None)
        return None

    def keep(self, engine: str, body: JsonObject, answer: Answer) -> None:
        """Store a complete answer; a failed one is not kept, because it is to be asked for again."""
        if not answer.ok:
            return
        now = round(time.time(), 3)
        text = json.dumps(self._clean(dataclasses.asdict(answer)), separators=(",", ":"))
        self._write(
            "INSERT INTO answers (run, engine, request, at, answer) VALUES (?, ?, ?, ?, ?)",
            (self.run, engine, request_key(body), now, text),
        )

    def mark_incomplete(self) -> None:
        """Note that a question got no answer: the run is to be resumed even if it comes to its end."""
        self._write("UPDATE runs SET incomplete = 1 WHERE run = ?", (self.run,))

    def close(self) -> None:
        """Store what was reused, for :func:`finish`, and let go of the database. The answers stay."""
        for earlier, (count, oldest) in self._reuses.items():
            self._write(
                "INSERT OR REPLACE INTO reuses VALUES (?, ?, ?, ?, ?)",
                (self.run, self.process, earlier, count, oldest),
            )
        self._reuses = {}
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None
        if self._lock is not None:
            with contextlib.suppress(OSError):
                _lock_path(self.directory, self.run, self.process).unlink()
            os.close(self._lock)
            self._lock = None

    def _write(self, statement: str, values: Sequence[Any]) -> None:
        """Run one statement as a transaction; a failure ends the writing and is told in ``complaint``."""
        if self.complaint:
            return
        try:
            if self._lock is None:
                self._begin()
            database = self._opened()
            with database:
                database.execute(statement, values)
                database.execute("UPDATE runs SET changed = ? WHERE run = ?", (time.time(), self.run))
        except (OSError, sqlite3.Error) as error:
            self.complaint = f"answers are no longer kept in {self.directory}: {error}"

    def _begin(self) -> None:
        """Enter this run as open and alive."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = _lock_path(self.directory, self.run, self.process)
        self._lock = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        database = self._opened()
        with database:
            database.execute(
                "INSERT OR IGNORE INTO runs (run, changed) VALUES (?, ?)", (self.run, time.time())
            )
            database.execute("INSERT OR IGNORE INTO seeds VALUES (?, ?)", (self.run, self.seed))

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = _open(self.directory)
        return self._database

    def _find(self, engine: str, request: str) -> deque[_Stored]:
        """Return the earlier answers to this request, those of the run that wrote first first."""
        try:
            if not (self.directory / DATABASE).exists():
                return deque()
            if self._eligible is None:
                self._eligible = self._eligible_runs()
            rows = self._opened().execute(
                "SELECT a.run, a.at, a.answer FROM answers a JOIN runs r USING (run) "
                "WHERE a.request = ? AND a.engine = ? ORDER BY r.changed, a.id",
                (request, engine),
            )
            return deque(
                _Stored(answer, run, float(at))
                for run, at, text in rows
                if run in self._eligible and (answer := _answer_of(text)) is not None
            )
        except (OSError, sqlite3.Error) as error:
            self.complaint = self.complaint or f"earlier answers in {self.directory} cannot be read: {error}"
            return deque()

    def _eligible_runs(self) -> list[str]:
        """Return the runs whose answers may be reused; one that is alive asks for itself."""
        return [
            run
            for run, state, changed in self._opened().execute("SELECT run, state, changed FROM runs")
            if not _is_alive(self.directory, run)
            and (self.reuse == "all" or (state == "open" and time.time() - changed <= INTERRUPTED_S))
        ]


def complete_with_cache(
    server: Server,
    requests: Sequence[JsonObject],
    cache: AnswerCache,
    engine: str,
    *,
    vouched: bool = True,
    concurrency: int | Saturation = 32,
    on_progress: Callable[[int, int], None] | None = None,
    whole: bool = False,
) -> list[Answer]:
    """Return one answer a request, in their order: from the cache if it is there, else from the server.

    ``engine`` and ``vouched`` are those of :meth:`AnswerCache.take`. New answers are stored as they arrive. Raises what
    ``complete_all`` raises.
    """
    answers = [cache.take(engine, body, vouched=vouched) for body in requests]
    missing = [index for index, answer in enumerate(answers) if answer is None]
    known = len(requests) - len(missing)

    def keep(answer: Answer) -> None:
        cache.keep(engine, requests[missing[answer.index]], answer)

    def progress(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(known + done, known + total)

    new = complete_all(
        server,
        [requests[index] for index in missing],
        concurrency=concurrency,
        on_progress=progress,
        on_answer=keep,
        whole=whole,
    )
    for index, answer in zip(missing, new, strict=True):
        answers[index] = answer
    return [dataclasses.replace(answer, index=i) for i, answer in enumerate(answers) if answer is not None]


@dataclass(frozen=True)
class Reused:
    """Answers of earlier runs that were reused in this one."""

    count: int = 0
    oldest: float | None = None
    """Arrival of the first of them, seconds since 1970."""


def reused(directory: Path, run: str) -> Reused:
    """Return what all processes of ``run`` reused, once they have closed their caches."""
    # A damaged database was told of when it was read or written.
    with contextlib.suppress(OSError, sqlite3.Error):
        if (directory / DATABASE).exists():
            with contextlib.closing(_open(directory)) as database:
                count, oldest = database.execute(
                    "SELECT TOTAL(count), MIN(oldest) FROM reuses WHERE run = ?", (run,)
                ).fetchone()
            return Reused(int(count), oldest)
    return Reused()


def finish(directory: Path, run: str) -> None:
    """Mark ``run`` as done, and forget the interrupted runs that it resumed, so that neither is resumed again.

    A run in which a question got no answer (:meth:`AnswerCache.mark_incomplete`) stays open for the next one. Answers
    that are too old to be reused are removed.
    """
    with contextlib.suppress(OSError, sqlite3.Error):
        if (directory / DATABASE).exists():
            with contextlib.closing(_open(directory)) as database:
                with database:
                    _finish(database, run)
                    _forget_old(database, directory)
                database.execute("PRAGMA incremental_vacuum")


def _finish(database: sqlite3.Connection, run: str) -> None:
    database.execute(
        "DELETE FROM runs WHERE state = 'open' AND run IN "
        "(SELECT earlier FROM reuses JOIN runs USING (run) WHERE run = ? AND NOT incomplete)",
        (run,),
    )
    database.execute("UPDATE runs SET state = 'done' WHERE run = ? AND NOT incomplete", (run,))
    database.execute("UPDATE runs SET incomplete = 0 WHERE run = ?", (run,))
    database.execute("DELETE FROM reuses WHERE run = ?", (run,))


def _forget_old(database: sqlite3.Connection, directory: Path) -> None:
    opened = database.execute(
        "SELECT run FROM runs WHERE state = 'open' AND changed < ?", (time.time() - INTERRUPTED_S,)
    ).fetchall()
    done = database.execute(
        "SELECT run FROM runs WHERE state = 'done' ORDER BY changed DESC LIMIT -1 OFFSET ?", (KEPT_RUNS,)
    ).fetchall()
    stale = [run for (run,) in opened if not _is_alive(directory, run)] + [run for (run,) in done]
    database.executemany("DELETE FROM runs WHERE run = ?", [(run,) for run in stale])
    known = {run for (run,) in database.execute("SELECT run FROM runs")}
    for path in directory.glob("*.lock"):
        run = path.name.split("-")[0]
        if run not in known and not _is_alive(directory, run):
            path.unlink(missing_ok=True)


def _open(directory: Path) -> sqlite3.Connection:
    path = directory / DATABASE
    if not path.exists():
        # Answers may quote prompts, which other users must not read.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
    try:
        database.execute("PRAGMA auto_vacuum = INCREMENTAL")
        database.execute("PRAGMA journal_mode = TRUNCATE")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("PRAGMA foreign_keys = ON")
        database.executescript(_SCHEMA)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _answer_of(text: str) -> Answer | None:
    """Read a stored answer; None if another version of this package wrote it."""
    try:
        fields = dict(json.loads(text))
        calls = tuple(ToolCall(**call) for call in fields.get("tool_calls", ()))
        return Answer(**{**fields, "outcome": RequestOutcome(fields["outcome"]), "tool_calls": calls})
    except (KeyError, TypeError, ValueError):
        return None


def _lock_path(directory: Path, run: str, process: str) -> Path:
    return directory / f"{run}-{process}.lock"


def _is_alive(directory: Path, run: str) -> bool:
    """Return whether a process of ``run`` lives: it holds its lock file."""
    return any(_is_locked(path) for path in directory.glob(f"{run}-*.lock"))


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
