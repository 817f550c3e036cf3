"""Logs of servers that did not start, word for word where they were seen, and what is said of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pytest_llmperf.serving import failures
from pytest_llmperf.serving.command import ServerSpec
from pytest_llmperf.serving.known_failures import CONSEQUENCES, KNOWN

SPEC = ServerSpec(row="distill", served_model="distill", argv=("python", "--port", "{port}"))

HERE = Path(__file__).parent
# What vLLM on the CPU always says, and what has the word of an error in it.
NOISE = (HERE / "noise.log").read_text()
# What every failed start ends with.
END = (HERE / "end.log").read_text()
SEEN = [
    (entry["line"], entry["cause"])
    for entry in tomllib.loads((HERE / "seen_failures.toml").read_text())["seen"]
]


@pytest.mark.parametrize(("line", "cause"), SEEN, ids=[cause[:40] for _, cause in SEEN])
def test_a_known_cause_is_named_whatever_stands_around_it(line: str, cause: str) -> None:
    inner = "\n".join(
        f"(EngineCore pid=67) ERROR 11-24 02:13:45 [core.py:1107] {part}" for part in line.split("\n")
    )
    for log in (NOISE + line + "\n" + END, NOISE + inner + "\n" + END):
        found = failures.explain(log, row="distill")
        assert cause in found.cause
        assert found.known
        assert found.remedy
        assert "{" not in found.remedy
        assert line.split("\n")[0].strip()[:60] in found.last_words


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
    message = {"phase": "checking", "detail": "the server serves other, not distill"}
    assert failures.start_error(message, SPEC, log).cause.endswith("the server serves other, not distill")


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


def test_a_very_long_log_is_read_at_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "READ_BYTES", 100)
    log = tmp_path / "server.log"
    log.write_text("begin" + "x" * 1000 + "end")
    text = failures.read_log(log)
    assert text.startswith("begin")
    assert text.endswith("end")
    assert len(text) < 300


def test_every_row_of_the_table_can_be_formatted() -> None:
    for failure in (*KNOWN, *CONSEQUENCES):
        values = dict.fromkeys(failure.pattern.groupindex, "1") | {"row": "distill"}
        assert failure.cause.format(**values)
        assert failure.remedy.format(**values)
