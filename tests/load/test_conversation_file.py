"""Conversations of a file: read as written, held turn by turn, and refused with line, value and need."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmperf.client.endpoint import Endpoint
from pytest_llmperf.errors import DataError
from pytest_llmperf.json_values import JsonObject
from pytest_llmperf.load.conversation import Conversation, hold
from pytest_llmperf.load.conversation_file import ScriptTurn, Session, read_script
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import ReferenceServer
from pytest_llmperf.load.run import problems_of
from pytest_llmperf.load.runner import SendOptions
from pytest_llmperf.load.workload import Workload

TEXT = """\
{"session_id": "a", "turns": [{"role": "system", "text": "Be brief."}, {"text": "Hello", "delay": 0}]}
{"turns": [{"texts": ["Look at this:", "a list"], "output_length": 3}]}

{"session_id": "a", "turns": [{"text": "And then?", "delay": 20.5, "role": "user"}]}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "chats.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_of_one_session_are_one_conversation(tmp_path: Path) -> None:
    script = read_script(written(tmp_path, "\ufeff" + TEXT))
    assert script.sessions == (
        Session((ScriptTurn(("Hello",)), ScriptTurn(("And then?",), 0.0205)), "Be brief."),
        Session((ScriptTurn(("Look at this:", "a list"), 0.0, 3),)),
    )
    assert repr(script) == "chats.jsonl, 2 sessions"
    assert (script.turns, script.pause_s(2)) == (2, 0.0205)


def test_they_are_held_with_the_servers_answers_and_a_session_may_end_early(
    tmp_path: Path, truth: Callable[[ReferenceOptions], ReferenceServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[JsonObject] = []
    request = Endpoint.request

    def noted(self: Endpoint, method: str, path: str, body: JsonObject | None = None) -> bytes:
        asked.append(body or {})
        return request(self, method, path, body)

    monkeypatch.setattr(Endpoint, "request", noted)
    known = truth(ReferenceOptions(ttft_ms=5, gap_ms=1))
    shape = Conversation.of_script(read_script(written(tmp_path, TEXT)), 5)
    first, second = hold(known.server, shape, Workload(), SendOptions(warmup=0, nonce="n1"))
    assert (len(first.traces), len(second.traces)) == (2, 1)
    assert not any("asked no more" in problem for problem in problems_of([second]))
    sent = [body for body in asked if "max_tokens" in body and "messages" in body]
    assert sorted(int(str(body["max_tokens"])) for body in sent) == [3, 5, 5]
    said = [json.dumps(body["messages"]) for body in sent]
    assert any('"n1 Be brief."' in each and '"assistant"' in each and "And then?" in each for each in said)
    assert any('{"type": "text", "text": "n1 Look at this:"}' in each for each in said)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", r"line 2: 'nonsense' can't be read as JSON"),
        ("[1]", "has no turns; need"),
        ('{"turns": []}', "has no turns; need"),
        ('{"session_id": 7, "turns": [{"text": "x"}]}', "session_id is 7; need a text"),
        ('{"turns": ["x"]}', r"turn 1: 'x' is not an object"),
        ('{"turns": [{"text": ""}]}', "turn 1: the text is ''; need a text"),
        ('{"turns": [{"text": 5}]}', "the text is '5'"),
        ('{"turns": [{"texts": ["a", {"contents": ["b"]}]}]}', "need a text, or texts: a list"),
        ('{"turns": [{"text": "a", "texts": ["b"]}]}', "has both text and texts"),
        ('{"turns": [{"delay": 5}]}', "has neither text nor texts"),
        ('{"turns": [{"text": "a"}, {"text": "b", "delay": -1}]}', "turn 2: delay is -1; need milliseconds"),
        ('{"turns": [{"text": "a", "delay": NaN}]}', "delay is nan"),
        ('{"turns": [{"text": "a", "delay": true}]}', "delay is True"),
        ('{"turns": [{"text": "a", "delay": "1"}]}', "delay is '1'"),
        ('{"turns": [{"text": "a", "output_length": 0}]}', "output_length is 0; need a whole number"),
        ('{"turns": [{"text": "a", "timestamp": 0}]}', "timestamp is 0; need delay"),
        ('{"turns": [{"text": "a", "image": "x.png"}]}', "'image' can't be sent"),
        ('{"turns": [{"text": "a", "role": "assistant"}]}', "role is 'assistant'"),
        ('{"turns": [{"role": "system", "text": "a"}]}', "no turn of a user"),
        ('{"turns": [{"text": "\\ud800"}]}', "can't be read as JSON"),
    ],
)
def test_a_line_that_cannot_be_sent_is_refused_with_its_number(tmp_path: Path, line: str, says: str) -> None:
    good = '{"turns": [{"text": "x"}]}'
    with pytest.raises(DataError, match=says) as raised:
        read_script(written(tmp_path, f"{good}\n{line}\n"))
    assert "chats.jsonl, line 2" in str(raised.value)


def test_a_file_without_conversations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no conversations"):
        read_script(written(tmp_path, "\n"))
    with pytest.raises(DataError, match="cannot be read"):
        read_script(tmp_path / "none.jsonl")
