"""MedQA: 1,273 questions of a medical licensing examination, four options each (Jin et al., arXiv 2009.13081; MIT)."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmperf.tasks.grading.choice import check_choice, grade_choice
from pytest_llmperf.tasks.rows import Row
from pytest_llmperf.tasks.source import DataFile, HubSplit
from pytest_llmperf.tasks.task import Item, Shot, Task, own_shots

CLASSES = ("A", "B", "C", "D")
_FETCH = (
    "curl -fL --create-dirs -o DIR/medqa/test.jsonl https://raw.githubusercontent.com/xk-huang/medagents-benchmark/"
    "56ca11eb1ef89f6bb7fad6284008bf39e08785b0/data/medqa/test.jsonl"
)


def _asked(question: str, options: Mapping[str, str]) -> str:
    lines = [f"{letter}. {options[letter]}" for letter in CLASSES]
    return "\n".join([question.strip(), *lines, "The final answer is the letter of one option."])


def _shot(question: str, options: tuple[str, str, str, str], why: str, answer: str) -> Shot:
    return Shot(_asked(question, dict(zip(CLASSES, options, strict=True))), f"{why}\nThe answer is {answer}.")


# Written for this package: textbook facts in the form of the test.
_SHOTS = own_shots(
    _shot(
        "A sailor who has eaten no fresh fruit for months has bleeding gums and wounds that heal badly. Which vitamin "
        "does he lack?",
        ("Vitamin A", "Vitamin B12", "Vitamin C", "Vitamin K"),
        "Collagen is not hydroxylated without vitamin C; gums bleed and wounds heal badly, which is scurvy.",
        "C",
    ),
    _shot(
        "A 24-year-old man breathes deeply and fast; his blood glucose is 480 mg/dL and his urine holds ketones. Which "
        "drug does he need first beside fluids?",
        ("Insulin", "Metformin", "Glucagon", "Prednisone"),
        "Ketoacidosis comes from a lack of insulin, which stops lipolysis and the making of ketones.",
        "A",
    ),
    _shot(
        "Minutes after a bee sting a woman has hives, a hoarse voice and a blood pressure of 80/40 mmHg. What is given "
        "first?",
        ("Oral antihistamine", "Intravenous steroid", "Inhaled salbutamol", "Intramuscular epinephrine"),
        "This is anaphylaxis; only epinephrine acts at once on vessels and airways.",
        "D",
    ),
    _shot(
        "Which nerve is hurt when a man with a broken shaft of the humerus cannot lift his wrist?",
        ("Ulnar nerve", "Radial nerve", "Median nerve", "Axillary nerve"),
        "The radial nerve winds around the shaft and serves the extensors of the wrist.",
        "B",
    ),
)


def _item(row: Row, number: int) -> Item:
    question, options = row["question"], row["options"]
    if not isinstance(question, str) or not isinstance(options, Mapping):
        raise TypeError("question must be a string and options an object")
    return Item(f"medqa-test-{number}", _asked(question, options), str(row["answer_idx"]))


MEDQA = Task(
    name="medqa",
    source=DataFile(
        path="medqa/test.jsonl",
        item=_item,
        fetch=_FETCH,
        sha256="b0536be0ff396be91eb0cf61a42056b0abef06a23e7e8be491d62fd959b77b72",
        hub=HubSplit(
            "GBaker/MedQA-USMLE-4-options",
            None,
            "test",
            "0fb93dd23a7339b6dcd27e241cb9b5eca62d4d18",
            count=1273,
        ),
    ),
    protocols=("chat", "few-shot"),
    max_tokens=1024,
    grader=grade_choice,
    check_gold=check_choice,
    shots=_SHOTS,
    classes=CLASSES,
)
