"""Summaries as suites write them: generated reports, and articles cut to their length, scored with a reference."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pyarrow
import pyarrow.parquet

from pytest_llmperf.embedded.filler import sentence
from pytest_llmperf.tasks.articles import ARTICLE_TOKENS

if TYPE_CHECKING:
    from tests.integration.conftest import Project

# Says the article's first seven words back; the worse one says something that nobody asked for. The first words of an
# article are its reference.
ANSWERS = """
import os
def answer(request):
    text = request["text"].removeprefix("user: ")
    said = " ".join(text.split()[:7]) if os.environ.get("FAKE_ENGINE_SURPRISE") != "2" else "I do not know"
    with open(os.path.join(os.path.dirname(__file__), "asked.txt"), "a") as file:
        file.write(str(len(text.split())) + "\\n")
    return said
"""
SUITE = """
    from pytest_llmperf import points

    def test_articles(candidate, summaries):
        assert summaries(candidate, "cnn_dailymail").rouge_l >= 0.5

    def test_as_near_as_the_baselines(candidate, baseline, summaries):
        ours, theirs = (summaries(one, "cnn_dailymail").rouge_l for one in (candidate, baseline))
        assert ours >= theirs - points(8)

    def test_they_end(candidate, summaries):
        assert summaries(candidate, "cnn_dailymail").unfinished <= 0.2
"""
INSTRUCTION_WORDS = 8


def prepare(project: Project, articles: int = 40) -> None:
    rng = random.Random(1)
    texts = [" ".join(sentence(rng) for _ in range(100)) for _ in range(articles)]
    table = {
        "article": texts,
        "highlights": [" ".join(text.split()[:7]) for text in texts],
        "id": [f"{k:03}" for k in range(articles)],
    }
    folder = project.path / "data" / "cnn_dailymail"
    folder.mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.table(table), folder / "test-00000-of-00001.parquet")
    project.write("answers.py", ANSWERS)
    said = {"ANSWERS": str(project.path / "answers.py")}
    project.catalog({"distill": said, "math": said, "worse": {**said, "SURPRISE": 2}})
    project.shrink(quality_items=40)
    project.suite(SUITE)


def test_articles_are_cut_asked_once_and_scored_with_their_references(project: Project) -> None:
    prepare(project)
    result, verdicts = project.judged("--llmperf-data", "data")
    assert result.code == 0, result.text
    assert [(one["metric"], one["status"]) for one in verdicts] == [
        ("ROUGE-L of cnn_dailymail summaries", "PASS"),
        ("ROUGE-L of cnn_dailymail summaries difference", "PASS"),
        ("unfinished cnn_dailymail summaries", "PASS"),
    ]
    assert verdicts[0]["observed"] == 1.0
    asked = [int(line) for line in (project.path / "asked.txt").read_text().split()]
    words = [count for count in asked if count > 100]  # the rest is what a start asks
    assert len(words) == 80, "each article once a row"
    assert all(ARTICLE_TOKENS - 3 <= count - INSTRUCTION_WORDS <= ARTICLE_TOKENS for count in words)
    facts = project.record()["long_answers"]
    assert [(one["row"], one["what"], one["asked"], one["counted"]) for one in facts] == [
        ("distill", "summaries cnn_dailymail", 40, True),
        ("math", "summaries cnn_dailymail", 40, True),
    ]
    assert facts[0]["items_sha256"] == facts[1]["items_sha256"]
    assert facts[0]["longest_prompt"] <= 512


def test_a_model_that_says_something_else_fails(project: Project) -> None:
    prepare(project)
    result, verdicts = project.judged("--llmperf-data", "data", "--model", "worse")
    assert result.code == 1, result.text
    assert [one["status"] for one in verdicts] == ["FAIL", "FAIL", "PASS"]


def test_a_plan_knows_them_without_data_and_a_record_how_long_they_took(project: Project) -> None:
    prepare(project)
    planned = project.run("--llmperf-plan")
    assert planned.code == 0, planned.text
    assert planned.lines("ROUGE-L of cnn_dailymail summaries", "≥ 50 %", "40 items", "not planned"), (
        planned.text
    )
    assert planned.lines("ROUGE-L of cnn_dailymail summaries difference", "≥ baseline − 8 pts"), planned.text
    project.judged("--llmperf-data", "data")
    planned = project.run("--llmperf-plan", "record.json")
    assert planned.lines("long answers"), planned.text
    tested = project.run("--llmperf-mutation-test=record.json")
    assert tested.code == 0, tested.text
    assert tested.lines("ROUGE-L of cnn_dailymail summaries difference"), tested.text


def test_what_cannot_be_asked_is_one_line_and_starts_nothing(project: Project) -> None:
    prepare(project)
    project.suite("""
        def test_unknown(candidate, summaries):
            assert summaries(candidate, "bbc").rouge_l >= 0.1
    """)
    result = project.run("--llmperf-data", "data")
    assert result.code == 1, result.text
    assert result.lines("no articles 'bbc'"), result.text
    project.suite(SUITE)
    project.shrink(quality_items=41)
    result = project.run("--llmperf-data", "data", "-k", "test_articles")
    assert result.code == 4, result.text
    assert result.lines("articles cnn_dailymail: 41 were asked for", "has 40"), result.text
    assert project.starts == []


def test_articles_have_no_facts_that_somebody_has_marked(project: Project) -> None:
    prepare(project)
    project.suite("""
        def test_facts(candidate, summaries):
            assert summaries(candidate, "cnn_dailymail").facts_kept >= 0.1
    """)
    result = project.run("--llmperf-data", "data")
    assert result.code == 1, result.text
    assert result.lines("nobody has said which facts matter", "rouge_l"), result.text
