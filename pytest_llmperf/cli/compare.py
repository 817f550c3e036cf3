"""``compare A B``: what has become worse, beyond chance."""

from __future__ import annotations

import argparse
import sys

from pytest_llmperf.cli.parts import command, record_argument, tell
from pytest_llmperf.record.compare import compare
from pytest_llmperf.record.redaction import redact
from pytest_llmperf.record.store import read_record
from pytest_llmperf.record.tables import load_answers
from pytest_llmperf.report.comparison import comparison_lines, comparison_markdown


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(
        commands,
        "compare",
        "compare two runs: exit code 1 if something is worse beyond chance",
        "Answers to the same items are paired; ratios and times are worse where their intervals are apart. What cannot "
        "be compared (other items, another template, another device) is said, and vanished tests are named.",
    )
    record_argument(parser, "a", "the earlier run, or a reference")
    record_argument(parser, "b", "the run that is compared with it")
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
    found = compare(before, now, load_answers(asked.a, before), load_answers(asked.b, now))
    if asked.markdown:
        sys.stdout.write(redact(comparison_markdown(found)))
    else:
        tell(comparison_lines(found))
    # Two records of which nothing can be compared are no good news, whatever the policy.
    return int(found.regressed or not found.differences or (asked.gaps == "fail" and bool(found.gaps)))
