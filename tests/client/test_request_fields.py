"""One table of request fields: the client and the lint of prompts can't disagree, and vLLM agrees with both."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_llmperf.client.body import lint
from pytest_llmperf.client.request_fields import FIELDS, Endpoint, why_not
from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import UsageError
from pytest_llmperf.prompts.lint import lint_body

MISSPELT = ("temprature", "Temperature", "topk", "max_token", "stream_option", "xyz", "")
BODIES: tuple[dict[str, Any], ...] = ({"messages": [{"role": "user", "content": "hi"}]}, {"prompt": "hi"})


@pytest.mark.parametrize("body", BODIES, ids=["chat", "completions"])
@pytest.mark.parametrize("name", [*FIELDS, *MISSPELT])
def test_what_the_client_refuses_is_what_the_lint_finds(name: str, body: dict[str, Any]) -> None:
    asked = {name: None} | body
    findings = lint_body(asked | {"temperature": 0.0}, Model("m", "p", "w"))
    refused = ""
    try:
        lint(asked)
    except UsageError as error:
        refused = str(error)
    assert bool(refused) == any(finding.rule == "unknown-field" for finding in findings)
    if refused:
        (why,) = [finding.says for finding in findings]
        assert why.partition(": ")[2] in refused


@pytest.mark.parametrize(
    ("field", "instead"),
    [
        ("extra_body", "its fields"),
        ("enable_thinking", "chat_template_kwargs"),
        ("guided_json", "structured_outputs"),
        ("max_new_tokens", "max_tokens"),
        ("repeat_penalty", "repetition_penalty"),
        ("stop_sequences", "stop"),
        ("functions", "tools"),
        ("best_of", "requests"),
    ],
)
def test_a_field_that_vllm_ignores_is_refused_with_what_to_write_instead(field: str, instead: str) -> None:
    why = why_not(field, "chat")
    assert why is not None
    assert instead in why


@pytest.mark.parametrize(
    ("field", "endpoint", "belongs"),
    [("suffix", "chat", "/v1/completions"), ("tools", "completions", "/v1/chat/completions")],
)
def test_a_field_of_the_other_endpoint_is_named_with_its_own(field: str, endpoint: Any, belongs: str) -> None:
    assert f"it belongs to {belongs}" in str(why_not(field, endpoint))


def test_the_table_is_that_of_the_vllm_that_is_installed() -> None:
    """Every field that it reads is known here, and none is called ignored that it reads, or read that it ignores."""
    chat = pytest.importorskip("vllm.entrypoints.openai.chat_completion.protocol")
    completion = pytest.importorskip("vllm.entrypoints.openai.completion.protocol")
    endpoints: dict[Endpoint, Any] = {
        "chat": chat.ChatCompletionRequest,
        "completions": completion.CompletionRequest,
    }
    for endpoint, model in endpoints.items():
        ours = {name for name in FIELDS if why_not(name, endpoint) is None}
        assert ours == set(model.model_fields), endpoint
