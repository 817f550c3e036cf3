"""The word problems: right, graded, reproducible, and held out for good."""

from __future__ import annotations

import hashlib
import random
import re
from fractions import Fraction

import pytest

from pytest_llmperf.embedded.problems import (
    EVAL_MIX,
    FAMILIES,
    LEVELS,
    TRAIN_MIX,
    Problem,
    draw,
    eval_problems,
    generate,
    split_of,
)
from pytest_llmperf.embedded.problems.sheet import Sheet

_EQUATION = re.compile(r"^.+: (?P<left>\d+(?: [+*/-] \d+)+) = (?P<right>\d+)(?: remainder (?P<rest>\d+))?\.$")


def _value(expression: str) -> Fraction:
    """Evaluate ``a op b op c`` with the usual precedence and no eval()."""
    total, sign, term = Fraction(0), 1, Fraction(1)
    operation = "*"
    for token in expression.split():
        if token in "+-":
            total, sign, term, operation = total + sign * term, 1 if token == "+" else -1, Fraction(1), "*"
        elif token in "*/":
            operation = token
        else:
            term = term * int(token) if operation == "*" else term / int(token)
    return total + sign * term


def _sample(split: str, family: str, level: int, count: int) -> list[Problem]:
    rng = random.Random(f"{family}{level}")
    return [draw("eval" if split == "eval" else "train", rng, family, level) for _ in range(count)]


CELLS = [(family, level) for family in FAMILIES for level in LEVELS]


def test_there_are_at_least_twelve_families() -> None:
    assert len(FAMILIES) >= 12


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_every_line_of_every_solution_is_a_true_equation(family: str, level: int) -> None:
    for problem in _sample("train", family, level, 40):
        for line in problem.solution.split("\n"):
            match = _EQUATION.match(line)
            assert match, line
            value = _value(match["left"])
            if match["rest"] is None:
                assert value == int(match["right"]), line
            else:
                divisor = int(match["left"].split()[-1])
                assert int(match["rest"]) < divisor
                assert value == int(match["right"]) + Fraction(int(match["rest"]), divisor), line


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_the_answer_is_what_the_last_line_says(family: str, level: int) -> None:
    for problem in _sample("train", family, level, 40):
        numbers = re.findall(r"\d+", problem.solution.rsplit(" = ", 1)[1])
        assert str(problem.answer) in numbers


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_no_line_uses_a_number_from_nowhere(family: str, level: int) -> None:
    # Every number on a left side was in the question, is an earlier line's result, or a known constant: a
    # solution must not contain knowledge that the question does not give.
    constants = {1, 2, 3, 4, 5, 7, 12, 16, 24, 60, 100}
    for problem in _sample("train", family, level, 40):
        known = {int(n) for n in re.findall(r"\d+", problem.question)} | constants
        for line in problem.solution.split("\n"):
            left, right = line.split(": ", 1)[1].split(" = ")
            if family != "sequence":  # "number 40" of a sum over 40 terms is halved in the head
                assert {int(n) for n in re.findall(r"\d+", left)} <= known, (problem.question, line)
            known |= {int(n) for n in re.findall(r"\d+", right)}


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_a_problem_takes_one_to_five_steps_and_its_answer_is_not_negative(family: str, level: int) -> None:
    for problem in _sample("train", family, level, 60):
        assert 1 <= problem.steps <= 5
        assert problem.steps == len(problem.solution.split("\n"))
        assert problem.answer >= 0


@pytest.mark.parametrize(("family", "level"), CELLS)
def test_every_family_and_level_has_held_out_problems(family: str, level: int) -> None:
    assert len({problem.id for problem in _sample("eval", family, level, 12)}) >= 4


def test_every_family_has_at_least_three_phrasings() -> None:
    for family in FAMILIES:
        shapes = {
            re.sub(r"[A-Z][a-z]+|\d+", "", problem.question)[:24]
            for level in LEVELS
            for problem in _sample("train", family, level, 30)
        }
        assert len(shapes) >= 3, family


def test_training_and_held_out_problems_share_no_numbers_within_a_family() -> None:
    def keys(problems: list[Problem]) -> set[tuple[str, tuple[str, ...]]]:
        return {(p.family, tuple(re.findall(r"\d+", p.question))) for p in problems}

    assert not keys(generate("train", 1, 20_000)) & keys(generate("eval", 1, 2_000))


def test_the_split_ignores_names_and_phrasing() -> None:
    assert split_of("stock", "Anna has 12 pens and 7 cups.") == split_of(
        "stock", "With 12, then 7: how many, Ben?"
    )


def test_about_a_tenth_is_held_out() -> None:
    rng = random.Random(3)
    held = 0
    for _ in range(2_000):
        question, _ = FAMILIES["stock"](Sheet(rng, 4))
        held += split_of("stock", question) == "eval"
    assert 140 <= held <= 260


def test_the_same_arguments_give_the_same_problems_on_every_python() -> None:
    text = "\n".join(f"{p.id} {p.question} {p.solution} {p.answer}" for p in generate("train", 11, 500))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "772c83c65e69c42c"


def test_another_seed_gives_other_problems() -> None:
    first, second = generate("eval", 1, 200), generate("eval", 2, 200)
    assert len({p.id for p in first} & {p.id for p in second}) < 40


def test_the_default_items_are_a_thousand_different_questions() -> None:
    problems = eval_problems()
    assert len({p.question for p in problems}) == len(problems) == 1_000
    assert {p.family for p in problems} == set(FAMILIES)


def test_harder_levels_have_larger_answers_and_longer_solutions() -> None:
    def middle(level: int) -> tuple[int, int]:
        problems = generate("train", 5, 400, mix={level: 1.0})
        return sorted(p.answer for p in problems)[200], sorted(len(p.solution) for p in problems)[200]

    sizes = [middle(level) for level in LEVELS]
    assert [answer for answer, _ in sizes] == sorted(answer for answer, _ in sizes)
    assert sizes[0][1] < sizes[2][1] < sizes[5][1]


def test_the_mixes_name_known_levels_only() -> None:
    assert set(EVAL_MIX) <= set(LEVELS)
    assert set(TRAIN_MIX) <= set(LEVELS)


def test_an_inexact_division_in_a_family_is_refused() -> None:
    with pytest.raises(ValueError, match="7 / 2 leaves 1"):
        Sheet(random.Random(0), 1).div("Half", 7, 2)
