from __future__ import annotations

import json

import pytest

from pytest_llmperf.report.text import script_json
from pytest_llmperf.visible_text import LONGEST, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("\x00\x07\r\x7f", "␀␇␍␡"),
        ("a\u202eb\u2066c\u200fd\u061ce", "a[U+202E]b[U+2066]c[U+200F]d[U+061C]e"),
        ("\u0085\u009b\u2028\u2029\ufeff\u200b", "[U+0085][U+009B][U+2028][U+2029][U+FEFF][U+200B]"),
        ("half \ud83d a pair", "half [U+D83D] a pair"),
        ("lines\nand\ttabs, 中文, ×1.05, 👩‍💻, שלום", "lines\nand\ttabs, 中文, ×1.05, 👩‍💻, שלום"),
    ],
)
def test_what_cannot_be_seen_is_shown_and_the_rest_is_left_alone(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_megabyte_is_cut_and_what_is_missing_counted() -> None:
    shown = printable("x" * 1_000_000)
    assert shown.startswith("x" * LONGEST)
    assert shown.endswith(f"… [{1_000_000 - LONGEST:,} more characters]")
    assert printable("x" * LONGEST) == "x" * LONGEST


def test_json_in_a_script_ends_no_script_and_reads_back_the_same() -> None:
    value = {"</script><!--": ["\u2028\u2029", "&lt;", "]]>", "\ud800", 1.5, None]}
    text = script_json(value)
    assert set("<>&\u2028\u2029") & set(text) == set()
    assert text.isascii()
    assert json.loads(text) == value


def test_json_in_a_script_holds_no_number_that_a_browser_cannot_read() -> None:
    with pytest.raises(ValueError, match="JSON"):
        script_json([float("nan")])
