"""What is executed for a row."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.serving.command import spec_for
from pytest_llmperf.serving.spec import ServerSpec, arguments

ROW = Model(name="distill", profile="gpu", weights="org/name")
HERE = Path("/models/tiny")


def value_of(spec: ServerSpec, option: str) -> str | None:
    return spec.argv[spec.argv.index(option) + 1] if option in spec.argv else None


def test_a_row_without_wishes_is_served_locally_under_its_own_name() -> None:
    spec = spec_for(ROW, HERE)
    assert spec.argv[:3] == (sys.executable, "-m", "vllm.entrypoints.openai.api_server")
    assert value_of(spec, "--model") == "/models/tiny"
    assert value_of(spec, "--host") == "127.0.0.1"
    assert value_of(spec, "--served-model-name") == "distill"
    for option in ("--trust-remote-code", "--quantization", "--max-model-len", "--gpu-memory-utilization"):
        assert option not in spec.argv


def test_what_the_row_says_is_passed_on() -> None:
    row = replace(
        ROW,
        engine_python="/other/bin/python",
        revision="abc",
        dtype="half",
        quantization="fp8",
        max_model_len=4096,
        gpu_memory_fraction=0.4,
        trust_remote_code=True,
        served_name="served",
        arguments=("--enforce-eager",),
    )
    spec = spec_for(row, "org/name")
    assert spec.argv[0] == "/other/bin/python"
    expected = {
        "--revision": "abc",
        "--dtype": "half",
        "--quantization": "fp8",
        "--max-model-len": "4096",
        "--gpu-memory-utilization": "0.4",
        "--served-model-name": "served",
    }
    assert {option: value_of(spec, option) for option in expected} == expected
    assert "--trust-remote-code" in spec.argv
    assert spec.argv[-1] == "--enforce-eager"


@pytest.mark.parametrize("words", [("--api-server-count", "4"), ("--api_server_count=4",)])
def test_several_api_processes_need_vllm_s_own_command(words: tuple[str, ...]) -> None:
    # The other entry point takes the argument, says nothing and starts one (seen with vLLM 0.26).
    argv = spec_for(replace(ROW, arguments=words), HERE).argv
    assert argv[1:5] == ("-m", "vllm.entrypoints.cli.main", "serve", "/models/tiny")
    assert "--model" not in argv


def test_a_revision_means_nothing_to_a_directory() -> None:
    assert "--revision" not in spec_for(replace(ROW, revision="abc"), HERE).argv


def test_a_shared_gpu_gets_the_fraction_that_is_asked_for() -> None:
    spec = spec_for(replace(ROW, gpu_memory_fraction=0.4), HERE)
    assert value_of(spec, "--gpu-memory-utilization") == "0.4"


def test_local_weights_forbid_the_network_and_hub_weights_do_not() -> None:
    assert spec_for(ROW, HERE).environment["HF_HUB_OFFLINE"] == "1"
    assert spec_for(ROW, "org/name", weights_are_local=True).environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in spec_for(ROW, "org/name").environment


def test_the_rows_environment_wins() -> None:
    row = replace(ROW, gpus=0, environment={"VLLM_CPU_KVCACHE_SPACE": "4"})
    assert spec_for(row, HERE).environment["VLLM_CPU_KVCACHE_SPACE"] == "4"
    assert spec_for(row, HERE).environment["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert "VLLM_CPU_OMP_THREADS_BIND" not in spec_for(ROW, HERE).environment


def test_vllm_does_not_take_its_internal_ports_from_the_environment() -> None:
    assert "VLLM_PORT" in spec_for(ROW, HERE).unset


def test_a_spec_survives_json() -> None:
    spec = spec_for(
        replace(ROW, arguments=("--compilation-config", '{"level": 0}')), HERE, warm_concurrency=(1, 8)
    )
    again = ServerSpec.from_json(spec.to_json())
    assert again == spec
    assert again.key == spec.key


def test_equal_specs_have_equal_keys_and_others_do_not() -> None:
    keys = {spec_for(ROW, HERE).key, spec_for(ROW, HERE).key}
    assert len(keys) == 1
    others = [replace(ROW, dtype="half"), replace(ROW, environment={"A": "1"}), replace(ROW, name="other")]
    assert len(keys | {spec_for(row, HERE).key for row in others}) == 4


def test_braces_that_are_no_port_are_left_alone() -> None:
    assert arguments(("--port", "{port}", '{"level": {}}'), 7) == ["--port", "7", '{"level": {}}']


def test_the_command_to_type_by_hand_is_quoted_and_holds_no_secret() -> None:
    row = replace(ROW, environment={"HF_TOKEN": "hf_secret", "PLAIN": "a b"})
    line = spec_for(row, Path("/a dir")).command(1234)
    assert "--port 1234" in line
    assert "'/a dir'" in line
    assert "PLAIN='a b'" in line
    assert "HF_TOKEN=…" in line
    assert "hf_secret" not in line


def test_transformers_is_served_by_its_own_server_under_the_rows_name() -> None:
    row = replace(ROW, engine="transformers", gpus=0, dtype="half", arguments=("--continuous-batching",))
    spec = spec_for(row, HERE)
    assert spec.argv[1] == "-P"
    assert Path(spec.argv[2]).name == "transformers_server.py"
    assert Path(spec.argv[2]).is_file()
    assert value_of(spec, "--model") == "/models/tiny"
    assert value_of(spec, "--served-model-name") == "distill"
    assert (value_of(spec, "--device"), value_of(spec, "--dtype")) == ("cpu", "float16")
    assert spec.argv[-1] == "--continuous-batching"
    assert (spec.engine, spec.environment["HF_HUB_OFFLINE"]) == ("transformers", "1")
    assert not [name for name in spec.environment if name.startswith("VLLM")]


def test_weights_of_the_hub_are_asked_of_transformers_at_their_revision() -> None:
    spec = spec_for(replace(ROW, engine="transformers", revision="abc"), "org/name")
    assert value_of(spec, "--model") == "org/name@abc"
    assert "HF_HUB_OFFLINE" not in spec.environment
