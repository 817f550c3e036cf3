"""The stand-in for vLLM answers as vLLM does, or the tests that use it say nothing."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.serving.lease import acquire
from pytest_llmperf.serving.server import Server

if TYPE_CHECKING:
    from tests.serving.conftest import Run

Post = Callable[..., Any]
CHAT = {"messages": [{"role": "user", "content": "How much is 40 + 2?"}], "stream": True}


def events(server: Server, body: dict[str, Any], path: str = "/v1/chat/completions") -> list[dict[str, Any]]:
    """The stream's events; the last one must have been [DONE]."""
    request = urllib.request.Request(
        f"{server.base_url}{path}",
        data=json.dumps({"model": server.model, **body}).encode(),
        headers={"Authorization": f"Bearer {server.api_key}"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        lines = [line.removeprefix("data: ") for line in response.read().decode().split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def words(chunks: list[dict[str, Any]]) -> Iterator[str]:
    for chunk in chunks:
        for choice in chunk["choices"]:
            yield choice["delta"].get("content", "")


def test_a_chat_stream_has_a_role_then_tokens_then_usage(run: Run) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        chunks = events(lease.server, CHAT | {"stream_options": {"include_usage": True}})
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(words(chunks)) == "The answer is \\boxed{42}."
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 4


def test_tokens_come_on_schedule(run: Run) -> None:
    with acquire(run.spec(TTFT_S=0.2, TPOT_S=0.05), run.state_root) as lease:
        began = time.monotonic()
        events(lease.server, CHAT)
        assert time.monotonic() - began >= 0.2 + 3 * 0.05


def test_a_limit_ends_an_answer_and_ignore_eos_fills_it(run: Run, post: Post) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        body = {"model": lease.server.model, "prompt": "x"}
        short = post(lease.server, "/v1/completions", body | {"max_tokens": 2})
        long = post(lease.server, "/v1/completions", body | {"max_tokens": 9, "ignore_eos": True})
    assert (short["choices"][0]["text"], short["choices"][0]["finish_reason"]) == ("The answer", "length")
    assert long["usage"]["completion_tokens"] == 9


def test_answers_can_be_a_function_of_the_request(run: Run, post: Post, tmp_path: Path) -> None:
    answers = tmp_path / "answers.py"
    answers.write_text(
        "def answer(request):\n    return request['text'].upper() + f\" {request['temperature']}\"\n"
    )
    with acquire(run.spec(ANSWERS=answers), run.state_root) as lease:
        body = {
            "model": lease.server.model,
            "temperature": 0.5,
            "messages": [{"role": "user", "content": "hi"}],
        }
        said = post(lease.server, "/v1/chat/completions", body)
    assert said["choices"][0]["message"]["content"] == "USER: HI 0.5"


@pytest.mark.parametrize(
    ("body", "status"),
    [({"model": "other"}, 404), ({"max_tokens": 4000}, 400), ({"prompt": "word " * 3000}, 400)],
)
def test_what_vllm_refuses_is_refused(run: Run, post: Post, body: dict[str, Any], status: int) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(lease.server, "/v1/completions", {"model": lease.server.model, "prompt": "x"} | body)
        with caught.value as answer:
            assert answer.code == status
            assert json.loads(answer.read())["error"]["message"]


def test_prompts_are_counted_and_scored(run: Run, post: Post) -> None:
    with acquire(run.spec(), run.state_root) as lease:
        assert post(lease.server, "/tokenize", {"prompt": "a b c"})["count"] == 3
        body = {"model": lease.server.model, "prompt": "a b c", "max_tokens": 1, "echo": True, "logprobs": 1}
        scores = post(lease.server, "/v1/completions", body)["choices"][0]["logprobs"]
    assert scores["token_logprobs"] == [None, -1.0, -1.0, -1.0]
