"""Two rows that are not the same never have the same checksum, and what the hub's cache knows is not read again."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from pytest_llmperf.catalog import Model
from pytest_llmperf.measure import checksums as module
from pytest_llmperf.measure.checksums import checksums

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
    assert other["template_sha256"] == one["template_sha256"]
    (tmp_path / "copy" / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ bos_token }}"}))
    assert checksums(ROW, tmp_path / "copy")["template_sha256"] != one["template_sha256"]


def test_large_files_are_told_by_their_headers_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_WHOLE_BYTES", 100)
    one, other = (checksums(ROW, weights(tmp_path / n, c * 100)) for n, c in (("a", b"\0"), ("b", b"\1")))
    assert one["weights_told_by"] == "headers"
    assert one["weights_sha256"] == other["weights_sha256"]


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
    found = checksums(ROW, None)
    assert (found["weights_sha256"], found["template_sha256"]) == (None, None)
