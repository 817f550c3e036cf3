"""What a reader can't see is no answer; what a reader can see is one, in every script."""

from __future__ import annotations

import pytest

from pytest_llmperf.visible_text import is_blank, is_invisible

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
