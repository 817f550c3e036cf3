"""Long contexts in suites: as long as asked for, green on a server that reads all, red on one that cuts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.conftest import Project

# Solves what it reads. One that cuts leaves out the middle of what it reads, as an engine with a short window would.
ANSWERS = r"""
import collections, os, re
def answer(request):
    text = request["text"]
    if os.environ.get("FAKE_ENGINE_SURPRISE") == "2":
        text = text[: len(text) // 4] + text[-len(text) // 4 :]
    codes = dict(re.findall(r"The code of the (\w+ \w+) is (\d+)", text))
    question = text[text.rfind("\n\n") :]
    if "have the value" in question:
        value = re.search(r"have the value (\d+)", question)[1]
        values = {}
        for name, given in re.findall(r"Set (\w+) = (\w+)\.", text):
            values[name] = values.get(given, given)
        found = [name for name, given in values.items() if given == value]
    elif "stand most often" in question:
        words = re.findall(r"[a-z]+", text.split("\n\n")[1])
        found = [word for word, _ in collections.Counter(words).most_common(5)]
    else:
        found = [code for name, code in codes.items() if name in question]
    return "They are \\boxed{" + ", ".join(found) + "}."
"""
SUITE = """
    import pytest
    from pytest_llmperf import points

    @pytest.mark.parametrize("kind", ["needle", "needles", "variables", "words"])
    def test_kept(candidate, recall, kind):
        assert recall(candidate, kind, tokens=4096) >= 0.75

    def test_as_well_as_the_baseline(candidate, baseline, recall):
        theirs = recall(baseline, "needles", tokens=4096)
        assert recall(candidate, "needles", tokens=4096) >= theirs - points(25)
"""


def prepare(project: Project, **knobs: object) -> None:
    said = {"ANSWERS": project.answers(ANSWERS), **knobs}
    project.catalog({"distill": said, "math": said, "cuts": {**said, "SURPRISE": 2}})
    catalog = (project.path / "models.toml").read_text()
    project.write("models.toml", catalog.replace("max_model_len = 2048", "max_model_len = 8192"))
    config = json.loads((project.path / "weights" / "config.json").read_text())
    (project.path / "weights" / "config.json").write_text(
        json.dumps(config | {"max_position_embeddings": 8192})
    )
    project.shrink(quality_items=24)
    project.suite(SUITE)


def test_a_server_that_reads_all_is_green_at_the_length_asked_for(project: Project) -> None:
    prepare(project)
    result, verdicts = project.judged()
    assert result.code == 0, result.text
    assert [(one["metric"], one["status"]) for one in verdicts] == [
        ("recall of a needle over 4096 tokens", "PASS"),
        ("recall of needles over 4096 tokens", "PASS"),
        ("recall of variables over 4096 tokens", "PASS"),
        ("recall of frequent words over 4096 tokens", "PASS"),
        ("recall of needles over 4096 tokens", "PASS"),
    ]
    entries = project.record()["long_answers"]
    kinds = ("needle", "needles", "variables", "words")
    assert {one["what"] for one in entries} == {f"{kind} 4096 tokens" for kind in kinds}
    for one in entries:
        assert 0.98 * 4096 <= one["longest_prompt"] <= 4096
        assert one["tokens"] == 4096
    needles = next(one for one in entries if one["what"] == "needles 4096 tokens")
    assert len(needles["depths"]) == 5
    assert sum(part["facts"] for part in needles["depths"]) == 4 * needles["asked"]
    page = (project.path / "record.html").read_text()
    assert "Long contexts" in page
    assert "needles 4096 tokens" in page


def test_a_server_that_cuts_the_middle_is_red_and_the_record_says_where(project: Project) -> None:
    prepare(project)
    result, verdicts = project.judged("--model", "cuts")
    assert result.code == 1, result.text
    assert {one["status"] for one in verdicts if "words" not in one["metric"]} == {"FAIL"}, verdicts
    entries = project.record()["long_answers"]
    (entry,) = (one for one in entries if (one["row"], one["what"]) == ("cuts", "needles 4096 tokens"))
    parts = [part["right"] / part["facts"] for part in entry["depths"]]
    assert parts[2] < 0.1 < 0.9 < min(parts[0], parts[4])


def test_a_length_that_the_context_has_no_room_for_is_refused_with_numbers(project: Project) -> None:
    prepare(project)
    project.suite("""
        def test_too_long(candidate, recall):
            assert recall(candidate, "needles", tokens=8192) >= 0.5
    """)
    for options in ((), ("--llmperf-plan",)):
        result = project.run(*options)
        assert result.lines(
            "8,192 tokens and 256 for the reply, its max_model_len is 8,192", "7,936 tokens at most"
        ), result.text
        assert result.code == (0 if options else 1)


def test_a_plan_tells_memory_and_minutes_of_long_prompts_before_any_server(project: Project) -> None:
    prepare(project)
    config = json.loads((project.path / "weights" / "config.json").read_text())
    shapes = {
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "hidden_size": 1536,
    }
    (project.path / "weights" / "config.json").write_text(json.dumps(config | shapes))
    project.suite("""
        def test_kept(candidate, recall):
            assert recall(candidate, "needles", tokens=6000) >= 0.75
    """)
    record = {
        "schema": "llmperf-record/1",
        "profile": "test",
        "device": {"name": "CPU"},
        "servers": [{"row": "distill", "ready_s": 3.0}],
        "long_answers": [
            {
                "row": "distill", "what": "needles 1000 tokens", "tokens": 1000, "data": "generated", "prompts": 24,
                "asked": 24, "errors": 0, "longest_prompt": 1000, "completion_tokens": 1, "seconds": 24.0,
            }
        ],
        "verdicts": [],
    }  # fmt: skip
    project.write("record.json", json.dumps(record))
    result = project.run("--llmperf-plan=record.json")
    assert result.code == 0, result.text
    assert project.starts == []
    # 28 layers of 2 heads of 128 numbers, key and value of 16 bits, are 28,672 bytes a token
    assert result.lines(
        "memory: distill, needles 6000 tokens: 24 in flight need 4.30 GB of key-value cache"
    ), result.text
    assert result.lines("1.07 GB (as the row has it) hold 5 of them"), result.text
    assert result.lines("distill needles 6000 tokens is estimated from 1,000 prompt tokens a second"), (
        result.text
    )
    assert result.lines("minutes: at most 2.5 (starts 0.1, long answers 2.4)"), result.text


def test_a_server_without_a_tokenizer_is_asked_how_long_one_prompt_is(project: Project) -> None:
    prepare(project, TOKENIZE=0)
    result, _ = project.judged("-k", "as_well")
    assert result.code == 0, result.text
    for entry in project.record()["long_answers"]:
        assert 0.98 * 4096 <= entry["longest_prompt"] <= 1.02 * 4096
