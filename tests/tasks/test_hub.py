"""Data sets from the hub: the pinned ones, in another process, and nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.errors import DataError
from pytest_llmperf.tasks.grading.number import gold_number
from pytest_llmperf.tasks.source import DataFile, HubSplit
from pytest_llmperf.tasks.task import Item, Task, load_items

ROWS = [{"id": f"mine-{n}", "question": f"{n} + 1?", "answer": str(n + 1)} for n in range(9)]


@dataclass(frozen=True)
class Hub:
    """A package ``datasets`` that stands before the real one on the path, and writes down how it is called."""

    directory: Path

    def answers(self, body: str) -> None:
        (self.directory / "datasets.py").write_text(
            "import json, os, pathlib, threading\n"
            f"here = pathlib.Path({str(self.directory)!r})\n"
            "def load_dataset(*args, **kwargs):\n"
            "    (here / 'called').write_text(json.dumps([os.getpid(), *args, kwargs]))\n"
            "    print('Generating test split: 1 of 1')\n"
            f"    {body}\n"
        )

    @property
    def called(self) -> list[Any]:
        """The process, and the arguments; empty before the call."""
        file = self.directory / "called"
        return list(json.loads(file.read_text() or "[]")) if file.exists() else []


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    directory = tmp_path / "hub"
    directory.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(directory))
    made = Hub(directory)
    made.answers(f"return {ROWS!r}")
    return made


def mine(split: HubSplit, **more: Any) -> Task:
    source = DataFile(
        path="mine/test.jsonl",
        item=lambda row, _: Item(row["id"], row["question"], row["answer"]),
        fetch="cp mine.jsonl DIR/mine/test.jsonl",
        hub=split,
        **more,
    )
    return Task(name="mine", source=source, check_gold=gold_number)


def test_without_a_data_directory_the_hub_is_asked_for_the_pinned_revision(hub: Hub) -> None:
    items = load_items(mine(HubSplit("org/mine", "main", "test", "abc123", count=9)))
    assert sorted(item.id for item in items) == [row["id"] for row in ROWS]
    process, *arguments = hub.called
    assert process != os.getpid()
    assert arguments == ["org/mine", "main", {"revision": "abc123", "split": "test"}]


def test_only_one_shard_of_a_large_corpus_is_asked_for(hub: Hub) -> None:
    load_items(mine(HubSplit("org/mine", None, "test", "abc", files="en/0.json.gz")))
    assert hub.called[-1]["data_files"] == {"test": "en/0.json.gz"}


def test_items_that_the_hub_has_in_another_order_come_in_the_same_one(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "mine" / "test.jsonl"
    file.parent.mkdir()
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    hub.answers(f"return {ROWS[::-1]!r}")
    task = mine(HubSplit("org/mine", None, "train+test", "abc123"), by_id=True)
    assert load_items(task) == load_items(task, tmp_path)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('raise ConnectionError("Couldn\'t reach\\nthe hub")', "(ConnectionError: Couldn't reach the hub)"),
        ("os.kill(os.getpid(), 9)", "(the process that loads it ended with exit code -9)"),
        ("return [threading.Lock()]", "(TypeError: cannot pickle"),
    ],
)
def test_what_keeps_the_hub_from_being_loaded_is_one_line_with_the_way_round_it(
    body: str, reason: str, hub: Hub
) -> None:
    hub.answers(body)
    with pytest.raises(DataError) as caught:
        load_items(mine(HubSplit("org/mine", None, "test", "abc123")))
    said = str(caught.value)
    assert f"org/mine [test] at abc123: can't be loaded from the hub {reason}" in said
    assert "cp mine.jsonl DIR/mine/test.jsonl and --llmperf-data DIR" in said
    assert "\n" not in said


def test_a_package_that_cannot_be_imported_is_named_with_the_command_that_brings_it(hub: Hub) -> None:
    (hub.directory / "datasets.py").write_text("import no_such_thing")
    with pytest.raises(
        DataError, match=r"datasets can't be imported .*no_such_thing.*; pip install datasets"
    ):
        load_items(mine(HubSplit("org/mine", None, "test", "abc")))


def test_a_hub_split_of_another_size_is_refused(hub: Hub) -> None:
    with pytest.raises(DataError, match="has 9 rows, needs 1319"):
        load_items(mine(HubSplit("org/mine", None, "test", "abc", count=1319)))


def test_the_loading_ends_when_whoever_asked_for_it_is_killed(
    hub: Hub, eventually: Callable[..., Any]
) -> None:
    hub.answers("threading.Event().wait(60)")
    script = (
        "from pytest_llmperf.tasks.source import HubSplit\n"
        "HubSplit('org/mine', None, 'test', 'abc').rows('cp mine.jsonl DIR')\n"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(hub.directory)])
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": path}) as parent:
        loading = eventually(lambda: hub.called, "datasets is called")[0]
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{loading}").exists(), f"process {loading} has ended")


def test_neither_the_library_nor_a_thread_of_it_stays_in_this_process(tmp_path: Path) -> None:
    """The real ``datasets`` on a real Parquet file; its threads can abort the end of a process (exit code 134)."""
    folder = tmp_path / "mine"
    folder.mkdir()
    script = (
        "import os, pathlib, sys, pyarrow, pyarrow.parquet\n"
        "from pytest_llmperf.parquet_reading import read_parquet\n"
        "from pytest_llmperf.tasks.source import HubSplit\n"
        f"rows = {ROWS!r}\n"
        "pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sys.argv[1] + '/test.parquet')\n"
        "threads = set(os.listdir('/proc/self/task'))\n"
        "assert HubSplit(sys.argv[1], None, 'test', 'main', count=9).rows('') == rows\n"
        "assert read_parquet(pathlib.Path(sys.argv[1], 'test.parquet').read_bytes()) == rows\n"
        "assert 'datasets' not in sys.modules\n"
        "more = set(os.listdir('/proc/self/task')) - threads\n"
        "assert not more, [pathlib.Path(f'/proc/self/task/{one}/comm').read_text() for one in more]\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
