"""SVAMP: 1,000 word problems of one or two steps, hard for those who skim (Patel et al., arXiv 2103.07191; MIT)."""

from __future__ import annotations

from pytest_llmperf.tasks.grading.exact_number import read_number
from pytest_llmperf.tasks.grading.number import gold_number
from pytest_llmperf.tasks.rows import Row
from pytest_llmperf.tasks.source import DataFile, HubSplit
from pytest_llmperf.tasks.task import Item, Shot, Task, own_shots

_FETCH = (
    "curl -fL --create-dirs -o DIR/svamp/SVAMP.json "
    "https://raw.githubusercontent.com/arkilpatel/SVAMP/689d7ccac74b9983a2ac7cc3b264f441b99e7c53/SVAMP.json"
)

# Written for this package.
_SHOTS = own_shots(
    Shot(
        "Nora had 14 shells. She gave 5 of them to her brother. How many shells does she have left?",
        "She has 14 - 5 = 9 shells left.\nThe answer is 9.",
    ),
    Shot(
        "A shelf holds 8 rows of 6 jars, and 12 more jars stand on the floor. How many jars are on the shelf?",
        "The shelf holds 8 * 6 = 48 jars; those on the floor don't count.\nThe answer is 48.",
    ),
    Shot(
        "A farmer packs 36 eggs into boxes of 4. How many boxes does he fill?",
        "He fills 36 / 4 = 9 boxes.\nThe answer is 9.",
    ),
    Shot(
        "Ben ran 7 km on Monday and 3 km less on Tuesday. How many km did he run on both days together?",
        "On Tuesday he ran 7 - 3 = 4 km. Together that is 7 + 4 = 11 km.\nThe answer is 11.",
    ),
)


def _item(row: Row, number: int) -> Item:
    del number
    body, question = str(row["Body"]).strip(), str(row["Question"]).strip()
    answer = read_number(str(row["Answer"]))  # 51.0 in the authors' file, a string on the hub
    if answer is None:
        raise ValueError(f"the expected answer is not a number: {str(row['Answer'])[:80]!r}")
    sentence = body if body.endswith((".", "!", "?")) else f"{body}."
    return Item(
        f"svamp-{row['ID']}", f"{sentence} {question}", str(answer.value), {"type": row.get("Type", "")}
    )


SVAMP = Task(
    name="svamp",
    source=DataFile(
        path="svamp/SVAMP.json",
        item=_item,
        fetch=_FETCH,
        sha256="5be77703a6d891ae476d7c082787ad361392aa02453b132516cdd5f4e7934e3e",
        hub=HubSplit(
            "ChilleD/SVAMP", None, "train+test", "5e0bf1e5e7c0e9c4bc39180d224f41f3f801b7ef", count=1000
        ),
        by_id=True,
    ),
    protocols=("chat", "few-shot"),
    max_tokens=1024,
    check_gold=gold_number,
    shots=_SHOTS,
)
