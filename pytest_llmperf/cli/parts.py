"""What the commands have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from pytest_llmperf.record.redaction import redact


def command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, more: str = ""
) -> argparse.ArgumentParser:
    """A new command; ``text`` is its line in the list, ``more`` what its own help goes on to say."""
    description = f"{text[0].upper()}{text[1:]}.{f' {more}' if more else ''}"
    return commands.add_parser(name, help=text, description=description)


def record_argument(parser: argparse.ArgumentParser, name: str = "record", text: str = "") -> None:
    parser.add_argument(
        name, type=Path, metavar=name.upper(), help=text or "record of a run, as --llmperf-record wrote it"
    )


def tell(lines: Iterable[str]) -> None:
    """Write lines for people."""
    sys.stdout.writelines(f"{redact(line)}\n" for line in lines)
