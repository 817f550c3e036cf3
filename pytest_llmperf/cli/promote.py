"""``promote RECORD``: a run that later ones are compared with."""

from __future__ import annotations

import argparse

from pytest_llmperf.cli.parts import command, record_argument, references_argument, references_of, tell
from pytest_llmperf.record.references import promote, replaced_by


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "promote",
        "make a recorded run the reference that later runs are compared with",
        "Copies the record and its answers; commit them. `pytest --llmperf-reference` compares with them.",
    )
    record_argument(parser)
    references_argument(parser, "--to")
    parser.add_argument(
        "--waived", action="store_true", help="promote a run although a waiver lets some of its gates through"
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="promote a run although it is red, partial or waived; its note then says so",
    )
    parser.add_argument("--note", default="", help="why this one; no names, it is kept with the reference")
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    directory = references_of(asked.to)
    replaced = replaced_by(asked.record, directory)
    promoted = promote(asked.record, directory, asked.note, waived=asked.waived, force=asked.force)
    tell([f"reference: {promoted}", *([f"in place of {replaced}"] if replaced else [])])
    return 0
