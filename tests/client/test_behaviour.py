"""openai's own client on our servers."""

from __future__ import annotations

import dataclasses

import openai
import pytest

from pytest_llmperf.client.behaviour import openai_client
from pytest_llmperf.load.truth_options import TruthOptions
from pytest_llmperf.load.truth_process import running


def test_openais_client_streams_and_answers_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("OPENAI_API_KEY", "a key of the environment")
    with running(TruthOptions(ttft_ms=1, gap_ms=1, api_key="right")) as known:
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
    with running(TruthOptions(ttft_ms=1, http_500_share=1)) as known:
        with openai_client(known.server) as client, pytest.raises(openai.InternalServerError):
            client.completions.create(model=known.server.model, prompt="x", max_tokens=1)
        assert len(known.truth().requests) == 1
