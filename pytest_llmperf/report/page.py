"""A run as one HTML file: no network, no server, readable without JavaScript."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.gates.verdict import Status
from pytest_llmperf.record.store import write_whole
from pytest_llmperf.report.html.facts import Facts, read_facts
from pytest_llmperf.report.html.fidelity import fidelity_section
from pytest_llmperf.report.html.gates import accuracy_section, first_look, gates_section, rules_section
from pytest_llmperf.report.html.history import history_section, records_beside
from pytest_llmperf.report.html.latency import concurrency_section, distributions_section
from pytest_llmperf.report.html.long_context import long_context_section
from pytest_llmperf.report.html.machine import (
    added_section,
    again_section,
    costs_section,
    setting_section,
    setup_line,
)
from pytest_llmperf.report.html.overview import overview_section
from pytest_llmperf.report.html.parts import Section
from pytest_llmperf.report.html.reference import reference_section
from pytest_llmperf.report.html.scheduled import scheduled_section
from pytest_llmperf.report.html.telemetry import telemetry_section
from pytest_llmperf.report.html.timeline import timeline_section
from pytest_llmperf.report.plots import label
from pytest_llmperf.report.plots.packing import pack
from pytest_llmperf.report.table import foldable
from pytest_llmperf.report.text import script_json
from pytest_llmperf.visible_text import printable

if TYPE_CHECKING:
    import jinja2

_SIGNS = {Status.PASS: "✓", Status.FAIL: "✗", Status.INCONCLUSIVE: "?", Status.INVALID: "∅"}

_MARKS = {Status.PASS: "●", Status.FAIL: "✚", Status.INCONCLUSIVE: "▲", Status.INVALID: "■"}
"""The shapes of the plot of intervals (``intervals.vl.json``)."""


def write_page(record: Path, out: Path, history: Sequence[Path] = (), references: Path | None = None) -> None:
    """Write the page of the run whose record is at ``record`` (its cases file beside it) to ``out``, atomically.

    Other records in the same directory, in the directories ``history`` and in ``references`` (promoted ones) are the
    run's history; one of the promoted ones is also shown beside the run's own numbers. A section whose data the
    record does not have is left out. Raises :class:`LlmperfError` if there is no record of a run
    at ``record``, and :class:`RecordNotWritten` if ``out`` cannot be written.
    """
    write_whole(out, _html(read_facts(record, records_beside(record, *history), references)))


def write_unfinished_page(out: Path) -> None:
    """Write to ``out`` that the run has not ended, so that no earlier run's page is taken for its own."""
    title = "UNFINISHED"
    text = "This run has not come to its end: nothing of it was judged. Its record says how far it came."
    write_whole(
        out,
        f"<!doctype html>\n<meta charset=utf-8>\n<title>{title}</title>\n<h1>{title}</h1>\n<p>{text}</p>\n",
    )


def sections(facts: Facts) -> list[Section]:
    """Return the sections of the page in the order in which a reader needs them."""
    every = (
        overview_section(facts),
        gates_section(facts),
        reference_section(facts),
        accuracy_section(facts),
        rules_section(facts),
        long_context_section(facts),
        concurrency_section(facts),
        scheduled_section(facts),
        distributions_section(facts),
        timeline_section(facts),
        fidelity_section(facts),
        telemetry_section(facts),
        history_section(facts),
        costs_section(facts),
        added_section(facts),
        again_section(facts),
        setting_section(facts),
    )
    return [section for section in every if section is not None]


@cache
def _template() -> jinja2.Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_finalize, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_asset("page.html.jinja"))


def _html(facts: Facts) -> str:
    shown = sections(facts)
    specs = [plot.spec for section in shown for plot in (*section.open_plots, *section.folded_plots)]
    # A page without plots needs no library to draw them.
    libraries = ("vega.min.js", "vega-lite.min.js") if specs else ()
    scripts = [_script(name) for name in (*libraries, "page.js")]
    return _template().render(
        verdict=facts.whole,
        sign=_SIGNS,
        facts=facts,
        setup=setup_line(facts),
        first_look=[*first_look(facts)],
        models=[label(row) for row in facts.rows] if specs else [],
        sections=shown,
        marks=[(status.value, mark) for status, mark in _MARKS.items()],
        statuses=[status.value for status in Status],
        policy=_policy(scripts),
        trusted=_trusted,
        foldable=foldable,
        style=_trusted(_asset("page.css")),
        data=_trusted(script_json(pack(specs))),
        scripts=[_trusted(script) for script in scripts],
        licences=_asset("LICENSES.txt") if specs else "",
    )


def _finalize(value: Any) -> Any:
    """Make the value of an expression in the template printable, unless it is markup already."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _trusted(text: str) -> Any:
    """Mark as HTML: our own files, JSON from ``script_json``, and what ``maths`` or ``table`` has escaped."""
    from markupsafe import Markup

    return Markup(text)


def _asset(name: str) -> str:
    return resources.files("pytest_llmperf.report.html").joinpath("assets", name).read_text(encoding="utf-8")


def _script(name: str) -> str:
    """Return a script without its reference to a source map, which a browser would try to load."""
    lines = _asset(name).splitlines()
    return "\n".join(line for line in lines if not line.startswith("//# sourceMappingURL=")) + "\n"


def _policy(scripts: Sequence[str]) -> str:
    """Return a content security policy: only these scripts run, and nothing is fetched or sent.

    Vega compiles the expressions of the specifications, which are ours, hence ``unsafe-eval``.
    """
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src 'unsafe-eval' {allowed}; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )
