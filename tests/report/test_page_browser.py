"""The page in a real headless Chromium; skipped where there is none."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.report.page import write_page
from tests.report.reader import CHROMIUM, NO_CHROMIUM

if TYPE_CHECKING:
    from tests.report.conftest import RecordedRun

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)


@dataclass(frozen=True)
class Drawn:
    """The document after its scripts have run, and what they wrote to the console."""

    dom: str
    console: list[str]

    @property
    def root(self) -> str:
        found = re.search(r"<html[^>]*>", self.dom)
        assert found
        return found[0]


def drawn(record: Path, fragment: str = "") -> Drawn:
    out = record.with_suffix(".html")
    write_page(record, out)
    return opened(out, fragment)


def opened(page: Path, fragment: str = "") -> Drawn:
    assert CHROMIUM
    # The sandbox of the browser needs rights that a container does not give; the page is our own.
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={page.parent / 'browser'}", "--virtual-time-budget=5000", "--dump-dom"]
    done = subprocess.run(
        [*command, f"{page.as_uri()}{fragment}"], capture_output=True, text=True, timeout=120, check=True
    )
    return Drawn(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


def test_every_plot_is_drawn_and_the_console_stays_empty(run: RecordedRun) -> None:
    page = drawn(run.write())
    plots = re.findall(r'<div class="plot"[^>]*data-plot="\d+"[^>]*>', page.dom)
    assert len(plots) > 10
    assert [one for one in plots if 'data-drawn="yes"' not in one] == []
    assert page.dom.count("<svg") == len(plots)
    marked = re.compile(r'<g class="mark-\w+ role-mark [^"]*marks"[^>]*><path')
    assert [at for at, plot in enumerate(page.dom.split("<svg")[1:]) if not marked.search(plot)] == []
    assert page.console == []


def test_each_gate_has_its_point_its_interval_and_its_bound_in_the_picture(run: RecordedRun) -> None:
    record = run.write()
    dom = drawn(record).dom
    shares = dom[dom.index('data-plot="0"') : dom.index('data-plot="1"')]
    marks = {
        name: [colour for part in groups for colour in re.findall(r'(?:fill|stroke)="var\(--(\w+)\)"', part)]
        for name in ("rule", "symbol", "rect")
        if (groups := re.findall(rf'<g class="mark-{name} role-mark layer_\d_marks.*?</g>', shares, re.S))
    }
    assert marks == {"rule": ["pass", "fail"], "symbol": ["pass", "fail"], "rect": ["ink", "ink"]}
    assert ">boxed answers</text>" in shares


def test_hostile_text_runs_nothing_and_every_plot_is_drawn_all_the_same(run: RecordedRun) -> None:
    run.cases = [(f"{test}{run.hostile}", case) for test, case in run.cases]
    for one in (*run.facts["load"], *run.facts["servers"]):
        one["row"] += run.hostile
    candidates, baseline = [f"distill{run.hostile}"], f"math{run.hostile}"
    page = drawn(run.write(candidates=candidates, baseline=baseline, device={"name": run.hostile}))
    assert "data-taken" not in page.root
    assert page.dom.count('data-drawn="yes"') == page.dom.count("data-plot=")
    assert page.console == []
    assert "document.documentElement.dataset.taken='yes'" in unescape(
        re.sub(r"<script.*?</script>", "", page.dom, flags=re.S)
    )


def test_a_script_that_got_in_all_the_same_is_not_run(run: RecordedRun) -> None:
    record = run.write()
    out = record.with_suffix(".html")
    write_page(record, out)
    intruder = "<script>document.documentElement.dataset.taken='yes'</script>"
    html = out.read_text().replace("<main", f"{intruder}<main", 1)
    out.write_text(html)
    assert "data-taken" not in opened(out).root
    # The same without the policy: were it not run either, this test would show nothing.
    out.write_text(html.replace('http-equiv="Content-Security-Policy"', 'name="no-policy"'))
    assert "data-taken" in opened(out).root


def test_a_link_can_name_the_gates_that_it_means(run: RecordedRun) -> None:
    rows = re.findall(
        r'<tr id="[\w-]+" data-state="(\w+)"( hidden="")?', drawn(run.write(), "#show=FAIL").dom
    )
    of_gates = rows[: len(run.cases)]
    assert {state for state, hidden in of_gates if not hidden} == {"FAIL"}
    assert {state for state, hidden in of_gates if hidden} == {"PASS", "INCONCLUSIVE", "INVALID"}


def test_a_plot_that_cannot_be_drawn_says_so_in_its_place(run: RecordedRun) -> None:
    record = run.write()
    out = record.with_suffix(".html")
    write_page(record, out)
    out.write_text(out.read_text().replace('"mark":{"type":"bar"', '"mark":{"type":"no-such-mark"'))
    page = opened(out)
    assert page.dom.count(">This plot could not be drawn; its numbers are in the table.</div>") == 1
    assert page.dom.count('data-drawn="yes"') == page.dom.count("data-plot=") - 1
