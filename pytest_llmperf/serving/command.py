"""The command that serves a row: a pure function of the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_llmperf.config.models import Model
from pytest_llmperf.engines.base import ServedBeside
from pytest_llmperf.engines.registry import engine_named
from pytest_llmperf.serving.spec import ServerSpec


def spec_for(
    model: Model,
    weights: Path | str,
    *,
    weights_are_local: bool | None = None,
    revision: str | None = None,
    linger_s: float = 0.0,
    warm_concurrency: tuple[int, ...] = (1,),
    kv_cache_bytes: int | None = None,
    placed: Mapping[str, str] | None = None,
    beside: Sequence[ServedBeside] = (),
) -> ServerSpec:
    """The server of a row whose weights lie at ``weights`` (a directory) or have that name on the hub.

    ``weights_are_local`` (default: ``weights`` is a path) forbids the engine to look anything up on the network. The
    row's own arguments and environment come last, so that they win. ``placed`` are the variables that name the devices
    (``serving.placement``), which the row's own were read for. ``kv_cache_bytes`` fixes the size of the key-value
    cache, where the engine has an option for it. ``beside``: adapters and aliases that it serves as well.
    """
    local = isinstance(weights, Path) if weights_are_local is None else weights_are_local
    if revision is None and not isinstance(weights, Path):
        revision = model.revision
    model = replace(model, revision=revision)
    engine = engine_named(model.engine)
    offline = {"HF_HUB_OFFLINE": "1"} if local else {}
    fixed: tuple[str, ...] = ()
    if kv_cache_bytes is not None and engine.kv_cache_option is not None:
        fixed = (engine.kv_cache_option, str(kv_cache_bytes))
    command = (
        engine.shared_command(model, str(weights), beside) if beside else engine.command(model, str(weights))
    )
    return ServerSpec(
        row=model.name,
        served_model=model.served,
        served_beside=tuple(other.name for other in beside),
        argv=(*command, *fixed, *model.arguments),
        environment={
            **engine.environment(model),
            "PYTHONUNBUFFERED": "1",
            **offline,
            **model.environment,
            **(placed or {}),
        },
        unset=(*engine.unset, engine.api_key_variable),
        engine=engine.name,
        api_key_variable=engine.api_key_variable,
        directory_variables=engine.directory_variables,
        probe=engine.probe,
        gpus=model.gpus,
        ready_timeout_s=model.ready_timeout_s,
        linger_s=linger_s,
        warm_concurrency=warm_concurrency,
    )
