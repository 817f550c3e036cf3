"""Arguments and output that the commands share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import UsageError
from pytest_llmperf.record.redaction import redact
from pytest_llmperf.units import format_value
from pytest_llmperf.visible_text import printable

if TYPE_CHECKING:
    from pytest_llmperf.record.model import MetricEntry


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


def references_argument(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument(
        name,
        type=Path,
        metavar="DIR",
        help="the references (default: llmperf_references in pytest's configuration, else llmperf-references)",
    )


def references_of(given: Path | None) -> Path:
    """``given``, or what the project that we are in has configured."""
    return given if given is not None else Path(os.path.relpath(configured_path("llmperf_references")))


def configured_path(name: str) -> Path:
    """The path that the ini value ``name`` means here, whichever of its files pytest is configured by.

    Raises :class:`UsageError` where pytest cannot read its configuration (it has said why).
    """
    import pytest

    found: list[Path] = []

    class Asked:
        """Ends pytest before it does anything."""

        @pytest.hookimpl(tryfirst=True)
        def pytest_cmdline_main(self, config: pytest.Config) -> int:
            found.append(config.rootpath / config.getini(name))
            return 0

    # --markers asks for no run, so that none is missed.
    pytest.main(["--markers", "--noconftest", "-p", "llmperf", "-p", "no:cacheprovider"], plugins=[Asked()])
    if not found:
        raise UsageError(
            f"pytest cannot read its configuration here, and so not {name}; correct it or give the directory"
        )
    return found[0]


def interval_cell(metric: MetricEntry) -> str:
    """``low … high``; ``?`` for an end that the data do not give, an em dash where neither is known."""
    if metric.interval == (None, None):
        return "—"
    return " … ".join("?" if end is None else format_value(end, metric.unit) for end in metric.interval)


def tell(lines: Iterable[str]) -> None:
    """Write lines for people, without secrets and with control characters made visible."""
    sys.stdout.writelines(f"{printable(redact(line))}\n" for line in lines)
