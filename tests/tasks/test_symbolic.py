"""Answers that are more than a number: what is right, what it may cost, and that nothing else notices."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_llmperf.errors import UsageError
from pytest_llmperf.tasks.grading import Grade, Outcome, symbolic
from pytest_llmperf.tasks.grading.killable import MEMORY_BYTES, WORKER, Killable
from pytest_llmperf.tasks.grading.symbolic import check_symbolic, grade_symbolic
from tests.tasks.test_grading import HOSTILE as HOSTILE_REPLIES

MATH500 = Path(__file__).parents[2] / ".." / "shared" / "data" / "math500" / "test.jsonl"
needs_math500 = pytest.mark.skipif(
    not MATH500.is_file(), reason="../shared/data/math500 is not beside the repository"
)


def graded(answer: str, gold: str) -> Grade:
    return grade_symbolic(f"So it is $\\boxed{{{answer}}}$.", gold, finish_reason="stop")


@pytest.mark.parametrize(
    ("written", "gold"),
    [
        ("(3, \\pi/2)", "\\left( 3, \\frac{\\pi}{2} \\right)"),
        ("q(-1) + p", "p - q"),
        ("\\dfrac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}"),
        ("\\text{Evelyn}", "\\text{Evelyn}"),
        ("Evelyn", "\\text{Evelyn}"),
        ("[-2,7]", "x \\in [-2,7]"),
        ("y = 2x + 3", "y = 2x + 3"),
        ("6 - 5i", "6-5i"),
        ("\\{2, 1\\}", "\\{1, 2\\}"),
        ("2,1", "1, 2"),
        ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix}1\\\\2\\end{pmatrix}"),
        ("(x-1)(x+1)", "x^2 - 1"),
        ("\\sqrt{324}", "18"),
        ("18 dollars", "18"),
        ("70\\,000", "70000"),
        ("0.5", "\\frac{1}{2}"),
        ("\\infty", "\\infty"),
    ],
)
def test_the_same_answer_in_another_form_is_right(written: str, gold: str) -> None:
    assert graded(written, gold).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    ("written", "gold"),
    [
        ("(\\pi/2, 3)", "\\left( 3, \\frac{\\pi}{2} \\right)"),
        ("q - p", "p - q"),
        ("\\text{Eve}", "\\text{Evelyn}"),
        ("(-2,7)", "[-2,7]"),
        ("6 + 5i", "6 - 5i"),
        ("\\{1, 2, 3\\}", "\\{1, 2\\}"),
        ("x^2 + 1", "x^2 - 1"),
        ("y = 1", "x = 1"),
        ("0.33", "\\frac{1}{3}"),
        ("1800", "18"),
        ("\\frac{1}{2}", "2"),
    ],
)
def test_another_answer_is_never_right(written: str, gold: str) -> None:
    assert graded(written, gold).outcome is Outcome.WRONG


@pytest.mark.parametrize("written", ["\x00\x1b[31m", "\\left(", "\\begin{matrix}"])
def test_what_cannot_be_read_is_ungraded(written: str) -> None:
    assert graded(written, "x + 1") == Grade(Outcome.UNGRADED, "unreadable", written)


def test_boxes_side_by_side_are_not_put_into_one_set() -> None:
    text = "First I get \\boxed{x+1}. Wait, that is wrong. \\boxed{x+2}"
    assert grade_symbolic(text, "x+2", finish_reason="stop").outcome is Outcome.CORRECT
    assert grade_symbolic(text, "x+1", finish_reason="stop").outcome is Outcome.WRONG


def test_an_answer_that_did_not_come_to_its_end_is_never_right() -> None:
    text = "so \\boxed{x+1}"
    assert grade_symbolic(text, "x+1", finish_reason="length").outcome is Outcome.INCOMPLETE
    assert grade_symbolic(text, "x+1", finish_reason="stop", thinking=True).outcome is Outcome.INCOMPLETE
    assert grade_symbolic(None, "x+1", finish_reason=None).outcome is Outcome.INFRA
    assert grade_symbolic("", "x+1", finish_reason="stop").detail == "empty"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("The answer is $x+1$.", Outcome.CORRECT),
        ("Final Answer: The final answer is $1 + x$. I hope it is correct.", Outcome.CORRECT),
        ("The answer is \\boxed{x+1}.\n\nQuestion: 1+1?\nAnswer: The answer is 2.", Outcome.CORRECT),
        ("The answer is \\(x+1\\).", Outcome.CORRECT),
        ("The answer is x.", Outcome.WRONG),
        ("x+1", Outcome.WRONG),
    ],
)
def test_a_base_model_says_its_answer_in_words(text: str, outcome: Outcome) -> None:
    assert grade_symbolic(text, "x+1", finish_reason="stop", protocol="few-shot").outcome is outcome


def test_an_expected_answer_that_is_empty_is_an_error_and_one_that_cannot_be_read_is_not() -> None:
    check_symbolic("\\left[\\frac{1}{2},\\infty\\right)")
    check_symbolic("x \\to 3")
    with pytest.raises(ValueError, match="the expected answer is empty"):
        check_symbolic("$ $")


@pytest.fixture(scope="module")
def math500() -> list[dict[str, str]]:
    return [json.loads(line) for line in MATH500.read_text("utf-8").splitlines()]


@needs_math500
def test_all_solutions_of_math500_are_graded_right_by_their_golds(math500: list[dict[str, str]]) -> None:
    with ThreadPoolExecutor(2) as threads:
        grades = threads.map(
            lambda row: grade_symbolic(row["solution"], row["answer"], finish_reason="stop"), math500
        )
        outcomes = [grade.outcome for grade in grades]
    assert len(outcomes) == 500
    assert outcomes.count(Outcome.CORRECT) == 500


@needs_math500
def test_the_answer_to_the_next_problem_is_not_right(math500: list[dict[str, str]]) -> None:
    pairs = [(one["answer"], other["answer"]) for one, other in itertools.pairwise(math500)][:150]
    right = [pair for pair in pairs if graded(*pair).outcome is Outcome.CORRECT]
    assert all(one == other.removeprefix("x=") for one, other in right), right


# What it may cost

HOSTILE = {
    "a tower of powers": "9^{9^{9^{9}}}",
    "a shorter tower": "9^{9^{7}}",
    "factorials": "((9!)!)!",
    "a large factorial": "10^{9}!",
    "a power of a sum": "(a+b+c+d+e+f)^{60}",
    "braces": "{" * 2000 + "1" + "}" * 2000,
    "parentheses": "(" * 2000 + "1" + ")" * 2000,
    "fractions": "\\frac{1}{" * 200 + "2" + "}" * 200,
    "digits": "9" * 4000,
    "a set": "\\{" + ",".join(map(str, range(900))) + "\\}",
    "a sum": "\\sum_{k=1}^{100000000} \\frac{1}{k^3}",
    "an integral": "\\int_0^1 e^{x^{x}} dx",
    "a remainder": "7^{7^{7^7}} \\mod 10",
    "ones": "1+" * 2000 + "1",
    "a regular expression's nightmare": "(a" * 900 + "+)" * 900,
    "dollars": "$1$ and " * 500,
    "control characters": "\x00\x1b[31m\r\x07",
    "half a surrogate pair": "\ud800",
}
MEGABYTES = {
    "10,000 nested braces": "\\boxed{" + "{" * 10_000 + "x" + "}" * 10_001,
    "a megabyte of digits": "\\boxed{x" + "9" * 1_000_000 + "}",
    "50,000 boxes": "\\boxed{x^2}" * 50_000,
    "50,000 open boxes": "\\boxed{" * 50_000,
}


SLOWEST = ("a tower of powers", "factorials", "a power of a sum")


SHORT_S = 0.6
"""Long enough for one that is kept from a busy processor, short enough to be waited for."""


@pytest.fixture(scope="module")
def short_limit() -> Iterator[Killable]:
    """The same processes with a tenth of the time, for what only asks how a limit ends."""
    pool = Killable(limit_s=SHORT_S)
    assert pool.ask("equal", "5", "5") is True
    yield pool
    pool.close()


def processor_time(pool: Killable) -> float:
    """Seconds of processor time that the pool's children have used, those that ended included."""
    assert pool._parent is not None
    parent = pool._parent.pid
    ended = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[13:15]
    ticks = sum(map(int, ended))
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        ticks += sum(map(int, Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("kind", SLOWEST)
def test_a_hostile_answer_costs_two_and_a_half_seconds_at_most(kind: str) -> None:
    symbolic._pool.ask("parse", "x + 1")  # the start of the pool is not the answer's fault
    before = processor_time(symbolic._pool)
    grade = graded(HOSTILE[kind], "x + 1")
    assert grade.outcome is not Outcome.CORRECT
    assert graded("1 + x", "x + 1").outcome is Outcome.CORRECT, (
        "the next answer is graded as if nothing had been"
    )
    assert processor_time(symbolic._pool) - before < 2.5


@pytest.mark.parametrize("kind", [*HOSTILE, *MEGABYTES])
def test_a_hostile_answer_costs_its_limit_at_most_and_stops_nothing(
    kind: str, short_limit: Killable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbolic, "_pool", short_limit)
    text = MEGABYTES[kind] if kind in MEGABYTES else f"\\boxed{{{HOSTILE[kind]}}}"
    before = processor_time(short_limit)
    grade = grade_symbolic(text, "x + 1", finish_reason="stop")
    assert grade.outcome is not Outcome.CORRECT
    assert short_limit.ask("equal", "5", "5") is True
    assert processor_time(short_limit) - before < SHORT_S + 0.5


@pytest.mark.parametrize("kind", HOSTILE_REPLIES)
def test_what_is_hostile_to_the_exact_grader_is_not_right_here_either(
    kind: str, short_limit: Killable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbolic, "_pool", short_limit)
    grade = grade_symbolic(HOSTILE_REPLIES[kind], "x + 1", finish_reason="stop")
    assert grade.outcome is not Outcome.CORRECT


def test_what_takes_too_long_is_ended_and_says_so(short_limit: Killable) -> None:
    assert short_limit.ask("equal", "5", "9^{9^{9^{9}}}") == "time"
    assert short_limit.ask("equal", "5", "5") is True


def slow(folder: Path, body: str) -> Path:
    worker = folder / "slow.py"
    worker.write_text(
        WORKER.read_text().replace("kind, *texts = request", f"kind, *texts = request\n        {body}")
    )
    return worker


def test_waiting_for_a_busy_machine_is_not_counted(tmp_path: Path) -> None:
    pool = Killable(slow(tmp_path, "if texts == ['6']: __import__('time').sleep(1.0)"), limit_s=0.5)
    assert pool.ask("parse", "6") is True
    pool.close()


def test_one_that_waits_for_ever_is_ended_by_the_clock(tmp_path: Path) -> None:
    pool = Killable(
        slow(tmp_path, "if texts == ['6']: __import__('time').sleep(600)"), limit_s=0.3, wall_s=0.6
    )
    assert pool.ask("parse", "6") == "time"
    assert pool.ask("parse", "7") is True
    pool.close()


def test_no_child_can_have_more_than_its_memory(tmp_path: Path) -> None:
    hungry = tmp_path / "hungry.py"
    source = WORKER.read_text()
    hungry.write_text(
        source.replace("return True if kind", "kind == 'parse' and b'x' * int(texts[0]); return True if kind")
    )
    pool = Killable(hungry, limit_s=20.0)
    assert pool.ask("parse", str(100 << 20)) is True
    assert pool.ask("parse", str(MEMORY_BYTES)) == "memory"
    assert pool.ask("parse", "1") is True
    pool.close()


def test_a_child_that_dies_is_replaced(tmp_path: Path) -> None:
    frail = tmp_path / "frail.py"
    source = WORKER.read_text()
    frail.write_text(
        source.replace(
            "kind, *texts = request", "kind, *texts = request\n        if texts == ['6']: os._exit(7)"
        )
    )
    pool = Killable(frail)
    assert pool.ask("parse", "6") == "died"
    assert pool.ask("parse", "7") is True
    pool.close()


def test_closing_leaves_no_process() -> None:
    pool = Killable()
    assert pool.ask("parse", "x") is True
    assert pool._parent is not None
    parent = pool._parent
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
    assert len(children) == 1
    pool.close()
    assert parent.poll() is not None
    gone = threading.Event()
    while not gone.is_set():  # the test's own time limit ends this
        if not any(Path(f"/proc/{child}/exe").exists() for child in children):
            gone.set()
    assert pool.ask("parse", "x") is True, "and the next request starts anew"
    pool.close()


def test_it_can_be_used_from_threads() -> None:
    golds = [f"x + {n}" for n in range(40)]
    with ThreadPoolExecutor(8) as threads:
        grades = list(threads.map(lambda gold: graded(f"{gold.partition('+ ')[2]} + x", gold), golds))
    assert {grade.outcome for grade in grades} == {Outcome.CORRECT}


def test_without_math_verify_it_is_told_what_to_install(tmp_path: Path) -> None:
    bare = tmp_path / "bare.py"
    source = WORKER.read_text()
    bare.write_text(source.replace("from math_verify import", "from math_verify_is_not_here import"))
    with pytest.raises(
        UsageError, match="No module named 'math_verify_is_not_here'; pip install math-verify"
    ):
        Killable(bare).ask("parse", "x")


def test_the_time_limit_of_a_test_stays_armed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import pytest, threading
        from pytest_llmperf.tasks.grading.symbolic import grade_symbolic

        @pytest.mark.timeout(3)
        def test_hangs():
            assert grade_symbolic("\\\\boxed{1 + x}", "x + 1", finish_reason="stop").outcome == "correct"
            threading.Event().wait(60)
    """)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=40)
    result.stdout.fnmatch_lines(["*Timeout*3.0s*"])
    assert result.duration < 30
