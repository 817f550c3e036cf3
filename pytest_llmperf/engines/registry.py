"""Find engines by name: those of this package, and those that other packages announce as entry points.

An entry point of the group ``pytest_llmperf.engines`` names an :class:`~pytest_llmperf.engines.base.Engine` instance.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from pytest_llmperf.engines.base import Engine
from pytest_llmperf.errors import CatalogError

GROUP = "pytest_llmperf.engines"
DEFAULT = "vllm"
"""The engine of a row that names none."""
_BUILT_IN = {
    "vllm": "pytest_llmperf.engines.vllm",
    "transformers": "pytest_llmperf.engines.transformers",
    "url": "pytest_llmperf.engines.remote",
}


@cache
def engine_named(name: str) -> Engine:
    """The engine that rows call ``name``.

    Raises :class:`CatalogError` (one line) if there is none, or if the package that announces it is broken.
    """
    if name in _BUILT_IN:
        built_in: Engine = import_module(_BUILT_IN[name]).ENGINE
        return built_in
    announced = _announced()
    if name not in announced:
        raise CatalogError(f"there is no engine {name!r}, only {', '.join(engine_names())}")
    entry = announced[name]
    try:
        engine = entry.load()
    except Exception as error:  # code of another package
        raise CatalogError(
            f"the engine {name!r} cannot be imported from {entry.value}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(engine, Engine):
        raise CatalogError(
            f"the engine {name!r} ({entry.value}) is {type(engine).__name__}; need an instance of "
            "pytest_llmperf.Engine"
        )
    return engine


def engine_names() -> tuple[str, ...]:
    """Names of all engines, those of this package first."""
    return tuple(dict.fromkeys((*_BUILT_IN, *sorted(_announced()))))


def _announced() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}
