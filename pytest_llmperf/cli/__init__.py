"""``pytest-llmperf``: records and references, and what to do before the first run.

Exit codes: 0, all is well; 1, the answer is bad news (something is worse, or something is missing); 2, the command line
is not understood; 4, a file is not what it should be. Whatever happens, a user sees one line and no traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pytest_llmperf.cli import compare, doctor, history, init, promote, report, show
from pytest_llmperf.errors import LlmperfError
from pytest_llmperf.record.redaction import redact
from pytest_llmperf.report.encoding import write_all

COMMANDS = (show, report, compare, promote, history, doctor, init)
CANNOT = 4
"""What was named is not there, or not what it should be."""


def parser() -> argparse.ArgumentParser:
    """All of the command line; ``docs/reference/command-line.md`` is written from it."""
    made = argparse.ArgumentParser(
        "pytest-llmperf", description="Records of pytest-llmperf's runs, and what to do before the first run."
    )
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    _add_completion(commands)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    write_all(sys.stdout, sys.stderr)
    asked = parser().parse_args(arguments)
    try:
        code = int(asked.run(asked))
        sys.stdout.flush()
        return code
    except LlmperfError as error:
        sys.stderr.write(redact(f"pytest-llmperf {asked.command}: {error}\n"))
        return CANNOT
    except BrokenPipeError:
        # Whoever reads has seen enough (`| head`); Python must not complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sys.stderr.write(redact(f"pytest-llmperf {asked.command}: {where}{error.strerror or error}\n"))
        return CANNOT


def _add_completion(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "print a script for your shell that completes this command"
    mine = commands.add_parser("completion", help=text, description=f"{text[0].upper()}{text[1:]}.")
    mine.add_argument("shell", choices=["bash", "zsh", "tcsh"])

    def run(asked: argparse.Namespace) -> int:
        import shtab

        sys.stdout.write(shtab.complete(parser(), asked.shell) + "\n")
        return 0

    mine.set_defaults(run=run)
