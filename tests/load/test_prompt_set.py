"""Prompts that are given: sent as they are, and known to no cache unless that is wanted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.errors import DataError
from pytest_llmperf.json_values import JsonObject, list_of, object_of
from pytest_llmperf.load.patterns import ClosedLoop
from pytest_llmperf.load.prompt_set import PromptSet, conversations, read_prompts, shared_prefix
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.runner import run_load
from pytest_llmperf.load.workload import Workload, prepare

Truth = Callable[[ReferenceOptions], ReferenceServer]


def test_a_users_file_is_sent_line_by_line_and_again_from_the_first(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    lines = [
        {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 7, "note": "ignored"},
        {"prompt": "Once upon a time"},
    ]
    path.write_text("\ufeff" + "\n\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    given = read_prompts(path)
    assert repr(given) == "mine.jsonl, 2 prompts"
    assert given.fields(2) == {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 7}
    assert given.fields(1, "0042") == {"prompt": "0042 Once upon a time"}
    marked = given.fields(0, "0042")["messages"]
    assert marked == [{"role": "user", "content": "0042 Hello"}]
    assert given.fields(0)["messages"] == [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "3",
        "{}",
        '{"messages": []}',
        '{"messages": [{"role": "user"}]}',
        '{"prompt": 3}',
        '{"prompt": "x", "max_tokens": 0}',
        '{"prompt": "x", "max_tokens": true}',
    ],
)
def test_what_is_no_prompt_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "fine"}\n' + line, encoding="utf-8")
    with pytest.raises(DataError, match=r"mine.jsonl, line 2"):
        read_prompts(path)


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0c", "\x0b", "\x1c", "\r"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_no_character_within_a_text_ends_a_line_of_the_file(tmp_path: Path, mark: str, end: str) -> None:
    path = tmp_path / "mine.jsonl"
    line = json.dumps({"prompt": f"a{mark}b"}, ensure_ascii=False)
    path.write_bytes(f"{line}{end}{line}{end}".encode())
    given = read_prompts(path)
    assert len(given) == 2
    assert given.fields(1) == {"prompt": f"a{mark}b"}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "output_tokens"])
def test_the_length_of_an_answer_is_read_under_each_of_its_names(
    tmp_path: Path, truth: Truth, name: str
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"prompt": "one two", name: 3, "temperature": 0.5, "stop": ["x"]}))
    given = read_prompts(path)
    assert given.fields(0) == {"prompt": "one two", "max_tokens": 3, "temperature": 0.5, "stop": ["x"]}
    known = truth(ReferenceOptions(ttft_ms=1, gap_ms=1))
    workload = Workload(output_tokens=9, given=given, sampling={"temperature": 0.0, "top_p": 0.9})
    run = run_load(known.server, workload, ClosedLoop(1, 2))
    assert [trace.completion_tokens for trace in run.traces] == [3, 3]


def test_what_a_prompt_says_of_itself_stands_above_the_loads_sampling() -> None:
    given = PromptSet("one", [{"prompt": "x", "temperature": 0.5}, {"prompt": "y"}])
    workload = Workload(given=given, sampling={"temperature": 0.0, "top_p": 0.9}, unique=False)
    bodies = asyncio.run(prepare(None, "m", workload, 2)).bodies  # type: ignore[arg-type]
    assert [(body["temperature"], body["top_p"]) for body in bodies] == [(0.5, 0.9), (0.0, 0.9)]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "gpt-4"}, "model is set by the row of the catalogue"),
        ({"stream": True}, "stream is set by the load"),
        ({"n": 4}, "n is set by the load"),
        ({"ignore_eos": True}, "ignore_eos is set by the load"),
        (
            {"max_tokens": 3, "output_tokens": 4},
            "two lengths of one answer: max_tokens = 3, output_tokens = 4",
        ),
        ({"output_tokens": 0}, "output_tokens is 0"),
        ({"output_tokens": 10**12}, "output_tokens is 1000000000000"),
        ({"max_completion_tokens": "7"}, "max_completion_tokens is '7'"),
        ({"temprature": 0.5}, "'temprature'"),
        ({"temperature": -1}, "'temperature' is -1"),
        ({"category": "code"}, "'category'"),
        ({"messages": [{"role": "user", "content": "x"}]}, "has both messages and prompt"),
    ],
)
def test_a_field_that_a_load_cannot_honour_is_refused_with_its_line(
    tmp_path: Path, fields: dict[str, Any], says: str
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "fine"}\n' + json.dumps({"prompt": "x", **fields}), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_prompts(path)
    assert "mine.jsonl, line 2: " in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b'{"prompt": "x", "temperature": NaN}', "JSON has no number NaN"),
        (b'{"prompt": "\\ud800"}', "an unpaired surrogate"),
        (b'{"prompt": "\xff"}', "not UTF-8 at byte 12 of the line"),
        (b"[" * 100_000, "can't be read as JSON"),
        (b'{"prompt": "x", "temperature": 1e999}', "can't be read as JSON"),
        (b'{"prompt": "x", "prompt": "y"}', "'prompt' is given twice"),
        (b'{"messages": [{"role": "user", "content": "x", "content": "y"}]}', "'content' is given twice"),
    ],
)
def test_what_cannot_be_sent_is_refused_when_the_file_is_read(tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b'{"prompt": "fine"}\n' + line)
    with pytest.raises(DataError, match="line 2: ") as caught:
        read_prompts(path)
    assert says in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe"])
def test_a_file_without_prompts_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"mine.jsonl"):
        read_prompts(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_prompts(tmp_path / "none.jsonl")


def turns_of(fields: JsonObject) -> list[dict[str, str]]:
    turns = [dict(object_of(turn)) for turn in list_of(fields["messages"])]
    return [{name: str(value) for name, value in turn.items()} for turn in turns]


def test_prompts_share_a_prefix_and_nothing_else() -> None:
    given = shared_prefix(50, 10, 6, prefixes=2)
    systems, own = zip(
        *([turn["content"] for turn in turns_of(given.fields(index))] for index in range(6)), strict=True
    )
    assert systems[0] == systems[2] == systems[4] != systems[1] == systems[3]
    assert len(set(own)) == 6
    assert len(systems[0].split()) == 50
    assert given == shared_prefix(50, 10, 6, prefixes=2)
    assert given != shared_prefix(50, 10, 6, prefixes=2, seed=1)


def test_every_turn_holds_all_turns_before_it() -> None:
    given = conversations(3, 4, 5)
    assert len(given) == 12
    first = [turns_of(given.fields(turn * 3)) for turn in range(4)]
    assert [len(messages) for messages in first] == [1, 3, 5, 7]
    assert all(later[: len(earlier)] == earlier for earlier, later in pairwise(first))
    assert first[3][-1]["role"] == "user"
    assert given.fields(1)["messages"] != given.fields(0)["messages"]


@pytest.mark.parametrize(
    "make",
    [lambda: shared_prefix(0, 1, 1), lambda: conversations(1, 0, 1), lambda: PromptSet("x", [])],
    ids=["prefix", "turns", "prompts"],
)
def test_a_load_without_prompts_is_refused(make: Callable[[], PromptSet]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        make()


def test_given_prompts_find_a_cold_cache_though_they_are_equal(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    given = PromptSet("equal", [{"messages": [{"role": "user", "content": "the same words " * 20}]}])
    run = run_load(known.server, Workload(output_tokens=4, given=given), ClosedLoop(2, 6))
    assert run.problems == ()
    assert "as given: equal, 1 prompts" in run.prompts_note
    assert run.cache is not None
    assert run.cache.hits == 0


def test_a_shared_prefix_is_invalid_until_a_warm_cache_is_wanted(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1, warm_share=0.8))
    given = shared_prefix(40, 10, 8)
    cold = run_load(known.server, Workload(output_tokens=4, given=given), ClosedLoop(2, 8))
    assert any("warm prefix cache" in problem for problem in cold.problems)
    wanted = Workload(output_tokens=4, given=given, unique=False, warm_cache=True)
    assert run_load(known.server, wanted, ClosedLoop(2, 8)).problems == ()


def test_a_prompts_own_limit_is_its_answers_length(truth: Truth) -> None:
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    given = PromptSet("two", [{"prompt": "a", "max_tokens": 3}, {"prompt": "b"}])
    run = run_load(known.server, Workload(output_tokens=6, given=given), ClosedLoop(1, 2))
    assert [trace.completion_tokens for trace in run.traces] == [3, 6]


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
CALL = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}


@pytest.mark.parametrize(
    ("messages", "marked"),
    [
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            [{"role": "user", "content": [{"type": "text", "text": "07 a"}, {"type": "text", "text": "b"}]}],
        ),
        (
            [{"role": "system", "content": [{"text": "a"}]}, {"role": "user", "content": "b"}],
            [{"role": "system", "content": [{"text": "07 a"}]}, {"role": "user", "content": "b"}],
        ),
        ([CALL, {"role": "tool", "content": "b"}], [CALL, {"role": "tool", "content": "07 b"}]),
    ],
)
def test_text_parts_are_sent_as_they_are_and_marked_at_their_first_text(
    tmp_path: Path, messages: list[Any], marked: list[Any]
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps({"messages": messages}), encoding="utf-8")
    given = read_prompts(path)
    assert given.fields(0) == {"messages": messages}
    assert given.fields(0, "07") == {"messages": marked}
    assert given.fields(0) == {"messages": messages}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([{"type": "text", "text": "what is it?"}, IMAGE], "a part of type 'image_url'; only text parts"),
        ([{"type": "input_audio", "input_audio": {}}], "a part of type 'input_audio'"),
        ([{"type": "text"}], "a part \"{'type': 'text'}\""),
        (["bare"], "a part 'bare'"),
        ([{"type": "text", "text": 3}], "only text parts can be sent"),
        ([], "neither a text nor a list"),
        ({"text": "x"}, "neither a text nor a list"),
        (None, "a message of 'user' has no content"),
    ],
)
def test_other_parts_of_a_message_are_refused_with_their_line(
    tmp_path: Path, content: Any, says: str
) -> None:
    path = tmp_path / "mine.jsonl"
    lines = [{"prompt": "fine"}, {"messages": [{"role": "user", "content": content}]}]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    with pytest.raises(DataError, match=r"mine\.jsonl, line 2: ") as caught:
        read_prompts(path)
    assert says in str(caught.value)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_named_as_such(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "sharegpt.json"
    path.write_text(json.dumps([{"conversations": [{"from": "human", "value": "x"}]}], indent=indent))
    with pytest.raises(DataError, match="is a JSON array; need JSON lines"):
        read_prompts(path)
