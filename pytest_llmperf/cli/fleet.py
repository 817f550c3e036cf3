"""``fleet run FILE``: a run whose shards are tasks of a Ray cluster, and the one verdict on it."""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

from pytest_llmperf.cli import merge
from pytest_llmperf.cli.parts import command, tell
from pytest_llmperf.home import shown

_INTERRUPTED = 2
"""Exit code, as pytest's own."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = command(commands, "fleet", "run shards on a Ray cluster (extra: ray)")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run_parser = command(
        actions,
        "run",
        "run the shards of FILE on a Ray cluster and judge them as one run",
        "Sends the working tree, follows the shards, collects their records and merges them: exit code, record and "
        "page are those of `pytest-llmperf merge`. A shard whose node died is begun again, one whose gate failed is "
        "not.",
    )
    run_parser.add_argument(
        "file", type=Path, metavar="FILE", help="what to run, as docs/how-to/fleet.md says"
    )
    run_parser.add_argument(
        "--order",
        type=int,
        metavar="SEED",
        help="draw items, rounds and samples as the run with this --llmperf-order did (default: anew)",
    )
    merge.outputs(run_parser, "fleet.json")
    run_parser.set_defaults(run=run)


def run(asked: argparse.Namespace) -> int:
    from pytest_llmperf.config.fleet_file import read_fleet
    from pytest_llmperf.fleet.driver import FleetRun
    from pytest_llmperf.fleet.working_tree import working_tree

    file = read_fleet(asked.file)
    tree = working_tree(Path(file.tree), file.exclude)
    order = asked.order if asked.order is not None else secrets.randbelow(10**6)
    directory: Path = asked.out.with_name(f"{asked.out.stem}-shards")

    def say(line: str) -> None:
        tell([line])
        sys.stdout.flush()  # a night is followed in a file as well

    fleet = FleetRun(file, order, directory, say)
    try:
        shards = fleet.run(tree)
    except KeyboardInterrupt:
        tell([f"fleet: INVALID: interrupted; what came before is in {shown(directory)}"])
        return _INTERRUPTED
    asked.records = [shard.record for shard in shards if shard.record]
    return merge.run(asked, [f"{shard.job}: {shard.lost}" for shard in shards if shard.lost])
