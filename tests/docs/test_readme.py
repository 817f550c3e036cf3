"""The README stays as short as those that people adopt a tool from."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_readme_fits_a_few_screens() -> None:
    text = README.read_text(encoding="utf-8")
    lines = text.splitlines()
    assert len(lines) <= 120
    assert [line for line in lines if len(line) > 100] == []
    assert len(text.split()) <= 700


def test_the_readme_shows_a_red_run_before_it_asks_to_install_anything() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.index(" FAIL\n") < text.index("\n## ") < text.index("pip install")
