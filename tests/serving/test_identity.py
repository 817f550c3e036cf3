"""Answers are reused only where everything that they depend on is known."""

from __future__ import annotations

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.serving.content import Content, Identity, identity_of
from pytest_llmperf.serving.server import Server
from pytest_llmperf.serving.spec import ServerSpec


def identity(*arguments: str, content: Content) -> Identity:
    """Identity of an entry that was started with these arguments."""
    model = Model(name="m", profile="p", weights="/w", arguments=arguments)
    spec = ServerSpec(row="m", served_model="m", argv=("python", "serve", *arguments))
    server = Server("m", "m", "http://127.0.0.1:1", None, None, None, None, "", "vllm 0.32")
    return identity_of(model, server, spec, content, "CPU")


@pytest.mark.parametrize(
    ("arguments", "vouched"),
    [
        ((), True),
        (("--max-num-seqs", "8"), True),
        (("--logits-processors", "ours:NoDigits"), False),
        (("--logits_processors=ours:NoDigits",), False),
        (("--worker-extension-cls", "ours.Worker"), False),
        (("--scheduler-cls=ours.Scheduler",), False),
        (("--middleware", "ours.strip"), False),
    ],
)
def test_python_code_behind_a_name_is_not_vouched_for(arguments: tuple[str, ...], vouched: bool) -> None:
    assert identity(*arguments, content=Content("w")).vouched is vouched


def test_weights_that_are_not_here_are_not_vouched_for() -> None:
    assert not identity(content=Content(None)).vouched


@pytest.mark.parametrize(
    "other", [Content("x"), Content("w", {"t.jinja": "1"}), Content("w", stamp="later")], ids=repr
)
def test_other_content_is_another_identity(other: Content) -> None:
    first, second = (identity(content=each).key for each in (Content("w"), other))
    assert first != second
