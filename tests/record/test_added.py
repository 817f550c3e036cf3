"""Data of two runs are put together only where both were of the same files."""

from __future__ import annotations

import pytest

from pytest_llmperf.record import added, comparing


@pytest.mark.parametrize(
    ("then", "now", "refused"),
    [
        ("a" * 16, "b" * 16, True),
        ("a" * 16, "a" * 16, False),
        (None, "b" * 16, False),
        ("a" * 16, None, False),
    ],
)
def test_runs_whose_files_differ_are_not_joined(then: str | None, now: str | None, refused: bool) -> None:
    record = {"profile": "p", "candidates": ["m"], "rows": {"m": "f"}, "content": {"m": then}}
    facts = {
        "profile": "p",
        "device": {},
        "baseline": "m",
        "rows": {"m": "f"},
        "content": {"m": now},
        "workload": {},
    }
    trouble = added._incomparable(record, facts, ["m"])
    assert ("the files of row m are not what they were" in trouble) is refused
    assert refused or trouble == ""


def test_a_comparison_names_the_files_whose_content_is_another() -> None:
    def record(digest: str) -> dict[str, object]:
        return {"servers": [{"row": "m", "files": {"./adapter": digest, "./same": "1"}}]}

    assert comparing._differs(record("a"), record("b")) == ["m: other content of ./adapter"]
    assert comparing._differs({"servers": [{"row": "m"}]}, record("b")) == []
