"""A user id without a name and without HOME, as in many containers, is served or told in one line."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from pytest_llmperf import home
from pytest_llmperf.errors import UsageError
from pytest_llmperf.home import own_cache
from pytest_llmperf.serving.engine_process import child_environment
from pytest_llmperf.serving.weights import hub_cache


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A process whose user id is in no password database; returns its directory for temporary files."""

    def unknown(*_: object) -> NoReturn:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_caches_lie_in_a_private_directory_where_there_is_no_home(homeless: Path) -> None:
    assert not home.has_home({})
    assert own_cache({}).parent.parent.parent == homeless
    assert hub_cache({}).is_relative_to(homeless)
    assert home.home_directory({}).stat().st_mode & 0o077 == 0


def test_an_engine_without_a_home_is_given_one_and_a_name(homeless: Path) -> None:
    given = child_environment({"PATH": "/bin"}, {}, (), "python")
    assert Path(given["HOME"]).parent == homeless
    assert given["USER"] == given["LOGNAME"]
    own = child_environment({"HOME": "/own"}, {}, (), "python")
    assert own["HOME"] == "/own"
    assert "USER" not in own


def test_a_directory_of_that_name_that_is_not_ours_is_refused(homeless: Path) -> None:
    ours = home.home_directory({})
    ours.rmdir()
    ours.symlink_to(homeless)
    with pytest.raises(UsageError, match="belongs to another user"):
        home.home_directory({})


def test_a_tilde_without_a_home_is_one_line(homeless: Path) -> None:
    with pytest.raises(UsageError, match=r"~/models: there is no home directory"):
        home.expand("~/models")
    assert home.expand("/models") == Path("/models")


def test_a_home_that_is_set_wins() -> None:
    assert home.home_directory({"HOME": "/somewhere"}) == Path("/somewhere")
    assert home.cache_home({"HOME": "/somewhere", "XDG_CACHE_HOME": "/cache"}) == Path("/cache")


def test_a_process_whose_user_id_has_no_name_finds_its_caches(tmp_path: Path) -> None:
    homeless = ["unshare", "--user", "--map-user=54321", sys.executable]
    code = "from pytest_llmperf.serving.weights import *; print(own_cache({}), hub_cache({}))"
    environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}
    try:
        subprocess.run([*homeless, "-c", ""], check=True, capture_output=True, env=environment)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine gives no user namespace, in which a process can have an unknown user id")
    done = subprocess.run(
        [*homeless, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(f"{tmp_path}/llmperf-home-54321/.cache") == 2


def test_a_path_is_shown_as_its_user_would_write_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert home.shown(tmp_path / "runs" / "night.json") == "runs/night.json"
    assert home.shown("runs/night.json") == "runs/night.json"
    assert home.shown(tmp_path.parent / "x") == str(tmp_path.parent / "x")


def test_a_file_of_a_cache_is_written_whole_or_leaves_nothing(tmp_path: Path) -> None:
    home.write_cache(tmp_path / "new" / "a", "1")
    home.write_cache(tmp_path / "new" / "a", "2")
    assert [(path.name, path.read_text()) for path in (tmp_path / "new").iterdir()] == [("a", "2")]
    # A directory cannot be replaced by the file, a file cannot hold it.
    (tmp_path / "new" / "taken").mkdir()
    home.write_cache(tmp_path / "new" / "taken", "3")
    home.write_cache(tmp_path / "new" / "a" / "b", "4")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a", "taken"]
