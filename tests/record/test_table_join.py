"""Tables of several records as one: the same rows as if each had been read and written one by one."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.record import redaction
from pytest_llmperf.record.model import TableFile
from pytest_llmperf.record.table_join import Selection, TablePart, join_tables
from pytest_llmperf.record.tables import ANSWERS, load_table, store_table

SECRET = "Xq7-" + "secret" * 4


def answer(item: int, **changed: Any) -> dict[str, Any]:
    told = {"row": "distill", "task": f"task-{item:03}", "variant": "", "item": f"{item}", "sample": 0}
    told |= {"question": "q", "gold": "4", "reply": f"é{item}", "outcome": "correct", "detail": ""}
    told |= {"answer": None, "finish_reason": "stop", "prompt_tokens": item, "completion_tokens": None}
    return told | {"seconds": 0.1 * item, "seed": 2**40 + item} | changed


def part(tmp_path: Path, name: str, rows: Sequence[dict[str, Any]], **given: Any) -> TablePart:
    path = tmp_path / f"{name}.json"
    return TablePart(path, TableFile.model_validate(store_table(path, ANSWERS, rows)), **given)


def lines(tmp_path: Path, name: str, rows: Sequence[dict[str, Any]], **given: Any) -> TablePart:
    """As of a machine without pyarrow."""
    path = tmp_path / f"{name}.json"
    data = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    beside = tmp_path / f"{name}.answers.jsonl.gz"
    beside.write_bytes(data)
    about = {"file": beside.name, "sha256": hashlib.sha256(data).hexdigest(), "count": len(rows)}
    return TablePart(path, TableFile.model_validate(about), **given)


def read(out: Path, about: dict[str, Any]) -> list[Any]:
    return load_table(out, TableFile.model_validate(about), ANSWERS)


@pytest.mark.parametrize("second", [part, lines])
def test_rows_stand_in_the_order_of_the_parts(tmp_path: Path, second: Any) -> None:
    rows = [answer(item) for item in range(7)]
    parts = [
        part(tmp_path, "a", rows[:3]),
        part(tmp_path, "none", []),
        second(tmp_path, "b", rows[3:5]),
        part(tmp_path, "c", rows[5:]),
    ]
    out = tmp_path / "out.json"
    about = join_tables(out, ANSWERS, parts)
    assert about["count"] == 7
    assert read(out, about) == rows


@pytest.mark.parametrize("make", [part, lines])
def test_rows_are_left_out_and_numbers_changed_as_selected(tmp_path: Path, make: Any) -> None:
    def select(keys: Sequence[tuple[Any, ...]]) -> Selection:
        assert keys[2] == ("2", 2)
        kept = [item in {"0", "1", "4"} for item, _ in keys]
        return Selection(kept, {"prompt_tokens": [tokens + 10 for _, tokens in keys]})

    made = make(
        tmp_path, "a", [answer(item) for item in range(6)], columns=("item", "prompt_tokens"), select=select
    )
    out = tmp_path / "out.json"
    found = read(out, join_tables(out, ANSWERS, [made]))
    assert found == [answer(item, prompt_tokens=item + 10) for item in (0, 1, 4)]


@pytest.mark.parametrize("make", [part, lines])
def test_a_secret_of_this_machine_is_taken_out_of_every_text(
    tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [answer(0), answer(1, reply=f"the key is {SECRET}!", detail=SECRET, answer="4")]
    made = make(tmp_path, "a", rows)
    monkeypatch.setattr(redaction, "_HIDDEN", {SECRET})
    out = tmp_path / "out.json"
    found = read(out, join_tables(out, ANSWERS, [made]))
    assert found == [answer(0), answer(1, reply="the key is [redacted]!", detail="[redacted]", answer="4")]


def test_without_a_row_there_is_no_file(tmp_path: Path) -> None:
    made = part(
        tmp_path, "a", [answer(0)], columns=("item",), select=lambda keys: Selection([False] * len(keys))
    )
    out = tmp_path / "out.json"
    about = join_tables(out, ANSWERS, [made])
    assert about["count"] == 0
    assert not (tmp_path / "out.answers.parquet").exists()
