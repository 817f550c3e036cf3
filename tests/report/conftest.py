"""Records of runs as a run writes them, and the pages made of them as a parser reads them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from pytest_llmperf.gates.base import Gate
from pytest_llmperf.gates.paired import PairedGate
from pytest_llmperf.gates.proportion import ProportionGate
from pytest_llmperf.gates.quantile import QuantileGate
from pytest_llmperf.gates.ratio import RatioGate
from pytest_llmperf.gates.scalar import ScalarGate
from pytest_llmperf.record import gate_files, tables
from pytest_llmperf.record.store import write_record
from pytest_llmperf.record.verdict_json import verdict_to_json
from pytest_llmperf.report.page import write_page
from tests.report.reader import CHROMIUM, Reader

if TYPE_CHECKING:
    from playwright.sync_api import Browser

VOID = {"meta", "link", "img", "br", "input", "hr", "base"}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}


class Page(HTMLParser):
    """Elements in order with their attributes, the text of each (scripts and styles apart), and what is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.raw: list[tuple[dict[str, str], str]] = []
        self.rows: list[list[str]] = []
        self.captions: list[str] = []
        self.headings: list[tuple[str, str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag == "caption":
            self.captions.append("")
        if tag in HEADINGS:
            self.headings.append((tag, ""))
        if tag in {"script", "style"}:
            self.raw.append((found, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()} closes something else"

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside in {"script", "style"}:
            self.raw[-1] = (self.raw[-1][0], self.raw[-1][1] + data)
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if "caption" in self.open:
            self.captions[-1] += data
        if HEADINGS & set(self.open):
            self.headings[-1] = (self.headings[-1][0], self.headings[-1][1] + data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def specs(self) -> list[dict[str, Any]]:
        (data,) = [text for attributes, text in self.raw if attributes.get("id") == "plots"]
        specs: list[dict[str, Any]] = json.loads(data)
        return [spec | {"data": unpacked(spec["data"], specs)} for spec in specs]

    def row(self, *starts: str) -> list[str]:
        """The one table row that begins with these cells."""
        (found,) = [
            cells for row in self.rows if (cells := [c.strip() for c in row])[: len(starts)] == [*starts]
        ]
        return found


def unpacked(data: dict[str, Any], specs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The data of a plot as Vega takes them, from those that the page holds; as ``page.js`` does."""
    data = specs[data["same"]]["data"] if "same" in data else data
    if "columns" not in data:
        return data
    columns = [_column(packed, data["rows"]) for packed in data["columns"]]
    rows = [[*row] for row in zip(*columns, strict=True)]
    return {
        "values": rows
        if data["names"] is None
        else [dict(zip(data["names"], row, strict=True)) for row in rows]
    }


def _column(packed: Any, rows: int) -> Sequence[Any]:
    if isinstance(packed, list):
        return packed
    return [packed["only"]] * rows if "only" in packed else [packed["of"][place] for place in packed["at"]]


@dataclass
class RecordedRun:
    """Gates as a run judges them, and the facts beside them; ``write`` does what the end of a run does."""

    directory: Path
    cases: list[tuple[str, Gate]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    answers: list[dict[str, Any]] = field(default_factory=list)
    traces: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the two tables beside the record."""
    hostile: ClassVar[str] = (
        "</script><script>document.documentElement.dataset.taken='yes'</script></style><img src=x onerror=alert(1)>"
        "{{ 7 * 7 }}<!-- \u202eabc \u2028 \x1b[31mred \x00 \" ' &amp; -->"
    )

    def write(self, **changed: Any) -> Path:
        """The record's path; ``changed`` replaces facts."""
        verdicts = []
        for place, (test, case) in enumerate(self.cases):
            verdict = case.judge()
            verdicts.append(verdict_to_json(verdict) | {"test": test})
            kept = gate_files.RecordedGate(test, verdict.status, case)
            gate_files.keep(self.directory / "kept" / "main.jsonl", place, 1, kept)
        path = self.directory / "night.json"
        lines = gate_files.gathered(self.directory / "kept")
        record = {**self.facts, "verdicts": verdicts, **changed, "cases": gate_files.store_gates(path, lines)}
        for table, rows in ((tables.ANSWERS, self.answers), (tables.TRACES, self.traces)):
            if rows:
                record[table.key] = tables.store_table(path, table, rows)
        write_record(path, record)
        return path

    @staticmethod
    def page_of(record: Path) -> Page:
        out = record.with_suffix(".html")
        write_page(record, out)
        return Page(out.read_text(encoding="utf-8"))

    @staticmethod
    def load_facts(row: str, concurrency: int, rounds: int, each: int, seed: int) -> dict[str, Any]:
        """What a record says of the load on one side: TTFT around 20 ms per concurrent request."""
        draw = random.Random(seed)
        ttft = [
            [0.02 * concurrency * draw.lognormvariate(0, 0.3) for _ in range(each)] for _ in range(rounds)
        ]
        return {
            "row": row,
            "concurrency": concurrency,
            "rounds": [
                {
                    "requests": each,
                    "errors": {},
                    "window_s": 0.5,
                    "ttft_s": times,
                    "tpot_s": [0.002 * draw.lognormvariate(0, 0.1) for _ in times],
                    "e2el_s": [one + 0.06 for one in times],
                    "output_tokens": 32 * each,
                }
                for times in ttft
            ],
        }

    def keep_traces(self) -> None:
        """Every request of the loads, as rows of the table, with gaps of 2 ms; the last of each round has failed."""
        began = 0.0
        for load in self.facts["load"]:
            for number, one in enumerate(load["rounds"]):
                for index, (ttft, tpot) in enumerate(zip(one["ttft_s"], one["tpot_s"], strict=True)):
                    sent = began + 0.001 * index
                    failed = index == len(one["ttft_s"]) - 1
                    self.traces.append(
                        dict.fromkeys(tables.TRACES.columns)
                        | {
                            "row": load["row"],
                            "kind": "closed",
                            "concurrency": load["concurrency"],
                            "start": 1,
                        }
                        | {"round": number, "index": index, "intended_s": sent, "sent_s": sent}
                        | {
                            "first_s": sent + ttft,
                            "last_s": sent + ttft + 31 * tpot,
                            "end_s": sent + ttft + 31 * tpot,
                        }
                        | {"itl_s": [0.002 + 0.00001 * gap for gap in range(31)], "output_tokens": 32}
                        | {"outcome": "cut" if failed else "ok", "error": "gone" if failed else ""}
                    )
                began += 1.0

    def keep_answers(self, reply: Callable[[str, int], str], items: int = 70) -> None:
        """The text of the answers to the first items, for both sides: ``reply(row, number of the item)``."""
        for row, wrong in (("distill", range(60)), ("math", range(7, 62))):
            for item in range(items):
                self.answers.append(
                    dict.fromkeys(tables.ANSWERS.columns)
                    | {
                        "row": row,
                        "task": "embedded",
                        "variant": "as promised",
                        "item": f"item-{item}",
                        "sample": 0,
                    }
                    | {"question": f"What is {item} + 1?", "gold": f"{item + 1}", "reply": reply(row, item)}
                    | {
                        "outcome": "wrong" if item in wrong else "correct",
                        "answer": f"{item + (item not in wrong)}",
                    }
                    | {"finish_reason": "stop", "completion_tokens": 80, "prompt_tokens": 20, "seconds": 0.5}
                )

    @staticmethod
    def answer_facts(row: str, items: int, planned: int, correct: int) -> dict[str, Any]:
        return {
            "row": row,
            "task": "embedded",
            "variant": "as promised",
            "items": items,
            "planned": planned,
            "outcomes": {
                "correct": correct,
                "wrong": items - correct,
                "incomplete": 0,
                "ungraded": 0,
                "infra": 0,
            },
            "completion_tokens": 80 * items,
            "seconds": 12.5,
        }

    @staticmethod
    def outcomes(items: int, wrong: Sequence[int]) -> Mapping[str, bool]:
        return {f"item-{i}": i not in wrong for i in range(items)}


@pytest.fixture
def run(tmp_path: Path) -> RecordedRun:
    return recorded_run(tmp_path)


@pytest.fixture
def whole(tmp_path: Path) -> RecordedRun:
    return whole_run(tmp_path)


def recorded_run(directory: Path) -> RecordedRun:
    """A run with something in every section: one gate of each verdict, both sides loaded at 1 and 8."""
    gaps = [0.002 + 0.00001 * (i % 50) for i in range(640)]
    suite = "suites/test_night.py"
    cases: list[tuple[str, Gate]] = [
        (
            f"{suite}::test_right[distill]",
            ProportionGate(
                metric="embedded accuracy",
                bound=0.7,
                origin="budgets.toml [embedded.any.accuracy] floor",
                candidate=RecordedRun.outcomes(400, range(60)),
                at_least=True,
            ),
        ),
        (
            f"{suite}::test_not_worse[distill]",
            PairedGate(
                metric="embedded accuracy",
                bound=0.04,
                origin="budgets.toml [embedded.any.accuracy] margin",
                candidate=RecordedRun.outcomes(400, range(60)),
                baseline=RecordedRun.outcomes(400, range(7, 62)),
                at_least=True,
            ),
        ),
        (
            f"{suite}::test_boxed[distill]",
            ProportionGate(
                metric="boxed answers",
                bound=0.9,
                origin="budgets.toml [embedded.any.rules] boxed",
                candidate=RecordedRun.outcomes(100, range(40)),
                noun="answer",
                at_least=True,
            ),
        ),
        (
            f"{suite}::test_gaps[distill-8]",
            QuantileGate(
                metric="ITL at 8",
                bound=0.1,
                samples=gaps,
                q=0.95,
                unit="s",
                at_least=False,
                groups=[i // 10 for i in range(640)],
            ),
        ),
        (
            f"{suite}::test_as_fast[distill-8]",
            RatioGate(
                metric="TPOT at 8",
                bound=1.0,
                starts=[[(1.0 + 0.01 * (i % 7), 1.03) for i in range(21)]],
                unit="s",
                at_least=False,
            ),
        ),
        (
            f"{suite}::test_ready[distill]",
            ScalarGate(metric="time to ready", bound=None, value=25.0, unit="s", at_least=False),
        ),
    ]
    servers = [
        {
            "row": row,
            "weights": f"embedded:tiny-{row}",
            "revision": None,
            "engine": "vllm 0.32.0",
            "command": f"python -m vllm --served-model-name {row}",
            "ready_s": ready,
        }
        for row, ready in (("distill", 25.4), ("math", 25.5))
    ]
    facts = {
        "profile": "embedded",
        "device": {"class": "CPU", "name": "CPU of this test"},
        "candidates": ["distill"],
        "baseline": "math",
        "servers": servers,
        "prompts": [
            {
                "row": row,
                "task": "embedded",
                "variant": "as promised",
                "rendered_by": "template",
                "not_rendered": None,
                "count": 400,
                "sha256": "d" * 64,
                "example": "<|user|>How many legs do 3 cats have?<|assistant|>",
                "example_item": "item-0",
                "same_on_server": True,
                "longest_tokens": 92,
                "counted_by": "server",
                "limit_tokens": 2048,
                "findings": [],
            }
            for row in ("distill", "math")
        ],
        "answers": [
            RecordedRun.answer_facts("distill", 400, 400, 340),
            RecordedRun.answer_facts("math", 235, 400, 200),
        ],
        "load": [
            RecordedRun.load_facts(row, concurrency, 12, 8, seed)
            for seed, (row, concurrency) in enumerate((r, c) for c in (8, 1) for r in ("math", "distill"))
        ],
    }
    return RecordedRun(directory, cases, facts)


def whole_run(directory: Path) -> RecordedRun:
    """A run with something in every section."""
    run = recorded_run(directory)
    run.keep_traces()
    run.keep_answers(
        lambda row, item: f"<think>{row} thinks of {item}</think>So $x^2$ is \\boxed{{{item}}}, says {row}."
    )
    times = [0.1 * i for i in range(50)]
    readings = {"time_s": times, "used_bytes": [5_000_000_000] * 50, "power_w": [300.5] * 50}
    run.facts["telemetry"] = [{"row": "distill", "what": "load", "concurrency": 8, "readings": readings}]
    run.facts["claims"] = [
        {
            "claim": "fast",
            "words": "It is fast",
            "published": "143 tok/s",
            "verdict": "refuted",
            "reason": "102 is less",
        }
    ]
    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright to drive Chromium with")
    with playwright.sync_playwright() as driver:
        # The sandbox of the browser needs rights that a container does not give; the page is our own.
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture
def reader(browser: Browser) -> Iterator[Reader]:
    reader = Reader(browser)
    yield reader
    for context in browser.contexts:
        context.close()
