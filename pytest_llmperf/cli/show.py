"""``show RECORD``: a run in the terminal."""

from __future__ import annotations

import argparse

from pytest_llmperf.cli.parts import command, record_argument, tell
from pytest_llmperf.report.columns import aligned
from pytest_llmperf.report.html.facts import read_facts
from pytest_llmperf.report.numbers import show
from pytest_llmperf.report.terminal import verdict_table


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(
        commands, "show", "show a run: its verdicts, metrics and costs", "Exit code 1 if it was not green."
    )
    record_argument(parser)
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    facts = read_facts(asked.record)
    record, verdicts = facts.record, facts.verdicts
    about = [
        f"{', '.join(record.get('candidates', ())) or '?'} against {record.get('baseline', '?')}",
        f"profile {record.get('profile', '?')} on {record.get('device', {}).get('name', '?')}",
        f"written {record.get('written', '?')}",
    ]
    told = ["; ".join(about)]
    if record.get("partial"):
        told.append(f"partial: {record['partial']}")
    told += ["", *(line.text for line in verdict_table(verdicts))]
    if rows := record.get("metrics"):
        cells = [
            (one["row"], one["metric"], one["of"], show(one["value"], one["unit"]), _ends(one), str(one["n"]))
            for one in rows
        ]
        told += [
            "",
            *aligned([("row", "metric", "of", "value", "95 % bounds", "n"), *cells], right=(3, 4, 5)),
        ]
    if rows := record.get("costs"):
        head = ("row", "answers", "requests", "tokens", "seconds", "joules")
        costs = [
            (
                one["row"],
                f"{one['answers']:,}",
                f"{one['requests']:,}",
                "—" if one["completion_tokens"] is None else f"{one['completion_tokens']:,}",
                f"{one['seconds']:,.0f}",
                "—" if one.get("joules") is None else f"{one['joules']:,.0f}",
            )
            for one in rows
        ]
        told += ["", *aligned([head, *costs], right=range(1, 6))]
    verdict = facts.whole
    tell([*told, "", f"{verdict.status.value}: {verdict.why}"])
    return 0 if verdict.green else 1


def _ends(one: dict[str, object]) -> str:
    ends = one.get("interval")
    if not isinstance(ends, list):
        return "—"
    unit = str(one["unit"])
    return " … ".join("?" if end is None else show(end, unit) for end in ends)
