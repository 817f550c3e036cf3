"""What long prompts in flight need of the key-value cache: from the row, a record, the device, or not known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.config.models import Model, PromptRules, Sampling
from pytest_llmperf.config.sizes import GPU
from pytest_llmperf.engines.registry import engine_named
from pytest_llmperf.measure.cache_plan import LongRecall, MemoryLine, memory_line
from pytest_llmperf.measure.kv_cache_sizes import KvCacheSizes
from pytest_llmperf.measure.long_prompts import LongPrompts
from pytest_llmperf.record.model import Record
from pytest_llmperf.record.prior import PlanningRecord
from pytest_llmperf.serving.gpu import Device
from pytest_llmperf.tasks.long_context import find_kind

NEEDLES = LongPrompts(32_768, kind=find_kind("needles"))
CONFIG = {"num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2, "hidden_size": 1536}
GIB = 2**30
DEVICE = "NVIDIA H200"


class Row:
    """A row of the catalogue, of which nothing is started."""

    def __init__(self, model: Model, devices: tuple[Device, ...] = ()) -> None:
        self.model, self.name, self.engine = model, model.name, engine_named(model.engine)
        self.host = self
        self._devices = devices

    def nvml(self) -> Any:
        return self

    def devices(self) -> tuple[Device, ...]:
        return self._devices


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    arguments = ("--load-format", "dummy")
    monkeypatch.setattr(KvCacheSizes, "known", lambda self, side: None)
    return Model("new", "test", weights=str(tmp_path), dtype="bfloat16", arguments=arguments)


def line(model: Model, count: int = 500, earlier: Any = None, devices: Any = ()) -> MemoryLine:
    served: Any = Row(model, devices)
    return memory_line(LongRecall(served, NEEDLES, count, ("needles",)), GPU, earlier, DEVICE)


def recorded(tokens: int | None, device: str = DEVICE) -> PlanningRecord:
    server = {"row": "new", "milestones": {"kv_cache_tokens": tokens}}
    return PlanningRecord(Path("last.json"), Record.of({"device": {"name": device}, "servers": [server]}), [])


def with_arguments(model: Model, *arguments: str) -> Model:
    return replace(model, arguments=(*model.arguments, *arguments))


def test_what_is_in_flight_is_told_in_bytes_and_each_token_of_the_reply_counts(model: Model) -> None:
    found = line(model)
    assert found.fits is None
    # 33,024 tokens of 28,672 bytes are 947 MB, 64 of them 60.6 GB
    assert found.text == (
        "memory: new, needles 32768 tokens: 64 in flight need 60.6 GB of key-value cache, 947 MB for each of 33,024 "
        "tokens with the reply; the size of the cache is known once a server has started"
    )
    thinking = replace(model, rules=PromptRules(thinking=True), sampling=Sampling(max_tokens=8192))
    assert "each of 40,960 tokens" in line(thinking).text


@pytest.mark.parametrize(
    ("change", "flying"),
    [
        ({"in_flight": 4}, 4),
        ({"in_flight": 4, "arguments": ("--load-format", "dummy", "--max-num-seqs", "2")}, 2),
        ({"arguments": ("--load-format", "dummy", "--max-num-seqs=16")}, 16),
        ({"arguments": ("--load-format", "dummy", "-dp", "2", "--max-num-seqs=16")}, 32),
    ],
)
def test_no_more_are_in_flight_than_row_and_server_take(
    model: Model, change: dict[str, Any], flying: int
) -> None:
    assert f": {flying} in flight" in line(replace(model, **change)).text
    assert ": 3 in flight" in line(replace(model, in_flight=4), count=3).text


def test_how_many_fit_is_said_of_a_size_that_the_row_states(model: Model) -> None:
    found = line(with_arguments(model, "--kv-cache-memory-bytes", str(20 * GIB)))
    assert found.fits is False
    assert "21.5 GB (as the row has it) hold 22 of them: the others wait" in found.text
    assert line(with_arguments(model, "--kv-cache-memory-bytes", str(80 * GIB))).fits is True
    none = line(with_arguments(model, "--kv-cache-memory-bytes", "900000000"))
    assert none.fits is False
    assert "hold not one: give the row more memory" in none.text


def test_a_server_on_the_cpu_has_the_space_of_its_variable(model: Model) -> None:
    cpu = replace(model, gpus=0, dtype="float32")
    assert "1.07 GB (as the row has it) hold not one" in line(cpu).text
    roomy = replace(cpu, environment={"VLLM_CPU_KVCACHE_SPACE": "200"})
    assert line(roomy).fits is True


def test_a_record_of_the_same_device_tells_the_tokens_that_fit(model: Model) -> None:
    found = line(model, earlier=recorded(1_000_000))
    assert found.fits is False
    assert "1,000,000 tokens (as recorded) hold 30 of them" in found.text
    assert line(model, earlier=recorded(None)).fits is None
    assert line(model, earlier=recorded(1_000_000, "NVIDIA T4")).fits is None


def test_the_share_of_the_device_is_the_most_there_can_be(model: Model) -> None:
    device = Device(0, DEVICE, "GPU-0", 141 * GIB, GIB, 140 * GIB)
    found = line(replace(model, gpu_memory_fraction=0.4), devices=(device,))
    assert found.fits is False
    assert "60.6 GB (at most: 0.4 of the memory, less the weights) hold 63 of them" in found.text
    two = replace(model, gpu_memory_fraction=0.4, gpus=2)
    assert line(two, devices=(device, device)).fits is True


def test_weights_that_are_not_here_and_shapes_that_are_not_stated_leave_it_open(
    model: Model, tmp_path: Path
) -> None:
    away = replace(model, weights="some-org/some-model", environment={"HF_HOME": str(tmp_path)})
    assert "not known, for config.json of the weights is not on this machine; 64 prompts" in line(away).text
    overridden = with_arguments(model, "--hf-overrides", '{"num_hidden_layers": 4}')
    assert "config.json of the weights is not" in line(overridden).text
    (tmp_path / "config.json").write_text('{"model_type": "rwkv"}')
    assert "not known: config.json: num_hidden_layers = None" in line(model).text
    elsewhere = Model("url", "test", engine="url", base_url="http://127.0.0.1:1", gpus=0)
    assert line(elsewhere).fits is None


def test_kinds_of_one_length_are_one_line_with_the_most_prompts(model: Model) -> None:
    served: Any = Row(model)
    both = LongRecall(served, NEEDLES, 3, ("needles",)).and_also(LongRecall(served, NEEDLES, 9, ("words",)))
    found = memory_line(both.and_also(both), GPU, None, DEVICE)
    assert "memory: new, needles, words 32768 tokens: 9 in flight" in found.text
