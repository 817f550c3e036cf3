"""A row of a catalogue (``models.toml``) that a benchmark writes for itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def catalogue_row(
    profile: str,
    name: str,
    row: Mapping[str, Any],
    *,
    cpu: bool,
    sampling: Mapping[str, Any],
    rules: Mapping[str, Any],
) -> list[str]:
    """Lines of ``[profile.PROFILE.model.NAME]`` and of its tables, for a server of a small model.

    On a GPU it takes a twentieth of the memory, since several rows stand beside one another. On a processor it computes
    with one thread, for the same reason.
    """
    table = f"profile.{profile}.model.{name}"
    placed: dict[str, Any] = {"gpus": 0} if cpu else {"gpus": 1, "gpu_memory_fraction": 0.05}
    lines = _table(table, {**row, **placed, "ready_timeout": "330 s"})
    if cpu:
        lines += _table(f"{table}.environment", {"OMP_NUM_THREADS": "1"})
    return [*lines, *_table(f"{table}.sampling", sampling), *_table(f"{table}.rules", rules)]


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    return [f"[{name}]", *(f"{key} = {_value(value)}" for key, value in values.items())]


def _value(value: Any) -> str:
    """JSON is TOML as well, but for objects."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{key} = {_value(each)}' for key, each in value.items())} }}"
    return json.dumps(value, ensure_ascii=False)
