"""Answers and traces beside the record: every row as it was, whatever a model has said, and of no other run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.record import redaction
from pytest_llmperf.record.model import Record, TableFile
from pytest_llmperf.record.tables import (
    ANSWERS,
    TOKENS,
    TRACES,
    TableSchema,
    load_answers,
    load_table,
    load_tokens,
    load_traces,
    store_table,
)

ANSWER: dict[str, Any] = {
    "row": "distill",
    "task": "gsm8k",
    "variant": "as promised",
    "item": "gsm8k-7",
    "sample": 0,
    "question": "How many?",
    "gold": "4",
    "reply": "<think>\n2 + 2\n</think>\n\\boxed{4} \x1b[31m‮<script>",
    "outcome": "correct",
    "detail": "",
    "answer": "4",
    "finish_reason": "stop",
    "prompt_tokens": 12,
    "completion_tokens": 9,
    "seconds": 0.1 + 0.2,
    "seed": None,
}
TRACE: dict[str, Any] = {
    "row": "distill",
    "kind": "closed",
    "concurrency": 8,
    "rate": None,
    "start": 1,
    "round": 0,
    "index": 3,
    "intended_s": 0.0,
    "sent_s": 1e-05,
    "first_s": 0.1,
    "last_s": 0.3,
    "end_s": 0.31,
    "ttft_s": 0.1,
    "ttfat_s": None,
    "tpot_s": 0.1,
    "itl_s": [0.1, 1 / 3],
    "stall_s": 0.1,
    "e2el_s": 0.31,
    "schedule_delay_s": 0.0,
    "output_tokens": 3,
    "outcome": "ok",
    "error": "",
}


@pytest.fixture(params=["parquet", "jsonl.gz"])
def suffix(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both formats; the second is what a machine without pyarrow writes."""
    if request.param == "jsonl.gz":
        for name in ("pyarrow", "pyarrow.parquet"):
            monkeypatch.setitem(sys.modules, name, None)
    return str(request.param)


def test_rows_are_read_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "night" / "record.json"
    rows = [ANSWER | {"sample": n} for n in range(2500)]
    about = store_table(path, ANSWERS, iter(rows))
    assert (about["file"], about["count"]) == (f"record.answers.{suffix}", 2500)
    assert load_answers(path, Record.of({ANSWERS.key: about})) == rows
    times = [TRACE, TRACE | {"index": 4, "outcome": "timeout", "itl_s": [], "first_s": None}]
    assert load_traces(path, Record.of({TRACES.key: store_table(path, TRACES, times)})) == times


Kinds = TypedDict(
    "Kinds",
    {
        "string": str,
        "int32": int,
        "int64": Annotated[int, "int64"],
        "double": float,
        "list<double>": list[float],
        "list<int32>": list[int],
        "list<string>": list[str],
    },
)


def test_values_of_every_kind_and_nulls_anywhere_are_kept(tmp_path: Path, suffix: str) -> None:
    values: dict[str, list[Any]] = {
        "string": ["", "a\U0001f600", "b"],
        "int32": [0, -(2**31), 2**31 - 1],
        "int64": [0, -(2**63), 2**63 - 1],
        "double": [0.1, -0.0, 1e308],
        "list<double>": [[], [0.1, None, 0.2], [None]],
        "list<int32>": [[7], [], [1, 2, 3]],
        "list<string>": [["é", ""], [], [None, "z"]],
    }
    table = TableSchema("kinds", "kinds", Kinds)
    assert table.columns == {kind: kind for kind in values}
    path = tmp_path / "record.json"
    for nulls in (set(), {0}, {1, 7}, {8}, set(range(9))):
        rows = [
            {kind: None if n in nulls else several[n % 3] for kind, several in values.items()}
            for n in range(9)
        ]
        about = TableFile.model_validate(store_table(path, table, rows))
        assert load_table(path, about, table) == rows


def test_a_table_is_written_and_read_without_pandas(tmp_path: Path) -> None:
    """Half a second of processor time in every run, where it is installed."""
    script = f"""
import json, sys
from pathlib import Path
from pytest_llmperf.record.model import Record
from pytest_llmperf.record.tables import ANSWERS, load_answers, store_table
path = Path({str(tmp_path / "record.json")!r})
about = store_table(path, ANSWERS, [json.loads({json.dumps(json.dumps(ANSWER))})])
assert about["file"].endswith("parquet")
assert load_answers(path, Record.of({{ANSWERS.key: about}}))
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_half_a_surrogate_pair_in_a_reply_costs_no_table(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "record.json"
    about = store_table(path, ANSWERS, [ANSWER | {"reply": "a\ud83d\ude00b\ud800c"}])
    [row] = load_answers(path, Record.of({ANSWERS.key: about}))
    assert row["reply"] == "a\U0001f600b�c"


def test_a_run_without_rows_has_no_file_and_keeps_none_of_an_earlier_run(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    store_table(path, ANSWERS, [ANSWER])
    about = store_table(path, ANSWERS, [])
    assert about["count"] == 0
    assert list(tmp_path.iterdir()) == []
    assert load_answers(path, Record.of({ANSWERS.key: about})) == []
    assert load_traces(path, Record.of({})) == [], "a record of an older version"


@pytest.mark.parametrize("change", ["missing", "another run's"])
def test_a_table_that_is_not_this_records_is_refused_in_one_line(tmp_path: Path, change: str) -> None:
    path = tmp_path / "record.json"
    about = store_table(path, ANSWERS, [ANSWER])
    if change == "missing":
        (tmp_path / str(about["file"])).unlink()
    else:
        store_table(path, ANSWERS, [ANSWER | {"outcome": "wrong"}])
    with pytest.raises(UsageError, match=r"record\.answers\.parquet") as caught:
        load_answers(path, Record.of({ANSWERS.key: about}))
    assert "\n" not in str(caught.value)


def test_a_row_with_a_column_that_the_table_does_not_have_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mood"):
        store_table(tmp_path / "record.json", ANSWERS, [ANSWER | {"mood": "good"}])


def test_a_table_that_cannot_be_made_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    about = store_table(path, ANSWERS, [ANSWER])

    def breaking() -> Any:
        yield from [ANSWER] * 1500
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_table(path, ANSWERS, breaking())
    assert load_answers(path, Record.of({ANSWERS.key: about})) == [ANSWER]
    assert len(list(tmp_path.iterdir())) == 1


def test_secrets_are_looked_for_once_a_thousand_rows_and_one_made_on_the_way_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = 0
    real = redaction._secrets

    def counted(environment: Mapping[str, str]) -> frozenset[str]:
        nonlocal looked
        looked += 1
        return real(environment)

    monkeypatch.setattr(redaction, "_HIDDEN", set())
    monkeypatch.setattr(redaction, "_secrets", counted)

    def rows() -> Any:
        yield from [ANSWER] * 1500
        redaction.hide("made-on-the-way")
        yield from [ANSWER | {"reply": "says made-on-the-way"}] * 1000

    path = tmp_path / "record.json"
    about = store_table(path, ANSWERS, rows())
    assert looked == 3
    read = load_answers(path, Record.of({ANSWERS.key: about}))
    assert [row["reply"] for row in read[1500:]] == ["says [redacted]"] * 1000


def test_a_secret_that_a_model_spells_token_by_token_is_in_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_API_KEY", "planted-key-22")
    row = {
        "row": "distill",
        "baseline": "math",
        "task": "gsm8k",
        "sampling": "T = 1",
        "look": "first",
        "item": "gsm8k-7",
        "prompt_tokens": 12,
        "tokens": [5, 6, 7, 8],
        "texts": ["key ", "planted-", "key-22", "!"],
        "log_probabilities": [-0.1, -0.2, -0.3, -0.4],
        "ranks": [1, 2, 3, 4],
    }
    untold = row | {"look": "decoded", "tokens": [], "texts": []}
    path = tmp_path / "record.json"
    stored = store_table(path, TOKENS, [row, untold])
    first, second = load_tokens(path, Record.of({TOKENS.key: stored}))
    assert (first["texts"], first["tokens"]) == (["key ", "[redacted]", "", "!"], [5, -1, -1, 8])
    assert first["log_probabilities"] == row["log_probabilities"]
    assert (second["texts"], second["tokens"]) == ([], [])
