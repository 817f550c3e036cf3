"""Two rows that are not the same never have the same checksum, and what the hub's cache knows is not read again."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytest_llmperf.config.models import Model
from pytest_llmperf.prompts.template import template_sha256
from pytest_llmperf.serving import content as module
from pytest_llmperf.serving.content import checksums, content_of
from pytest_llmperf.serving.weights import embedded_directory

ROW = Model(name="distill", profile="test", weights="/w")


def weights(directory: Path, content: bytes = b"\0" * 16) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"w": {"dtype": "BF16", "shape": [8], "data_offsets": [0, 16]}}).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + content)
    (directory / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    return directory


def test_the_content_of_weights_and_template_tells_rows_apart(tmp_path: Path) -> None:
    one = checksums(ROW, weights(tmp_path / "one"))
    assert one == checksums(ROW, weights(tmp_path / "copy"))
    other = checksums(ROW, weights(tmp_path / "other", b"\1" * 16))
    assert other["weights_sha256"] != one["weights_sha256"]
    assert template_sha256(ROW, tmp_path / "other") == template_sha256(ROW, tmp_path / "one")
    (tmp_path / "copy" / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ bos_token }}"}))
    assert template_sha256(ROW, tmp_path / "copy") != template_sha256(ROW, tmp_path / "one")


def test_large_files_are_told_by_samples_of_every_tensor_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_WHOLE_BYTES", 100)
    one, other, same = (
        checksums(ROW, weights(tmp_path / n, c * 100)) for n, c in (("a", b"\0"), ("b", b"\1"), ("c", b"\0"))
    )
    assert one["weights_told_by"] == "samples"
    assert one["weights_sha256"] == same["weights_sha256"]
    assert one["weights_sha256"] != other["weights_sha256"]


def large(file: Path, tensors: list[bytes]) -> Path:
    offsets, at = {}, 0
    for number, tensor in enumerate(tensors):
        offsets[f"t{number}"] = {
            "dtype": "U8",
            "shape": [len(tensor)],
            "data_offsets": [at, at + len(tensor)],
        }
        at += len(tensor)
    header = json.dumps(offsets).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header + b"".join(tensors))
    return file


@pytest.mark.parametrize("changed", range(5))
def test_a_change_of_any_one_tensor_of_a_large_file_is_seen(
    changed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_WHOLE_BYTES", 10_000)
    sizes = [3, 5000, 20_000, 9000, 1]
    file = tmp_path / "model.safetensors"
    large(file, [b"a" * size for size in sizes])
    before = content_of(ROW, tmp_path)
    large(file, [(b"b" if n == changed else b"a") * size for n, size in enumerate(sizes)])
    assert content_of(ROW, tmp_path).weights != before.weights
    assert content_of(ROW, tmp_path).changed_since(before) == ["the weights"]


@pytest.mark.parametrize("name", ["model.gguf", "model.safetensors"])
def test_a_large_file_without_a_header_is_sampled_from_its_beginning_to_its_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_WHOLE_BYTES", 1000)
    file = tmp_path / name
    file.write_bytes(b"\xff" * 50_000)
    before = content_of(ROW, tmp_path)
    file.write_bytes(b"\xff" * 49_999 + b"\x00")
    assert content_of(ROW, tmp_path).weights != before.weights


def test_a_large_file_whose_time_was_set_back_has_another_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_WHOLE_BYTES", 1000)
    file = tmp_path / "model.gguf"
    file.write_bytes(b"a" * 90_000_00)
    before, at = content_of(ROW, tmp_path), file.stat().st_mtime_ns
    content = bytearray(file.read_bytes())
    content[2**12 + 1 :] = content[2**12 + 1 :]
    file.write_bytes(content)
    os.utime(file, ns=(at, at))
    assert content_of(ROW, tmp_path).stamp != before.stamp


def adapter(directory: Path, content: bytes = b"1") -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "adapter_config.json").write_text("{}")
    (directory / "adapter_model.safetensors").write_bytes(content)
    return directory


FORMS = [
    "--lora-modules=t={}",
    "--lora-modules t={}",
    '--lora_modules {{"name":"t","path":"{}"}}',
    '--lora-modules [{{"name":"t","path":"{}"}}]',
    "--tokenizer {}",
    "--tokenizer={}",
    '--speculative-config {{"model":"{}","num_speculative_tokens":2}}',
    "--speculative-config.model {}",
    "-sc.model={}",
    "--hf-config-path {}",
    "--generation-config {}",
]


@pytest.mark.parametrize("form", FORMS)
def test_a_directory_that_an_argument_names_is_known_by_its_content(form: str, tmp_path: Path) -> None:
    directory = adapter(tmp_path / "adapter")
    row = dataclasses.replace(ROW, arguments=tuple(form.format(directory).split(" ", 1)))
    base = weights(tmp_path / "w")
    before = content_of(row, base)
    assert content_of(row, base) == before
    adapter(directory, b"2")
    now = content_of(row, base)
    assert now.key != before.key
    assert now.changed_since(before) == [str(directory)]
    assert now.weights == before.weights


@pytest.mark.parametrize(
    "option", ["--chat-template", "--quantization-param-path", "--tool-parser-plugin", "--anything"]
)
def test_a_file_that_an_argument_names_is_known_by_its_content(option: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    row = dataclasses.replace(ROW, arguments=(option, str(file)))
    before = content_of(row, None)
    file.write_text("two")
    assert content_of(row, None).files != before.files
    assert checksums(row, None)["files"] == dict(content_of(row, None).files)
    file.unlink()
    assert content_of(row, None).changed_since(before) == [str(file)]


def test_a_file_that_the_rows_environment_names_counts_too(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text("{}")
    row = dataclasses.replace(ROW, environment={"VLLM_TUNED_CONFIG": str(file), "OTHER": "1"})
    assert list(content_of(row, None).files) == [str(file)]


def test_words_numbers_and_directories_that_hold_no_model_are_no_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("vllm", "auto", "cache"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.txt").write_text("x")
    words = (
        "--generation-config",
        "vllm",
        "--dtype",
        "auto",
        "--download-dir",
        str(tmp_path / "cache"),
        "--seed",
        "1",
    )
    row = dataclasses.replace(ROW, arguments=(*words, "--hf-overrides", '{"a": ["b"]}', "x" * 5000, ""))
    assert content_of(row, None).files == {}


def test_a_directory_called_snapshots_is_not_taken_for_the_hubs_cache(tmp_path: Path) -> None:
    directory = weights(tmp_path / "snapshots" / "latest")
    before = content_of(ROW, directory)
    assert checksums(ROW, directory)["weights_commit"] is None
    weights(directory, b"\1" * 16)
    assert content_of(ROW, directory).weights != before.weights


def test_files_that_an_engine_fetches_while_it_starts_are_no_change(tmp_path: Path) -> None:
    directory = weights(tmp_path / "w")
    before = content_of(ROW, directory)
    (directory / "chat_template.jinja").write_text("{{ messages }}")
    now = content_of(ROW, directory)
    assert now.changed_since(before) == []
    assert now.key != before.key
    (directory / "tokenizer_config.json").unlink()
    assert content_of(ROW, directory).changed_since(before) == ["the weights"]


def test_nothing_is_known_of_what_a_server_of_others_serves(tmp_path: Path) -> None:
    row = dataclasses.replace(ROW, engine="url", base_url="http://127.0.0.1:1")
    assert content_of(row, weights(tmp_path / "w")).key is None


def test_a_blob_of_the_hubs_cache_is_known_by_its_name(tmp_path: Path) -> None:
    blob = weights(tmp_path / "blobs") / "model.safetensors"
    snapshot = tmp_path / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(blob.rename(blob.with_name("a" * 64)))
    first = checksums(ROW, snapshot)
    assert first["weights_commit"] == "c" * 40
    (tmp_path / "blobs" / ("a" * 64)).write_bytes(b"not read")
    assert checksums(ROW, snapshot) == first


def test_of_weights_that_are_not_here_nothing_is_claimed() -> None:
    assert (checksums(ROW, None)["weights_sha256"], template_sha256(ROW, None)) == (None, None)


def test_a_file_beside_the_weights_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(embedded_directory("tiny-math"), directory)
    (directory / "notes.txt").write_text("x")
    code = textwrap.dedent(f"""
        import os
        from pathlib import Path
        from pytest_llmperf.config.models import Model
        from pytest_llmperf.errors import StartError
        from pytest_llmperf.measure.served import Served
        if os.getuid() == 0:
            os.setgid(65534); os.setuid(65534)
        model = Model(name="distill", profile="x", weights={str(directory)!r}, gpus=0, max_model_len=64)
        try:
            Served(model, Path("/nowhere"), print).server
        except StartError as error:
            print(error.cause)
    """)
    for opened in (directory, *directory.iterdir(), *directory.parents):
        if opened.stat().st_uid == os.getuid() and len(opened.parts) > 2:
            opened.chmod(opened.stat().st_mode | 0o055)
    (directory / "notes.txt").chmod(0)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"distill: {directory}/notes.txt can't be read (Permission denied)" in done.stdout
