"""Formulas that say the same and formulas that do not: ``gold, answer``, the answer in a box."""

from __future__ import annotations

import pytest

from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.grading.number import grade
from pytest_llmperf.tasks.grading.symbolic import grade_symbolic, is_readable


def graded(answer: str, gold: str) -> Grade:
    return grade_symbolic(f"So it is $\\boxed{{{answer}}}$.", gold, finish_reason="stop")


SAME = [
    ("4Rr", "4rR"),
    ("x_1", "x_{1}"),
    ("\\frac{100!}{99!}", "100"),
    ("10^{-20}", "\\frac{1}{10^{20}}"),
    ("2^{100}", "1267650600228229401496703205376"),
    (".0000672", "6.72\\times10^{-5}"),
    ("\\sqrt{2}", "1.414214"),
    ("15\\mbox{ cm}^2", "15"),
    ("15", "15\\text{ cm}^2"),
    ("5.4 \\text{ cents}", "5.4"),
    ("2\\sqrt{3}", "2\\sqrt{3}\\text{ cm}"),
    ("2\\sqrt{3}", "2\\sqrt{3} cm"),
    ("12\\pi", "12\\pi \\text{ square units}"),
    ("12\\pi", "12\\pi\\text{ cm}^2"),
    ("90^\\circ", "90"),
    ("90", "90^\\circ"),
    ("\\frac{270}7\\text{ degrees}", "\\frac{270}{7}"),
    ("52_8", "52_{\\text{eight}}"),
    ("52_8", "52_{8}"),
    ("4210_{5}", "4210_5"),
    ("52_8", "\\text{52}_8"),
    ("2516_8", "2516_{(8)}"),
    ("52_8", "52\\text{ base }8"),
    ("40_9", "40_{nine}"),
    ("A5_{16}", "A5_{16}"),
    ("\\text{east}", "east"),
    ("\\text{east}", "\\text{East}"),
    ("f'(x)=2x", "f'(x)=2x"),
    ("f'(x)=2x", "f^{\\prime}(x) = 2x"),
    ("f'(x)=2x", "2x"),
    ("2x", "f'(x)=2x"),
    ("xy", "yx"),
    ("\\text{even}", "even"),
    ("\\text{ellipse}", "Ellipse"),
    ("\\text{(C)}", "C"),
    ("\\text{(C)}", "(C)"),
    ("\\text{(C)}", "\\text{C}"),
    ("\\text{Navin}", "\\text{Navin}"),
    ("18", "x = 18"),
    ("18", "3 \\cdot 6 = 18"),
    ("18", "\\text{Total} = 18"),
    ("2k+2", "2(k+1)=2k+2"),
    ("5", "f(2) = 5"),
    ("x=5", "5"),
    ("x=5", "x=5"),
    ("y = 2x + 3", "2x+3"),
    ("y=2x+3", "2x - y + 3 = 0"),
    ("60", "\\angle ABC = 60^\\circ"),
    ("[-2,7]", "-2\\le x\\le 7"),
    ("x \\in [-2,7]", "-2\\le x\\le 7"),
    ("-2\\le x\\le 7", "[-2,7]"),
    ("[-2,7]", "x\\in[-2,7]"),
    ("x \\in [-2,7]", "[-2,7]"),
    ("(2,\\infty)", "x>2"),
    ("x>2", "(2,\\infty)"),
    ("x>2", "2<x"),
    ("(-\\infty, 2) \\cup (3, \\infty)", "x<2 \\text{ or } x>3"),
    ("(-\\infty, 2) \\cup (3, \\infty)", "x<2 or x>3"),
    ("(3,4]", "3<x\\leq 4"),
    ("(3,4]", "x>3 \\text{ and } x\\leq 4"),
    ("(-\\infty, 0]", "x\\le 0"),
    ("1,-2", "x=1, x=-2"),
    ("1,-2", "x=1 \\text{ or } x=-2"),
    ("3,-2", "x=3 or x=-2"),
    ("1,-2", "\\{1,-2\\}"),
    ("1 \\pm \\sqrt{19}", "1+\\sqrt{19}, 1-\\sqrt{19}"),
    ("1 \\pm \\sqrt{19}", "x = 1 \\pm \\sqrt{19}"),
    ("\\{1\\pm\\sqrt{5},-2\\}", "-2, 1+\\sqrt{5}, 1-\\sqrt{5}"),
    ("(1,-2)", "(1,-2)"),
    ("x \\to 3", "x\\to 3"),
    ("\\log_2 8", "3"),
    ("120", "5!"),
    ("137 \\frac{1}{2}", "137.5"),
    ("137 \\frac{1}{2}", "\\frac{275}{2}"),
    ("\\begin{pmatrix} 1/5 \\\\ -18/5 \\end{pmatrix}", "\\begin{pmatrix} \\frac15 \\\\ -3.6 \\end{pmatrix}"),
    ("\\begin{pmatrix} 1\\\\2 \\end{pmatrix}", "\\begin{bmatrix} 1\\\\2 \\end{bmatrix}"),
    ("0.5", "50\\%"),
    ("50\\%", "\\frac12"),
    ("\\frac{100}{3}\\%", "\\frac13"),
    ("11,\\! 111,\\! 111,\\! 100", "11111111100"),
    ("58,500", "58500"),
    ("\\dfrac{17}{50}", "\\frac{17}{50}"),
    ("\\frac12", "\\tfrac12"),
    ("\\frac12", "\\dfrac12"),
    ("6+9i", "9i+6"),
    ("6+9i", "3(2+3i)"),
    ("2i", "(1+i)^2"),
    ("-1", "i^2"),
    ("\\cot x", "\\frac{1}{\\tan x}"),
    ("\\cot x", "cot x"),
    ("\\frac{1}{3}", "0.\\overline{3}"),
    ("\\infty", "infinity"),
    ("\\pi", "π"),
    ("2\\pi", "2π"),
    ("(a+5)(b+2)", "ab+2a+5b+10"),
    ("\\$18.90", "18.9"),
    ("\\$32,\\!348", "32348"),
    ("864 \\mbox{ inches}^2", "864"),
    ("\\sqrt{66}", "\\sqrt{66}"),
    ("2+\\sqrt3", "\\sqrt{3}+2"),
    ("\\frac{3\\sqrt{3}}{4}", "\\frac{3}{4}\\sqrt3"),
    ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\pi/2)"),
    ("x^3+3x-6", "x^3 + 3x - 6"),
    ("\\emptyset", "\\{\\}"),
    ("\\frac{20000}{\\pi}", "\\frac{20000}{π}"),
    ("3:4", "\\frac34"),
    ("-13x+3", "3 - 13x"),
    ("\\sqrt[3]{2}", "2^{1/3}"),
    ("1\\frac{4}{5}", "1.8"),
    ("\\frac{1}{2}", "1/2"),
    ("10^{-3}", "0.001"),
    ("75^\\circ", "75 degrees"),
    ("\\text{June 20}", "\\text{June 20}"),
    ("\\text{No solution}", "no solution"),
]
SAME += [
    ("\\frac{1}{3}", "x = \\frac{1}{3} \\approx 0.33"),
    ("11", "x \\approx 11"),
    ("0.33", "\\frac{1}{3} \\approx 0.33"),
    ("x \\ge 5", "Therefore $x \\geq 5$ is the solution."),
    ("\\boxed{6 \\text{ and } 8}", "6, 8"),
    ("\\left( \\frac{3}{2}, -13 \\right)", "((3)/(2), -13)"),
    ("{6 - 5i}", "6-5i"),
    ("1\\leq|z|\\leq \\frac{3}{2}", "z \\in [-\\frac{3}{2}, -1] \\cup [1, \\frac{3}{2}]"),
]
SAME += [
    ("\\frac{1}{2+\\sqrt3}", "2-\\sqrt3"),
    ("\\frac{1}{\\sqrt5-2}", "\\sqrt5+2"),
    ("\\sqrt{7+4\\sqrt3}", "2+\\sqrt3"),
    ("\\left(\\frac{1}{2},3\\right)", "(0.5,3)"),
    ("(-\\infty,2)\\cup(2,\\infty)", "\\mathbb{R}\\setminus\\{2\\}"),
    ("(-\\infty,-3)\\cup(5,\\infty)", "\\mathbb{R}\\setminus[-3,5]"),
    ("(2,\\infty)", "\\{x \\mid x>2\\}"),
    ("\\{x : x > 2\\}", "x>2"),
    ("\\frac{1\\pm\\sqrt5}{2}", "\\frac{1+\\sqrt5}{2}, \\frac{1-\\sqrt5}{2}"),
    ("\\text{no solution}", "\\text{There is no solution}"),
    ("\\text{no solution}", "\\emptyset"),
    ("\\emptyset", "\\varnothing"),
    ("\\mathbb{R}", "\\text{all real numbers}"),
    ("\\ln 2", "\\log_e 2"),
    ("\\lg 2", "\\log_{10} 2"),
    ("\\log_2 3", "\\log_4 9"),
    ("\\sin 30^\\circ", "\\frac12"),
    ("{10 \\choose 3}", "120"),
    ("(1,2),(3,4)", "(1,2)\\text{ and }(3,4)"),
    ("3:45\\text{ PM}", "3:45 \\text{ p.m.}"),
    ("10\\text{ cm}", "10\\,\\mathrm{cm}"),
    ("10\\text{ cm}", "10\\text{ centimeters}"),
    ("18", "\\color{red}{18}"),
    ("18", "\\underline{18}"),
    ("18", "{\\Large 18}"),
    ("18", "18\\\\"),
    ("18", "18。"),
    ("12000", "12\\,000"),
]
OTHER = [
    ("3:45\\text{ PM}", "3:45\\text{ AM}"),
    ("3:45", "1:15"),
    ("10\\text{ cm}", "10\\text{ m}"),
    ("10\\text{ cm}", "10\\text{ cm}^2"),
    ("\\$5", "5\\text{ cents}"),
    ("5\\text{ hours}", "5\\text{ minutes}"),
    ("30^\\circ", "30\\text{ radians}"),
    ("1,3,5,7", "1,3,5,7,\\ldots"),
    ("12", "1 2"),
    ("12", "1\\,2"),
    ("(1,234)", "1234"),
    ("(x,y)=(1,2)", "(y,x)=(1,2)"),
    ("18", "18k"),
    ("18", "18\\text{ dozen}"),
    ("18", "18 \\text{ (approximately)}"),
    ("\\emptyset", "0"),
    ("\\emptyset", "\\{\\emptyset\\}"),
    ("\\text{no solution}", "\\mathbb{R}"),
    ("\\frac{1\\pm\\sqrt5}{2}", "\\frac{1+\\sqrt5}{2}"),
    ("\\frac{1}{2+\\sqrt3}", "2-\\sqrt{3.0001}"),
    ("(-\\infty,2)\\cup(2,\\infty)", "\\mathbb{R}\\setminus\\{3\\}"),
    ("\\sin 30^\\circ", "\\sin 30"),
    ("\\frac{1}{3}", "\\frac{1}{2} \\approx 0.33"),
    ("9", "Surely not $9$ again"),
    ("9", "$9$ and a half"),
    ("1", "\\frac{R}{r}"),
    ("k", "K"),
    ("4Rr", "4r^2"),
    ("2k+2", "2(K+1)"),
    ("\\Delta", "\\delta"),
    ("\\gamma", "\\Gamma"),
    ("x_1", "x_2"),
    ("3R^2", "3r^2"),
    ("A", "a"),
    ("10^{-20}", "10^{-21}"),
    ("\\frac{100!}{99!}", "\\frac{100!}{98!}"),
    ("\\frac{1}{2^{99}}", "\\frac{7}{2^{99}}"),
    ("2^{100}", "2^{100}+1"),
    ("\\sqrt{2}\\cdot 10^{-18}", "\\sqrt{3}\\cdot 10^{-18}"),
    ("e^{-40}", "e^{-41}"),
    (".0000672", "0.0000673"),
    ("\\sqrt{2}", "1.4142"),
    ("10^{30}", "10^{30}+1"),
    ("2xy", "2"),
    ("2xy", "2ab"),
    ("2s", "2"),
    ("3m", "3"),
    ("5t", "5h"),
    ("2k", "2k\\text{ or more}"),
    ("3x", "3"),
    ("5r^5", "5"),
    ("52_8", "52_9"),
    ("52_8", "52_{10}"),
    ("52_8", "53_8"),
    ("ABC", "ACB"),
    ("\\text{east}", "seat"),
    ("east", "seat"),
    ("f'(x)=2x", "f(x)=2x"),
    ("f''(x)", "f'(x)"),
    ("\\triangle ABC", "\\triangle ACB"),
    ("\\text{even}", "odd"),
    ("\\text{(C)}", "B"),
    ("\\text{Evelyn}", "Navin"),
    ("listen", "silent"),
    ("18", "2x = 18"),
    ("25", "x^2+y^2=25"),
    ("18", "x + 2 = 18"),
    ("x=5", "y=5"),
    ("5x - 7y + 11z + 4 = 0", "5x - 7y + 11z - 4 = 0"),
    ("60", "\\sin x = 60"),
    ("[-2,7]", "-2< x\\le 7"),
    ("(2,\\infty)", "x\\ge 2"),
    ("x>2", "y>2"),
    ("(-\\infty, 0]", "x<0"),
    ("1,-2", "1"),
    ("1,-2", "-2"),
    ("(1,-2)", "-2,1"),
    ("(8,-2)", "(-2,8)"),
    ("x \\to 3", "x \\to 4"),
    ("\\log_2 x", "\\log_3 x"),
    ("\\ln x", "\\log x"),
    ("\\begin{pmatrix} 1/5 \\\\ -18/5 \\end{pmatrix}", "\\begin{pmatrix} \\frac15 \\\\ 3.6 \\end{pmatrix}"),
    ("6+9i", "6+9I"),
    ("\\cot x", "\\tan x"),
    ("\\frac{1}{3}", "0.33"),
    ("15", "5!!"),
    ("\\pi", "3.14"),
    ("p - q", "q-p"),
    ("8n^2 + 4n + 1", "8N^2+4N+1"),
    ("a_n", "a_m"),
    ("(0,9) \\cup (9,36)", "(0,36)"),
    ("2", "two"),
    ("-\\frac{\\pi}{6}", "-30^\\circ"),
    ("1\\frac{4}{5}", "\\frac{14}{5}"),
    ("2", "\\frac{1}{2}"),
    ("\\text{east}", "\\text{the east}"),
    ("e", "E"),
    ("9^{1000}", "9^{1001}"),
    ("x+1", "x + 1 = 0"),
    ("3", "x=3 \\text{ or } x=-2"),
]


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_the_same_in_another_form_is_right(gold: str, answer: str) -> None:
    assert graded(answer, gold).outcome is Outcome.CORRECT


@pytest.mark.parametrize(("gold", "answer"), OTHER)
def test_what_only_looks_alike_is_not_right(gold: str, answer: str) -> None:
    assert graded(answer, gold).outcome in (Outcome.WRONG, Outcome.UNGRADED)


SEVERAL_BOXES = [
    ("1,-2", "\\boxed{1}, \\boxed{-2}"),
    ("1,-2", "$\\boxed{1}$ and $\\boxed{-2}$"),
    ("-2,1", "The solutions are \\boxed{1}, \\boxed{-2}."),
    ("3, 5, 7", "\\boxed{3}, \\boxed{5}, and \\boxed{7}"),
    ("1,-2", "$x=\\boxed{1}$ or $x=\\boxed{-2}$"),
    ("\\frac12", "\\boxed\\frac12"),
]
OTHER_BOXES = [
    ("1,-2", "\\boxed{1}, \\boxed{2}"),
    ("1,-2", "\\boxed{1}. Wait, \\boxed{-2}"),
    ("12", "\\boxed{12}, rather \\boxed\\frac12"),
    ("2", "\\boxed{1}, \\boxed{2}"),
    ("2", "\\boxed{1} or \\boxed{2}"),
]


@pytest.mark.parametrize(("gold", "text"), SEVERAL_BOXES)
def test_boxes_side_by_side_are_the_parts_of_one_answer(gold: str, text: str) -> None:
    assert grade_symbolic(text, gold, finish_reason="stop").outcome is Outcome.CORRECT


@pytest.mark.parametrize(("gold", "text"), OTHER_BOXES)
def test_a_box_that_is_taken_back_or_incomplete_is_not_right(gold: str, text: str) -> None:
    assert grade_symbolic(text, gold, finish_reason="stop").outcome is not Outcome.CORRECT


NUMBERS = [
    ("18", "18m"),
    ("18", "18 eggs"),
    ("18", "3 \\cdot 6 = 18"),
    ("18", "x = 18"),
    ("18", "\\text{Total cost} = 18"),
]
NUMBERS += [
    ("180000", "18万元"),
    ("18000", "18千"),
    ("18", "18千米"),
    ("1800000", "18 lakh"),
    ("3000000", "3 millions"),
    ("18", "18个苹果"),
]
NO_NUMBERS = [
    ("18", "18k"),
    ("18", "18K"),
    ("18", "18M"),
    ("18", "18 dozen"),
    ("18", "18个半"),
    ("18", "18..."),
    ("1234", "(1,234)"),
    ("18", "18xy"),
    ("18", "18 ab"),
    ("18", "18pq"),
    ("18", "2x = 18"),
    ("18", "x^2 = 18"),
    ("25", "x^2+y^2=25"),
    ("18", "A + B = 18"),
]


@pytest.mark.parametrize(("gold", "answer"), NUMBERS)
def test_a_name_a_sum_or_a_unit_leaves_the_number_what_it_is(gold: str, answer: str) -> None:
    assert grade(f"\\boxed{{{answer}}}", gold, finish_reason="stop").outcome is Outcome.CORRECT


@pytest.mark.parametrize(("gold", "answer"), NO_NUMBERS)
def test_a_variable_or_an_equation_is_no_number(gold: str, answer: str) -> None:
    assert grade(f"\\boxed{{{answer}}}", gold, finish_reason="stop").outcome is Outcome.UNGRADED


@pytest.mark.parametrize("answer", ["18万", "18亿元", "18 lakh", "18 millions", "18 hundred", "18만원"])
def test_a_multiple_is_another_number(answer: str) -> None:
    assert grade(f"\\boxed{{{answer}}}", "18", finish_reason="stop").outcome is Outcome.WRONG


def test_a_gold_that_cannot_be_read_is_compared_by_its_text() -> None:
    gold = "x \\to 3"
    assert not is_readable(gold)
    assert is_readable("\\left[\\frac{1}{2},\\infty\\right)")
    assert is_readable("18")
    assert graded("x\\to 3", gold).outcome is Outcome.CORRECT
    assert graded("x \\to 4", gold) == Grade(Outcome.UNGRADED, "unreadable", "x \\to 4")
