"""A run as the comment of a pull request, and as a line for a chat."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_llmperf.gates.verdict import Verdict
from pytest_llmperf.gates.wording import plural
from pytest_llmperf.record.redaction import cleaner, redact
from pytest_llmperf.report.exporters.base import LocatedVerdict, RunResults
from pytest_llmperf.report.exporters.markdown import MOST_ROWS, summary
from pytest_llmperf.visible_text import printable

if TYPE_CHECKING:
    from pytest_llmperf.record.model import Record

LONGEST = 65_000
"""Characters of a comment; GitHub takes 65,536."""
LONGEST_CHAT = 3_000
"""Characters of a message; Slack takes 4,000 and shows fewer."""
_ROWS = (MOST_ROWS, 150, 80, 40, 20, 10, 5, 2, 0)
_TEXTS = ("metric", "method", "why", "detail", "origin", "advisory", "waived")
"""Fields of a verdict that are texts of the run."""
_CUT = "\n\n… cut: the comment would be too long; everything is in the record.\n"


def marker(key: str) -> str:
    """The hidden first line by which a comment of ours is found again; ``key`` tells several of them apart."""
    # A comment of HTML must hold no two hyphens, and ends at ">".
    key = redact(key)
    plain = re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9@.+_/ -]+", "-", key)).strip("-")
    if plain != key:
        plain += f" {hashlib.sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return f"<!-- pytest-llmperf: {plain} -->"


def key_of(record: Record) -> str:
    """Profile, device and entries: what a later run of the same job has in common with this one."""
    entries = f"{' '.join(record.candidates)} vs {record.baseline}"
    return f"{record.profile or '?'} {record.device.name or '?'} {entries}"


def comment_text(record: Record, key: str, *, longest: int = LONGEST) -> str:
    """The whole comment, its marker first; the gates that matter least are left out, and counted, until it fits.

    Model output is shown as text, and secrets of this environment are hidden.
    """
    results = results_of(record)
    head = marker(key) + "\n"
    for rows in _ROWS:
        text = head + summary(results, rows)
        if len(text) <= longest:
            return text
    return text[: longest - len(_CUT)] + _CUT


def chat_text(record: Record) -> str:
    """The verdict and at most three lines below it, in Slack's characters: nobody is called, nothing is a link."""
    results = results_of(record)
    whole = results.verdict
    lines = [f"{whole.headline}: {results.title}", whole.why]
    lines += [f"{number}. {line}" for number, line in enumerate(whole.look_first, 1) if not whole.green]
    if told := len(whole.let_through) + len(results.notes):
        lines.append(f"{plural(told, 'note')} on waivers and advisory gates, in the record")
    text = "\n".join(printable(line, 600).replace("\n", " ") for line in lines)
    shown = text if len(text) <= LONGEST_CHAT else f"{text[: LONGEST_CHAT - 1]}…"
    # Slack and Mattermost read <!channel>, <@user>, <url|text> and bare addresses; Mattermost also @here.
    apart = html.escape(shown, quote=False).replace("@", "@\N{ZERO WIDTH SPACE}")
    return apart.replace("://", ":\N{ZERO WIDTH SPACE}//")


def results_of(record: Record) -> RunResults:
    """What the exporters were told at the end of the run, as far as the record holds it, without secrets."""
    # Before any markup: Markdown writes hf_… as hf\_…, which shows the token and looks like none.
    run, whole = record.run, record.outcome
    hide = cleaner()

    def all_hidden(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(map(hide, texts))

    def of_gate(verdict: Verdict) -> Verdict:
        hidden: dict[str, Any] = {name: hide(getattr(verdict, name)) for name in _TEXTS}
        return dataclasses.replace(verdict, **hidden)

    about = {
        "candidate": ",".join(record.candidates),
        "baseline": record.baseline,
        "profile": record.profile or "?",
        "device": record.device.name or "?",
        "written": record.written or "?",
    }
    candidates = {entry.test: entry.candidate for entry in record.tests}
    return RunResults(
        gates=[
            LocatedVerdict(
                of_gate(entry.verdict), hide(entry.test), candidate=hide(candidates.get(entry.test) or "")
            )
            for entry in record.verdicts
        ],
        verdict=dataclasses.replace(
            whole,
            why=hide(whole.why),
            look_first=all_hidden(whole.look_first),
            let_through=all_hidden(whole.let_through),
        ),
        about={name: hide(value) for name, value in about.items()},
        policy=run.inconclusive if run else "fail",
        problems=all_hidden([*run.problems, *run.failures]) if run else [],
        notes=all_hidden(run.notes) if run else (),
    )
