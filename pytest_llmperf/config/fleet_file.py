"""``fleet.toml``: what a fleet runs, and what each of its shards needs.

By example::

    models = ["distill", "distill-fp8"]      # candidates, as --llmperf-model
    suites = ["suites/"]                      # files, directories or node ids
    options = ["--llmperf-profile", "gpu"]    # further options of pytest
    shards = 8
    gpus = 1                                  # of each shard
    exclude = ["checkpoints/"]                # of the working tree
    [environment]
    HF_HOME = "/data/huggingface"
    [resources]
    h200 = 1                                  # a resource that the nodes of one kind were started with
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pytest_llmperf.config.fields import Text, quantity, within
from pytest_llmperf.config.shard import MOST
from pytest_llmperf.config.toml_errors import keys_of, read_toml

OURS = ("--llmperf-shard", "--llmperf-order", "--llmperf-record", "--llmperf-add")
"""Options that the fleet gives each shard, or that a shard can't have."""


@dataclass(frozen=True)
class FleetFile:
    """The keys of ``fleet.toml``."""

    suites: tuple[Text, ...]
    """Test files, directories or node ids, from ``tree``."""
    shards: Annotated[int, within(1, MOST)]
    """Number of parts that the tests are cut into; at most one for each model and suite file has tests."""
    gpus: Annotated[int, within(0)]
    """GPUs of each shard: as many as its rows need. Ray sets ``CUDA_VISIBLE_DEVICES``; 0 leaves none."""
    models: tuple[Text, ...] = ()
    """Candidates, as ``--llmperf-model``; none: the profile's."""
    options: tuple[str, ...] = ()
    """Further options of pytest, the same for all shards."""
    cpus: Annotated[float, within(0.0, above=True)] = 1.0
    """Processors of each shard, by which Ray limits the shards of one node."""
    resources: Mapping[Text, Annotated[float, within(0.0, above=True)]] = field(default_factory=dict)
    """Custom resources of each shard, by the names that the nodes were started with."""
    environment: Mapping[Text, str] = field(default_factory=dict)
    """Variables of each shard."""
    address: Text | None = None
    """Cluster to run on: ``auto``, or ``host:port``; none: this machine, for the time of the command."""
    tree: Text = "."
    """Directory that is sent to the nodes and in which pytest runs, from the directory of the file."""
    exclude: tuple[Text, ...] = ()
    """Files and directories (with a ``/`` at the end) that are not sent; ``*`` stands for any characters."""
    node_deaths: Annotated[int, within(0)] = 2
    """How often one shard is begun again because its node died."""
    stop_s: Annotated[float, quantity("s", 1.0), Field(alias="stop_within")] = 60.0
    """Longest time that a shard gets to end its servers once the command is interrupted."""
    autoscaling: bool = False
    """The cluster adds nodes when they are asked for: wait for one that is large enough instead of refusing."""

    def pytest_arguments(self) -> list[str]:
        """What all shards are given."""
        models = [word for model in self.models for word in ("--llmperf-model", model)]
        return [*self.suites, *models, *self.options]


def read_fleet(path: Path) -> FleetFile:
    """Read ``path``; its ``tree`` becomes a path from here.

    Raises :class:`CatalogError`, one line with file, key, value and what would be right.
    """
    root = read_toml(path)
    root.only(keys_of(FleetFile))
    fleet = root.parse(FleetFile)
    if not fleet.suites:
        raise root.mistake("suites", 'must name what to run, as in ["suites/"]')
    for option in fleet.options:
        if option.partition("=")[0] in OURS:
            raise root.mistake(
                "options", f"{option.partition('=')[0]} is not for you to give: {_why(option)}"
            )
    if fleet.address is not None and "://" in fleet.address:
        raise root.mistake(
            "address",
            "must be auto or host:port; run the command on a node of the cluster, for example with `ray job submit`",
        )
    tree = path.parent / fleet.tree
    if not tree.is_dir():
        raise root.mistake("tree", f"{tree} is no directory")
    return dataclasses.replace(fleet, tree=str(tree))


def _why(option: str) -> str:
    if option.startswith("--llmperf-add"):
        return "a shard can't add to an earlier run"
    return "the command gives each shard its own"
