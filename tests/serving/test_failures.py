"""Logs of servers that did not start, word for word where they were seen, and what is said of them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.serving import failures, readiness
from pytest_llmperf.serving.known_failures import CONSEQUENCES, GENERAL, KNOWN
from pytest_llmperf.serving.messages import Failure
from pytest_llmperf.serving.spec import ServerSpec

SPEC = ServerSpec(row="distill", served_model="distill", argv=("python", "--port", "{port}"))

HERE = Path(__file__).parent
# What vLLM on the CPU always says, and what has the word of an error in it.
NOISE = (HERE / "noise.log").read_text()
# What every failed start ends with.
END = (HERE / "end.log").read_text()
SEEN = [
    (entry["line"], entry["cause"], entry.get("frames", ""))
    for entry in tomllib.loads((HERE / "seen_failures.toml").read_text())["seen"]
]

LOGS = tomllib.loads((HERE / "start_logs.toml").read_text())["log"]


@pytest.mark.parametrize(
    ("line", "cause", "frames"),
    SEEN,
    ids=[f"{number} {cause[:50]}" for number, (_, cause, _) in enumerate(SEEN)],
)
def test_a_known_cause_is_named_whatever_stands_around_it(line: str, cause: str, frames: str) -> None:
    raw = f"Traceback (most recent call last):\n{frames}\n{line}\n" if frames else f"{line}\n"
    inner = "".join(
        f"(EngineCore pid=67) ERROR 11-24 02:13:45 [core.py:1107] {part}\n" for part in raw.splitlines()
    )
    for log in (NOISE + raw + END, NOISE + inner + END):
        found = failures.explain(log, row="distill")
        assert cause in found.cause
        assert found.remedy
        assert "{" not in found.remedy
        assert line.split("\n")[0].strip()[:60] in found.last_words


@pytest.mark.parametrize("entry", LOGS, ids=[entry["name"] for entry in LOGS])
def test_the_error_that_ended_the_process_is_the_cause(entry: dict[str, Any]) -> None:
    found = failures.explain(entry["text"], row="distill")
    if entry["cause"]:
        assert entry["cause"] in found.cause
    else:
        assert not found.cause
        assert entry["hint"] in found.hint
    for wrong in entry.get("never", []):
        assert wrong not in f"{found.cause} {found.remedy}"
    if "child" in entry:
        assert found.child_exit == entry["child"]


def test_noise_alone_is_no_cause() -> None:
    assert failures.explain(NOISE).cause == ""


def test_an_unknown_failure_shows_its_first_error_and_not_its_last_line() -> None:
    log = NOISE + (
        "(Worker pid=68) ERROR 11-24 02:13:45 [executor.py:10] WorkerProc hit an exception.\n"
        "(Worker pid=68) ERROR 11-24 02:13:45 [executor.py:10] Traceback (most recent call last):\n"
        '(Worker pid=68) ERROR 11-24 02:13:45 [executor.py:10]   File "x.py", line 1, in f\n'
        "(Worker pid=68) ERROR 11-24 02:13:45 [executor.py:10] KeyError: 'rope_new'\n"
    )
    found = failures.explain(log + END)
    assert found.cause == "KeyError: 'rope_new'"
    assert found.known is None
    assert "File" in found.last_words


def test_an_announced_error_is_shown_with_its_next_line() -> None:
    log = (
        "pydantic.ValidationError: 1 validation error for CacheConfig\n  Value error, block_size must be 16\n"
    )
    assert failures.explain(log).cause.endswith("Value error, block_size must be 16")


def test_an_error_that_was_logged_without_a_traceback_is_found() -> None:
    log = "(APIServer pid=1) ERROR 11-24 02:13:45 [x.py:1] the moon is in the wrong phase\n"
    assert failures.explain(log + END).cause == "the moon is in the wrong phase"


def test_a_consequence_is_named_when_nothing_else_is_known() -> None:
    assert failures.explain(END).known == "engine core died"


def test_the_earliest_known_cause_wins() -> None:
    log = "ValueError: No available memory for the cache blocks.\nModuleNotFoundError: No module named 'x'\n"
    assert failures.explain(log).known == "no memory left for the KV cache"


def test_a_kill_for_want_of_memory_is_said_before_what_the_log_says(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(END)
    text = str(failures.start_error({"signal": None, "exit_code": 1, "oom": True}, SPEC, log))
    assert "for want of memory (exit code 1)" in text


def test_a_kill_of_somebody_else_does_not_hide_a_known_cause(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("ModuleNotFoundError: No module named 'x'\n")
    assert "module x" in str(failures.start_error({"exit_code": 1, "oom": True}, SPEC, log))


def test_a_server_of_another_model_is_the_cause_whatever_its_log_says(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("ModuleNotFoundError: No module named 'x'\n")
    message: Failure = {"phase": "checking", "detail": "the server serves other, not distill"}
    assert failures.start_error(message, SPEC, log).cause.endswith("the server serves other, not distill")


def test_weights_of_nan_are_the_cause_whatever_the_server_logged_of_the_answer(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("Traceback (most recent call last):\n  File 'x'\nValueError: Out of range float values\n")
    message: Failure = {
        "phase": "warming up",
        "detail": f"{readiness.NAN_CAUSE}: 8 of the 8 log probabilities are NaN",
    }
    assert "the weights produce NaN" in failures.start_error(message, SPEC, log).cause


def test_a_first_generation_that_fails_is_explained_by_the_log(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("ModuleNotFoundError: No module named 'x'\n")
    message: Failure = {
        "phase": "warming up",
        "detail": "the first generation failed: 500 Internal Server Error",
    }
    assert "module x" in failures.start_error(message, SPEC, log).cause


def test_a_death_is_explained_by_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("ValueError: of one request\n" + "INFO\n" * 40_000 + "RuntimeError: the last\n")
    assert "RuntimeError: the last" in str(failures.server_died({"exit_code": 1}, SPEC, log))


def test_an_end_without_a_word_names_the_signal(tmp_path: Path) -> None:
    text = str(failures.start_error({"signal": 11, "exit_code": None}, SPEC, tmp_path / "none"))
    assert "killed by SIGSEGV" in text


def test_only_the_log_of_the_last_start_counts(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("RuntimeError: of the first start\n")
    offset = log.stat().st_size
    with log.open("a") as file:
        file.write("RuntimeError: of the second start\n")
    text = str(failures.start_error({"exit_code": 1, "log_offset": offset}, SPEC, log))
    assert "second" in text
    assert "first" not in text


def test_every_row_of_the_table_can_be_formatted() -> None:
    for failure in (*KNOWN, *GENERAL, *CONSEQUENCES):
        values = dict.fromkeys(failure.pattern.groupindex, "1") | {"row": "distill"}
        assert failure.cause.format(**values)
        assert failure.remedy.format(**values)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"signal": 7}, "killed by SIGBUS: a bus error; most often the shared memory (/dev/shm)"),
        ({"exit_code": 135}, "killed by SIGBUS"),
        ({"signal": 4}, "instructions that this processor does not have"),
        ({"exit_code": 132}, "killed by SIGILL"),
        ({"exit_code": 134}, "killed by SIGABRT"),
        ({"exit_code": 139}, "killed by SIGSEGV"),
        (
            {"exit_code": 137},
            "killed by SIGKILL: the kernel's OOM killer, a limit of the container, or a `kill",
        ),
        ({"exit_code": 137, "oom": True}, "killed a process for want of memory (exit code 137, SIGKILL)"),
        ({"signal": 9, "oom": True}, "killed a process for want of memory (killed by SIGKILL)"),
        ({"signal": 15}, "killed by SIGTERM: it was told to end"),
        ({"exit_code": 1}, "ended (exit code 1) without naming an error"),
    ],
)
def test_a_signal_is_explained_where_the_log_says_nothing(
    tmp_path: Path, message: Failure, expected: str
) -> None:
    log = tmp_path / "server.log"
    log.write_text(NOISE)
    assert expected in failures.start_error(message, SPEC, log).cause


@pytest.mark.parametrize(("oom", "expected"), [(True, "for want of memory"), (False, "killed by SIGKILL")])
def test_a_worker_that_was_killed_is_told_by_what_its_parent_wrote(
    tmp_path: Path, oom: bool, expected: str
) -> None:
    log = tmp_path / "server.log"
    log.write_text(NOISE + END.replace("{}", "{'EngineCore_DP0': -9}"))
    assert expected in failures.start_error({"exit_code": 1, "oom": oom}, SPEC, log).cause


def test_a_survived_error_is_a_hint_and_no_cause(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text(
        "(EngineCore pid=2) ERROR 11-24 02:13:45 [x.py:1] the first try failed, retrying 1 of 2\n"
        "(EngineCore pid=2) INFO 11-24 02:13:46 [x.py:1] loaded\n"
    )
    cause = failures.start_error({"exit_code": 1}, SPEC, log).cause
    assert (
        "without naming an error; the last error in its log, after which it went on: the first try" in cause
    )


def test_an_error_in_the_log_says_more_than_a_signal_at_the_end(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("Traceback (most recent call last):\n  File 'x'\nKeyError: 'rope_new'\n")
    assert failures.start_error({"signal": 11}, SPEC, log).cause.endswith("KeyError: 'rope_new'")


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_bytes(b"\xff\xfe\x00\x1b[31m\nValueError: \xe9t\xe9\n" + "ValueError".encode("utf-16"))
    assert "ValueError: \ufffdt\ufffd" in failures.start_error({"exit_code": 1}, SPEC, log).cause
