"""TeX of models as MathML, and everything else as text."""

from __future__ import annotations

import re
import time
from html import unescape
from html.parser import HTMLParser
from xml.etree.ElementTree import Element

import pytest

from pytest_llmperf.report.html.maths import LONGEST, Maths, _markup


class Shown(HTMLParser):
    """Elements and attributes of markup, and its text."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("tex", [r"\(x^2\)", "$x^2$", "$$x^2$$", r"\[x^2\]"])
def test_a_formula_between_its_delimiters_becomes_mathml(tex: str) -> None:
    markup = Maths().markup(f"so {tex} holds")
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in markup
    assert 'aria-label="x^2"' in markup
    assert Shown(markup).text == "so x2 holds"


def test_a_formula_of_its_own_stands_on_a_line_of_its_own() -> None:
    assert '<math display="block"' in Maths().markup("$$x$$")
    assert '<math display="block"' not in Maths().markup("$x$")


def test_a_box_needs_no_delimiters_and_is_drawn_as_one() -> None:
    markup = Maths().markup(r"The answer is \boxed{\frac{1}{2}}.")
    assert 'class="boxed"' in markup
    assert "<mfrac>" in markup
    assert markup.endswith("</math>.")


def test_the_empty_box_of_an_instruction_stays_tex() -> None:
    text = r"Put your final answer within \boxed{}."
    assert Maths().markup(text) == text


def test_money_is_no_formula() -> None:
    text = "It costs $5 and the other $7, so $12 in all."
    assert Maths().markup(text) == text


@pytest.mark.parametrize("tex", [r"$\frac{1$", r"\(\begin{x}\)", r"\(\)", "$" + "x" * (LONGEST + 1) + "$"])
def test_what_is_no_tex_is_shown_or_stays_text_and_never_an_error(tex: str) -> None:
    markup = Maths().markup(f"before {tex} after")
    assert markup.startswith("before ")
    assert markup.endswith(" after")
    assert "<math" in markup or unescape(markup) == f"before {tex} after"


@pytest.mark.parametrize(
    "tex",
    [
        r"\text{<script>alert(1)</script>}",
        r"\href{javascript:alert(1)}{x}",
        r"\class{a}{b}",
        r"\style{color:red}{b}",
        r"\color{red}{x}",
        r"\text{\u202e \x1b[31m}",
        r"\text{&lt;img src=x onerror=y&gt;}",
        r'x" onclick="alert(1)',
        "</math><img src=x onerror=y>",
    ],
)
def test_hostile_tex_adds_no_element_and_no_attribute_of_its_own(tex: str) -> None:
    shown = Shown(Maths().markup(f"$$ {tex} $$ {tex}"))
    mathml = re.compile(r"m[a-z]+")
    assert {name for name in shown.elements if not mathml.fullmatch(name)} == set()
    assert "mscript" not in shown.elements
    assert {name for name, _ in shown.attributes} <= {"display", "aria-label", "class", "mathvariant", "stretchy",
        "fence", "form", "columnalign", "separator", "lspace", "rspace", "width"}  # fmt: skip
    assert {value for name, value in shown.attributes if name == "class"} <= {"boxed"}
    assert tex.replace("\x1b", "␛") in shown.text or "<" not in tex


def test_an_element_that_the_library_may_learn_to_write_becomes_a_row() -> None:
    unknown = Element("{http://www.w3.org/1998/Math/MathML}script", {"src": "x", "mathvariant": "bold"})
    unknown.text = "alert(1)"
    assert _markup(unknown) == '<mrow mathvariant="bold">alert(1)</mrow>'


def test_after_its_budget_the_rest_stays_tex() -> None:
    markup = Maths(budget=300).markup(" ".join(f"$x_{i}$" for i in range(50)))
    assert 1 <= markup.count("<math") < 10
    assert "$x_{49}$" not in markup
    assert "$x_49$" in markup


def test_hundreds_of_hostile_replies_cost_little() -> None:
    began = time.process_time()
    maths = Maths()
    for text in (
        "$" * 20_000,
        "\\(" * 10_000,
        "\\boxed{" * 3_000,
        "{" * 20_000,
        r"\[" + "x" * 20_000,
        "$a" * 10_000,
    ):
        maths.markup(text)
    assert time.process_time() - began < 5.0
