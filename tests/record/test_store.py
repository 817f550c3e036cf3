from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.record import SCHEMA
from pytest_llmperf.record.store import RecordNotWritten, read_record, write_record


def test_what_is_written_is_read_back_with_its_schema(tmp_path: Path) -> None:
    write_record(tmp_path / "deep" / "record.json", {"candidates": ["a", "b"]})
    fields = read_record(tmp_path / "deep" / "record.json").as_json()
    assert fields == {"schema": SCHEMA, "candidates": ["a", "b"]}


def test_a_full_disk_is_one_clear_line_and_leaves_the_old_record(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_record(path, {"night": 1})
    # A limit on the size of files is the disk that is full for this one process. -B: it also cuts off the bytecode of
    # what is imported behind it, which every later process would read.
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from pytest_llmperf.record.store import RecordNotWritten, write_record\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try:\n    write_record(Path(sys.argv[1]), {'night': 2, 'much': 'x' * 10_000})\n"
        "except RecordNotWritten as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("\n") == 1
    assert "was not written" in done.stdout
    assert "--llmperf-record" in done.stdout
    assert read_record(path).as_json()["night"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"], "a part of the new record was left behind"


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "record.json", tmp_path / "file" / "deep" / "record.json"):
        with pytest.raises(RecordNotWritten) as caught:
            write_record(path, {})
        assert f"to {path}: {tmp_path / 'file'} is a file, not a directory" in str(caught.value)
        assert "space" not in str(caught.value)


def test_not_a_number_never_enters_a_record(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_record(tmp_path / "record.json", {"x": float("nan")})


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"schema": "llmperf-record/0"})])
def test_a_record_of_another_kind_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(LlmperfError, match=r"record\.json"):
        read_record(tmp_path / "record.json")


def test_half_a_surrogate_pair_is_written_as_what_it_is_not(tmp_path: Path) -> None:
    write_record(tmp_path / "record.json", {"said": "a\ud83d\ude00b\ud800c"})
    assert read_record(tmp_path / "record.json").as_json()["said"] == "a\U0001f600b�c"


def test_a_record_may_be_read_by_whom_the_umask_allows(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    write_record(tmp_path / "record.json", {})
    assert (tmp_path / "record.json").stat().st_mode == plain.stat().st_mode
