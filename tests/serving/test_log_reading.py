"""A log of any length is read in bounded time and memory, wherever its cause stands."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_llmperf.serving import log_lines
from pytest_llmperf.serving.failures import explain
from pytest_llmperf.serving.log_lines import read_log, tail

CAUSE = (
    "(EngineCore_DP0 pid=20) ERROR 11-30 05:00:09 [core.py:842] EngineCore failed to start.\n"
    "(EngineCore_DP0 pid=20) ERROR 11-30 05:00:09 [core.py:842] Traceback (most recent call last):\n"
    '(EngineCore_DP0 pid=20) ERROR 11-30 05:00:09 [core.py:842]   File "x.py", line 1, in f\n'
    "(EngineCore_DP0 pid=20) ERROR 11-30 05:00:09 [core.py:842] ValueError: No available memory for the cache blocks.\n"
)
PLAIN = (
    "(APIServer pid=10) DEBUG 11-30 05:00:00 [x.py:1] {number} a request of many words, one like the other\n"
)
# Each of these lines looks like an error.
NOISY = "(APIServer pid=10) WARNING 11-30 05:00:00 [x.py:1] {number} ERROR Error: code 4{number}: try again\n"


def long_log(path: Path, line: str, size_bytes: int, *, cause_at: float) -> Path:
    """A log of about that size with the cause at that share of it."""
    block = "".join(line.format(number=number) for number in range(1000))
    blocks = size_bytes // len(block)
    with path.open("w") as file:
        for number in range(blocks):
            if number == int(blocks * cause_at):
                file.write(CAUSE)
            file.write(block)
    return path


@pytest.mark.parametrize("line", [PLAIN, NOISY], ids=["plain", "full of errors"])
@pytest.mark.parametrize("cause_at", [0.02, 0.5, 0.9])
def test_the_cause_is_found_anywhere_in_a_long_log(tmp_path: Path, line: str, cause_at: float) -> None:
    log = long_log(tmp_path / "server.log", line, 12 * 2**20, cause_at=cause_at)
    text = read_log(log)
    assert explain(text).known == "no memory left for the KV cache"
    assert len(text) < 6 * 2**20


def test_a_log_of_100_mb_is_explained_in_five_seconds_of_processor_time(tmp_path: Path) -> None:
    log = long_log(tmp_path / "server.log", NOISY, 100 * 2**20, cause_at=0.5)
    began = time.process_time()
    found = explain(read_log(log))
    assert time.process_time() - began < 5.0
    assert found.known == "no memory left for the KV cache"


def test_the_last_of_many_errors_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with log.open("w") as file:
        file.write("x" * log_lines.HEAD_BYTES + "\n")
        for number in range(20_000):
            file.write(
                f"Traceback (most recent call last):\n  File {number}\nKeyError: {'k' * 300}{number}\n"
            )
        file.write("Traceback (most recent call last):\n  File 'x'\nKeyError: 'the last of the middle'\n")
        file.write("y\n" * log_lines.TAIL_BYTES)
    text = read_log(log)
    assert "the last of the middle" in text
    assert len(text) < log_lines.HEAD_BYTES + log_lines.TAIL_BYTES + 2 * log_lines.MIDDLE_BYTES


def test_a_log_of_one_endless_line_is_read(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_bytes(b"Error: " * (12 * 2**20 // 7))
    assert len(read_log(log)) < 8 * 2**20


def test_both_ends_of_a_long_log_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("begin\n" + "x\n" * (4 * 2**20) + "end")
    text = read_log(log)
    assert text.startswith("begin")
    assert text.endswith("end")


def test_a_log_is_read_from_its_offset_on(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("first\nsecond\nthird\n")
    assert read_log(log, 6) == "second\nthird\n"
    assert read_log(log, 10_000) == ""
    assert tail(log, 1) == "third"
    assert read_log(tmp_path / "none") == ""
