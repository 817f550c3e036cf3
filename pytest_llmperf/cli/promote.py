"""``promote RECORD``: a run that later ones are compared with."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_llmperf.cli.parts import command, record_argument, tell
from pytest_llmperf.record.references import DIRECTORY, promote


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "promote",
        "make a recorded run the reference that later runs are compared with",
        "Copies the record and its answers; commit them. `pytest --llmperf-reference` compares with them.",
    )
    record_argument(parser)
    parser.add_argument(
        "--to",
        type=Path,
        default=Path(DIRECTORY),
        metavar="DIR",
        help=f"the references (default: {DIRECTORY})",
    )
    parser.add_argument("--note", default="", help="why this one; no names, it is kept with the reference")
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    tell([f"reference: {promote(asked.record, asked.to, asked.note)}"])
    return 0
