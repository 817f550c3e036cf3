"""Events of a run: each text once, whichever process or thread told it, and none lost with its process."""

from __future__ import annotations

import threading
from pathlib import Path

from pytest_llmperf.measure.events import Events


def test_a_text_is_kept_once_whichever_process_tells_it(tmp_path: Path) -> None:
    one, other = Events(tmp_path / "events.jsonl"), Events(tmp_path / "events.jsonl")
    one.tell("the server of distill was started again")
    other.tell("the server of distill was started again")
    other.tell("two lines\nbecome one")
    assert [event["text"] for event in one.all()] == [
        "the server of distill was started again",
        "two lines become one",
    ]
    assert one.all() == other.all()


def test_events_survive_the_process_that_told_them(tmp_path: Path) -> None:
    Events(tmp_path / "events.jsonl").tell("told before the crash")
    [event] = Events(tmp_path / "events.jsonl").all()
    assert event["text"] == "told before the crash"
    assert event["time"].endswith("+00:00")


def test_a_line_cut_by_a_full_disk_hides_no_other_event(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text('{"time": "2026-01-01T00:00:00+00:00", "te\n')
    events = Events(file)
    events.tell("whole")
    assert [event["text"] for event in events.all()] == ["whole"]


def test_events_are_kept_in_this_process_where_the_file_cannot_be_written(tmp_path: Path) -> None:
    events = Events(tmp_path / "missing" / "events.jsonl")
    events.tell("no place for a file")
    assert [event["text"] for event in events.all()] == ["no place for a file"]


def test_threads_that_tell_at_once_lose_nothing(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    threads = [threading.Thread(target=events.tell, args=[f"event {n % 5}"]) for n in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(event["text"] for event in events.all()) == [f"event {n}" for n in range(5)]
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 5
