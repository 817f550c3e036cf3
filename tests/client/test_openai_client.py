"""openai's own client on our servers."""

from __future__ import annotations

import dataclasses

import openai
import pytest

from pytest_llmperf.client.openai_client import openai_client
from pytest_llmperf.load.reference_server.options import ReferenceOptions
from pytest_llmperf.load.reference_server.process import running
from tests.client.conftest import ScriptedServer


def test_openais_client_streams_and_answers_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("OPENAI_API_KEY", "a key of the environment")
    with running(ReferenceOptions(ttft_ms=1, gap_ms=1, api_key="right")) as known:
        with openai_client(known.server) as client:
            whole = client.chat.completions.create(
                model=known.server.model, messages=[{"role": "user", "content": "x"}], max_tokens=3
            )
            parts = client.chat.completions.create(
                model=known.server.model,
                messages=[{"role": "user", "content": "x"}],
                max_tokens=3,
                stream=True,
            )
            streamed = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        assert whole.choices[0].message.content == streamed == " tok tok tok"
        wrong = dataclasses.replace(known.server, api_key="wrong")
        with openai_client(wrong) as client, pytest.raises(openai.AuthenticationError):
            client.models.list()


def test_a_failure_is_shown_at_once_and_not_tried_again() -> None:
    with running(ReferenceOptions(ttft_ms=1, http_500_share=1)) as known:
        with openai_client(known.server) as client, pytest.raises(openai.InternalServerError):
            client.completions.create(model=known.server.model, prompt="x", max_tokens=1)
        assert len(known.truth().requests) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_and_the_query_of_the_address_is_kept(
    scripted: ScriptedServer, status: int
) -> None:
    other = scripted(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    head = (
        f"HTTP/1.1 {status} Moved\r\nLocation: {other.server.base_url}/v1/models\r\nContent-Length: 0\r\n\r\n"
    )
    moved = scripted(head.encode())
    address = f"{moved.server.base_url}/p?api-version=7&x=a%20b"
    server = dataclasses.replace(moved.server, base_url=address, api_key="key")
    with openai_client(server) as client, pytest.raises(openai.APIStatusError):
        client.models.list()
    assert other.requests == []
    asked = moved.requests[0].split(b" ")[1].decode()
    assert asked.replace("+", "%20") == "/p/v1/models?api-version=7&x=a%20b"
