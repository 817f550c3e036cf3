"""Keys of a record that its types do not describe: added by hooks, or forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_llmperf.record.model import Part, Record


def undescribed(record: Record) -> list[str]:
    """Paths, as ``load[].mine``, each once."""
    return list(dict.fromkeys(_undescribed(record, "")))


def _undescribed(value: object, path: str) -> Iterator[str]:
    if isinstance(value, Part):
        yield from (f"{path}.{key}".removeprefix(".") for key in value.model_extra or {})
        for key in type(value).model_fields:
            yield from _undescribed(getattr(value, key), f"{path}.{key}".removeprefix("."))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _undescribed(inner, f"{path}.*")
    elif isinstance(value, tuple):
        for inner in value:
            yield from _undescribed(inner, f"{path}[]")
