"""Arguments are read as vLLM's own parser reads them, whichever way they are spelt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmperf.config.catalog import load_catalog
from pytest_llmperf.engines.vllm_arguments import option, options, table_of, texts_of, value_of
from pytest_llmperf.errors import CatalogError


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


KWARGS = "--default-chat-template-kwargs"
TABLES: list[tuple[list[str], dict[str, object]]] = [
    ([KWARGS, '{"enable_thinking": false}'], {"enable_thinking": False}),
    (["--default_chat_template_kwargs.enable_thinking", "false"], {"enable_thinking": False}),
    ([f"{KWARGS}.a.b=1", f"{KWARGS}.a.c", "x"], {"a": {"b": 1, "c": "x"}}),
    ([f"{KWARGS}.k+", "1,2"], {"k": ["1", "2"]}),
    ([f"{KWARGS}.thinking", "true", KWARGS, '{"x": 1}'], {"thinking": True}),
]


@pytest.mark.parametrize(("arguments", "table"), TABLES)
def test_json_by_parts_is_the_same_as_json(arguments: list[str], table: dict[str, object]) -> None:
    assert table_of(arguments, KWARGS) == table
    assert table_of(["--enforce-eager"], KWARGS) == {}


@pytest.mark.parametrize("text", ["{", "[1]", "yes", ""])
def test_what_is_no_json_object_is_told_with_the_option(text: str) -> None:
    with pytest.raises(CatalogError, match=KWARGS):
        table_of([KWARGS, text], KWARGS)


def test_every_text_that_may_be_a_path_is_given_out() -> None:
    adapters = ["--lora-modules", "a=/x/a", '{"name": "b", "path": "/x/b"}']
    arguments = [*adapters, "--speculative-config", '{"model": "/x/d"}', "--chat-template=/x/t.jinja"]
    assert {"/x/a", "/x/b", "/x/d", "/x/t.jinja"} <= set(texts_of(arguments))


@pytest.mark.parametrize("words", [["--config", "o.yaml"], ["--config=o.yaml"], ["--conf", "o.yaml"]])
def test_a_file_of_options_is_refused_because_nothing_in_it_would_be_checked(
    words: list[str], tmp_path: Path
) -> None:
    catalogue = tmp_path / "models.toml"
    catalogue.write_text(
        '[profile.p]\ncandidate = "m"\nbaseline = "m"\n[profile.p.model.m]\nweights = "org/name"\n'
        f"arguments = {json.dumps(words)}\n"
    )
    with pytest.raises(CatalogError, match="is not an argument of a row: write the options of that file"):
        load_catalog(catalogue)


@pytest.mark.parametrize("option", ["--default-chat-template-kwargs", "--override_generation_config"])
def test_json_that_is_none_is_refused_with_the_catalogue(option: str, tmp_path: Path) -> None:
    catalogue = tmp_path / "models.toml"
    catalogue.write_text(
        '[profile.p]\ncandidate = "m"\nbaseline = "m"\n[profile.p.model.m]\nweights = "org/name"\n'
        f"arguments = {json.dumps([option, '{enable_thinking: false}'])}\n"
    )
    with pytest.raises(CatalogError, match=r"\[profile\.p\.model\.m\] arguments = .*is not JSON"):
        load_catalog(catalogue)


@pytest.mark.vllm
def test_real_vllm_reads_the_same_values() -> None:
    pytest.importorskip("vllm")
    from vllm.entrypoints.launchers.cli_args import (  # type: ignore[import-not-found, unused-ignore]
        make_arg_parser,
    )
    from vllm.utils.argparse_utils import (  # type: ignore[import-not-found, unused-ignore]
        FlexibleArgumentParser,
    )

    parser = make_arg_parser(FlexibleArgumentParser())
    readings = [
        (["--chat-template", "a.jinja", "--chat-template", "b.jinja"], "--chat-template"),
        (["--chat-template=a.jinja", "--chat_template", "b_c.jinja"], "--chat-template"),
        (["--max_model_len", "4096"], "--max-model-len"),
        (["--max-model", "4096"], "--max-model-len"),
        (["--tokenizer-mode", "slow", "--tokenizer", "/t"], "--tokenizer"),
        (["--tokenizer=/t"], "--tokenizer"),
        (["-tp", "2", "--tensor-parallel", "4"], "--tensor-parallel-size"),
        (["-tp=2"], "--tensor-parallel-size"),
        (["-q", "fp8"], "--quantization"),
        (["--generation-conf", "vllm"], "--generation-config"),
        (["--chat-template-content-format", "openai"], "--chat-template-content-format"),
    ]
    for arguments, name in readings:
        read = getattr(parser.parse_args(arguments), name.removeprefix("--").replace("-", "_"))
        assert str(read) == value_of(arguments, name), arguments
    for arguments, table in TABLES:
        assert parser.parse_args(arguments).default_chat_template_kwargs == table, arguments
