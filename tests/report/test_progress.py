"""The live line on a terminal, as an emulator of one shows it."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass, field

import pyte
import pytest

from pytest_llmperf.report.progress import ProgressLine

COLUMNS = 40


@dataclass
class Terminal:
    """A screen and pytest's writer in front of it; ``now`` is the clock."""

    rows: int = 6
    now: float = 0.0
    line: str = ""
    screen: pyte.Screen = field(init=False)
    written: list[str] = field(default_factory=list)
    fullwidth: int = COLUMNS

    def __post_init__(self) -> None:
        self.screen = pyte.Screen(COLUMNS, self.rows)
        # What the kernel's terminal does with the end of a line.
        self.screen.set_mode(pyte.modes.LNM)
        self._stream = pyte.Stream(self.screen)

    @property
    def width_of_current_line(self) -> int:
        return len(self.line)

    def write(self, text: str) -> None:
        """As pytest's writer does it: it knows the line that it has written."""
        self.line = (self.line + text).rsplit("\n", 1)[-1]
        self._stream.feed(text)

    def write_raw(self, msg: str, *, flush: bool = False) -> None:
        self.written.append(msg)
        self._stream.feed(msg)

    @property
    def shown(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def live_on(terminal: Terminal, encoding: str = "utf-8") -> ProgressLine:
    return ProgressLine(terminal, contextlib.nullcontext, encoding, lambda: terminal.now)


def test_the_line_stands_below_what_pytest_has_written(terminal: Terminal) -> None:
    terminal.write("test_a.py ..")
    live_on(terminal).show("120 of 400")
    assert terminal.shown == ["test_a.py ..", "120 of 400"]


def test_it_overwrites_itself_and_leaves_nothing_of_a_longer_one(terminal: Terminal) -> None:
    terminal.write("test_a.py ..")
    live = live_on(terminal)
    for text in ("a long line to begin with", "short"):
        live.show(text)
        terminal.now += 1.0
    assert terminal.shown == ["test_a.py ..", "short"]


@pytest.mark.parametrize("above", [0, 3, 9], ids=["top", "middle", "bottom, where the screen scrolls"])
def test_pytest_goes_on_where_it_was(terminal: Terminal, above: int) -> None:
    terminal.write("\n" * above + "test_a.py ..")
    live = live_on(terminal)
    live.show("120 of 400")
    live.clear()
    terminal.write("F")
    assert terminal.shown == ["test_a.py ..F"]
    live.show("130 of 400")
    live.clear()
    terminal.write(" [100%]\nthe end")
    assert terminal.shown == ["test_a.py ..F [100%]", "the end"]


def test_with_an_empty_line_above_it_goes_back_to_its_beginning(terminal: Terminal) -> None:
    live = live_on(terminal)
    live.show("x")
    live.clear()
    terminal.write("first")
    assert terminal.shown == ["first"]


def test_a_line_never_wraps(terminal: Terminal) -> None:
    live = live_on(terminal)
    for text in ("x" * 500, "two\nlines " + "y" * 500):
        live.show(text)
        terminal.now += 1.0
    assert len(terminal.shown) == 1


def test_it_is_drawn_ten_times_a_second_at_most(terminal: Terminal) -> None:
    live = live_on(terminal)
    for done in range(1000):
        live.show(f"{done} of 1000")
        terminal.now += 0.001
    assert 9 <= len(terminal.written) <= 11


def test_what_the_terminal_cannot_write_is_written_otherwise(terminal: Terminal) -> None:
    live_on(terminal, "cp1252").show("distill → 模型 ×1.03")
    assert terminal.shown == ["distill -> ?? ×1.03"]
    terminal.written[0].encode("cp1252")


def test_capture_is_suspended_while_it_writes(terminal: Terminal) -> None:
    entered: list[io.StringIO] = []

    @contextlib.contextmanager
    def uncaptured():  # type: ignore[no-untyped-def]
        before = len(terminal.written)
        yield
        entered.append(io.StringIO("".join(terminal.written[before:])))

    live = ProgressLine(terminal, uncaptured, "utf-8", lambda: terminal.now)
    live.show("a")
    live.clear()
    assert len(entered) == len(terminal.written) == 2
