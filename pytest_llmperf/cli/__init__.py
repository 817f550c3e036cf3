"""``pytest-llmperf``: commands for records and references, and for the time before the first run.

A command is a function ``add(commands)`` that adds a parser to argparse's sub-parsers and sets its default ``run``: a
function of the parsed arguments that returns the exit code. Other packages announce theirs as entry points of the group
``pytest_llmperf.commands``.

Exit codes: 0, all is well; 1, the answer is bad news (something is worse, or something is missing); 2, the command line
is not understood; 3, two runs have nothing that could be compared; 4, a file is not what it should be. Whatever
happens, a user sees one line and no traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version

from pytest_llmperf.cli import comment, compare, doctor, fleet, history, init, merge, promote, report, show
from pytest_llmperf.errors import LlmperfError, UsageError, first_line
from pytest_llmperf.record.redaction import redact
from pytest_llmperf.report.encoding import write_all
from pytest_llmperf.visible_text import printable

GROUP = "pytest_llmperf.commands"
COMMANDS = (show, report, merge, fleet, compare, promote, history, comment, doctor, init)
CANNOT = 4
"""Exit code: a named file is missing, or is not what it should be."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands, those of other packages included."""
    made = argparse.ArgumentParser(
        "pytest-llmperf", description="Records of pytest-llmperf's runs, and what to do before the first run."
    )
    made.add_argument("--version", action=_Version)
    commands = made.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    _add_completion(commands)
    for entry in sorted(entry_points(group=GROUP)):
        if entry.name not in commands.choices:
            _add_foreign(commands, entry)
    return made


class _Version(argparse.Action):
    """Tells the version when asked; it is read from the installation then and not before."""

    def __init__(self, option_strings: Sequence[str], dest: str, **_: object) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(f"pytest-llmperf {version('pytest-llmperf')}\n")
        parser.exit()


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
        sys.stderr.write(
            printable(redact(f"pytest-llmperf {asked.command}: {where}{error.strerror or error}\n"))
        )
        return CANNOT


def _add_foreign(commands: argparse._SubParsersAction[argparse.ArgumentParser], entry: EntryPoint) -> None:
    """Add the command of another package; a broken one says so when it is called, and spoils no other command."""
    name = entry.name
    try:
        entry.load()(commands)
        if name not in commands.choices:
            raise TypeError(f"it adds no parser named {name!r}")
    except Exception as error:  # code of another package
        why = f"cannot be loaded from {entry.value}: {first_line(error)}"

        def run(_: argparse.Namespace) -> int:
            raise UsageError(why)

        broken = commands.choices.get(name)
        if broken is None:
            # Takes whatever is typed, options as well, so that the reason is what the user reads.
            broken = commands.add_parser(name, help=why.replace("%", "%%"), prefix_chars="\0", add_help=False)
            broken.add_argument("arguments", nargs="*")
        broken.set_defaults(run=run)


def _add_completion(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "print a script for your shell that completes this command"
    mine = commands.add_parser("completion", help=text, description=f"{text[0].upper()}{text[1:]}.")
    mine.add_argument("shell", choices=["bash", "zsh", "fish", "tcsh"])

    def run(asked: argparse.Namespace) -> int:
        import shtab

        sys.stdout.write(shtab.complete(parser(), asked.shell) + "\n")
        return 0

    mine.set_defaults(run=run)
