"""MATH-500: 500 competition problems whose answers are formulas (Hendrycks et al., arXiv 2103.03874; MIT)."""

from __future__ import annotations

from pytest_llmperf.tasks.grading.symbolic import check_symbolic, grade_symbolic
from pytest_llmperf.tasks.rows import Row
from pytest_llmperf.tasks.source import DataFile, HubSplit
from pytest_llmperf.tasks.task import Item, Shot, Task, own_shots

_REVISION = "6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"
_FETCH = (
    "curl -fL --create-dirs -o DIR/math500/test.jsonl "
    f"https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/{_REVISION}/test.jsonl"
)

# Written for this package; what the few-shot protocol needs is their form.
_SHOTS = own_shots(
    Shot(
        "Solve $3x - 7 = 2x + 5$ for $x$.",
        "Taking $2x$ and adding $7$ on both sides gives $x = 12$.\nThe answer is $12$.",
    ),
    Shot(
        "Factor $2x^2 - 18$ completely.",
        "We have $2x^2 - 18 = 2(x^2 - 9)$, and $x^2 - 9$ is a difference of squares.\nThe answer is $2(x-3)(x+3)$.",
    ),
    Shot(
        "A fair coin is tossed three times. What is the probability of exactly two heads?",
        "Of the $2^3 = 8$ outcomes, those with two heads are HHT, HTH and THH, which are $3$.\n"
        "The answer is $\\frac{3}{8}$.",
    ),
    Shot(
        "For which real $x$ is $|x - 2| \\le 3$? Give your answer in interval notation.",
        "The distance from $x$ to $2$ is at most $3$, so $-1 \\le x \\le 5$.\nThe answer is $[-1,5]$.",
    ),
)


def _item(row: Row, number: int) -> Item:
    del number
    problem, answer = row["problem"], row["answer"]
    if not isinstance(problem, str) or not isinstance(answer, str):
        raise TypeError("problem and answer must be strings")
    about = {name: row[name] for name in ("subject", "level", "solution") if name in row}
    return Item(f"math500-{row['unique_id']}", problem, answer, about)


MATH500 = Task(
    name="math500",
    source=DataFile(
        path="math500/test.jsonl",
        item=_item,
        fetch=_FETCH,
        sha256="35dc41080a3680858b27fa7e0533d2d547825316fc5dafe5d316f4ccc5a06132",
        hub=HubSplit("HuggingFaceH4/MATH-500", None, "test", _REVISION, count=500),
    ),
    protocols=("chat", "few-shot"),
    max_tokens=2048,
    grader=grade_symbolic,
    check_gold=check_symbolic,
    shots=_SHOTS,
)
