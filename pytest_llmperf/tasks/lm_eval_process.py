"""The process that holds a run's tasks of lm-evaluation-harness, all of them: it takes seconds to import."""

from __future__ import annotations

import atexit
import json
import select
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import NotMeasured

FOLDER = "lm_eval"
"""Directory below ``--llmperf-data`` with tasks of one's own."""
_WORKER = Path(__file__).with_name("lm_eval_worker.py")


class LmEvalProcess:
    """Answers one question at a time, from any thread; started by the first, and again by the next if it has ended."""

    def __init__(self, data_dir: Path | None) -> None:
        folder = data_dir / FOLDER if data_dir is not None else None
        self._folder = folder.resolve() if folder is not None and folder.is_dir() else None
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, question: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The answer; raises :class:`NotMeasured` if the process ended, or does not answer in time."""
        with self._lock:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(question).encode() + b"\n")
                process.stdin.flush()
                ready, _, _ = select.select([process.stdout], [], [], timeout_s)
                line = process.stdout.readline() if ready else b""
            except BaseException as error:
                # A time limit, Ctrl-C: what it answers later belongs to no question.
                self.close()
                if isinstance(error, OSError | ValueError):
                    raise NotMeasured(f"the process of lm-eval is gone ({error}): run again") from error
                raise
            if not line:
                self.close()
                how = "ended" if ready else f"gave no answer within {timeout_s:g} s"
                raise NotMeasured(
                    f"the process of lm-eval {how}: run the task with lm-eval itself to see why"
                )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(_WORKER), *([] if self._folder is None else [str(self._folder)])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self._folder,
            )
            atexit.register(self.close)
        return self._process

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        atexit.unregister(self.close)
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()
