"""A run of one's own for every test, and the check that it leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.serving import ports, processes
from pytest_llmperf.serving.command import spec_for
from pytest_llmperf.serving.server import Server
from pytest_llmperf.serving.spec import ServerSpec
from pytest_llmperf.serving.state import KeeperState
from tests.waiting import CLEAN_WITHIN_S

ROOT = Path(__file__).resolve().parents[2]
ENGINE_PYTHON = ROOT / "tests" / "fakes" / "engine_python"


@dataclass
class Holder:
    """A process that holds a lease, see ``holder.py``."""

    process: subprocess.Popen[str]

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the holder ended without a word"
        heard: dict[str, Any] = json.loads(line)
        return heard

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def kill(self, number: int) -> None:
        self.process.send_signal(number)
        self.process.wait(10)


@dataclass
class Run:
    """One test's own servers: their processes carry a mark, their starts are counted."""

    path: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    holders: list[Holder] = field(default_factory=list)

    @property
    def state_root(self) -> Path:
        return self.path / "state"

    @property
    def counter(self) -> Path:
        return self.path / "starts"

    def spec(self, row: str = "distill", /, *, arguments: tuple[str, ...] = (), **knobs: Any) -> ServerSpec:
        """The fake engine; ``START_S`` is ``FAKE_ENGINE_START_S``, a lower-case name a field of the spec."""
        fields = {name: value for name, value in knobs.items() if name.islower()}
        environment = {f"FAKE_ENGINE_{name}": str(knobs[name]) for name in knobs if not name.islower()}
        model = Model(
            name=row,
            profile="test",
            weights="unused",
            engine_python=str(ENGINE_PYTHON),
            gpus=0,
            arguments=arguments,
            environment={
                "FAKE_ENGINE_MARK": self.mark,
                "FAKE_ENGINE_COUNTER": str(self.counter),
                "FAKE_ENGINE_INTERPRETER": sys.executable,
                **environment,
            },
        )
        spec = replace(spec_for(model, self.path), ready_timeout_s=20.0)
        return replace(spec, **fields)

    def holder(self, spec: ServerSpec, state_root: Path | None = None) -> Holder:
        """Another process that asks for the server; it is not waited for."""
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("holder.py")), str(state_root or self.state_root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        holder = Holder(process)
        self.holders.append(holder)
        holder.tell(spec.to_json())
        return holder

    def starts(self) -> int:
        return len(self.ports())

    def ports(self) -> list[int]:
        """Of every start, in order."""
        return [int(line) for line in self.counter.read_text().split()] if self.counter.exists() else []

    def engines(self) -> list[int]:
        """Engine processes of this test that run."""
        entry = f"FAKE_ENGINE_MARK={self.mark}"
        running = (process.pid for process in processes.table().values() if not process.is_over)
        return [pid for pid in running if processes.environment_has(pid, entry)]

    @contextlib.contextmanager
    def survivor(self) -> Iterator[subprocess.Popen[bytes]]:
        """A process of a killed keeper's engine that escaped its end, as one stuck in a driver would."""
        [path] = self.path.rglob("state.json")
        state = KeeperState.read(path)
        assert state is not None
        name, _, value = state.mark.partition("=")
        with subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"],
            env={**os.environ, name: value, "FAKE_ENGINE_MARK": self.mark},
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def keepers(self) -> list[int]:
        return [
            pid
            for pid in processes.table()
            if str(self.path) in _command_line(pid) and "keeper" in _command_line(pid)
        ]

    def is_clean(self) -> bool:
        return not self.engines() and not self.keepers() and all(map(ports.is_free, self.ports()))

    def left(self) -> str:
        return f"engines {self.engines()}, keepers {self.keepers()}, ports {self.ports()}"


def _command_line(pid: int) -> str:
    try:
        return (processes.PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def post(server: Server, path: str, body: dict[str, Any] | None = None, timeout_s: float = 10.0) -> Any:
    """The decoded answer; raises what urllib raises."""
    request = urllib.request.Request(
        f"{server.base_url}{path}",
        data=json.dumps(body or {}).encode(),
        headers={"Authorization": f"Bearer {server.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=timeout_s) as response:
        text = response.read()
    return json.loads(text) if text else None


def generate(server: Server) -> str:
    """One short completion."""
    answer = post(server, "/v1/completions", {"model": server.model, "prompt": "1 2 3", "max_tokens": 8})
    text: str = answer["choices"][0]["text"]
    return text


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Servers under a directory of the test's own; ten seconds after it nothing of them may be left."""
    run = Run(tmp_path)
    yield run
    for holder in run.holders:
        with contextlib.suppress(ProcessLookupError):
            holder.process.kill()
        holder.process.wait(10)
        for stream in (holder.process.stdin, holder.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
    deadline = time.monotonic() + CLEAN_WITHIN_S
    while not run.is_clean() and time.monotonic() < deadline:
        time.sleep(0.02)
    left = "" if run.is_clean() else run.left()
    for pid in run.engines() + run.keepers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, f"left behind: {left}"


@pytest.fixture(name="generate")
def generate_fixture() -> Callable[[Server], str]:
    return generate


@pytest.fixture(name="post")
def post_fixture() -> Callable[..., Any]:
    return post
