"""``python -m contrib.claims FILE… [--record RECORD]… [--device NAME] [--markdown]``: what holds.

On standard output. Several records, of several devices, stand side by side. Exit code 0 whatever comes of them, since
claims don't gate here (the plugin does, with ``--llmperf-claims=gate``); 4 for a mistake in a file.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from contrib.claims.claim import Sheet
from contrib.claims.columns import columns_page
from contrib.claims.deciding import decide_all, device_at_hand
from contrib.claims.measured import Evidence, load_evidence
from contrib.claims.reading import read_claims
from contrib.claims.table import PAGE_HEAD, claim_page, claim_table
from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.record.redaction import redact
from pytest_llmperf.report.encoding import write_all


def main(arguments: Sequence[str] | None = None) -> int:
    write_all(sys.stdout, sys.stderr)
    parser = argparse.ArgumentParser("python -m contrib.claims", description="Decide published claims.")
    add_arguments(parser)
    try:
        return run(parser, parser.parse_args(arguments))
    except LlmperfError as error:
        sys.stderr.write(redact(f"{error}\n"))
        return 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="claims, as in contrib/claims/suite/claims.toml"
    )
    parser.add_argument(
        "--record",
        dest="records",
        metavar="RECORD",
        type=Path,
        action="append",
        default=[],
        help="record of a run (--llmperf-record) on the device to judge by; of another device again",
    )
    parser.add_argument(
        "--device", help="device to judge by, as NVML names it (default: the record's, else the one here)"
    )
    parser.add_argument("--markdown", action="store_true", help="a page in Markdown in place of a table")


def run(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> int:
    """Tell the outcomes; always 0. Raises :class:`LlmperfError` for a mistake in a file."""
    if asked.records and asked.device:
        parser.error("--device and --record: the record names its device")
    every = [load_evidence(path) for path in asked.records]
    device = asked.device or (every[0].device if every else device_at_hand())
    told = [PAGE_HEAD] if asked.markdown else []
    for path in asked.files:
        sheet = read_claims(path)
        if asked.markdown:
            command = f"python -m contrib.claims {path}{_options(asked)} --markdown"
            told.append(_page(sheet, device, every, command))
        else:
            told += [_table(sheet, device, evidence) for evidence in every] or [_table(sheet, device, None)]
    sys.stdout.write(redact("\n".join(told)))
    return 0


def _table(sheet: Sheet, device: str, evidence: Evidence | None) -> str:
    where = f", on {evidence.device}" if evidence else ""
    # In a pipe or a file nothing has to fit.
    width = shutil.get_terminal_size((200, 24)).columns
    return (
        "\n".join([sheet.title + where, *claim_table(decide_all(sheet, device, evidence), width=width)])
        + "\n"
    )


def _page(sheet: Sheet, device: str, every: Sequence[Evidence], command: str) -> str:
    if len(every) > 1:
        here = [(one.device, decide_all(sheet, device, one)) for one in every]
        return columns_page(sheet, decide_all(sheet, device), here, command)
    return claim_page(sheet, decide_all(sheet, device, every[0] if every else None), command)


def _options(asked: argparse.Namespace) -> str:
    records = "".join(f" --record {one.name if one.is_absolute() else one}" for one in asked.records)
    return records + (f" --device '{asked.device}'" if asked.device else "")


if __name__ == "__main__":
    sys.exit(main())
