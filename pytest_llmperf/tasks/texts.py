"""Texts whose perplexity is measured: a shard of C4, and worked problems for the embedded pair."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.errors import DataError
from pytest_llmperf.tasks.rows import Row
from pytest_llmperf.tasks.source import DataFile, HubSplit
from pytest_llmperf.tasks.task import Item, Source, find_named


@dataclass(frozen=True)
class Texts:
    """Documents to score, each cut at a space to ``longest`` characters; shorter ones than ``shortest`` are left out.

    The characters, since plain text has at most about one token in three of them: what is cut has to fit into every
    row's context.
    """

    name: str
    source: Source
    shortest: int = 200
    longest: int = 4000

    def documents(self, data_dir: Path | None, n: int, seed: int = 0) -> tuple[Item, ...]:
        """``n`` documents, in an order drawn from ``seed``. Raises :class:`DataError`."""
        found = [item for item in self.source.items(data_dir) if len(item.prompt) >= self.shortest]
        if len(found) < n:
            raise DataError(
                f"texts {self.name}: {n} documents were asked for, {self.source.describe()} has {len(found)} of "
                f"{self.shortest} characters and more"
            )
        random.Random(f"{self.name}/{seed}").shuffle(found)
        return tuple(Item(one.id, self._cut(one.prompt), "") for one in found[:n])

    def _cut(self, text: str) -> str:
        if len(text) <= self.longest:
            return text
        return text[: self.longest].rpartition(" ")[0] or text[: self.longest]


@dataclass(frozen=True)
class WorkedProblems:
    """Held-out problems with their working, three a document: the embedded pair was trained on the like of them."""

    seed: int = 2027
    count: int = 300
    sha256: str | None = None

    def items(self, data_dir: Path | None) -> Sequence[Item]:
        from pytest_llmperf.embedded.problems import eval_problems

        del data_dir
        problems = eval_problems(3 * self.count, self.seed)
        threes = [problems[i : i + 3] for i in range(0, len(problems), 3)]
        return [
            Item(f"worked-{number}", "\n\n".join(f"{p.question}\n{p.solution}" for p in three), "")
            for number, three in enumerate(threes)
        ]

    def describe(self) -> str:
        return f"{self.count} documents of three generated problems with their working, seed {self.seed}"


def _document(row: Row, number: int) -> Item:
    text = row["text"]
    if not isinstance(text, str):
        raise TypeError("text must be a string")
    return Item(f"c4-{number}", text.strip(), "")


_REVISION = "1588ec454efa1a09f29cd18ddd04fe05fc8653a2"
_SHARD = "c4-validation.00000-of-00008.json.gz"
C4 = Texts(
    name="c4",
    source=DataFile(
        path=f"c4/{_SHARD}",
        item=_document,
        fetch=(
            f"curl -fL --create-dirs -o DIR/c4/{_SHARD} "
            f"https://huggingface.co/datasets/allenai/c4/resolve/{_REVISION}/en/{_SHARD}"
        ),
        hub=HubSplit("allenai/c4", None, "validation", _REVISION, files=f"en/{_SHARD}"),
    ),
)
WORKED = Texts(name="embedded", source=WorkedProblems())
BUILT_IN_TEXTS: tuple[Texts, ...] = (C4, WORKED)


def find_texts(name: str) -> Texts:
    """The texts ``name``. Raises :class:`UsageError` with the nearest name."""
    return find_named("texts", name, BUILT_IN_TEXTS)
