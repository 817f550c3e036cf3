"""``compare A B``: what has become worse, beyond chance."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from pytest_llmperf.cli.parts import command, record_argument, tell
from pytest_llmperf.record.compare import compare
from pytest_llmperf.record.redaction import redact
from pytest_llmperf.record.row_names import by_role, given_pairs, renamed, renamed_answers
from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import load_answers
from pytest_llmperf.report.comparison import comparison_lines, comparison_markdown

NOTHING_COMPARED = 3
"""Exit code: the two records have nothing in common that could be compared, so neither is known to be worse."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "compare",
        "compare two runs: exit code 1 if something is worse beyond chance",
        "Answers to the same items are paired; ratios and times are worse where their intervals are apart. The "
        "candidate is compared with the candidate, whatever the rows are called. What cannot be compared (other items, "
        "another template, another device) is counted by its reason, and missing tests are named. Exit code 3: nothing "
        "could be compared.",
    )
    record_argument(parser, "a", "the earlier run, or a reference")
    record_argument(parser, "b", "the run that is compared with it")
    parser.add_argument(
        "--rows",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="compare row NEW of the second run with row OLD of the first (default: by name, candidates by role)",
    )
    parser.add_argument("--markdown", action="store_true", help="a table in Markdown")
    parser.add_argument(
        "--gaps",
        choices=["warn", "fail"],
        default="warn",
        help="what is not compared, or has vanished: exit code 1 with fail (default: warn)",
    )
    parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    before, now = read_record(asked.a), read_record(asked.b)
    pairs = given_pairs(asked.rows, before, now) or by_role(before, now)
    answers = load_answers(asked.b, now)
    if pairs:
        now, answers = renamed(now, pairs), renamed_answers(now, answers, pairs)
    found = compare(before, now, load_answers(asked.a, before), answers)
    notes = [f"{new} of the second run is compared with {old} of the first" for new, old in pairs.items()]
    found = replace(found, notes=[*notes, *found.notes])
    if asked.markdown:
        sys.stdout.write(redact(comparison_markdown(found)))
    else:
        tell(comparison_lines(found))
    if not found.compared:
        return NOTHING_COMPARED
    return int(found.regressed or (asked.gaps == "fail" and bool(found.gaps)))
