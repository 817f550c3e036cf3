"""``python -m pytest_llmperf.claims FILE… [--record RECORD] [--device NAME] [--markdown]``: what holds.

On standard output. Exit code 0 whatever the outcomes are, since claims don't gate here (``pytest suites/claims
--llmperf-claims=gate`` does); 4 for a mistake in a file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_llmperf.claims.deciding import decide_all, device_at_hand
from pytest_llmperf.claims.measured import Evidence
from pytest_llmperf.claims.reading import read_claims
from pytest_llmperf.claims.table import PAGE_HEAD, claim_page, claim_table
from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.record.store import read_record


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m pytest_llmperf.claims", description="Decide published claims."
    )
    add_arguments(parser)
    try:
        return run(parser, parser.parse_args(arguments))
    except LlmperfError as error:
        sys.stderr.write(f"{error}\n")
        return 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="claims, as in suites/claims/claims.toml"
    )
    parser.add_argument(
        "--record", type=Path, help="record of a run (--llmperf-record) on the device to judge by"
    )
    parser.add_argument(
        "--device", help="device to judge by, as NVML names it (default: the record's, else the one here)"
    )
    parser.add_argument("--markdown", action="store_true", help="a page in Markdown in place of a table")


def run(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> int:
    """Tell the outcomes; always 0. Raises :class:`LlmperfError` for a mistake in a file."""
    if asked.record and asked.device:
        parser.error("--device and --record: the record names its device")
    evidence = Evidence(read_record(asked.record), asked.record) if asked.record else None
    device = asked.device or (evidence.device if evidence else device_at_hand())
    told = [PAGE_HEAD] if asked.markdown else []
    for path in asked.files:
        sheet = read_claims(path)
        decisions = decide_all(sheet, device, evidence)
        if asked.markdown:
            command = f"python -m pytest_llmperf.claims {path}{_options(asked)} --markdown"
            told.append(claim_page(sheet, decisions, command))
        else:
            told.append("\n".join([sheet.title, *claim_table(decisions)]) + "\n")
    sys.stdout.write("\n".join(told))
    return 0


def _options(asked: argparse.Namespace) -> str:
    record = f" --record {asked.record.name}" if asked.record else ""
    return record + (f" --device '{asked.device}'" if asked.device else "")


if __name__ == "__main__":
    sys.exit(main())
