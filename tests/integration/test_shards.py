"""``--llmperf-shard`` and ``pytest-llmperf merge``: a run on several machines ends as it does on one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.record.gate_files import load_gates
from pytest_llmperf.record.store import read_record

if TYPE_CHECKING:
    from tests.integration.conftest import Project

SUITES = {
    "test_answers.py": """
        from pytest_llmperf import points
        import pytest
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.8
        def test_close(candidate, accuracy):
            assert accuracy(candidate) >= 0.9
        def test_not_worse(candidate, baseline, accuracy):
            assert accuracy(candidate) >= accuracy(baseline) - points(8)
        def test_too_much(candidate, accuracy):
            assert accuracy(candidate) >= 0.98
        @pytest.mark.llmperf_advisory("tried for a week")
        def test_tried(candidate, accuracy):
            assert accuracy(candidate) >= 0.99
    """,
    "test_shown.py": """
        def test_boxed(candidate, answers):
            assert answers(candidate).boxed >= 0.5
    """,
    "test_alive.py": """
        def test_replies(candidate, openai_client):
            assert candidate.name
    """,
    "test_plain.py": """
        def test_of_no_model():
            assert True
    """,
}
NIGHT = ("--llmperf-order", "7", "--llmperf-reuse", "none")
COMPARED = (
    "test",
    "status",
    "metric",
    "n",
    "interval",
    "observed",
    "bound",
    "why",
    "detail",
    "waived",
    "advisory",
    "p_value",
)


def verdicts(path: Path) -> list[dict[str, Any]]:
    """Verdicts of a record, as far as two runs of one night must agree on them."""
    found = json.loads(path.read_text(encoding="utf-8"))["verdicts"]
    return [{key: verdict[key] for key in COMPARED} for verdict in found]


@pytest.fixture(scope="module")
def nights(shared_project: Project, solver: str) -> Project:
    """A project with the record ``whole.json`` of one run, and those of one, two and four shards."""
    project = shared_project
    project.catalog(
        {
            "distill": {"ANSWERS": solver, "RIGHT_PERCENT": 88},
            "math": {"ANSWERS": solver, "RIGHT_PERCENT": 88},
        }
    )
    for name, source in SUITES.items():
        project.suite(source, name)
    project.write(
        "budgets.toml",
        '[waive."test_answers.py::test_too_much[distill]"]\nuntil = 2099-01-01\nreason = "known"\n',
    )
    project.shrink(items=200)
    whole = project.run("--llmperf-record", "whole.json", *NIGHT)
    assert whole.code == 1, whole.text
    for of in (1, 2, 4):
        for number in range(1, of + 1):
            given = ("--llmperf-shard", f"{number}/{of}", "--llmperf-record", f"{of}-{number}.json")
            result = project.run(*given, *NIGHT)
            assert result.lines(f"shard {number}/{of} has"), result.text
            assert not result.lines("INVALID as a whole"), result.text
    return project


def shards(project: Project, of: int) -> list[str]:
    return [str(project.path / f"{of}-{number}.json") for number in range(1, of + 1)]


@pytest.mark.parametrize("of", [1, 2, 4])
def test_merged_shards_are_the_run_on_one_machine(
    nights: Project, of: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "merged.json"
    code = main(["merge", *shards(nights, of), "--out", str(out), "--references", str(tmp_path)])
    told = capsys.readouterr().out
    whole = nights.path / "whole.json"
    assert verdicts(out) == verdicts(whole), told
    merged, single = read_record(out), read_record(whole)
    assert merged.outcome == single.outcome
    assert code == 1
    assert merged.suite == single.suite
    assert [(t.test, t.outcome) for t in merged.tests] == [(t.test, t.outcome) for t in single.tests]
    assert [(g.test, g.status, g.gate) for g in load_gates(out, merged)] == [
        (g.test, g.status, g.gate) for g in load_gates(whole, single)
    ]
    assert {(m.row, m.metric, m.value, m.interval, m.n) for m in merged.metrics} == {
        (m.row, m.metric, m.value, m.interval, m.n) for m in single.metrics
    }
    assert [shard.number for shard in merged.shards] == list(range(1, of + 1))
    assert "<title>" in out.with_suffix(".html").read_text(encoding="utf-8")


def test_each_test_runs_in_one_shard_and_no_answer_is_asked_twice(nights: Project) -> None:
    ran = [test.test for path in shards(nights, 4) for test in read_record(Path(path)).tests]
    assert sorted(ran) == sorted(read_record(nights.path / "whole.json").suite.tests)
    asked = [entry.key for path in shards(nights, 4) for entry in read_record(Path(path)).answers]
    assert len(asked) == len(set(asked))


def test_merge_writes_the_files_that_a_run_writes(nights: Project, tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("m.md", "m.prom", "m.xml")]
    given = zip(("--markdown", "--metrics", "--junitxml"), map(str, outputs), strict=True)
    out = str(tmp_path / "merged.json")
    main(["merge", *shards(nights, 2), "--out", out, *(word for pair in given for word in pair)])
    markdown, metrics, junit = (path.read_text(encoding="utf-8") for path in outputs)
    assert "FAIL" in markdown
    assert "llmperf_run_green 0.0" in metrics or "llmperf_run_green 0\n" in metrics
    suite = ElementTree.fromstring(junit).find("testsuite")
    assert suite is not None
    failed = [case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None]
    assert "test_close[distill]" in failed or suite.get("failures") == "1"
    assert not any("test_tried" in (name or "") or "test_too_much" in (name or "") for name in failed)


def changed(path: Path, directory: Path, name: str, **fields: object) -> str:
    """A copy of a shard's record with other values at dotted ``fields`` (``environment__plugin``)."""
    for beside in path.parent.glob(f"{path.stem}.*"):
        shutil.copy(beside, directory / beside.name)
    record = json.loads(path.read_text(encoding="utf-8"))
    for key, value in fields.items():
        *outer, last = key.split("__")
        inner = record
        for step in outer:
            inner = inner[int(step) if isinstance(inner, list) else step]
        inner[last] = value
    made = directory / f"{name}.json"
    made.write_text(json.dumps(record), encoding="utf-8")
    return str(made)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"order_seed": 8}, "other --llmperf-order than"),
        ({"order_seed": None}, "does not say its seed"),
        ({"environment__plugin": "0.0.9"}, "other version of pytest-llmperf than"),
        (
            {"environment__git": {"commit": "c" * 40, "changed": True, "diff_sha256": "d" * 64}},
            "other commit than",
        ),
        ({"rows__distill": "0123456789abcdef"}, "row distill of the catalogue is not that of"),
        ({"shard__of": 3}, "other number of shards than"),
        ({"shard__number": 1}, "is there twice"),
        ({"shard__suite__sha256": "0" * 64}, "other content of the suite's files than"),
        ({"shard__suite__tests": ["test_other.py::test_it"]}, "other selection of tests than"),
        ({"partial": "the run was interrupted"}, "is not complete: the run was interrupted"),
        ({"run__problems": ["pytest itself failed"]}, "pytest itself failed"),
        ({"run": None}, "does not say how its run ended"),
        (
            {"run__green": False, "verdicts": [], "run__checks": 1},
            "for a reason that the record does not tell",
        ),
        ({"device": {"class": "H100", "name": "NVIDIA H100"}}, "other device than"),
        ({"sizes__items": 100}, "other sizes than"),
        ({"tests": []}, "stand in no record"),
        ({"shard": None}, "is the record of a whole run"),
        ({"answers_file": None}, "has no table of its answers"),
        ({"cases": {"file": "gone.parquet", "sha256": "0" * 64, "count": 3}}, "cannot be read"),
    ],
)
def test_what_is_not_one_whole_run_is_invalid_with_the_name(
    nights: Project, fields: dict[str, object], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = shards(nights, 2)
    other = changed(Path(second), tmp_path, "other", **fields)
    out = tmp_path / "merged.json"
    code = main(["merge", first, other, "--out", str(out), "--references", str(tmp_path)])
    told = capsys.readouterr().out
    assert code == 1, told
    record = read_record(out)
    assert record.outcome.status is Status.INVALID
    problems = record.run.problems if record.run else ()
    assert any(why in problem for problem in problems), problems
    assert any("other.json" in problem or "record" in problem for problem in problems)


def test_other_items_and_weights_are_invalid(nights: Project, tmp_path: Path) -> None:
    asked = next(path for path in shards(nights, 2) if read_record(Path(path)).answers)
    (tmp_path / "a").mkdir()
    for fields, why in (
        ({"answers__0__source_sha256": "0" * 64}, "the items of embedded"),
        ({"servers__0__weights_sha256": "0" * 64}, "weights (SHA-256) of"),
    ):
        # Beside the record that has them, another of the same shard.
        other = changed(Path(asked), tmp_path / "a", "other", **fields)
        out = tmp_path / "merged.json"
        shard = read_record(Path(asked)).shard
        assert shard is not None
        twice = changed(Path(other), tmp_path, "twice", shard__number=3 - shard.number)
        assert main(["merge", asked, twice, "--out", str(out), "--references", str(tmp_path)]) == 1
        run = read_record(out).run
        assert run is not None
        assert any(why in problem for problem in run.problems), run.problems


def test_a_missing_shard_is_invalid(nights: Project, tmp_path: Path) -> None:
    out = tmp_path / "merged.json"
    first, _, *rest = shards(nights, 4)
    assert main(["merge", first, *rest, "--out", str(out), "--references", str(tmp_path)]) == 1
    run = read_record(out).run
    assert run is not None
    assert "1 shard of 4 missing: 2" in run.problems[0]
    assert read_record(out).outcome.status is Status.INVALID


def test_files_that_are_no_records_of_shards_are_refused(
    nights: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = str(nights.path / "whole.json")
    assert main(["merge", whole, str(tmp_path / "gone.json"), "--out", str(tmp_path / "m.json")]) == 4
    told = capsys.readouterr().err
    assert "whole.json is the record of a whole run" in told
    assert "gone.json cannot be read" in told
    first, second = shards(nights, 2)
    assert main(["merge", first, second, "--out", first]) == 4


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("--llmperf-shard", "1/2", "--llmperf-record", "r.json"), "needs --llmperf-order SEED"),
        (("--llmperf-shard", "1/2", *NIGHT), "needs --llmperf-record PATH"),
        (("--llmperf-shard", "3/2", *NIGHT), "must be i/n with 1 ≤ i ≤ n"),
        (("--llmperf-shard", "0/2", *NIGHT), "must be i/n with 1 ≤ i ≤ n"),
        (("--llmperf-shard", "two", *NIGHT), "must be i/n with 1 ≤ i ≤ n"),
    ],
)
def test_a_shard_that_could_not_be_merged_is_refused_at_once(
    nights: Project, given: tuple[str, ...], why: str
) -> None:
    nights.drawn = True
    result = nights.run(*given)
    nights.drawn = False
    assert result.code == 4, result.text
    assert result.lines(why), result.text


def test_a_failure_outside_the_gates_of_a_shard_makes_the_merged_run_red(
    project: Project, tmp_path: Path
) -> None:
    project.suite("def test_replies(candidate):\n    assert candidate.name\n", "test_alive.py")
    project.suite("def test_of_no_model():\n    assert False\n", "test_plain.py")
    paths = []
    for number in (1, 2):
        record = f"{number}.json"
        project.run("--llmperf-shard", f"{number}/2", "--llmperf-record", record, *NIGHT)
        paths.append(str(project.path / record))
    out = tmp_path / "merged.json"
    assert main(["merge", *paths, "--out", str(out), "--references", str(tmp_path)]) == 1
    assert read_record(out).outcome.status is Status.INVALID


def test_a_shard_under_xdist_has_the_same_tests(nights: Project) -> None:
    result = nights.run_with_workers(2, "--llmperf-shard", "2/2", "--llmperf-record", "workers.json", *NIGHT)
    alone, workers = (read_record(nights.path / name) for name in ("2-2.json", "workers.json"))
    assert [t.test for t in alone.tests] == [t.test for t in workers.tests], result.text
    assert alone.shard == workers.shard
