"""Things that happened during a run and that its user must be told: a server that was started again, a freeze.

All processes of a run (pytest-xdist has several) append to one file, so that a worker which crashes afterwards has
still told what it saw.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path


class Events:
    """The events of one run, kept in ``file``; each text is kept once. Safe to call from any thread."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._own: dict[str, str] = {}
        """Time by text, of those that this process has told: the file may be on a full disk."""
        self._lock = threading.Lock()

    def tell(self, text: str) -> None:
        """Keep ``text``, one line, with the present time."""
        text = " ".join(text.split())
        with self._lock:
            if text in self._own:
                return
            self._own[text] = datetime.now(UTC).isoformat(timespec="seconds")
            line = json.dumps({"time": self._own[text], "text": text}) + "\n"
            with contextlib.suppress(OSError):
                descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                try:
                    os.write(descriptor, line.encode())
                finally:
                    os.close(descriptor)

    def all(self) -> list[dict[str, str]]:
        """Events of every process, ``{"time": ISO 8601 in UTC, "text": …}``, in the order in which they were told."""
        with self._lock:
            first: dict[str, str] = {}
            for time, text in [*self._read(), *((time, text) for text, time in self._own.items())]:
                first.setdefault(text, time)
        return [
            {"time": time, "text": text} for text, time in sorted(first.items(), key=lambda event: event[1])
        ]

    def _read(self) -> list[tuple[str, str]]:
        try:
            lines = self._file.read_bytes().splitlines()
        except OSError:
            return []
        events = []
        for line in lines:
            # A line that was cut by a full disk is not an event.
            with contextlib.suppress(ValueError, KeyError, TypeError):
                event = json.loads(line)
                events.append((str(event["time"]), str(event["text"])))
        return events
