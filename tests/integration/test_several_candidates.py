"""Several candidates in one session: one start of the baseline, and one candidate at a time beside it."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.cli import main
from tests.integration.conftest import ONLY_OURS
from tests.integration.played_gpu import beside_the_gpu, played_rows

if TYPE_CHECKING:
    from tests.integration.conftest import Project, Result

TWO = ("--model", "first", "--model", "second")
ANSWERS = """
import json, os
def answer(request):
    with open(os.path.join(os.path.dirname(__file__), "asked.jsonl"), "a") as file:
        file.write(json.dumps([request["model"], request["text"], request["max_tokens"]]) + "\\n")
    return "The answer is \\\\boxed{42}."
"""
UP = """
    import re
    from pathlib import Path

    import pytest

    HERE = str(Path(__file__).parent)

    def up():
        found = set()
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = command.read_text().split("\\0")
            except OSError:
                continue
            if "--served-model-name" in words and any(HERE in word for word in words):
                found.add(words[words.index("--served-model-name") + 1])
        return sorted(found)
"""
"""A module for the inner run: the rows whose servers run."""
NOTES = """
    from up import up
    from pathlib import Path
    import pytest

    @pytest.fixture(autouse=True)
    def note(request):
        yield
        with Path("up.txt").open("a") as file:
            file.write(f"{request.node.name}: {' '.join(up())}\\n")
"""
"""Goes before a suite: after each test, the servers that run are written down."""
ACCURACY = (
    NOTES
    + """
    from pytest_llmperf import points

    def test_baseline_alone(baseline, accuracy):
        assert accuracy(baseline) >= 0.0

    def test_floor(candidate, accuracy):
        assert accuracy(candidate) >= 0.0

    def test_flips(candidate, baseline, flips):
        assert flips(candidate, baseline) <= 0.2
"""
)
SPEED = (
    NOTES
    + """
    def test_speed(candidate, baseline, load):
        assert load.interleaved(candidate, baseline, concurrency=2).e2el.ratio <= 50
"""
)


def prepare(project: Project, **knobs: dict[str, object]) -> None:
    said: dict[str, object] = {"ANSWERS": project.answers(ANSWERS)}
    project.catalog({name: said | knobs.get(name, {}) for name in ("first", "second", "math")})
    project.shrink(items=20, rounds=6, prompt_tokens=64, answer_tokens=8)
    project.suite(UP, "up.py")
    project.suite(ACCURACY, "test_accuracy.py")
    project.suite(SPEED, "test_speed.py")


def servers_after(project: Project) -> list[tuple[str, list[str]]]:
    """By test, in the order of the run: the rows whose servers ran at its end."""
    lines = (project.path / "up.txt").read_text().splitlines()
    return [(test, rows.split()) for test, _, rows in (line.partition(": ") for line in lines)]


@pytest.fixture(scope="module")
def night(shared_project: Project) -> Result:
    prepare(shared_project)
    result, _ = shared_project.judged(*TWO)
    return result


def test_the_baseline_starts_once_and_one_candidate_at_a_time_is_beside_it(
    night: Result, shared_project: Project
) -> None:
    assert night.code == 0, night.text
    assert Counter(shared_project.starts) == {"first": 1, "second": 1, "math": 1}
    seen = servers_after(shared_project)
    assert [test for test, _ in seen if "first" in test] == [
        f"test_{name}[first]" for name in ("floor", "flips", "speed")
    ]
    for test, rows in seen:
        for other, candidate in (("second", "first"), ("first", "second")):
            if candidate in test:
                assert other not in rows, seen
    names = [test for test, _ in seen if "[" in test]
    assert names == sorted(names, key=lambda test: "second" in test), "a candidate's tests are together"


def test_the_record_has_the_servers_that_ended_before_the_run_did(
    night: Result, shared_project: Project
) -> None:
    assert night.code == 0
    servers = {server["row"]: server for server in shared_project.record()["servers"]}
    assert sorted(servers) == ["first", "math", "second"]
    for server in servers.values():
        assert len(server["every_ready_s"]) == 1
        assert server["template_sha256"]
        assert server["crashes"] == 0


def test_the_baselines_answers_are_asked_for_once(night: Result, shared_project: Project) -> None:
    assert night.code == 0
    lines = (shared_project.path / "asked.jsonl").read_text().splitlines()
    # The check of the prompts asks for one token, and a load for eight.
    whole = [(row, text) for row, text, longest in map(json.loads, lines) if longest > 8]
    assert Counter(Counter(whole).values()) == {1: 3 * 20}, "twenty items of three rows, each asked once"
    assert Counter(row for row, _ in whole) == {"first": 20, "second": 20, "math": 20}
    assert {entry["row"]: entry["items"] for entry in shared_project.record()["answers"]} == {
        "first": 20,
        "second": 20,
        "math": 20,
    }


def test_speed_is_measured_in_turn_with_the_baseline_for_each_candidate(
    night: Result, shared_project: Project
) -> None:
    assert night.code == 0
    rounds = {entry["row"]: len(entry["rounds"]) for entry in shared_project.record()["load"]}
    assert rounds == {"first": 6, "second": 6, "math": 12}


def test_failed_tests_first_does_not_mix_the_candidates(project: Project) -> None:
    prepare(project)
    project.suite(
        NOTES
        + """
    def test_a(candidate, accuracy):
        assert accuracy(candidate) >= 0.0

    def test_z(candidate, accuracy):
        assert accuracy(candidate) >= 0.99
    """,
        "test_gate.py",
    )
    options = tuple(word for word in ONLY_OURS if word != "no:cacheprovider")[:-1]
    assert project.run(*TWO, "test_gate.py", options=options).code == 1
    (project.path / "up.txt").unlink()
    project.run(*TWO, "test_gate.py", "--failed-first", options=options)
    assert servers_after(project) == [
        ("test_z[first]", ["first"]),
        ("test_a[first]", ["first"]),
        ("test_z[second]", ["second"]),
        ("test_a[second]", ["second"]),
    ]


def test_a_gpu_with_room_for_two_serves_a_night_of_three_candidates(project: Project) -> None:
    prepare(project)
    more = "\n".join(
        f'        [profile.played.model.{row}]\n        extends = "distill"' for row in TWO[1::2]
    )
    project.catalog(rows=played_rows(fraction=0.45) + more)
    project.suite(ACCURACY, "test_accuracy.py")
    keywords = beside_the_gpu(project)
    with (project.path / "played.py").open("a") as played:
        # What runs holds its 45 %: the checks before a start see what is left.
        played.write("""
from up import up
def devices(self):
    used = gpu.GIB + 36 * gpu.GIB * len(up())
    return [gpu.Device(0, "NVIDIA H100 80GB HBM3", "GPU-0", 80 * gpu.GIB, used, 80 * gpu.GIB - used)]
Played.devices = devices
""")
    three = (*TWO, "--model", "distill")
    result, verdicts = project.judged(
        "-p", "played", "--llmperf-profile", "played", *three, "test_accuracy.py", **keywords
    )
    assert {verdict["status"] for verdict in verdicts} == {"PASS"}, result.text
    assert result.code == 0
    assert Counter(project.starts) == {"first": 1, "second": 1, "distill": 1, "math": 1}


def test_a_candidate_that_does_not_start_leaves_the_others_their_verdicts(project: Project) -> None:
    prepare(project, first={"FAIL": "no such kernel"})
    project.suite(
        """
    def test_recall(candidate, baseline, recall):
        assert recall(candidate, "needles", tokens=1024) >= 0.0
        assert recall(baseline, "needles", tokens=1024) >= 0.0
    """,
        "test_long.py",
    )
    result, verdicts = project.judged(*TWO)
    by_candidate = {row: {v["status"] for v in verdicts if f"[{row}]" in v["test"]} for row in TWO[1::2]}
    assert by_candidate == {"first": {"INVALID"}, "second": {"PASS"}}, result.text
    assert result.code == 1
    assert project.record()["run"]["status"] == "INVALID"
    assert result.lines("llmperf: first: ", "4 INVALID; INVALID: "), result.text
    assert result.lines("llmperf: second: 5 PASS")


def test_shards_of_several_candidates_are_merged_into_one_overview(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(project, first={"ANSWER": "I do not know."})
    project.suite(
        """
    def test_floor(candidate, accuracy):
        assert accuracy(candidate) >= 0.5
    """,
        "test_accuracy.py",
    )
    project.suite(
        """
    def test_words(candidate, answers):
        assert answers(candidate).unfinished <= 0.2
    """,
        "test_words.py",
    )
    for number in (1, 2):
        shard = ("--llmperf-shard", f"{number}/2", "--llmperf-record", f"shard-{number}.json")
        project.run(*TWO, *shard, "test_accuracy.py", "test_words.py")
    assert Counter(project.starts) == {"first": 1, "second": 1}, "each shard has one candidate"
    records = [str(project.path / f"shard-{number}.json") for number in (1, 2)]
    code = main(["merge", *records, "--out", str(project.path / "record.json")])
    told = capsys.readouterr().out
    assert code == 1
    assert "first: 1 FAIL, 1 PASS; FAIL: " in told
    assert "second: 1 FAIL, 1 PASS" in told
    page = (project.path / "record.html").read_text()
    assert page.index('<section id="overview"') < page.index('<section id="gates"')
    assert {test["candidate"] for test in project.record()["tests"]} == {"first", "second"}


@pytest.mark.slow
def test_several_starts_are_of_the_candidate_whose_turn_it_is(project: Project) -> None:
    prepare(project)
    result, verdicts = project.judged(*TWO, "test_speed.py", "--llmperf-starts", "3", timeout_s=120)
    assert [(v["starts"], v["status"]) for v in verdicts] == [(3, "PASS"), (3, "PASS")], result.text
    order = project.starts
    turn = [row for row in order if row != "math"]
    assert turn == ["first"] * 3 + ["second"] * 3, order
    assert order.count("math") == 5, "three for the first candidate, and two more for the second"
