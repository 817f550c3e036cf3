from __future__ import annotations

import pytest

from pytest_llmperf.report.encoding import fitting


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
