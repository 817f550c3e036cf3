"""Articles to be summed up, each with a summary that somebody wrote: CNN/DailyMail (See et al., arXiv 1704.04368)."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.errors import DataError
from pytest_llmperf.tasks.rows import Row
from pytest_llmperf.tasks.source import DataFile, HubSplit
from pytest_llmperf.tasks.task import Item, Source, find_named

ARTICLE_TOKENS = 480
"""Tokens of an article that are sent, from its beginning; with instruction and template 512 at most."""


@dataclass(frozen=True)
class Articles:
    """Items whose ``prompt`` is an article and whose ``answer`` is its reference summary."""

    name: str
    source: Source
    instruction: str = "Summarise this article in three or four sentences."

    def drawn(self, data_dir: Path | None, n: int, seed: int = 0) -> tuple[Item, ...]:
        """``n`` articles in an order drawn from ``seed``. Raises :class:`DataError`, one line."""
        found = list(self.source.items(data_dir))
        if len(found) < n:
            raise DataError(
                f"articles {self.name}: {n} were asked for, {self.source.describe()} has {len(found)}"
            )
        random.Random(f"{self.name}/{seed}").shuffle(found)
        return tuple(found[:n])


def _item(row: Row, number: int) -> Item:
    article, highlights = row["article"], row["highlights"]
    if not isinstance(article, str) or not isinstance(highlights, str):
        raise TypeError("article and highlights must be strings")
    if not article.strip() or not highlights.strip():
        raise ValueError("the article or its highlights are empty")
    return Item(f"cnn-dailymail-{row.get('id', number)}", article.strip(), highlights.strip())


_REVISION = "96df5e686bee6baa90b8bee7c28b81fa3fa6223d"
_FILE = "test-00000-of-00001.parquet"
CNN_DAILYMAIL = Articles(
    name="cnn_dailymail",
    source=DataFile(
        path=f"cnn_dailymail/{_FILE}",
        item=_item,
        fetch=(
            f"curl -fL --create-dirs -o DIR/cnn_dailymail/{_FILE} "
            f"https://huggingface.co/datasets/abisee/cnn_dailymail/resolve/{_REVISION}/3.0.0/{_FILE}"
        ),
        hub=HubSplit("abisee/cnn_dailymail", "3.0.0", "test", _REVISION, count=11490),
    ),
)
BUILT_IN_ARTICLES: tuple[Articles, ...] = (CNN_DAILYMAIL,)


def find_articles(name: str) -> Articles:
    """The articles ``name``. Raises :class:`UsageError` with the nearest name."""
    return find_named("articles", name, BUILT_IN_ARTICLES)
