"""Arguments are read as vLLM's own parser reads them, whichever way they are spelt."""

from __future__ import annotations

import pytest

from pytest_llmperf.engines.vllm_arguments import option, options, value_of


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-model-len", "512"],
        ["--max_model_len", "512"],
        ["--max_model_len=512"],
        ["--max-model_len=512"],
        ["--max-model", "512"],
        ["--max_model=512"],
        ["--enforce-eager", "--max-model-len", "64", "--max_model_len", "512"],
    ],
)
def test_every_spelling_that_vllm_takes_is_the_same_option(arguments: list[str]) -> None:
    assert value_of(arguments, "--max-model-len") == "512"


@pytest.mark.parametrize(
    "arguments", [["-tp", "2"], ["-tp=2"], ["--tensor_parallel_size=2"], ["--tensor-par", "2"]]
)
def test_short_options_are_their_long_ones(arguments: list[str]) -> None:
    assert value_of(arguments, "--tensor-parallel-size") == "2"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["--model-impl", "vllm"], "--model"),
        (["--chat-template", "x.jinja"], "--chat-template-content-format"),
        (["--data-parallel-size", "2"], "--data-parallel-size-local"),
        (["--quantization-config", "{}"], "--quantization"),
        (["--served-model-name", "--dtype"], "--max-model-len"),
        (["--de", "x"], "--dtype"),
    ],
)
def test_an_option_is_not_taken_for_another(arguments: list[str], asked: str) -> None:
    assert option(arguments, asked) is None


def test_a_value_that_looks_like_an_option_is_not_one_but_a_negative_number_is_a_value() -> None:
    assert value_of(["--seed", "-1"], "--seed") == "-1"
    assert value_of(["--enforce-eager", "--seed=3"], "--enforce-eager") is None
    assert value_of(["--swap-space", "-.5"], "--swap-space") == "-.5"


def test_keys_of_a_dictionary_keep_their_underscores() -> None:
    assert [each.name for each in options(["--hf_overrides.rope_scaling", "x"])] == [
        "--hf-overrides.rope_scaling"
    ]


def test_a_value_with_an_equals_sign_is_kept_whole() -> None:
    assert (
        value_of(['--override-generation-config={"a": "b=c"}'], "--override-generation-config")
        == '{"a": "b=c"}'
    )
