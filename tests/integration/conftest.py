"""A project of a user's own for every test: catalogue, weights, suite; pytest runs in it as a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import tomllib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.record.gate_files import RecordedGate, load_gates
from pytest_llmperf.record.store import read_record
from pytest_llmperf.serving import ports, processes
from tests.integration.fork_server import MARK, ForkedRun, ForkServer
from tests.waiting import CLEAN_WITHIN_S, eventually

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = Path(__file__).with_name("template")
FAKE_PYTHON = ROOT / "tests" / "fakes" / "engine_python"
CACHE = Path(tempfile.gettempdir()) / f"llmperf-tests-{os.getuid()}"
# Other installed plugins cost a second a run and change nothing; one scenario runs with all of them.
ONLY_OURS = ("-p", "llmperf", "-p", "llmperf_model", "-p", "no:cacheprovider")
_FORKS = ForkServer()
_SIZES = "\n# written by shrink\n"
_NOISE = re.compile(r"Traceback \(most recent call last\)|INTERNALERROR|^\S+\.py:\d+: \w+(Error|Exception)")

AGAINST_ITSELF = """\
[profile.test]
says = "says nothing of a real model"
candidate = "distill"
baseline = "distill"
task = "embedded"
needs_cuda = false

"""


@dataclass(frozen=True)
class Result:
    """How a run of pytest ended and what it printed (both streams)."""

    code: int
    text: str
    ended: float
    """When, on the monotonic clock."""

    @property
    def noise(self) -> list[str]:
        """Lines that a user should never see: tracebacks and pytest's internal errors."""
        return [line for line in self.text.splitlines() if _NOISE.search(line)]

    def lines(self, *words: str) -> list[str]:
        """Lines that hold all the words."""
        return [line for line in self.text.splitlines() if all(word in line for word in words)]


@dataclass(frozen=True)
class Ending:
    """What a run left: measured, for the table in the docs."""

    starts: int
    processes_left: int
    ports_free: bool
    seconds: float
    """From the moment that was given until nothing was left."""


@dataclass
class Running:
    """A run of pytest that has not ended."""

    process: subprocess.Popen[str] | ForkedRun
    output: Path

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 60.0) -> Result:
        code = self.process.wait(timeout_s)
        return Result(code, self.output.read_text(encoding="utf-8"), time.monotonic())


@dataclass
class Project:
    """A directory in which ``pytest`` runs, and what of its servers is alive."""

    path: Path
    engine: Path = FAKE_PYTHON
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    running: list[Running] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    """What a run measures, where that is not the profile's default."""
    drawn: bool = False
    """Whether a run draws its seed, as a user's does; here all have the same one."""
    fresh: bool = False
    """Whether every run is an interpreter of its own, and not a fork of one that has done the imports."""

    # -- files

    def catalog(
        self, knobs: Mapping[str, Mapping[str, object]] | None = None, *, rows: str = "", base: str = ""
    ) -> None:
        """``models.toml`` with ``distill``, ``math`` and more rows: ``{"distill": {"TPOT_S": 0.01}}`` are knobs of
        the fake engine.

        ``base`` are more keys for what all rows extend, ``rows`` is appended as it is.
        """
        text = (TEMPLATE / "models.toml").read_text(encoding="utf-8") + base
        settings: Mapping[str, object]
        for name, settings in {"distill": {}, "math": {}, **(knobs or {})}.items():
            text += f'[profile.test.model.{name}]\nextends = "base"\n'
            text += f"[profile.test.model.{name}.environment]\n"
            text += "".join(f"FAKE_ENGINE_{key} = {json.dumps(str(v))}\n" for key, v in settings.items())
        self.write("models.toml", text + textwrap.dedent(rows))

    def against_itself(self, row: str) -> None:
        """``models.toml`` with one row, ``distill``, on both sides; ``row`` is its table, as it is."""
        self.write("models.toml", AGAINST_ITSELF + row)

    def suite(self, source: str, name: str = "test_gate.py") -> None:
        self.write(name, textwrap.dedent(source))

    def write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def answers(self, source: str) -> str:
        """A file for ``ANSWERS``."""
        return str(self.write("answers.py", textwrap.dedent(source)))

    def shrink(self, **sizes: int) -> None:
        """Measure less than a real run would: ``rounds=12``, ``items=100``, in every profile of ``models.toml``."""
        self.sizes |= sizes

    def _with_sizes(self) -> None:
        """Write the sizes into the catalogue as it is now."""
        path = self.path / "models.toml"
        if not self.sizes or not path.exists():
            return
        text = path.read_text(encoding="utf-8").split(_SIZES)[0]
        values = "".join(f"{name} = {value}\n" for name, value in self.sizes.items())
        for name in tomllib.loads(text)["profile"]:
            text += f"{_SIZES}[profile.{name}.sizes]\n{values}"
        path.write_text(text, encoding="utf-8")

    # -- runs

    def start(
        self,
        *arguments: str,
        options: Sequence[str] = ONLY_OURS,
        environment: Mapping[str, str] | None = None,
    ) -> Running:
        """``pytest …`` in a process group of its own."""
        self._with_sizes()
        seed = () if self.drawn else ("--llmperf-order", "0")
        # Where CI is set, pytest prints every failure a second time, whole, in its summary; where tox is, all
        # projects would share one cache.
        foreign = (
            "LLMPERF_",
            "PYTEST_",
            "COV_",
            "FAKE_ENGINE_",
            "GITHUB_",
            "CI",
            "BUILD_NUMBER",
            "FORCE_COLOR",
            "TOX_",
        )
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        output = self.path / f"output-{len(self.running)}.txt"
        (self.path / "tmp").mkdir(exist_ok=True)
        own = {
            "TMPDIR": str(self.path / "tmp"),
            "HOME": str(self.path),
            # The client's own error is the machine's: measured once for all projects.
            "XDG_CACHE_HOME": str(CACHE),
            "COLUMNS": "200",
            "FAKE_ENGINE_INTERPRETER": sys.executable,
            MARK: self.mark,
        }
        if options[:2] == ONLY_OURS[:2]:
            own["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        whole = inherited | own | dict(environment or {})
        with output.open("w") as file:
            process: subprocess.Popen[str] | ForkedRun
            # The import of other plugins and what PYTHON… variables change is done when an interpreter starts.
            if (
                self.fresh
                or options[:2] != ONLY_OURS[:2]
                or any(name.startswith("PYTHON") for name in environment or {})
            ):
                process = subprocess.Popen(
                    [sys.executable, "-m", "pytest", *options, *seed, *arguments],
                    cwd=self.path,
                    env=whole,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    text=True,
                )
            else:
                process = _FORKS.start([*options, *seed, *arguments], self.path, whole, file)
        running = Running(process, output)
        self.running.append(running)
        return running

    def run(self, *arguments: str, timeout_s: float = 60.0, **options: Any) -> Result:
        return self.start(*arguments, **options).wait(timeout_s)

    def run_with_workers(self, count: int, *arguments: str, **options: Any) -> Result:
        return self.run(*arguments, options=(*ONLY_OURS, "-p", "xdist", "-n", str(count)), **options)

    def judged(self, *arguments: str, **options: Any) -> tuple[Result, list[dict[str, Any]]]:
        """A run and its verdicts, from the record that it wrote."""
        result = self.run("--llmperf-record", "record.json", *arguments, **options)
        return result, self.record()["verdicts"]

    def gates(self, record: str = "record") -> list[RecordedGate]:
        """The gates of a record with their data, from the file beside it."""
        path = self.path / f"{record}.json"
        return load_gates(path, read_record(path))

    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.path / "record.json").read_text(encoding="utf-8"))
        return record

    # -- servers

    def servers(self, running: Running, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """What the run's test told (see ``tell``); waits for it."""
        path = self.path / "servers.json"

        def told() -> bool:
            if running.process.poll() is not None and not path.exists():
                pytest.fail(f"the run ended before it told anything:\n{running.output.read_text()}")
            return path.exists()

        eventually(told, "a test that tells its servers", timeout_s)
        servers: list[dict[str, Any]] = json.loads(path.read_text())
        return servers

    def go(self) -> None:
        """End the waiting of ``halt``."""
        self.write("go", "")

    @property
    def ports(self) -> list[int]:
        """Of every start of an engine, in order."""
        path = self.path / "starts"
        return [int(port) for port in re.findall(r"--port (\d+)", path.read_text())] if path.exists() else []

    @property
    def starts(self) -> list[str]:
        """The name of the row of every start, in order."""
        path = self.path / "starts"
        return re.findall(r"--served-model-name (\S+)", path.read_text()) if path.exists() else []

    def alive(self) -> list[int]:
        """Whatever a run of this project has started and is still there: pytest, its workers, keepers, engines."""
        entry = f"{MARK}={self.mark}"
        running = (process.pid for process in processes.table().values() if not process.is_over)
        return [pid for pid in running if processes.environment_has(pid, entry)]

    def sockets(self) -> list[Path]:
        """Those that a run has left among the temporary files."""
        return [path for path in (self.path / "tmp").rglob("*") if path.is_socket()]

    def temporary(self) -> list[str]:
        """Names that are left among the temporary files, apart from our own directories and pytest's."""
        known = ("llmperf-", "pytest-of-")
        return sorted(path.name for path in (self.path / "tmp").iterdir() if not path.name.startswith(known))

    def is_clean(self) -> bool:
        return not self.alive() and not self.sockets() and all(map(ports.is_free, self.ports))

    def ending(self, since: float) -> Ending:
        """What is left, once there is nothing or ten seconds after ``since`` have passed."""
        deadline = since + CLEAN_WITHIN_S
        while not self.is_clean() and time.monotonic() < deadline:
            # Each look reads the environment of every process of the machine: wait for what the last one has found.
            for pid in self.alive():
                if (process := processes.descriptor(pid)) is not None:
                    processes.wait_for_end(process, deadline - time.monotonic())
                    os.close(process)
            time.sleep(0.02)
        seconds = max(0.0, time.monotonic() - since)
        return Ending(len(self.ports), len(self.alive()), all(map(ports.is_free, self.ports)), seconds)

    def end_everything(self) -> None:
        """For the end of a test that has failed: leave the machine as it was."""
        for running in self.running:
            with contextlib.suppress(ProcessLookupError):
                running.process.kill()
            running.process.wait(10)
        for pid in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _characters() -> list[str]:
    """The 256 characters that stand for bytes in a byte-level tokenizer."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]


def _write_weights(directory: Path) -> None:
    """A Qwen2 of 0.2 M parameters without tensors: enough for `--load-format dummy`."""
    directory.mkdir()
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "vocab_size": 257,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "eos_token_id": 0,
        "bos_token_id": 0,
        "hidden_act": "silu",
    }
    vocabulary = {"<eos>": 0} | {character: 1 + n for n, character in enumerate(_characters())}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": 0, "content": "<eos>", **special}],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
    template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>", "chat_template": template}
    for name, content in (("config", config), ("tokenizer", tokenizer), ("tokenizer_config", about)):
        (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def _make_project(path: Path, engine: Path = FAKE_PYTHON, weights: Path | None = None) -> Project:
    """A project with the rows ``distill`` and ``math``, and no suite yet."""
    path.mkdir(parents=True, exist_ok=True)
    project = Project(path, engine)
    if weights is None:
        _write_weights(path / "weights")
    else:
        (path / "weights").symlink_to(weights)
    # A row's interpreter that counts the starts of the engine, whatever becomes of them.
    script = project.write(
        "engine_python",
        "#!/bin/sh\n"
        f'case " $* " in *api_server*) echo "$*" >> "{path}/starts" ;; esac\n'
        f'exec "{engine}" "$@"\n',
    )
    script.chmod(0o755)
    for name in ("pytest.ini", "budgets.toml"):
        shutil.copy(TEMPLATE / name, path)
    shutil.copy(TEMPLATE / "inner_conftest.py", path / "conftest.py")
    project.catalog()
    return project


def _check_that_records_are_explained(project: Project) -> None:
    """Every key that a run writes into its record has a type, whose description tells a user what it means."""
    from pytest_llmperf.errors import LlmperfError
    from tests.undescribed import undescribed

    for path in project.path.glob("*.json"):
        with contextlib.suppress(LlmperfError):
            left = undescribed(read_record(path))
            assert not left, f"record/model.py does not describe {left}, which stand in {path.name}"


@pytest.fixture(scope="session", autouse=True)
def _end_of_forks() -> Iterator[None]:
    yield
    _FORKS.close()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project with the fake engine; ten seconds after the test nothing of it may be left."""
    project = _make_project(tmp_path / "project")
    yield project
    ending = project.ending(time.monotonic())
    project.end_everything()
    assert (ending.processes_left, ending.ports_free) == (0, True), "something was left behind"
    _check_that_records_are_explained(project)


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The same for tests that look at one run from several sides."""
    project = _make_project(tmp_path_factory.mktemp("shared") / "project")
    yield project
    project.end_everything()
    _check_that_records_are_explained(project)


@pytest.fixture(name="machine_cache", scope="session")
def machine_cache_fixture() -> Path:
    """``XDG_CACHE_HOME`` of the runs inside."""
    return CACHE


@pytest.fixture(name="make_project", scope="session")
def make_project_fixture() -> Callable[..., Project]:
    return _make_project


@pytest.fixture(scope="session")
def solver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """For the knob ``ANSWERS``: right on ``RIGHT_PERCENT`` of the embedded task's items (default 80), the same ones
    in every row."""
    from pytest_llmperf.tasks.embedded import EMBEDDED
    from pytest_llmperf.tasks.task import load_items

    directory = tmp_path_factory.mktemp("solver")
    solutions = {item.prompt: item.answer for item in load_items(EMBEDDED)}
    (directory / "solutions.json").write_text(json.dumps(solutions), encoding="utf-8")
    script = directory / "answers.py"
    script.write_text(
        "import json, os, pathlib, zlib\n"
        f"SOLUTIONS = json.loads(pathlib.Path({str(directory / 'solutions.json')!r}).read_text())\n"
        "PERCENT = int(os.environ.get('FAKE_ENGINE_RIGHT_PERCENT', '80'))\n"
        "def answer(request):\n"
        "    question = next((q for q in SOLUTIONS if q in request['text']), '')\n"
        "    right = zlib.crc32(question.encode()) % 100 < PERCENT\n"
        "    return 'The answer is \\\\boxed{' + (SOLUTIONS.get(question, '0') if right else '-1') + '}.'\n"
    )
    return str(script)
