"""ROUGE-L, and the articles whose summaries it scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pytest_llmperf.errors import DataError, UsageError
from pytest_llmperf.tasks.articles import CNN_DAILYMAIL, Articles, find_articles
from pytest_llmperf.tasks.rouge import rouge_l, scorer
from pytest_llmperf.tasks.source import DataFile


def test_it_is_the_f1_of_the_longest_common_subsequence_of_words() -> None:
    # 5 words in common and in order, of 5 and of 6: precision 1, recall 5/6.
    assert rouge_l("the cat on the mat", "the cat sat on the mat") == pytest.approx(10 / 11)
    assert rouge_l("The cats sat.", "the cat sat") == 1.0
    assert rouge_l("mat the on sat", "sat on the mat") == pytest.approx(1 / 4)
    assert rouge_l("a dog", "the cat") == 0.0
    assert rouge_l("", "the cat") == 0.0


def test_without_the_package_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("rouge_score", "rouge_score.rouge_scorer"):
        monkeypatch.setitem(sys.modules, name, None)
    scorer.cache_clear()
    with pytest.raises(UsageError, match=r"pip install 'pytest-llmperf\[summaries\]'"):
        rouge_l("a", "b")
    scorer.cache_clear()


def articles(tmp_path: Path, *rows: object) -> Articles:
    source = CNN_DAILYMAIL.source
    assert isinstance(source, DataFile)
    (tmp_path / "news.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return Articles("news", DataFile(path="news.jsonl", item=source.item, fetch=source.fetch))


def test_articles_come_with_their_reference_in_an_order_that_is_drawn(tmp_path: Path) -> None:
    rows = [{"article": f" text {k} ", "highlights": f"said {k}", "id": f"{k:03}"} for k in range(20)]
    news = articles(tmp_path, *rows)
    drawn = news.drawn(tmp_path, 20)
    assert sorted(one.id for one in drawn) == [f"cnn-dailymail-{k:03}" for k in range(20)]
    assert all(one.answer == one.prompt.replace("text", "said") for one in drawn)
    assert [one.id for one in drawn] != sorted(one.id for one in drawn)
    assert news.drawn(tmp_path, 5) == drawn[:5]
    assert news.drawn(tmp_path, 20, seed=1) != drawn


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"article": "a", "highlights": ""}, "row 1: the article or its highlights are empty"),
        ({"article": 7, "highlights": "b"}, "row 1: article and highlights must be strings"),
        ({"article": "a"}, "row 1: no field 'highlights'"),
        ({"article": "a", "highlights": "b"}, "2 were asked for, news.jsonl has 1"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path: Path, row: object, why: str) -> None:
    with pytest.raises(DataError) as raised:
        articles(tmp_path, row).drawn(tmp_path, 2)
    assert why in str(raised.value)


def test_they_are_known_by_name_and_pinned_on_the_hub(tmp_path: Path) -> None:
    assert find_articles("cnn_dailymail") is CNN_DAILYMAIL
    with pytest.raises(UsageError, match="did you mean cnn_dailymail"):
        find_articles("cnn_dailymale")
    with pytest.raises(
        DataError, match=r"no such file; fetch it with: curl .*cnn_dailymail/resolve/[0-9a-f]{40}/"
    ):
        CNN_DAILYMAIL.drawn(tmp_path, 1)
