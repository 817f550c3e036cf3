"""The same answers graded by us, by lm-evaluation-harness and by Math-Verify alone: a table, and every disagreement.

    python -m benchmarks.grading --data DIR --lm-eval-python PYTHON --record RECORD > docs/evidence/grading.md

``DIR`` is as ``--llmperf-data`` wants it, with ``gsm8k/example_model_solutions.jsonl`` (the authors') in it. ``PYTHON``
is that of an environment with ``pip install lm_eval math-verify antlr4-python3-runtime==4.11``. Its graders are called
as its tasks call them: ``gsm8k`` (both filters and the metric of its YAML) and ``hendrycks_math``; Math-Verify with its
defaults, on the whole reply. ``RECORD`` is of ``pytest suites/ --llmperf-full --llmperf-record RECORD`` with the
embedded pair, whose own answers it holds.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import load_answers
from pytest_llmperf.tasks.grading import Grade, Outcome
from pytest_llmperf.tasks.grading.number import grade
from pytest_llmperf.tasks.grading.symbolic import grade_symbolic

_OTHERS = r"""
import json, logging, os, re, sys
import lm_eval, yaml
from lm_eval.api.metrics import exact_match_hf_evaluate
from lm_eval.filters.extraction import RegexFilter
from lm_eval.tasks.hendrycks_math.utils import process_results
from math_verify import parse, verify
logging.disable(logging.CRITICAL)
task = yaml.safe_load(open(os.path.join(os.path.dirname(lm_eval.__file__), "tasks", "gsm8k", "gsm8k.yaml")))
metric = {k: task["metric_list"][0][k] for k in ("ignore_case", "ignore_punctuation", "regexes_to_ignore")}
filters = {}
for one in task["filter_list"]:
    keys = {k: v for k, v in one["filter"][0].items() if k != "function"}
    filters[one["name"]] = RegexFilter(**keys)
for line in sys.stdin:
    case = json.loads(line)
    said = {}
    if case["task"] in ("gsm8k", "embedded"):
        for name, regex in filters.items():
            found = regex.apply([[case["reply"]]], [{}])
            found = list(found)[0][0]
            score = exact_match_hf_evaluate(predictions=[found], references=[case["target"]], **metric)
            said["lm-eval " + name] = bool(score["exact_match"])
    else:
        doc = {"solution": case["target"], "answer": case["gold"]}
        try:
            said["lm-eval hendrycks_math"] = bool(process_results(doc, [case["reply"]])["exact_match"])
        except Exception as error:
            said["lm-eval hendrycks_math"] = False
    gold = parse("$" + case["gold"] + "$") if case["task"] == "math500" else parse(case["gold"])
    said["Math-Verify"] = bool(verify(gold, parse(case["reply"])))
    print(json.dumps(said), flush=True)
"""


_WHY = """\
* lm-eval hendrycks_math compares the text between the first and the last dollar sign with the gold, letter by letter: a
  box stays part of it, and so does all that stands between two formulas (lm-evaluation-harness#2552).
* Math-Verify, "corrected itself": boxes that stand close together become one set, which equals neither.
* Math-Verify, "unfinished thinking" and "cut": it is not told how a reply ended, and takes the last formula.
* lm-eval strict-match, on the embedded pair: it wants `#### 18`, which its own task shows in five examples and the
  pair was never taught.
* lm-eval flexible-extract and Math-Verify take the last number of a reply, said to be the answer or not."""


@dataclass(frozen=True)
class Case:
    """One reply. ``right`` is what a careful reader says of it; ``target`` is what the harness is given as its gold."""

    task: str
    kind: str
    id: str
    reply: str
    gold: str
    target: str
    right: bool
    finish_reason: str = "stop"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--lm-eval-python", required=True)
    parser.add_argument("--record", type=Path, help="also grade the answers of the embedded pair in it")
    parser.add_argument("--every", type=int, default=4, help="take every n-th item")
    options = parser.parse_args(arguments)
    cases = [*_gsm8k(options.data, options.every), *_math500(options.data, options.every)]
    cases += _pair(options.record) if options.record else []
    text = "".join(json.dumps(asdict(case)) + "\n" for case in cases)
    done = subprocess.run(
        [options.lm_eval_python, "-c", _OTHERS], input=text, stdout=subprocess.PIPE, text=True, check=True
    )
    others = [json.loads(line) for line in done.stdout.splitlines()]
    with ThreadPoolExecutor(2) as threads:
        ours = list(threads.map(_ours, cases))
    print(_page(cases, ours, others, options.every))
    return 0


def _ours(case: Case) -> Grade:
    if case.task == "gsm8k":
        return grade(case.reply, case.gold, finish_reason="stop", protocol="few-shot")
    if case.task == "embedded":
        thinking = case.kind.startswith("distill")
        return grade(case.reply, case.gold, finish_reason=case.finish_reason, thinking=thinking)
    return grade_symbolic(
        case.reply,
        case.gold,
        finish_reason="length" if case.kind == "cut" else "stop",
        protocol="few-shot" if case.kind == "few-shot" else "chat",
    )


def _gsm8k(data: Path, every: int) -> Iterator[Case]:
    """Real answers of four models; whether they are right is what the authors say.

    Their last line is ``A: 18`` where the data set has ``#### 18``, which is the form that the task asks for.
    """
    golds = _rows(data / "gsm8k" / "test.jsonl")
    solved = _rows(data / "gsm8k" / "example_model_solutions.jsonl")
    for number in range(0, len(golds), every):
        target = golds[number]["answer"]
        gold = target.rpartition("####")[2].strip().replace(",", "")
        for model in ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"):
            said = solved[number][model]
            reply = "\n#### ".join(said["solution"].rsplit("\nA: ", 1))
            yield Case("gsm8k", "real answers", f"{number} {model}", reply, gold, target, said["is_correct"])


_ENDS_IN_ITS_ANSWER = re.compile(r"[^{}]*(?:\\boxed\{|The answer is )(-?\d+)\}?\.?\s*")


def _pair(path: Path) -> Iterator[Case]:
    """Replies of the embedded models when they were asked by their rules: with thinking, or without.

    Right is a reply that came to its end by itself, and says after its thinking (if any) one thing: the number, in a
    box or in the sentence "The answer is N."
    """
    for one in load_answers(path, read_record(path)):
        if one["task"] == "embedded" and one["variant"] == "as promised":
            said = one["reply"].split("</think>")[-1].strip().splitlines()
            box = _ENDS_IN_ITS_ANSWER.fullmatch(said[-1]) if said else None
            ended = one["finish_reason"] == "stop" and (one["row"] != "distill" or "</think>" in one["reply"])
            yield Case(
                "embedded",
                f"{one['row']}'s own answers",
                one["item"],
                one["reply"],
                one["gold"],
                f"#### {one['gold']}",
                ended and box is not None and box[1] == one["gold"],
                one["finish_reason"] or "",
            )


def _math500(data: Path, every: int) -> Iterator[Case]:
    """The authors' solutions as answers, and what models do to answers."""
    rows = _rows(data / "math500" / "test.jsonl")
    for number in range(0, len(rows) - 1, every):
        row, other = rows[number], rows[number + 1]
        solution, gold, wrong = row["solution"], row["answer"], other["answer"]
        same = gold.replace(" ", "") == wrong.replace(" ", "")
        replies = {
            "worked solution": (solution, True),
            "few-shot": (f"The answer is ${gold}$.", True),
            "another form": (f"So the answer is $\\boxed{{{_reformed(gold)}}}$.", True),
            "corrected itself": (f"I get $\\boxed{{{wrong}}}$. No, that is wrong: \\boxed{{{gold}}}", True),
            "another answer": (f"So the answer is $\\boxed{{{wrong}}}$.", same),
            "unfinished thinking": (f"<think>It may be $\\boxed{{{gold}}}$, let me check", False),
            "cut": (solution.rpartition("\\boxed")[0], False),
        }
        for kind, (reply, right) in replies.items():
            yield Case("math500", kind, row["unique_id"], reply, gold, solution, right)


def _reformed(gold: str) -> str:
    return gold.replace("\\frac", "\\dfrac").replace("\\left", "").replace("\\right", "").replace(" ", "  ")


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def _page(cases: list[Case], ours: list[Grade], others: list[dict[str, bool]], every: int) -> str:
    today = datetime.now(UTC).date()
    head = f"""\
# The same answers, graded by others

Every {every}th item of the data sets, and all of the embedded pair's; {len(cases):,} answers; {today}; CPU. Made by
`python -m benchmarks.grading --data DIR --lm-eval-python PYTHON --every {every} --record RECORD` with
lm-evaluation-harness 0.4.13 and Math-Verify 0.9.0.

Real answers are those that GSM8K's authors publish of four models (their last line `A: 18` written `#### 18`), and
right where they say so. The answers to MATH-500 are made of its own solutions. Those of the embedded pair are its own,
from vLLM 0.32.0, and right where they end by themselves with the number, boxed or behind "The answer is". A false
accept is a wrong or unfinished answer that counts as right.

| answers | n | grader | agrees | false accepts | false rejects |
|---|---:|---|---:|---:|---:|"""
    lines = [head]
    wrong: list[tuple[str, Case, Grade]] = []
    kinds = dict.fromkeys((case.task, case.kind) for case in cases)
    for task, kind in kinds:
        rows = [
            (case, ours[i], {"ours": ours[i].outcome is Outcome.CORRECT, **others[i]})
            for i, case in enumerate(cases)
            if (case.task, case.kind) == (task, kind)
        ]
        for grader in rows[0][2]:
            accepts = sum(said[grader] and not case.right for case, _, said in rows)
            rejects = sum(case.right and not said[grader] for case, _, said in rows)
            agrees = len(rows) - accepts - rejects
            lines.append(f"| {task}: {kind} | {len(rows)} | {grader} | {agrees} | {accepts} | {rejects} |")
        wrong += [("ours", case, found) for case, found, said in rows if said["ours"] != case.right]
    lines += ["", "## Where the others differ on the embedded pair", ""]
    lines += _unlike(cases, others) or ["Nowhere, or it was not asked."]
    lines += ["", "## Where ours differs from the truth", ""]
    lines += [
        f"* {case.task}, {case.kind}, {case.id}: expected `{case.gold}`, read `{found.answer}` ({found.outcome}, "
        f"{found.detail or 'right'})"
        for _, case, found in wrong
    ] or ["Nowhere."]
    lines += ["", "## Why the others differ", "", _WHY]
    return "\n".join(lines)


def _unlike(cases: list[Case], others: list[dict[str, bool]]) -> list[str]:
    """Every disagreement on the pair's own answers, but for those with strict-match, which reads none of them."""
    return [
        f"* {case.kind}, {case.id}: {', '.join(graders)} "
        f"{'rejects' if case.right else 'accepts'} `{case.reply.strip().splitlines()[-1][-60:]}` "
        f"({case.finish_reason}, expected {case.gold})"
        for case, said in zip(cases, others, strict=True)
        if case.task == "embedded"
        and (graders := [name for name, yes in said.items() if yes != case.right and "strict" not in name])
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
