"""What a reader can't see is no answer; what a reader can see is one, in every script."""

from __future__ import annotations

import pytest

from pytest_llmperf.cli.parts import tell
from pytest_llmperf.errors import UsageError
from pytest_llmperf.gates.decision import invalid
from pytest_llmperf.gates.judgement import error_of
from pytest_llmperf.visible_text import is_blank, is_invisible

STEERING = "a\x1b[2J\u202eb\x9b1A"
SHOWN = "a␛[2J[U+202E]b[U+009B]1A"

INVISIBLE = (
    "", " \n\t\r", "\u200b\u200c\u200d\ufeff", "\x00\x01\x1b", "\ufffd\ufffd", "\u2060\u00ad", "\u202a\u202e",
    "\u3164\u2800", "\ufe0f", "\u00a0\u2003\u3000", "\U000e0041\U000e0100", "\ud800",
)  # fmt: skip


@pytest.mark.parametrize("text", INVISIBLE, ids=[ascii(text) for text in INVISIBLE])
def test_characters_that_show_nothing_are_left_out(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["0", "答", "ا", "क", "é", "e\u0301", "👍", "¬", "_", "\ue000", "∅", "ㅤx"])
def test_every_script_and_symbol_is_visible(text: str) -> None:
    assert not is_blank(f"\u200b{text} ")
    assert not is_invisible(text)


def test_white_space_is_blank_but_not_invisible() -> None:
    assert not is_invisible("")
    assert not is_invisible(" \n\n")
    assert is_invisible("\u200b\n")
    assert is_invisible("\x00" * 48)


def test_errors_show_control_characters_instead_of_writing_them() -> None:
    assert str(UsageError(f"no model {STEERING}\n\tgive one")) == f"no model {SHOWN}\n\tgive one"
    assert str(UsageError("x" * 30_000)) == "x" * 30_000


def test_a_gate_s_error_shows_what_a_server_said_and_does_not_obey_it() -> None:
    verdict = invalid("accuracy", f"the server said {STEERING}", bound=0.5, n=0, unit="share")
    assert SHOWN in str(error_of(verdict))
    assert "\x1b" not in str(error_of(verdict))


def test_commands_show_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    tell([f"test_x[{STEERING}]"])
    assert capsys.readouterr().out == f"test_x[{SHOWN}]\n"
