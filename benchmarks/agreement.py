r"""Agreement of our graders with a careful reader: replies with labels, golds rewritten, golds changed.

    python -m benchmarks.agreement --data DIR [--pairs FILE] [--math-verify-tests DIR] [--list]

``DIR`` is as ``--llmperf-data`` wants it, with ``gsm8k/example_model_solutions.jsonl`` (the authors') in it. ``FILE``
holds further pairs, a JSON object a line: ``{"gold": …, "answer": …, "right": true}``. ``--list`` prints every
disagreement. Only the graders of the package are imported, so that the script also runs on an older tree:
``PYTHONPATH=OLD python benchmarks/agreement.py …``.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.tasks.grading import Outcome
from pytest_llmperf.tasks.grading.choice import grade_choice
from pytest_llmperf.tasks.grading.number import grade
from pytest_llmperf.tasks.grading.symbolic import grade_symbolic


@dataclass(frozen=True)
class Case:
    """A reply, the expected answer, and whether a careful reader calls it right."""

    kind: str
    grader: Callable[..., Any]
    text: str
    gold: str
    right: bool
    protocol: str = "chat"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--math-verify-tests", type=Path, help="tests/ of its source distribution")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args(arguments)
    cases = [*labelled(options.data), *worked(options.data), *rewritten(options.data), *changed(options.data)]
    cases += [*sentences(options.data)]
    cases += [*pairs(options.pairs)] if options.pairs else []
    cases += [*of_math_verify(options.math_verify_tests)] if options.math_verify_tests else []
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(graded, cases))
    seconds = time.perf_counter() - began
    print("| answers | n | false accepts | false rejects |\n|---|---:|---:|---:|")
    for kind in dict.fromkeys(case.kind for case in cases):
        of = [(case, outcome) for case, outcome in zip(cases, outcomes, strict=True) if case.kind == kind]
        accepts = sum(outcome is Outcome.CORRECT and not case.right for case, outcome in of)
        rejects = sum(outcome is not Outcome.CORRECT and case.right for case, outcome in of)
        print(f"| {kind} | {len(of):,} | {accepts:,} | {rejects:,} |")
    print(f"\n{len(cases):,} answers graded in {seconds:.0f} s, two at a time.")
    if options.list:
        for case, outcome in zip(cases, outcomes, strict=True):
            if (outcome is Outcome.CORRECT) != case.right:
                shown = case.text if len(case.text) < 200 else f"…{case.text[-200:]}"
                print(
                    f"* {case.kind}: `{case.gold}` ← `{shown!r}` {outcome}, {'right' if case.right else 'wrong'}"
                )
    return 0


def graded(case: Case) -> Outcome:
    found = case.grader(case.text, case.gold, finish_reason="stop", protocol=case.protocol)
    outcome: Outcome = found.outcome
    return outcome


def labelled(data: Path) -> Iterator[Case]:
    """Replies of four models to GSM8K, and what its authors say of them; the last line is ``A: 18`` there."""
    golds = [
        row["answer"].rpartition("####")[2].strip().replace(",", "")
        for row in rows(data / "gsm8k/test.jsonl")
    ]
    for row, gold in zip(rows(data / "gsm8k/example_model_solutions.jsonl"), golds, strict=True):
        for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            said = row[model]
            text = "\n#### ".join(said["solution"].rsplit("\nA: ", 1))
            yield Case(
                "GSM8K: labelled replies of four models", grade, text, gold, said["is_correct"], "few-shot"
            )


def worked(data: Path) -> Iterator[Case]:
    for row in rows(data / "math500/test.jsonl"):
        yield Case("MATH-500: its worked solutions", grade_symbolic, row["solution"], row["answer"], True)


def rewritten(data: Path) -> Iterator[Case]:
    """Every gold in other notations that say the same."""
    for row in rows(data / "math500/test.jsonl"):
        gold = row["answer"]
        for answer in dict.fromkeys(same_meaning(gold)):
            yield Case("MATH-500: rewritten, same meaning", grade_symbolic, boxed(answer), gold, True)


def changed(data: Path) -> Iterator[Case]:
    """Every gold with something in it changed that changes what it says."""
    for row in rows(data / "math500/test.jsonl"):
        gold = row["answer"]
        for answer in dict.fromkeys(other_meaning(gold)):
            yield Case("MATH-500: changed in meaning", grade_symbolic, boxed(answer), gold, False)


def sentences(data: Path) -> Iterator[Case]:
    """All golds of all data sets in sentences that people write, without a box."""
    numbers = [row["answer"].rpartition("####")[2].strip() for row in rows(data / "gsm8k/test.jsonl")]
    numbers += [
        plain_number(row["Answer"]) for row in json.loads((data / "svamp/SVAMP.json").read_text("utf-8"))
    ]
    for gold in numbers:
        for form in (
            "The answer is {}.",
            "The answer is {}, which is what we wanted.",
            "The answer is ${}$ because nothing is left.",
            "So we are done.\nThe answer is {}.\n\nQ: What is 3 + 4?\nA: The answer is 7.",
        ):
            yield Case(
                "golds in sentences: numbers",
                grade,
                form.format(gold),
                gold.replace(",", ""),
                True,
                "few-shot",
            )
    for row in rows(data / "math500/test.jsonl"):
        for form in (
            "The answer is ${}$.",
            "The answer is ${}$, which is what we wanted.",
            "The answer is ${}$ because nothing is left.",
            "The final answer is \\({}\\).\n\nQuestion: What is 3 + 4?\nAnswer: The answer is $7$.",
        ):
            gold = row["answer"]
            text = form.replace("{}", gold)
            yield Case("golds in sentences: formulas", grade_symbolic, text, gold, True, "few-shot")
    for row in rows(data / "medqa/test.jsonl"):
        gold = row["answer_idx"]
        wrong = next(letter for letter in "ABCD" if letter != gold)
        for form in (
            f"The answer is {gold}.",
            f"The correct answer is {gold}. Option {wrong} is incorrect because it does not fit.",
            f"**Answer: {gold}. {row['options'][gold]}**\n\n- Option {wrong}: no.",
            f"The option I would choose is {gold}.",
        ):
            yield Case("golds in sentences: letters", grade_choice, form, gold, True, "few-shot")


def pairs(file: Path) -> Iterator[Case]:
    for row in rows(file):
        yield Case("pairs of others", grade_symbolic, boxed(row["answer"]), row["gold"], row["right"])


PROSE = re.compile(r"boxed.*boxed|(?<![\\A-Za-z])(?!boxed)[A-Za-z]{4,} |\\n", re.DOTALL)
"""Golds and replies that are whole texts: it is the search for the formula that they are about."""


def of_math_verify(tests: Path) -> Iterator[Case]:
    """The pairs of a gold and a reply that Math-Verify's own tests hold, with what they expect of each.

    A reply without a box is put into one, and whole texts are left out: it is the formula that is graded here, and not
    the search for it.
    """
    for file in sorted(tests.glob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not (isinstance(node, ast.Tuple) and len(node.elts) == 3):
                continue
            values = [one.value for one in node.elts if isinstance(one, ast.Constant)]
            if (
                len(values) == 3
                and isinstance(values[0], str)
                and isinstance(values[1], str)
                and values[2] in (0, 1)
            ):
                gold = values[0].strip().removeprefix("$").removesuffix("$")
                text = values[1] if "\\boxed" in values[1] else boxed(values[1].strip().strip("$"))
                if PROSE.search(gold) or PROSE.search(text.removeprefix("So the answer is")):
                    continue
                yield Case("Math-Verify's own pairs", grade_symbolic, text, gold, bool(values[2]))


def same_meaning(gold: str) -> Iterator[str]:
    r"""Notations of the same answer: spaces, ``\dfrac``, ``\left``, dollar signs, ``x =``, units, decimals, order."""
    yield gold
    yield gold.replace("\\frac", "\\dfrac")
    yield gold.replace("\\frac", "\\tfrac")
    yield gold.replace(" ", "")
    yield gold.replace(" ", "\\ ")
    yield gold.replace("\\left", "").replace("\\right", "")
    yield f"{{{gold}}}"
    yield f"{gold}."
    yield f"${gold}$"
    yield f"\\displaystyle {gold}"
    if not re.search(r"[=\\]in|=|\\text|,|_", gold):
        yield f"x = {gold}"
    yield gold.replace("\\text", "\\mathrm").replace("\\mbox", "\\text")
    yield (
        re.sub(r"\\text\{\(?(\w+)\)?\}", r"\1", gold) if re.fullmatch(r"\\text\{\(?\w+\)?\}", gold) else gold
    )
    if not re.search(r"\d ?\\frac", gold):
        yield re.sub(r"\\frac\{(-?\w+)\}\{(\w+)\}", r"(\1)/(\2)", gold)
    yield re.sub(r"\\frac\{(\d)\}\{(\d)\}", r"\\frac\1\2", gold)
    yield gold.replace("-", "−")
    yield gold.replace("\\pi", "π")
    yield gold.replace("\\infty", "+\\infty") if "-\\infty" not in gold else gold
    yield gold.replace("pmatrix", "bmatrix")
    yield gold.replace("\\cup", "\\bigcup")
    yield re.sub(r"_\{?(\d)\}?$", r"_{\1}", gold)
    if based := re.fullmatch(r"(\d+)_\{?(\d)\}?", gold):
        names = {"4": "four", "5": "five", "6": "six", "8": "eight", "9": "nine"}
        if name := names.get(based[2]):
            yield f"{based[1]}_{{\\text{{{name}}}}}"
        yield f"{based[1]} \\text{{ base }} {based[2]}"
    if re.fullmatch(r"-?\d+", gold):
        yield f"{gold}.0"
        yield f"\\frac{{{2 * int(gold)}}}{{2}}"
        yield f"{gold}\\text{{ units}}"
        yield f"{int(gold) - 1} + 1"
        if abs(int(gold)) > 999:
            yield f"{int(gold):,}"
            yield f"{int(gold):,}".replace(",", "{,}")
    if gold.endswith("^\\circ"):
        yield gold.replace("^\\circ", "°")
        yield gold.replace("^\\circ", "^{\\circ}")
        yield gold.replace("^\\circ", "\\text{ degrees}")
        yield gold.replace("^\\circ", "")
    if fraction := re.fullmatch(r"(-?)\\frac\{(\d+)\}\{(\d+)\}", gold):
        over, under = int(fraction[2]), int(fraction[3])
        yield f"{fraction[1]}\\frac{{{3 * over}}}{{{3 * under}}}"
        yield f"{fraction[1]}{over}/{under}"
        if under in (2, 4, 8, 16, 100, 256):
            yield f"{fraction[1]}{over / under}"
    if interval := re.fullmatch(r"(?:x \\in )?([(\[])(-?\d+|-\\infty),\s*(-?\d+|\\infty)([)\]])", gold):
        low, high = interval[2], interval[3]
        if "infty" in gold or "[" in gold or "]" in gold:
            left = "" if "infty" in low else f"{low} {'<' if interval[1] == '(' else chr(92) + 'le'} "
            right = "" if "infty" in high else f" {'<' if interval[4] == ')' else chr(92) + 'le'} {high}"
            yield f"{left}x{right}"
            yield f"x \\in {interval[1]}{low},{high}{interval[4]}"
    members = re.fullmatch(r"(-?\d+), ?(-?\d+)", gold)
    if members and len(members[2]) != 3:
        yield f"{members[2]}, {members[1]}"
        yield f"\\{{{gold}\\}}"
        yield f"x = {members[1]} \\text{{ or }} x = {members[2]}"
        yield f"{members[1]} \\text{{ and }} {members[2]}"
    if sums := re.fullmatch(r"(\d+[a-z]?(?:\^\d)?|[a-z]) ?([+-]) ?(\d+[a-z]?(?:\^\d)?|[a-z])", gold):
        yield f"{sums[2].replace('+', '')}{sums[3]} + {sums[1]}"


def other_meaning(gold: str) -> Iterator[str]:
    """Answers that a careless grader takes for the gold: another sign, digit, letter, case, base or end."""
    for digit in re.finditer(r"\d", gold):
        yield f"{gold[: digit.start()]}{(int(digit[0]) + 1) % 10 or 1}{gold[digit.end() :]}"
        break
    if gold.startswith("-") and "infty" not in gold[:7]:
        yield gold[1:]
    elif (
        re.match(r"[0-9\\(]", gold)
        and not re.match(r"\\(?:text|begin|\{|left|pm)|[(\[]", gold)
        and gold != "0"
    ):
        yield f"-{gold}"
    if based := re.fullmatch(r"(\d+)_\{?(\d)\}?", gold):
        yield f"{based[1]}_{{{int(based[2]) - 1}}}"
        yield f"{based[1]}_{{{int(based[2]) + 1}}}"
        yield f"{based[1]}_{{10}}"
        yield f"{based[1]}_{{\\text{{{'seven' if based[2] != '7' else 'six'}}}}}"
    bare = re.sub(r"\\[A-Za-z]+(?:\{[a-z ()]*\})?", "", gold)
    if "\\text" not in gold and "begin" not in gold:
        for letter in dict.fromkeys(re.findall(r"[a-zA-Z]", bare)):
            if letter not in "ei":
                yield re.sub(rf"(?<![\\A-Za-z]){letter}(?![A-Za-z])", letter.swapcase(), gold)
                yield re.sub(rf"(?<![\\A-Za-z]){letter}(?![A-Za-z])", "w", gold)
    if re.fullmatch(r"-?\d+", gold):
        number = int(gold)
        if number:
            yield f"{number}x"
            yield f"{number}xy"
        yield f"2x = {number}"
        yield f"{10 * number or 10}"
        yield f"{number}.5"
        yield f"{number} \\text{{ or }} {number + 1}"
        yield f"({number})^2" if number not in (0, 1) else "2"
        yield f"{number} \\times 10^{{-20}}" if number else "10^{-20}"
    if gold.endswith("\\pi"):
        yield gold.removesuffix("\\pi").strip()
    if re.match(r"(?:x \\in )?(?:\\left)?[(\[]", gold) and re.search(r"infty|[\[\]]", gold):
        for before, after in (("(", "["), ("[", "("), (")", "]"), ("]", ")")):
            at = gold.find(before)
            if at >= 0 and "infty" not in gold[max(0, at - 8) : at + 9]:
                yield gold.replace(before, after, 1)
    if pair := re.fullmatch(r"\((-?\d+),(-?\d+)\)", gold):
        yield f"({pair[2]},{pair[1]})"
    if members := re.fullmatch(r"(-?\d+), ?(-?\d+)", gold):
        yield members[1]
        yield f"{gold}, 17"
    if fraction := re.fullmatch(r"(-?)\\frac\{(\d+)\}\{(\d+)\}", gold):
        yield f"{fraction[1]}\\frac{{{fraction[3]}}}{{{fraction[2]}}}"
        yield f"{fraction[1]}{int(fraction[2]) / int(fraction[3]) + 0.01:.2f}"
    if word := re.fullmatch(r"\\text\{(\w{3,})\}", gold):
        yield f"\\text{{{word[1][::-1]}}}"
        yield word[1][1:] + word[1][0]
    if "\\sqrt" in gold:
        yield gold.replace("\\sqrt", "", 1)
    if " + " in gold:
        yield gold.replace(" + ", " - ", 1)


def boxed(answer: str) -> str:
    return f"So the answer is $\\boxed{{{answer}}}$."


def plain_number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
