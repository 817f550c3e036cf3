"""Answers on disk: nothing complete is lost, nothing half is read, and nothing old is taken for new."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.client.answer_cache import (
    DATABASE,
    INTERRUPTED_S,
    KEPT_RUNS,
    AnswerCache,
    finish,
    request_key,
    reused,
)
from pytest_llmperf.client.answers import Answer
from pytest_llmperf.client.trace import RequestOutcome
from pytest_llmperf.config.run_config import Reuse
from pytest_llmperf.json_values import Json

BODY: dict[str, Json] = {
    "model": "m",
    "messages": [{"role": "user", "content": "2 + 2"}],
    "temperature": 0.6,
    "seed": 0,
}


def answer(text: str = "4", outcome: RequestOutcome = RequestOutcome.OK) -> Answer:
    return Answer(0, text, "because", "stop", 10, 3, None, outcome, "", 1, 0.25)


def cache(directory: Path, run: str, reuse: Reuse = "interrupted", process: str = "main") -> AnswerCache:
    return AnswerCache(directory, run, process, reuse)


def query(directory: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Read or change the database with nothing of ours."""
    with contextlib.closing(sqlite3.connect(directory / DATABASE)) as database, database:
        return database.execute(statement, values).fetchall()


def killed(directory: Path, run: str, text: str = "4", body: Any = BODY) -> None:
    """A run that kept one answer and then was no more."""
    one = cache(directory, run)
    one.keep("engine", body, answer(text))
    one.close()


# What stands for what


def test_an_interrupted_run_is_gone_on_from(tmp_path: Path) -> None:
    killed(tmp_path, "a", "5")
    again = cache(tmp_path, "b")
    found = again.take("engine", BODY)
    assert found is not None
    assert (found.text, found.reused, found.reasoning, found.completion_tokens) == ("5", True, "because", 3)
    assert again.take("engine", BODY) is None, "one answer stands for one request"


@pytest.mark.parametrize(
    "other",
    [
        BODY | {"seed": 1},
        BODY | {"temperature": 0.5},
        BODY | {"messages": [{"role": "user", "content": "2 + 3"}]},
        BODY | {"stop": ["\n"]},
    ],
)
def test_another_request_is_another(tmp_path: Path, other: dict[str, Any]) -> None:
    killed(tmp_path, "a")
    assert cache(tmp_path, "b").take("engine", other) is None
    assert request_key(BODY | {"model": "other name"}) == request_key(BODY)


def test_another_engine_and_one_that_nobody_vouches_for_are_asked_themselves(tmp_path: Path) -> None:
    killed(tmp_path, "a")
    assert cache(tmp_path, "b").take("another engine", BODY) is None
    assert cache(tmp_path, "b").take("engine", BODY, vouched=False) is None
    assert cache(tmp_path, "b", "all").take("engine", BODY, vouched=False) is not None


def test_a_run_that_came_to_its_end_is_measured_again(tmp_path: Path) -> None:
    killed(tmp_path, "a")
    finish(tmp_path, "a")
    assert cache(tmp_path, "b").take("engine", BODY) is None
    assert cache(tmp_path, "b", "all").take("engine", BODY) is not None


def test_what_a_finished_run_went_on_from_is_not_gone_on_from_again(tmp_path: Path) -> None:
    killed(tmp_path, "a")
    second = cache(tmp_path, "b")
    assert second.take("engine", BODY) is not None
    second.close()
    assert reused(tmp_path, "b").count == 1
    finish(tmp_path, "b")
    assert cache(tmp_path, "c").take("engine", BODY) is None


def test_a_run_killed_while_it_goes_on_loses_nothing_of_the_first(tmp_path: Path) -> None:
    killed(tmp_path, "a", "first")
    second = cache(tmp_path, "b")
    second.take("engine", BODY)
    second.keep("engine", BODY | {"seed": 1}, answer("second"))
    second.close()
    third = cache(tmp_path, "c")
    texts = [third.take("engine", BODY | {"seed": seed}) for seed in (0, 1)]
    assert [one and one.text for one in texts] == ["first", "second"]


def test_what_was_asked_in_vain_keeps_the_rest_for_the_next_run(tmp_path: Path) -> None:
    one = cache(tmp_path, "a")
    one.keep("engine", BODY, answer())
    one.mark_incomplete()
    one.close()
    finish(tmp_path, "a")
    assert cache(tmp_path, "b").take("engine", BODY) is not None


def test_another_nights_answers_are_no_ones(tmp_path: Path) -> None:
    killed(tmp_path, "a")
    query(tmp_path, "UPDATE runs SET changed = ?", time.time() - INTERRUPTED_S - 1)
    assert cache(tmp_path, "b").take("engine", BODY) is None
    finish(tmp_path, "b")
    assert query(tmp_path, "SELECT * FROM answers") == []


def test_a_run_that_lives_is_not_gone_on_from(tmp_path: Path) -> None:
    living = cache(tmp_path, "a")
    living.keep("engine", BODY, answer())
    assert cache(tmp_path, "b").take("engine", BODY) is None
    living.close()
    assert cache(tmp_path, "b").take("engine", BODY) is not None


def test_fresh_takes_nothing_and_keeps_what_it_asks(tmp_path: Path) -> None:
    killed(tmp_path, "a", "old")
    fresh = cache(tmp_path, "b", "none")
    assert fresh.take("engine", BODY) is None
    fresh.keep("engine", BODY, answer("new"))
    fresh.close()
    assert query(tmp_path, "SELECT DISTINCT state FROM runs") == [("open",)]
    assert len(query(tmp_path, "SELECT * FROM answers")) == 2


def test_a_failure_is_no_answer(tmp_path: Path) -> None:
    one = cache(tmp_path, "a")
    one.keep("engine", BODY, answer("half of it", RequestOutcome.CUT))
    one.close()
    assert list(tmp_path.iterdir()) == []


def test_a_few_finished_runs_are_kept_and_no_more(tmp_path: Path) -> None:
    for number in range(KEPT_RUNS + 2):
        killed(tmp_path, f"run{number}")
        finish(tmp_path, f"run{number}")
    assert query(tmp_path, "SELECT run, state FROM runs ORDER BY changed") == [
        (f"run{number}", "done") for number in range(2, KEPT_RUNS + 2)
    ]
    assert len(query(tmp_path, "SELECT * FROM answers")) == KEPT_RUNS


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    from pytest_llmperf.client.answer_cache import AnswerCache
    from pytest_llmperf.client.answers import Answer
    from pytest_llmperf.client.trace import RequestOutcome

    cache = AnswerCache(Path(sys.argv[1]), "a", "main")
    kept = 0
    for seed in range(2000):
        if seed == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))  # from there on as on a full disk
        answer = Answer(0, "4" * 500, "", "stop", 10, 3, None, RequestOutcome.OK, "", 1, 0.25)
        cache.keep("engine", {"seed": seed}, answer)
        kept += not cache.complaint
    cache.close()
    print(kept, cache.complaint)
"""


def test_a_full_disk_ends_the_writing_says_so_and_costs_no_answer_that_was_stored(tmp_path: Path) -> None:
    command = [sys.executable, "-B", "-c", textwrap.dedent(FULL_DISK), str(tmp_path)]
    kept, _, complaint = subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition(
        " "
    )
    assert complaint.startswith(f"answers are no longer kept in {tmp_path}: ")
    assert 5 < int(kept) < 2000
    again = cache(tmp_path, "b")
    texts = [again.take("engine", {"seed": seed}) for seed in range(2000)]
    assert [index for index, answer in enumerate(texts) if answer is not None] == list(range(int(kept)))


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 100, None])
def test_a_damaged_database_is_told_and_the_run_goes_on(tmp_path: Path, damage: bytes | None) -> None:
    killed(tmp_path, "a")
    file = tmp_path / DATABASE
    whole = file.read_bytes()
    file.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100) if damage is None else damage)
    second = cache(tmp_path, "b")
    assert second.take("engine", BODY) is None
    second.keep("engine", BODY, answer())
    second.close()
    finish(tmp_path, "b")
    assert reused(tmp_path, "b").count == 0
    # An empty file is an empty database; anything else that is none is told, with the place of the file to remove.
    assert (str(tmp_path) in second.complaint) is (damage != b"")


def test_two_processes_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.client.test_answer_cache import cache, answer;"
        "c = cache(Path(sys.argv[1]), 'a', process=sys.argv[2]);"
        "[c.keep('engine', {'seed': n, 'by': sys.argv[2]}, answer()) for n in range(200)];"
        "c.close(); print(c.complaint)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    both = [subprocess.Popen([*command, name], stdout=subprocess.PIPE, text=True) for name in ("gw0", "gw1")]
    assert [process.communicate(timeout=60)[0] for process in both] == ["\n", "\n"]
    assert query(tmp_path, "SELECT COUNT(*) FROM answers") == [(400,)]


# Killed for real


class Counting(BaseHTTPRequestHandler):
    """Answers each request after a moment with its number; ``asked`` has every prompt in its order, and its run,
    which its path begins with: a request of a killed run may be noticed after the next has begun."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    asked: list[tuple[str, str]]
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        return

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.lock:
            self.asked.append((self.path.split("/")[1], body["prompt"]))
            number = len(self.asked)
        time.sleep(0.004)
        choice = {
            "index": 0,
            "text": f"{body['prompt']} was asked as number {number}",
            "finish_reason": "stop",
        }
        content = f"data: {json.dumps({'choices': [choice]})}\n\ndata: [DONE]\n\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def counting() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    asked: list[tuple[str, str]] = []
    handler = type("Handler", (Counting,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
    thread.join()


EVALUATIONS = """
    import os, sys
    from pathlib import Path
    from pytest_llmperf.client.answer_cache import AnswerCache, complete_with_cache, finish
    from pytest_llmperf.serving.server import Server

    directory, url = Path(sys.argv[1]), sys.argv[2]
    bodies = [{"prompt": f"item {n}", "max_tokens": 9, "seed": 0} for n in range(1500)]

    def evaluate(run):
        server = Server("row", "model", f"{url}/{run}", None, None, None, None, "", "counting")
        cache = AnswerCache(directory, run, "main")
        print("begins", os.getpid(), flush=True)
        answers = complete_with_cache(server, bodies, cache, "engine", concurrency=4)
        cache.close()
        finish(directory, run)
        print("\\n".join(answer.text for answer in answers), flush=True)

    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            evaluate(line.strip())
            os._exit(0)
        print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""Each line is a run in a process of its own; the imports are done once."""


@pytest.fixture
def evaluations(
    tmp_path: Path, counting: tuple[str, list[tuple[str, str]]]
) -> Iterator[subprocess.Popen[str]]:
    """Run ``EVALUATIONS``, with the answers in ``tmp_path``."""
    command = [sys.executable, "-c", textwrap.dedent(EVALUATIONS), str(tmp_path), counting[0]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def test_killed_twenty_times_at_random_it_loses_no_answer_and_asks_none_twice(
    tmp_path: Path,
    counting: tuple[str, list[tuple[str, str]]],
    evaluations: subprocess.Popen[str],
) -> None:
    _, asked = counting
    runs, output = evaluations.stdin, evaluations.stdout
    assert runs is not None
    assert output is not None
    chance = random.Random(20)
    finished: dict[str, str] = {}
    kills = 0

    def start() -> int:
        """Start another run; return its process id."""
        print(f"run{kills}", file=runs, flush=True)
        word, pid = output.readline().split()
        assert word == "begins"
        return int(pid)

    def on_disk() -> dict[str, str]:
        texts = [json.loads(text)["text"] for (text,) in query(tmp_path, "SELECT answer FROM answers")]
        assert len(texts) == len(set(texts))
        return {text.partition(" was")[0]: text for text in texts}

    def asked_now() -> list[str]:
        """By the run that was started last."""
        return [prompt for run, prompt in list(asked) if run == f"run{kills}"]

    while kills < 20:
        target = chance.randint(1, 60)
        pid = start()
        while len(asked_now()) < target and Path(f"/proc/{pid}").exists():
            time.sleep(chance.random() * 0.004)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        assert output.readline() == "ended -9\n", "it came to its end before it was killed: nothing is tested"
        assert not finished.keys() & set(asked_now()), "asked again although its answer was there"
        now = on_disk()
        assert finished.items() <= now.items(), "an answer that was there is gone or another"
        finished, kills = now, kills + 1
    start()
    told, _ = evaluations.communicate(timeout=60)
    *answers, ended = told.splitlines()
    assert ended == "ended 0"
    assert len(answers) == 1500
    assert finished.items() <= {text.partition(" was")[0]: text for text in answers}.items()
    assert sorted(asked_now()) == sorted({f"item {n}" for n in range(1500)} - finished.keys())
