"""Two workers drive two engines at once, and what is timed has no other beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = """
    import pytest
    from pathlib import Path
    from tests.waiting import eventually

    HERE = Path({here!r})

    @pytest.fixture
    def others(request):
        mine = HERE / f"{{request.node.name}}.running"
        mine.touch()
        yield lambda: [path.name for path in HERE.glob("*.running") if path != mine]
        mine.unlink()

    def meets_another(others):
        (HERE / "met").touch() if others() else None
        return (HERE / "met").exists()

    # Two workers get two tests each, in this order.
    @pytest.mark.vllm
    def test_a(others):
        eventually(lambda: meets_another(others), "another test beside this one", 20.0)

    @pytest.mark.vllm
    @pytest.mark.timed
    def test_b_timed(others):
        with pytest.raises(pytest.fail.Exception, match="in vain"):
            eventually(others, "another test beside a timed one", 0.5)

    @pytest.mark.vllm
    def test_c(others):
        eventually(lambda: meets_another(others), "another test beside this one", 20.0)

    @pytest.mark.vllm
    @pytest.mark.timed
    def test_d_timed(others):
        with pytest.raises(pytest.fail.Exception, match="in vain"):
            eventually(others, "another test beside a timed one", 0.5)
"""


def test_engines_run_at_once_and_a_timed_test_alone(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    pytester.makeini("[pytest]\nmarkers =\n  vllm\n  timed\n")
    pytester.makepyfile(TESTS.format(here=str(tmp_path)))
    result = pytester.runpytest_subprocess(
        "-n", "2", "-p", "tests.machine_turns", "-p", "no:llmperf", "--dist", "load"
    )
    result.assert_outcomes(passed=4)
