from __future__ import annotations

import io

import pytest

from pytest_llmperf.report.encoding import fitting, write_all


def test_what_fits_is_left_alone() -> None:
    assert (
        fitting("distill → tiny, 75.0 % … 93.9 %, ×1.03", "utf-8") == "distill → tiny, 75.0 % … 93.9 %, ×1.03"
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "no-such-encoding"])
def test_every_terminal_can_write_the_rest(encoding: str) -> None:
    text = fitting("→ … × — ≤ ∞ µ \udcff 模", encoding)
    text.encode("ascii" if encoding == "no-such-encoding" else encoding)
    assert text.startswith("-> ")
    assert text.endswith(" ? ?")


def test_only_what_does_not_fit_is_changed() -> None:
    assert fitting("→ … ×", "cp1252") == "-> … ×"


@pytest.mark.parametrize(
    ("encoding", "written"),
    [("ascii", "-> 75 % ... x ?"), ("cp1252", "-> 75 % … × ?"), ("utf-8", "→ 75 % … × 模")],
)
def test_a_stream_writes_what_it_has_not_otherwise_and_all_else_as_it_is(encoding: str, written: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding)
    write_all(stream, None)
    stream.write("→ 75 % … × 模")
    stream.flush()
    assert raw.getvalue().decode(encoding) == written
