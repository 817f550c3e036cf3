"""Catalogues that benchmarks write for themselves are read as any other."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

import pytest

from benchmarks import fidelity_repeats, gpu_fidelity, gpu_speculation
from benchmarks.catalogue_row import catalogue_row
from pytest_llmperf.config.catalog import load_catalog


def test_a_row_says_where_it_runs_and_keeps_what_it_is_given() -> None:
    given = {"weights": 'a "b"', "arguments": ["--x", '{"y": 1}'], "damage": {"seed": 1, "amount": 0.01}}
    for cpu, placed in (
        (True, {"gpus": 0, "environment": {"OMP_NUM_THREADS": "1"}}),
        (False, {"gpus": 1, "gpu_memory_fraction": 0.05}),
    ):
        lines = catalogue_row("p", "r", given, cpu=cpu, sampling={"max_tokens": 9}, rules={"thinking": True})
        row = tomllib.loads("\n".join(lines))["profile"]["p"]["model"]["r"]
        assert row == {
            **given, **placed, "ready_timeout": "330 s", "sampling": {"max_tokens": 9}, "rules": {"thinking": True}
        }  # fmt: skip


@pytest.mark.parametrize("cpu", [True, False])
def test_the_catalogues_of_the_benchmarks_are_valid(tmp_path: Path, cpu: bool) -> None:
    given = argparse.Namespace(cpu=cpu, task="embedded", answers=9, length=9, rounds=9)
    texts = {
        "fidelity": gpu_fidelity.catalogue(tmp_path, list(gpu_fidelity.ROWS), given),
        "speculation": gpu_speculation.catalogue("embedded:tiny-distill", given),
        "repeats": fidelity_repeats.catalogue(cpu),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
        rows = load_catalog(tmp_path / f"{name}.toml").profile(name).models
        assert len(rows) >= 3
        assert {row.gpus for row in rows.values()} == {0 if cpu else 1}
