"""GSM8K: 1,319 grade-school word problems with integer answers (Cobbe et al., arXiv 2110.14168; MIT)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from pytest_llmperf.errors import DataError
from pytest_llmperf.tasks.grading.number import gold_number
from pytest_llmperf.tasks.rows import Row, read_rows
from pytest_llmperf.tasks.source import DataFile, HubSplit
from pytest_llmperf.tasks.task import Item, Shot, Task

SHA256 = "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14"
"""SHA-256 of ``test.jsonl`` as its authors publish it."""

_REVISION = "e53f048856ff4f594e959d75785d2c2d37b678ee"
_AUTHORS = (
    "https://raw.githubusercontent.com/openai/grade-school-math/"
    "3101c7d5072418e28b9008a6636bde82a006892c/grade_school_math/data"
)
_FETCH = f"curl -fL --create-dirs -o DIR/gsm8k/test.jsonl {_AUTHORS}/test.jsonl"
_FETCH_TRAIN = f"curl -fL --create-dirs -o DIR/gsm8k/train.jsonl {_AUTHORS}/train.jsonl"
_TRAIN_FILES = ("train.jsonl", "train_first200.jsonl")
_MOST_SHOTS = 8
_SHOTS_SHA256 = "9a504db87cdd5f797ec053a2df3d4f2a29e9f6cb6ba8cc4be04ac4c13d35f36c"
"""SHA-256 of the first eight rows' questions and answers: the training file itself may be whole or cut."""

_CALCULATOR = re.compile(r"<<[^<>]*>>")


def _item(row: Row, number: int) -> Item:
    question, answer = row["question"], row["answer"]
    if not isinstance(question, str) or not isinstance(answer, str):
        raise TypeError("question and answer must be strings")
    solution, mark, gold = answer.rpartition("####")
    if not mark:
        raise ValueError("the answer has no line #### N")
    return Item(
        f"gsm8k-test-{number}", question, gold.strip().replace(",", ""), {"solution": solution.strip()}
    )


def _shots(data_dir: Path | None, n: int) -> Sequence[Shot]:
    """The first ``n`` (1 to 8) problems of the training split, worked as the few-shot protocol wants them."""
    if not 1 <= n <= _MOST_SHOTS:
        raise DataError(f"gsm8k: {n} worked examples were asked for, it has 1 to {_MOST_SHOTS}")
    if data_dir is None:
        hub = HubSplit("openai/gsm8k", "main", f"train[:{_MOST_SHOTS}]", _REVISION)
        rows, where = hub.rows(_FETCH_TRAIN), str(hub)
    else:
        folder = data_dir / "gsm8k"
        file = next((folder / f for f in _TRAIN_FILES if (folder / f).is_file()), folder / _TRAIN_FILES[0])
        fetch = _FETCH_TRAIN.replace("DIR", str(data_dir))
        rows, where = read_rows(file, sha256=None, fetch=fetch)[:_MOST_SHOTS], str(file)
    pairs = [(str(row.get("question")), str(row.get("answer"))) for row in rows]
    found = hashlib.sha256(json.dumps(pairs, ensure_ascii=False).encode()).hexdigest()
    if found != _SHOTS_SHA256:
        raise DataError(
            f"{where}: the first {_MOST_SHOTS} rows are not the pinned ones: sha256 {found}, "
            f"needs {_SHOTS_SHA256}; fetch them with: {_FETCH_TRAIN}"
        )
    return [_shot(question, answer) for question, answer in pairs[:n]]


def _shot(question: str, answer: str) -> Shot:
    solution, _, gold = _CALCULATOR.sub("", answer).rpartition("####")
    return Shot(question, f"{solution.strip()}\nThe answer is {gold.strip()}.")


GSM8K = Task(
    name="gsm8k",
    source=DataFile(
        path="gsm8k/test.jsonl",
        item=_item,
        fetch=_FETCH,
        sha256=SHA256,
        hub=HubSplit("openai/gsm8k", "main", "test", _REVISION, count=1319),
    ),
    protocols=("chat", "few-shot"),
    max_tokens=1024,
    check_gold=gold_number,
    shots=_shots,
)
