"""How answers are to be collected, read from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.config.answer_options import AnswerOptions, Collecting, collecting
from pytest_llmperf.errors import UsageError


def test_nothing_given_asks_once_in_the_usual_order_and_resumes_what_was_interrupted() -> None:
    assert collecting(AnswerOptions()) == Collecting(None, 0, None, None, "interrupted")


def test_what_is_given_is_read(tmp_path: Path) -> None:
    options = AnswerOptions(samples="4", order="7", in_flight="96", log=str(tmp_path), fresh=True)
    assert collecting(options) == Collecting(4, 7, 96, tmp_path, "nothing")
    assert collecting(AnswerOptions(reuse=True)).reuse == "all"


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "many", "", "²"])
def test_what_is_no_number_is_named_with_its_option(given: str) -> None:
    with pytest.raises(UsageError, match=r"--llmperf-samples=.*: must be a whole number, 1 or more"):
        collecting(AnswerOptions(samples=given))
    with pytest.raises(UsageError, match=r"--llmperf-in-flight=.*: must be a whole number, 1 or more"):
        collecting(AnswerOptions(in_flight=given))


def test_fresh_and_reuse_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="give one of them"):
        collecting(AnswerOptions(fresh=True, reuse=True))


def test_a_file_is_no_place_for_a_log_of_many_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is no directory"):
        collecting(AnswerOptions(log=str(tmp_path / "file")))
