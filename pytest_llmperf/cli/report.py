"""``report RECORD``: the page of a run, made again."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_llmperf.cli.parts import command, record_argument, references_argument, references_of, tell
from pytest_llmperf.report.page import write_page


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(commands, "report", "make the page (HTML, one file) of a recorded run")
    record_argument(parser)
    parser.add_argument("--out", type=Path, metavar="PATH", help="where to (default: beside the record)")
    parser.add_argument(
        "--history",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="earlier records, beside those in the record's own directory; repeats",
    )
    references_argument(parser, "--references")
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    out = asked.out or asked.record.with_suffix(".html")
    write_page(asked.record, out, asked.history, references_of(asked.references))
    tell([f"page: {out}"])
    return 0
