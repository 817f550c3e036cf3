"""The name of a model at a server that is started on an id of the hub and given no other name.

For ``gpu_claims`` and ``cpu_claims``. A cache of the hub is made that holds the model's files under the id, so that
the engine finds it there as it would after a download; the name is what ``/v1/models`` lists.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import urllib.request
from pathlib import Path

from pytest_llmperf.config.models import Model
from pytest_llmperf.serving.command import spec_for
from pytest_llmperf.serving.lease import acquire
from pytest_llmperf.serving.readiness import served_models
from pytest_llmperf.serving.server import Server
from pytest_llmperf.serving.spec import ServerSpec

_COMMIT = "0" * 40


def hub_cache(home: Path, hub_id: str, files: Path) -> Path:
    """A value for ``HF_HOME`` under which ``hub_id`` is what lies in ``files``."""
    directory = home / "hub" / f"models--{hub_id.replace('/', '--')}"
    shutil.copytree(files, directory / "snapshots" / _COMMIT)
    (directory / "refs").mkdir()
    (directory / "refs" / "main").write_text(_COMMIT, encoding="utf-8")
    return home


def unnamed(model: Model, hub_id: str, home: Path) -> ServerSpec:
    """The server of a row as somebody starts it who types the id and nothing of its name."""
    spec = spec_for(dataclasses.replace(model, revision=None), hub_id, weights_are_local=True)
    at = spec.argv.index("--served-model-name")
    return dataclasses.replace(
        spec,
        served_model=hub_id,
        argv=spec.argv[:at] + spec.argv[at + 2 :],
        environment={**spec.environment, "HF_HOME": str(home)},
    )


def ids_of(server: Server) -> list[str]:
    """Return the ids that the server lists. Raises ``OSError`` if it does not answer."""
    headers = {"Authorization": f"Bearer {server.api_key}"} if server.api_key else {}
    asked = urllib.request.Request(f"{server.base_url}/v1/models", headers=headers)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return served_models(json.load(answer))


def served_ids(model: Model, hub_id: str, files: Path, state: Path) -> tuple[str, list[str]]:
    """The engine, and the ids under which a server of ``files`` that is started on ``hub_id`` offers it.

    Raises :class:`~pytest_llmperf.errors.StartError` if it does not start.
    """
    spec = unnamed(model, hub_id, hub_cache(state / "hub-home", hub_id, files))
    with acquire(spec, state / "unnamed") as lease:
        return lease.server.engine, ids_of(lease.server)
