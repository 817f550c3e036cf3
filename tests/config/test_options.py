"""Every path on the command line is relative to the directory in which pytest was called."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_llmperf.config.options import FILES, anchor, anchored, interpreter
from pytest_llmperf.errors import UsageError


def config_of(here: Path, **options: str) -> pytest.Config:
    option = SimpleNamespace(**options)
    return cast(
        pytest.Config,
        SimpleNamespace(
            option=option,
            getoption=lambda name, default=None: getattr(option, name, default),
            invocation_params=SimpleNamespace(dir=here),
        ),
    )


@pytest.mark.parametrize("name", FILES)
def test_a_path_is_taken_from_where_pytest_was_called(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", "/home/somebody")
    for written, meant in (
        ("x.toml", str(tmp_path / "x.toml")),
        ("../x", str(tmp_path.parent / "x")),
        ("/abs/x", "/abs/x"),
        ("~/x", "/home/somebody/x"),
    ):
        config = config_of(tmp_path, **{name: written})
        anchor(config)
        anchor(config)
        assert getattr(config.option, name) == meant


def test_every_option_that_takes_a_path_is_among_them(pytestconfig: pytest.Config) -> None:
    actions = pytestconfig._parser.optparser._actions
    kinds = ("PATH", "DIR", "RECORD")
    paths = {a.dest for a in actions if a.dest.startswith("llmperf_") and a.metavar in kinds}
    assert len(paths) >= 9
    assert paths == set(FILES)


def test_a_profile_is_a_path_only_where_it_is_a_file(tmp_path: Path) -> None:
    def anchored_profile(written: str) -> Any:
        config = config_of(tmp_path, llmperf_profile=written)
        anchor(config)
        return config.option.llmperf_profile

    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "models").touch()
    assert anchored_profile("gpu") == "gpu"
    assert anchored_profile("mine.toml") == str(tmp_path / "mine.toml")
    assert anchored_profile("mine.toml#night") == f"{tmp_path / 'mine.toml'}#night"
    assert anchored_profile("d/models#night") == f"{tmp_path / 'd' / 'models'}#night"
    assert anchored_profile("a/profile") == "a/profile"


def test_an_interpreter_by_name_is_left_to_the_path(tmp_path: Path) -> None:
    assert interpreter("LLMPERF_ENGINE_PYTHON", "python3.12", tmp_path) == "python3.12"
    assert interpreter("LLMPERF_ENGINE_PYTHON", "venv/bin/python", tmp_path) == str(
        tmp_path / "venv" / "bin" / "python"
    )


def test_what_can_be_no_path_is_a_mistake_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--llmperf-record='a\\x00b': a path holds no NUL"):
        anchored("--llmperf-record", "a\0b", tmp_path)
    with pytest.raises(UsageError, match="~nobody-of-this-name"):
        anchored("--llmperf-record", "~nobody-of-this-name/x", tmp_path)
