"""``show RECORD``: a run in the terminal."""

from __future__ import annotations

import argparse

from pytest_llmperf.cli.parts import command, interval_cell, record_argument, tell
from pytest_llmperf.report.html.facts import read_facts
from pytest_llmperf.report.overview import overview_of, rows_of_gates
from pytest_llmperf.report.table import Table
from pytest_llmperf.report.terminal import candidate_lines, verdict_table
from pytest_llmperf.units import format_value


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(
        commands, "show", "show a run: its verdicts, metrics and costs", "Exit code 1 if it was not green."
    )
    record_argument(parser)
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    facts = read_facts(asked.record)
    record = facts.record
    about = (
        f"{', '.join(record.candidates) or '?'} against {record.baseline or '?'}; "
        f"profile {record.profile or '?'} on {record.device.name or '?'}; written {record.written or '?'}"
    )
    told = [about]
    if record.partial:
        told.append(f"partial: {record.partial}")
    table = verdict_table(facts.verdicts, candidates=rows_of_gates(record))
    told += ["", *(line.text for line in table)]
    if several := overview_of(record):
        told += ["", *(line.text for line in candidate_lines(several))]
    if record.metrics:
        head = ("row", "metric", "of", "value", "95 % bounds", "n")
        cells = [
            (
                metric.row,
                metric.metric,
                metric.of,
                format_value(metric.value, metric.unit),
                interval_cell(metric),
                f"{metric.n}",
            )
            for metric in record.metrics
        ]
        told += ["", *Table(head, cells, {3, 4, 5}).to_text()]
    if record.costs:
        head = ("row", "answers", "requests", "tokens", "seconds", "joules")
        cells = [
            (
                cost.row,
                f"{cost.answers:,}",
                f"{cost.requests:,}",
                "—" if cost.completion_tokens is None else f"{cost.completion_tokens:,}",
                f"{cost.seconds:,.0f}",
                "—" if cost.joules is None else f"{cost.joules:,.0f}",
            )
            for cost in record.costs
        ]
        told += ["", *Table(head, cells, range(1, 6)).to_text()]
    verdict = facts.whole
    told += ["", *verdict.let_through, *facts.notes]
    tell([*told, f"{verdict.headline}: {verdict.why}"])
    return 0 if verdict.green else 1
