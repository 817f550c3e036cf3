"""The summary, read by a renderer of GitHub's kind of Markdown."""

from __future__ import annotations

import re
from html import unescape

from markdown_it import MarkdownIt

from pytest_llmperf.gates.run_verdict import run_verdict
from pytest_llmperf.gates.verdict import Status, Verdict
from pytest_llmperf.report.exporters.base import LocatedVerdict, RunResults
from pytest_llmperf.report.exporters.markdown import MOST_ROWS, summary
from pytest_llmperf.report.text import markdown_text

HOSTILE = (
    "a | b\n# head <img src=x onerror=y> `c` *d* _e_ [f](javascript:g) @team #12 $x$ ~~h~~ </details> \u202e"
)
ABOUT = {"candidate": "distill", "baseline": "math", "device": "CPU"}


def told(status: Status, metric: str = "accuracy", why: str = "why", n: int = 100) -> LocatedVerdict:
    verdict = Verdict(status, metric, 0.7, (0.6, 0.8), 0.74, n, None, "m", why, "share")
    return LocatedVerdict(verdict, "suites/test_a.py::test_b[distill]")


def summarised(gates: list[LocatedVerdict], about: dict[str, str] = ABOUT) -> str:
    return summary(RunResults(gates, run_verdict([gate.verdict for gate in gates]), about))


def rendered(text: str) -> str:
    return str(MarkdownIt("gfm-like", {"linkify": False, "html": True}).render(text))


def rows(html: str) -> list[list[str]]:
    return [
        [unescape(re.sub("<.*?>", "", cell)) for cell in re.findall(r"<t[dh].*?>(.*?)</t[dh]>", row, re.S)]
        for row in re.findall(r"<tr>(.*?)</tr>", html, re.S)
    ]


def test_the_verdict_comes_first_then_where_to_look_then_what_did_not_pass() -> None:
    every = [told(Status.PASS), told(Status.FAIL, "TTFT at 8", "too slow"), told(Status.INCONCLUSIVE, "ITL")]
    html = rendered(summarised(every))
    assert html.startswith("<h2>❌ FAIL: distill against math</h2>")
    places = [
        html.index(one) for one in ("3 gates", "Look at first", "FAIL: too slow", "<table>", "1 gate passed")
    ]
    assert places == sorted(places)
    assert [row[0] for row in rows(html)] == ["verdict", "❌ FAIL", "❔ INCONCLUSIVE", "verdict", "✅ PASS"]
    assert rows(html)[1] == ["❌ FAIL", "TTFT at 8", "70.0 %", "—", "—", "60.0 % … 80.0 %", "74 %", "100"]
    assert html.rstrip().endswith("<p>candidate: distill · baseline: math · device: CPU</p>")


def test_a_green_run_has_nothing_to_look_at() -> None:
    html = rendered(summarised([told(Status.PASS)]))
    assert "Look at first" not in html
    assert html.startswith("<h2>✅ PASS")


def test_hostile_text_stays_text_in_its_cell() -> None:
    every = [told(Status.FAIL, HOSTILE, HOSTILE)]
    html = rendered(summarised(every, {"candidate": HOSTILE, "baseline": "math"}))
    shown = HOSTILE.replace("\n", " ").replace("\u202e", "[U+202E]")
    assert rows(html)[1][1] == shown
    assert set(re.findall(r"<(\w+)", html)) == {
        "h2",
        "p",
        "strong",
        "ol",
        "li",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    # A reader sees no comment.
    assert unescape(html.replace("<!-- -->", "")).count(shown) == 5


def test_a_summary_of_thousands_of_gates_fits_into_what_github_takes() -> None:
    long = "w" * 5_000
    text = summarised([told(Status.FAIL, f"{long}{i}") for i in range(5_000)])
    assert len(text.encode()) < 1_048_576
    assert f"and {5_000 - MOST_ROWS:,} more" in text


def test_plain_text_is_left_readable() -> None:
    assert markdown_text("embedded accuracy 0.79, n = 400 (95 %)") == "embedded accuracy 0.79, n = 400 (95 %)"


def test_text_calls_nobody_and_links_nowhere() -> None:
    """A backslash is not enough for GitHub, which looks for mentions in the finished text (github/markup#1168)."""
    assert markdown_text("@all, #12, a#b, www.x.org, http://x.org") == (
        "@<!-- -->all, \\#<!-- -->12, a\\#b, www&#46;x.org, http:&#47;/x.org"
    )
