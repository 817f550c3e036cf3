"""Engines are found by name; a package that announces a broken one is named in one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pytest_llmperf.client.capabilities import NOT_OPENAI, declare
from pytest_llmperf.client.likelihood import likelihoods
from pytest_llmperf.config.models import Model
from pytest_llmperf.engines import registry
from pytest_llmperf.engines.base import Engine
from pytest_llmperf.engines.probe import PORT, Probe
from pytest_llmperf.engines.registry import engine_named, engine_names
from pytest_llmperf.errors import CatalogError
from pytest_llmperf.serving.command import spec_for
from pytest_llmperf.serving.failures import explain
from pytest_llmperf.serving.server import Capabilities, Server
from pytest_llmperf.serving.spec import ServerSpec


class Minimal(Engine):
    """Nothing but what an engine must state."""

    name = "minimal"

    def command(self, model: Model, weights: str) -> list[str]:
        return ["serve", weights, model.served, PORT]


MINIMAL = Minimal()
NOT_AN_ENGINE = "vllm"


@pytest.fixture(autouse=True)
def announced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Four entry points, as packages announce them."""
    values = {
        "minimal": f"{__name__}:MINIMAL",
        "text": f"{__name__}:NOT_AN_ENGINE",
        "absent": "no_such_module_anywhere:ENGINE",
        "nameless": f"{__name__}:NOTHING",
    }
    found = {name: EntryPoint(name, value, registry.GROUP) for name, value in values.items()}
    monkeypatch.setattr(registry, "_announced", lambda: found)
    engine_named.cache_clear()
    yield
    engine_named.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "replicas"),
    [([], 1), (["--data-parallel-size", "4"], 4), (["-dp=2"], 2), (["--data_parallel_size=3"], 3)],
)
def test_a_data_parallel_vllm_has_as_many_replicas(arguments: list[str], replicas: int) -> None:
    assert engine_named("vllm").replicas(arguments) == replicas
    assert engine_named("transformers").replicas(arguments) == 1


def test_engines_of_other_packages_stand_behind_those_of_this_one() -> None:
    assert engine_names() == ("vllm", "transformers", "url", "absent", "minimal", "nameless", "text")
    assert engine_named("vllm").is_started
    assert not engine_named("url").is_started


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sglang", "there is no engine 'sglang', only vllm, transformers, url, absent, minimal"),
        (
            "absent",
            "the engine 'absent' cannot be imported from no_such_module_anywhere:ENGINE: ModuleNotFound",
        ),
        ("nameless", "the engine 'nameless' cannot be imported from .*:NOTHING: AttributeError"),
        ("text", "the engine 'text' .* is str; need an instance of pytest_llmperf.Engine"),
    ],
)
def test_an_engine_that_cannot_be_had_is_one_line(name: str, why: str) -> None:
    with pytest.raises(CatalogError, match=why) as caught:
        engine_named(name)
    assert "\n" not in str(caught.value)


def test_an_engine_that_states_only_its_command_is_started_with_safe_defaults(tmp_path: Path) -> None:
    row = Model("m", "p", "w", engine="minimal", arguments=("--fast",), environment={"A": "1"})
    spec = spec_for(row, tmp_path)
    assert spec.argv == ("serve", str(tmp_path), "m", PORT, "--fast")
    assert (spec.environment["A"], spec.engine, spec.probe) == ("1", "minimal", Probe())
    assert spec.api_key_variable in spec.unset, "a key of the run's own environment never reaches the server"
    assert ServerSpec.from_json(spec.to_json()) == spec
    assert MINIMAL.sampling_defaults(row) is None


def test_the_words_of_one_engine_explain_no_other() -> None:
    log = "ValueError: No available memory for the cache blocks.\n"
    assert explain(log, engine="vllm").known == "no memory left for the KV cache"
    assert explain(log, engine="minimal").known is None
    shared = "torch.OutOfMemoryError: CUDA out of memory.\n"
    assert (
        explain(shared, engine="minimal").known == explain(shared, engine="vllm").known == "GPU out of memory"
    )


def test_what_an_engine_lacks_is_neither_sent_nor_asked_for() -> None:
    known = Capabilities()
    declare(known, {"ignore_eos": False, "cache_salt": False, "tokenize": False, "metrics": False})
    assert known.refused == {"ignore_eos", "min_tokens", "cache_salt"}
    assert (known.tokenize, known.metrics, known.asked) == (False, False, False)
    assert len(known.notes) == 1
    declare(known, {"ignore_eos": False, "cache_salt": False})
    assert len(known.notes) == 1, "it is told once"


def test_what_an_engine_is_not_known_to_have_is_found_out_by_asking() -> None:
    known = Capabilities()
    declare(known, {"ignore_eos": True})
    assert known == Capabilities()
    declare(known, {"unknown_fields": True})
    assert known.asked
    assert not known.refused & NOT_OPENAI


def test_perplexity_on_an_engine_without_prompt_logprobs_sends_nothing() -> None:
    server = Server("m", "m", "http://127.0.0.1:9", None, None, None, None, "", "minimal")
    declare(server.capabilities, {"prompt_logprobs": False})
    found = likelihoods(dataclasses.replace(server), ["a", "b"])
    assert [one.error for one in found] == [
        "the server returned no prompt_logprobs, which perplexity needs"
    ] * 2
