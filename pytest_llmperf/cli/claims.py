"""``claims FILE…``: published figures against a record; see :mod:`pytest_llmperf.claims.__main__`."""

from __future__ import annotations

import argparse

from pytest_llmperf.claims import __main__ as claims
from pytest_llmperf.cli.parts import command


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(commands, "claims", "decide published claims, with or without a record")
    claims.add_arguments(parser)
    parser.set_defaults(run=lambda asked: claims.run(parser, asked))
