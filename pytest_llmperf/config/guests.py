"""Rows that another row's server serves: LoRA adapters (``adapter_of``) and aliases (``alias_of``).

Such a guest has every setting of the server from its host, so that nothing about the server can be said twice, and
only the keys of :data:`OWN_KEYS` of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from pytest_llmperf.config.models import Model
from pytest_llmperf.config.toml_errors import TomlTable
from pytest_llmperf.engines import vllm_arguments
from pytest_llmperf.engines.base import Engine
from pytest_llmperf.json_values import Json, JsonObject

HOST_KEYS = ("adapter_of", "alias_of")
OWN_KEYS = (*HOST_KEYS, "adapter", "served_name", "in_flight", "same_model_as", "sampling", "rules")
"""Keys that a guest may give. All others belong to the server."""
_NOT_INHERITED = ("served_name", "same_model_as")
"""A server names each row once; and an adapter is another model than its base."""


def host_key(table: TomlTable, extended: Model | None) -> str | None:
    """The key by which the row is a guest: its own, or that of the row it extends; None for a row with a server."""
    given = [key for key in HOST_KEYS if key in table]
    if len(given) > 1:
        raise table.mistake(
            "alias_of", "a row is an adapter or an alias; give adapter_of or alias_of, not both"
        )
    if given:
        return given[0]
    if extended is None or extended.host is None:
        return None
    return "adapter_of" if extended.adapter_of else "alias_of"


def check_keys(table: TomlTable, key: str, host: Model, extended: Model | None, engine: Engine) -> None:
    """Raise for a guest that can't be one. ``key``: from :func:`host_key`; ``engine``: of the host."""
    shown = key if key in table else "extends"
    if host.host is not None:
        kind = "an adapter" if host.adapter_of else "an alias"
        raise table.mistake(
            shown, f'the row {host.name} is itself {kind} of {host.host}; write {key} = "{host.host}"'
        )
    if not engine.is_started:
        raise table.mistake(
            shown,
            f'the row {host.name} has engine = "{engine.name}": its server runs already; an adapter there is a row of '
            f'its own with engine = "{engine.name}", the same base_url and served_name = the name it is served under',
        )
    if engine.refuses_guests:
        raise table.mistake(
            shown, f'the row {host.name} has engine = "{engine.name}": {engine.refuses_guests}'
        )
    if extended is not None and extended.server_row != host.name:
        raise table.mistake(
            "extends",
            f"a row with {key} has everything from the row {host.name}; extend it, another row on its server, or none",
        )
    for name in table.values:
        if name not in (*OWN_KEYS, "extends"):
            raise table.mistake(
                name, f"belongs to the server, which is that of the row {host.name}: write it there, for both"
            )
    if key == "alias_of" and "adapter" in table:
        raise table.mistake("adapter", "an alias has the weights of its row; for an adapter write adapter_of")
    if vllm_arguments.option(host.arguments, "--lora-modules") is not None:
        raise table.mistake(
            shown,
            f"the row {host.name} names adapters in its arguments (--lora-modules): give each a row with adapter_of",
        )


def inherited(key: str, host: JsonObject, extended: JsonObject) -> dict[str, Json]:
    """Values, as written, that a guest takes over: those of the row it extends, or of its host."""
    left_out = (*_NOT_INHERITED, *(("adapter_of", "adapter") if key == "alias_of" else ("alias_of",)))
    return {name: value for name, value in (extended or host).items() if name not in left_out}


def guest(own: Model, host: Model, adapter: str | None) -> Model:
    """The guest with its ``own`` keys, and everything of the server from the ``host``; ``adapter`` is its path."""
    fields = {key: getattr(own, key) for key in (*OWN_KEYS, "name", "profile")}
    return dataclasses.replace(host, **{**fields, "adapter": adapter})


def check_together(tables: Mapping[str, TomlTable], models: Mapping[str, Model]) -> None:
    """Raise where two rows of a server have one name, or nothing to tell them apart."""
    for row, model in models.items():
        if model.host is None:
            continue
        for other in models.values():
            if other.name == row or other.server_row != model.host:
                continue
            if other.served == model.served:
                raise tables[row].mistake(
                    "served_name",
                    f"{model.served!r} is also the name of the row {other.name}, on the same server; give another",
                )
            if model.adapter == other.adapter and _asked_alike(model, other):
                raise tables[row].mistake(
                    "adapter" if model.adapter else "alias_of",
                    f"the row is asked exactly as {other.name}, so that a server would be compared with itself; give "
                    "it a [sampling] or [rules] of its own",
                )


def _asked_alike(first: Model, other: Model) -> bool:
    return first.sampling == other.sampling and first.rules == other.rules
