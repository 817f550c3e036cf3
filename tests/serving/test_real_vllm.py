"""The same promises with real vLLM: a Qwen2 of a few thousand random weights, about half a minute a start.

``LLMPERF_ENGINE_PYTHON`` names the interpreter that has vLLM; without it, the one that runs the tests.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import signal
import struct
import sys
import threading
import time
import urllib.error
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.errors import StartError
from pytest_llmperf.serving import preflight, processes, weights
from pytest_llmperf.serving.command import spec_for
from pytest_llmperf.serving.lease import acquire
from pytest_llmperf.serving.spec import ServerSpec

if TYPE_CHECKING:
    from tests.serving.conftest import Run

pytestmark = [pytest.mark.vllm, pytest.mark.slow]
Make = Callable[..., ServerSpec]

CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_hidden_layers": 1,
    # A head dimension below 32 has no CPU kernel: vLLM says so only at the first request.
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "eos_token_id": 0,
}


@pytest.fixture(scope="session")
def engine_python() -> str:
    python = os.environ.get("LLMPERF_ENGINE_PYTHON")
    if python is None and importlib.util.find_spec("vllm") is None:
        pytest.skip("no vLLM here: install it, or name an interpreter that has it in LLMPERF_ENGINE_PYTHON")
    return python or sys.executable


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without weights: for ``--load-format dummy``."""
    directory = tmp_path_factory.mktemp("tiny")
    (directory / "config.json").write_text(json.dumps(CONFIG))
    (directory / "tokenizer.json").write_text(json.dumps(_byte_tokenizer()))
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"})
    )
    return directory


@pytest.fixture
def make(run: Run, engine_python: str, directory: Path) -> Make:
    """A spec of the tiny model that carries the test's mark."""

    def make(*arguments: str, **fields: Any) -> ServerSpec:
        model = Model(
            name="tiny",
            profile="test",
            weights=str(directory),
            engine_python=engine_python,
            gpus=0,
            dtype="bfloat16",
            max_model_len=1024,
            arguments=("--load-format", "dummy", "--enforce-eager", "--max-num-seqs", "16", *arguments),
            environment={"FAKE_ENGINE_MARK": run.mark},
        )
        model = replace(model, **fields)
        found = weights.resolve(model)
        spec = spec_for(model, found.source)
        preflight.check_engine(model, spec.argv[0])
        return replace(spec, ready_timeout_s=240.0)

    return make


def test_a_server_serves_dies_comes_back_and_goes(
    run: Run, make: Make, generate: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    steps: list[str] = []
    with acquire(make(), run.state_root, lambda progress: steps.append(progress.phase)) as lease:
        first = lease.server
        assert first.engine.startswith("vllm 0.")
        assert {"loading", "checking", "warming up"} <= set(steps)
        assert generate(first) is not None
        with pytest.raises(urllib.error.HTTPError, match="401"):
            generate(replace(first, api_key="wrong"))
        assert first.root_pid is not None
        family = processes.tree(first.root_pid)
        assert len(family) >= 3
        assert processes.peak_rss_bytes(family) > 500_000_000

        os.kill(first.root_pid, signal.SIGKILL)
        assert "SIGKILL" in str(lease.died(wait_s=5.0))
        eventually(lambda: not run.engines(), "the end of the orphaned engine")

        second = lease.restart()
        # The kernel keeps fifteen letters of the title VLLM::EngineCore.
        family_now = processes.descendants(second.root_pid or 0)
        engine = next(process for process in family_now if process.name.startswith("VLLM::Engine"))
        asked = threading.Thread(target=_generate_long, args=(generate, second))
        asked.start()
        os.kill(engine.pid, signal.SIGKILL)
        asked.join(30)
        assert lease.died(wait_s=30.0), "an API process without its engine must be seen to end"
    assert run.is_clean(), run.left()


def test_a_lease_given_back_ends_vllm_in_order(run: Run, make: Make, eventually: Callable[..., Any]) -> None:
    lease = acquire(make(), run.state_root)
    released = lease.close()
    assert not released.forced
    assert released.seconds < 10.0
    # The keeper has said goodbye; it ends itself some milliseconds later.
    eventually(run.is_clean, "a clean machine")


def test_a_frozen_api_process_leaves_no_process_when_its_holder_is_killed(
    run: Run, make: Make, eventually: Callable[..., Any]
) -> None:
    holder = run.holder(make())
    os.kill(holder.hear()["root_pid"], signal.SIGSTOP)
    holder.kill(signal.SIGKILL)
    eventually(run.is_clean, "a clean machine")


def test_a_holder_killed_during_the_start_leaves_no_process(
    run: Run, make: Make, eventually: Callable[..., Any]
) -> None:
    holder = run.holder(make())
    eventually(lambda: len(run.engines()) >= 2, "an engine in the middle of its start", timeout_s=60.0)
    holder.kill(signal.SIGKILL)
    eventually(run.is_clean, "a clean machine")


@pytest.mark.parametrize(
    ("arguments", "fields", "cause"),
    [
        ((), {"quantization": "awq"}, "quantization = awq, but the weights are not"),
        ((), {"max_model_len": 20000}, "max_model_len = 20000 is more than the model's own maximum"),
        (("--no-such-option",), {}, "does not know the argument --no-such-option"),
    ],
    ids=["quantization", "max_model_len", "argument"],
)
def test_a_start_that_fails_is_explained(
    run: Run, make: Make, arguments: tuple[str, ...], fields: dict[str, Any], cause: str
) -> None:
    began = time.monotonic()
    with pytest.raises(StartError) as caught:
        acquire(make(*arguments, **fields), run.state_root)
    assert cause in caught.value.cause
    assert time.monotonic() - began < 60.0
    assert run.is_clean(), run.left()


def test_weights_with_one_nan_are_refused(run: Run, make: Make, tmp_path: Path) -> None:
    planted = tmp_path / "planted"
    shutil.copytree(weights.embedded_directory("tiny-math"), planted)
    _plant_nan(planted / "model.safetensors", "model.norm.weight")
    sound_arguments = ("--enforce-eager", "--max-num-seqs", "16")
    spec = make(weights=str(planted), arguments=sound_arguments)
    with pytest.raises(StartError, match="the weights produce NaN or infinity"):
        acquire(spec, run.state_root)
    assert run.is_clean(), run.left()


def _plant_nan(file: Path, tensor: str) -> None:
    """Make the first element of a bfloat16 tensor NaN."""
    with file.open("r+b") as data:
        (length,) = struct.unpack("<Q", data.read(8))
        entry = json.loads(data.read(length))[tensor]
        assert entry["dtype"] == "BF16"
        data.seek(8 + length + entry["data_offsets"][0])
        data.write(struct.pack("<H", 0x7FC0))


def _generate_long(generate: Callable[..., str], server: Any) -> None:
    # A broken connection or HTTP 500, whichever comes first.
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            generate(server)


def _byte_tokenizer() -> dict[str, Any]:
    """A byte-level tokenizer in which every byte is a token."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "vocab": {letter: place for place, letter in enumerate(letters)},
            "merges": [],
        },
    }
