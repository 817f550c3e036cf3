"""What several processes have measured becomes one record, and what one of them left half written costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.json_values import list_of, object_of
from pytest_llmperf.record.process_files import ProcessFiles
from pytest_llmperf.record.tables import ANSWERS, TRACES, metric_values
from tests.record.test_tables import ANSWER, TRACE


def test_answers_that_two_workers_asked_for_are_told_once(tmp_path: Path) -> None:
    few, more = ProcessFiles(tmp_path, "gw0"), ProcessFiles(tmp_path, "gw1")
    few.keep_rows(ANSWERS, [ANSWER | {"item": "1"}, ANSWER | {"item": "9", "task": "other"}])
    more.keep_rows(ANSWERS, [ANSWER | {"item": "1"}])
    more.keep_rows(ANSWERS, [ANSWER | {"item": "2"}])
    for parts in (few, more, ProcessFiles(tmp_path, "main")):
        assert [row["item"] for row in parts.answers()] == ["9", "1", "2"]


def test_facts_of_all_processes_are_put_together(tmp_path: Path) -> None:
    one, other = ProcessFiles(tmp_path, "gw0"), ProcessFiles(tmp_path, "gw1")
    asked = {"row": "distill", "task": "gsm8k", "variant": "as promised"}
    server = {"row": "distill", "ready_s": 0.5}
    one.keep_facts({"profile": "gpu", "servers": [], "answers": [], "load": [{"row": "distill"}]})
    one.keep_facts(
        {"profile": "gpu", "servers": [server], "answers": [asked | {"items": 7}], "load": [{"c": 1}]}
    )
    other.keep_facts(
        {"profile": "gpu", "servers": [server | {"ready_s": None}], "answers": [asked | {"items": 3}]}
    )
    assert ProcessFiles(tmp_path, "main").facts() == {
        "profile": "gpu",
        "servers": [server],
        "answers": [asked | {"items": 7}],
        "load": [{"c": 1}],
    }


def test_prompts_that_two_workers_looked_at_are_told_once(tmp_path: Path) -> None:
    prompts = {"row": "distill", "task": "gsm8k", "variant": "as promised", "count": 3}
    ProcessFiles(tmp_path, "gw0").keep_facts({"prompts": [prompts | {"count": 9}]})
    ProcessFiles(tmp_path, "gw1").keep_facts({"prompts": [prompts, prompts | {"row": "math"}]})
    told = [object_of(each) for each in list_of(ProcessFiles(tmp_path, "main").facts()["prompts"])]
    assert sorted((str(each["row"]), each["count"]) for each in told) == [("distill", 9), ("math", 3)]


def test_the_sampling_of_one_row_to_one_question_is_told_once(tmp_path: Path) -> None:
    first = {"row": "m", "what": "gsm8k", "parameters": {"seed": {"value": 0, "from": "request"}}}
    later = {"row": "m", "what": "gsm8k", "parameters": {"seed": {"value": 3, "from": "request"}}}
    ProcessFiles(tmp_path, "gw0").keep_facts({"sampling": [first]})
    ProcessFiles(tmp_path, "gw1").keep_facts({"sampling": [later, first | {"what": "load"}]})
    assert ProcessFiles(tmp_path, "main").facts() == {"sampling": [first, first | {"what": "load"}]}


def test_the_clock_of_the_traces_begins_with_the_first_request_of_any_process(tmp_path: Path) -> None:
    for process, at in (("gw0", 1000.5), ("gw1", 1000.0)):
        shifted = {name: at + TRACE[name] for name in ("intended_s", "sent_s", "first_s", "last_s", "end_s")}
        ProcessFiles(tmp_path, process).keep_rows(TRACES, [TRACE | shifted])
    first, second = ProcessFiles(tmp_path, "main").traces()
    assert (first["intended_s"], second["intended_s"]) == (0.5, 0.0)
    assert metric_values(first, "ttft_s") == [TRACE["ttft_s"]], "durations stay"


def test_a_row_that_a_killed_process_did_not_end_is_left_out(tmp_path: Path) -> None:
    parts = ProcessFiles(tmp_path, "gw0")
    parts.keep_rows(ANSWERS, [ANSWER])
    file = tmp_path / "gw0.answers.jsonl"
    file.write_text(file.read_text() + file.read_text()[:50])
    assert list(parts.answers()) == [ANSWER]


def test_half_a_surrogate_pair_passes_through(tmp_path: Path) -> None:
    parts = ProcessFiles(tmp_path, "main")
    parts.keep_rows(ANSWERS, [ANSWER | {"reply": "\ud800"}])
    parts.keep_facts({"note": "\ud800"})
    assert [row["reply"] for row in parts.answers()] == ["\ud800"]


def test_only_what_has_changed_is_written_again(tmp_path: Path) -> None:
    shards, main = ProcessFiles(tmp_path, "gw0"), ProcessFiles(tmp_path, "main")
    rounds = [{"ttft_s": [0.1] * 1000}]
    load = [{"row": "distill", "rounds": rounds}, {"row": "math", "rounds": rounds}]
    shards.keep_facts({"profile": "gpu", "load": load, "events": []})
    assert main.facts() == {"profile": "gpu", "load": load, "events": []}
    file = tmp_path / "gw0.facts.jsonl"
    size = file.stat().st_size
    shards.keep_facts({"profile": "gpu", "load": load, "events": []})
    assert file.stat().st_size == size
    later = [load[0], load[1] | {"clumped": True}, {"row": "distill", "rounds": []}]
    shards.keep_facts({"profile": "gpu", "load": later, "events": [{"text": "a"}]})
    assert (
        main.facts()
        == ProcessFiles(tmp_path, "new").facts()
        == {"profile": "gpu", "load": later, "events": [{"text": "a"}]}
    )
    shards.keep_facts({"profile": "gpu", "load": later[:1], "events": []})
    assert main.facts() == {"profile": "gpu", "load": later[:1], "events": []}
    assert file.stat().st_size < 2 * size


def test_facts_that_a_killed_process_did_not_end_are_those_of_the_test_before(tmp_path: Path) -> None:
    shards, main = ProcessFiles(tmp_path, "gw0"), ProcessFiles(tmp_path, "main")
    shards.keep_facts({"load": [{"c": 1}]})
    file = tmp_path / "gw0.facts.jsonl"
    whole = file.read_text()
    file.write_text(whole + whole[:20])
    assert main.facts() == {"load": [{"c": 1}]}


def test_after_a_full_disk_the_next_test_keeps_everything_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = ProcessFiles(tmp_path, "gw0")
    shards.keep_facts({"load": [{"c": 1}]})

    def half_a_line(name: str, lines: list[str]) -> None:
        with (tmp_path / f"gw0.{name}.jsonl").open("a") as file:
            file.write(lines[0][:20])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(shards, "_append", half_a_line)
        with pytest.raises(OSError, match="No space"):
            shards.keep_facts({"load": [{"c": 2}]})
    shards.keep_facts({"load": [{"c": 2}, {"c": 3}]})
    assert ProcessFiles(tmp_path, "main").facts() == {"load": [{"c": 2}, {"c": 3}]}
