"""Forty-one ways in which graders err, collected from those that did: nothing wrong is accepted, hardly anything right
is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.grading.number import grade
from pytest_llmperf.tasks.grading.symbolic import grade_symbolic


class Pitfall(NamedTuple):
    """A reply to a question whose answer is ``gold``; ``protocol`` "few-shot" where the form is a base model's."""

    kind: str
    reply: str
    gold: str
    right: bool
    how: str = ""


PITFALLS = [
    # Right, and refused by one grader or another
    Pitfall("a unit in the box", "\\boxed{18 dollars}", "18", True),
    Pitfall("a unit as text", "\\boxed{18\\text{ dollars}}", "18", True),
    Pitfall("a thin space between thousands", "\\boxed{70\\,000}", "70000", True),
    Pitfall("full-width digits", "\\boxed{１８}", "18", True),
    Pitfall("another box command", "\\fbox{18}", "18", True),
    Pitfall("text behind ####", "#### 18 and that is all she makes", "18", True, "few-shot"),
    Pitfall("two boxes side by side", "I get \\boxed{12}. Wait, wrong. \\boxed{18}", "18", True),
    Pitfall("two boxes and an or", "\\boxed{12}, or rather \\boxed{18}", "18", True),
    Pitfall("a box in a box", "\\boxed{\\boxed{18}}", "18", True),
    Pitfall("nested braces", "\\boxed{{\\frac{36}{{2}}}}", "18", True),
    Pitfall("dfrac", "\\boxed{\\dfrac{3}{4}}", "0.75", True),
    Pitfall("frac without braces", "\\boxed{\\frac34}", "3/4", True),
    Pitfall("a comma between thousands", "\\boxed{1,234}", "1234", True),
    Pitfall("a comma in braces", "\\boxed{1{,}234}", "1234", True),
    Pitfall("a percentage for a share", "\\boxed{50\\%}", "0.5", True),
    Pitfall("a percentage whose gold dropped its sign", "\\boxed{50\\%}", "50", True),
    Pitfall("a typographic minus", "\\boxed{−5}", "-5", True),
    Pitfall("a negative number", "\\boxed{-5}", "-5", True),
    Pitfall("a mixed number", "\\boxed{2\\frac{1}{2}}", "2.5", True),
    Pitfall("powers of ten", "\\boxed{3 \\times 10^5}", "300000", True),
    Pitfall("a name and an equals sign", "\\boxed{x = 18}", "18", True),
    Pitfall("cents that are zero", "\\boxed{\\$18.00}", "18", True),
    Pitfall("money with a comma", "\\boxed{\\$1,234.50}", "1234.5", True),
    Pitfall("a leading zero", "\\boxed{05}", "5", True),
    Pitfall("a decimal", "\\boxed{3.5}", "3.5", True),
    Pitfall("a sentence's full stop", "The answer is 18.", "18", True, "few-shot"),
    Pitfall(
        "the next question's answer behind it",
        "The answer is 18.\n\nQuestion: 3+4?\nAnswer: The answer is 7.",
        "18",
        True,
        "few-shot",
    ),
    Pitfall("the answer was found while thinking of another", "\\boxed{12}</think>\\boxed{18}", "18", True),
    # Wrong, and accepted by one grader or another
    Pitfall("a box in thinking that never ended", "<think>So \\boxed{18}", "18", False),
    Pitfall("a number in thinking that never ended", "<think>So it may be 18", "18", False),
    Pitfall("cut off by its length", "So \\boxed{18}", "18", False, "length"),
    Pitfall("cut before its answer line", "6 + 12 = 18", "18", False),
    Pitfall("boxed while thinking, not answered", "<think>\\boxed{18}</think>Done.", "18", False),
    Pitfall("digits behind a point", "\\boxed{33.33}", "33", False),
    Pitfall("a hundred times as much", "\\boxed{1800}", "18", False),
    Pitfall("a hundredth", "\\boxed{0.18}", "18", False),
    Pitfall("the sign is lost", "\\boxed{5}", "-5", False),
    Pitfall("the last integer of a number", "\\boxed{1,250}", "250", False),
    Pitfall("another box after the right one", "\\boxed{18}, no: \\boxed{12}", "18", False),
    Pitfall("both of two", "\\boxed{12 \\text{ or } 18}", "18", False),
    Pitfall("the instruction repeated, empty", "Put your final answer within \\boxed{}. 18", "18", False),
]


def outcome(pitfall: Pitfall, grader: Callable[..., Grade]) -> Outcome:
    return grader(
        pitfall.reply,
        pitfall.gold,
        finish_reason="length" if pitfall.how == "length" else "stop",
        protocol="few-shot" if pitfall.how == "few-shot" else "chat",
    ).outcome


@pytest.mark.parametrize("grader", [grade, grade_symbolic])
def test_of_the_pitfalls_none_is_a_false_accept_and_two_at_most_are_false_rejects(
    grader: Callable[..., Grade],
) -> None:
    assert len(PITFALLS) == len({pitfall.kind for pitfall in PITFALLS}) == 41
    accepted = [p.kind for p in PITFALLS if outcome(p, grader) is Outcome.CORRECT]
    assert [kind for kind in accepted if not next(p for p in PITFALLS if p.kind == kind).right] == []
    rejected = [p.kind for p in PITFALLS if p.right and p.kind not in accepted]
    assert len(rejected) <= 2, rejected
