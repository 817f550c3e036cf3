"""A run that is killed while it asks, and the one after it: what was answered is not asked again, and that is said."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import textwrap
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Project

ITEMS = 60
SUITE = """
    def test_floor(candidate, accuracy):
        assert accuracy(candidate) >= 0.5
"""
ANSWERS = """
    import runpy, threading
    SOLVER = runpy.run_path({solver!r})["answer"]
    def answer(request):
        if "user: " in request["text"] and request.get("max_tokens", 0) > 100:
            with open({log!r}, "a") as file:
                file.write(request["text"].partition(chr(10))[0] + chr(10))
        return {{"text": SOLVER(request), "ttft_s": 0.05}}
"""


@pytest.fixture
def asking(project: Project, solver: str) -> Project:
    source = ANSWERS.format(solver=solver, log=str(project.path / "asked"))
    answers = str(project.write("answers.py", textwrap.dedent(source)))
    project.catalog({"distill": {"ANSWERS": answers, "RIGHT_PERCENT": 100}})
    project.suite(SUITE)
    project.shrink(items=ITEMS, in_flight=4, most_in_flight=4)
    return project


def asked(project: Project) -> Counter[str]:
    path = project.path / "asked"
    return Counter(path.read_text().splitlines()) if path.exists() else Counter()


def logged(project: Project) -> int:
    """Answers of runs that have not come to their end, read with nothing of ours."""
    path = project.path / "answers" / "answers.sqlite3"
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(path, timeout=30.0)) as database:
        query = "SELECT COUNT(*) FROM answers JOIN runs USING (run) WHERE state = 'open'"
        try:
            return int(database.execute(query).fetchone()[0])
        except sqlite3.OperationalError:  # its tables are being made
            return 0


OPTIONS = ("--llmperf-full", "--llmperf-answers", "answers")


def killed(project: Project, eventually: Callable[..., Any]) -> int:
    """Answers that a run had when it was killed."""
    running = project.start(*OPTIONS)
    eventually(lambda: logged(project) >= 10 or running.process.poll() is not None, "ten answers", 60.0)
    running.send(signal.SIGKILL)
    running.wait()
    eventually(project.is_clean, "the servers of the killed run to end", 30.0)
    there = logged(project)
    assert 10 <= there < ITEMS, running.output.read_text()
    return there


def test_a_killed_run_is_gone_on_from_and_the_next_night_is_measured_anew(
    asking: Project, eventually: Callable[..., Any]
) -> None:
    there = killed(asking, eventually)
    before = asked(asking)
    result, verdicts = asking.judged(*OPTIONS)
    assert result.code == 0, result.text
    assert verdicts[0]["n"] == ITEMS
    assert result.lines(
        f"{there} answers were not asked for anew", "a run that was interrupted", "--llmperf-reuse=none"
    )
    new = asked(asking) - before
    assert sum(new.values()) == ITEMS - there
    record = asking.record()
    assert record["answers_reused"]["count"] == record["answers"][0]["reused"] == there
    # Another night: the same models, the same engine, and nothing of what was asked before.
    before = asked(asking)
    result, _ = asking.judged(*OPTIONS)
    assert result.code == 0, result.text
    assert sum((asked(asking) - before).values()) == ITEMS
    assert asking.record()["answers_reused"]["count"] == 0
    assert "asked for anew" not in result.text
    # Who says so gets them: all at once, and told.
    before = asked(asking)
    result, _ = asking.judged(*OPTIONS, "--llmperf-reuse=all")
    assert asked(asking) == before
    assert result.lines(f"{ITEMS} answers were not asked for anew", "earlier runs")


def test_a_run_ended_by_pytest_exit_is_interrupted_whatever_its_exit_code(asking: Project) -> None:
    asking.suite(
        f"{SUITE}\n    def test_ends():\n        import pytest\n        pytest.exit('enough', returncode=0)\n"
    )
    result, _ = asking.judged(*OPTIONS)
    assert result.code == 1, result.text
    assert logged(asking) == ITEMS


def test_answers_of_an_adapter_that_was_trained_anew_in_place_are_not_gone_on_with(
    asking: Project, eventually: Callable[..., Any]
) -> None:
    adapter = asking.path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    models = asking.path / "models.toml"
    text = models.read_text()
    header = next(line for line in text.splitlines() if line.endswith(".model.distill]"))
    models.write_text(
        text.replace(f"{header}\n", f'{header}\nadd_arguments = ["--lora-modules", "t={adapter}"]\n', 1)
    )
    killed(asking, eventually)
    before = asked(asking)
    (adapter / "adapter_config.json").write_text('{"r": 16}')
    result, _ = asking.judged(*OPTIONS)
    assert result.code == 0, result.text
    assert not result.lines("answers were not asked for anew"), result.text
    assert sum((asked(asking) - before).values()) == ITEMS


def test_a_file_that_changes_while_the_run_is_going_is_told_and_is_in_the_record(asking: Project) -> None:
    plugin = asking.write("own_plugin.py", "x = 1")
    models = asking.path / "models.toml"
    text = models.read_text()
    header = next(line for line in text.splitlines() if line.endswith(".model.distill]"))
    models.write_text(
        text.replace(f"{header}\n", f'{header}\nadd_arguments = ["--tool-parser-plugin", "{plugin}"]\n', 1)
    )
    asking.suite(f"""
        def test_floor(candidate, accuracy):
            assert accuracy(candidate) >= 0.5
            open({str(plugin)!r}, "a").write("!")
    """)
    asking.shrink(items=ITEMS)
    result = asking.run("--llmperf-record", "record.json")
    assert result.code == 0, result.text
    assert result.lines("distill: ", "own_plugin.py changed while the run was going"), result.text
    record = json.loads((asking.path / "record.json").read_text())
    assert any("own_plugin.py changed" in event["text"] for event in record["events"])
    (server,) = record["servers"]
    assert len({Path(name).name: digest for name, digest in server["files"].items()}["own_plugin.py"]) == 64
    assert record["content"]["distill"] is not None


def test_reuse_none_asks_for_everything_after_an_interruption_too(
    asking: Project, eventually: Callable[..., Any]
) -> None:
    killed(asking, eventually)
    before = asked(asking)
    result, _ = asking.judged(*OPTIONS, "--llmperf-reuse=none")
    assert result.code == 0, result.text
    assert sum((asked(asking) - before).values()) == ITEMS


def test_a_server_that_died_leaves_its_answers_to_the_next_run(asking: Project) -> None:
    catalogue = asking.path / "models.toml"
    catalogue.write_text(
        catalogue.read_text().replace(
            "FAKE_ENGINE_RIGHT_PERCENT", 'FAKE_ENGINE_DIE_AFTER = "30"\nFAKE_ENGINE_RIGHT_PERCENT', 1
        )
    )
    result, verdicts = asking.judged(*OPTIONS)
    assert (result.code, verdicts[0]["status"]) == (1, "INVALID"), result.text
    assert 20 <= logged(asking) <= 30, "what was answered before is to be gone on from"
