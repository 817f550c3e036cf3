"""Answers are reused only where everything that they depend on is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.measure.checksums import Content
from pytest_llmperf.measure.identity import identity_of
from pytest_llmperf.measure.served import Served


def served(*arguments: str, content: Content) -> Served:
    """A row that was started with these arguments."""
    model = Model(name="m", profile="p", weights="/w", arguments=arguments)
    spec = SimpleNamespace(argv=("python", "serve", *arguments), environment={})
    server: Any = SimpleNamespace(engine="vllm 0.32", base_url="http://127.0.0.1:1", model="m")
    return cast(Served, SimpleNamespace(model=model, server=server, spec=spec, content=content))


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
    assert identity_of(served(*arguments, content=Content("w")), "CPU").vouched is vouched


def test_weights_that_are_not_here_are_not_vouched_for() -> None:
    assert not identity_of(served(content=Content(None)), "CPU").vouched


@pytest.mark.parametrize(
    "other", [Content("x"), Content("w", {"t.jinja": "1"}), Content("w", stamp="later")], ids=repr
)
def test_other_content_is_another_identity(other: Content) -> None:
    first, second = (identity_of(served(content=one), "CPU").key for one in (Content("w"), other))
    assert first != second
