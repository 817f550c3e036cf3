"""A waiver that is about no test is told, unless its file is simply not part of the run."""

from __future__ import annotations

from pathlib import Path

from pytest_llmperf.runs.unmatched_waivers import unmatched


def test_a_waiver_of_no_test_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("")
    waived = ["test_a.py::test_x", "test_a.py::test_x[1]", "test_other.py::test_x", "gone/away.py::test_z"]
    assert list(unmatched(waived, ["test_a.py::test_x[1]"], tmp_path)) == [
        "the waiver of test_a.py::test_x matches no test; did you mean test_a.py::test_x[1]?",
        "the waiver of gone/away.py::test_z matches no test",
    ]


def test_a_run_of_single_tests_says_nothing_of_the_others_of_their_file(tmp_path: Path) -> None:
    waived = ["test_a.py::test_x", "test_b.py::test_y"]
    of_part = unmatched(
        waived, ["test_a.py::test_z", "test_b.py::test_z"], tmp_path, [tmp_path / "test_a.py"]
    )
    assert list(of_part) == [
        "the waiver of test_b.py::test_y matches no test; did you mean test_b.py::test_z?"
    ]


def test_a_waiver_for_another_row_than_those_of_this_run_is_not_told(tmp_path: Path) -> None:
    waived = [
        "test_a.py::test_x[distill]", "test_a.py::test_y[distill-int8-32]", "test_a.py::test_y[distill-8]",
        "test_a.py::test_x[distil]", "test_a.py::test_z[distill]", "test_a.py::test_x[other]",
    ]  # fmt: skip
    collected = ["test_a.py::test_x[other]", "test_a.py::test_y[other-32]", "test_a.py::test_w"]
    told = unmatched(
        waived, collected, tmp_path, rows=["distill", "distill-int8", "other", "math"], candidates=["other"]
    )
    assert [line.split()[3] for line in told] == [
        "test_a.py::test_y[distill-8]",
        "test_a.py::test_x[distil]",
        "test_a.py::test_z[distill]",
    ]
