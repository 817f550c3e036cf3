"""The progress line tells a regression from what is undecided and from what was not measured; all three are red."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITE = """
    import pytest
    from pytest_llmperf.errors import NotMeasured

    @pytest.fixture
    def broken():
        raise NotMeasured("no driver")

    def test_1_passes(candidate, startup):
        assert startup(candidate).ready <= 100

    def test_2_fails(candidate, startup):
        assert startup(candidate).ready <= 0.001

    def test_3_is_not_measured(candidate):
        raise NotMeasured("nothing came")

    def test_4_is_not_measured_in_its_setup(candidate, broken):
        pass

    def test_5_is_plainly_wrong(candidate):
        assert 1 == 2

    def test_6_is_not_decided(candidate, accuracy):
        share = accuracy(candidate)
        assert share >= share.value - 0.005  # a floor this near to the share is never decided
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_letters_and_words_are_those_of_the_verdicts(project: Project, solver: str, workers: int) -> None:
    project.catalog({"distill": {"ANSWERS": solver}})
    project.suite(SUITE)
    short = project.run_with_workers(workers) if workers else project.run()
    line = next(line for line in short.text.splitlines() if "!" in line and "%]" in line)
    letters = line.split()[0] if workers else line.split()[1]
    wanted = ".F!!F?"
    assert (sorted(letters) == sorted(wanted)) if workers else (letters == wanted), short.text
    assert short.code == 1
    assert short.lines("4 failed, 1 passed, 1 error"), short.text


def test_words_stand_where_each_test_has_a_line(project: Project) -> None:
    project.suite(SUITE)
    run = project.run("-v", "-k", "test_3 or test_4 or test_5")
    assert run.lines("test_3_is_not_measured[distill] INVALID"), run.text
    assert run.lines("test_4_is_not_measured_in_its_setup[distill] INVALID"), run.text
    assert run.lines("test_5_is_plainly_wrong[distill] FAILED"), run.text
